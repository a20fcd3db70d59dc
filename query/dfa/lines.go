package dfa

import (
	"bytes"
	"slices"
)

// Line is where a line stands in a text: text[Start:End], with its newline at End.
type Line struct{ Start, End int }

// minSteal is the shortest rest of a lane of which another lane takes half, in bytes.
const minSteal = 2 << 10

// Lines appends the lines of text that match, in order. Each line of text ends in a newline, the
// last one too. It is not ok where the matcher gave up, and then dst is as it was.
func (d *DFA) Lines(dst []Line, text []byte) ([]Line, bool) {
	return d.lines(dst, text, lanes)
}

func (d *DFA) lines(dst []Line, text []byte, n int) ([]Line, bool) {
	if d.p.every {
		return everyLine(dst, text), true
	}
	if d.resting(text) {
		return dst, false
	}
	d.pieces = d.pieces[:0]
	for i := range d.lane {
		d.lane[i] = lane{lines: d.lane[i].lines[:0]}
	}
	d.lane[0].end = len(text)
	ok := true
	for ok && n == lanes && d.share(text) {
		ok = d.abreast(text)
	}
	for i := range d.lane {
		ok = ok && d.alone(&d.lane[i], text)
	}
	if !ok {
		return dst, false
	}
	for i := range d.lane {
		d.retire(i)
	}
	slices.SortFunc(d.pieces, func(a, b piece) int { return a.begin - b.begin })
	for _, p := range d.pieces {
		dst = append(dst, d.lane[p.lane].lines[p.from:p.to]...)
	}
	return dst, true
}

// share gives each lane that has nothing left half of what the one has that has the most. It tells whether all have
// something to do.
func (d *DFA) share(text []byte) bool {
	for i := range d.lane {
		if d.lane[i].at < d.lane[i].end {
			continue
		}
		most := &d.lane[0]
		for j := range d.lane {
			if l := &d.lane[j]; l.end-l.at > most.end-most.at {
				most = l
			}
		}
		left := most.end - most.at
		if left < d.steal {
			return false
		}
		middle := most.at + left/2
		middle += bytes.IndexByte(text[middle:most.end], '\n') + 1
		if middle == most.end {
			return false
		}
		d.retire(i)
		l := &d.lane[i]
		l.at, l.begin, l.end, l.state = middle, middle, most.end, 0
		l.from = len(l.lines)
		most.end = middle
	}
	return true
}

// retire notes the piece that a lane is done with.
func (d *DFA) retire(i int) {
	l := &d.lane[i]
	if l.from < len(l.lines) {
		d.pieces = append(d.pieces, piece{l.lines[l.from].Start, i, l.from, len(l.lines)})
	}
}

// abreast walks all lanes at once, until one has nothing left. It is not ok where it gave up.
func (d *DFA) abreast(text []byte) bool {
	l0, l1, l2, l3 := &d.lane[0], &d.lane[1], &d.lane[2], &d.lane[3]
	class := &d.p.line
	for {
		n := min(l0.end-l0.at, l1.end-l1.at, l2.end-l2.at, l3.end-l3.at)
		if n == 0 {
			return true
		}
		t0 := text[l0.at:][:n]
		t1 := text[l1.at:][:n]
		t2 := text[l2.at:][:n]
		t3 := text[l3.at:][:n]
		s0, s1, s2, s3 := l0.state, l1.state, l2.state, l3.state
		table := d.table
		k := 0
		for ; k < n; k++ {
			n0 := table[s0+uint32(class[t0[k]])]
			n1 := table[s1+uint32(class[t1[k]])]
			n2 := table[s2+uint32(class[t2[k]])]
			n3 := table[s3+uint32(class[t3[k]])]
			if n0|n1|n2|n3 >= special {
				break
			}
			s0, s1, s2, s3 = n0, n1, n2, n3
		}
		l0.state, l1.state, l2.state, l3.state = s0, s1, s2, s3
		l0.at += k
		l1.at += k
		l2.at += k
		l3.at += k
		d.walked += lanes * k
		if k == n {
			continue
		}
		if !d.advance(l0, text) || !d.advance(l1, text) || !d.advance(l2, text) || !d.advance(l3, text) {
			return false
		}
	}
}

// alone walks what a lane has left.
func (d *DFA) alone(l *lane, text []byte) bool {
	class := &d.p.line
	for l.at < l.end {
		t := text[l.at:l.end]
		s := l.state
		table := d.table
		k := 0
		for ; k < len(t); k++ {
			n := table[s+uint32(class[t[k]])]
			if n >= special {
				break
			}
			s = n
		}
		l.state = s
		l.at += k
		d.walked += k
		if k < len(t) && !d.advance(l, text) {
			return false
		}
	}
	return true
}

// advance takes a lane over one byte, or over the rest of a line that is decided. It is not ok where it gave up.
func (d *DFA) advance(l *lane, text []byte) bool {
	b := text[l.at]
	next := d.follow(l, b, d.p.line[b])
	switch {
	case next < special:
		l.state = next
		l.at++
		d.walked++
		return true
	case next == stateNone:
		return false
	}
	end := l.at + bytes.IndexByte(text[l.at:], '\n')
	if next == stateMatch {
		start := l.begin + bytes.LastIndexByte(text[l.begin:l.at], '\n') + 1
		l.lines = append(l.lines, Line{start, end})
		l.begin = end + 1
	}
	l.at, l.state = end+1, 0
	return true
}

func everyLine(dst []Line, text []byte) []Line {
	for at := 0; at < len(text); {
		end := at + bytes.IndexByte(text[at:], '\n')
		dst = append(dst, Line{at, end})
		at = end + 1
	}
	return dst
}
