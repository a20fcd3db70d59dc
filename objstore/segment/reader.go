package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/oklog/ulid/v2"
)

// TailSize is how much of an object's end Open reads at first, in bytes: enough for the
// sections of most segments, and as fast to get from an object store as a single byte.
const TailSize = 64 << 10

// Segment is an open segment: everything that stands behind its blocks.
type Segment struct {
	Blocks     []BlockInfo // at least one
	Sources    Sources
	Lineage    Lineage
	Generation uint8
	// Filter is nil where there is none that this program can read; FilterErr, which is ErrFilter, then says why
	// unless there is none at all.
	Filter    *Filter
	FilterErr error

	sessions []uint64
	tables   int64 // bytes of the sources
}

// Records in the segment.
func (s *Segment) Records() (n int64) {
	for _, b := range s.Blocks {
		n += int64(b.Records)
	}
	return n
}

// Memory is what the open segment takes, in bytes: an estimate that errs high.
func (s *Segment) Memory() int64 {
	n := 512 + 96*int64(len(s.Blocks)) + 64*int64(len(s.sessions))
	for _, k := range s.Lineage.Replaces {
		n += 16 + int64(len(k))
	}
	if s.Filter != nil {
		n += s.Filter.Memory()
	}
	return n + s.tables
}

// First is the ID of the first record.
func (s *Segment) First() ulid.ULID { return s.Blocks[0].First }

// Last is the ID of the last record.
func (s *Segment) Last() ulid.ULID { return s.Blocks[len(s.Blocks)-1].Last }

// Open reads the sections of a segment of size bytes: with one ReadAt of its tail, and one more where they
// do not fit into that. Errors of r are passed on; others are ErrCorrupt or ErrVersion.
func (d *Decoder) Open(r io.ReaderAt, size int64) (*Segment, error) {
	if size < trailerSize {
		return nil, fmt.Errorf("%w: %d bytes are too few (foreign or truncated)", ErrCorrupt, size)
	}
	tail := make([]byte, min(size, TailSize))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return nil, fmt.Errorf("read tail: %w", err)
	}
	t, err := decodeTrailer(tail[len(tail)-trailerSize:], size)
	if err != nil {
		return nil, err
	}
	if t.index.size == 0 || t.sources.size == 0 {
		return nil, fmt.Errorf("%w: no index or no sources", ErrCorrupt)
	}
	// Index, sources and lineage stand side by side in front of the trailer, and the filter in front of them.
	start := min(t.index.off, t.sources.off)
	if t.lineage.size > 0 {
		start = min(start, t.lineage.off)
	}
	tailOff := size - int64(len(tail))
	if start < tailOff {
		if size-start > 3*maxSection {
			return nil, fmt.Errorf("%w: sections of %d bytes", ErrCorrupt, size-start)
		}
		from := start
		if t.filter.size > 0 {
			from = max(min(start, t.filter.off), start-maxDirectory)
		}
		whole := make([]byte, size-from)
		copy(whole[tailOff-from:], tail)
		if err := readFull(r, whole[:tailOff-from], from); err != nil {
			return nil, fmt.Errorf("read sections: %w", err)
		}
		tail, tailOff = whole, from
	}
	open := func(s section, k kind) ([]byte, error) {
		b := tail[s.off-tailOff : s.off-tailOff+int64(s.size)]
		if crc32.Checksum(b, castagnoli) != s.crc {
			return nil, fmt.Errorf("%w: section %q at offset %d is damaged", ErrCorrupt, k, s.off)
		}
		return d.frame(new([]byte), b, k, maxSection)
	}
	seg := &Segment{Generation: t.generation}
	p, err := open(t.index, kindIndex)
	if err != nil {
		return nil, err
	}
	blocksEnd := start
	if t.filter.size > 0 {
		blocksEnd = t.filter.off
	}
	if seg.Blocks, err = decodeIndex(p, blocksEnd); err != nil {
		return nil, err
	}
	if t.filter.size > 0 {
		dir := make([]byte, len(seg.Blocks)+dirFooter)
		switch at := start - int64(len(dir)); {
		case t.filter.off+int64(t.filter.size) != start || at < t.filter.off:
			seg.FilterErr = fmt.Errorf("%w: it is not where it should be", ErrFilter)
		case at >= tailOff:
			copy(dir, tail[at-tailOff:])
		default:
			if err := readFull(r, dir, at); err != nil {
				return nil, fmt.Errorf("read filter's directory: %w", err)
			}
		}
		if seg.FilterErr == nil {
			seg.Filter, seg.FilterErr = openFilter(dir, t.filter, len(seg.Blocks))
		}
	}
	if p, err = open(t.sources, kindSources); err != nil {
		return nil, err
	}
	if seg.sessions, seg.Sources, err = decodeSources(p); err != nil {
		return nil, err
	}
	seg.tables = 12 * int64(len(p)) // an attribute is 3 bytes at least, and becomes 32
	if t.lineage.size > 0 {
		if p, err = open(t.lineage, kindLineage); err != nil {
			return nil, err
		}
		if seg.Lineage, err = decodeLineage(p); err != nil {
			return nil, err
		}
	}
	return seg, nil
}

