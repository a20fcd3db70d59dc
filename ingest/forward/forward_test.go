package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"oklog/objstore/segment"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FORWARD_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// recorder is a Publisher that keeps what it gets, and can be told to fail.
type recorder struct {
	mu       sync.Mutex
	max      int
	attempts int
	bodies   map[string][]byte // by ID
	order    []string          // IDs, each time that one is stored

	// hooks, called with the number of the attempt, from 1, under the lock
	refuse func(n int) error // of Publish
	nack   func(n int) error // of the ack, instead of storing
	lie    func(n int) error // of the ack, after storing
	gate   chan struct{}     // acks wait for a value, if set
	wg     sync.WaitGroup
}

func newRecorder() *recorder { return &recorder{max: 1 << 20, bodies: map[string][]byte{}} }

type ack struct {
	done chan struct{}
	err  error
}

func (a *ack) Done() <-chan struct{} { return a.done }
func (a *ack) Err() error            { return a.err }

func (p *recorder) MaxBatch() int { return p.max }

func (p *recorder) Publish(ctx context.Context, topic, id string, body []byte) (Ack, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	n := p.attempts
	if p.refuse != nil {
		if err := p.refuse(n); err != nil {
			return nil, err
		}
	}
	if len(body) > p.max {
		return nil, fmt.Errorf("%d bytes are too many", len(body))
	}
	a := &ack{done: make(chan struct{})}
	if p.nack != nil {
		a.err = p.nack(n)
	}
	if a.err == nil {
		if old, ok := p.bodies[id]; ok && !bytes.Equal(old, body) {
			return nil, fmt.Errorf("batch %s again with other bytes", id)
		}
		p.bodies[id] = bytes.Clone(body)
		p.order = append(p.order, id)
		if p.lie != nil {
			a.err = p.lie(n)
		}
	}
	if p.gate == nil {
		close(a.done)
		return a, nil
	}
	p.wg.Go(func() {
		select {
		case <-p.gate:
			close(a.done)
		case <-ctx.Done():
		}
	})
	return a, nil
}

// record is a record as it came out.
type record struct {
	id     ulid.ULID
	text   string
	piece  segment.Piece
	source string
}

// records are all that is stored, in the order of their IDs, each once.
func (p *recorder) records(t testing.TB) []record {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	byID := map[ulid.ULID]record{}
	for id, body := range p.bodies {
		for _, r := range decode(t, body) {
			if old, ok := byID[r.id]; ok && old != r {
				t.Fatalf("batch %s: record %s is %q and %q", id, r.id, old.text, r.text)
			}
			byID[r.id] = r
		}
	}
	var all []record
	for _, r := range byID {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b record) int { return a.id.Compare(b.id) })
	return all
}

