package dfa

import (
	"bytes"
	"regexp/syntax"
)

// Line tells whether the line that begins at start matches, and where its newline is, or the end of text. It is not ok
// where the matcher gave up. It is for lines that something faster has picked; for many of them Among is faster.
func (d *DFA) Line(text []byte, start int) (matched bool, end int, ok bool) {
	end = lineEnd(text, start)
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
	if d.resting(len(text)) {
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
		next, width := d.follow(l, text[i], class[text[i]]), 1
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
	return d.finish(l) == stateMatch, true
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
	return d.intern(), i + 1
}
