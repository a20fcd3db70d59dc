package query

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/semaphore"

	"oklog/objstore"
	"oklog/objstore/segment"
)

const (
	// Segments are opened so far ahead of the first that has not been read from, and, where a limit may end the query soon,
	// so few at first. So many reads of tails and filters are in flight.
	openAhead, openFirst = 128, 4
	openReads            = 128
	// No more segments are opened ahead while the tables of those that are take so much, in bytes.
	openMemory = 32 << 20
	// So much of tails, and of filters, is read at once, in bytes.
	filterMemory = 32 << 20
	// What a run of one record takes in memory besides its text, roughly.
	perRecord = 24
	// What a task takes in memory besides its result, roughly.
	perTask = 400
	// What a query with a limit has in flight for each worker at first: a block of the usual size; and how much more
	// with each block that was not enough.
	limitedStart, limitedGrowth = 5 << 20, 5 << 18
)

// scan reads sources and merges what it finds in them.
//
//	openers ──▶ dispatch ──▶ fetches ──▶ workers ──▶ results ──▶ merge
//	            (in the merge's order, when the budget has room)   └─▶ the budget
//
// The dispatcher starts the tasks in the order in which the merge comes to them. Results that the merge has not
// come to yet hold their share of the budget, and a merge that waits for a task that is not started would
// wait for ever when all of it is taken: therefore the dispatcher goes beyond the budget up
// to what the merge waits for. It does so where many sources overlap, by one block for each. Results beyond the
// budget are packed: of each of them, no more than a part is unpacked at a time. What lies behind a block in which enough was found
// to meet the limit is not started either, unless the merge waits for it.
//
// What a source takes besides (its end as it was read, index, tasks) is part of the budget, too: most of it
// until its last task has a result, and the tasks until the merge has come to their end.
type scan struct {
	*run
	gone  map[string]bool
	final bool // no listing comes after this one

	budget budget
	work   chan *read
	slots  chan struct{}             // fetches in flight
	opens  chan struct{}             // reads of tails and filters in flight
	ahead  chan struct{}             // segments opened and not yet reached by the dispatcher, and the reserve
	opened atomic.Int64              // bytes of their tables
	enough atomic.Pointer[ulid.ULID] // the limit is met before what follows it; nil: that is not known
	passed chan struct{}             // tells that these may be fewer
	// The dispatcher's: how many more may be opened ahead later on.
	reserve int
	tails   *semaphore.Weighted // bytes of tails that are being looked at
	pages   *semaphore.Weighted // bytes of filters besides: who waits for these has a tail, so they are counted apart
	group   sync.WaitGroup
	ctx     context.Context // of the goroutines of one scan; ends with it

	segments map[string]*source // by key

	pieces   bool // a piece was found; of the merging goroutine, as is what follows
	loaded   int64
	unpacker *segment.Decoder
}

func newScan(r *run, gone map[string]bool, final bool) *scan {
	sc := &scan{
		run: r, gone: gone, final: final,
		budget: budget{max: r.e.cfg.MaxBytes, soft: r.e.cfg.MaxBytes, cond: sync.NewCond(&sync.Mutex{})},
		work:   make(chan *read),
		slots:  make(chan struct{}, r.e.cfg.Fetches),
		opens:  make(chan struct{}, openReads),
		ahead:  make(chan struct{}, openAhead),
		passed: make(chan struct{}, 1),
		tails:  semaphore.NewWeighted(filterMemory),
		pages:  semaphore.NewWeighted(filterMemory),
	}
	if r.q.Limit > 0 {
		// It may be satisfied by the first blocks. A start that costs little: with every four blocks that were not enough one
		// more is read ahead, and with each segment one more is opened ahead, so that they are multiplied in each round trip.
		sc.budget.soft = min(sc.budget.max, int64(r.e.cfg.Workers)*limitedStart)
		sc.reserve = openAhead - openFirst
		for range sc.reserve {
			sc.ahead <- struct{}{}
		}
	}
	return sc
}

// anewError says that a query has to list anew, and go on without an object: it is not there though it was listed, or it cannot be read and
// takes the place of others.
type anewError struct{ key string }

func (e *anewError) Error() string { return "object " + e.key + " cannot be read" }

// sourcesOf makes the candidates known to each other.
func (sc *scan) sourcesOf(candidates []candidate) (sources []*source) {
	sc.segments = make(map[string]*source, len(candidates))
	for _, c := range candidates {
		s := &source{sc: sc, candidate: c, first: c.name.First, last: c.name.Last}
		sources, sc.segments[c.key] = append(sources, s), s
	}
	return sources
}