func decode(t testing.TB, body []byte) (out []record) {
	t.Helper()
	d, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(body)
	seg, err := d.Open(r, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var b segment.Block
	for _, info := range seg.Blocks {
		if err := d.Block(&b, seg, info, body[info.Offset:info.Offset+int64(info.Size())]); err != nil {
			t.Fatal(err)
		}
		for c := b.Cursor(); c.Left() > 0; {
			r := c.Next()
			out = append(out, record{r.ID, string(r.Text), r.Piece, r.Source.String()})
		}
	}
	return out
}

// rejoin puts the pieces of a record that were read by different runs, so in different sessions, beside each other. They have the
// same millisecond. Which of several middles comes first it cannot tell.
func rejoin(records []record) (out []record) {
	type key struct{ ms, session uint64 }
	type fragment []record
	split := func(r record) (key, uint32) {
		ms, s, n := segment.SplitID(r.id)
		return key{ms, s}, n
	}
	pool := map[uint64][]fragment{}
	var rest []record
	for i := 0; i < len(records); i++ {
		k, n := split(records[i])
		if n > 0 || records[i].piece&segment.Continues == 0 {
			rest = append(rest, records[i])
			continue
		}
		j := i + 1
		for ; j < len(records) && records[j-1].piece&segment.Continued != 0; j++ {
			if next, _ := split(records[j]); next != k {
				break
			}
		}
		pool[k.ms] = append(pool[k.ms], fragment(records[i:j]))
		i = j - 1
	}
	isOpen := func(f fragment) bool { return f[len(f)-1].piece&segment.Continued != 0 }
	for i, r := range rest {
		out = append(out, r)
		k, _ := split(r)
		if i+1 < len(rest) && rest[i+1].piece&segment.Continues != 0 {
			continue
		}
		for r.piece&segment.Continued != 0 && len(pool[k.ms]) > 0 {
			at := max(0, slices.IndexFunc(pool[k.ms], isOpen))
			f := pool[k.ms][at]
			pool[k.ms] = slices.Delete(pool[k.ms], at, at+1)
			out = append(out, f...)
			r = f[len(f)-1]
		}
	}
	for _, fs := range pool {
		for _, f := range fs {
			out = append(out, f...) // texts says that they fit nowhere
		}
	}
	return out
}

// texts puts the pieces of records together again.
func texts(t testing.TB, records []record) (out []string) {
	t.Helper()
	going := false
	for _, r := range rejoin(records) {
		if (r.piece&segment.Continues != 0) != going {
			t.Fatalf("record %s: piece %d does not fit what is before it", r.id, r.piece)
		}
		if going {
			out[len(out)-1] += r.text
		} else {
			out = append(out, r.text)
		}
		going = r.piece&segment.Continued != 0
	}
	if going {
		t.Fatal("the last record goes on")
	}
	return out
}

// bySource sorts records by session first: the order of files is not that of times.
func bySession(records []record) []record {
	c := slices.Clone(records)
	slices.SortStableFunc(c, func(a, b record) int {
		_, s, n := segment.SplitID(a.id)
		_, u, m := segment.SplitID(b.id)
		if s != u {
			return int(int64(s) - int64(u))
		}
		return int(int64(n) - int64(m))
	})
	return c
}

// split is the naive oracle for lines.
func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in.log")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// quick makes a forwarder with the waits of tests.
func quick(t testing.TB, cfg Config) *Forwarder {
	t.Helper()
	if cfg.Topic == "" {
		cfg.Topic = "test"
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.wait = waits{
		backoff: [2]time.Duration{time.Millisecond, 4 * time.Millisecond},
		poll:    5 * time.Millisecond, settle: 30 * time.Millisecond, linger: 30 * time.Millisecond, missing: time.Minute,
		recheck: 10 * time.Millisecond, keep: time.Hour,
	}
	return f
}

func run(t testing.TB, cfg Config) Stats {
	t.Helper()
	s, err := quick(t, cfg).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func equal(t testing.TB, have, want []string) {
	t.Helper()
	if slices.Equal(have, want) {
		return
	}
	if len(have) != len(want) {
		t.Errorf("%d records, want %d", len(have), len(want))
	}
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			t.Fatalf("record %d is %.100q, want %.100q", i, have[i], want[i])
		}
	}
	t.FailNow()
}

func nasty() string {
	lines := []string{
		"100% %s %d %!v(MISSING)", "nul \x00 in it", "cr\r", "\r", "", "\xff\xfe invalid \xc3\x28", "", "",
		strings.Repeat("x", 1<<20), "tab\tand\vmore", strings.Repeat("é", DefaultRecord/2), "\u2028", strings.Repeat("%", DefaultRecord+1), "no newline",
	}
	return strings.Join(lines, "\n")
}

func TestNastyLinesSurvive(t *testing.T) {
	for _, text := range []string{nasty(), nasty() + "\n", "", "\n", "\n\n", "x", "\r\n"} {
		for _, mode := range []Mode{Fast, Durable} {
			for name, in := range map[string]Inputs{
				"file":   {Files: []string{writeFile(t, text)}},
				"stdin":  {Stdin: strings.NewReader(text)},
				"dribs":  {Stdin: io.MultiReader(dribs(text)...)},
				"resume": {Files: []string{writeFile(t, text)}, StateDir: t.TempDir()},
			} {
				t.Run(fmt.Sprintf("%s %s %d", name, mode, len(text)), func(t *testing.T) {
					p := newRecorder()
					s := run(t, Config{Inputs: in, Mode: mode, Publisher: p})
					equal(t, texts(t, p.records(t)), split(text))
					if want := int64(len(p.records(t))); s.Records != want || s.Acked != want || s.Published != want {
						t.Errorf("%+v, want %d records", s, want)
					}
					if in.StateDir != "" { // a second run finds nothing new
						if s := run(t, Config{Inputs: in, Mode: mode, Publisher: p}); s.Records != 0 {
							t.Errorf("the second run read %d records", s.Records)
						}
					}
				})
			}
		}
	}
}

// dribs cuts a text into readers of uneven sizes.
func dribs(text string) (rs []io.Reader) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for len(text) > 0 {
		n := min(len(text), 1+rnd.IntN(1+rnd.IntN(200_000)))
		rs = append(rs, strings.NewReader(text[:n]))
		text = text[n:]
	}
	return rs
}

