package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when everything in these tests is asked.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// logLine is line i of a topic: one a second, the last one just before now.
func logLine(i int) string { return fmt.Sprintf("line %d status=%d", i, 200+100*(i%4)) }

// store writes n records into a bucket, some segments of them, of two hosts by turns, and returns their IDs.
func store(t testing.TB, b objstore.Bucket, topic string, n int) (ids []string) {
	t.Helper()
	storeLines(t, b, topic, n, logLine, func(id string) { ids = append(ids, id) })
	return ids
}

func storeLines(t testing.TB, b objstore.Bucket, topic string, n int, line func(int) string, id func(string)) {
	t.Helper()
	const each = 100
	for from := 0; from < n; from += each {
		block := &segment.Block{Sources: segment.Sources{1: {{Key: "host", Value: "web0"}}, 2: {{Key: "host", Value: "web1"}}}}
		for i := from; i < min(from+each, n); i++ {
			x := segment.MakeID(uint64(now.Add(time.Duration(i-n)*time.Second).UnixMilli()), uint64(1+i%2), uint32(i))
			block.Append(x, []byte(line(i)), 0)
			id(x.String())
		}
		storeBlock(t, b, topic, block)
	}
}

func storeBlock(t testing.TB, b objstore.Bucket, topic string, block *segment.Block) {
	t.Helper()
	d, err := segment.NewDays(segment.WriterConfig{Filter: true, BlockSize: 1 << 16}, 1<<30, func(name segment.Name, data []byte) error {
		return b.Put(t.Context(), name.Key(topic), bytes.NewReader(data), int64(len(data)))
	})
	if err != nil {
		t.Fatal(err)
	}
	c := block.Cursor()
	if err := d.Take(&c, c.Left()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// place is a bucket with an engine.
type place struct {
	bucket objstore.Bucket
	engine *query.Engine
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{bucket: objstore.NewMemory("m", clock)}
	var err error
	if p.engine, err = query.New(query.Config{Bucket: p.bucket}); err != nil {
		t.Fatal(err)
	}
	return p
}

// Topics implements TopicLister.
func (p *place) Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error] {
	return query.Topics(ctx, p.bucket, now)
}

func (p *place) config() Config {
	return Config{Runner: p.engine, Now: clock, Parts: Parts{Estimator: p.engine, Sources: p.engine, Topics: p}}
}

func newAPI(t testing.TB, cfg Config) *API {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = clock
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listen serves a on a real listener, and holds its answers to the description.
func listen(t testing.TB, a http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(described(t, a))
	t.Cleanup(s.Close)
	return s
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	body []byte
}

func do(t testing.TB, r *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, b}
}

func get(t testing.TB, url string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r)
}

// texts are those of the records of an answer, and end is how it ended.
func (r reply) texts(t testing.TB) (all []string, end *wire.End) {
	t.Helper()
	lines := slices.Collect(bytes.Lines(r.body))
	if len(lines) == 0 {
		t.Fatal("no lines")
	}
	for _, line := range lines[:len(lines)-1] {
		rec, err := query.ParseLine(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, string(rec.Text))
	}
	var last struct {
		End   *wire.End
		Error *wire.Error
	}
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.End == nil {
		t.Fatalf("the last line is %s: %v", lines[len(lines)-1], err)
	}
	return all, last.End
}

// failed checks that an answer is an error.
func (r reply) failed(t testing.TB, status int, parameter, message string) {
	t.Helper()
	var f wire.Failure
	if err := json.Unmarshal(r.body, &f); err != nil || f.Error == nil {
		t.Fatalf("%d %s: %v", r.StatusCode, r.body, err)
	}
	if r.StatusCode != status || f.Error.Status != status || f.Error.Parameter != parameter || !strings.Contains(f.Error.Message, message) || strings.ContainsRune(f.Error.Message, '\n') {
		t.Fatalf("want %d, parameter %q, %q; have %d: %+v", status, parameter, message, r.StatusCode, f.Error)
	}
}
