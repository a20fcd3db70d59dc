package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/oklog/ulid/v2"
)

// ErrMisnamed says that a segment is not the one that its key names.
var ErrMisnamed = errors.New("segment is not what its key says")

// MaxFound is how many findings a Report lists.
const MaxFound = 20

// checkChunk is how much of an object is read at once, in bytes. What is not larger is read once, whole.
const checkChunk = 4 << 20

// Report is what Check has found.
type Report struct {
	// Sum is the SHA-256 of the object, whose beginning is in its key. Copies are the same if their sums are.
	Sum [sha256.Size]byte
	// Name is what the object has to be called, going by its bytes: nothing but the hash if it does not open.
	Name Name
	// Found is what is wrong, at most MaxFound of it. Each is one of ErrCorrupt, ErrVersion, ErrMisnamed, or ErrFilter, which
	// takes no record away but may hide some from queries.
	Found []error
	More  int // what is wrong besides
}

func (r *Report) found(err error) {
	if len(r.Found) == MaxFound {
		r.More++
		return
	}
	r.Found = append(r.Found, err)
}

// Checker holds segments against what FORMAT.md promises. It has in memory one block, encoded and decoded, 4 MiB of what comes next, and
// the signatures of a segment, which are 32 MiB at most and mostly less than a hundredth of the text: so it
// reads the filter, where the blocks' bits are interleaved, once and in its place. It uses its memory again; it is not safe for
// concurrent use.
type Checker struct {
	d      *Decoder
	signer *signer
	in     sequence
	rep    Report

	raw   []byte
	block Block
	sigs  signatures
	slots []uint64 // of all sigs
	want  []byte   // rows of the filter
}

// NewChecker makes a checker.
func NewChecker() (*Checker, error) {
	d, err := newDecoder(true)
	if err != nil {
		return nil, err
	}
	return &Checker{d: d, signer: newSigner(), in: sequence{sum: sha256.New()}}, nil
}

// Check reads a whole segment of size bytes and tells everything that is wrong with it, as far as that does not hide the rest: of
// what does not open, the hash is checked and no more. If key is not empty, the bytes are held against it, too; a batch has
// none. r is read from its beginning to its end in large pieces, and, if it is over 4 MiB, the sections behind the filter once more before that.
//
// An error is one of r, which may be tried again, and leaves the report without Sum and Name. Damage is not an error: it is in the report.
func (c *Checker) Check(r io.ReaderAt, size int64, key string) (Report, error) {
	c.rep = Report{}
	c.in.reset(r, size)
	seg, err := c.segment(r, size)
	if err == nil {
		err = c.in.skip(size)
	}
	if err != nil {
		return c.rep, fmt.Errorf("check segment: %w", err)
	}
	rep := &c.rep
	c.in.sum.Sum(rep.Sum[:0])
	if seg != nil {
		rep.Name = Name{First: seg.First(), Last: seg.Last(), Generation: seg.Generation, Records: seg.Records()}
		for _, b := range seg.Blocks {
			rep.Name.RawBytes += int64(b.RawSize)
		}
	}
	copy(rep.Name.Hash[:], rep.Sum[:])
	topic := ""
	if key != "" {
		topic = rep.checkKey(key, seg != nil)
	}
	if seg != nil {
		rep.checkLineage(seg, topic)
	}
	return *rep, nil
}

