package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"oklog/query"
	"oklog/query/api/wire"
)

// pipes is a listener whose connections hold nothing on their way: what is not read is not written.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { return nil }

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// stuck asks a server for something, and reads the head of the answer and one chunk of it.
func stuck(t *testing.T, a *API, path, coding string) {
	t.Helper()
	l := make(pipes, 1)
	srv, err := NewServer(ServerConfig{Handler: a})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = srv.Serve(l); close(ended) }() // it ends with the listener
	mine, theirs := net.Pipe()
	l <- theirs
	t.Cleanup(func() {
		_ = mine.Close()
		close(l)
		<-ended
	})
	asked := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(mine, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: %s\r\n\r\n", path, coding)
		asked <- err
	}()
	r := bufio.NewReaderSize(mine, 16)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	size, n := "", 0
	if size, err = r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(strings.TrimSpace(size), "%x", &n); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, n+2)); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
}

// free waits until nobody has a slot, and nobody is aside.
func free(t *testing.T, a *API, what string) {
	t.Helper()
	for range 200 {
		if running, _, aside := a.queue.counts(); running+aside == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: the slot is not given back", what)
}

// A reader that has all but the very end of an answer holds up nobody, however it is encoded.
func TestReaderOfAllButTheEnd(t *testing.T) {
	for _, coding := range []string{"identity", "gzip", "zstd"} {
		a := newAPI(t, Config{MaxConcurrent: 1, ReaderWait: 200 * time.Millisecond, MaxTime: time.Second, Runner: runnerFunc(func(_ context.Context, _ query.Query, emit func(query.Record) error) (*query.Answer, error) {
			if err := emit(record(1, "found")); err != nil {
				return &query.Answer{}, err
			}
			return &query.Answer{Count: 1}, nil
		})})
		stuck(t, a, wire.Query+"?topic=web", coding)
		free(t, a, coding)
	}
}

// Answers that are objects are held in memory for no more readers than queries may run.
func TestObjectsHaveSlots(t *testing.T) {
	for _, coding := range []string{"identity", "gzip"} {
		a := newAPI(t, Config{MaxConcurrent: 2, ReaderWait: 3 * time.Second, Runner: runnerFunc(func(_ context.Context, _ query.Query, emit func(query.Record) error) (*query.Answer, error) {
			for i := range 2 {
				r := record(1, "x")
				r.ID[5] += byte(100 * i) // some steps apart
				r.ID[4] += byte(20 * i)
				if err := emit(r); err != nil {
					return &query.Answer{}, err
				}
			}
			return &query.Answer{Count: 2}, nil
		})})
		stuck(t, a, wire.Histogram+"?topic=web&step=1ms", coding)
		if running, _, aside := a.queue.counts(); running+aside != 1 && coding == "identity" {
			t.Errorf("%s: %d are running, %d aside, while an answer is being written", coding, running, aside)
		}
		free(t, a, coding)
	}
}

// A quarter of the tails is for others, and a token that is not good any more ends its own.
func TestTailsAreShared(t *testing.T) {
	all := &tails{most: 8, of: map[string]int{}}
	for i := range 6 {
		if err := all.begin("a"); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := all.begin("a"); err != errYourTails {
		t.Error(err)
	}
	for range 2 {
		if err := all.begin("b"); err != nil {
			t.Error(err)
		}
	}
	if err := all.begin("c"); err != errTails {
		t.Error(err)
	}
	all.end("a")
	if err := all.begin("c"); err != nil || all.count() != 8 || all.of["a"] != 5 {
		t.Error(err, all.of)
	}
}