func TestCut(t *testing.T) {
	const limit = 16
	long := func(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] }
	var lines []string
	for _, n := range []int{15, 16, 17, 31, 32, 33, 0, 48, 160} {
		lines = append(lines, long(n))
	}
	p := newRecorder()
	s := run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, strings.Join(lines, "\n"))}}, Publisher: p,
		Limits: Limits{Record: limit, Batch: 20},
	})
	records := p.records(t)
	equal(t, texts(t, records), lines)
	if s.Cut != 6 {
		t.Errorf("cut %d records, want 6", s.Cut)
	}
	for i, r := range records {
		if len(r.text) > limit {
			t.Errorf("record %d has %d bytes", i, len(r.text))
		}
		if r.piece&segment.Continues == 0 {
			continue
		}
		ms, session, counter := segment.SplitID(records[i-1].id)
		if r.id != segment.MakeID(ms, session, counter+1) {
			t.Errorf("piece %s does not follow %s", r.id, records[i-1].id)
		}
	}
}

// TestSourcesAndSessions reads several files: each has its own session, and its path in the source.
func TestSourcesAndSessions(t *testing.T) {
	a, b := writeFile(t, "1\n2\n"), writeFile(t, "3\n")
	p := newRecorder()
	run(t, Config{
		Source: segment.Source{{Key: "host", Value: "h"}}, Publisher: p,
		Inputs: Inputs{Files: []string{a, b}, Stdin: strings.NewReader("4")},
	})
	have := map[string]string{}
	for _, r := range p.records(t) {
		have[r.text] = r.source
	}
	want := map[string]string{"1": "file=" + a + " host=h", "2": "file=" + a + " host=h", "3": "file=" + b + " host=h", "4": "host=h"}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
}

// TestSplitBatches publishes what does not compress to a server that takes small messages only.
func TestSplitBatches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var lines []string
	for range 3000 {
		b := make([]byte, rnd.IntN(2000))
		for i := range b {
			for b[i] = byte(rnd.Uint32()); b[i] == '\n'; {
				b[i] = byte(rnd.Uint32())
			}
		}
		lines = append(lines, string(b))
	}
	p := newRecorder()
	p.max = 70_000
	text := strings.Join(lines, "\n") + "\n"
	s := run(t, Config{Inputs: Inputs{Files: []string{writeFile(t, text)}}, Publisher: p, Limits: Limits{Record: 16 << 10}})
	equal(t, texts(t, p.records(t)), lines)
	if want := int64(len(text) / p.max); s.Batches < want {
		t.Errorf("%d batches, want %d at least", s.Batches, want)
	}
}

// TestManyEmptyLines has more lines than a block may hold records.
func TestManyEmptyLines(t *testing.T) {
	const n = segment.MaxBlockRecords + 12345
	p := newRecorder()
	if s := run(t, Config{Inputs: Inputs{Files: []string{writeFile(t, strings.Repeat("\n", n))}}, Publisher: p}); s.Acked != n || s.Batches != 2 {
		t.Errorf("%+v, want %d records in 2 batches", s, n)
	}
	if have := len(p.records(t)); have != n {
		t.Errorf("%d records, want %d", have, n)
	}
}

var errAway = errors.New("the server is away")

