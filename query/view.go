package query

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// view is the segments and batches of a range, for looking at blocks here and there: in any order, some of them again and again. What was read
// is kept within bounds. It is made once for a query, and anew when an object has gone since it was listed.
type view struct {
	*run
	sc   *scan // reads and mends objects
	ctx  context.Context
	hot  []*part
	gone map[string]bool
	gen  int // how often it was made

	byFirst, byLast timeline
	numbers         map[string]uint32 // of a source, by its attributes
	sources         []segment.Source  // by number

	mu       sync.Mutex
	sessions map[uint64]uint32 // the number of a session's source
	kept     map[itemKey]*item
	used     *list.List // of *item, the one used last in front
	size     int64
	dropped  int64 // bytes, since turned has said so
}

// part of a view: a segment or a batch.
type part struct {
	*source
	numbers []uint32 // of its sources, ascending; nil: it was not opened yet
	stale   bool     // it is of a view before this one
	bad     bool     // it cannot be read; the answer says so. Of the goroutine of the query, as is the rest of view
}

// timeline is parts in the order in which a walk in one direction comes to them.
type timeline struct {
	down  bool
	parts []*part
	reach []ulid.ULID // of each part and all before it, the end that a walk leaves last
}

func newTimeline(parts []*part, down bool) timeline {
	t := timeline{down: down, parts: slices.Clone(parts)}
	slices.SortStableFunc(t.parts, func(a, b *part) int { return order(a.first, a.last, b.first, b.last, down) })
	for i, p := range t.parts {
		end := t.far(p)
		if i > 0 && t.compare(t.reach[i-1], end) > 0 {
			end = t.reach[i-1]
		}
		t.reach = append(t.reach, end)
	}
	return t
}

// compare orders IDs as the walk meets them.
func (t *timeline) compare(a, b ulid.ULID) int {
	if t.down {
		a, b = b, a
	}
	return a.Compare(b)
}

func (t *timeline) near(p *part) ulid.ULID {
	if t.down {
		return p.last
	}
	return p.first
}

func (t *timeline) far(p *part) ulid.ULID {
	if t.down {
		return p.first
	}
	return p.last
}

// from is the first place of a part that may reach beyond id.
func (t *timeline) from(id ulid.ULID) int {
	i, _ := slices.BinarySearchFunc(t.reach, id, func(end, id ulid.ULID) int {
		if t.compare(end, id) <= 0 {
			return -1
		}
		return 1
	})
	return i
}

// holding appends the parts within whose bounds an ID is. Up to until, as the walk goes, they are the same.
func (t *timeline) holding(dst []*part, id ulid.ULID) (parts []*part, until ulid.ULID) {
	if !t.down {
		for i := range until {
			until[i] = 0xff
		}
	}
	lower := func(bound ulid.ULID) {
		if t.compare(bound, until) < 0 {
			until = bound
		}
	}
	first := t.from(id)
	for _, p := range t.parts[first:] {
		if t.compare(t.near(p), id) > 0 {
			lower(t.near(p))
			break
		}
		if t.compare(t.far(p), id) >= 0 {
			dst = append(dst, p)
			lower(t.far(p))
		}
	}
	// One that ends with id does not reach beyond it.
	for i := first - 1; i >= 0 && t.reach[i] == id; i-- {
		if t.far(t.parts[i]) == id {
			dst = append(dst, t.parts[i])
			lower(id)
		}
	}
	return dst, until
}

// What is kept.
type (
	itemKind uint8
	itemKey  struct {
		p     *part
		block int // -1 for the segment itself
		kind  itemKind
	}
	item struct {
		key   itemKey
		ready chan struct{}
		value any
		err   error
		size  int64
		place *list.Element
	}
)

const (
	itemTables itemKind = iota // *segment.Segment
	itemIDs                    // *idTable
	itemText                   // *segment.Block
)

// idTable is the IDs of a block.
type idTable struct {
	runs   []segment.Run
	starts []uint32           // the place in the block of the first record of each run
	of     map[uint32][]int32 // the runs of each source, ascending
}

func newView(ctx context.Context, r *run, hot []*source) (*view, error) {
	v := &view{
		run: r, ctx: ctx, gone: map[string]bool{}, numbers: map[string]uint32{}, sessions: map[uint64]uint32{},
		kept: map[itemKey]*item{}, used: list.New(),
	}
	return v, v.renew(hot)
}

// renew makes the view of batches, and of a new listing.
func (v *view) renew(hot []*source) error {
	v.hot = nil
	for _, h := range hot {
		v.hot = append(v.hot, &part{source: &source{hot: true, raw: h.raw, seg: h.seg, first: h.first, last: h.last}})
	}
	return v.refresh()
}

