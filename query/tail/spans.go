package tail

import "slices"

// span is records of one session whose counters follow each other.
type span struct {
	lo, hi      uint64 // counters: from lo up to, without, hi
	first, last uint64 // times of the records at both ends, Unix ms
	at          int64  // when the first of it came, where that matters, Unix ns
}

// spans are ascending and do not touch each other.
type spans []span

// at finds the first span that ends behind a counter.
func (s spans) at(counter uint64) int {
	i, _ := slices.BinarySearchFunc(s, counter, func(x span, c uint64) int {
		if x.hi <= c {
			return -1
		}
		return 1
	})
	return i
}

// around are the spans that have something from lo up to hi.
func (s spans) around(lo, hi uint64) spans {
	i := s.at(lo)
	j := i
	for j < len(s) && s[j].lo < hi {
		j++
	}
	return s[i:j]
}

func (s spans) has(counter uint64) bool {
	i := s.at(counter)
	return i < len(s) && s[i].lo <= counter
}

func (s spans) count() (n int64) {
	for _, x := range s {
		n += int64(x.hi - x.lo)
	}
	return n
}

// without appends to dst the parts of x that are not in s.
func (s spans) without(dst spans, x span) spans {
	for _, y := range s.around(x.lo, x.hi) {
		if x.lo < y.lo {
			dst = append(dst, span{x.lo, y.lo, x.first, y.first, x.at})
		}
		x.lo, x.first = y.hi, y.last
		if x.lo >= x.hi {
			return dst
		}
	}
	return append(dst, x)
}

// within appends to dst the parts of x that are in s.
func (s spans) within(dst spans, x span) spans {
	for _, y := range s.around(x.lo, x.hi) {
		dst = append(dst, span{max(x.lo, y.lo), min(x.hi, y.hi), max(x.first, y.first), min(x.last, y.last), x.at})
	}
	return dst
}

// add puts x in.
func (s spans) add(x span) spans {
	i := s.at(x.lo)
	if i > 0 && s[i-1].hi == x.lo {
		i--
	}
	j := i
	for j < len(s) && s[j].lo <= x.hi {
		if s[j].lo < x.lo {
			x.lo, x.first = s[j].lo, s[j].first
		}
		if s[j].hi > x.hi {
			x.hi, x.last = s[j].hi, s[j].last
		}
		x.at = min(x.at, s[j].at)
		j++
	}
	return slices.Replace(s, i, j, x)
}

// cut takes x out.
func (s spans) cut(x span) spans {
	i := s.at(x.lo)
	var left spans
	j := i
	for ; j < len(s) && s[j].lo < x.hi; j++ {
		y := s[j]
		if y.lo < x.lo {
			left = append(left, span{y.lo, x.lo, y.first, x.first, y.at})
		}
		if y.hi > x.hi {
			left = append(left, span{x.hi, y.hi, x.last, y.last, y.at})
		}
	}
	return slices.Replace(s, i, j, left...)
}

// shrink brings s to at most n spans: the lowest grow together.
func (s spans) shrink(n int) spans {
	for len(s) > n {
		s[1].lo, s[1].first = s[0].lo, s[0].first
		s = s[1:]
	}
	return s
}