// segment reads a segment and checks all that needs no key. It returns nil if it does not open.
func (c *Checker) segment(r io.ReaderAt, size int64) (*Segment, error) {
	if size <= checkChunk {
		if err := c.in.fill(); err != nil {
			return nil, err
		}
		r = bytes.NewReader(c.in.ahead)
	}
	seg, err := c.d.Open(r, size)
	if IsDamage(err) {
		c.rep.found(err)
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if seg.Filter != nil {
		c.reserve(seg.Filter)
	}
	for i, info := range seg.Blocks {
		c.raw = grow(c.raw, uint64(info.Size()))
		if err := c.in.next(c.raw); err != nil {
			return nil, err
		}
		if err := c.checkBlock(seg, i, c.raw); err != nil {
			c.rep.found(fmt.Errorf("block %d: %w", i, err))
		}
	}
	blocksEnd := c.in.off
	if seg.Filter != nil {
		if err := c.checkFilter(seg); err != nil {
			return nil, err
		}
	} else if seg.FilterErr != nil {
		c.rep.found(seg.FilterErr)
	}
	// Open has checked the sections' content.
	if err := c.in.skip(size - trailerSize); err != nil {
		return nil, err
	}
	var tail [trailerSize]byte
	if err := c.in.next(tail[:]); err != nil {
		return nil, err
	}
	t, err := decodeTrailer(tail[:], size)
	if err != nil {
		c.rep.found(err) // it was in order a moment ago
		return seg, nil
	}
	c.rep.checkLayout(&t, blocksEnd)
	if b := tail[frameHeader+2+3]; b != 0 {
		c.rep.found(fmt.Errorf("%w: byte 13 of the trailer is %d instead of 0", ErrCorrupt, b))
	}
	return seg, nil
}

// checkBlock checks block i of s. Its order among the others is the index's, which Open has checked, and every session that the
// table knows has a source.
func (c *Checker) checkBlock(s *Segment, i int, raw []byte) error {
	info, b := s.Blocks[i], &c.block
	if err := c.d.Text(b, info, raw); err != nil {
		return err
	}
	if s.Filter != nil {
		c.signer.find(b.Text)
		c.signer.fill(c.sigs.blocks[i])
		if s.Filter.Plain.Has(i) && Escaped(b.Text) {
			c.rep.found(fmt.Errorf("%w: it denies that there is an escape in block %d at offset %d", ErrFilter, i, info.Offset))
		}
	}
	if err := c.d.IDs(b, s, info, raw); err != nil {
		return err
	}
	for _, m := range b.pieces {
		if m.value == 0 {
			return fmt.Errorf("%w: block at offset %d: record %d is marked as a piece, and is none", ErrCorrupt, info.Offset, m.index)
		}
	}
	for cur := b.Cursor(); cur.Left() > 0; {
		n, end := cur.end(cur.Left(), cur.pos+MaxRecord+1)
		if n == 0 {
			return fmt.Errorf("%w: block at offset %d: record %d has more than %d bytes", ErrCorrupt, info.Offset, cur.rec, MaxRecord)
		}
		cur.pos = end
		cur.advance(n)
	}
	return nil
}

// reserve makes an empty signature for each block, of the size that it has in the filter.
func (c *Checker) reserve(f *Filter) {
	total := 0
	for i := range f.groups {
		total += len(f.groups[i].blocks) * f.groups[i].slots() / 64
	}
	if total*8 > maxSignatures { // not much more: Open limits the whole section
		c.rep.found(fmt.Errorf("%w: signatures of %d bytes are over the limit %d", ErrFilter, total*8, maxSignatures))
	}
	c.slots = grow(c.slots, uint64(total))
	clear(c.slots)
	c.sigs.blocks = grow(c.sigs.blocks, uint64(f.blocks))
	rest := c.slots
	for i := range f.groups {
		m := &f.groups[i]
		for _, b := range m.blocks {
			n := m.slots() / 64
			c.sigs.blocks[b] = signature{class: m.class, slots: rest[:n]}
			rest = rest[n:]
		}
	}
}

// checkFilter reads the filter and holds it against the signatures of the blocks: it may have more in its rows, and not less.
func (c *Checker) checkFilter(s *Segment) error {
	f, start := s.Filter, c.in.off
	var head [frameHeader + 2]byte
	if err := c.in.next(head[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head[:]) != frameMagic || int64(binary.LittleEndian.Uint32(head[4:])) != f.Size-frameHeader ||
		kind(head[8]) != kindFilter || head[9] != encPlain {
		c.rep.found(fmt.Errorf("%w: no section %q at offset %d", ErrFilter, kindFilter, start))
	}
	lacks := make([]int, len(s.Blocks))
	for i := range f.groups {
		m := &f.groups[i]
		for n := range m.pages() {
			off, size := m.page(n)
			c.raw = grow(c.raw, uint64(size))
			if err := c.in.next(c.raw); err != nil {
				return err
			}
			rows, sum := c.raw[:size-pageSum], c.raw[size-pageSum:]
			if crc32.Checksum(rows, castagnoli) != binary.LittleEndian.Uint32(sum) {
				c.rep.found(fmt.Errorf("%w: page at offset %d", ErrFilter, m.off+off))
				continue
			}
			c.want = c.sigs.appendPage(c.want[:0], m, n)
			for at, have := range rows {
				for miss := c.want[at] &^ have; miss != 0; miss &= miss - 1 {
					lacks[m.blocks[(at*8+bits.TrailingZeros8(miss))%len(m.blocks)]]++
				}
			}
		}
	}
	for i, n := range lacks {
		if n > 0 {
			c.rep.found(fmt.Errorf("%w: it denies what is in block %d at offset %d: slots not set: %d", ErrFilter, i, s.Blocks[i].Offset, n))
		}
	}
	// Open has checked the directory, but for what has no meaning yet.
	c.raw = grow(c.raw, uint64(len(s.Blocks)+dirFooter))
	if err := c.in.next(c.raw); err != nil {
		return err
	}
	if foot := c.raw[len(s.Blocks):]; foot[2] != 0 || foot[3] != 0 {
		c.rep.found(fmt.Errorf("%w: bytes 2 and 3 behind the classes at offset %d are not 0", ErrFilter, c.in.off-dirFooter))
	}
	return nil
}

// checkLayout verifies that the sections stand in their order, from at, where the blocks end, to the trailer.
func (r *Report) checkLayout(t *trailer, at int64) {
	for i, k := range []kind{kindFilter, kindIndex, kindSources, kindLineage} {
		s := t.sections()[i]
		if s.size == 0 {
			continue
		}
		if s.off != at {
			r.found(fmt.Errorf("%w: section %q begins at offset %d instead of %d", ErrCorrupt, k, s.off, at))
		}
		at = s.off + int64(s.size)
	}
	if end := t.size - trailerSize; at != end {
		r.found(fmt.Errorf("%w: the sections end at offset %d instead of %d", ErrCorrupt, at, end))
	}
}

// checkKey holds the name that the bytes have against the one in a key: its hash, and if the segment is open all else. It returns the key's topic.
func (r *Report) checkKey(key string, open bool) string {
	topic, n, err := ParseKey(key)
	if err != nil {
		r.found(fmt.Errorf("%w: %w", ErrMisnamed, err))
		return ""
	}
	differs := func(what string, key, have any) {
		if key != have {
			r.found(fmt.Errorf("%w: %s is %v in the key, and %v in the segment", ErrMisnamed, what, key, have))
		}
	}
	if open {
		differs("first record", n.First, r.Name.First)
		differs("last record", n.Last, r.Name.Last)
		differs("generation", n.Generation, r.Name.Generation)
		differs("number of records", n.Records, r.Name.Records)
		differs("size of the text", n.RawBytes, r.Name.RawBytes)
		day := func(id ulid.ULID) string { return Day(ulid.Time(id.Time())) }
		// Those in between are of the same day: they ascend.
		differs("day of the first record", day(n.First), day(r.Name.First))
		differs("day of the last record", day(n.First), day(r.Name.Last))
	}
	differs("hash", hex.EncodeToString(n.Hash[:]), hex.EncodeToString(r.Name.Hash[:]))
	return topic
}

// checkLineage verifies that the keys of what a segment replaces are keys, and of its topic if that is known.
func (r *Report) checkLineage(seg *Segment, topic string) {
	l := seg.Lineage
	if len(l.Replaces) > 0 && (l.After.Compare(seg.First()) >= 0 || l.Through.Compare(seg.Last()) < 0) {
		r.found(fmt.Errorf("%w: lineage: the stretch above %s, up to %s, does not hold the segment's records", ErrCorrupt, l.After, l.Through))
	}
	for i, k := range l.Replaces {
		of, _, err := ParseKey(k)
		if err != nil {
			r.found(fmt.Errorf("%w: lineage: segment %d: %w", ErrCorrupt, i, err))
		} else if topic != "" && of != topic {
			r.found(fmt.Errorf("%w: lineage: segment %d is of another topic: %s", ErrCorrupt, i, k))
		}
	}
}

// sequence reads an object from its beginning, piece by piece, and hashes it.
type sequence struct {
	r     io.ReaderAt
	size  int64
	off   int64 // what has been taken
	sum   hash.Hash
	buf   []byte
	ahead []byte // of buf: read, and not taken
}

func (s *sequence) reset(r io.ReaderAt, size int64) {
	s.r, s.size, s.off, s.ahead = r, size, 0, nil
	s.sum.Reset()
	s.buf = grow(s.buf, uint64(min(size, checkChunk)))
}

// fill reads the next piece. Nothing must be ahead.
func (s *sequence) fill() error {
	p := s.buf[:min(int64(len(s.buf)), s.size-s.off)]
	if err := readFull(s.r, p, s.off); err != nil {
		return fmt.Errorf("read %d bytes at offset %d: %w", len(p), s.off, err)
	}
	s.sum.Write(p)
	s.ahead = p
	return nil
}

// next takes the next bytes, all of which must be within the object.
func (s *sequence) next(p []byte) error {
	for len(p) > 0 {
		if len(s.ahead) == 0 {
			if err := s.fill(); err != nil {
				return err
			}
		}
		n := copy(p, s.ahead)
		p, s.ahead, s.off = p[n:], s.ahead[n:], s.off+int64(n)
	}
	return nil
}

// skip takes what is before offset to.
func (s *sequence) skip(to int64) error {
	for s.off < to {
		if len(s.ahead) == 0 {
			if err := s.fill(); err != nil {
				return err
			}
		}
		n := min(int64(len(s.ahead)), to-s.off)
		s.ahead, s.off = s.ahead[n:], s.off+n
	}
	return nil
}
