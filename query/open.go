package query

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

const (
	// How much of an object's end is read at first, in bytes, where its filter is wanted. A seventh of the object holds most filters,
	// and saves a round trip; of an object for which that is more than mostTail, parts of the filter are read instead.
	leastTail, mostTail = segment.TailSize, 11 << 18
	// What is kept of it for blocks that are in there.
	keptTail = 256 << 10
	// Parts of a filter are read as one where no more than this lies between them, in bytes.
	filterGap = 512 << 10
)

// openAll opens the segments in order, some ahead of the dispatcher.
func (sc *scan) openAll(sources []*source) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, s := range sources {
		if s.hot {
			continue
		}
		// When the dispatcher has reached all that are open, they take nothing: the next is always opened.
		for sc.opened.Load() > openMemory {
			select {
			case <-sc.passed:
			case <-sc.ctx.Done():
				return
			}
		}
		select {
		case sc.ahead <- struct{}{}:
		case <-sc.ctx.Done():
			return
		}
		all.Go(func() {
			s.open()
			close(s.opened)
		})
	}
}

// open reads what stands behind the blocks of a segment, and asks its filter.
func (s *source) open() {
	sc := s.sc
	dec, err := sc.e.decoder()
	if err != nil {
		s.err = err
		return
	}
	defer sc.e.decoders.Put(dec)
	share := min(s.size, sc.tailSize(s.size))
	if s.err = sc.tails.Acquire(sc.ctx, share); s.err != nil {
		return
	}
	defer sc.tails.Release(share)
	start := sc.e.cfg.Now()
	from := func(size int64, read func(off int64, p []byte) error) error {
		s.tail.letGo()
		s.tail = tail{e: sc.e, read: read, size: size, want: sc.tailSize(size)}
		seg, err := dec.Open(&s.tail, size)
		if err == nil && (seg.First() != s.first || seg.Last() != s.last || seg.Records() != s.name.Records) {
			err = segment.ErrMisnamed
		}
		s.seg = seg
		return err
	}
	s.err = from(s.size, s.read)
	s.err = sc.mend(s, s.err, func(b objstore.Bucket) error {
		info, err := b.Stat(sc.ctx, s.key)
		if err != nil {
			return err
		}
		return from(info.Size, func(off int64, p []byte) error { return sc.get(sc.ctx, b, s.key, off, p) })
	})
	sc.meter.add(func(st *Stats) {
		st.Time.Open += sc.e.cfg.Now().Sub(start)
		if s.err == nil {
			st.Segments.Opened++
		}
	})
	if s.err == nil {
		s.sift()
	}
	if s.err == nil {
		s.tables = s.seg.Memory()
		sc.opened.Add(s.tables)
	}
	if s.err != nil || len(s.tail.b) > keptTail || s.tail.off > s.seg.Blocks[len(s.seg.Blocks)-1].Offset {
		s.tail.letGo() // it is too large, or there is no whole block in it
	}
}

// tailSize is how much to read of the end of an object of some size.
func (sc *scan) tailSize(size int64) int64 {
	if sc.sieve == nil || size/7 > mostTail {
		return leastTail
	}
	return max(size/7, leastTail)
}

// sift finds out which blocks the filter leaves. Where it cannot be had, all are.
func (s *source) sift() {
	sc, f := s.sc, s.seg.Filter
	if f != nil && !sc.q.Brute {
		s.plain = f.Plain
	}
	if sc.sieve == nil {
		return
	}
	if f == nil && s.seg.FilterErr == nil {
		sc.meter.add(func(st *Stats) { st.Segments.Bare++ })
		return
	}
	start := sc.e.cfg.Now()
	err := s.seg.FilterErr
	asked := false
	if err == nil {
		asked, err = s.askFilter(f)
	}
	s.seg.Filter = nil // it has said what it knows
	if errors.Is(err, objstore.ErrNotFound) {
		s.err = err
	}
	sc.meter.add(func(st *Stats) {
		st.Time.Prune += sc.e.cfg.Now().Sub(start)
		switch {
		case err != nil:
			st.Segments.Damaged++
		case asked:
			st.Segments.Sifted++
		}
	})
}

