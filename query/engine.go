package query

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/cache"
	"oklog/query/match"
	"oklog/query/required"
	"oklog/query/where"
)

// Config is what an engine works with.
type Config struct {
	Bucket objstore.Bucket
	Hot    Hot // nil: only what is in the bucket
	// HotMayFail has queries answered without what Hot cannot tell, as partial answers (ErrHotAway). Else they fail.
	HotMayFail bool
	// Copies are the buckets that Bucket reads from, where it stands for several: each is asked by itself for what
	// is damaged in the one that Bucket chose.
	Copies []objstore.Bucket
	// Cache keeps what was read of objects; nil: nothing is kept. Where it is that of other buckets, too, or shares a folder with theirs, CacheSpace tells
	// these buckets from the others: a key names its content, but whoever may write to one bucket is not to decide what is found in another.
	Cache      *cache.Cache
	CacheSpace string

	Workers  int // that decode and match; 0: one for each core
	Fetches  int // range reads in flight; 0: 32
	Listings int // listings in flight; 0: 16
	// MaxBytes bounds what a query has in flight: blocks as they are fetched, and what was found
	// in them. What goes beyond it, one block for each of the segments that overlap at some time, is packed. 0: 64 MiB.
	MaxBytes int64
	// MaxHotBytes bounds the unflushed batches that a query holds. 0: 256 MiB. Beyond that it takes of Spare, then it holds only batches
	// in which it finds something, if it looks for something; and if these are too many as well, the answer is partial.
	MaxHotBytes int64
	Spare       *Spare // what engines share; nil: nothing

	Now func() time.Time // for Stats; nil: time.Now
}

// Query is what is asked.
type Query struct {
	Topic   string
	Range   Range
	Pattern *match.Program // nil: every record
	Where   *where.Expr    // what has to hold of each record besides; nil: nothing
	Sources *Sources       // nil: of every source
	Newest  bool           // the newest record first
	Limit   int64          // records that match to put out at most; 0: no limit
	// Before and After are how many records of the same source are put out around each that matches, as far as they are in the range.
	// Before are the older ones, also where the newest come first. With either, records are in the order that RunContext tells. A limit counts
	// matches: what stands around the last one is put out, and is context, whether it matches or not.
	Before, After int
	// Brute reads every block, whatever filters say, and whatever segments say that they replace.
	Brute bool
	// MaxBytes is how much the query may read from the bucket; it fails with a TooMuchError if it would be more. What a limit
	// may save is not foreseen. 0: no bound.
	MaxBytes int64
	// CountOnly leaves out emit: only Answer.Count is wanted.
	CountOnly bool
	// IDsOnly puts out records without their texts, and without context: IDs, sources and what belongs together. Where nothing is looked for in
	// the texts they are not decompressed.
	IDsOnly bool
	// Idle, if set, is called when the query is about to wait: a good moment to flush what emit has put
	// into a buffer. It is called by the goroutine that calls emit.
	Idle func()
	// Watch, if set, is called once, before anything is read, with a function that tells what the query has cost so far. That
	// one may be called from any goroutine, and whenever.
	Watch func(cost func() Stats)
}

// check refuses what cannot be asked.
func (q *Query) check() error {
	switch {
	case q.Limit < 0:
		return fmt.Errorf("limit %d: want at least 1, or 0 for none", q.Limit)
	case q.MaxBytes < 0:
		return fmt.Errorf("at most %d bytes: want at least 1, or 0 for no bound", q.MaxBytes)
	case q.Before < 0 || q.Before > MaxContext || q.After < 0 || q.After > MaxContext:
		return fmt.Errorf("context of %d and %d records: want 0 to %d", q.Before, q.After, MaxContext)
	}
	return segment.CheckTopic(q.Topic)
}

// required is what a record must hold for the query to want it; nil if nothing is asked of records.
func (q *Query) required() *required.Expr {
	switch {
	case q.Pattern != nil && q.Where != nil:
		return required.And(q.Pattern.Required(), q.Where.Required())
	case q.Pattern != nil:
		return q.Pattern.Required()
	case q.Where != nil:
		return q.Where.Required()
	}
	return nil
}

// Record is what a query puts out.
type Record struct {
	segment.Record
	// Joined says that it belongs to the record before it, without anything in between: both are pieces of
	// one that was cut. (Newest first, the piece before it is the later one.)
	Joined bool
	// Context says that it is not one of the matches: it stands beside one.
	Context bool
	// Apart says that it does not follow, among the records of its source, on one that was put out; it is told with Query.Before or
	// After, and not of the first record.
	Apart bool
}

