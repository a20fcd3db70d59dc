package segment

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/oklog/ulid/v2"
)

// BlockSize is how much text a block holds at most, in bytes, unless one record is longer. See FORMAT.md for the
// measurement that chose it.
const BlockSize = 4 << 20

// WriterConfig says how a Writer writes.
type WriterConfig struct {
	Level      Level
	Generation uint8 // 0 for what ingest writes
	BlockSize  int   // bytes of text; 0: BlockSize; at most MaxBlockText
}

// Writer encodes records, in ascending order of their IDs, as segments, one after another. It holds one block of
// text and one compressed. It is not safe for concurrent use.
type Writer struct {
	cfg WriterConfig
	enc *encoder
	out io.Writer
	sum hash.Hash
	off int64

	cur      Block
	buf      []byte // a block, encoded
	cols     []byte
	index    []BlockInfo
	sessions []uint64
	number   map[uint64]uint32 // a session's place in sessions
	sources  Sources
	replaces []string
	last     ulid.ULID
}

// NewWriter makes a writer; Reset says where it writes to.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if cfg.BlockSize == 0 {
		cfg.BlockSize = BlockSize
	}
	if cfg.BlockSize < 0 || cfg.BlockSize > MaxBlockText-MaxRecord-1 {
		return nil, fmt.Errorf("make segment writer: block size %d: want 1 to %d", cfg.BlockSize, MaxBlockText-MaxRecord-1)
	}
	enc, err := newEncoder(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("make segment writer: %w", err)
	}
	return &Writer{cfg: cfg, enc: enc, sum: sha256.New()}, nil
}

// Reset begins a new segment on out, which replaces the segments with the keys given, if any.
func (w *Writer) Reset(out io.Writer, replaces ...string) {
	w.out, w.off = out, 0
	w.sum.Reset()
	w.cur.Reset()
	w.index, w.sessions = w.index[:0], w.sessions[:0]
	w.number, w.sources = map[uint64]uint32{}, Sources{}
	w.replaces = replaces
	w.last = ulid.ULID{}
}

// RawBytes is the text taken since Reset.
func (w *Writer) RawBytes() int64 {
	n := int64(len(w.cur.Text))
	for _, b := range w.index {
		n += int64(b.RawSize)
	}
	return n
}

// Take writes the next n records of c and passes them.
func (w *Writer) Take(c *Cursor, n int) error {
	if n == 0 {
		return nil
	}
	if (w.cur.Len() > 0 || len(w.index) > 0) && c.ID().Compare(w.last) <= 0 {
		return fmt.Errorf("write segment: record %s after %s: out of order", c.ID(), w.last)
	}
	w.register(c, n)
	for n > 0 {
		if w.cur.Len() == 0 && n == c.b.Len() && n <= MaxBlockRecords && len(c.b.Text) <= w.cfg.BlockSize && len(c.b.Text) >= w.cfg.BlockSize/2 {
			// A whole block of a good size: no copy.
			w.last = c.b.Last()
			if err := w.block(c.b); err != nil {
				return err
			}
			c.skip(n)
			return nil
		}
		k := min(c.fit(n, w.cfg.BlockSize-len(w.cur.Text)), MaxBlockRecords-w.cur.Len())
		if k == 0 && w.cur.Len() == 0 {
			k = 1 // longer than a block
		}
		c.AppendTo(&w.cur, k)
		if k > 0 {
			w.last = w.cur.Last()
		}
		n -= k
		if n > 0 || len(w.cur.Text) >= w.cfg.BlockSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// register puts the sessions of the next n records into the segment's table.
func (w *Writer) register(c *Cursor, n int) {
	last := uint64(1 << 63)
	left := n - int(c.rest().N)
	for i := c.run; ; i++ {
		s := c.b.Runs[i].Session
		if s != last {
			if _, ok := w.number[s]; !ok {
				w.number[s] = uint32(len(w.sessions))
				w.sessions = append(w.sessions, s)
				w.sources[s] = c.b.Sources[s]
			}
			last = s
		}
		if left <= 0 {
			return
		}
		left -= int(c.b.Runs[i+1].N)
	}
}

func (w *Writer) flush() error {
	if err := w.block(&w.cur); err != nil {
		return err
	}
	w.cur.Reset()
	return nil
}

// block writes b as a block.
func (w *Writer) block(b *Block) error {
	if len(b.Text) > MaxBlockText {
		return fmt.Errorf("write segment: block of %d bytes is over the limit %d", len(b.Text), MaxBlockText)
	}
	w.buf = w.enc.text.EncodeAll(b.Text, w.buf[:0])
	text := len(w.buf)
	w.cols = appendIDs(w.cols[:0], b, w.number)
	w.buf = w.enc.appendFrame(w.buf, kindIDs, w.cols)
	w.index = append(w.index, BlockInfo{
		Offset: w.off, TextSize: text, IDsSize: len(w.buf) - text, RawSize: len(b.Text), Records: b.Len(),
		First: b.First(), Last: b.Last(), CRC: crc32.Checksum(w.buf, castagnoli),
	})
	return w.write(w.buf)
}

func (w *Writer) write(p []byte) error {
	w.sum.Write(p)
	w.off += int64(len(p))
	if _, err := w.out.Write(p); err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	return nil
}

// Size is the bytes written since Reset.
func (w *Writer) Size() int64 { return w.off }

// Finish writes what is behind the blocks and returns the segment's name. There must be a record.
func (w *Writer) Finish() (Name, error) {
	if w.cur.Len() > 0 {
		if err := w.flush(); err != nil {
			return Name{}, err
		}
	}
	if len(w.index) == 0 {
		return Name{}, errors.New("write segment: no records")
	}
	t := trailer{version: Version, generation: w.cfg.Generation}
	put := func(s *section, k kind, plain []byte) error {
		if len(plain) > maxSection {
			return fmt.Errorf("write segment: section %q of %d bytes is over the limit %d: write smaller segments", k, len(plain), maxSection)
		}
		w.buf = w.enc.appendFrame(w.buf[:0], k, plain)
		*s = section{w.off, len(w.buf), crc32.Checksum(w.buf, castagnoli)}
		return w.write(w.buf)
	}
	if err := put(&t.index, kindIndex, appendIndex(nil, w.index)); err != nil {
		return Name{}, err
	}
	if err := put(&t.sources, kindSources, appendSources(nil, w.sessions, w.sources)); err != nil {
		return Name{}, err
	}
	if len(w.replaces) > 0 {
		if err := put(&t.lineage, kindLineage, appendLineage(nil, w.replaces)); err != nil {
			return Name{}, err
		}
	}
	t.size = w.off + trailerSize
	if err := w.write(t.append(w.buf[:0])); err != nil {
		return Name{}, err
	}
	name := Name{First: w.index[0].First, Last: w.last, Generation: w.cfg.Generation, RawBytes: w.RawBytes()}
	for _, b := range w.index {
		name.Records += int64(b.Records)
	}
	copy(name.Hash[:], w.sum.Sum(nil))
	return name, nil
}
