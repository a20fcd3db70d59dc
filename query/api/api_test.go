package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

func TestQuery(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 1000)
	s := listen(t, newAPI(t, p.config()))
	f := func(params string, want ...int) {
		t.Helper()
		r := get(t, s.URL+wire.Query+"?topic=web&"+params)
		have, end := r.texts(t)
		var texts []string
		for _, i := range want {
			texts = append(texts, logLine(i))
		}
		if r.StatusCode != 200 || !slices.Equal(have, texts) || end.Count != int64(len(want)) || end.Partial || r.Header.Get("Content-Type") != wire.NDJSON || r.Header.Get(wire.Version) != "1" {
			t.Errorf("%s: %d: want %q, have %q; %+v, %v", params, r.StatusCode, texts, have, end, r.Header)
		}
	}
	f("pattern=line+77+", 77)
	f("pattern=line+77+&pattern=line+78+", 77, 78)
	f("pattern=LINE+77+&ignore_case", 77)
	f("pattern=LINE+77+&ignore_case=false")
	f("pattern=LINE+77+&smart_case=1")
	f("pattern=line+77+&smart_case=true", 77)
	f("pattern="+url.QueryEscape(`line 7[0-2] `)+"&regex=true", 70, 71, 72)
	f("pattern=7+status&word", slices.Collect(func(yield func(int) bool) { yield(7) })...)
	f("pattern=line&invert=true")
	f("newest=true&limit=2", 999, 998)
	f("newest=true&limit=2&source=host%3Dweb0", 998, 996)
	f("limit=1&source=host!%3Dweb0", 1)
	f("from=10s", 990, 991, 992, 993, 994, 995, 996, 997, 998, 999)
	f("from=10s&to=8s&brute=true", 990, 991)
	f("pattern=absent")

	r := get(t, s.URL+wire.Query+"?topic=web&count=true&pattern=status%3D200")
	if have, end := r.texts(t); len(have) > 0 || end.Count != 250 || end.Cursor != "" || !strings.Contains(end.Required, "status=200") {
		t.Errorf("%q %+v", have, end)
	}
	r = get(t, s.URL+wire.Query+"?topic=web&ids_only=true&before=3&pattern=line+77+")
	if have, end := r.texts(t); !slices.Equal(have, []string{""}) || end.Count != 1 || end.Cursor == "" {
		t.Errorf("%q %+v", have, end)
	}
}

// Whoever turns pages sees every match, whatever stands around those of the page before.
func TestPagesWithContext(t *testing.T) {
	p := newPlace(t)
	block := &segment.Block{Sources: segment.Sources{1: {{Key: "host", Value: "quiet"}}, 2: {{Key: "host", Value: "busy"}}}}
	add := func(i int, session uint64, text string) {
		block.Append(segment.MakeID(uint64(now.UnixMilli())-100_000+uint64(i)*1000, session, uint32(i)), []byte(text), 0)
	}
	add(0, 1, "before")
	add(1, 1, "match 1")
	for i := 2; i < 20; i++ {
		add(i, 2, fmt.Sprint("match ", i))
	}
	add(20, 1, "after")
	storeBlock(t, p.bucket, "web", block)
	s := listen(t, newAPI(t, p.config()))
	for _, newest := range []string{"false", "true"} {
		cursor, seen := "", map[string]bool{}
		for page := 0; ; page++ {
			if page > 30 {
				t.Fatal("there is no end to it")
			}
			r := get(t, s.URL+wire.Query+"?topic=web&pattern=match&limit=1&after=1&before=1&newest="+newest+cursor)
			have, end := r.texts(t)
			if len(have) == 0 {
				break
			}
			for _, text := range have {
				if strings.HasPrefix(text, "match") {
					seen[text] = true
				}
			}
			cursor = "&cursor=" + end.Cursor
		}
		if len(seen) != 19 {
			t.Errorf("newest %s: %d matches of 19", newest, len(seen))
		}
	}
}

