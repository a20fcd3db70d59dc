package match

import (
	"bytes"
	"slices"
)

// maxCursors is how many needles are looked for one by one: a set is faster for more.
const maxCursors = 4

// quarry is some needles, arranged for a hunt.
type quarry struct {
	single []*needle // looked for one by one
	sets   []*set
}

// newQuarry arranges needles: by the length of their cores, since the shortest makes the pace of a set.
func newQuarry(needles []*needle, prior *frequencies) *quarry {
	q := &quarry{}
	var tiers [4][]*needle
	for _, n := range needles {
		core, _ := n.core()
		tier := 0
		if n.spans {
			tier = 2
		}
		switch {
		case len(core) < 2:
			q.single = append(q.single, n)
		case len(core) < 6:
			tiers[tier] = append(tiers[tier], n)
		default:
			tiers[tier+1] = append(tiers[tier+1], n)
		}
	}
	for _, tier := range tiers {
		if len(tier) > maxCursors {
			q.sets = append(q.sets, newSet(tier, prior))
		} else {
			q.single = append(q.single, tier...)
		}
	}
	return q
}

// hunt looks for any of some needles in a text, from left to right.
type hunt struct {
	cursors []cursor
	sets    []*set
	next    []int   // of sets, as cursor.next
	cost    float64 // of looking, in nanoseconds a byte
}

func (q *quarry) hunt(f *frequencies) *hunt {
	h := &hunt{cursors: make([]cursor, len(q.single)), sets: q.sets, next: make([]int, len(q.sets))}
	for i, n := range q.single {
		h.cursors[i].needle = n
	}
	h.aim(f)
	return h
}

// aim makes the hunt fit a text with the frequencies f.
func (h *hunt) aim(f *frequencies) {
	h.cost = 0
	for _, s := range h.sets {
		h.cost += costSet / float64(s.stride)
	}
	for i := range h.cursors {
		h.cursors[i].aim(f)
		h.cost += h.cursors[i].cost
	}
}

// begin makes the hunt ready for the lines of a text. Needles that span lines are not looked for.
func (h *hunt) begin(text []byte) {
	for i, s := range h.sets {
		h.next[i] = -1
		if s.windows[0].needle.spans { // and so all of them
			h.next[i] = len(text)
		}
	}
	for i := range h.cursors {
		c := &h.cursors[i]
		c.begin()
		if c.spans {
			c.next = len(text)
		}
	}
}

// find gives the place of a byte of a needle in the first line at or behind from that holds one, len(text) if there is none.
// It is to be called with the text of begin, and with ascending places where lines begin.
func (h *hunt) find(text []byte, from int) int {
	first := len(text)
	for i := range h.cursors {
		c := &h.cursors[i]
		if c.next < from {
			c.next = c.seek(text, from)
		}
		first = min(first, c.next)
	}
	for i, s := range h.sets {
		if h.next[i] < from {
			h.next[i] = s.seek(text, from)
		}
		first = min(first, h.next[i])
	}
	return first
}

// in tells whether text holds a needle, lines or not.
func (h *hunt) in(text []byte) bool {
	for i := range h.cursors {
		c := &h.cursors[i]
		c.begin()
		if c.seek(text, 0) < len(text) {
			return true
		}
	}
	return slices.ContainsFunc(h.sets, func(s *set) bool { return s.seek(text, 0) < len(text) })
}

// line gives the first line at or behind from that holds a needle. After the last one start is len(text).
func (h *hunt) line(text []byte, from int) (start, end int) {
	at := h.find(text, from)
	if at == len(text) {
		return at, at
	}
	return lineStart(text, from, at), lineEnd(text, at)
}

// lineEnd is where the line ends that holds the byte at i: at its newline.
func lineEnd(text []byte, i int) int {
	if n := bytes.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(text)
}
