package query

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

const (
	// Neighbouring blocks are read at once up to so many bytes, and so many bytes of text.
	readSize, readText = 2 << 20, 16 << 20
	// Where a limit may end the query soon blocks are looked at one by one, and those that are neighbours are still read at once, up to
	// so many bytes: that costs less than asking again for each.
	aheadSize = 5 << 18
)

// source is a segment, or an unflushed batch: an input of the merge, and a queue of tasks.
type source struct {
	candidate
	sc          *scan
	hot         bool
	raw         []byte // a hot one's bytes
	first, last ulid.ULID
	place       int // among the sources, by what the merge meets first

	opened chan struct{} // closed when seg or err is set
	seg    *segment.Segment
	err    error
	tail   tail
	tables int64           // bytes of seg, as it was opened
	kept   segment.Set     // the blocks that its filter leaves; nil: all
	plain  segment.Set     // those that it calls plain; nil: none
	wanted map[uint64]bool // the sessions of the sources that the query wants; nil: all
	claims []claim         // what of this one is in others; the dispatcher's, until it has made the tasks
	hides  bool            // blocks of others may be left out since this one has what is in them

	ready chan struct{} // closed when tasks is set
	tasks []*task       // in the merge's order
	// The dispatcher's: tasks before it are started.
	started int
	ahead   *extent // what the next tasks are read with, and how many
	aheads  int
	left    atomic.Int64 // tasks without a result; who brings it to 0 frees what they needed
	// The merge's: tasks before it were handed out; cur is the last of them.
	next int
	cur  *task
	part segment.Block // of cur, if that is packed
	told bool          // the merge knows where the first task begins
}

// claim says of a segment that its records above after, up to through, are in another one, of a later generation.
type claim struct {
	after, through ulid.ULID
	blocks         []segment.BlockInfo // of the other one
}

// holds tells that the records from first to last are in the other segment: as many as there are of them, at least, or it would hide some that
// it lacks.
func (c claim) holds(first, last ulid.ULID, records int64) bool {
	return c.after.Compare(first) < 0 && last.Compare(c.through) <= 0 && segment.RecordsWithin(c.blocks, first, last) >= records
}

// task is a block to be fetched, decoded and matched.
type task struct {
	info    segment.BlockInfo
	plain   bool          // it has no escapes, see segment.Escaped
	bound   ulid.ULID     // no record of it comes before in the merge's order
	started chan struct{} // closed by the dispatcher
	done    chan struct{} // closed when the rest is set
	err     error
	result  *segment.Block  // nil: nothing was found
	pieces  bool            // the result holds some
	pooled  bool            // the result is in memory that is used again
	packed  *segment.Packed // instead of the result, if that did not fit into the budget
	held    int64           // the share of the budget
}

// read is a group of neighbouring tasks.
type read struct {
	s     *source
	tasks []*task
	*extent
}

// extent is a stretch of a source's bytes, for one read or for several.
type extent struct {
	there  bool // in memory, without fetching
	offset int64
	size   int
	extra  int64        // the share of the budget, besides that of the first task
	left   atomic.Int32 // tasks that were not looked at; who brings it to 0 gives back what it holds
	// Set by fetch.
	once   sync.Once
	raw    []byte
	buffer *[]byte // raw's, to be given back
	err    error
}

// First implements segment.Input.
func (s *source) First() ulid.ULID {
	select {
	case <-s.ready:
	default:
		return s.sc.edge(s.first, s.last)
	}
	if len(s.tasks) == 0 {
		return s.sc.edge(s.first, s.last)
	}
	if s.cur != nil && s.cur.packed != nil {
		if id, ok := s.cur.packed.Next(); ok {
			return id
		}
	}
	return s.tasks[min(s.next, len(s.tasks)-1)].bound
}

// Next implements segment.Input: it waits for the next result.
func (s *source) Next() (*segment.Block, error) {
	if s.cur != nil && s.cur.packed != nil {
		if _, ok := s.cur.packed.Next(); ok {
			return s.unpack()
		}
	}
	s.giveBack()
	if err := s.sc.await(s, s.ready, true); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.fail(Problem{First: s.first, Last: s.last, Err: s.err})
	}
	if !s.told {
		// Only now it is known where the first block begins that matters: it may be much later than
		// the segment. An empty block makes the merge ask First again.
		s.told = true
		if len(s.tasks) > 0 && s.tasks[0].bound != s.sc.edge(s.first, s.last) {
			return &segment.Block{}, nil
		}
	}
	if s.next == len(s.tasks) {
		s.sc.budget.release(perTask * int64(len(s.tasks)))
		s.tasks, s.next, s.part = nil, 0, segment.Block{}
		return nil, io.EOF
	}
	t := s.tasks[s.next]
	if err := s.sc.await(t, t.started, true); err != nil {
		return nil, err
	}
	if err := s.sc.await(t, t.done, false); err != nil {
		return nil, err
	}
	s.next++
	s.cur = t
	if t.err != nil {
		err := s.fail(Problem{First: t.info.First, Last: t.info.Last, Err: t.err})
		if errors.Is(err, io.EOF) {
			err = nil // the next block may be sound
		}
		return &segment.Block{}, err
	}
	s.sc.pieces = s.sc.pieces || t.pieces
	switch {
	case t.packed != nil:
		return s.unpack()
	case t.result == nil:
		return &segment.Block{}, nil
	}
	s.sc.loaded += int64(t.result.Len())
	return t.result, nil
}