func TestBadRequests(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 1000)
	s := listen(t, newAPI(t, p.config()))
	f := func(path string, status int, parameter, message string) {
		t.Helper()
		get(t, s.URL+path).failed(t, status, parameter, message)
	}
	f("/", 404, "", "there is nothing at")
	f(wire.Query, 400, "topic", "topic is missing: say which topic")
	f(wire.Query+"?topic=/../", 400, "topic", "topic")
	f(wire.Query+"?topic=web&topic=web", 400, "topic", "given 2 times")
	f(wire.Query+"?topic=web&from=soon", 400, "from", "from soon")
	f(wire.Query+"?topic=web&from=1h&to=2h", 400, "from", "from 1h is not before to 2h")
	f(wire.Query+"?topic=web&pattern=(&regex", 400, "pattern", "leave out regex")
	f(wire.Query+"?topic=web&regex=maybe", 400, "regex", "want true or false")
	f(wire.Query+"?topic=web&source=x", 400, "source", "KEY=VALUE")
	f(wire.Query+"?topic=web&limit=0", 400, "limit", "want at least 1")
	f(wire.Query+"?topic=web&limit=x", 400, "limit", "want a whole number")
	f(wire.Query+"?topic=web&before=10001", 400, "before", "want 0 to 10000")
	f(wire.Query+"?topic=web&after=-1", 400, "after", "want 0 to 10000")
	f(wire.Query+"?topic=web&cursor=x", 400, "cursor", "ULID")
	f(wire.Query+"?topic=web&wat=x", 400, "wat", "there is no parameter")
	f(wire.Query+"?topic=web&max_bytes=1", 413, "max_bytes", "ask for a shorter time")
	f(wire.Query+"?topic=web&max_bytes=0", 400, "max_bytes", "at least 1")
	f(wire.Query+"?topic=%zz", 400, "", "URL-encoded")
	f(wire.Query+"?topic=web&pattern="+strings.Repeat("x", maxQuery), 414, "", "use POST")
	f(wire.Query+"?topic=web"+strings.Repeat("&", maxValues), 400, "", "parameters")
	f(wire.Histogram+"?topic=web&limit=1", 400, "limit", "there is no parameter")
	f(wire.Histogram+"?topic=web&step=0", 400, "step", "shorter than 1ms")
	f(wire.Histogram+"?topic=web&step=1ms", 400, "step", "step 1ms")
	f(wire.Topics+"?topic=web", 400, "topic", "want none")
	f(wire.Sources, 400, "topic", "topic is missing")
	f(wire.Tail+"?topic=web", 501, "", "this server has no tail")

	post := func(kind, body string, status int, parameter, message string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+wire.Query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		do(t, r).failed(t, status, parameter, message)
	}
	post("application/json", "{", 400, "", "not an object of JSON")
	post("application/json", "[]", 400, "", "not an object of JSON")
	post("application/json", "{} {}", 400, "", "behind the object")
	post("application/json", `{"topic":{}}`, 400, "topic", "want a text")
	post("application/json", `{"topic":null}`, 400, "topic", "want a text")
	post("application/json", `{"topic":"web","limit":1.5}`, 400, "limit", "whole number")
	post("application/json", `{"topic":"`+strings.Repeat("x", maxBody)+`"}`, 413, "", "ask in parts")
	post("text/plain", "topic=web", 415, "", "want application/json")

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+wire.Query+"?topic=web", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	do(t, r).failed(t, 400, "", "takes no body")
	r, err = http.NewRequestWithContext(t.Context(), http.MethodDelete, s.URL+wire.Query, nil)
	if err != nil {
		t.Fatal(err)
	}
	have := do(t, r)
	have.failed(t, 405, "", "want GET, HEAD, POST")
	if have.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Error(have.Header)
	}
}

// A POST asks what a GET does; texts need not be UTF-8 in a form.
func TestPost(t *testing.T) {
	p := newPlace(t)
	storeLines(t, p.bucket, "web", 5, func(i int) string { return fmt.Sprintf("line %d \xff\x00", i) }, func(string) {})
	s := listen(t, newAPI(t, p.config()))
	f := func(kind, body string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+wire.Query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		if have, end := do(t, r).texts(t); len(have) != want || end.Count != int64(want) {
			t.Errorf("%s: want %d, have %q", body, want, have)
		}
	}
	f("application/json", `{"topic":"web","pattern":["line 1","line 2"],"limit":10,"newest":true}`, 2)
	f("application/json; charset=utf-8", `{"topic":"web","pattern":"line 3"}`, 1)
	f("application/x-www-form-urlencoded", "topic=web&pattern=3+%ff%00", 1)
	f("application/x-www-form-urlencoded", "topic=web&pattern="+strings.Repeat("x", 60<<10)+"&pattern=line+0", 1)
}

