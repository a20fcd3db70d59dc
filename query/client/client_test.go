package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record is record i of a made-up answer, as a line.
func record(i int, text string, piece segment.Piece) string {
	r := query.Record{}
	r.ID, r.Text, r.Piece = segment.MakeID(1_700_000_000_000, 1, uint32(i)), []byte(text), piece
	return string((&query.LineEncoder{}).Append(nil, r))
}

const end = `{"end":{"count":2,"sieved":false,"stats":{},"partial":false}}` + "\n"

// serve answers everything with f.
func serve(t *testing.T, f http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return newClient(t, Config{URL: s.URL})
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// says answers a query with a body.
func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(wire.Version, "1")
		w.Header().Set("Content-Type", wire.NDJSON)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func run(t *testing.T, c *Client, r query.Request) (texts []string, ans *query.Answer, err error) {
	t.Helper()
	if r.Topic == "" {
		r.Topic = "web"
	}
	ans, err = c.Run(t.Context(), r, func(r query.Record) error {
		text := string(r.Text)
		if r.Joined {
			text = "+" + text
		}
		texts = append(texts, text)
		return nil
	})
	if ans == nil {
		t.Fatal("no answer")
	}
	return texts, ans, err
}

func TestRun(t *testing.T) {
	c := serve(t, says(200, record(1, "a", 0)+record(2, "b", segment.Continued)+record(3, "c", segment.Continues)+record(5, "d", segment.Continues)+end))
	have, ans, err := run(t, c, query.Request{})
	if err != nil || ans.Count != 2 || !slices.Equal(have, []string{"a", "b", "+c", "d"}) {
		t.Errorf("%q %+v %v", have, ans, err)
	}
	before := query.Record{Context: true}
	before.ID, before.Text = segment.MakeID(1_600_000_000_000, 1, 0), []byte("before")
	context := string((&query.LineEncoder{}).Append(nil, before))
	c = serve(t, says(200, record(1, "a", 0)+context+record(2, "b", 0)+end))
	if have, ans, err = run(t, c, query.Request{Before: 1}); err != nil || ans.Count != 2 || !slices.Equal(have, []string{"a", "before", "b"}) {
		t.Errorf("%q %+v %v", have, ans, err)
	}
	c = serve(t, says(200, record(2, "b", 0)+context+record(1, "a", 0)+end))
	if _, _, err = run(t, c, query.Request{Before: 1}); !errors.Is(err, ErrForeign) {
		t.Errorf("matches out of order: %v", err)
	}
	c = serve(t, says(200, record(3, "c", segment.Continues)+record(2, "b", segment.Continued)+record(1, "a", 0)+end))
	if have, _, err = run(t, c, query.Request{Newest: true}); err != nil || !slices.Equal(have, []string{"c", "+b", "a"}) {
		t.Errorf("%q %v", have, err)
	}
	n := 0
	ans, err = c.Run(t.Context(), query.Request{Newest: true}, func(query.Record) error { n++; return segment.ErrStop })
	if err != nil || n != 1 || ans.Count != 1 {
		t.Errorf("%d %v", n, err)
	}
	mine := errors.New("mine")
	if _, err := c.Run(t.Context(), query.Request{Newest: true}, func(query.Record) error { return mine }); err != mine {
		t.Error(err)
	}
	if _, err := c.Run(t.Context(), query.Request{}, nil); err == nil {
		t.Error("no emit passes")
	}
}

// Whatever a server sends, the answer is right or an error that says what is wrong.
func TestHostileServers(t *testing.T) {
	f := func(is error, message string, h http.HandlerFunc) {
		t.Helper()
		c := serve(t, h)
		_, _, err := run(t, c, query.Request{})
		if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), message) || strings.ContainsAny(err.Error(), "\n\x1b") || !strings.HasPrefix(err.Error(), "server at http://127.0.0.1:") {
			t.Errorf("want %v, %q; have %v", is, message, err)
		}
		if _, err := c.Estimate(t.Context(), query.Request{Topic: "web"}); err == nil {
			t.Errorf("%s: an estimate passes", message)
		}
		if _, err := c.Histogram(t.Context(), query.Request{Topic: "web"}, query.Steps{Length: time.Minute}); err == nil {
			t.Errorf("%s: a histogram passes", message)
		}
		if err := c.Tail(t.Context(), query.Request{Topic: "web"}, 0, func(Event) error { return nil }); err == nil {
			t.Errorf("%s: a tail passes", message)
		}
	}
	f(ErrCut, "not all of it", says(200, record(1, "a", 0)))
	f(ErrCut, "not all of it", says(200, ""))
	f(ErrCut, "not all of it", says(200, record(1, "a", 0)+strings.TrimSpace(end)))
	f(ErrForeign, "comes after", says(200, record(2, "a", 0)+record(1, "a", 0)+end))
	f(ErrForeign, "comes after", says(200, record(2, "a", 0)+record(2, "a", 0)+end))
	f(ErrForeign, "something behind its last line", says(200, end+"x"))
	f(ErrForeign, "does not decode", says(200, `{"end":[]}`+"\n"))
	f(ErrForeign, "says nothing", says(200, `{"end":null}`+"\n"))
	f(ErrForeign, "counts -1", says(200, `{"end":{"count":-1}}`+"\n"))
	f(ErrForeign, "not a record", says(200, "<html>\n"))
	f(ErrForeign, "text/html", says(200, end, "Content-Type", "text/html"))
	f(ErrForeign, "encoding", says(200, end, "Content-Encoding", "br"))
	f(ErrForeign, "without the header", says(200, end, wire.Version, ""))
	f(ErrForeign, "without the header", says(404, "", wire.Version, ""))
	f(ErrCut, "", says(200, end, "Content-Encoding", "gzip"))
	f(ErrCut, "", says(200, end, "Content-Encoding", "zstd"))
	f(nil, "it answers 302 Found", says(302, "", "Location", "http://127.0.0.1:1/"))
	f(nil, "broken", says(200, record(1, "a", 0)+`{"error":{"message":"it\nis \u001b[31mbroken","status":500}}`+"\n"))
	f(ErrRefused, "give the right token", says(401, `{"error":{"message":"the token is not known here","status":401}}`))
	f(ErrRefused, "not for the token", says(403, `{"error":{"parameter":"topic","message":"topic web is not for the token x","status":403}}`))
	f(ErrDown, "too many", says(503, `{"error":{"message":"too many queries are waiting: try again later"}}`))
	f(ErrDown, "it answers 502", says(502, "<html>"))
	f(nil, "it answers 500", says(500, strings.Repeat("x", 1<<20)))
	f(ErrForeign, "longer than", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		w.Header().Set(wire.Version, "1")
		w.Header().Set("Content-Type", wire.NDJSON)
		part := bytes.Repeat([]byte("x"), 1<<16)
		for {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	f(ErrCut, "ask again", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(wire.Version, "1")
		w.Header().Set("Content-Type", wire.NDJSON)
		_, _ = io.WriteString(w, record(1, "a", 0))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})

	c := serve(t, says(400, `{"error":{"parameter":"max_bytes","message":"max_bytes=0: want at least 1","status":400}}`))
	_, _, err := run(t, c, query.Request{})
	if p, ok := errors.AsType[*query.ParamError](err); !ok || p.Param != "max-bytes" {
		t.Error(err)
	}
}

