package segment

import (
	"container/heap"
	"errors"
	"io"

	"github.com/oklog/ulid/v2"
)

// Input is a source of blocks for Merge: their records ascend, from block to block too
// (or descend, for a merge that does).
type Input interface {
	// First is a bound on the IDs still to come: none comes before it. It costs nothing; Merge does not ask
	// for a block before the merge has come to that point.
	First() ulid.ULID
	// Next gives the next block, which may be empty and belongs to the caller until the next
	// call. io.EOF says that there are no more; another error ends the merge.
	Next() (*Block, error)
}

// ErrStop is what a sink returns to end a merge early and without an error.
var ErrStop = errors.New("stop merging")

// Sink takes the next n records of c, in the merge's order. It may pass them with c or leave
// them; none beyond n.
type Sink func(c *Cursor, n int) error

// Merge puts the records of all the inputs out in the order of their IDs, each ID once. It is the one merge of
// the project: of batches to a fresh segment, of segments to a larger one, and of what a query
// found. Stretches in which no other input has a record go out as one, and cost next to nothing.
func Merge(inputs []Input, descending bool, sink Sink) error {
	m := merger{descending: descending}
	for _, in := range inputs {
		m.streams = append(m.streams, &stream{in: in, head: in.First()})
	}
	heap.Init(&m)
	for len(m.streams) > 0 {
		if err := m.step(sink); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

type stream struct {
	in     Input
	head   ulid.ULID // of the next record; only a bound while there is no block
	cur    Cursor
	loaded bool // cur stands before a record
}

// merger is a heap of streams, the one with the next record on top.
type merger struct {
	streams    []*stream
	descending bool
	last       ulid.ULID // put out last
	any        bool      // something was put out
}

func (m *merger) Len() int      { return len(m.streams) }
func (m *merger) Swap(i, j int) { m.streams[i], m.streams[j] = m.streams[j], m.streams[i] }
func (m *merger) Push(any)      { panic("a merge does not grow") }
func (m *merger) Less(i, j int) bool {
	a, b := m.streams[i], m.streams[j]
	c := m.compare(a.head, b.head)
	// At the same ID, what is not loaded is loaded first: its true head may come later.
	return c < 0 || c == 0 && !a.loaded && b.loaded
}

func (m *merger) Pop() any {
	last := len(m.streams) - 1
	s := m.streams[last]
	m.streams[last] = nil // its block may go
	m.streams = m.streams[:last]
	return s
}

func (m *merger) compare(a, b ulid.ULID) int {
	if m.descending {
		a, b = b, a
	}
	return a.Compare(b)
}

// second is the head of the stream that comes after the top one.
func (m *merger) second() (ulid.ULID, bool) {
	switch len(m.streams) {
	case 1:
		return ulid.ULID{}, false
	case 2:
		return m.streams[1].head, true
	}
	if m.Less(2, 1) {
		return m.streams[2].head, true
	}
	return m.streams[1].head, true
}

func (m *merger) step(sink Sink) error {
	s := m.streams[0]
	if !s.loaded {
		return m.load(s)
	}
	if m.any && m.compare(s.head, m.last) <= 0 {
		// Put out already, from another input. IDs that follow it in its run may have been, too.
		s.cur.skip(m.repeated(s))
		return m.advanced(s)
	}
	n := s.cur.Left()
	if bound, ok := m.second(); ok {
		n = m.countBefore(&s.cur, bound)
	}
	want := s.cur.rec + uint32(n)
	m.last, m.any = s.lastOf(n), true
	if err := sink(&s.cur, n); err != nil {
		return err
	}
	if s.cur.rec < want {
		s.cur.skip(int(want - s.cur.rec))
	}
	return m.advanced(s)
}

// countBefore is how many of the next records may go out before the one with the ID bound: at least
// one, since the cursor's stream is on top. The rest of a run may always go: nothing but a
// repetition has an ID between two neighbours in a run.
func (m *merger) countBefore(c *Cursor, bound ulid.ULID) int {
	if !m.descending {
		return max(int(c.rest().N), c.CountBelow(bound))
	}
	n := 1
	for at := *c; ; n++ { // descending blocks are short: they hold what a query found
		at.skip(1)
		if at.Left() == 0 || at.ID().Compare(bound) <= 0 {
			return n
		}
	}
}

// repeated counts the records at the head of s whose IDs are not after the last one put out.
func (m *merger) repeated(s *stream) int {
	ms, session, counter := SplitID(m.last)
	if m.descending || counter == 1<<32-1 {
		return 1
	}
	return max(1, s.cur.CountBelow(MakeID(ms, session, counter+1)))
}

// lastOf is the ID of the n-th record from here.
func (s *stream) lastOf(n int) ulid.ULID {
	c := s.cur
	left := uint32(n)
	for {
		r := c.rest()
		if left <= r.N {
			return r.ID(left - 1)
		}
		left -= r.N
		c.run, c.inRun = c.run+1, 0
	}
}

// advanced puts s, whose cursor has moved, in its place.
func (m *merger) advanced(s *stream) error {
	if s.cur.Left() == 0 {
		s.loaded = false
		return m.load(s)
	}
	s.head = s.cur.ID()
	heap.Fix(m, 0)
	return nil
}

// load gets the next block of s, which is on top.
func (m *merger) load(s *stream) error {
	if bound := s.in.First(); m.compare(bound, s.head) > 0 {
		// The block begins later than was known: it may not be time for it yet.
		s.head = bound
		heap.Fix(m, 0)
		return nil
	}
	b, err := s.in.Next()
	if errors.Is(err, io.EOF) {
		heap.Pop(m)
		return nil
	}
	if err != nil {
		return err
	}
	if b.Len() > 0 {
		s.cur, s.loaded = b.Cursor(), true
		s.head = s.cur.ID()
	}
	heap.Fix(m, 0)
	return nil
}