// Page by page, everything is there once.
func TestPages(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 350)
	s := listen(t, newAPI(t, p.config()))
	for _, newest := range []string{"false", "true"} {
		var all []string
		cursor := ""
		for range 10 {
			have, end := get(t, s.URL+wire.Query+"?topic=web&from=1h&limit=50&newest="+newest+cursor).texts(t)
			all = append(all, have...)
			if end.Cursor == "" {
				break
			}
			cursor = "&cursor=" + end.Cursor
		}
		if newest == "true" {
			slices.Reverse(all)
		}
		if len(all) != 350 {
			t.Fatalf("newest %s: %d lines", newest, len(all))
		}
		for i, text := range all {
			if text != logLine(i) {
				t.Fatalf("newest %s: line %d is %s", newest, i, text)
			}
		}
	}
	// Behind the end there is nothing, which is no error.
	for _, params := range []string{"to=30m&cursor=", "newest=true&from=30m&cursor="} {
		id := segment.AtTime(now.Add(-20 * time.Minute))
		if strings.HasPrefix(params, "newest") {
			id = segment.AtTime(now.Add(-time.Hour))
		}
		if have, end := get(t, s.URL+wire.Query+"?topic=web&"+params+id.String()).texts(t); len(have) > 0 || end.Count != 0 {
			t.Errorf("%q %+v", have, end)
		}
	}
	get(t, s.URL+wire.Query+"?topic=web&from=x&newest&cursor="+ulid.ULID{}.String()).failed(t, 400, "from", "from x")
}

func TestEncodings(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 3000)
	s := listen(t, newAPI(t, p.config()))
	for accept, want := range map[string]string{"": "", "identity": "", "gzip": "gzip", "zstd": "zstd", "gzip, zstd;q=0.5": "zstd", "gzip;q=0": "", "zstd;q=x, br": "", "GZIP ; q=1": "gzip"} {
		for range 3 { // encoders are used again
			for _, path := range []string{wire.Query + "?topic=web", wire.Histogram + "?topic=web"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept-Encoding", accept)
				have := do(t, r)
				if have.Header.Get("Content-Encoding") != want || have.Header.Get("Vary") != "Accept-Encoding" {
					t.Fatalf("%q: %v", accept, have.Header)
				}
				have.body = decode(t, want, have.body)
				if path != wire.Query+"?topic=web" {
					var h query.HistogramAnswer
					if err := json.Unmarshal(have.body, &h); err != nil || h.Answer.Count != 3000 {
						t.Fatal(err)
					}
					continue
				}
				if all, end := have.texts(t); len(all) != 3000 || end.Count != 3000 {
					t.Fatalf("%q: %d lines", accept, len(all))
				}
			}
		}
	}
}

func decode(t *testing.T, coding string, b []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAggregates(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 600)
	store(t, p.bucket, "other", 10)
	s := listen(t, newAPI(t, p.config()))
	var h query.HistogramAnswer
	if err := json.Unmarshal(get(t, s.URL+wire.Histogram+"?topic=web&step=1m&pattern=status%3D200").body, &h); err != nil {
		t.Fatal(err)
	}
	if len(h.Buckets) != 10 || h.Step != time.Minute || h.Answer.Count != 150 || !h.Buckets[0].Start.Equal(now.Add(-10*time.Minute)) || h.Buckets[9].Count != 15 {
		t.Errorf("%+v", h)
	}
	if err := json.Unmarshal(get(t, s.URL+wire.Histogram+"?topic=web&step=1d&tz=Asia%2FKathmandu").body, &h); err != nil {
		t.Fatal(err)
	}
	if start := h.Buckets[0].Start.Add(5*time.Hour + 45*time.Minute); h.Step != 24*time.Hour || start.Hour() != 0 || start.Minute() != 0 {
		t.Errorf("days of Kathmandu begin at %s", h.Buckets[0].Start)
	}
	get(t, s.URL+wire.Histogram+"?topic=web&tz=Mars").failed(t, 400, "tz", "no such zone")
	get(t, s.URL+wire.Histogram+"?topic=web&tz=local").failed(t, 400, "tz", "want utc")
	if r := get(t, s.URL+wire.Histogram+"?topic=web&pattern=absent"); !bytes.Contains(r.body, []byte(`"buckets":[]`)) {
		t.Errorf("%s", r.body)
	}
	var top query.TopAnswer
	if err := json.Unmarshal(get(t, s.URL+wire.Top+"?topic=web&from=1m&n=2&field=status&pattern=status%3D200&pattern=status%3D300").body, &top); err != nil {
		t.Fatal(err)
	}
	if len(top.Values) != 2 || top.Values[0].Value != "200" || top.Values[0].Count != 15 || top.With != 30 || top.Distinct != 2 {
		t.Errorf("%+v", top)
	}
	get(t, s.URL+wire.Top+"?topic=web").failed(t, 400, "field", "field is missing")
	get(t, s.URL+wire.Top+"?topic=web&field=").failed(t, 400, "field", "field")
	get(t, s.URL+wire.Top+"?topic=web&field=a&n=0").failed(t, 400, "n", "want 1 to 10000")
	if have, _ := get(t, s.URL+wire.Query+"?topic=web&from=1m&where=status%3E300").texts(t); len(have) != 30 {
		t.Errorf("%q", have)
	}
	get(t, s.URL+wire.Query+"?topic=web&where=status%3E").failed(t, 400, "where", "where")
	var topics wire.TopicList
	if err := json.Unmarshal(get(t, s.URL+wire.Topics).body, &topics); err != nil || len(topics.Topics) != 2 || topics.Topics[1].Name != "web" || topics.Topics[1].LastDay != "2026-11-22" {
		t.Errorf("%+v %v", topics, err)
	}
	var sources wire.SourceList
	if err := json.Unmarshal(get(t, s.URL+wire.Sources+"?topic=web&source=host!%3Dweb0").body, &sources); err != nil || len(sources.Sources) != 1 || sources.Sources[0].Source["host"] != "web1" {
		t.Errorf("%+v %v", sources, err)
	}
}

