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
	Filter     bool  // write the filter, which queries prune blocks with
}

// Writer encodes records, in ascending order of their IDs, as segments, one after another. It holds one block of
// text and one compressed. It is not safe for concurrent use.
type Writer struct {
	cfg WriterConfig
	enc *encoder
	out io.Writer
	sum hash.Hash
	off int64
	raw int64 // text of the blocks written

	cur     Block
	buf     []byte // a block, encoded
	cols    []byte
	index   []BlockInfo
	filter  *signatures // nil: none is written
	tables  tables
	lineage Lineage
	last    ulid.ULID
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
	w := &Writer{cfg: cfg, enc: enc, sum: sha256.New()}
	if cfg.Filter {
		w.filter = &signatures{signer: newSigner()}
	}
	return w, nil
}

// Reset begins a new segment on out.
func (w *Writer) Reset(out io.Writer) {
	w.out, w.off, w.raw = out, 0, 0
	w.sum.Reset()
	w.cur.Reset()
	w.index = w.index[:0]
	w.tables.reset()
	if w.filter != nil {
		w.filter.reset()
	}
	w.lineage = Lineage{}
	w.last = ulid.ULID{}
}

// Replace says what the segment being written replaces.
func (w *Writer) Replace(l Lineage) { w.lineage = l }

// RawBytes is the text taken since Reset.
func (w *Writer) RawBytes() int64 { return w.raw + int64(len(w.cur.Text)) }

// Take writes the next n records of c and passes them.
func (w *Writer) Take(c *Cursor, n int) error {
	if n == 0 {
		return nil
	}
	if (w.cur.Len() > 0 || len(w.index) > 0) && c.ID().Compare(w.last) <= 0 {
		return fmt.Errorf("write segment: record %s after %s: out of order", c.ID(), w.last)
	}
	if k := w.admit(c, n); k < n {
		return fmt.Errorf("write segment: %w: %d sources, %d sessions, %d blocks", errFull, len(w.tables.place), len(w.tables.sessions), len(w.index))
	}
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

// errFull says that a segment's tables have no room for a record.
var errFull = errors.New("the segment's tables are full")

// admit puts the sessions of the next n records into the segment's table, and returns for how many of the records there was room.
func (w *Writer) admit(c *Cursor, n int) int {
	if len(w.index) >= MaxBlocks-2 {
		return 0 // one block is being filled, and what is to come may make another
	}
	last := uint64(1 << 63)
	for k, i := 0, c.run; ; i++ {
		r := c.b.Runs[i]
		if r.Session != last && !w.tables.add(r.Session, c.b.Sources[r.Session]) {
			return k
		}
		last = r.Session
		if k == 0 {
			r = c.rest()
		}
		if k += int(r.N); k >= n {
			return n
		}
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
	if len(w.index) == MaxBlocks {
		return fmt.Errorf("write segment: %w: %d blocks", errFull, MaxBlocks)
	}
	w.buf = w.enc.text.EncodeAll(b.Text, w.buf[:0])
	text := len(w.buf)
	w.cols = appendIDs(w.cols[:0], b, w.tables.number)
	w.buf = w.enc.appendFrame(w.buf, kindIDs, w.cols)
	if w.filter != nil {
		w.filter.add(b.Text, len(w.buf))
	}
	w.raw += int64(len(b.Text))
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
	if n := len(w.lineage.Replaces); n > MaxReplaced {
		return Name{}, fmt.Errorf("write segment: it replaces %d others: at most %d", n, MaxReplaced)
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
	if w.filter != nil {
		var err error
		if t.filter, err = w.filter.write(w.off, w.write); err != nil {
			return Name{}, err
		}
	}
	if err := put(&t.index, kindIndex, appendIndex(nil, w.index)); err != nil {
		return Name{}, err
	}
	if err := put(&t.sources, kindSources, w.tables.append(nil)); err != nil {
		return Name{}, err
	}
	if len(w.lineage.Replaces) > 0 {
		if err := put(&t.lineage, kindLineage, w.lineage.append(nil)); err != nil {
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
