package where

import (
	"bytes"
	"slices"

	"oklog/query/match"
)

// Matcher evaluates an expression. It is for one goroutine: it keeps its buffers from one record to the next.
type Matcher struct {
	e         *Expr
	root      *node
	searchers []*match.Searcher
	scan      scanner
	of        [][]*cond // the conditions on each path

	record  []byte
	scanned bool
	has     []bool // of each path, once scanned: it leads to something
	nested  []bool // of each condition: it holds there
	flat    []bool // and under a key with dots
	text    []byte // decoded
}

// Matcher makes a matcher.
func (e *Expr) Matcher() *Matcher {
	m := &Matcher{
		e: e, root: cheapestFirst(e.root),
		of:     make([][]*cond, len(e.paths)),
		nested: make([]bool, len(e.conds)), flat: make([]bool, len(e.conds)),
	}
	for _, p := range e.programs {
		m.searchers = append(m.searchers, p.Searcher())
	}
	for _, c := range e.conds {
		m.of[c.path] = append(m.of[c.path], c)
	}
	m.scan.init(e.paths)
	return m
}

// cheapestFirst is the same expression with what looks at the text alone before what needs fields.
func cheapestFirst(n *node) *node {
	out := *n
	out.sub = nil
	for _, sub := range n.sub {
		out.sub = append(out.sub, cheapestFirst(sub))
	}
	slices.SortStableFunc(out.sub, func(a, b *node) int { return a.cost() - b.cost() })
	return &out
}

// cost is 1 if fields are needed.
func (n *node) cost() int {
	if n.op == opCond {
		return 1
	}
	most := 0
	for _, sub := range n.sub {
		most = max(most, sub.cost())
	}
	return most
}

// Match tells whether the expression holds of a record: any bytes.
func (m *Matcher) Match(record []byte) bool {
	m.record, m.scanned = record, false
	holds := m.holds(m.root)
	m.record = nil
	return holds
}

func (m *Matcher) holds(n *node) bool {
	switch n.op {
	case opAnd:
		for _, sub := range n.sub {
			if !m.holds(sub) {
				return false
			}
		}
		return true
	case opOr:
		for _, sub := range n.sub {
			if m.holds(sub) {
				return true
			}
		}
		return false
	case opNot:
		return !m.holds(n.sub[0])
	case opText:
		return bytes.Contains(m.record, []byte(n.text))
	case opRegex:
		return m.searchers[n.program].Match(m.record)
	default:
		m.read()
		if m.has[n.cond.path] {
			return m.nested[n.cond.place]
		}
		return m.flat[n.cond.place]
	}
}

// read evaluates all conditions, if that is not done.
func (m *Matcher) read() {
	if m.scanned {
		return
	}
	clear(m.nested)
	clear(m.flat)
	m.has = m.scan.scan(m.record, m)
	m.scanned = true
}

// found implements sink.
func (m *Matcher) found(path int, flat bool, v value) (enough bool) {
	holds := m.nested
	if flat {
		holds = m.flat
	}
	decoded := v.kind != escaped || bytes.IndexByte(v.raw, '\\') < 0
	text := v.raw
	all := true
	for _, c := range m.of[path] {
		if holds[c.place] {
			continue
		}
		if c.test == exists {
			holds[c.place] = true
			continue
		}
		if !decoded {
			m.text = unescape(m.text[:0], v.raw)
			text, decoded = m.text, true
		}
		holds[c.place] = v.kind != nested && m.meets(c, text)
		all = all && holds[c.place]
	}
	return !flat && (all || !m.e.paths[path].many)
}

// meets tells whether a text meets a condition.
func (m *Matcher) meets(c *cond, text []byte) bool {
	order := 0
	switch {
	case c.test == matches:
		return m.searchers[c.program].Match(text)
	case c.test == contains:
		return bytes.Contains(text, []byte(c.text))
	case c.numeric:
		number, ok := parseDecimal(text)
		if !ok {
			return false
		}
		order = number.compare(&c.number)
	case c.test == equal:
		return string(text) == c.text
	default:
		order = bytes.Compare(text, []byte(c.text))
	}
	switch c.test {
	case equal:
		return order == 0
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	case more:
		return order > 0
	default:
		return order >= 0
	}
}
