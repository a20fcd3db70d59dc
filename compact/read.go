package compact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// errGone says that no copy of a segment is there any more: somebody else has replaced it.
var errGone = errors.New("no copy is there any more")

// errBytes says that an object has changed since it was written.
var errBytes = fmt.Errorf("%w: its bytes are not those that its key names", segment.ErrCorrupt)

// damageError says that no copy of a segment can be decoded.
type damageError struct {
	s   *Segment
	err error
}

func (e *damageError) Error() string { return fmt.Sprintf("%s: %v", e.s.Key(), e.err) }
func (e *damageError) Unwrap() error { return e.err }

// fromCopies has read try the copies of s in turn until one succeeds. An error is a damageError, errGone (wrapped), ctx's, or
// what kept copies from being read.
func (c *Compactor) fromCopies(ctx context.Context, s *Segment, read func(Copy) error) error {
	var damage, failed error
	for _, first := range []bool{true, false} { // those that are away come last
		for i := range s.In.each {
			if c.there().Has(i) != first {
				continue
			}
			err := read(c.cfg.Copies[i])
			switch {
			case err == nil:
				if damage != nil {
					c.noteBadCopy(s, damage)
				}
				return nil
			case ctx.Err() != nil:
				return fmt.Errorf("read %s: %w", s.Key(), ctx.Err())
			case errors.Is(err, objstore.ErrNotFound):
			case segment.IsDamage(err), errors.Is(err, io.ErrUnexpectedEOF), c.answers(ctx, i):
				damage = fmt.Errorf("in %s: %w", c.cfg.Copies[i].Name, err)
			default:
				c.leave(i, err)
				failed = err
			}
		}
	}
	switch {
	case failed != nil:
		return fmt.Errorf("read %s: %w", s.Key(), failed)
	case damage != nil:
		return &damageError{s, damage}
	}
	return fmt.Errorf("read %s: %w", s.Key(), errGone)
}

// readFull is Get of all of p.
func readFull(ctx context.Context, b objstore.Bucket, key string, off int64, p []byte) error {
	_, err := b.Get(ctx, key, off, p)
	return err
}

// lineage reads what s replaces, of the segments of its day.
func (c *Compactor) lineage(ctx context.Context, s *Segment, segments map[segment.Name]*Segment) (l segment.Lineage, err error) {
	err = c.fromCopies(ctx, s, func(b Copy) error {
		dec, err := segment.NewDecoder()
		if err != nil {
			return err
		}
		seg, err := open(dec, objstore.ReaderAt(ctx, b, s.Key()), s)
		if err != nil {
			return err
		}
		l = seg.Lineage
		return checkClaims(s, l, seg.Blocks, segments)
	})
	return l, err
}

// open reads a segment's tables. That it is not what its name says is damage.
func open(dec *segment.Decoder, at io.ReaderAt, s *Segment) (*segment.Segment, error) {
	seg, err := dec.Open(at, s.Size)
	if err != nil {
		return nil, err
	}
	var text int64
	for _, b := range seg.Blocks {
		text += int64(b.RawSize)
	}
	n := s.Name
	if seg.First() != n.First || seg.Last() != n.Last || seg.Records() != n.Records || text != n.RawBytes || seg.Generation != n.Generation {
		return nil, fmt.Errorf("%w: %w", segment.ErrCorrupt, segment.ErrMisnamed)
	}
	return seg, nil
}

// sound tells whether copy i of s has the bytes that its key names. It reads all of it.
func (c *Compactor) sound(ctx context.Context, i int, key string, n segment.Name, size int64) error {
	sum := sha256.New()
	buf := make([]byte, min(size, chunkSize))
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), size-off)]
		if err := readFull(ctx, c.cfg.Copies[i], key, off, buf); err != nil {
			return err
		}
		sum.Write(buf)
	}
	if [8]byte(sum.Sum(nil)) != n.Hash {
		return errBytes
	}
	return nil
}

// reader is a segment as an input of the merge. It is opened when the merge comes to it, or ahead of that by a fetcher.
type reader struct {
	c   *Compactor
	ctx context.Context
	s   *Segment
	job *Job
	dec *segment.Decoder // of the merge

	fetch  sync.Once
	whole  []byte // all of it, if it is small
	err    error
	opened chan struct{} // closed when the merge has come to it

	seg   *segment.Segment
	next  int    // block
	chunk []byte // bytes of it from chunkOff
	off   int64
	block segment.Block
}