// merge puts the records of segments and batches into the sink of the query, merged.
func (sc *scan) merge(ctx context.Context, candidates []candidate, hot []*source) error {
	sources := sc.sourcesOf(candidates)
	for _, h := range hot {
		if sc.q.Range.Overlaps(h.first, h.last) {
			sources = append(sources, &source{sc: sc, hot: true, raw: h.raw, seg: h.seg, first: h.first, last: h.last})
		}
	}
	slices.SortStableFunc(sources, func(a, b *source) int {
		return order(a.first, a.last, b.first, b.last, sc.q.Newest)
	})
	inputs := make([]segment.Input, len(sources))
	for i, s := range sources {
		s.place = i
		s.opened, s.ready = make(chan struct{}), make(chan struct{})
		inputs[i] = s
	}

	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		sc.budget.wake()
		sc.group.Wait()
	}()
	sc.ctx = ctx
	sc.group.Go(func() { sc.openAll(sources) })
	sc.group.Go(func() { sc.dispatch(sources) })
	for range sc.e.cfg.Workers {
		sc.group.Go(sc.worker)
	}
	before := sc.found
	var err error
	if sc.unpacker, err = sc.e.decoder(); err != nil {
		return err
	}
	defer sc.e.decoders.Put(sc.unpacker)
	err = segment.Merge(inputs, sc.q.Newest, func(c *segment.Cursor, n int) error { return sc.take(sc, c, n) })
	if err == nil && !sc.limited {
		sc.meter.add(func(s *Stats) { s.Records.Duplicates += sc.loaded - (sc.found - before) })
	}
	return err
}

// edge is the end of a stretch of IDs that the merge meets first.
func (sc *scan) edge(first, last ulid.ULID) ulid.ULID {
	if sc.q.Newest {
		return last
	}
	return first
}

// await waits until ch is closed. For something that the dispatcher has not come to, what is
// that, it makes the dispatcher go beyond the budget.
func (sc *scan) await(what any, ch <-chan struct{}, dispatcher bool) error {
	select {
	case <-ch:
		return nil
	default:
	}
	if sc.q.Idle != nil {
		sc.q.Idle()
	}
	if dispatcher {
		sc.budget.hurry(what, ch)
	}
	select {
	case <-ch:
		return nil
	case <-sc.ctx.Done():
		return sc.ctx.Err()
	}
}

// queue is a heap of sources, the one with the next task on top.
type queue struct {
	sources    []*source
	descending bool
}

func (q *queue) Len() int      { return len(q.sources) }
func (q *queue) Swap(i, j int) { q.sources[i], q.sources[j] = q.sources[j], q.sources[i] }
func (q *queue) Push(any)      { panic("the queue does not grow") }
func (q *queue) Less(i, j int) bool {
	a, b := q.sources[i], q.sources[j]
	c := a.head().Compare(b.head())
	if q.descending {
		c = -c
	}
	// Between equals the order of opening decides: otherwise the dispatcher may wait for a
	// segment that is not opened before it has been to another one.
	return c < 0 || c == 0 && a.place < b.place
}
func (q *queue) Pop() any {
	n := len(q.sources) - 1
	s := q.sources[n]
	q.sources[n] = nil
	q.sources = q.sources[:n]
	return s
}

// moved puts the source on top in its place, or takes it out when all its tasks are started. From then on its
// tasks are the merge's.
func (q *queue) moved(s *source) {
	if s.started == len(s.tasks) {
		heap.Pop(q)
	} else {
		heap.Fix(q, 0)
	}
}

// dispatch starts all tasks, in order.
func (sc *scan) dispatch(sources []*source) {
	defer close(sc.work)
	var fetches sync.WaitGroup
	defer fetches.Wait()
	q := &queue{sources: slices.Clone(sources), descending: sc.q.Newest}
	heap.Init(q)
	for q.Len() > 0 {
		s := q.sources[0]
		if sc.beyond(s.head()) && sc.budget.wanted(sc.ctx) != nil {
			return
		}
		if s.tasks == nil {
			if !sc.reach(s) || sc.budget.acquire(sc.ctx, s.overhead()+perTask*int64(len(s.tasks))) != nil {
				return
			}
			if len(s.tasks) == 0 {
				sc.free(s)
			}
			q.moved(s)
			close(s.ready)
			sc.budget.started(s)
			continue
		}
		// Few blocks are better spread over the workers, and what may not be needed comes in small pieces.
		limited := sc.budget.limited()
		r := s.take(limited || sc.budget.over() || len(s.tasks)-s.started <= 2*sc.e.cfg.Workers, limited)
		var share int64
		for _, t := range r.tasks {
			share += t.held
		}
		if sc.budget.acquire(sc.ctx, share) != nil {
			return
		}
		q.moved(s)
		for _, t := range r.tasks {
			close(t.started)
			sc.budget.started(t)
		}
		if r.there {
			if !sc.hand(r) {
				return
			}
			continue
		}
		select {
		case sc.slots <- struct{}{}:
		case <-sc.ctx.Done():
			return
		}
		fetches.Go(func() {
			sc.fetch(s, r.extent)
			sc.hand(r)
			<-sc.slots // only now: what is fetched takes memory until a worker has it
		})
	}
}

// suffices notes that the limit is met by what was found in a block: nothing is needed that lies wholly behind it, but where the
// merge says so.
func (sc *scan) suffices(info segment.BlockInfo) {
	end := info.Last
	if sc.q.Newest {
		end = info.First
	}
	for {
		known := sc.enough.Load()
		if known != nil && !sc.behind(*known, end) {
			return
		}
		if sc.enough.CompareAndSwap(known, &end) {
			return
		}
	}
}