func TestPublishIsRepeated(t *testing.T) {
	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	text := strings.Join(lines, "\n")
	first := func(k int) func(int) error {
		return func(n int) error {
			if n <= k {
				return errAway
			}
			return nil
		}
	}
	third := func(n int) error {
		if n%3 != 0 {
			return errAway
		}
		return nil
	}
	for name, set := range map[string]func(p *recorder){
		"refused at first":  func(p *recorder) { p.refuse = first(5) },
		"nacked at first":   func(p *recorder) { p.nack = first(5) },
		"ack lost at first": func(p *recorder) { p.lie = first(5) },
		"refused often":     func(p *recorder) { p.refuse = third },
		"nacked often":      func(p *recorder) { p.nack = third },
		"ack lost often":    func(p *recorder) { p.lie = third },
	} {
		for _, mode := range []Mode{Fast, Durable} {
			for _, state := range []string{"", t.TempDir()} {
				t.Run(fmt.Sprint(name, mode, state != ""), func(t *testing.T) {
					p := newRecorder()
					set(p)
					var log bytes.Buffer
					s := run(t, Config{
						Inputs: Inputs{Files: []string{writeFile(t, text)}, StateDir: state}, Mode: mode, Publisher: p,
						Limits: Limits{Record: 16, Batch: 100}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
					})
					equal(t, texts(t, p.records(t)), lines)
					if s.Acked != 500 || s.Published != 500 {
						t.Errorf("%+v", s)
					}
					for _, want := range []string{"cannot publish", errAway.Error(), "publishing works again"} {
						if strings.Count(log.String(), want) != 1 {
							t.Errorf("log says %q %d times:\n%s", want, strings.Count(log.String(), want), &log)
						}
					}
				})
			}
		}
	}
}

