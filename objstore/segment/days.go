package segment

import (
	"bytes"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// dense is the ratio below which a text is taken for one that does not compress: a segment of it ends before
// it has all the text that it might, since it is held in memory until it is put.
const dense = 8

// Days writes records as segments that each lie within one day of UTC and hold no more text than asked for, as
// far as whole merges' stretches allow. It is not safe for concurrent use.
type Days struct {
	w       *Writer
	maxText int64
	emit    func(Name, []byte) error
	buf     *bytes.Buffer // nil between segments
	end     ulid.ULID     // of the day of the segment being written
	last    bool          // that day is the last that a ULID can name
}

// NewDays makes a writer of segments with up to maxText bytes of text. emit gets every segment, whole, and
// owns its bytes.
func NewDays(cfg WriterConfig, maxText int64, emit func(name Name, data []byte) error) (*Days, error) {
	w, err := NewWriter(cfg)
	if err != nil {
		return nil, err
	}
	return w.Days(maxText, emit)
}

// Days is NewDays with a writer that is there already, and is not used otherwise until the Days are closed or given up.
func (w *Writer) Days(maxText int64, emit func(name Name, data []byte) error) (*Days, error) {
	if maxText <= 0 {
		return nil, fmt.Errorf("write segments: size %d: want at least 1 byte of text", maxText)
	}
	return &Days{w: w, maxText: maxText, emit: emit}, nil
}

// Take is a Sink: it writes the next n records of c.
func (d *Days) Take(c *Cursor, n int) error {
	for n > 0 {
		if d.buf != nil && (!d.last && c.ID().Compare(d.end) >= 0 || d.w.RawBytes() >= d.maxText || d.w.Size() >= d.maxText/dense) {
			if err := d.Close(); err != nil {
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
			if err := d.Close(); err != nil { // its tables are full
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
	d.buf = new(bytes.Buffer)
	d.w.Reset(d.buf)
}

// Close finishes the segment being written, if there is one, and emits it.
func (d *Days) Close() error {
	if d.buf == nil {
		return nil
	}
	name, err := d.w.Finish()
	if err != nil {
		return err
	}
	data := d.buf.Bytes()
	d.buf = nil
	return d.emit(name, data)
}
