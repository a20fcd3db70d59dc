package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
)

// broker passes batches on, and holds those that are stored, as a stream does.
type broker struct {
	mu      sync.Mutex
	subs    map[*sub]bool
	stored  [][]byte
	away    bool
	joins   int
	asked   func() // called when what is stored is asked for
	refuses error
}

type sub struct {
	batch func([]byte)
	whole func(bool)
}

var _ Live = (*broker)(nil)

func (b *broker) Subscribe(ctx context.Context, _ string, batch func([]byte), whole func(bool)) error {
	s := &sub{batch, whole}
	b.mu.Lock()
	if b.refuses != nil {
		b.mu.Unlock()
		return b.refuses
	}
	if b.subs == nil {
		b.subs = map[*sub]bool{}
	}
	b.subs[s] = true
	b.joins++
	if !b.away {
		whole(true)
	}
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs, s)
	return ctx.Err()
}

// publish stores a batch, passes it on, or both.
func (b *broker) publish(body []byte, store, pass bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if store {
		b.stored = append(b.stored, body)
	}
	for s := range b.subs {
		if pass {
			s.batch(slices.Clone(body))
		}
	}
}

func (b *broker) state(whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = !whole
	for s := range b.subs {
		s.whole(whole)
	}
}

func (b *broker) Unflushed(context.Context, string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b.mu.Lock()
		all, asked := slices.Clone(b.stored), b.asked
		b.mu.Unlock()
		for _, body := range all {
			if !yield(slices.Clone(body), nil) {
				return
			}
		}
		if asked != nil {
			asked()
		}
	}
}

// source makes records as a forwarder does that reads one file.
type source struct {
	id   uint64
	host string
	next uint32
}

// batch makes a batch of lines, all read now.
func (s *source) batch(t testing.TB, lines ...string) []byte {
	t.Helper()
	block := &segment.Block{Sources: segment.Sources{s.id: {{Key: "host", Value: s.host}}}}
	for _, l := range lines {
		block.Append(segment.MakeID(uint64(time.Now().UnixMilli()), s.id, s.next), []byte(l), 0)
		s.next++
	}
	return encode(t, block)
}

var writers sync.Pool // each takes some time to make