// refresh makes the view of a new listing.
func (v *view) refresh() error {
	infos, err := v.list(v.ctx)
	v.meter.add(func(s *Stats) { s.Listings++ })
	if err != nil {
		return err
	}
	v.gen++
	v.sc = newScan(v.run, v.gone, v.gen >= maxListings)
	v.sc.ctx = v.ctx
	plan := makePlan(infos, v.q.Topic, v.q.Range, false)
	known := map[string]*part{}
	for _, p := range v.byFirst.parts {
		if !p.hot {
			known[p.key] = p
		}
	}
	parts := slices.Clone(v.hot)
	for _, c := range plan.candidates {
		p := known[c.key]
		delete(known, c.key)
		if p == nil {
			p = &part{source: &source{candidate: c, first: c.name.First, last: c.name.Last}}
		}
		p.sc = v.sc
		parts = append(parts, p)
	}
	for _, p := range known {
		p.stale = true
	}
	v.mu.Lock()
	for key, i := range v.kept {
		if known[key.p.key] == key.p && !key.p.hot {
			v.drop(i)
		}
	}
	v.mu.Unlock()
	v.byFirst, v.byLast = newTimeline(parts, false), newTimeline(parts, true)
	return nil
}

// moved deals with err about p: again is true when it is no part of the view, of a new one now perhaps. Otherwise the answer
// says what is lacking, and the query goes on without.
func (v *view) moved(p *part, info *segment.BlockInfo, err error) (again bool, _ error) {
	if ctxErr := v.ctx.Err(); ctxErr != nil {
		return false, ctxErr
	}
	if p.stale {
		return true, nil
	}
	if errors.Is(err, objstore.ErrNotFound) && !v.gone[p.key] && v.gen < maxListings {
		v.gone[p.key] = true
		return true, v.refresh()
	}
	problem := Problem{Key: p.key, First: p.first, Last: p.last, Err: err}
	if errors.Is(err, objstore.ErrNotFound) {
		problem.Err = fmt.Errorf("%w: %w", ErrGone, err)
		info = nil
	}
	if info != nil {
		problem.First, problem.Last = info.First, info.Last
	} else {
		p.bad = true
	}
	v.ans.note(problem)
	return false, nil
}

// number is that of a source.
func (v *view) number(s segment.Source) uint32 {
	var key strings.Builder
	for _, a := range s {
		fmt.Fprintf(&key, "%d %d %s%s", len(a.Key), len(a.Value), a.Key, a.Value)
	}
	n, ok := v.numbers[key.String()]
	if !ok {
		n = uint32(len(v.sources))
		v.numbers[key.String()] = n
		v.sources = append(v.sources, s)
	}
	return n
}

// item is what is kept under key, or what load brings. It may be called from several goroutines.
func (v *view) item(key itemKey, load func() (any, int64, error)) (any, error) {
	v.mu.Lock()
	i := v.kept[key]
	if i != nil {
		if i.place != nil {
			v.used.MoveToFront(i.place)
		}
		v.mu.Unlock()
		<-i.ready
		return i.value, i.err
	}
	i = &item{key: key, ready: make(chan struct{})}
	v.kept[key] = i
	v.mu.Unlock()
	i.value, i.size, i.err = load()
	v.mu.Lock()
	defer v.mu.Unlock()
	close(i.ready)
	if i.err != nil && !segment.IsDamage(i.err) {
		delete(v.kept, key)
		return nil, i.err
	}
	i.place = v.used.PushFront(i)
	v.size += i.size
	for last := v.used.Back(); v.size > v.e.cfg.MaxBytes && last != i.place; last = v.used.Back() {
		v.drop(last.Value.(*item))
	}
	return i.value, i.err
}

func (v *view) drop(i *item) {
	if i.place != nil {
		v.used.Remove(i.place)
		v.size -= i.size
		v.dropped += i.size
		delete(v.kept, i.key)
	}
}

// turned tells whether as much was dropped since it last said so as is kept at all.
func (v *view) turned() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dropped < v.e.cfg.MaxBytes {
		return false
	}
	v.dropped = 0
	return true
}

// line is the timeline of a direction.
func (v *view) line(down bool) *timeline {
	if down {
		return &v.byLast
	}
	return &v.byFirst
}

// has tells whether an item is kept and good.
func (v *view) has(key itemKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.kept[key]
	return i != nil && i.place != nil && i.err == nil
}

// tables opens a part.
func (v *view) tables(p *part) (*segment.Segment, error) {
	if p.hot {
		return p.seg, nil
	}
	got, err := v.item(itemKey{p, -1, itemTables}, func() (any, int64, error) {
		s := &source{sc: p.sc, candidate: p.candidate, first: p.first, last: p.last}
		s.open()
		s.tail.letGo()
		if s.err != nil {
			return nil, 0, s.err
		}
		p.sc.opened.Add(-s.tables)
		return s.seg, s.tables, nil
	})
	if err != nil {
		return nil, err
	}
	return got.(*segment.Segment), nil
}

// open opens a part and knows its sources from then on. It is for the goroutine of the query.
func (v *view) open(p *part) (*segment.Segment, error) {
	seg, err := v.tables(p)
	if err != nil || p.numbers != nil {
		return seg, err
	}
	p.numbers = []uint32{}
	for session, source := range seg.Sources {
		v.mu.Lock()
		n, ok := v.sessions[session]
		v.mu.Unlock()
		if !ok {
			n = v.number(source)
			v.mu.Lock()
			v.sessions[session] = n
			v.mu.Unlock()
		}
		p.numbers = append(p.numbers, n)
	}
	slices.Sort(p.numbers)
	p.numbers = slices.Clip(slices.Compact(p.numbers))
	return seg, nil
}