// askFilter reads the parts of the filter that matter and sets s.kept. It does not ask where that would read more than the blocks
// themselves.
func (s *source) askFilter(f *segment.Filter) (asked bool, err error) {
	sc := s.sc
	left := segment.NewSet(len(s.seg.Blocks), false)
	var cost, gain int64
	for i, b := range s.seg.Blocks {
		if sc.q.Range.Overlaps(b.First, b.Last) {
			left.Add(i)
			gain += int64(b.Size())
		}
	}
	said := told{make([]segment.Set, len(sc.sieve.grams)), f.Plain}
	places := sc.sieve.open(left, said)
	grams := sc.sieve.at(places)
	spans := f.Spans(grams, filterGap)
	for _, p := range spans {
		if s.tail.slice(p.Off, p.Size) == nil {
			cost += int64(p.Size)
		}
	}
	if cost > gain {
		return false, nil
	}
	share := min(cost, filterMemory)
	if err := sc.pages.Acquire(sc.ctx, share); err != nil {
		return false, err
	}
	defer sc.pages.Release(share)
	parts := make([][]byte, len(spans))
	var reads errgroup.Group
	for i, p := range spans {
		if parts[i] = s.tail.slice(p.Off, p.Size); parts[i] == nil {
			parts[i] = make([]byte, p.Size)
			reads.Go(func() error { return s.read(p.Off, parts[i]) })
		}
	}
	if err := reads.Wait(); err != nil {
		return false, err
	}
	sets, err := f.Blocks(grams, func(p segment.Span) ([]byte, error) {
		i, found := slices.BinarySearchFunc(spans, p.Off, func(s segment.Span, off int64) int { return cmp.Compare(s.Off, off) })
		if !found {
			i--
		}
		return parts[i][p.Off-spans[i].Off:][:p.Size], nil
	})
	if err != nil {
		return false, err
	}
	for i, place := range places {
		said.sets[place] = sets[i]
	}
	s.kept = sc.sieve.blocks(left, said)
	return true, nil
}

// read fills p with the segment's bytes, besides blocks: some reads of that kind are in flight at once.
func (s *source) read(off int64, p []byte) error {
	select {
	case s.sc.opens <- struct{}{}:
	case <-s.sc.ctx.Done():
		return s.sc.ctx.Err()
	}
	defer func() { <-s.sc.opens }()
	return s.sc.readObject(s.key, s.size, off, p)
}

// tail reads an object for Decoder.Open. It reads the end at once, more of it than Open asks for, and keeps it: filters
// and blocks may be in there.
type tail struct {
	e    *Engine
	read func(off int64, p []byte) error
	size int64 // of the object
	want int64 // bytes to read at first
	off  int64
	b    []byte
	mem  *[]byte // b's, to be given back
}

// ReadAt implements io.ReaderAt.
func (t *tail) ReadAt(p []byte, off int64) (int, error) {
	if t.b == nil {
		t.off = max(0, min(off, t.size-t.want))
		mem := t.e.tailBuffer(int(t.size - t.off))
		if err := t.read(t.off, *mem); err != nil {
			t.e.tails.Put(mem)
			return 0, err
		}
		t.mem, t.b = mem, *mem
	}
	n := 0
	if off < t.off {
		n = int(min(int64(len(p)), t.off-off))
		if err := t.read(off, p[:n]); err != nil {
			return 0, err
		}
	}
	n += copy(p[n:], t.b[off+int64(n)-t.off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// letGo gives back what was read.
func (t *tail) letGo() {
	if t.mem != nil {
		t.e.tails.Put(t.mem)
	}
	t.b, t.mem = nil, nil
}

func (t *tail) slice(off int64, size int) []byte {
	if t.b == nil || off < t.off || off+int64(size) > t.off+int64(len(t.b)) {
		return nil
	}
	return t.b[off-t.off:][:size]
}
