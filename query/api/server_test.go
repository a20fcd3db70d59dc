package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// serveReal serves a with a Server.
func serveReal(t *testing.T, cfg ServerConfig) (*Server, string) {
	t.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_ = s.Shutdown(ctx) // a test may leave somebody who does not go away
		if err := <-served; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Whoever sends headers by drops is cut off, as are headers without an end.
func TestSlowHeaders(t *testing.T) {
	p := newPlace(t)
	_, addr := serveReal(t, ServerConfig{Handler: newAPI(t, p.config()), HeaderTime: 100 * time.Millisecond})
	c := dial(t, addr)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-A: "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil { // it ends
		t.Log(err)
	}
	c = dial(t, addr)
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(resp.StatusCode)
	}
}

// A body that does not come ends its request.
func TestSlowBody(t *testing.T) {
	p := newPlace(t)
	cfg := p.config()
	cfg.BodyTimeout = 50 * time.Millisecond
	_, addr := serveReal(t, ServerConfig{Handler: newAPI(t, cfg)})
	for method, want := range map[string]int{"POST": 400, "GET": 400, "PUT": 405} {
		c := dial(t, addr)
		if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", method, wire.Query); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Error(method, resp.StatusCode)
		}
	}
}

// However many connections do nothing, there is one for who asks.
func TestIdleConnections(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 10)
	_, addr := serveReal(t, ServerConfig{Handler: newAPI(t, p.config()), Connections: 5, HeaderTime: time.Hour, IdleTime: time.Hour})
	var idle []net.Conn
	for range 50 {
		idle = append(idle, dial(t, addr))
	}
	if have, _ := get(t, "http://"+addr+wire.Query+"?topic=web").texts(t); len(have) != 10 {
		t.Errorf("%q", have)
	}
	open := 0
	for _, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
			open++
		}
	}
	if open > 5 {
		t.Errorf("%d idle connections are open", open)
	}
}

// A stop lets queries end, then ends them: they say so.
func TestShutdown(t *testing.T) {
	started, end := make(chan string, 2), make(chan struct{})
	a := newAPI(t, Config{Runner: runnerFunc(func(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		ans := &query.Answer{}
		if q.Limit == 2 {
			if err := emit(record(1, "first")); err != nil {
				return ans, err
			}
		}
		started <- q.Topic
		if q.Limit == 1 {
			<-end
			return ans, nil
		}
		<-ctx.Done()
		return ans, ctx.Err()
	})})
	s, addr := serveReal(t, ServerConfig{Handler: a})
	var all sync.WaitGroup
	answers := make([]reply, 3)
	for i := range answers {
		all.Go(func() { answers[i] = get(t, fmt.Sprintf("http://%s%s?topic=web&limit=%d", addr, wire.Query, i+1)) })
		<-started
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	a.Stop()
	a.Stop()
	close(end)
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	all.Wait()
	if _, end := answers[0].texts(t); end.Partial {
		t.Errorf("%+v", end)
	}
	var f wire.Failure
	if i := strings.Index(string(answers[1].body), "\n{\"error\""); i < 0 || json.Unmarshal(answers[1].body[i:], &f) != nil || f.Error.Status != 503 {
		t.Errorf("%s", answers[1].body)
	}
	answers[2].failed(t, 503, "", "the server is stopping")
}

// follower is a Tailer of what comes from a channel.
type follower chan TailEvent

func (f follower) Tail(ctx context.Context, q query.Query, n int, emit func(TailEvent) error) error {
	for i := range n {
		if err := emit(TailEvent{Record: record(i, q.Topic)}); err != nil {
			return err
		}
	}
	for {
		q.Idle()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-f:
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

func TestTail(t *testing.T) {
	events := make(follower)
	a := newAPI(t, Config{Runner: runnerFunc(nil), MaxTails: 1, Parts: Parts{Tailer: events}})
	s := listen(t, a)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+wire.Tail+"?topic=web&n=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func() (event string) {
		t.Helper()
		for lines.Scan() && lines.Text() != "" {
			event += lines.Text() + "|"
		}
		return event
	}
	line := func(i int, text string) string {
		r := record(i, text)
		return "id: " + r.ID.String() + "|data: " + strings.TrimSpace(string((&query.LineEncoder{}).Append(nil, r))) + "|"
	}
	for i, want := range []string{": the tail of web|", line(0, "web"), line(1, "web")} {
		if have := next(); have != want {
			t.Errorf("event %d: want %s, have %s", i, want, have)
		}
	}
	get(t, s.URL+wire.Tail+"?topic=web").failed(t, 503, "", "too many tails")
	get(t, s.URL+wire.Tail+"?topic=web&n=10001").failed(t, 400, "n", "want 0 to 10000")
	get(t, s.URL+wire.Tail+"?topic=web&to=now").failed(t, 400, "to", "no parameter")
	get(t, s.URL+wire.Tail+"?topic=web&pattern=(&regex").failed(t, 400, "pattern", "")
	events <- TailEvent{Record: record(7, "a\nb")}
	events <- TailEvent{Note: EventSkipped, Count: 12, Text: "too slow"}
	for _, want := range []string{line(7, "a\nb"), `event: skipped|data: {"count":12,"text":"too slow"}|`} {
		if have := next(); have != want {
			t.Errorf("want %s, have %s", want, have)
		}
	}
	a.Stop()
	if have := next(); !strings.HasPrefix(have, "event: error|data: {\"error\":{\"message\":\"the server is stopping") {
		t.Error(have)
	}
	if have := next(); have != "" || lines.Err() != nil {
		t.Error(have, lines.Err())
	}
	get(t, s.URL+wire.Tail+"?topic=web").failed(t, 503, "", "stopping")
	http.DefaultClient.CloseIdleConnections()
}

// tailerFunc is a tail.
type tailerFunc func(q query.Query, n int)

func (f tailerFunc) Tail(_ context.Context, q query.Query, n int, _ func(TailEvent) error) error {
	f(q, n)
	return nil
}

// A browser that connects again goes on where it was.
func TestTailGoesOn(t *testing.T) {
	var from ulid.ULID
	var past int
	a := newAPI(t, Config{Runner: runnerFunc(nil), Parts: Parts{Tailer: tailerFunc(func(q query.Query, n int) { from, past = q.Range.From, n })}})
	s := listen(t, a)
	ask := func(last string) reply {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+wire.Tail+"?topic=web&n=3", nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		return do(t, r)
	}
	id := record(7, "x").ID
	if ask(id.String()); from != segment.After(id) || past != maxPast {
		t.Errorf("from %s, %d of the past", from, past)
	}
	if ask(""); from == segment.After(id) || past != 3 {
		t.Errorf("from %s, %d of the past", from, past)
	}
	ask("17").failed(t, 400, "", "Last-Event-ID")
}

func TestServerConfig(t *testing.T) {
	for _, cfg := range []ServerConfig{{}, {Handler: http.NotFoundHandler(), HeaderTime: -1}, {Handler: http.NotFoundHandler(), Connections: -1}} {
		if _, err := NewServer(cfg); err == nil {
			t.Errorf("%+v passes", cfg)
		}
	}
}