// lacks tells that no record of p is of a source, as far as is known.
func (p *part) lacks(number uint32) bool {
	if p.bad {
		return true
	}
	if p.numbers == nil {
		return false
	}
	_, found := slices.BinarySearch(p.numbers, number)
	return !found
}

// raw reads bytes of a part.
func (v *view) raw(p *part, off int64, size int) ([]byte, error) {
	if p.hot {
		return p.source.raw[off : off+int64(size)], nil
	}
	b := make([]byte, size)
	return b, p.sc.readObject(p.key, p.size, off, b)
}

// ids gives the IDs of a block of a part that was opened.
func (v *view) ids(p *part, seg *segment.Segment, block int) (*idTable, error) {
	got, err := v.item(itemKey{p, block, itemIDs}, func() (any, int64, error) {
		dec, err := v.e.decoder()
		if err != nil {
			return nil, 0, err
		}
		defer v.e.decoders.Put(dec)
		info := seg.Blocks[block]
		var runs []segment.Run
		raw, err := v.raw(p, info.Offset+int64(info.TextSize), info.IDsSize)
		if err == nil {
			runs, err = dec.Runs(seg, info, raw)
		}
		if !p.hot {
			err = p.sc.mend(p.source, err, func(b objstore.Bucket) error {
				raw := make([]byte, info.IDsSize)
				err := p.sc.get(v.ctx, b, p.key, info.Offset+int64(info.TextSize), raw)
				if err == nil {
					runs, err = dec.Runs(seg, info, raw)
				}
				return err
			})
		}
		if err != nil {
			return nil, 0, err
		}
		t := v.index(runs)
		return t, 128 + int64(len(runs))*(24+4+4) + 64*int64(len(t.of)), nil
	})
	if err != nil {
		return nil, err
	}
	return got.(*idTable), nil
}

func (v *view) index(runs []segment.Run) *idTable {
	t := &idTable{runs: runs, starts: make([]uint32, len(runs)), of: map[uint32][]int32{}}
	v.mu.Lock()
	defer v.mu.Unlock()
	var at uint32
	var session uint64
	var number uint32
	for i, r := range runs {
		if i == 0 || r.Session != session {
			session, number = r.Session, v.sessions[r.Session]
		}
		t.starts[i] = at
		at += r.N
		t.of[number] = append(t.of[number], int32(i))
	}
	return t
}

// text gives a block of a part that was opened.
func (v *view) text(p *part, seg *segment.Segment, block int) (*segment.Block, error) {
	got, err := v.item(itemKey{p, block, itemText}, func() (any, int64, error) {
		dec, err := v.e.decoder()
		if err != nil {
			return nil, 0, err
		}
		defer v.e.decoders.Put(dec)
		info := seg.Blocks[block]
		b := &segment.Block{Text: make([]byte, 0, info.RawSize)}
		raw, err := v.raw(p, info.Offset, info.Size())
		if err == nil {
			err = dec.Block(b, seg, info, raw)
		}
		if !p.hot {
			err = p.sc.mend(p.source, err, func(bucket objstore.Bucket) error {
				raw := make([]byte, info.Size())
				if err := p.sc.get(v.ctx, bucket, p.key, info.Offset, raw); err != nil {
					return err
				}
				return dec.Block(b, seg, info, raw)
			})
		}
		if err != nil {
			return nil, 0, err
		}
		v.meter.add(func(s *Stats) {
			s.Blocks.Read++
			s.Requests.Decoded += int64(info.RawSize)
		})
		return b, 256 + int64(cap(b.Text)) + perRecord*int64(len(b.Runs)), nil
	})
	if err != nil {
		return nil, err
	}
	return got.(*segment.Block), nil
}

// openMany opens parts at once. What fails is met again by who needs it.
func (v *view) openMany(parts []*part) {
	var all errgroup.Group
	all.SetLimit(openAhead)
	for _, p := range parts {
		if p.numbers == nil && !p.bad && !v.has(itemKey{p, -1, itemTables}) {
			all.Go(func() error {
				_, _ = v.tables(p)
				return nil
			})
		}
	}
	_ = all.Wait()
}

// blockOf is the block within whose bounds an ID is; the next one if there is none.
func blockOf(seg *segment.Segment, id ulid.ULID) int {
	i, _ := slices.BinarySearchFunc(seg.Blocks, id, func(b segment.BlockInfo, id ulid.ULID) int { return b.Last.Compare(id) })
	return i
}

// afford fails when more was read than the query may.
func (v *view) afford() error {
	if v.q.MaxBytes == 0 {
		return nil
	}
	r := v.meter.stats().Requests
	if n := r.Fetched + r.Cached; n > v.q.MaxBytes {
		return &TooMuchError{Bytes: n, Max: v.q.MaxBytes, Segments: len(v.byFirst.parts)}
	}
	return nil
}