// What is decompressed is bounded, too.
func TestBomb(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(wire.Version, "1")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzipWriter(w)
		part := bytes.Repeat([]byte(" "), 1<<20)
		for range maxObject>>20 + 2 {
			if _, err := z.Write(part); err != nil {
				return
			}
		}
		_ = z.Close()
	})
	if _, err := c.Topics(t.Context()); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("n") != "5" || r.URL.Path != wire.Tail {
			t.Error(r.URL)
		}
		says(200, ": hello\n\nid: 1\ndata: "+record(1, "a", 0)+"\nevent: skipped\ndata: {\"count\":3}\n\nevent: later\ndata: x\n\n: beat\n\ndata: "+record(2, "b", 0)+"\nevent: error\ndata: {\"error\":{\"message\":\"the server is stopping\",\"status\":503}}\n\n",
			"Content-Type", "text/event-stream")(w, r)
	})
	var have []string
	err := c.Tail(t.Context(), query.Request{Topic: "web"}, 5, func(e Event) error {
		have = append(have, fmt.Sprintf("%s%s%d", e.Record.Text, e.Note, e.Count))
		return nil
	})
	if !errors.Is(err, ErrDown) || !slices.Equal(have, []string{"begun0", "a0", "skipped3", "b0"}) {
		t.Errorf("%q %v", have, err)
	}
	if err := c.Tail(t.Context(), query.Request{Topic: "web"}, 5, func(Event) error { return segment.ErrStop }); err != nil {
		t.Error(err)
	}
}

