package dfa

import "bytes"

// lane is one of the walks through a text that go on at once.
type lane struct {
	state   uint32
	at, end int    // what is left of its piece: text[at:end]. The piece ends with a newline
	begin   int    // where the piece begins, or the line behind the last that matched
	lines   []Line // found in this lane
	from    int    // the first of lines that is of this piece
}

// take gives a lane that has nothing left a piece: text[begin:end], whole lines.
func (l *lane) take(begin, end int) {
	l.state, l.at, l.begin, l.end, l.from = 0, begin, begin, end, len(l.lines)
}

func (l *lane) idle() bool { return l.at == l.end }

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
	for !l.idle() {
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
