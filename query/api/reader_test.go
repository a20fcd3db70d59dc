package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// A query that finds nothing for longer than a reader may take is not its reader's fault, over HTTP/2 neither.
func TestSilentQueryOverHTTP2(t *testing.T) {
	const wait = 100 * time.Millisecond
	a := newAPI(t, Config{ReaderWait: wait, Runner: runnerFunc(func(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		for i := range 2 {
			if err := emit(record(i, "found")); err != nil {
				return &query.Answer{}, err
			}
			select {
			case <-time.After(firstAge + 4*wait):
			case <-ctx.Done():
				return &query.Answer{}, ctx.Err()
			}
		}
		return &query.Answer{Count: 2}, nil
	}), Parts: Parts{Tailer: make(follower)}})
	s := httptest.NewUnstartedServer(a)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	ask := func(path string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 {
			t.Fatalf("%s", resp.Proto)
		}
		return resp
	}
	resp := ask(wire.Query + "?topic=web")
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(b), `{"end"`) || strings.Count(string(b), "found") < 2 {
		t.Errorf("%v: %s", err, b)
	}
	tail := ask(wire.Tail + "?topic=web&n=1")
	defer tail.Body.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(tail.Body)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("the tail has ended: %v", err)
	case <-time.After(5 * wait):
		a.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A reader that takes nothing of an answer that is one object, or a description that everybody may have, is given up as well.
func TestReaderTakesNoObject(t *testing.T) {
	a := newAPI(t, Config{ReaderWait: 200 * time.Millisecond, Registerer: prometheus.NewRegistry(), Runner: runnerFunc(func(_ context.Context, _ query.Query, emit func(query.Record) error) (*query.Answer, error) {
		for i := range 32 {
			r := record(i, fmt.Sprintf(`{"f":"%d%s"}`, i, strings.Repeat("x", segment.MaxRecord/2)))
			if err := emit(r); err != nil {
				return &query.Answer{}, err
			}
		}
		return &query.Answer{}, nil
	})})
	left := make(chan string, 100)
	_, addr := serveReal(t, ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r)
		left <- r.URL.Path
	})})
	c := dial(t, addr)
	if _, err := fmt.Fprintf(c, "GET %s?topic=web&field=f&n=100 HTTP/1.1\r\nHost: x\r\n\r\n", wire.Top); err != nil {
		t.Fatal(err)
	}
	if path := <-left; path != wire.Top {
		t.Errorf("%s", path)
	}
	c = dial(t, addr)
	var all strings.Builder
	for range 300 {
		fmt.Fprintf(&all, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", wire.OpenAPI)
	}
	go func() { _, _ = io.WriteString(c, all.String()) }() // the server closes the connection at some time
	before := 0
	for {
		select {
		case <-left:
			before++
			continue
		case <-time.After(3 * time.Second):
		}
		break
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := io.Copy(io.Discard, c)
	if before == 300 || n > int64(before)*int64(len(openapi)+1000) || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%d answers of 300 were begun, %d bytes are there: %v", before, n, err)
	}
}

// The most frequent values are found within the memory that there is for it.
func TestTopWithinMemory(t *testing.T) {
	cfg := Config{MaxTopBytes: 10_000, Runner: runnerFunc(func(_ context.Context, _ query.Query, emit func(query.Record) error) (*query.Answer, error) {
		for i := range 1000 {
			if err := emit(record(i, fmt.Sprintf(`{"f":"value %d"}`, i))); err != nil {
				return &query.Answer{}, err
			}
		}
		return &query.Answer{Count: 1000}, nil
	})}
	s := listen(t, newAPI(t, cfg))
	have := get(t, s.URL+wire.Top+"?topic=web&field=f&n=1000")
	var top query.TopAnswer
	if err := json.Unmarshal(have.body, &top); err != nil || !top.Approximate || len(top.Values) > 10_000/100 || len(top.Values) == 0 {
		t.Errorf("%d of 1000 values: %v: %.200s", len(top.Values), err, have.body)
	}
}
