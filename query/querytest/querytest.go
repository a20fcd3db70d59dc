// Package querytest makes worlds of records for the tests of queries, and stores them.
//
// A world is a list of entries by ascending ID: what a query over it has to find is told by looking at each of them.
package querytest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// Entry is a record of a world.
type Entry struct {
	ID     ulid.ULID
	Source segment.Source
	Text   string
	Piece  segment.Piece
}

// EntryOf is the entry that a record was made of.
func EntryOf(r segment.Record) Entry { return Entry{r.ID, r.Source, string(r.Text), r.Piece} }

// String is all of it.
func (e Entry) String() string { return fmt.Sprintf("%s %q %d {%s}", e.ID, e.Text, e.Piece, e.Source) }

// ByID compares entries by their IDs.
func ByID(a, b Entry) int { return a.ID.Compare(b.ID) }

// Day0 is when worlds begin.
var Day0 = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// Nasty are texts that are not what lines usually are.
var Nasty = []string{
	"", "\n", "a\nb", "\n\n", "plain", "100% sure %d %s", "nul \x00 nul", "carriage\r", "\r\n", "\xff\xfe invalid \x80", "tab\tx",
	"K\u212a k\u017fs", "Grüße AUS köln", "ends in newline\n", "stack:\n\tat a\n\tat b", "x", "status=500 error", "Status=200 ok",
}

// World makes about n random records over some days: several sources, clocks that step, bursts in a millisecond. Of those that follow each
// other in a session one in cut is a piece of the record before it.
func World(rnd *rand.Rand, n, cut int) []Entry {
	var all []Entry
	sessions := 1 + rnd.IntN(5)
	for s := range sessions {
		source, err := segment.ParseSource([]string{fmt.Sprintf("host=h%d", s), "job=test"})
		if err != nil {
			panic(err)
		}
		session := rnd.Uint64N(segment.MaxSession)
		ms := uint64(Day0.UnixMilli()) + rnd.Uint64N(3*24*3600*1000)
		for i := 0; i < n/sessions; i++ {
			switch rnd.IntN(10) {
			case 0:
				ms += rnd.Uint64N(3600 * 1000)
			case 1, 2, 3:
				ms += rnd.Uint64N(50)
			}
			e := Entry{ID: segment.MakeID(ms, session, uint32(i)), Source: source}
			switch rnd.IntN(4) {
			case 0:
				e.Text = Nasty[rnd.IntN(len(Nasty))]
			case 1:
				e.Text = fmt.Sprintf("10.0.%d.%d connect Error %x", rnd.IntN(4), rnd.IntN(256), rnd.Uint32())
			default:
				e.Text = fmt.Sprintf("line %d of %d status=%d", i, s, 200+100*rnd.IntN(4))
			}
			all = append(all, e)
		}
		for i := 1; i < len(all); i++ {
			p, e := &all[i-1], &all[i]
			if segment.After(p.ID) == e.ID && rnd.IntN(cut) == 0 {
				p.Piece |= segment.Continued
				e.Piece |= segment.Continues
			}
		}
	}
	slices.SortFunc(all, ByID)
	return all
}

// Block makes a block of entries, in their order.
func Block(entries []Entry) *segment.Block {
	b := &segment.Block{Sources: segment.Sources{}}
	for _, e := range entries {
		_, session, _ := segment.SplitID(e.ID)
		b.Sources[session] = e.Source
		b.Append(e.ID, []byte(e.Text), e.Piece)
	}
	return b
}

// Encode makes segments of entries, one for each day, with blocks of blockSize. Those of an odd size have no filter.
func Encode(t testing.TB, generation uint8, blockSize int, entries []Entry) iter.Seq2[segment.Name, []byte] {
	return encode(t, generation, blockSize, entries, nil)
}

// encode is Encode for segments that replace those with the keys.
func encode(t testing.TB, generation uint8, blockSize int, entries []Entry, keys []string) iter.Seq2[segment.Name, []byte] {
	return func(yield func(segment.Name, []byte) bool) {
		t.Helper()
		entries = slices.Clone(entries)
		slices.SortFunc(entries, ByID)
		w, err := segment.NewWriter(segment.WriterConfig{BlockSize: blockSize, Generation: generation, Filter: blockSize%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		cfg := segment.DaysConfig{MaxText: 1 << 30, Emit: func(name segment.Name, data []byte) error {
			yield(name, slices.Clone(data))
			return nil
		}}
		if keys != nil {
			var after ulid.ULID
			cfg.Lineage = func(last ulid.ULID, _ bool) segment.Lineage {
				l := segment.Lineage{After: after, Through: last, Replaces: keys}
				after = last
				return l
			}
		}
		d, err := w.Days(cfg)
		if err != nil {
			t.Fatal(err)
		}
		in := Block(entries)
		c := in.Cursor()
		if err := d.Take(&c, c.Left()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Store writes what Encode makes, and returns the keys.
func Store(t testing.TB, b objstore.Bucket, topic string, generation uint8, blockSize int, entries []Entry) (keys []string) {
	t.Helper()
	return put(t, b, topic, Encode(t, generation, blockSize, entries))
}

// Replace writes segments in the place of those with the keys, as compaction does: they hold all entries of these.
func Replace(t testing.TB, b objstore.Bucket, topic string, generation uint8, blockSize int, entries []Entry, keys []string) []string {
	t.Helper()
	return put(t, b, topic, encode(t, generation, blockSize, entries, keys))
}

func put(t testing.TB, b objstore.Bucket, topic string, segments iter.Seq2[segment.Name, []byte]) (keys []string) {
	t.Helper()
	for name, data := range segments {
		key := name.Key(topic)
		if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// Batches are unflushed ones, as a query sees them.
type Batches struct {
	Bodies [][]byte
	Before func() // called before the last body; nil: nothing
	Err    error  // at the end
}

// Unflushed yields the bodies.
func (b *Batches) Unflushed(context.Context, string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i, body := range b.Bodies {
			if i == len(b.Bodies)-1 && b.Before != nil {
				b.Before()
			}
			if !yield(slices.Clone(body), nil) {
				return
			}
		}
		if b.Err != nil {
			yield(nil, b.Err)
		}
	}
}
