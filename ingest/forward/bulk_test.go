package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore/segment"
)

// putter is a Putter that keeps what it gets and can be told to fail.
type putter struct {
	mu       sync.Mutex
	attempts int
	objects  map[string][]byte
	fail     func(n int) error
}

func (p *putter) Put(_ context.Context, key string, body io.ReaderAt, size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if p.fail != nil {
		if err := p.fail(p.attempts); err != nil {
			return err
		}
	}
	b, err := io.ReadAll(io.NewSectionReader(body, 0, size))
	if err != nil || int64(len(b)) != size {
		return fmt.Errorf("%d bytes of %d: %w", len(b), size, err)
	}
	if old, ok := p.objects[key]; ok && !bytes.Equal(old, b) {
		return errors.New("the same key with other bytes")
	}
	if p.objects == nil {
		p.objects = map[string][]byte{}
	}
	p.objects[key] = b
	return nil
}

func TestBulk(t *testing.T) {
	text := nasty()
	for _, limits := range []Limits{{}, {Batch: 4 << 10, Flush: 20 << 10}, {Batch: 1, Flush: 1}} {
		p := &putter{fail: func(n int) error {
			if n <= 3 || n%2 == 0 {
				return errAway
			}
			return nil
		}}
		s := run(t, Config{Inputs: Inputs{Files: []string{writeFile(t, text)}}, Mode: Bulk, Putter: p, Limits: limits})
		all := newRecorder()
		all.bodies = p.objects
		have := all.records(t)
		equal(t, texts(t, have), split(text))
		if n := int64(len(have)); s.Records != n || s.Acked != n || s.Published != n || s.Batches != int64(len(p.objects)) {
			t.Errorf("%+v, want %d records in %d segments", s, n, len(p.objects))
		}
		for key := range p.objects {
			if topic, _, err := segment.ParseKey(key); err != nil || topic != "test" {
				t.Error(key, err)
			}
		}
	}
}

// TestBulkDays backfills records of many days in any order: each segment lies within one day, sorted.
func TestBulkDays(t *testing.T) {
	var b strings.Builder
	const n = 20_000
	for i := range n {
		fmt.Fprintf(&b, "%d line %d\n", int64(i*7919%n)*40, i) // nine days
	}
	p := &putter{}
	run(t, Config{
		Inputs: Inputs{Stdin: strings.NewReader(b.String())}, Mode: Bulk, Putter: p, Time: TimeConfig{Format: "unix"},
		Limits: Limits{Record: 64, Batch: 10_000, Flush: 100_000},
	})
	total := 0
	for key, body := range p.objects {
		last := ""
		for _, r := range decode(t, body) {
			total++
			if day := segment.Day(r.id.Timestamp()); !strings.HasPrefix(key, "test/"+day+"/") {
				t.Fatalf("%s holds a record of %s", key, day)
			}
			if id := r.id.String(); id <= last {
				t.Fatalf("%s after %s", id, last)
			} else {
				last = id
			}
		}
	}
	if total != n || len(p.objects) < 9 {
		t.Errorf("%d records in %d segments", total, len(p.objects))
	}
}

// TestBulkManyEmptyLines has blocks that are full of records long before they are full of text.
func TestBulkManyEmptyLines(t *testing.T) {
	const n = 6 * segment.MaxBlockRecords
	p := &putter{}
	if s := run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, strings.Repeat("\n", n))}}, Mode: Bulk, Putter: p, Limits: Limits{Flush: 1},
	}); s.Acked != n {
		t.Errorf("%+v, want %d records", s, n)
	}
}

func TestBulkPermanentError(t *testing.T) {
	p := &putter{fail: func(int) error { return errAway }}
	_, err := quick(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, strings.Repeat("some line\n", 10_000))}}, Mode: Bulk, Putter: p,
		Limits: Limits{Batch: 1000, Record: 16, Flush: 5000}, Permanent: func(error) bool { return true },
	}).Run(t.Context())
	if !errors.Is(err, errAway) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %v", err)
	}
}

func TestBulkStop(t *testing.T) {
	p := &putter{fail: func(int) error { return errAway }}
	ctx, cancel := context.WithCancel(t.Context())
	f := quick(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, "one\ntwo\n")}}, Mode: Bulk, Putter: p, Limits: Limits{Stop: time.Millisecond},
	})
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(ctx)
		ended <- err
	}()
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.attempts > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, ErrNotAcked) || !strings.Contains(err.Error(), ": 2 within") {
		t.Errorf("error is %v", err)
	}
}

// TestMemoryIsBounded forwards a text many times the size of what may be held, to a broker that is slow.
func TestMemoryIsBounded(t *testing.T) {
	line := strings.Repeat("0123456789 abcdefghij ", 10) + "\n"
	const size = 320 << 20
	for _, cfg := range []Config{
		{Publisher: discard{}},
		{Mode: Bulk, Putter: nowhere{}, Limits: Limits{Flush: 16 << 20}},
	} {
		var peak uint64
		in := &repeated{text: []byte(strings.Repeat(line, 1000)), left: size, each: func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}}
		cfg.Inputs.Stdin = in
		s := run(t, cfg)
		if s.Bytes < size {
			t.Errorf("%+v", s)
		}
		if peak > 200<<20 {
			t.Errorf("%s: %d MiB of heap", cfg.Mode, peak>>20)
		}
	}
}

type nowhere struct{}

func (nowhere) Put(context.Context, string, io.ReaderAt, int64) error { return nil }

// repeated is a reader of a text, over and over.
type repeated struct {
	text []byte
	left int
	at   int
	each func()
	n    int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.n++; r.n%64 == 0 {
		r.each()
	}
	n := copy(b, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	r.left -= n
	return n, nil
}

// TestBulkOfTinyBatches: memory for batches is there from the beginning, so there cannot be too many.
func TestBulkOfTinyBatches(t *testing.T) {
	cfg := Config{Topic: "web", Mode: Bulk, Inputs: Inputs{Stdin: io.LimitReader(endless{"x\n"}, 2)}, Limits: Limits{Batch: 1}}
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "raise --batch-size") {
		t.Errorf("have error %v", err)
	}
}
