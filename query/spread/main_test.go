package spread

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
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

var day0 = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// world makes random records over some days: several sources, bursts in a millisecond, pieces.
func world(rnd *rand.Rand, n int) (all []entry) {
	sessions := 1 + rnd.IntN(5)
	for s := range sessions {
		source, err := segment.ParseSource([]string{fmt.Sprintf("host=h%d", s), "job=test"})
		if err != nil {
			panic(err)
		}
		session := rnd.Uint64N(segment.MaxSession)
		ms := uint64(day0.UnixMilli()) + rnd.Uint64N(2*24*3600*1000)
		from := len(all)
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
				e.text = []string{"", "\n", "a\nb", "nul \x00", "\xff\xfe", "100% %d", "ends in newline\n"}[rnd.IntN(7)]
			case 1:
				e.text = fmt.Sprintf("10.0.%d.%d connect Error %x", rnd.IntN(4), rnd.IntN(256), rnd.Uint32())
			default:
				e.text = fmt.Sprintf("line %d of %d status=%d", i, s, 200+100*rnd.IntN(4))
			}
			all = append(all, e)
		}
		for i := from + 1; i < len(all); i++ {
			p, e := &all[i-1], &all[i]
			if segment.After(p.id) == e.id && rnd.IntN(5) == 0 {
				p.piece |= segment.Continued
				e.piece |= segment.Continues
			}
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return a.id.Compare(b.id) })
	return all
}

// encode makes segments of entries, one for each day.
func encode(t testing.TB, generation uint8, blockSize int, entries []entry) iter.Seq2[segment.Name, []byte] {
	return func(yield func(segment.Name, []byte) bool) {
		t.Helper()
		b := &segment.Block{Sources: segment.Sources{}}
		entries = slices.Clone(entries)
		slices.SortFunc(entries, func(a, b entry) int { return a.id.Compare(b.id) })
		for _, e := range entries {
			_, session, _ := segment.SplitID(e.id)
			b.Sources[session] = e.source
			b.Append(e.id, []byte(e.text), e.piece)
		}
		d, err := segment.NewDays(segment.WriterConfig{BlockSize: blockSize, Generation: generation, Filter: true}, 1<<30,
			func(name segment.Name, data []byte) error {
				yield(name, slices.Clone(data))
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		c := b.Cursor()
		if err := d.Take(&c, c.Left()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func store(t testing.TB, b objstore.Bucket, topic string, generation uint8, blockSize int, entries []entry) (keys []string) {
	t.Helper()
	for name, data := range encode(t, generation, blockSize, entries) {
		if err := b.Put(t.Context(), name.Key(topic), bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, name.Key(topic))
	}
	return keys
}

// batches is a Hot of some segments.
type batches struct{ bodies [][]byte }

func (b *batches) Unflushed(context.Context, string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, body := range b.bodies {
			if !yield(slices.Clone(body), nil) {
				return
			}
		}
	}
}

// scatter stores entries in segments of all kinds, large and small, some of which overlap, some records twice, and returns what is hot.
func scatter(t testing.TB, rnd *rand.Rand, b objstore.Bucket, topic string, all []entry) *batches {
	hot := &batches{}
	parts := 1 + rnd.IntN(6)
	split := make([][]entry, parts)
	for i, e := range all {
		k := i * parts / len(all)
		if rnd.IntN(8) == 0 {
			k = rnd.IntN(parts)
		}
		split[k] = append(split[k], e)
		if k = rnd.IntN(parts); rnd.IntN(10) == 0 && !slices.ContainsFunc(split[k], func(o entry) bool { return o.id == e.id }) {
			split[k] = append(split[k], e)
		}
	}
	for i, part := range split {
		if len(part) == 0 {
			continue
		}
		blockSize := []int{60, 500, 4000}[rnd.IntN(3)]
		if i == parts-1 || rnd.IntN(6) == 0 {
			tail := part[len(part)-1-rnd.IntN(len(part)):]
			for _, body := range encode(t, 0, 0, tail) {
				hot.bodies = append(hot.bodies, body)
			}
			if rnd.IntN(2) == 0 {
				part = part[:len(part)-len(tail)] // else flushed, too
			}
		}
		if len(part) == 0 {
			continue
		}
		if rnd.IntN(2) == 0 {
			for chunk := range slices.Chunk(part, 1+rnd.IntN(50)) {
				store(t, b, topic, 0, blockSize, chunk)
			}
			continue
		}
		store(t, b, topic, uint8(rnd.IntN(3)), blockSize, part)
	}
	return hot
}

func randomRange(rnd *rand.Rand, all []entry) query.Range {
	if rnd.IntN(3) == 0 {
		return everything()
	}
	a, b := all[rnd.IntN(len(all))].id, all[rnd.IntN(len(all))].id
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return query.Range{From: a, To: b}
}

func everything() query.Range {
	return query.Range{To: segment.AtTime(time.UnixMilli(segment.MaxTime))}
}

func pattern(t testing.TB, texts ...string) *match.Program {
	t.Helper()
	m, err := match.Compile(match.Pattern{Texts: texts})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newEngine(t testing.TB, cfg query.Config) *query.Engine {
	t.Helper()
	e, err := query.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// outcome is what a query came to.
type outcome struct {
	records []query.Record
	ans     *query.Answer
	err     error
}

func ask(ctx context.Context, r query.Runner, q query.Query) (o outcome) {
	emit := func(rec query.Record) error {
		rec.Text = bytes.Clone(rec.Text)
		o.records = append(o.records, rec)
		return nil
	}
	if q.CountOnly {
		emit = nil
	}
	o.ans, o.err = r.Run(ctx, q, emit)
	return o
}

// differ tells how two outcomes do.
func differ(want, have outcome) string {
	if want.err != nil || have.err != nil {
		if (want.err == nil) == (have.err == nil) {
			return ""
		}
		return fmt.Sprintf("error %v, want %v", have.err, want.err)
	}
	if want.ans.Count != have.ans.Count || len(want.records) != len(have.records) {
		return fmt.Sprintf("%d records, count %d, want %d, count %d", len(have.records), have.ans.Count, len(want.records), want.ans.Count)
	}
	for i, w := range want.records {
		if h := have.records[i]; h.ID != w.ID || h.Joined != w.Joined || h.Piece != w.Piece || !bytes.Equal(h.Text, w.Text) || h.Source.String() != w.Source.String() {
			return fmt.Sprintf("record %d is %s %q %d %t, want %s %q %d %t", i, h.ID, h.Text, h.Piece, h.Joined, w.ID, w.Text, w.Piece, w.Joined)
		}
	}
	if want.ans.Partial() != have.ans.Partial() {
		return fmt.Sprintf("problems %v, want %v", have.ans.Problems, want.ans.Problems)
	}
	return ""
}

func natsServer(t testing.TB) string {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	return srv.ClientURL()
}

func connect(t testing.TB, url string) *stream.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := stream.Connect(ctx, stream.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// small is a configuration in which a test's few bytes are cut into many pieces.
func small(url string) Config {
	return Config{Group: "test", PieceBytes: 2000, SmallBytes: 1, BufferBytes: 0}
}

// join makes a member with a connection of its own.
func join(t testing.TB, url string, cfg Config) *Spreader {
	t.Helper()
	if url != "" {
		cfg.Transport = connect(t, url).Group()
	}
	if testing.Verbose() && os.Getenv("SPREAD_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// knows waits until a member knows that there are n.
func knows(t testing.TB, s *Spreader, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d members are known", n), func() bool {
		s.peers.refreshSoon()
		return s.Members() == n
	})
}