func TestPermanentErrorEndsTheRun(t *testing.T) {
	for _, set := range []func(p *recorder){
		func(p *recorder) { p.refuse = func(int) error { return errAway } },
		func(p *recorder) { p.nack = func(int) error { return errAway } },
	} {
		p := newRecorder()
		set(p)
		_, err := quick(t, Config{
			Inputs: Inputs{Stdin: strings.NewReader("x\n")}, Publisher: p,
			Permanent: func(err error) bool { return errors.Is(err, errAway) },
		}).Run(t.Context())
		if !errors.Is(err, errAway) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestStopIsBounded cancels a run whose acks never come.
func TestStopIsBounded(t *testing.T) {
	p := newRecorder()
	p.nack = func(int) error { return errAway }
	for _, state := range []string{"", t.TempDir()} {
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		f := quick(t, Config{
			Inputs: Inputs{Stdin: pr, StateDir: state}, Publisher: p,
			Limits: Limits{Stop: 20 * time.Millisecond, BatchAge: time.Millisecond},
		})
		ended := make(chan error, 1)
		go func() {
			_, err := f.Run(ctx)
			ended <- err
		}()
		fmt.Fprint(pw, "one\ntwo\nhalf")
		waitFor(t, func() bool { return f.Stats().Records == 2 })
		cancel()
		err := <-ended
		pw.Close()
		if !errors.Is(err, ErrNotAcked) || !strings.Contains(err.Error(), ": 3 within 20ms") {
			t.Errorf("error is %v, want 3 records", err)
		}
		if kept := strings.Contains(err.Error(), "kept in"); kept != (state != "") {
			t.Errorf("error is %v", err)
		}
		if state == "" {
			continue
		}
		good := newRecorder()
		s := run(t, Config{Inputs: Inputs{Stdin: strings.NewReader("three"), StateDir: state}, Publisher: good})
		equal(t, texts(t, good.records(t)), []string{"one", "two", "half", "three"})
		if s.Replayed != 3 || s.Acked != 4 {
			t.Errorf("%+v", s)
		}
	}
}

// waitFor polls until a condition holds.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestTrickle publishes what trickles in without waiting for more.
func TestTrickle(t *testing.T) {
	pr, pw := io.Pipe()
	p := newRecorder()
	f := quick(t, Config{Inputs: Inputs{Stdin: pr}, Publisher: p, Limits: Limits{BatchAge: time.Millisecond}})
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(t.Context())
		ended <- err
	}()
	for i := range 5 {
		fmt.Fprintf(pw, "line %d\nhalf", i)
		waitFor(t, func() bool { return f.Stats().Acked == int64(i+1) })
		fmt.Fprint(pw, " ")
	}
	pw.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	equal(t, texts(t, p.records(t)), []string{"line 0", "half line 1", "half line 2", "half line 3", "half line 4", "half "})
}

// TestBlock stops reading when acks do not come.
func TestBlock(t *testing.T) {
	pr, pw := io.Pipe()
	p := newRecorder()
	p.gate = make(chan struct{})
	f := quick(t, Config{Inputs: Inputs{Stdin: pr}, Mode: Durable, Publisher: p, Limits: Limits{Record: 16, Batch: 1}})
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(t.Context())
		ended <- err
	}()
	go func() {
		for i := range 100 {
			fmt.Fprintf(pw, "%d\n", i)
		}
		pw.Close()
	}()
	for i := range 100 {
		waitFor(t, func() bool { return f.Stats().Published == int64(i+1) })
		if n := f.Stats().Records; n > int64(i+1) {
			t.Fatalf("%d records read before %d were acked", n, i+1)
		}
		p.gate <- struct{}{}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	p.wg.Wait()
	if n := len(p.records(t)); n != 100 {
		t.Errorf("%d records", n)
	}
}

// TestDropOldestKeepsTheJournal overflows behind what an earlier run has left on disk: that takes no memory, and is not dropped for it.
func TestDropOldestKeepsTheJournal(t *testing.T) {
	o := &outbox{full: DropOldest, bound: 100, log: slog.New(slog.DiscardHandler)}
	o.init()
	var err error
	if o.meters, err = newMeters(nil, "test"); err != nil {
		t.Fatal(err)
	}
	done := &batchDone{pending: 100}
	for range 5 {
		o.queue.waiting = append(o.queue.waiting, &message{part: part{Size: 1000, Records: 1}, batch: done})
	}
	for i := range 20 {
		if ok, err := o.tryPut(&message{part: part{Size: 30, Records: 1, body: make([]byte, 30)}, index: i, batch: done}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if have := o.queue.waiting; len(have) != 5+3 || have[0].body != nil || have[5].index != 17 || o.queue.bytes != 90 || o.meters.stats().Dropped != 17 {
		t.Errorf("%d wait, %d bytes, %+v", len(have), o.queue.bytes, o.meters.stats())
	}
}

func TestDropOldest(t *testing.T) {
	pr, pw := io.Pipe()
	p := newRecorder()
	var mu sync.Mutex
	away := true
	p.refuse = func(int) error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return errAway
		}
		return nil
	}
	reg := prometheus.NewRegistry()
	var log bytes.Buffer
	f := quick(t, Config{
		Inputs: Inputs{Stdin: pr}, WhenFull: DropOldest, Publisher: p, Registerer: reg,
		Limits: Limits{Record: 16, Batch: 1, Spool: 8 << 10}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(t.Context())
		ended <- err
	}()
	const n = 1000
	for i := range n {
		fmt.Fprintf(pw, "%d\n", i)
	}
	waitFor(t, func() bool { return f.Stats().Records == n && f.Stats().Dropped > n/2 })
	mu.Lock()
	away = false
	mu.Unlock()
	pw.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	have := texts(t, p.records(t))
	s := f.Stats()
	if s.Dropped+s.Acked != n || s.Acked != int64(len(have)) || s.Dropped == 0 || s.Acked == 0 {
		t.Errorf("%+v, %d arrived", s, len(have))
	}
	if have[len(have)-1] != fmt.Sprint(n-1) {
		t.Errorf("the newest record is %s", have[len(have)-1])
	}
	if have := testutil.ToFloat64(f.meters.dropped.c); have != float64(s.Dropped) {
		t.Errorf("metric says %v, stats %d", have, s.Dropped)
	}
	if !strings.Contains(log.String(), "dropped the oldest") {
		t.Errorf("log is silent: %s", &log)
	}
}

func TestConfigErrors(t *testing.T) {
	file := writeFile(t, "x\n")
	for want, change := range map[string]func(*Config){
		"--topic":        func(c *Config) { c.Topic = "No Good" },
		"--record-limit": func(c *Config) { c.Limits.Record = 1 << 20 },
		"--record-limit ": func(c *Config) {
			c.Limits.Record = 2 << 20
		},
		"--batch-size":   func(c *Config) { c.Limits.Batch = 1 << 30 },
		"--flush-size":   func(c *Config) { c.Limits.Flush = -1 },
		"--spool-size":   func(c *Config) { c.Limits.Spool = -1 },
		"--batch-age":    func(c *Config) { c.Limits.BatchAge = -1 },
		"--stop-timeout": func(c *Config) { c.Limits.Stop = -1 },
		"--nats":         func(c *Config) { c.Publisher = nil },
		"--bucket":       func(c *Config) { c.Mode = Bulk },
		"--state":        func(c *Config) { c.Inputs.Follow = true },
		"--state ":       func(c *Config) { c.WhenFull = Spool },
		"name a FILE":    func(c *Config) { c.Inputs.Files = nil },
		"named twice":    func(c *Config) { c.Inputs.Files = []string{file, file} },
		"check the path": func(c *Config) { c.Inputs.Files = []string{file + ".not"} },
		"is a folder":    func(c *Config) { c.Inputs.Files = []string{filepath.Dir(file)} },
		"--multiline":    func(c *Config) { c.Inputs.Multiline = "(" },
		"--time-regex":   func(c *Config) { c.Time.Pattern = "(" },
		"--time":         func(c *Config) { c.Time.Format = "rfc339" },
		"--time-json":    func(c *Config) { c.Time.Format = time.Stamp },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := Config{Topic: "t", Inputs: Inputs{Files: []string{file}}, Publisher: newRecorder()}
			change(&cfg)
			_, err := New(cfg)
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one line with %s", err, want)
			}
		})
	}
	for _, s := range []string{"fast", "durable", "bulk"} {
		if m, err := ParseMode(s); err != nil || m.String() != s {
			t.Errorf("%s is %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"block", "drop-oldest", "spool"} {
		if w, err := ParseWhenFull(s); err != nil || w.String() != s {
			t.Errorf("%s is %v, %v", s, w, err)
		}
	}
	_, err1 := ParseMode("quick")
	_, err2 := ParseWhenFull("drop")
	if !errors.Is(err1, ErrConfig) || !errors.Is(err2, ErrConfig) {
		t.Error(err1, err2)
	}
}

// TestMaxEncoded holds the bound on a message with one record against the worst record.
func TestMaxEncoded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{16, 1000, 128<<10 - 1, 128 << 10, 256 << 10, 1<<20 - 1, 1 << 20} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		p := newRecorder()
		p.max = 2 << 20
		// As binary records hold newlines, they come by way of the multi-line pattern that nothing matches.
		run(t, Config{
			Inputs: Inputs{Stdin: bytes.NewReader(b), Multiline: `^\b$`}, Publisher: p, Limits: Limits{Record: size},
		})
		if have := p.records(t); len(have) != 1 || have[0].text != string(bytes.TrimSuffix(b, newline)) {
			t.Fatalf("%d records", len(have))
		}
		for _, body := range p.bodies {
			if limit := maxEncoded(size, nil); len(body) > limit {
				t.Errorf("record of %d bytes: message of %d, bound %d", size, len(body), limit)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	f := quick(t, Config{Inputs: Inputs{Files: []string{writeFile(t, "one\ntwo\n")}}, Publisher: newRecorder()})
	if p := f.Progress(); p.Read != 0 || p.Total != 8 || p.Rate != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := f.Progress(); p.Read != 8 || p.Total != 8 || p.Records != 2 || p.Acked != 2 || p.Rate <= 0 {
		t.Errorf("%+v", p)
	}
}

// FuzzLines reads a text in chunks of any size, with any limits, and compares with a naive splitter.
func FuzzLines(f *testing.F) {
	f.Add("one\ntwo\n\nfour", uint16(3), uint8(4), uint8(9))
	f.Add(strings.Repeat("long", 50)+"\n\n\r\n", uint16(7), uint8(0), uint8(1))
	f.Add("%s\x00\xff\n", uint16(1), uint8(1), uint8(255))
	f.Fuzz(func(t *testing.T, text string, seed uint16, limit, batch uint8) {
		p := newRecorder()
		s := run(t, Config{
			Inputs: Inputs{Stdin: newChopper(text, uint64(seed))}, Publisher: p,
			Limits: Limits{Record: minRecord + int(limit), Batch: 1 + int(batch)},
		})
		equal(t, texts(t, p.records(t)), split(text))
		if s.Bytes != int64(len(text)) && s.Bytes != int64(len(text))+1 { // a last line without newline counts one
			t.Errorf("%d bytes of %d", s.Bytes, len(text))
		}
	})
}

// BenchmarkForward forwards a file through a publisher that discards, in both ways of making records.
func BenchmarkForward(b *testing.B) {
	pattern := "../../testdata/sample/*.log"
	if dir := os.Getenv("CORPORA"); dir != "" {
		pattern = filepath.Join(dir, "*.log")
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		b.Fatalf("no logs in %s (%v): set CORPORA to a folder of NAME.log files", pattern, err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		for what, cfg := range map[string]Config{
			"read time":   {},
			"parsed time": {Time: TimeConfig{Format: time.Stamp, Pattern: `^\w+ +\d+ [\d:]+`}},
		} {
			b.Run(filepath.Base(name)+"/"+what, func(b *testing.B) {
				cfg := cfg
				cfg.Topic, cfg.Inputs.Files, cfg.Publisher = "bench", []string{name}, discard{}
				b.SetBytes(info.Size())
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Run(b.Context(), cfg); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

type discard struct{}

func (discard) MaxBatch() int { return 1 << 20 }

func (discard) Publish(context.Context, string, string, []byte) (Ack, error) {
	a := &ack{done: make(chan struct{})}
	close(a.done)
	return a, nil
}

// chopper is a reader of a text in chunks of 1 to 64 bytes.
type chopper struct {
	rest string
	rnd  *rand.Rand
}

func newChopper(text string, seed uint64) *chopper {
	return &chopper{text, rand.New(rand.NewPCG(seed, 7))}
}

func (c *chopper) Read(b []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+c.rnd.IntN(64))], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// TestCompressedInput forwards what is compressed as it is, and says so: it may be what a wildcard named.
func TestCompressedInput(t *testing.T) {
	var log bytes.Buffer
	p := newRecorder()
	run(t, Config{Inputs: Inputs{Files: []string{writeFile(t, "\x1f\x8b\x08 and so on\n"), writeFile(t, "text\n")}}, Publisher: p, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if len(p.records(t)) != 2 || strings.Count(log.String(), "zcat") != 1 {
		t.Errorf("%d records:\n%s", len(p.records(t)), &log)
	}
}

// TestInputDoesNotOpen has an input that is no file and cannot be read.
func TestInputDoesNotOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("sockets are no files there")
	}
	dir, err := os.MkdirTemp("", "oklog") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, follow := range []bool{false, true} {
		cfg := Config{Publisher: newRecorder(), Inputs: Inputs{Files: []string{name}, Follow: follow}}
		if follow {
			cfg.Inputs.StateDir = t.TempDir()
		}
		f := quick(t, cfg)
		ended := make(chan error, 1)
		go func() { _, err := f.Run(t.Context()); ended <- err }()
		if err := endsWithin(t, ended, 20*time.Second); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("follow %v: have error %v", follow, err)
		}
	}
}

// TestJournalIsFullOfFiles: so many batches that the next start would refuse the folder are never there.
func TestJournalIsFullOfFiles(t *testing.T) {
	j := &journal{entries: make([]*entry, maxWaiting)}
	if !j.full(1 << 60) {
		t.Error("another file is let in")
	}
	j.entries = j.entries[1:]
	if j.full(1 << 60) {
		t.Error("it is full already")
	}
	o := &outbox{full: Block, bound: 1 << 60}
	o.queue.waiting, o.queue.bytes = make([]*message, maxWaiting), 1
	if ok, err := o.tryPut(&message{}); ok || err != nil {
		t.Errorf("another message is let in: %v", err)
	}
}
