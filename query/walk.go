package query

import (
	"container/heap"
	"slices"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// place is where a record stands.
type place struct {
	id    ulid.ULID
	p     *part
	seg   *segment.Segment // p, opened
	block int
	rec   uint32 // in the block
}

func (p *place) info() *segment.BlockInfo { return &p.seg.Blocks[p.block] }

// walker goes from record to record of one source, in one direction. It looks at nothing before it has to.
type walker struct {
	v      *view
	line   *timeline
	number uint32
	gen    int       // of the view that it goes over
	passed ulid.ULID // it stands behind this, whether or not it is a record's
	next   int       // of line.parts: what is not among the streams yet
	opened int       // parts in a row that were opened and have no record of the source
	queue  streams
}

// stream is the records of one source in one part.
type stream struct {
	p     *part
	seg   *segment.Segment // nil: not opened
	block int              // in whose IDs it stands
	ids   *idTable         // nil: not looked at
	runs  []int32          // the source's
	k     int              // it stands in runs[k], at record off
	off   uint32
	head  ulid.ULID // of the next record, or a bound on it
}

func (v *view) walk(number uint32, from ulid.ULID, down bool) *walker {
	w := &walker{v: v, number: number, passed: from}
	w.queue.down = down
	w.begin()
	return w
}

// begin makes the walker stand behind w.passed, in the view as it is now.
func (w *walker) begin() {
	w.line = w.v.line(w.queue.down)
	w.gen, w.queue.all = w.v.gen, nil
	w.next = w.line.from(w.passed)
}

// peek gives the next record up to until, without passing it. If there is none, bound is where the next one may be, and ended
// tells that there is none in the range.
func (w *walker) peek(until ulid.ULID, load bool) (at place, bound ulid.ULID, found, ended bool, err error) {
	for {
		if w.gen != w.v.gen {
			w.begin()
		}
		w.admit()
		if len(w.queue.all) == 0 {
			return place{}, bound, false, true, nil
		}
		s := w.queue.all[0]
		if !w.ahead(s.head) || w.line.compare(s.head, until) > 0 {
			return place{}, s.head, false, !w.ahead(s.head), nil
		}
		if s.ids != nil && w.line.compare(s.head, w.passed) > 0 {
			return place{s.head, s.p, s.seg, s.block, s.rec()}, s.head, true, false, nil
		}
		if s.ids == nil && !load && !w.there(s) {
			return place{}, s.head, false, false, nil
		}
		more, err := w.advance(s)
		switch {
		case err != nil:
			return place{}, bound, false, false, err
		case w.gen != w.v.gen:
		case more:
			heap.Fix(&w.queue, 0)
		default:
			heap.Pop(&w.queue)
		}
	}
}

// release lets go of what the walker holds in memory. It goes on from where it stands.
func (w *walker) release() { w.gen, w.queue.all = 0, nil }

// ahead tells that the range does not end before id, as the walk goes.
func (w *walker) ahead(id ulid.ULID) bool {
	if w.queue.down {
		return id.Compare(w.v.q.Range.From) >= 0
	}
	return id.Compare(w.v.q.Range.To) < 0
}

// pass makes the walker stand behind id, which must not be before where it stands.
func (w *walker) pass(id ulid.ULID) { w.passed = id }

// admit takes parts among the streams that may have the next record.
func (w *walker) admit() {
	for ; w.next < len(w.line.parts); w.next++ {
		p := w.line.parts[w.next]
		near := w.line.near(p)
		if len(w.queue.all) > 0 && w.line.compare(near, w.queue.all[0].head) > 0 {
			return
		}
		if p.lacks(w.number) || w.line.compare(w.line.far(p), w.passed) <= 0 {
			continue
		}
		heap.Push(&w.queue, &stream{p: p, head: near})
	}
}

// there tells that s can be advanced without reading.
func (w *walker) there(s *stream) bool {
	if s.seg == nil {
		return false
	}
	return w.v.has(itemKey{s.p, s.block, itemIDs})
}

// advance moves s on: it opens the part, or looks at the next block, or passes records. It tells whether there may be more. After an
// error that the view has dealt with there is none.
func (w *walker) advance(s *stream) (more bool, err error) {
	down := w.queue.down
	if s.seg == nil {
		if s.p.numbers == nil && !s.p.hot {
			w.readAhead(s.p)
		}
		if s.seg, err = w.v.open(s.p); err != nil {
			_, err := w.v.moved(s.p, nil, err)
			return false, err
		}
		if s.p.lacks(w.number) {
			w.opened++
			return false, nil
		}
		w.opened = 0
		s.block = blockOf(s.seg, w.passed)
		if down && (s.block == len(s.seg.Blocks) || s.seg.Blocks[s.block].First.Compare(w.passed) >= 0) {
			s.block--
		}
		return w.enter(s), nil
	}
	if s.ids == nil {
		ids, err := w.v.ids(s.p, s.seg, s.block)
		if err != nil {
			if again, err := w.v.moved(s.p, &s.seg.Blocks[s.block], err); again || err != nil || s.p.bad {
				return false, err
			}
			return w.leave(s), nil
		}
		s.ids, s.runs = ids, ids.of[w.number]
		if !s.seek(w.passed, down) {
			return w.leave(s), nil
		}
		return true, nil
	}
	if !s.seek(w.passed, down) {
		return w.leave(s), nil
	}
	return true, nil
}

// enter makes s stand before its block, if there is one.
func (w *walker) enter(s *stream) bool {
	if s.block < 0 || s.block >= len(s.seg.Blocks) {
		return false
	}
	s.ids, s.runs, s.k = nil, nil, 0
	s.head = s.seg.Blocks[s.block].First
	if w.queue.down {
		s.head = s.seg.Blocks[s.block].Last
	}
	return true
}

// leave makes s stand before the block that follows.
func (w *walker) leave(s *stream) bool {
	if w.queue.down {
		s.block--
	} else {
		s.block++
	}
	return w.enter(s)
}

// seek makes s stand before the first record in its block that is behind id.
func (s *stream) seek(id ulid.ULID, down bool) bool {
	runs := s.ids.runs
	if down {
		// The last run that begins before id.
		k, _ := slices.BinarySearchFunc(s.runs, id, func(i int32, id ulid.ULID) int { return runs[i].First().Compare(id) })
		if k == 0 {
			return false
		}
		s.k = k - 1
		r := runs[s.runs[s.k]]
		s.off = r.N - 1
		if r.Last().Compare(id) >= 0 {
			_, _, counter := segment.SplitID(id)
			s.off = counter - r.Counter - 1
		}
		s.head = r.ID(s.off)
		return true
	}
	// The first run that ends behind id: often the one at hand, or its neighbour.
	k := s.k
	for tries := 0; ; tries++ {
		if k == len(s.runs) {
			return false
		}
		if runs[s.runs[k]].Last().Compare(id) > 0 {
			break
		}
		k++
		if tries == 4 {
			rest, _ := slices.BinarySearchFunc(s.runs[k:], id, func(i int32, id ulid.ULID) int {
				if runs[i].Last().Compare(id) <= 0 {
					return -1
				}
				return 1
			})
			k += rest
		}
	}
	r := runs[s.runs[k]]
	s.k, s.off = k, 0
	if r.First().Compare(id) <= 0 {
		_, _, counter := segment.SplitID(id)
		s.off = counter - r.Counter + 1
	}
	s.head = r.ID(s.off)
	return true
}

// rec is the place of the next record in its block.
func (s *stream) rec() uint32 { return s.ids.starts[s.runs[s.k]] + s.off }

// readAhead opens p, and the more parts behind it the more have been opened in vain.
func (w *walker) readAhead(p *part) {
	some := []*part{p}
	n := 1 << min(w.opened, 7)
	for i := w.next; i < len(w.line.parts) && len(some) < n; i++ {
		if q := w.line.parts[i]; !q.hot && q.numbers == nil && !q.bad {
			some = append(some, q)
		}
	}
	if len(some) > 1 {
		w.v.openMany(some)
	}
}

// streams is a heap, the one with the next record on top.
type streams struct {
	all  []*stream
	down bool
}

func (q *streams) Len() int      { return len(q.all) }
func (q *streams) Swap(i, j int) { q.all[i], q.all[j] = q.all[j], q.all[i] }
func (q *streams) Push(x any)    { q.all = append(q.all, x.(*stream)) }
func (q *streams) Less(i, j int) bool {
	a, b := q.all[i].head, q.all[j].head
	if q.down {
		a, b = b, a
	}
	return a.Compare(b) < 0
}
func (q *streams) Pop() any {
	n := len(q.all) - 1
	s := q.all[n]
	q.all[n] = nil
	q.all = q.all[:n]
	return s
}