// Runner answers queries: an Engine does, and whoever has engines elsewhere do it.
type Runner interface {
	// Run calls emit with each record found, in order, from one goroutine at a time. The record's text is valid until emit returns. emit
	// ends the query with segment.ErrStop, or fails it with another error. What cannot be read is a problem of the answer, which
	// is never nil; an error means that the query could not be done at all, or not to its end, and the answer then holds what is
	// known until there.
	Run(ctx context.Context, q Query, emit func(Record) error) (*Answer, error)
}

var _ Runner = (*Engine)(nil)

// Engine runs queries. Its methods may be called from any number of goroutines.
type Engine struct {
	cfg      Config
	decoders sync.Pool
	blocks   sync.Pool
	buffers  sync.Pool
	tails    sync.Pool
}

// New makes an engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Bucket == nil {
		return nil, errors.New("make query engine: no bucket")
	}
	for _, n := range []struct {
		value *int64
		usual int64
		name  string
	}{{&cfg.MaxBytes, 64 << 20, "MaxBytes"}, {&cfg.MaxHotBytes, 256 << 20, "MaxHotBytes"}} {
		if *n.value < 0 {
			return nil, fmt.Errorf("make query engine: %s is %d: want at least 1, or 0 for the default", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	for _, n := range []struct {
		value *int
		usual int
		name  string
	}{{&cfg.Workers, runtime.GOMAXPROCS(0), "Workers"}, {&cfg.Fetches, 32, "Fetches"}, {&cfg.Listings, 16, "Listings"}} {
		if *n.value < 0 || *n.value > 4096 {
			return nil, fmt.Errorf("make query engine: %s is %d: want 1 to 4096, or 0 for the default", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if _, err := segment.NewDecoder(); err != nil {
		return nil, fmt.Errorf("make query engine: %w", err)
	}
	return &Engine{cfg: cfg}, nil
}

// decoder lends a decoder: it takes memory that is worth keeping.
func (e *Engine) decoder() (*segment.Decoder, error) {
	if d, ok := e.decoders.Get().(*segment.Decoder); ok {
		return d, nil
	}
	return segment.NewDecoder()
}

func (e *Engine) block() *segment.Block {
	if b, ok := e.blocks.Get().(*segment.Block); ok {
		return b
	}
	return &segment.Block{}
}

// recycle takes back a block that nobody holds on to.
func (e *Engine) recycle(b *segment.Block) {
	b.Reset()
	e.blocks.Put(b)
}

// buffer lends n bytes for blocks.
func (e *Engine) buffer(n int) *[]byte { return lend(&e.buffers, n) }

// tailBuffer lends n bytes for the end of an object.
func (e *Engine) tailBuffer(n int) *[]byte { return lend(&e.tails, n) }

func lend(from *sync.Pool, n int) *[]byte {
	if p, ok := from.Get().(*[]byte); ok && cap(*p) >= n {
		*p = (*p)[:n]
		return p
	}
	p := roomFor(n)[:n]
	return &p
}

// maxListings bounds how often a query begins anew since objects have gone.
const maxListings = 4

// HasContext tells that what stands around records is put out, too.
func (q *Query) HasContext() bool {
	return (q.Before != 0 || q.After != 0) && !q.CountOnly && !q.IDsOnly
}

// Run implements Runner.
func (e *Engine) Run(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	if q.HasContext() {
		return e.runContext(ctx, q, emit)
	}
	return e.runWith(ctx, q, emit, nil, nil)
}

// runWith answers a query without context on what a survey holds, and has listed; without one, or with nil, it holds, and lists, by
// itself.
func (e *Engine) runWith(ctx context.Context, q Query, emit func(Record) error, held *held, listed *[]objstore.Info) (*Answer, error) {
	r, err := e.begin(q)
	switch {
	case err != nil:
		return r.ans, err
	case q.CountOnly:
	case emit == nil:
		return r.ans, errors.New("query: nowhere to put the records")
	default:
		r.emit = emit
	}
	r.held, r.listed = held, listed
	err = r.answer(ctx)
	r.end()
	return r.ans, err
}

// begin checks a query and makes a run of it.
func (e *Engine) begin(q Query) (*run, error) {
	r := &run{e: e, q: q, ans: &Answer{}, start: e.cfg.Now()}
	if err := q.check(); err != nil {
		return r, fmt.Errorf("query: %w", err)
	}
	if q.Watch != nil {
		q.Watch(r.meter.stats)
	}
	if q.Pattern != nil && q.Pattern.All() {
		r.q.Pattern = nil
	}
	if needed := r.q.required(); needed != nil {
		r.ans.Required = needed.String()
		if !q.Brute {
			r.sieve = newSieve(needed)
			r.ans.Sieved = r.sieve != nil
		}
	}
	return r, nil
}

// end puts into the answer what the run has cost.
func (r *run) end() {
	r.ans.Stats = r.meter.stats()
	r.ans.Stats.Time.Total = r.e.cfg.Now().Sub(r.start)
	r.ans.Stats.Records.Found = r.found
}

// run is one query.
type run struct {
	e     *Engine
	q     Query
	emit  func(Record) error
	tally func(ms uint64, n int64) error // besides emit, for many at once; nil: none
	ans   *Answer
	start time.Time
	meter meter
	sieve *sieve // nil: filters are not asked

	found   int64
	last    ulid.ULID // put out last
	piece   segment.Piece
	any     bool // something was put out
	began   bool // the time of the first record is known
	limited bool // the limit ended it

	held   *held            // of a survey; nil: the run holds by itself
	listed *[]objstore.Info // of a survey: the first listing; nil: the run lists by itself
}

func (r *run) answer(ctx context.Context) error {
	hot := r.held
	if hot == nil {
		var err error
		if hot, err = r.holdHot(ctx); err != nil {
			return err
		}
		defer hot.letGo()
	}
	gone := map[string]bool{} // objects that were listed and were not there
	for n := 1; ; n++ {
		missing, err := r.pass(ctx, hot.sources, gone, n == maxListings)
		if err != nil {
			return err
		}
		if missing == "" {
			return nil
		}
		// It has been compacted since. The records that were put out are complete up to the last one:
		// the query goes on behind that with a new listing.
		gone[missing] = true
		switch {
		case r.q.CountOnly:
			r.found, r.ans.Count, r.any = 0, 0, false // nothing is shown yet
		case !r.any:
		case r.q.Newest:
			r.q.Range.To = r.last
		default:
			r.q.Range.From = segment.After(r.last)
		}
	}
}

// pass lists, reads and merges once. It returns the key of an object without which it has to be done anew (see anewError), unless
// that was so before, which is a problem of the answer.
func (r *run) pass(ctx context.Context, hot []*source, gone map[string]bool, final bool) (missing string, err error) {
	if r.q.Range.Empty() {
		return "", nil
	}
	candidates, err := r.candidates(ctx)
	if err != nil {
		return "", err
	}
	sc := newScan(r, gone, final)
	if r.q.MaxBytes > 0 {
		if err := sc.afford(ctx, candidates); err != nil {
			return "", err
		}
	}
	err = sc.merge(ctx, candidates, hot)
	if e, ok := errors.AsType[*anewError](err); ok {
		return e.key, nil
	}
	return "", err
}

// candidates lists the segments of the range, in the order in which a merge needs them.
func (r *run) candidates(ctx context.Context) ([]candidate, error) {
	infos, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	p := makePlan(infos, r.q.Topic, r.q.Range, r.q.Newest)
	r.meter.add(func(s *Stats) {
		s.Segments.Listed += p.listed
		s.Segments.InRange += len(p.candidates)
	})
	for _, f := range p.foreign {
		r.ans.note(f)
	}
	return p.candidates, nil
}

// list makes the listings of the range, some at once; but for what a survey has listed.
func (r *run) list(ctx context.Context) ([]objstore.Info, error) {
	if r.listed != nil {
		infos := *r.listed
		r.listed = nil // what comes after it is listed anew
		return infos, nil
	}
	start := r.e.cfg.Now()
	defer func() {
		r.meter.add(func(s *Stats) {
			s.Listings++
			s.Time.List += r.e.cfg.Now().Sub(start)
		})
	}()
	todo := listings(r.q.Topic, r.q.Range)
	if len(todo) <= fewListings {
		return r.listAll(ctx, todo)
	}
	infos, last, err := r.listOne(ctx, opening(todo))
	if errors.Is(err, objstore.ErrIncomplete) {
		r.ans.note(Problem{Err: err})
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	infos = slices.DeleteFunc(infos, func(i objstore.Info) bool { return !within(todo, i.Key) })
	if last == "" {
		return infos, nil
	}
	rest, err := r.listAll(ctx, remaining(todo, last))
	return append(infos, rest...), err
}

// listAll makes listings, some at once.
func (r *run) listAll(ctx context.Context, todo []listing) ([]objstore.Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make([][]objstore.Info, len(todo))
	errs := make([]error, len(todo))
	slots := make(chan struct{}, r.e.cfg.Listings)
	var all sync.WaitGroup
	for i, l := range todo {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			found[i], _, errs[i] = r.listOne(ctx, l)
			if errs[i] != nil && !errors.Is(errs[i], objstore.ErrIncomplete) {
				cancel()
			}
		})
	}
	all.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, objstore.ErrIncomplete) }); i >= 0 {
		r.ans.note(Problem{Err: errs[i]}) // one bucket is away: it lacks in every listing
		errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, objstore.ErrIncomplete) })
	}
	// Of several errors the first that is not a consequence of another.
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) })
	if i < 0 {
		i = slices.IndexFunc(errs, func(err error) bool { return err != nil })
	}
	if i >= 0 {
		return nil, fmt.Errorf("list segments: %w", errs[i])
	}
	return slices.Concat(found...), nil
}

