package query

import (
	"context"
	"errors"
	"fmt"
	"io"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// readObject fills p with bytes of an object of a size, from the cache or from the bucket.
func (sc *scan) readObject(key string, size, off int64, p []byte) error {
	c := sc.e.cfg.Cache
	if c == nil {
		return sc.get(sc.ctx, sc.e.cfg.Bucket, key, off, p)
	}
	out, err := c.Read(sc.ctx, sc.e.cacheKey(key), size, off, p, func(ctx context.Context, off int64, p []byte) error {
		return sc.get(ctx, sc.e.cfg.Bucket, key, off, p)
	})
	sc.meter.add(func(s *Stats) { s.Requests.Cached += out.FromMemory + out.FromDisk + out.Shared })
	return err
}

// cacheKey is what the cache calls an object.
func (e *Engine) cacheKey(key string) string {
	if e.cfg.CacheSpace == "" {
		return key
	}
	return e.cfg.CacheSpace + "/" + key
}

// get is one range read.
func (sc *scan) get(ctx context.Context, b objstore.Bucket, key string, off int64, p []byte) error {
	n, err := b.Get(ctx, key, off, p)
	sc.meter.add(func(s *Stats) {
		s.Requests.Gets++
		s.Requests.Fetched += int64(n)
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: truncated: %w", segment.ErrCorrupt, err)
	}
	return err
}

// mend deals with err, which reading an object has brought: if that is damage, it reads once more from each of the buckets
// until it succeeds, and returns what is wrong in the end.
func (sc *scan) mend(s *source, err error, read func(objstore.Bucket) error) error {
	if !segment.IsDamage(err) && !errors.Is(err, segment.ErrMisnamed) {
		return err
	}
	copies := sc.e.cfg.Copies
	if c := sc.e.cfg.Cache; c != nil {
		c.Forget(sc.e.cacheKey(s.key), s.size)
		copies = append([]objstore.Bucket{sc.e.cfg.Bucket}, copies...)
	}
	for _, b := range copies {
		if read(b) == nil {
			sc.meter.add(func(s *Stats) { s.Segments.Mended++ })
			return nil
		}
	}
	return err
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

// fetch reads the bytes of x, which is of s, unless that was done.
func (sc *scan) fetch(s *source, x *extent) {
	x.once.Do(func() {
		start := sc.e.cfg.Now()
		x.buffer = sc.e.buffer(x.size)
		if x.err = sc.readObject(s.key, s.size, x.offset, *x.buffer); x.err == nil {
			x.raw = *x.buffer
		}
		sc.meter.add(func(s *Stats) { s.Time.Fetch += sc.e.cfg.Now().Sub(start) })
	})
}
