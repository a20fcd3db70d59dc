package dfa

import (
	"bytes"
	"regexp/syntax"
	"unicode/utf8"
)

// Line tells whether the line that begins at start matches, and where its newline is. It is not ok where
// the matcher gave up. It is for lines that something faster has picked.
func (d *DFA) Line(text []byte, start int) (matched bool, end int, ok bool) {
	end = start + bytes.IndexByte(text[start:], '\n')
	matched, ok = d.match(text[start:end], &d.p.line)
	return matched, end, ok
}

// Match tells whether a record matches: any bytes, newlines among them. It is not ok where the matcher gave up.
func (d *DFA) Match(record []byte) (matched, ok bool) {
	return d.match(record, &d.p.record)
}

// match walks a whole text, with the columns of its bytes.
func (d *DFA) match(text []byte, class *[256]uint8) (matched, ok bool) {
	if d.p.every {
		return true, true
	}
	if d.resting(text) {
		return false, false
	}
	l := &d.lane[0]
	l.state = 0
	for i := 0; i < len(text); {
		s, table, t := l.state, d.table, text[i:]
		k := 0
		for ; k < len(t); k++ {
			n := table[s+uint32(class[t[k]])]
			if n >= special {
				break
			}
			s = n
		}
		l.state = s
		i += k
		d.walked += k
		if k == len(t) {
			break
		}
		next, width := d.symbol(l, text[i:], class)
		if next == stateDead {
			next, width = d.nextLine(text[i:])
		}
		switch next {
		case stateMatch:
			return true, true
		case stateDead:
			return false, true
		case stateNone:
			return false, false
		}
		l.state = next
		i += width
	}
	next := d.table[l.state+colEnd]
	if next == stateUnknown {
		next = d.step(l, colEnd)
	}
	return next == stateMatch, true
}

// symbol finds the state that follows on the first symbol of text, where the table has none for its first byte.
func (d *DFA) symbol(l *lane, text []byte, class *[256]uint8) (next uint32, width int) {
	col, width := uint32(class[text[0]]), 1
	if text[0] >= utf8.RuneSelf {
		var r rune
		r, width = utf8.DecodeRune(text)
		col = d.p.column(r)
	}
	next = d.table[l.state+col]
	if next == stateUnknown {
		next = d.step(l, col)
	}
	return next, width
}

// nextLine is for a dead state: (?m)^ may yet match behind a newline. It gives the state there, and the way.
func (d *DFA) nextLine(text []byte) (next uint32, width int) {
	i := bytes.IndexByte(text, '\n')
	if i < 0 || !d.p.caret {
		return stateDead, 0
	}
	switch d.subset.begin(syntax.EmptyBeginLine) {
	case matching:
		return stateMatch, 0
	case failing:
		return stateDead, 0
	}
	next, ok := d.intern()
	if !ok {
		return stateNone, 0
	}
	return next, i + 1
}
