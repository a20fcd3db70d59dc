package query

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// What tells about segments without reading their blocks: how much a query would read, and of which sources there is something.

// inspect opens candidates, some at once, and calls visit for each; several calls are made at once. What replaces others is visited before these.
// The first error ends it.
func (sc *scan) inspect(ctx context.Context, candidates []candidate, visit func(*source) error) error {
	sources := sc.sourcesOf(candidates)
	slices.SortStableFunc(sources, func(a, b *source) int { return cmp.Compare(b.name.Generation, a.name.Generation) })
	for len(sources) > 0 {
		n := slices.IndexFunc(sources, func(s *source) bool { return s.name.Generation != sources[0].name.Generation })
		if n < 0 {
			n = len(sources)
		}
		if err := sc.inspectSome(ctx, sources[:n], visit); err != nil {
			return err
		}
		sources = sources[n:]
	}
	return ctx.Err()
}

// inspectSome is inspect of segments that do not replace each other.
func (sc *scan) inspectSome(ctx context.Context, sources []*source, visit func(*source) error) error {
	var all *errgroup.Group
	all, sc.ctx = errgroup.WithContext(ctx)
	all.SetLimit(openAhead)
	var claiming sync.Mutex
	for _, s := range sources {
		for sc.opened.Load() > openMemory && sc.ctx.Err() == nil {
			select {
			case <-sc.passed:
			case <-sc.ctx.Done():
			}
		}
		if sc.ctx.Err() != nil {
			break
		}
		all.Go(func() error {
			s.open()
			defer func() {
				s.tail.letGo()
				sc.opened.Add(-s.tables)
				s.seg, s.kept, s.plain, s.claims = nil, nil, nil, nil
				select {
				case sc.passed <- struct{}{}:
				default:
				}
			}()
			if s.compacted() {
				return nil
			}
			if s.err == nil {
				s.wanted = sc.q.Sources.of(s.seg.Sources)
				claiming.Lock()
				sc.replace(s)
				claiming.Unlock()
			}
			return visit(s)
		})
	}
	return all.Wait()
}

// afford fails with a TooMuchError if reading the candidates takes more than the query may.
func (sc *scan) afford(ctx context.Context, candidates []candidate) error {
	var listed int64
	for _, c := range candidates {
		listed += c.size
	}
	if listed <= sc.q.MaxBytes {
		return nil
	}
	// What their filters leave may still be less. Without a cache, what tells that is read twice.
	times := int64(2)
	if sc.e.cfg.Cache != nil {
		times = 1
	}
	before := sc.meter.stats()
	var blocks atomic.Int64
	err := sc.inspect(ctx, candidates, func(s *source) error {
		if s.err != nil {
			blocks.Add(s.size)
		} else {
			for _, b := range s.blocks {
				blocks.Add(int64(b.Size()))
			}
		}
		r := sc.meter.stats().Requests
		n := blocks.Load() + times*(r.Fetched-before.Requests.Fetched) + r.Cached - before.Requests.Cached
		if n > sc.q.MaxBytes {
			return &TooMuchError{Bytes: n, Max: sc.q.MaxBytes, Segments: len(candidates)}
		}
		return nil
	})
	sc.meter.add(func(s *Stats) { s.Segments, s.Blocks = before.Segments, before.Blocks })
	return err
}

// survey lists the segments of the query's range and visits each of them, and the unflushed batches: one at a time, in no order. Where
// one has gone since it was listed, it begins anew, and calls anew before that. What cannot be read is a problem.
func (r *run) survey(ctx context.Context, anew func(), visit func(*source)) error {
	hot, err := r.holdHot(ctx)
	if err != nil {
		return err
	}
	defer hot.letGo()
	if r.q.Range.Empty() {
		return nil
	}
	gone := map[string]bool{}
	for n := 1; ; n++ {
		anew()
		candidates, err := r.candidates(ctx)
		if err != nil {
			return err
		}
		sc := newScan(r, gone, n == maxListings)
		for _, h := range hot.sources {
			s := &source{sc: sc, hot: true, seg: h.seg, first: h.first, last: h.last}
			s.wanted = r.q.Sources.of(h.seg.Sources)
			visit(s)
		}
		var mu sync.Mutex // of visit, and of the answer
		err = sc.inspect(ctx, candidates, func(s *source) error {
			mu.Lock()
			defer mu.Unlock()
			if s.err == nil {
				visit(s)
				return nil
			}
			if err := s.fail(Problem{First: s.first, Last: s.last, Err: s.err}); !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		})
		missing, ok := errors.AsType[*anewError](err)
		if !ok {
			return err
		}
		gone[missing.key] = true
	}
}

// Estimate is what a query would read.
type Estimate struct {
	// Segments, and unflushed batches, of which there are blocks to be read.
	Segments int `json:"segments"`
	// Blocks to be read, and their records, of which some may be out of the range or of other sources; Text is their bytes of text.
	Blocks  int   `json:"blocks"`
	Records int64 `json:"records"`
	Text    int64 `json:"text"`
	// Bytes of these blocks that are in the bucket, to be fetched or to come from the cache, and about how many range reads that takes.
	Bytes int64 `json:"bytes"`
	Reads int   `json:"reads"`
	// Answer holds what a query that reads tells, too, of what was read for this: Required and Sieved, Problems (what the query cannot
	// read, as far as that shows), and in Stats the segments in the range, the blocks that are left out, and the requests for
	// listings, tails and filters, which the query makes again, except for what the cache holds.
	Answer *Answer `json:"answer"`
}

// Estimate tells what a query would read, from the ends of segments and from their filters, without reading blocks. What a limit may save is
// not foreseen. Query.MaxBytes does not matter.
func (e *Engine) Estimate(ctx context.Context, q Query) (Estimate, error) {
	q.MaxBytes = 0
	r, err := e.begin(q)
	est := Estimate{Answer: r.ans}
	if err != nil {
		return est, err
	}
	err = r.survey(ctx, func() {
		est = Estimate{Answer: r.ans}
		r.meter.add(func(s *Stats) { s.Blocks = BlockStats{} })
	}, est.add)
	r.end()
	return est, err
}

// add counts what the query reads of s.
func (est *Estimate) add(s *source) {
	var blocks []segment.BlockInfo
	for _, b := range s.blocks {
		blocks = append(blocks, b)
	}
	if len(blocks) > 0 {
		est.Segments++
	}
	est.Blocks += len(blocks)
	for _, b := range blocks {
		est.Records += int64(b.Records)
		est.Text += int64(b.RawSize)
		if !s.hot {
			est.Bytes += int64(b.Size())
		}
	}
	for len(blocks) > 0 && !s.hot {
		n, size := together(blocks, len(blocks) <= 2*s.sc.e.cfg.Workers)
		if s.tail.slice(blocks[0].Offset, size) == nil {
			est.Reads++
		}
		blocks = blocks[n:]
	}
}

// together tells how many of the blocks one read brings, and how many bytes these are.
func together(blocks []segment.BlockInfo, alone bool) (n, size int) {
	text := 0
	for i, b := range blocks {
		if i > 0 && (alone || b.Offset != blocks[0].Offset+int64(size) || size+b.Size() > readSize || text+b.RawSize > readText) {
			return i, size
		}
		size, text = size+b.Size(), text+b.RawSize
	}
	return len(blocks), size
}