// unpack gives the merge the next part of a packed result.
func (s *source) unpack() (*segment.Block, error) {
	before := s.cur.packed.Size()
	if err := s.cur.packed.Unpack(s.sc.unpacker, &s.part); err != nil {
		return nil, fmt.Errorf("unpack records of %s: %w", s.key, err)
	}
	freed := before - s.cur.packed.Size()
	s.cur.held -= freed
	s.sc.budget.release(freed)
	s.sc.loaded += int64(s.part.Len())
	return &s.part, nil
}

// giveBack frees what the merge has done with.
func (s *source) giveBack() {
	if s.cur == nil {
		return
	}
	s.sc.budget.release(s.cur.held)
	s.sc.budget.grow(limitedGrowth)
	if s.cur.pooled {
		s.sc.e.recycle(s.cur.result)
	}
	s.cur.result, s.cur = nil, nil
}

// fail deals with what could not be read: io.EOF where the query goes on without it.
func (s *source) fail(p Problem) error {
	if err := s.sc.ctx.Err(); err != nil {
		return err
	}
	p.Key = s.key
	lost := errors.Is(p.Err, objstore.ErrNotFound)
	if (lost || s.hides) && !s.sc.final && !s.sc.gone[s.key] {
		return &anewError{s.key}
	}
	if lost {
		p.Err = fmt.Errorf("%w: %w", ErrGone, p.Err)
	}
	s.sc.ans.note(p)
	return io.EOF
}

// head is the bound of the next task to be started.
func (s *source) head() ulid.ULID {
	if s.started < len(s.tasks) {
		return s.tasks[s.started].bound
	}
	return s.sc.edge(s.first, s.last)
}

// elsewhere tells that the records of s from first to last, so many, are in another segment.
func (s *source) elsewhere(first, last ulid.ULID, records int64) bool {
	return slices.ContainsFunc(s.claims, func(c claim) bool { return c.holds(first, last, records) })
}

// compacted tells that s is not there, and that all of it is in other segments: that is why it was deleted, though perhaps not in each bucket that
// lists it.
func (s *source) compacted() bool {
	return errors.Is(s.err, objstore.ErrNotFound) && s.elsewhere(s.first, s.last, s.name.Records)
}

// blocks yields the blocks of s that the query has to read, with their places, and notes how many are left out.
func (s *source) blocks(yield func(int, segment.BlockInfo) bool) {
	var skipped, pruned, replaced int
	none := s.wanted != nil && len(s.wanted) == 0
	for i, info := range s.seg.Blocks {
		switch {
		case !s.sc.q.Range.Overlaps(info.First, info.Last):
			skipped++
		case s.elsewhere(info.First, info.Last, int64(info.Records)):
			replaced++
		case none || s.kept != nil && !s.kept.Has(i):
			pruned++
		case !yield(i, info):
			return
		}
	}
	s.sc.meter.add(func(st *Stats) {
		st.Blocks.Total += len(s.seg.Blocks)
		st.Blocks.OutOfRange += skipped
		st.Blocks.Replaced += replaced
		st.Blocks.Pruned += pruned
	})
}

// overhead is what s takes of the budget until its last task has a result. (The bytes of a hot one are
// bounded on their own.)
func (s *source) overhead() int64 { return int64(len(s.tail.b)) + s.tables }

// take groups the next tasks into one read; or takes a single one, with whose bytes those of the ones that follow may be fetched.
func (s *source) take(alone, ahead bool) *read {
	first := s.started
	r := &read{s: s, extent: s.ahead}
	if r.extent != nil {
		s.started++
		if s.aheads--; s.aheads == 0 {
			s.ahead = nil
		}
		r.tasks = s.tasks[first:s.started]
		return r
	}
	size, text := 0, 0
	for s.started < len(s.tasks) {
		t := s.tasks[s.started].info
		if s.started > first && (alone || !s.adjoins(s.started) || size+t.Size() > readSize || text+t.RawSize > readText) {
			break
		}
		size += t.Size()
		text += t.RawSize
		s.started++
	}
	r.tasks = s.tasks[first:s.started]
	x := &extent{offset: min(r.tasks[0].info.Offset, r.tasks[len(r.tasks)-1].info.Offset), size: size}
	x.left.Store(int32(len(r.tasks)))
	if s.hot {
		x.raw = s.raw[x.offset : x.offset+int64(size)]
	} else {
		x.raw = s.tail.slice(x.offset, size)
	}
	x.there = x.raw != nil
	if ahead && !x.there {
		s.extend(x)
	}
	r.extent = x
	return r
}

// adjoins tells whether the blocks of task i and the one before are neighbours.
func (s *source) adjoins(i int) bool {
	lower, upper := s.tasks[i-1].info, s.tasks[i].info
	if s.sc.q.Newest {
		lower, upper = upper, lower
	}
	return lower.Offset+int64(lower.Size()) == upper.Offset
}

// extend makes x, which ends where the next task begins, hold the bytes of some that follow, if there is memory for that.
func (s *source) extend(x *extent) {
	n, extra := 0, 0
	for i := s.started; i < len(s.tasks) && s.adjoins(i); i++ {
		t := s.tasks[i].info
		if x.size+extra+t.Size() > aheadSize || s.tail.slice(t.Offset, t.Size()) != nil {
			break
		}
		extra += t.Size()
		n++
	}
	if n == 0 || !s.sc.budget.ahead(int64(extra)) {
		return
	}
	x.offset = min(x.offset, s.tasks[s.started+n-1].info.Offset)
	x.size += extra
	x.extra = int64(extra)
	x.left.Add(int32(n))
	s.ahead, s.aheads = x, n
}
