package tail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oklog/query"
)

// What was missed is read again up to a bound; the rest is counted.
func TestCatchUpIsBounded(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	tl := newTail(t, Config{Live: b, Runner: engine(t, b), MaxBytes: 4 << 20})
	s := run(t, tl, everything(), 0, &shown{})
	b.join(t, 1)
	b.publish(a.batch(t, "first"), true, true)
	await(t, s, "first")
	b.state(false)
	long := strings.Repeat("x", 10_000)
	const n = 400 // four times what there is room for
	for i := range n {
		b.publish(a.batch(t, fmt.Sprint(i, long)), true, false)
	}
	b.state(true)
	b.publish(a.batch(t, "last"), true, true)
	eventually(t, "it goes on", func() bool { return slices.Contains(s.has(), "last") })
	records, skipped := 0, 0
	for _, e := range s.has() {
		switch {
		case strings.HasSuffix(e, long):
			if records++; !strings.HasPrefix(e, fmt.Sprint(records-1, "x")) {
				t.Fatalf("record %d is %.20q", records, e)
			}
		case strings.HasPrefix(e, "skipped "):
			k := 0
			_, _ = fmt.Sscanf(e, "skipped %d", &k)
			skipped += k
		}
	}
	if records == 0 || skipped == 0 || records+skipped != n || records > n/2 {
		t.Errorf("%d records and %d skipped, of %d", records, skipped, n)
	}
}

// failing is a runner that fails so many times.
type failing struct {
	query.Runner
	left atomic.Int64
}

var errAway = errors.New("away")

func (f *failing) Run(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
	if f.left.Add(-1) >= 0 {
		return &query.Answer{}, errAway
	}
	return f.Runner.Run(ctx, q, emit)
}

// Where what was missed cannot be read, it is counted; a failure that passes is none.
func TestCatchUpThatFails(t *testing.T) {
	for _, c := range []struct {
		failures int64
		runner   bool
		want     []string
	}{
		{1, true, []string{"1", "the connection is lost: waiting for it", "connected again: what was missed meanwhile has been read", "2", "3", "4"}},
		{1000, true, []string{"1", "the connection is lost: waiting for it",
			"connected again: what was missed meanwhile could not be read, and is counted as skipped where more of its session comes: away", "skipped 2", "4"}},
		{0, false, []string{"1", "the connection is lost: waiting for it",
			"connected again: what was missed meanwhile is counted as skipped where more of its session comes", "skipped 2", "4"}},
	} {
		t.Run(fmt.Sprint(c.failures, c.runner), func(t *testing.T) {
			t.Parallel()
			b := &broker{}
			a := &source{id: 1, host: "a"}
			cfg := Config{Live: b, Hold: 20 * time.Millisecond}
			f := &failing{Runner: engine(t, b)}
			if c.runner {
				cfg.Runner = f
			}
			s := run(t, newTail(t, cfg), everything(), 0, &shown{})
			b.join(t, 1)
			b.publish(a.batch(t, "1"), true, true)
			await(t, s, "1")
			f.left.Store(c.failures)
			b.state(false)
			await(t, s, c.want[:2]...)
			b.publish(a.batch(t, "2", "3"), true, false)
			b.state(true)
			b.publish(a.batch(t, "4"), true, true)
			await(t, s, c.want...)
		})
	}
}

// The last records cannot be had: that is an error at the start.
func TestHistoryThatFails(t *testing.T) {
	b := &broker{}
	f := &failing{Runner: engine(t, b)}
	f.left.Store(1)
	err := newTail(t, Config{Live: b, Runner: f}).Run(t.Context(), everything(), 1, func(Event) error { return nil })
	if !errors.Is(err, errAway) {
		t.Errorf("have %v", err)
	}
}