func encode(t testing.TB, block *segment.Block) []byte {
	t.Helper()
	block.Sort()
	w, _ := writers.Get().(*segment.Writer)
	if w == nil {
		var err error
		if w, err = segment.NewWriter(segment.WriterConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	defer writers.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	c := block.Cursor()
	if err := w.Take(&c, block.Len()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// engine answers from what a broker has stored.
func engine(t testing.TB, b *broker) *query.Engine {
	t.Helper()
	e, err := query.New(query.Config{Bucket: objstore.NewMemory("none", time.Now), Hot: b})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newTail(t testing.TB, cfg Config) *Tail {
	t.Helper()
	tl, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// shown is what a Run has put out.
type shown struct {
	mu     sync.Mutex
	events []string
	block  chan struct{} // emit waits for it
	busy   chan struct{} // closed when it waits
	once   sync.Once
	stop   func() error // ends Run and returns its error
}

func (s *shown) emit(e Event) error {
	if s.block != nil {
		s.once.Do(func() { close(s.busy) })
		<-s.block
	}
	e.Record.Text = bytes.Clone(e.Record.Text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, texts([]Event{e})...)
	return nil
}

func (s *shown) has() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// run starts a tail, which ends with the test at the latest.
func run(t testing.TB, tl *Tail, q query.Query, lines int, s *shown) *shown {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tl.Run(ctx, q, lines, s.emit) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = s.stop() }) // what it ended with is checked where it matters
	return s
}

func everything() query.Query {
	return query.Query{Topic: "t", Range: query.Range{From: segment.AtTime(time.Now().Add(-time.Hour))}}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it did not come about that %s", what)
}

func await(t testing.TB, s *shown, want ...string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		have := s.has()
		if slices.Equal(have, want) {
			return
		}
		select {
		case <-late:
			t.Fatalf("want %q\nhave %q", want, have)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The last lines come first, then what was published while they were looked for, then what comes: each once, in order.
func TestHistoryAndLiveAreJoined(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	var bodies [][]byte
	var want []string
	line := func() string {
		want = append(want, fmt.Sprintf("line %d", len(want)))
		return want[len(want)-1]
	}
	for range 20 {
		b.publish(a.batch(t, line(), line()), true, true)
		time.Sleep(time.Millisecond)
	}
	n := 0
	b.asked = func() {
		if n++; n > 1 {
			return
		}
		// The query has read what is stored: more comes, some of it a repetition of what it has found.
		b.publish(b.stored[18], false, true)
		bodies = append(bodies, a.batch(t, line(), line()), a.batch(t, line()))
		for _, body := range bodies {
			b.publish(body, true, true)
			b.publish(body, false, true)
		}
	}
	tl := newTail(t, Config{Live: b, Runner: engine(t, b)})
	s := run(t, tl, everything(), 5, &shown{})
	await(t, s, want[35:]...)
	b.publish(a.batch(t, line()), true, true)
	await(t, s, want[35:]...)
	if err := s.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

func TestWithoutHistory(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	b.publish(a.batch(t, "old"), true, true)
	tl := newTail(t, Config{Live: b, Runner: engine(t, b)})
	s := run(t, tl, everything(), 0, &shown{})
	b.join(t, 1)
	b.publish(a.batch(t, "new"), true, true)
	await(t, s, "new")
}

// join waits for so many subscriptions to have been made.
func (b *broker) join(t testing.TB, n int) {
	t.Helper()
	eventually(t, "it is subscribed", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.joins >= n
	})
}

// A hole is filled from what is stored; what is not there is counted.
func TestHoleIsFilledOrCounted(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	tl := newTail(t, Config{Live: b, Runner: engine(t, b), Hold: 50 * time.Millisecond})
	s := run(t, tl, everything(), 10, &shown{})
	b.join(t, 1)
	b.publish(a.batch(t, "1"), true, true)
	await(t, s, "1")
	b.publish(a.batch(t, "2", "3"), true, false)       // got lost on its way
	b.publish(a.batch(t, "4", "5", "6"), false, false) // dropped by the forwarder
	b.publish(a.batch(t, "7"), true, true)
	await(t, s, "1", "2", "3", "skipped 3", "7")
}

// After a loss it catches up, also with sessions that it did not know.
func TestCatchesUp(t *testing.T) {
	b := &broker{}
	a, c := &source{id: 1, host: "a"}, &source{id: 2, host: "c"}
	tl := newTail(t, Config{Live: b, Runner: engine(t, b), Hold: 50 * time.Millisecond})
	s := run(t, tl, everything(), 10, &shown{})
	b.join(t, 1)
	b.publish(a.batch(t, "1"), true, true)
	await(t, s, "1")
	b.state(false)
	b.publish(a.batch(t, "2", "3"), true, false)
	time.Sleep(2 * time.Millisecond)
	b.publish(c.batch(t, "4"), true, false)
	b.publish(a.batch(t, "lost"), false, false)
	b.state(true)
	b.publish(c.batch(t, "5"), true, true)
	b.publish(a.batch(t, "6"), true, true)
	eventually(t, "all is put out", func() bool { return slices.Contains(s.has(), "6") && slices.Contains(s.has(), "5") })
	have := s.has()
	if !strings.Contains(have[1], "lost") || !strings.Contains(have[2], "has been read") {
		t.Errorf("no notice of what happened in %q", have)
	}
	at := func(text string) int { return slices.Index(have, text) }
	if at("2") != 3 || at("3") != 4 || at("4") < 0 || at("skipped 1") < at("3") || at("6") < at("skipped 1") || len(have) != 9 {
		t.Errorf("have %q", have)
	}
}

// Readers share a subscription. One that is slow loses batches, which are counted for it, and holds nobody back.
func TestSlowReaderHoldsNobodyBack(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	tl := newTail(t, Config{Live: b, MaxBytes: 100_000})
	quick := run(t, tl, everything(), 0, &shown{})
	slow := run(t, tl, everything(), 0, &shown{block: make(chan struct{}), busy: make(chan struct{})})
	release := sync.OnceFunc(func() { close(slow.block) })
	t.Cleanup(release)
	eventually(t, "both are there", func() bool {
		tl.mu.Lock()
		defer tl.mu.Unlock()
		f := tl.feeds["t"]
		if f == nil {
			return false
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.readers) == 2 && f.whole
	})
	if b.joins != 1 {
		t.Errorf("%d subscriptions", b.joins)
	}
	long := strings.Repeat("x", 1000)
	const n = 200
	for i := range n {
		b.publish(a.batch(t, fmt.Sprint(i, long)), true, true)
		if i == 0 {
			<-slow.busy
		}
		eventually(t, "the quick one has it", func() bool { return len(quick.has()) == i+1 })
	}
	release()
	counted := func() (records, skipped int) {
		for _, e := range slow.has() {
			if k := 0; strings.HasPrefix(e, "skipped") {
				_, _ = fmt.Sscanf(e, "skipped %d", &k)
				skipped += k
			} else {
				records++
			}
		}
		return records, skipped
	}
	eventually(t, "the slow one has all or has it counted", func() bool {
		records, skipped := counted()
		return records+skipped == n
	})
	if records, skipped := counted(); records == 0 || skipped == 0 {
		t.Errorf("%d records, %d skipped", records, skipped)
	}
	if err := slow.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.publish(a.batch(t, "end"), true, true)
	eventually(t, "the quick one goes on", func() bool { return len(quick.has()) == n+1 })
	_ = quick.stop()
	if len(tl.feeds) != 0 || len(b.subs) != 0 {
		t.Error("the subscription has not ended")
	}
}

// A burst that does not fit into an inbox is no reason to skip anything as long as the reader takes what comes; nor is a batch that is larger than that,
// if there is spare memory.
func TestBursts(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	spare := query.NewSpare(1 << 20)
	tl := newTail(t, Config{Live: b, Runner: engine(t, b), MaxBytes: 100_000, Spare: spare})
	s := run(t, tl, everything(), 0, &shown{})
	b.join(t, 1)
	line := strings.Repeat("x", 1000)
	n := 0
	publish := func(lines int) {
		var text []string
		for range lines {
			text = append(text, fmt.Sprint(n, line))
			n++
		}
		b.publish(a.batch(t, text...), true, true)
	}
	for range 200 {
		publish(30)
	}
	publish(300)
	eventually(t, "all is shown", func() bool { return len(s.has()) == n })
	for i, text := range s.has() {
		if text != fmt.Sprint(i, line) {
			t.Fatalf("record %d: have %.20q", i, text)
		}
	}
	past := run(t, tl, everything(), 300, &shown{})
	eventually(t, "the past is shown", func() bool { return len(past.has()) == 300 })
	for _, s := range []*shown{s, past} {
		if err := s.stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if left := spare.Left(); left != 1<<20 {
		t.Errorf("%d bytes are left", left)
	}
}

func TestFiltersAndLimits(t *testing.T) {
	b := &broker{}
	a, c := &source{id: 1, host: "a"}, &source{id: 2, host: "c"}
	program, err := match.Compile(match.Pattern{Texts: []string{"error"}})
	if err != nil {
		t.Fatal(err)
	}
	q := everything()
	q.Pattern, q.Limit = program, 3
	if q.Sources, err = query.ParseSources([]string{"host=a"}); err != nil {
		t.Fatal(err)
	}
	b.publish(a.batch(t, "an error", "nothing"), true, false)
	tl := newTail(t, Config{Live: b, Runner: engine(t, b)})
	var s shown
	done := make(chan error, 1)
	go func() { done <- tl.Run(t.Context(), q, 10, s.emit) }()
	await(t, &s, "an error")
	b.publish(c.batch(t, "error of c"), true, true)
	b.publish(a.batch(t, "fine", "error 2", "error\nof two lines", "error 4"), true, true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	await(t, &s, "an error", "error 2", "error\nof two lines")
}

func TestPiecesAreJoined(t *testing.T) {
	b := &broker{}
	tl := newTail(t, Config{Live: b})
	var mu sync.Mutex
	var have []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- tl.Run(ctx, everything(), 0, func(e Event) error {
			mu.Lock()
			defer mu.Unlock()
			have = append(have, fmt.Sprintf("%s %v", e.Record.Text, e.Record.Joined))
			return nil
		})
	}()
	b.join(t, 1)
	now := uint64(time.Now().UnixMilli())
	one := &segment.Block{Sources: segment.Sources{1: nil}}
	one.Append(segment.MakeID(now, 1, 0), []byte("a"), segment.Continued)
	b.publish(encode(t, one), true, true)
	two := &segment.Block{Sources: segment.Sources{1: nil}}
	two.Append(segment.MakeID(now, 1, 1), []byte("b"), segment.Continues)
	two.Append(segment.MakeID(now, 1, 2), []byte("c"), 0)
	b.publish(encode(t, two), true, true)
	eventually(t, "all came", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(have) == 3
	})
	cancel()
	<-done
	if want := []string{"a false", "b true", "c false"}; !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}

func TestBatchesThatCannotBeRead(t *testing.T) {
	b := &broker{}
	a := &source{id: 1, host: "a"}
	tl := newTail(t, Config{Live: b})
	s := run(t, tl, everything(), 0, &shown{})
	b.join(t, 1)
	good := a.batch(t, "good")
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	b.publish(bad, true, true)
	eventually(t, "it is told", func() bool { return len(s.has()) == 1 })
	b.publish(nil, true, true)
	b.publish(good, true, true)
	eventually(t, "the good one is put out", func() bool { return slices.Contains(s.has(), "good") })
	if have := s.has()[0]; !strings.Contains(have, "cannot be read") {
		t.Errorf("told is %q", have)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("without anything live")
	}
	if _, err := New(Config{Live: &broker{}, Hold: -1}); err == nil {
		t.Error("a negative time")
	}
	b := &broker{refuses: errors.New("no right")}
	tl := newTail(t, Config{Live: b})
	emit := func(Event) error { return nil }
	if err := tl.Run(t.Context(), everything(), 0, emit); !errors.Is(err, b.refuses) {
		t.Errorf("a subscription that is refused: %v", err)
	}
	q := everything()
	q.After = 1
	bad := everything()
	bad.Topic = "a b"
	for _, err := range []error{
		tl.Run(t.Context(), q, 0, emit), tl.Run(t.Context(), bad, 0, emit), tl.Run(t.Context(), everything(), -1, emit),
		tl.Run(t.Context(), everything(), MaxLines+1, emit), tl.Run(t.Context(), everything(), 0, nil),
	} {
		if err == nil || errors.Is(err, b.refuses) {
			t.Errorf("want a refusal, have %v", err)
		}
	}
	broken := errors.New("broken")
	fine := &broker{}
	a := &source{id: 1, host: "a"}
	fine.publish(a.batch(t, "x"), true, true)
	tl = newTail(t, Config{Live: fine, Runner: engine(t, fine)})
	if err := tl.Run(t.Context(), everything(), 5, func(Event) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("an output that fails: %v", err)
	}
}

// Batches come, come twice, late, or never, are stored or not, and the connection comes and goes: each record is put out once, or counted.
func TestEverythingOnceOrCounted(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 3))
			b := &broker{}
			tl := newTail(t, Config{Live: b, Runner: engine(t, b), Hold: 30 * time.Millisecond, MaxBytes: 1 << 20})
			s := run(t, tl, everything(), int(seed), &shown{})
			b.join(t, 1)
			var sources []*source
			type late struct {
				body  []byte
				after int
			}
			var waiting []late
			lines, unstored := 0, 0
			add := func(src *source, store, pass bool) {
				var text []string
				for range 1 + rnd.IntN(5) {
					text = append(text, fmt.Sprintf("r %d.%d", src.id, int(src.next)+len(text)))
				}
				lines += len(text)
				if !store && !pass {
					unstored += len(text)
				}
				body := src.batch(t, text...)
				if store {
					b.publish(body, true, false)
				}
				switch {
				case pass && rnd.IntN(6) == 0:
					waiting = append(waiting, late{body, 1 + rnd.IntN(8)})
				case pass:
					b.publish(body, false, true)
				}
				if rnd.IntN(4) == 0 && pass {
					waiting = append(waiting, late{body, 1 + rnd.IntN(20)}) // a repetition
				}
			}
			whole := true
			for step := range 400 {
				if len(sources) == 0 || rnd.IntN(60) == 0 {
					src := &source{id: uint64(len(sources) + 1)}
					sources = append(sources, src)
					// The first of a session is stored, or passed on at once: else nothing tells of it.
					body := src.batch(t, fmt.Sprintf("r %d.0", src.id))
					lines++
					b.publish(body, true, whole)
				}
				add(sources[rnd.IntN(len(sources))], rnd.IntN(8) > 0, whole && rnd.IntN(8) > 0)
				for i := range waiting {
					waiting[i].after--
				}
				waiting = slices.DeleteFunc(waiting, func(l late) bool {
					if l.after > 0 || !whole {
						return false
					}
					b.publish(l.body, false, true)
					return true
				})
				if rnd.IntN(40) == 0 {
					whole = !whole
					b.state(whole)
				}
				if step%8 == 0 {
					time.Sleep(3 * time.Millisecond)
				}
			}
			if !whole {
				b.state(true)
			}
			for _, l := range waiting {
				b.publish(l.body, false, true)
			}
			for _, src := range sources { // nothing is missing behind the last ones
				body := src.batch(t, fmt.Sprintf("r %d.%d", src.id, src.next))
				lines++
				b.publish(body, true, true)
			}
			account := func() (records, skipped int) {
				seen := map[string]bool{}
				for _, e := range s.has() {
					k := 0
					switch {
					case strings.HasPrefix(e, "r "):
						if seen[e] {
							t.Fatalf("%q was put out twice", e)
						}
						seen[e] = true
						records++
					case strings.HasPrefix(e, "skipped "):
						_, _ = fmt.Sscanf(e, "skipped %d", &k)
						skipped += k
					case strings.HasPrefix(e, "recovered "):
						_, _ = fmt.Sscanf(e, "recovered %d", &k)
						skipped -= k
					}
				}
				return records, skipped
			}
			eventually(t, "all is put out or counted", func() bool {
				records, skipped := account()
				if records+skipped > lines {
					t.Fatalf("%d put out and %d skipped of %d", records, skipped, lines)
				}
				return records+skipped == lines
			})
			records, skipped := account()
			t.Logf("%d records: %d put out, %d skipped, %d were neither stored nor passed on", lines, records, skipped, unstored)
			if skipped > unstored {
				t.Errorf("%d skipped, though only %d were neither stored nor passed on", skipped, unstored)
			}
			if unstored > 0 && skipped == 0 {
				t.Error("nothing was skipped")
			}
		})
	}
}
