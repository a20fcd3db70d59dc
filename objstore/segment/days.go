package segment

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/oklog/ulid/v2"
)

// dense is the ratio below which a text is taken for one that does not compress: a segment of it ends before
// it has all the text that it might, since it is held in memory until it is put.
const dense = 8

// Days writes records as segments that each lie within one day of UTC and hold no more text than asked for, as
// far as whole merges' stretches allow. It is not safe for concurrent use.
type Days struct {
	w    *Writer
	cfg  DaysConfig
	buf  *bytes.Buffer // nil between segments
	end  ulid.ULID     // of the day of the segment being written
	last bool          // that day is the last that a ULID can name
}

// DaysConfig says where segments end and what becomes of them.
type DaysConfig struct {
	MaxText int64 // bytes of text; 0: no bound
	MaxSize int64 // bytes of compressed blocks; 0: an eighth of MaxText
	// Generation of the segments; 0: as the writer was made for.
	Generation uint8
	// Room is the memory taken for a segment at once, in bytes; it grows as needed all the same.
	Room int64
	// Lineage, if set, tells what a segment replaces that ends with the record last. final says that no more records follow.
	Lineage func(last ulid.ULID, final bool) Lineage
	// Emit gets every segment, whole, and owns its bytes.
	Emit func(name Name, data []byte) error
}

// NewDays makes a writer of segments with up to maxText bytes of text. emit gets every segment, whole, and
// owns its bytes.
func NewDays(cfg WriterConfig, maxText int64, emit func(name Name, data []byte) error) (*Days, error) {
	w, err := NewWriter(cfg)
	if err != nil {
		return nil, err
	}
	if maxText <= 0 {
		return nil, fmt.Errorf("write segments: size %d: want at least 1 byte of text", maxText)
	}
	return w.Days(DaysConfig{MaxText: maxText, Emit: emit})
}

// Days makes Days of a writer that is there already, and is not used otherwise until they are closed or given up.
func (w *Writer) Days(cfg DaysConfig) (*Days, error) {
	if cfg.MaxText < 0 || cfg.MaxSize < 0 || cfg.MaxText == 0 && cfg.MaxSize == 0 {
		return nil, fmt.Errorf("write segments: at most %d bytes of text and %d of blocks: want at least 1 byte of one of them", cfg.MaxText, cfg.MaxSize)
	}
	if cfg.MaxText == 0 {
		cfg.MaxText = math.MaxInt64
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = cfg.MaxText / dense
	}
	if cfg.Generation > 0 {
		w.cfg.Generation = cfg.Generation
	}
	return &Days{w: w, cfg: cfg}, nil
}

// Take is a Sink: it writes the next n records of c.
func (d *Days) Take(c *Cursor, n int) error {
	for n > 0 {
		if d.buf != nil && (!d.last && c.ID().Compare(d.end) >= 0 || d.w.RawBytes() >= d.cfg.MaxText || d.w.Size() >= d.cfg.MaxSize) {
			if err := d.finish(false); err != nil {
				return err
			}
		}
		if d.buf == nil {
			d.begin(c.ID())
		}
		k := n
		if !d.last {
			k = min(n, c.CountBelow(d.end))
		}
		// No more than a block at a time, to look at the size in between.
		k = min(k, max(1, c.fit(k, d.w.cfg.BlockSize)))
		if room := d.w.admit(c, k); room == 0 {
			if err := d.finish(false); err != nil { // its tables are full
				return err
			}
			continue
		} else {
			k = room
		}
		if err := d.w.Take(c, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (d *Days) begin(first ulid.ULID) {
	const day = uint64(24 * time.Hour / time.Millisecond)
	ms, _, _ := SplitID(first)
	next := (ms/day + 1) * day
	d.last = next > MaxTime
	d.end = MakeID(next, 0, 0)
	d.buf = bytes.NewBuffer(make([]byte, 0, d.cfg.Room))
	d.w.Reset(d.buf)
}

// Close finishes the segment being written, if there is one, and emits it.
func (d *Days) Close() error { return d.finish(true) }

func (d *Days) finish(final bool) error {
	if d.buf == nil {
		return nil
	}
	if d.cfg.Lineage != nil {
		d.w.Replace(d.cfg.Lineage(d.w.last, final))
	}
	name, err := d.w.Finish()
	if err != nil {
		return err
	}
	data := d.buf.Bytes()
	d.buf = nil
	return d.cfg.Emit(name, data)
}