func TestEstimate(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 600)
	s := listen(t, newAPI(t, p.config()))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.URL+wire.Query+"?topic=web&from=250s", nil)
	if err != nil {
		t.Fatal(err)
	}
	have := do(t, r)
	if have.StatusCode != 200 || have.Header.Get(wire.Segments) != "3" || have.Header.Get(wire.Blocks) != "3" || have.Header.Get(wire.Bytes) == "" || len(have.body) > 0 {
		t.Errorf("%d %v", have.StatusCode, have.Header)
	}
}

// slowRunner hands out records as it is told to.
type runnerFunc func(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error)

func (f runnerFunc) Run(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
	return f(ctx, q, emit)
}

func record(i int, text string) query.Record {
	r := query.Record{}
	r.ID, r.Text = segment.MakeID(uint64(now.UnixMilli()), 1, uint32(i)), []byte(text)
	return r
}

// A partial answer says so in its status while that is possible, and in any case at its end. So does an error.
func TestPartialAndErrors(t *testing.T) {
	problem := query.Problem{Key: "web/x", Err: query.ErrForeign}
	more := make(chan struct{})
	broken := errors.New("the bucket\nis gone")
	a := newAPI(t, Config{Runner: runnerFunc(func(_ context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		ans := &query.Answer{Count: 1, Problems: []query.Problem{problem}}
		if q.Limit >= 3 { // long enough for the beginning to be written
			if err := emit(record(0, "first")); err != nil {
				return ans, err
			}
			<-more
		}
		if q.Limit%2 == 0 {
			return ans, broken
		}
		return ans, nil
	})})
	s := listen(t, a)

	r := get(t, s.URL+wire.Query+"?topic=web&limit=1")
	if _, end := r.texts(t); r.StatusCode != 206 || r.Header.Get(wire.Partial) != "true" || !end.Partial || !errors.Is(end.Problems[0].Err, query.ErrForeign) {
		t.Errorf("%d %v %+v", r.StatusCode, r.Header, end)
	}
	get(t, s.URL+wire.Query+"?topic=web&limit=2").failed(t, 500, "", "the bucket is gone")

	for _, limit := range []string{"3", "4"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+wire.Query+"?topic=web&limit="+limit, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req) // returns once the beginning was written
		if err != nil {
			t.Fatal(err)
		}
		more <- struct{}{}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		lines := slices.Collect(bytes.Lines(b))
		if resp.StatusCode != 200 || len(lines) != 2 {
			t.Fatalf("%d %s", resp.StatusCode, b)
		}
		if limit == "3" && (resp.Trailer.Get(wire.Partial) != "true" || !bytes.HasPrefix(lines[1], []byte(`{"end":`))) {
			t.Errorf("%v %s", resp.Trailer, lines[1])
		}
		if limit == "4" && string(lines[1]) != `{"error":{"message":"the bucket is gone","status":500}}`+"\n" {
			t.Errorf("%s", lines[1])
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A query that runs for too long ends with what it has found.
func TestTimeLimit(t *testing.T) {
	a := newAPI(t, Config{MaxTime: 200 * time.Millisecond, Runner: runnerFunc(func(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		if !q.CountOnly {
			if err := emit(record(0, "first")); err != nil {
				return &query.Answer{}, err
			}
		}
		<-ctx.Done()
		return &query.Answer{Count: 1}, ctx.Err()
	})})
	s := listen(t, a)
	r := get(t, s.URL+wire.Query+"?topic=web&to=now")
	have, end := r.texts(t)
	if len(have) != 1 || !end.Partial || !errors.Is(end.Problems[0].Err, query.ErrTimeLimit) || end.Problems[0].First != segment.After(record(0, "").ID) {
		t.Errorf("%d %q %+v", r.StatusCode, have, end)
	}
	r = get(t, s.URL+wire.Query+"?topic=web&count=true")
	if _, end := r.texts(t); r.StatusCode != 206 || !end.Partial {
		t.Errorf("%d %+v", r.StatusCode, end)
	}
	r = get(t, s.URL+wire.Histogram+"?topic=web")
	if r.StatusCode != 206 || !bytes.Contains(r.body, []byte(`"kind":"time"`)) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// Who goes away ends its query.
func TestClientGone(t *testing.T) {
	ended := make(chan error)
	started := make(chan struct{}, 1)
	a := newAPI(t, Config{MaxConcurrent: 1, Runner: runnerFunc(func(ctx context.Context, _ query.Query, _ func(query.Record) error) (*query.Answer, error) {
		started <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return &query.Answer{}, ctx.Err()
	})})
	s := listen(t, a)
	ask := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+wire.Query+"?topic=web", nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = resp.Body.Close()
			}
		}()
		return func() { cancel(); <-done }
	}
	first := ask()
	<-started
	second := ask() // it waits for the first
	for {
		if _, waiting, _ := a.queue.counts(); waiting == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	second()
	for {
		if _, waiting, _ := a.queue.counts(); waiting == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	first()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A reader that takes nothing is put aside, and then given up; others go on meanwhile.
func TestReaderTakesNothing(t *testing.T) {
	text := strings.Repeat("x", 1<<16)
	ended := make(chan error, 1)
	reg := prometheus.NewRegistry()
	a := newAPI(t, Config{MaxConcurrent: 2, ReaderWait: 3 * time.Second, Registerer: reg, Runner: runnerFunc(func(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		if q.CountOnly {
			return &query.Answer{Count: 7}, nil
		}
		for i := 0; ; i++ {
			if err := emit(record(i, text)); err != nil {
				ended <- err
				return &query.Answer{}, err
			}
		}
	})})
	a.queue.slots, a.queue.own, a.queue.asides = 1, 1, 1
	s := listen(t, a)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s?topic=web HTTP/1.1\r\nHost: x\r\n\r\n", wire.Query); err != nil {
		t.Fatal(err)
	}
	for {
		if running, _, aside := a.queue.counts(); aside == 1 && running == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, end := get(t, s.URL+wire.Query+"?topic=web&count").texts(t); end.Count != 7 {
		t.Errorf("%+v", end)
	}
	if err := <-ended; !errors.Is(err, errReader) {
		t.Error(err)
	}
	for {
		if running, _, aside := a.queue.counts(); aside == 0 && running == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

func TestConfig(t *testing.T) {
	runner := runnerFunc(nil)
	for _, cfg := range []Config{{}, {Runner: runner, MaxConcurrent: -1}, {Runner: runner, MaxWaiting: 1 << 21}, {Runner: runner, MaxWait: -1}, {Runner: runner, MaxBytes: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v passes", cfg)
		}
	}
	reg := prometheus.NewRegistry()
	newAPI(t, Config{Runner: runner, Registerer: reg})
	if _, err := New(Config{Runner: runner, Registerer: reg}); err == nil {
		t.Error("metrics are registered twice")
	}
}

// Whatever the parameters are, they are read or refused with one line.
func FuzzParameters(f *testing.F) {
	f.Add("topic=web&from=1h&pattern=a&pattern=b&regex&limit=3&cursor=01KAPV2P4X4Q8S3M6W1Z0N5R7T&where=a%3D1&source=a%3Db", false)
	f.Add(`{"topic":"web","pattern":["a"],"limit":3,"newest":true,"n":1,"field":"a.b","step":"1m"}`, true)
	f.Fuzz(func(t *testing.T, body string, isJSON bool) {
		parse := parseForm
		if isJSON {
			parse = func(body string) (url.Values, error) { return parseJSON([]byte(body)) }
		}
		v, err := parse(body)
		for _, known := range [][]param{queryParams(), topParams(), tailParams(), histogramParams(), sourcesParams(), nil} {
			if err == nil {
				var a *asked
				if a, err = read(v, known); err == nil {
					_, err = a.compile(now, known)
				}
			}
			if err != nil {
				if e := failure(err); e.Status < 400 || e.Status >= 500 || strings.ContainsRune(e.Message, '\n') || e.Message == "" {
					t.Fatalf("%+v", e)
				}
			}
			err = nil
			if v == nil {
				return
			}
		}
	})
}