var _ segment.Input = (*reader)(nil)

// get reads all of a small segment, once.
func (r *reader) get() {
	r.fetch.Do(func() {
		if r.s.Size > wholeSize {
			return
		}
		r.whole = make([]byte, r.s.Size)
		r.err = r.c.fromCopies(r.ctx, r.s, func(b Copy) error { return readFull(r.ctx, b, r.s.Key(), 0, r.whole) })
	})
}

// First implements segment.Input.
func (r *reader) First() ulid.ULID {
	first := r.s.Name.First
	if r.seg != nil && r.next < len(r.seg.Blocks) {
		first = r.seg.Blocks[r.next].First
	}
	if first.Compare(r.job.After) <= 0 {
		first = segment.After(r.job.After) // what is before is left out
	}
	return first
}

// Next implements segment.Input: blocks of the job's stretch, cut to it.
func (r *reader) Next() (*segment.Block, error) {
	if r.seg == nil {
		if err := r.open(); err != nil {
			return nil, err
		}
		for r.next < len(r.seg.Blocks) && r.seg.Blocks[r.next].Last.Compare(r.job.After) <= 0 {
			r.next++
		}
		return &segment.Block{}, nil // the merge asks First again: the block may begin later
	}
	if r.next == len(r.seg.Blocks) || r.seg.Blocks[r.next].First.Compare(r.job.Through) > 0 {
		r.letGo()
		return nil, io.EOF
	}
	info := r.seg.Blocks[r.next]
	if err := r.read(info); err != nil {
		return nil, err
	}
	r.next++
	return r.clip(), nil
}

// open reads the segment's tables.
func (r *reader) open() error {
	close(r.opened)
	r.get()
	if r.err != nil {
		return r.err
	}
	key := r.s.Key()
	try := func(at io.ReaderAt) (err error) {
		r.seg, err = open(r.dec, at, r.s)
		return err
	}
	if r.whole != nil && try(bytes.NewReader(r.whole)) == nil {
		return nil
	}
	r.whole = nil
	return r.c.fromCopies(r.ctx, r.s, func(b Copy) error { return try(objstore.ReaderAt(r.ctx, b, key)) })
}

// read decodes a block.
func (r *reader) read(info segment.BlockInfo) error {
	decode := func(raw []byte) error { return r.dec.Block(&r.block, r.seg, info, raw) }
	if r.whole != nil {
		if decode(r.whole[info.Offset:info.Offset+int64(info.Size())]) == nil {
			return nil
		}
		r.whole = nil // another copy may be sound
	}
	end := info.Offset + int64(info.Size())
	if info.Offset >= r.off && end <= r.off+int64(len(r.chunk)) {
		if decode(r.chunk[info.Offset-r.off:end-r.off]) == nil {
			return nil
		}
	}
	last := r.seg.Blocks[len(r.seg.Blocks)-1]
	size := max(min(chunkSize, last.Offset+int64(last.Size())-info.Offset), int64(info.Size()))
	return r.c.fromCopies(r.ctx, r.s, func(b Copy) error {
		if int64(cap(r.chunk)) < size {
			r.chunk = make([]byte, size)
		}
		r.chunk, r.off = r.chunk[:size], info.Offset
		if err := readFull(r.ctx, b, r.s.Key(), r.off, r.chunk); err != nil {
			r.chunk = r.chunk[:0]
			return err
		}
		return decode(r.chunk[:info.Size()])
	})
}

// clip cuts the block to the job's stretch.
func (r *reader) clip() *segment.Block {
	b := &r.block
	if b.First().Compare(r.job.After) > 0 && b.Last().Compare(r.job.Through) <= 0 {
		return b
	}
	c := b.Cursor()
	from, to := c.CountBelow(segment.After(r.job.After)), c.CountBelow(segment.After(r.job.Through))
	c.Skip(from)
	out := &segment.Block{Sources: b.Sources}
	c.AppendTo(out, to-from)
	return out
}

// letGo gives up what an input takes that is done: the merge does not ask for it any more, and holds on to its reader.
func (r *reader) letGo() {
	r.whole, r.chunk, r.block, r.seg = nil, nil, segment.Block{}, nil
}