// listOne makes a listing. Where there is more than it may bring, last is the last key of it.
func (r *run) listOne(ctx context.Context, l listing) (infos []objstore.Info, last string, err error) {
	n := 0
	defer func() { r.meter.add(func(s *Stats) { s.Requests.Lists += max(1, (n+keysOfPage-1)/keysOfPage) }) }()
	for info, err := range r.e.cfg.Bucket.List(ctx, l.prefix, l.after) {
		if errors.Is(err, objstore.ErrIncomplete) {
			return infos, "", err
		}
		if err != nil {
			return nil, "", err
		}
		n++
		// What does not matter is not kept: a listing may be of many years.
		if _, name, err := segment.ParseKey(info.Key); err != nil || r.q.Range.Overlaps(name.First, name.Last) {
			infos = append(infos, info)
		} else {
			r.meter.add(func(s *Stats) { s.Segments.Listed++ })
		}
		if n == l.most {
			return infos, info.Key, ctx.Err()
		}
	}
	return infos, "", ctx.Err()
}

// take is the sink of the merge.
func (r *run) take(sc *scan, c *segment.Cursor, n int) error {
	if err := sc.ctx.Err(); err != nil {
		return err
	}
	if r.q.CountOnly && r.q.Limit == 0 && !sc.pieces {
		r.found += int64(n)
		r.ans.Count += int64(n)
		r.first()
		return nil
	}
	if r.tally != nil && r.q.Limit == 0 && !sc.pieces {
		return r.takeRuns(c, n)
	}
	for range n {
		rec := Record{Record: c.Next()}
		rec.Joined = r.joined(rec.Record)
		if r.q.Limit > 0 && r.ans.Count == r.q.Limit && !rec.Joined {
			r.limited = true // the piece before it goes on in one that was not found
			return segment.ErrStop
		}
		r.last, r.piece, r.any = rec.ID, rec.Piece, true
		if !rec.Joined {
			r.ans.Count++
		}
		r.found++
		if rec.Piece != 0 {
			r.meter.add(func(s *Stats) { s.Records.Pieces++ })
		}
		r.first()
		if r.emit != nil {
			if err := r.emit(rec); err != nil {
				r.limited = true
				return err
			}
		}
		if r.q.Limit > 0 && r.ans.Count >= r.q.Limit && !r.goesOn(rec.Piece) {
			r.limited = true
			return segment.ErrStop
		}
	}
	return nil
}

// takeRuns is take where only the times matter, and nothing is a piece.
func (r *run) takeRuns(c *segment.Cursor, n int) error {
	r.first()
	for ids := range c.Runs(n) {
		r.last, r.piece, r.any = ids.Last(), 0, true
		r.found += int64(ids.N)
		r.ans.Count += int64(ids.N)
		if err := r.tally(ids.Time, int64(ids.N)); err != nil {
			r.limited = true
			return err
		}
	}
	return nil
}

// first notes when the first record was put out.
func (r *run) first() {
	if !r.began {
		r.began = true
		r.meter.add(func(s *Stats) { s.Time.First = r.e.cfg.Now().Sub(r.start) })
	}
}

// goesOn tells whether a piece is followed by another one of the same record.
func (r *run) goesOn(p segment.Piece) bool { return r.q.GoesOn(p) }

// joined tells whether rec is the piece next to the one put out last.
func (r *run) joined(rec segment.Record) bool {
	return r.any && r.q.Joins(r.last, r.piece, rec)
}