// Text decodes the text of a block into b, in b's memory where that is large enough. raw is the block
// as it lies in the segment: Size bytes from Offset. IDs has to follow before b's
// records can be walked; a scan that finds nothing in the text does without.
func (d *Decoder) Text(b *Block, info BlockInfo, raw []byte) error {
	b.Reset()
	if err := info.check(raw); err != nil {
		return err
	}
	text, err := d.decompress(b.Text, raw[:info.TextSize], info.RawSize)
	if err != nil {
		return fmt.Errorf("block at offset %d: %w", info.Offset, err)
	}
	b.Text = text
	return nil
}

// check verifies the bytes of a block.
func (b BlockInfo) check(raw []byte) error {
	if len(raw) != b.Size() {
		return fmt.Errorf("%w: %d bytes for a block of %d", ErrCorrupt, len(raw), b.Size())
	}
	if crc32.Checksum(raw, castagnoli) != b.CRC {
		return fmt.Errorf("%w: block at offset %d is damaged", ErrCorrupt, b.Offset)
	}
	return nil
}

// IDs decodes the rest of a block of s whose text Text has decoded.
func (d *Decoder) IDs(b *Block, s *Segment, info BlockInfo, raw []byte) error {
	return d.ids(b, s, info, raw, false)
}

// Bare is Block without the text, which is not decompressed: the records have none.
func (d *Decoder) Bare(b *Block, s *Segment, info BlockInfo, raw []byte) error {
	b.Reset()
	if err := info.check(raw); err != nil {
		return err
	}
	return d.ids(b, s, info, raw, true)
}

func (d *Decoder) ids(b *Block, s *Segment, info BlockInfo, raw []byte, bare bool) error {
	err := func() error {
		if err := d.runs(b, s, raw[info.TextSize:]); err != nil {
			return err
		}
		if bare {
			b.newlines = b.newlines[:0]
			b.Text = grow(b.Text, uint64(b.records))
			for i := range b.Text {
				b.Text[i] = '\n'
			}
		}
		if err := b.check(); err != nil {
			return err
		}
		if b.Len() != info.Records || b.First() != info.First || b.Last() != info.Last {
			return fmt.Errorf("%w: IDs are not those of the index", ErrCorrupt)
		}
		return nil
	}()
	if err != nil {
		b.Reset()
		return fmt.Errorf("block at offset %d: %w", info.Offset, err)
	}
	b.Sources = s.Sources
	return nil
}

// runs decodes a block's ID column.
func (d *Decoder) runs(b *Block, s *Segment, raw []byte) error {
	columns, err := d.frame(&d.columns, raw, kindIDs, maxIDs)
	if err != nil {
		return err
	}
	return decodeIDs(b, columns, s.sessions)
}

// Runs decodes the IDs of a block of s alone, without its text. raw is the block's ID column: IDsSize bytes, which stand
// behind the TextSize bytes of text. The checksum in the index is of both; the runs are only known to agree with the rest of the index.
func (d *Decoder) Runs(s *Segment, info BlockInfo, raw []byte) ([]Run, error) {
	var b Block
	err := func() error {
		if err := d.runs(&b, s, raw); err != nil {
			return err
		}
		var n uint64
		for _, r := range b.Runs {
			n += uint64(r.N)
		}
		if n != uint64(info.Records) || !b.Sorted() || b.First() != info.First || b.Last() != info.Last {
			return fmt.Errorf("%w: IDs are not those of the index", ErrCorrupt)
		}
		return nil
	}()
	if err != nil {
		return nil, fmt.Errorf("block at offset %d: %w", info.Offset, err)
	}
	return b.Runs, nil
}

// Block decodes a block of s: text and IDs.
func (d *Decoder) Block(b *Block, s *Segment, info BlockInfo, raw []byte) error {
	if err := d.Text(b, info, raw); err != nil {
		return err
	}
	return d.IDs(b, s, info, raw)
}

// Input reads the blocks of s one after another from r, as an Input of Merge. One block at a time is in memory.
func (s *Segment) Input(d *Decoder, r io.ReaderAt) Input {
	return &blocks{d: d, r: r, seg: s}
}

type blocks struct {
	d   *Decoder
	r   io.ReaderAt
	seg *Segment
	n   int
	raw []byte
	b   Block
}

func (in *blocks) First() ulid.ULID {
	return in.seg.Blocks[min(in.n, len(in.seg.Blocks)-1)].First
}

func (in *blocks) Next() (*Block, error) {
	if in.n == len(in.seg.Blocks) {
		in.b, in.raw = Block{}, nil // a merge of many inputs holds on to the current ones only
		return nil, io.EOF
	}
	info := in.seg.Blocks[in.n]
	in.n++
	in.raw = grow(in.raw, uint64(info.Size()))
	if err := readFull(in.r, in.raw, info.Offset); err != nil {
		return nil, fmt.Errorf("read block at offset %d: %w", info.Offset, err)
	}
	if err := in.d.Block(&in.b, in.seg, info, in.raw); err != nil {
		return nil, err
	}
	return &in.b, nil
}

// IsDamage tells whether an error is about the bytes of an object (corrupt, or of a later version) rather than
// about getting them.
func IsDamage(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) }