// Nobody there, the wrong protocol, silence, a certificate that nobody vouches for, an end of patience.
func TestUnreachable(t *testing.T) {
	f := func(cfg Config, is error, message string) {
		t.Helper()
		c := newClient(t, cfg)
		if _, _, err := run(t, c, query.Request{}); !errors.Is(err, is) || !strings.Contains(err.Error(), message) || strings.Contains(err.Error(), "topic=") {
			t.Errorf("want %v, %q; have %v", is, message, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	f(Config{URL: url}, ErrDown, "see whether it runs")

	plain := httptest.NewServer(says(200, end))
	defer plain.Close()
	f(Config{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, ErrForeign, "use http://")

	secure := httptest.NewUnstartedServer(says(200, end))
	secure.Config.ErrorLog = nil
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	defer secure.Close()
	f(Config{URL: secure.URL}, ErrUntrusted, "its certificate")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, newClient(t, Config{URL: secure.URL, CA: ca}), query.Request{}); err != nil {
		t.Error(err)
	}

	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") != "" {
			says(200, record(1, "a", 0))(w, r)
			_ = http.NewResponseController(w).Flush()
		}
		<-stop
	}))
	defer silent.Close()
	defer close(stop)
	f(Config{URL: silent.URL, Timeout: 50 * time.Millisecond}, ErrDown, "said nothing for too long")
	c := newClient(t, Config{URL: silent.URL, Timeout: 300 * time.Millisecond})
	if have, _, err := run(t, c, query.Request{Limit: 1}); len(have) != 1 || !errors.Is(err, ErrDown) {
		t.Errorf("%q %v", have, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := newClient(t, Config{URL: silent.URL}).Run(ctx, query.Request{Topic: "web"}, func(query.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The token goes to the server in a header, and nowhere else.
func TestToken(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hunter2hunter2" || r.Header.Get("User-Agent") != "oklog-client" {
			t.Error(r.Header)
		}
		says(401, `{"error":{"message":"no"}}`)(w, r)
	})
	c.cfg.Token = "hunter2hunter2"
	if _, _, err := run(t, c, query.Request{}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	for _, cfg := range []Config{{}, {URL: "localhost:7651"}, {URL: "ftp://x"}, {URL: "http://"}, {URL: "http://x:secret@h"}, {URL: "http://h?x"}, {URL: "http://h", Token: "a\n"}, {URL: "http://h", Timeout: -1},
		{URL: "http://h", CA: "/does/not/exist"}, {URL: "http://h", CA: "client_test.go"}} {
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte(record(1, "a", 0)+record(2, "b", segment.Continued)+end), false)
	f.Add([]byte(record(1, "\xff", segment.Continued)+`{"error":{"message":"x","status":500,"parameter":"a_b"}}`+"\n"), true)
	f.Add([]byte(`{"end":{"count":1,"problems":[{"kind":"time","error":"x"}]}}`+"\r\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, newest bool) {
		d := newDecoder(bytes.NewReader(b), newest)
		for n := 0; ; n++ {
			_, end, err := d.next()
			if err != nil || end != nil {
				if err != nil && strings.ContainsAny(err.Error(), "\x1b") {
					t.Fatalf("%q", err)
				}
				break
			}
			if n > len(b) {
				t.Fatal("more records than bytes")
			}
		}
		e := newEvents(bytes.NewReader(b))
		for n := 0; ; n++ {
			if _, err := e.next(); err != nil {
				break
			}
			if n > len(b) {
				t.Fatal("more events than bytes")
			}
		}
	})
}
