package query

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"oklog/objstore"
	"oklog/objstore/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a record of a test's world.
type entry struct {
	id     ulid.ULID
	source segment.Source
	text   string
	piece  segment.Piece
}

func (e entry) String() string { return fmt.Sprintf("%s %q %d {%s}", e.id, e.text, e.piece, e.source) }

func byID(a, b entry) int { return a.id.Compare(b.id) }

var day0 = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// block makes a block of entries, in their order.
func block(entries []entry) *segment.Block {
	b := &segment.Block{Sources: segment.Sources{}}
	for _, e := range entries {
		_, session, _ := segment.SplitID(e.id)
		b.Sources[session] = e.source
		b.Append(e.id, []byte(e.text), e.piece)
	}
	return b
}

// store writes entries as segments, one for each day, with blocks of blockSize, and returns their keys.
func store(t testing.TB, b objstore.Bucket, topic string, generation uint8, blockSize int, entries []entry) (keys []string) {
	t.Helper()
	for name, data := range encode(t, generation, blockSize, entries) {
		key := name.Key(topic)
		if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

func encode(t testing.TB, generation uint8, blockSize int, entries []entry) iter.Seq2[segment.Name, []byte] {
	return func(yield func(segment.Name, []byte) bool) {
		t.Helper()
		entries = slices.Clone(entries)
		slices.SortFunc(entries, byID)
		d, err := segment.NewDays(segment.WriterConfig{BlockSize: blockSize, Generation: generation, Filter: blockSize%2 == 0}, 1<<30,
			func(name segment.Name, data []byte) error {
				yield(name, data)
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		in := block(entries)
		c := in.Cursor()
		if err := d.Take(&c, c.Left()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// batches is a Hot of some segments.
type batches struct {
	bodies [][]byte
	before func() // called before the last body
	err    error
}

func (b *batches) Unflushed(context.Context, string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for i, body := range b.bodies {
			if i == len(b.bodies)-1 && b.before != nil {
				b.before()
			}
			if !yield(slices.Clone(body), nil) {
				return
			}
		}
		if b.err != nil {
			yield(nil, b.err)
		}
	}
}

var nasty = []string{
	"", "\n", "a\nb", "\n\n", "plain", "100% sure %d %s", "nul \x00 nul", "carriage\r", "\r\n", "\xff\xfe invalid \x80", "tab\tx",
	"K\u212a k\u017fs", "Grüße AUS köln", "ends in newline\n", "stack:\n\tat a\n\tat b", "x", "status=500 error", "Status=200 ok",
}

// world makes random records over some days: several sources, clocks that step, bursts in a millisecond, pieces.
func world(rnd *rand.Rand, n int) []entry {
	var all []entry
	sessions := 1 + rnd.IntN(5)
	for s := range sessions {
		source, _ := segment.ParseSource([]string{fmt.Sprintf("host=h%d", s), "job=test"})
		session := rnd.Uint64N(segment.MaxSession)
		ms := uint64(day0.UnixMilli()) + rnd.Uint64N(3*24*3600*1000)
		for i := 0; i < n/sessions; i++ {
			switch rnd.IntN(10) {
			case 0:
				ms += rnd.Uint64N(3600 * 1000)
			case 1, 2, 3:
				ms += rnd.Uint64N(50)
			}
			e := entry{id: segment.MakeID(ms, session, uint32(i)), source: source}
			switch rnd.IntN(4) {
			case 0:
				e.text = nasty[rnd.IntN(len(nasty))]
			case 1:
				e.text = fmt.Sprintf("10.0.%d.%d connect Error %x", rnd.IntN(4), rnd.IntN(256), rnd.Uint32())
			default:
				e.text = fmt.Sprintf("line %d of %d status=%d", i, s, 200+100*rnd.IntN(4))
			}
			all = append(all, e)
		}
		for i := 1; i < len(all); i++ {
			p, e := &all[i-1], &all[i]
			if segment.After(p.id) == e.id && rnd.IntN(20) == 0 {
				p.piece |= segment.Continued
				e.piece |= segment.Continues
			}
		}
	}
	slices.SortFunc(all, byID)
	return all
}

// scatter stores entries in overlapping segments of all kinds, some of them several times, and returns what is hot.
func scatter(t testing.TB, rnd *rand.Rand, b objstore.Bucket, topic string, all []entry) *batches {
	hot := &batches{}
	parts := 1 + rnd.IntN(8)
	split := make([][]entry, parts)
	for i, e := range all {
		k := rnd.IntN(parts)
		if rnd.IntN(2) == 0 {
			k = i * parts / len(all) // mostly by time
		}
		split[k] = append(split[k], e)
		if rnd.IntN(5) == 0 {
			k = rnd.IntN(parts)
			if n := len(split[k]); n == 0 || split[k][n-1].id != e.id {
				split[k] = append(split[k], e)
			}
		}
	}
	for _, part := range split {
		if len(part) == 0 {
			continue
		}
		blockSize := []int{1, 60, 500, 4000, 0}[rnd.IntN(5)]
		if rnd.IntN(4) == 0 {
			for _, body := range encode(t, 0, blockSize, part) {
				hot.bodies = append(hot.bodies, body)
			}
			if rnd.IntN(2) == 0 {
				continue // else flushed, too
			}
		}
		if rnd.IntN(2) == 0 {
			// As an ingester flushes: small ones, many of them within an hour.
			for chunk := range slices.Chunk(part, 1+rnd.IntN(50)) {
				store(t, b, topic, 0, blockSize, chunk)
			}
			continue
		}
		store(t, b, topic, uint8(rnd.IntN(3)), blockSize, part)
	}
	return hot
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ask runs a query and returns what it put out.
func ask(t testing.TB, e *Engine, q Query) ([]entry, *Answer) {
	t.Helper()
	var got []entry
	ans, err := e.Run(t.Context(), q, func(r Record) error {
		got = append(got, entry{r.ID, r.Source, string(r.Text), r.Piece})
		return nil
	})
	if err != nil {
		t.Fatalf("query %+v: %v", q, err)
	}
	return got, ans
}

func same(t testing.TB, want, have []entry) {
	t.Helper()
	for i := range max(len(want), len(have)) {
		w, h := "nothing", "nothing"
		if i < len(want) {
			w = want[i].String()
		}
		if i < len(have) {
			h = have[i].String()
		}
		if w != h {
			t.Fatalf("record %d of %d: want %s, have %s (of %d)", i, len(want), w, h, len(have))
		}
	}
}

func everything() Range { return Range{To: segment.AtTime(time.UnixMilli(segment.MaxTime))} }

// bucketFunc wraps a bucket and lets some calls go another way.
type bucketFunc struct {
	objstore.Bucket
	get  func(ctx context.Context, key string, off int64, p []byte) (int, error)
	list func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error]
}

func (b *bucketFunc) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if b.get != nil {
		return b.get(ctx, key, off, p)
	}
	return b.Bucket.Get(ctx, key, off, p)
}

func (b *bucketFunc) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if b.list != nil {
		return b.list(ctx, prefix, after)
	}
	return b.Bucket.List(ctx, prefix, after)
}

// content reads an object whole.
func content(t testing.TB, b objstore.Bucket, key string) []byte {
	t.Helper()
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, info.Size)
	if _, err := io.ReadFull(io.NewSectionReader(objstore.ReaderAt(t.Context(), b, key), 0, info.Size), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func replace(t testing.TB, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}
