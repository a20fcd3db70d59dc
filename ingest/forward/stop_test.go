package forward

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// endsWithin fails the test if a Run that was stopped goes on.
func endsWithin(t *testing.T, ended <-chan error, d time.Duration) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(d):
		t.Fatalf("Run has not ended %s after it was to stop", d)
		return nil
	}
}

// TestStopWithoutAcks stops every mode while the broker is away: the time to stop bounds it, and what is in the journal is kept.
func TestStopWithoutAcks(t *testing.T) {
	for _, mode := range []Mode{Fast, Durable} {
		p := newRecorder()
		p.refuse = func(int) error { return errAway }
		ctx, cancel := context.WithCancel(t.Context())
		dir, name := t.TempDir(), writeFile(t, "one\ntwo\n")
		cfg := Config{Mode: mode, Publisher: p, Inputs: Inputs{Files: []string{name}, Follow: true, StateDir: dir}, Limits: Limits{Stop: 50 * time.Millisecond, BatchAge: time.Millisecond}}
		f := quick(t, cfg)
		ended := make(chan error, 1)
		go func() { _, err := f.Run(ctx); ended <- err }()
		waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.attempts > 0 })
		cancel()
		if err := endsWithin(t, ended, 20*time.Second); err == nil || !strings.Contains(err.Error(), "are kept in "+dir) {
			t.Errorf("%v: have error %v", mode, err)
		}
		p.mu.Lock()
		p.refuse = nil
		p.mu.Unlock()
		cfg.Inputs.Follow = false
		run(t, cfg)
		if have := texts(t, p.records(t)); len(have) != 2 {
			t.Errorf("%v: have %q", mode, have)
		}
	}
}

// endless is a service that always has something to say.
type endless struct{ line string }

func (e endless) Read(b []byte) (n int, err error) {
	for n+len(e.line) <= len(b) {
		n += copy(b[n:], e.line)
	}
	return n, nil
}

// slowly is a broker that takes its time.
type slowly struct{ discard }

func (s slowly) Publish(ctx context.Context, topic, id string, body []byte) (Ack, error) {
	time.Sleep(2 * time.Millisecond)
	return s.discard.Publish(ctx, topic, id, body)
}

// TestStopBusyStream stops while standard input never runs dry: what is in hand is sent, and no more is read.
func TestStopBusyStream(t *testing.T) {
	const line = 80
	for _, state := range []bool{false, true} {
		for _, mode := range []Mode{Fast, Durable} {
			ctx, cancel := context.WithCancel(t.Context())
			cfg := Config{Mode: mode, Publisher: slowly{}, Inputs: Inputs{Stdin: endless{strings.Repeat("x", line-1) + "\n"}}, Limits: Limits{Stop: time.Minute, Batch: 128 << 10}}
			if state {
				cfg.Inputs.StateDir = t.TempDir()
			}
			f := quick(t, cfg)
			ended := make(chan error, 1)
			go func() { _, err := f.Run(ctx); ended <- err }()
			waitFor(t, func() bool { return f.Stats().Acked > 5000 })
			cancel()
			at := f.Stats().Records
			if err := endsWithin(t, ended, time.Minute); err != nil {
				t.Errorf("mode %v, state %v: %v", mode, state, err)
			}
			if more := f.Stats().Records - at; more > 4*chunkSize/line {
				t.Errorf("mode %v, state %v: %d records were read after the stop", mode, state, more)
			}
		}
	}
}

// TestStopLeavesRotated stops while most of a rotated file is unread: that waits where it lies, for the next start.
func TestStopLeavesRotated(t *testing.T) {
	const lines = 60_000
	w := newFollowing(t)
	w.cfg.Mode = Durable
	w.cfg.Limits.Stop, w.cfg.Limits.Record = 50*time.Millisecond, 256
	w.p.gate = make(chan struct{})
	w.write(w.name, "first\n")
	w.begin()
	waitFor(t, func() bool { return w.f.Stats().Published == 1 }) // and its ack does not come
	rnd := rand.New(rand.NewPCG(1, 2))
	var all bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&all, "%06d %0120x\n", i, rnd.Uint64())
	}
	w.write(w.name, all.String())
	w.rename(w.name, w.name+".1")
	w.write(w.name, "new\n")
	w.p.gate <- struct{}{}
	waitFor(t, func() bool { return strings.Contains(w.log.String(), "rotated away") })
	w.cancel()
	if err := endsWithin(t, w.ended, time.Minute); err == nil {
		t.Error("nobody had acked it")
	}
	w.p.wg.Wait()
	if n := w.f.Stats().Records; n > lines*2/3 {
		t.Errorf("%d of %d records were read for a stop", n, lines)
	}
	close(w.p.gate)
	w.begin()
	waitFor(t, func() bool { return w.f.Stats().Acked >= lines+1 })
	w.end()
	seen := map[string]int{}
	for _, text := range texts(t, w.p.records(t)) {
		seen[text]++
	}
	for text, n := range seen {
		if n != 1 {
			t.Fatalf("%d times %.40q", n, text)
		}
	}
	if len(seen) != lines+2 || w.f.Stats().Missed != 0 {
		t.Errorf("have %d texts, want %d; %d missed", len(seen), lines+2, w.f.Stats().Missed)
	}
}
