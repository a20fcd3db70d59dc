package s3

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// slowBody lets the test hold a read.
type slowBody struct {
	entered chan struct{}
	leave   chan struct{}
}

func (b slowBody) ReadAt(p []byte, _ int64) (int, error) {
	b.entered <- struct{}{}
	<-b.leave
	return len(p), nil
}

// TestGate: once shut has returned, nobody reads the body.
func TestGate(t *testing.T) {
	body := slowBody{make(chan struct{}), make(chan struct{})}
	g := &gate{body: body}
	read := make(chan error, 1)
	go func() {
		_, err := g.ReadAt(make([]byte, 1), 0)
		read <- err
	}()
	<-body.entered
	shut := make(chan struct{})
	go func() {
		g.shut()
		close(shut)
	}()
	select {
	case <-shut:
		t.Fatal("shut has returned during a read")
	case body.leave <- struct{}{}:
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	<-shut
	if _, err := g.ReadAt(make([]byte, 1), 0); !errors.Is(err, errGateShut) {
		t.Fatalf("have error %v after shut", err)
	}
}

func TestGateNotesTheBodysFailure(t *testing.T) {
	g := &gate{body: strings.NewReader("four")}
	if _, err := g.ReadAt(make([]byte, 4), 0); err != nil && err != io.EOF || g.failure() != nil {
		t.Fatal("a whole read is a failure")
	}
	if _, err := g.ReadAt(make([]byte, 5), 0); err == nil || !errors.Is(g.failure(), io.ErrUnexpectedEOF) {
		t.Fatalf("have %v, %v", err, g.failure())
	}
}

func TestParseRange(t *testing.T) {
	f := func(s string, first, last int64, ok bool) {
		t.Helper()
		if a, z, have := parseRange(s); have != ok || ok && (a != first || z != last) {
			t.Errorf("parseRange(%q) = %d, %d, %t", s, a, z, have)
		}
	}
	f("bytes 0-9/100", 0, 9, true)
	f("bytes 5-5/*", 5, 5, true)
	f("bytes */100", 0, 0, false)
	f("bytes 5/100", 0, 0, false)
	f("items 0-9/100", 0, 0, false)
	f("bytes 0-99999999999999999999/1", 0, 0, false)
	f("", 0, 0, false)
}

func TestBackoffIsBounded(t *testing.T) {
	b := &Bucket{cfg: Config{Backoff: DefaultBackoff}}
	for attempt := 1; attempt < 100; attempt++ {
		for _, v := range []verdict{retry, slow} {
			if d := b.backoff(attempt, v); d <= 0 || d > maxBackoff {
				t.Fatalf("the wait after attempt %d is %s", attempt, d)
			}
		}
	}
}