// beyond tells that the limit is met before id.
func (sc *scan) beyond(id ulid.ULID) bool {
	enough := sc.enough.Load()
	return enough != nil && sc.behind(id, *enough)
}

// behind tells that the merge comes to a later than to b.
func (sc *scan) behind(a, b ulid.ULID) bool {
	if sc.q.Newest {
		a, b = b, a
	}
	return a.Compare(b) > 0
}

func (sc *scan) hand(r *read) bool {
	select {
	case sc.work <- r:
		return true
	case <-sc.ctx.Done():
		return false
	}
}

// reach waits until s is open and makes its tasks.
func (sc *scan) reach(s *source) bool {
	if !s.hot {
		select {
		case <-s.opened:
		case <-sc.ctx.Done():
			return false
		}
		<-sc.ahead // the token of s: nobody else takes it
		if sc.reserve > 0 {
			sc.reserve--
			<-sc.ahead // one more is opened ahead than before
		}
		sc.opened.Add(-s.tables)
		select {
		case sc.passed <- struct{}{}:
		default:
		}
	}
	s.tasks = []*task{}
	switch {
	case s.compacted():
		s.err = nil
	case s.err == nil:
		s.wanted = sc.q.Sources.of(s.seg.Sources)
		sc.replace(s)
		for i, info := range s.blocks {
			s.tasks = append(s.tasks, &task{
				info: info, plain: s.plain != nil && s.plain.Has(i), bound: sc.edge(info.First, info.Last),
				started: make(chan struct{}), done: make(chan struct{}),
				held: int64(info.Size()) + int64(info.RawSize) + perRecord*int64(info.Records),
			})
		}
	}
	s.claims = nil
	if sc.q.Newest {
		slices.Reverse(s.tasks)
	}
	s.left.Store(int64(len(s.tasks)))
	return true
}

// replace tells the segments that s replaces. They are still there for queries that began before it was. The dispatcher reaches it before
// them: none of them begins before it, as the query goes.
func (sc *scan) replace(s *source) {
	if sc.q.Brute || sc.gone[s.key] { // it could not be read before: what it replaces may be all there is
		return
	}
	l := s.seg.Lineage
	for _, key := range l.Replaces {
		if other := sc.segments[key]; other != nil && other.name.Generation < s.name.Generation {
			other.claims = append(other.claims, claim{l.After, l.Through, s.seg.Blocks})
			s.hides = true
		}
	}
}

// free lets go of what the tasks of s needed.
func (sc *scan) free(s *source) {
	sc.budget.release(s.overhead())
	s.tail.letGo()
	s.seg, s.kept, s.plain, s.raw = nil, nil, nil, nil
}

// worker decodes and matches.
func (sc *scan) worker() {
	dec, err := sc.e.decoder()
	if err == nil {
		defer sc.e.decoders.Put(dec)
	}
	var packer *segment.Packer
	p := newPicker(sc, dec)
	defer func() { sc.e.recycle(p.block) }()
	for r := range sc.work {
		failed := r.err
		if failed == nil {
			failed = err
		}
		for _, t := range r.tasks {
			if sc.ctx.Err() != nil {
				return
			}
			if t.err = failed; t.err == nil {
				at := t.info.Offset - r.offset
				p.wanted = r.s.wanted
				t.err = p.pick(r.s.seg, t, r.raw[at:at+int64(t.info.Size())])
			}
			if !r.s.hot {
				t.err = sc.mend(r.s, t.err, func(b objstore.Bucket) error {
					raw := make([]byte, t.info.Size())
					if err := sc.get(sc.ctx, b, r.s.key, t.info.Offset, raw); err != nil {
						return err
					}
					return p.pick(r.s.seg, t, raw)
				})
			}
			var keeps int64
			found := 0
			if t.result != nil {
				found = t.result.Len()
			}
			if t.result != nil && sc.budget.over() {
				if packer == nil && err == nil {
					packer, err = segment.NewPacker()
				}
				if t.err = err; err == nil {
					t.packed = packer.Pack(t.result)
					keeps = t.packed.Size()
				}
				if t.pooled {
					sc.e.recycle(t.result)
				}
				t.result, t.pooled = nil, false
			} else if t.result != nil {
				keeps = int64(cap(t.result.Text)) + perRecord*int64(cap(t.result.Runs))
			}
			sc.budget.release(t.held - keeps)
			t.held = keeps
			if n := sc.q.Limit; n > 0 && !t.pieces && int64(found) >= n {
				sc.suffices(t.info)
			}
			if r.s.left.Add(-1) == 0 {
				sc.free(r.s) // before the merge can know
			}
			close(t.done)
		}
		if r.left.Add(-int32(len(r.tasks))) == 0 {
			sc.budget.passed(r.extra)
			if r.buffer != nil {
				sc.e.buffers.Put(r.buffer)
			}
		}
	}
}
