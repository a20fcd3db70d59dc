package spread

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
	"oklog/query/querytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scatter stores entries in segments of all kinds, large and small, some of which overlap, some records twice, and returns what is hot.
func scatter(t testing.TB, rnd *rand.Rand, b objstore.Bucket, topic string, all []querytest.Entry) *querytest.Batches {
	hot := &querytest.Batches{}
	parts := 1 + rnd.IntN(6)
	split := make([][]querytest.Entry, parts)
	for i, e := range all {
		k := i * parts / len(all)
		if rnd.IntN(8) == 0 {
			k = rnd.IntN(parts)
		}
		split[k] = append(split[k], e)
		if k = rnd.IntN(parts); rnd.IntN(10) == 0 && !slices.ContainsFunc(split[k], func(o querytest.Entry) bool { return o.ID == e.ID }) {
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
			for _, body := range querytest.Encode(t, 0, 0, tail) {
				hot.Bodies = append(hot.Bodies, body)
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
				querytest.Store(t, b, topic, 0, blockSize, chunk)
			}
			continue
		}
		querytest.Store(t, b, topic, uint8(rnd.IntN(3)), blockSize, part)
	}
	return hot
}

func randomRange(rnd *rand.Rand, all []querytest.Entry) query.Range {
	if rnd.IntN(3) == 0 {
		return everything()
	}
	a, b := all[rnd.IntN(len(all))].ID, all[rnd.IntN(len(all))].ID
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
