package query

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// openAll opens the segments in order, some ahead of the dispatcher.
func (sc *scan) openAll(sources []*source) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, s := range sources {
		if s.hot {
			continue
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

// open reads what stands behind the blocks of a segment.
func (s *source) open() {
	sc := s.sc
	dec, err := sc.e.decoder()
	if err != nil {
		s.err = err
		return
	}
	defer sc.e.decoders.Put(dec)
	start := sc.e.cfg.Now()
	from := func(b objstore.Bucket, size int64) error {
		s.tail = tail{r: objstore.ReaderAt(sc.ctx, b, s.key), reads: s.tail.reads, fetched: s.tail.fetched}
		seg, err := dec.Open(&s.tail, size)
		if err == nil && (seg.First() != s.first || seg.Last() != s.last || seg.Records() != s.name.Records) {
			err = ErrMisnamed
		}
		s.seg = seg
		return err
	}
	s.err = from(sc.e.cfg.Bucket, s.size)
	s.err = sc.mend(s.err, func(b objstore.Bucket) error {
		info, err := b.Stat(sc.ctx, s.key)
		if err != nil {
			return err
		}
		return from(b, info.Size)
	})
	sc.meter.add(func(st *Stats) {
		st.Requests.Gets += s.tail.reads
		st.Requests.Fetched += s.tail.fetched
		st.Time.Open += sc.e.cfg.Now().Sub(start)
		if s.err == nil {
			st.Segments.Opened++
		}
	})
	if s.err == nil {
		s.tail.keep(s.seg)
	}
}

// mend deals with err, which reading an object has brought: if that is damage, it reads once more from each of the copies
// until it succeeds, and returns what is wrong in the end.
func (sc *scan) mend(err error, read func(objstore.Bucket) error) error {
	if !segment.IsDamage(err) && !errors.Is(err, ErrMisnamed) {
		return err
	}
	for _, b := range sc.e.cfg.Copies {
		if read(b) == nil {
			sc.meter.add(func(s *Stats) { s.Segments.Mended++ })
			return nil
		}
	}
	return err
}

// tail reads an object for Decoder.Open and keeps the end that it read: a small segment is in there whole.
type tail struct {
	r       io.ReaderAt
	off     int64
	b       []byte
	reads   int
	fetched int64
}

// ReadAt implements io.ReaderAt.
func (t *tail) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.r.ReadAt(p, off)
	t.reads++
	t.fetched += int64(n)
	if err == nil && t.b == nil {
		t.b, t.off = p, off // Open does not write to it any more
	}
	return n, err
}

// keep lets go of what will not be used: bytes in which there is no whole block.
func (t *tail) keep(seg *segment.Segment) {
	if t.off > seg.Blocks[len(seg.Blocks)-1].Offset {
		t.b = nil
	}
}

func (t *tail) slice(off int64, size int) []byte {
	if t.b == nil || off < t.off || off+int64(size) > t.off+int64(len(t.b)) {
		return nil
	}
	return t.b[off-t.off:][:size]
}

// bytesAt is a body in memory as an io.ReaderAt.
type bytesAt []byte

// ReadAt implements io.ReaderAt.
func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fetch reads the bytes of r.
func (sc *scan) fetch(r *read) {
	var size int
	for _, t := range r.tasks {
		size += t.info.Size()
	}
	start := sc.e.cfg.Now()
	r.buffer = sc.e.buffer(size)
	n, err := sc.e.cfg.Bucket.Get(sc.ctx, r.s.key, r.offset, *r.buffer)
	if err == nil {
		r.raw = *r.buffer
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: truncated: %w", segment.ErrCorrupt, err)
	}
	r.err = err
	sc.meter.add(func(s *Stats) {
		s.Requests.Gets++
		s.Requests.Fetched += int64(n)
		s.Time.Fetch += sc.e.cfg.Now().Sub(start)
	})
}
