package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

var errDown = errors.New("bucket is down")

// set is a Replicated over memories whose faults the test chooses.
type set struct {
	*objstore.Replicated
	faulty []*buckettest.Faulty
	memory []*objstore.Memory
	reg    *prometheus.Registry
	log    *buckettest.Log
	clock  atomic.Int64 // s
}

// newSet returns n buckets of which quorum must take a write; the test fails if it leaves a
// goroutine behind.
func newSet(t *testing.T, n, quorum int, cfg objstore.ReplicatedConfig) *set {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	s := &set{reg: prometheus.NewRegistry(), log: new(buckettest.Log)}
	s.clock.Store(1_000_000)
	cfg.Meter, cfg.Logger = newMeter(t, s.reg), slog.New(slog.NewTextHandler(s.log, nil))
	cfg.Now = func() time.Time { return time.Unix(s.clock.Load(), 0) }
	var buckets []objstore.Bucket
	for i := range n {
		m := objstore.NewMemory(fmt.Sprintf("memory%d", i+1), time.Now)
		f := &buckettest.Faulty{Next: m}
		s.memory, s.faulty = append(s.memory, m), append(s.faulty, f)
		buckets = append(buckets, f)
	}
	var err error
	if s.Replicated, err = objstore.NewReplicated(buckets, quorum, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, ignore)
	})
	return s
}

func (s *set) missing(t *testing.T) (total float64) {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "oklog_bucket_missing_copies_total" {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}

func (s *set) has(i int, key string) bool {
	_, err := s.memory[i].Stat(context.Background(), key)
	return err == nil
}

func put(ctx context.Context, b objstore.Bucket, key, data string) error {
	return b.Put(ctx, key, strings.NewReader(data), int64(len(data)))
}

func create(ctx context.Context, b objstore.Bucket, key, data string) error {
	return b.Create(ctx, key, strings.NewReader(data), int64(len(data)))
}

func TestQuorumIsValidated(t *testing.T) {
	m := objstore.NewMemory("m", time.Now)
	for n := range 4 {
		for w := -1; w < 6; w++ {
			_, err := objstore.NewReplicated(slices.Repeat([]objstore.Bucket{m}, n), w, objstore.ReplicatedConfig{})
			if valid := n > 0 && 1 <= w && w <= n; valid != (err == nil) {
				t.Errorf("%d of %d: error %v", w, n, err)
			}
			if n > 0 && err != nil && !strings.Contains(err.Error(), "--write-quorum") {
				t.Errorf("the error does not name the flag: %v", err)
			}
		}
	}
}

// TestQuorumMath tries every set of dead buckets with every quorum.
func TestQuorumMath(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for w := 1; w <= n; w++ {
			for dead := range 1 << n {
				for _, op := range []string{"put", "create"} {
					name := fmt.Sprintf("%s/%dof%d/dead=%b", op, w, n, dead)
					s := newSet(t, n, w, objstore.ReplicatedConfig{})
					down := 0
					for i := range n {
						if dead>>i&1 == 1 {
							s.faulty[i].Hook = buckettest.FailAll(errDown)
							down++
						}
					}
					write := put
					if op == "create" {
						write = create
					}
					err := write(t.Context(), s, "k", "data")
					if ok := n-down >= w; ok != (err == nil) {
						t.Errorf("%s: error %v", name, err)
					}
					if err != nil && (!errors.Is(err, errDown) || !strings.Contains(err.Error(), "--write-quorum")) {
						t.Errorf("%s: the error lacks the cause or the flag: %v", name, err)
					}
					if err := s.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					copies := 0
					for i := range n {
						if s.has(i, "k") {
							copies++
						}
					}
					if err == nil {
						if copies != n-down {
							t.Errorf("%s: %d copies, want all %d that are up", name, copies, n-down)
						}
						if have := s.missing(t); have != float64(down) {
							t.Errorf("%s: %g missing copies counted, want %d", name, have, down)
						}
					} else if have := s.missing(t); have != 0 {
						t.Errorf("%s: %g missing copies counted of a failed write", name, have)
					}
				}
			}
		}
	}
}

// gate holds the calls of an operation until it is opened.
type gate struct {
	op      buckettest.Op
	entered chan struct{}
	open    chan struct{}
}

func newGate(op buckettest.Op) *gate {
	return &gate{op, make(chan struct{}, 100), make(chan struct{})}
}

func (g *gate) hook(c buckettest.Call) buckettest.Fault {
	if c.Op == g.op {
		g.entered <- struct{}{}
		<-g.open
	}
	return buckettest.Fault{}
}

// TestSlowCopyIsDetached: the slow copy outlives its caller's context and is joined by Close.
func TestSlowCopyIsDetached(t *testing.T) {
	for name, write := range map[string]func(context.Context, objstore.Bucket, string, string) error{"put": put, "create": create} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
			g := newGate(buckettest.Op(name))
			s.faulty[1].Hook = g.hook
			ctx, cancel := context.WithCancel(t.Context())
			if err := write(ctx, s, "k", "data"); err != nil {
				t.Fatal(err)
			}
			cancel()
			<-g.entered
			if s.has(1, "k") {
				t.Fatal("the copy is done already")
			}
			if held := gauge(t, s.reg, "oklog_bucket_detached_bytes"); held != 4 {
				t.Errorf("%g bytes are held, want 4", held)
			}
			closed := make(chan error, 1)
			go func() { closed <- s.Close(context.Background()) }()
			select {
			case <-closed:
				t.Fatal("Close did not wait for the copy")
			case g.open <- struct{}{}:
			}
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
			if !s.has(1, "k") {
				t.Error("the copy was not finished")
			}
			if s.missing(t) != 0 {
				t.Error("a copy counts as missing")
			}
			if held := gauge(t, s.reg, "oklog_bucket_detached_bytes"); held != 0 {
				t.Errorf("%g bytes are held still", held)
			}
			if err := put(t.Context(), s, "k2", "x"); !errors.Is(err, objstore.ErrClosed) {
				t.Errorf("a Put after Close has the error %v", err)
			}
		})
	}
}

func newMeter(t *testing.T, reg prometheus.Registerer) objstore.Meter {
	t.Helper()
	m, err := metrics.New(reg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestCloseIsBounded: copies that do not end are broken off with Close's context, and counted.
func TestCloseIsBounded(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
	s.faulty[1].Hook = func(buckettest.Call) buckettest.Fault { return buckettest.Fault{Block: true} }
	if err := put(t.Context(), s, "k", "data"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("have error %v", err)
	}
	if s.missing(t) != 1 {
		t.Errorf("%g missing copies are counted, want 1", s.missing(t))
	}
}

// TestDetachedBytesAreBounded: while a bucket hangs, writes go on, no more than the bound
// is held, and what is given up is counted.
func TestDetachedBytesAreBounded(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{DetachedBytes: 10, DetachedGrace: time.Millisecond})
	s.faulty[1].Hook = func(buckettest.Call) buckettest.Fault { return buckettest.Fault{Block: true} }
	for i := range 5 {
		if err := put(t.Context(), s, fmt.Sprintf("k%d", i), "1234"); err != nil {
			t.Fatal(err)
		}
		if held := gauge(t, s.reg, "oklog_bucket_detached_bytes"); held > 10 {
			t.Fatalf("%g bytes are held", held)
		}
	}
	if s.missing(t) != 3 { // two have room
		t.Errorf("%g missing copies are counted, want 3", s.missing(t))
	}
	if !strings.Contains(s.log.String(), "too many bytes wait") {
		t.Errorf("the log does not say why: %s", s.log.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(ctx) // breaks off the two
	if s.missing(t) != 5 {
		t.Errorf("%g missing copies are counted, want 5", s.missing(t))
	}
}

// TestDetachedTimeout: a detached copy has a limit of its own.
func TestDetachedTimeout(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{DetachedTimeout: time.Millisecond})
	s.faulty[1].Hook = func(buckettest.Call) buckettest.Fault { return buckettest.Fault{Block: true} }
	if err := put(t.Context(), s, "k", "data"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.missing(t) != 1 || !strings.Contains(s.log.String(), "took longer than") {
		t.Errorf("%g missing copies; log: %s", s.missing(t), s.log.String())
	}
}

// TestCanceledBeforeQuorum: the caller gives up before the quorum; nothing goes on.
func TestCanceledBeforeQuorum(t *testing.T) {
	s := newSet(t, 2, 2, objstore.ReplicatedConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	s.faulty[1].Hook = func(buckettest.Call) buckettest.Fault {
		cancel()
		return buckettest.Fault{Block: true}
	}
	if err := put(ctx, s, "k", "data"); !errors.Is(err, context.Canceled) {
		t.Fatalf("have error %v", err)
	}
	if s.missing(t) != 0 {
		t.Error("a copy of a failed write counts as missing")
	}
}

// TestCanceledBefore: whoever gave up before a write began gets an error, however fast the buckets are.
func TestCanceledBefore(t *testing.T) {
	s := newSet(t, 3, 2, objstore.ReplicatedConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 1000 {
		if err := put(ctx, s, "k", "data"); !errors.Is(err, context.Canceled) {
			t.Fatalf("write %d: have error %v", i, err)
		}
	}
	if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("the object: have error %v", err)
	}
}

func TestReadFallsBack(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
	buckettest.MustPut(t, s.memory[1], "second", []byte("data"))
	want := func() {
		t.Helper()
		have, err := buckettest.ReadAll(t.Context(), s, "second")
		if err != nil || string(have) != "data" {
			t.Fatalf("have %q, %v", have, err)
		}
	}
	want() // the first lacks it
	if n := s.faulty[0].Calls(buckettest.Get); n != 1 {
		t.Errorf("the first bucket was asked %d times", n)
	}
	s.faulty[0].Hook = buckettest.FailAll(errDown)
	want() // the first is down: found out by the Stat, remembered for the Get
	if n := s.faulty[0].Calls(buckettest.Get); n != 1 {
		t.Errorf("the first bucket, which is down, was asked to Get again")
	}
	calls := s.faulty[0].Calls(buckettest.Stat)
	for range 5 {
		want()
	}
	if s.faulty[0].Calls(buckettest.Stat) != calls {
		t.Error("the dead bucket was asked first while it is to be avoided")
	}
	s.clock.Add(11)
	want()
	if s.faulty[0].Calls(buckettest.Stat) != calls+1 {
		t.Error("the dead bucket was not tried again after a while")
	}

	// Not there, says one; the other cannot say: the failure is the answer.
	_, err := s.Stat(t.Context(), "nowhere")
	if !errors.Is(err, errDown) || errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("have error %v", err)
	}
	s.faulty[0].Hook = nil
	if _, err = s.Stat(t.Context(), "nowhere"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("have error %v", err)
	}
	n, err := testutil.GatherAndCount(s.reg, "oklog_bucket_fallbacks_total")
	if err != nil || n == 0 {
		t.Errorf("no fallbacks are counted: %v", err)
	}
}

// TestShortReadIsAnAnswer: the object's end is not a failure of the bucket.
func TestShortReadIsAnAnswer(t *testing.T) {
	s := newSet(t, 2, 2, objstore.ReplicatedConfig{})
	buckettest.MustPut(t, s, "k", []byte("data"))
	n, err := s.Get(t.Context(), "k", 2, make([]byte, 10))
	if n != 2 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("have %d, %v", n, err)
	}
	if s.faulty[1].Calls(buckettest.Get) != 0 {
		t.Error("the second bucket was asked too")
	}
}

func TestListIsTheUnion(t *testing.T) {
	for _, c := range []struct {
		n, w, dead int
		complete   bool
	}{
		{2, 1, 0, true}, {2, 1, 1, false}, {2, 2, 1, true}, {2, 2, 2, false},
		{3, 2, 1, true}, {3, 2, 2, false}, {3, 3, 2, true}, {3, 1, 1, false}, {1, 1, 1, false},
	} {
		for _, after := range []int{0, 3} { // the listing fails at once, or in its middle
			t.Run(fmt.Sprintf("%dof%d/dead=%d/after=%d", c.w, c.n, c.dead, after), func(t *testing.T) {
				s := newSet(t, c.n, c.w, objstore.ReplicatedConfig{})
				// Each object in exactly w buckets: the least there may be.
				var all []string
				seen := map[string]bool{}
				for i := range 12 {
					key := fmt.Sprintf("k%02d", i)
					all = append(all, key)
					for j := range c.w {
						bucket := (i + j) % c.n
						buckettest.MustPut(t, s.memory[bucket], key, []byte(key))
						if bucket >= c.dead {
							seen[key] = true
						}
					}
				}
				for i := range c.dead {
					s.faulty[i].Hook = func(call buckettest.Call) buckettest.Fault {
						return buckettest.Fault{Err: errDown, After: after}
					}
				}
				for round := range 2 { // the second one leaves out what failed in the first
					keys, err := buckettest.Keys(t.Context(), s, "", "")
					if c.complete && (err != nil || !slices.Equal(keys, all)) {
						t.Errorf("round %d: have %q, %v", round, keys, err)
					}
					if !c.complete && !errors.Is(err, errDown) {
						t.Errorf("round %d: the listing may lack objects, and its error is %v", round, err)
					}
					if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
						t.Errorf("round %d: not in order, or twice: %q", round, keys)
					}
					for key := range seen {
						if !slices.Contains(keys, key) {
							t.Errorf("round %d: %s is in a bucket that is up, and not listed", round, key)
						}
					}
				}
			})
		}
	}
}

// TestListStops: a consumer that has had enough ends the listings that run ahead.
func TestListStops(t *testing.T) {
	s := newSet(t, 2, 2, objstore.ReplicatedConfig{})
	for i := range 5000 {
		buckettest.MustPut(t, s.memory[i%2], fmt.Sprintf("k%05d", i), nil)
	}
	for info, err := range s.List(t.Context(), "", "k00009") {
		if err != nil || info.Key != "k00010" {
			t.Fatalf("have %+v, %v", info, err)
		}
		break
	} // newSet's cleanup sees whether goroutines are left
}

// Each object comes once, with the buckets that list it; a bucket that fails is told once, and has nothing more.
func TestListCopies(t *testing.T) {
	s := newSet(t, 3, 3, objstore.ReplicatedConfig{})
	put := func(bucket int, key, body string) { buckettest.MustPut(t, s.memory[bucket], key, []byte(body)) }
	put(0, "a", "xx")
	put(1, "b", "x")
	put(2, "b", "xx")
	for i := range 3 {
		put(i, "c", "xxx")
		put(i, "d/e", "")
	}
	list := func(prefix, after string) (have string) {
		failed := func(i int, err error) { have += fmt.Sprintf(" failed:%d", i) }
		for c, err := range objstore.ListCopies(t.Context(), s.Buckets(), prefix, after, failed) {
			if err != nil {
				t.Fatal(err)
			}
			have += fmt.Sprintf(" %s:%d%v", c.Key, c.Count(), c.Sizes)
			if c.Differ() {
				have += "!"
			}
		}
		return strings.TrimSpace(have)
	}
	const all = "a:1[2 -1 -1] b:2[-1 1 2]! c:3[3 3 3] d/e:3[0 0 0]"
	if have := list("", ""); have != all {
		t.Errorf("want %s, have %s", all, have)
	}
	if have, want := list("d/", "c"), "d/e:3[0 0 0]"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	s.faulty[1].Hook = func(buckettest.Call) buckettest.Fault { return buckettest.Fault{Err: errDown, After: 1} }
	if have, want := list("", ""), "a:1[2 -1 -1] b:2[-1 1 2]! failed:1 c:2[3 -1 3] d/e:2[0 -1 0]"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for c, err := range objstore.ListCopies(ctx, s.Buckets(), "", "", func(int, error) {}) {
		if c.Key != "a" && !errors.Is(err, context.Canceled) {
			t.Errorf("have %+v, %v", c, err)
		}
		cancel()
	}
}

func TestDeleteNeedsAll(t *testing.T) {
	s := newSet(t, 3, 1, objstore.ReplicatedConfig{})
	for i := range 3 {
		buckettest.MustPut(t, s.memory[i], "k", nil)
	}
	s.faulty[1].Hook = buckettest.FailNth(buckettest.Delete, 1, errDown)
	if err := s.Delete(t.Context(), "k"); !errors.Is(err, errDown) {
		t.Fatalf("have error %v", err)
	}
	if s.has(0, "k") || !s.has(1, "k") || s.has(2, "k") {
		t.Error("the others did not delete")
	}
	if err := s.Delete(t.Context(), "k"); err != nil || s.has(1, "k") {
		t.Fatalf("have error %v", err)
	}
}

// lateBucket is a bucket whose Puts land when their context ends, and report a failure.
type lateBucket struct {
	objstore.Bucket
	entered chan struct{}
}

func (b lateBucket) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	close(b.entered)
	<-ctx.Done()
	if err := b.Bucket.Put(context.WithoutCancel(ctx), key, body, size); err != nil {
		return err
	}
	return ctx.Err()
}

// TestDeleteBeatsTheCopy: a copy that is still under way does not bring the object back, and
// nobody misses it.
func TestDeleteBeatsTheCopy(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	fast, slow := objstore.NewMemory("fast", time.Now), objstore.NewMemory("slow", time.Now)
	late := lateBucket{slow, make(chan struct{})}
	reg := prometheus.NewRegistry()
	r, err := objstore.NewReplicated([]objstore.Bucket{fast, late}, 1, objstore.ReplicatedConfig{Meter: newMeter(t, reg)})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t.Context(), r, "k", "data"); err != nil {
		t.Fatal(err)
	}
	<-late.entered
	if err := r.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Close(ctx) // whatever is still under way lands now
	if fast.Len() != 0 || slow.Len() != 0 {
		t.Error("the object is back")
	}
	s := set{reg: reg}
	if s.missing(t) != 0 {
		t.Error("a copy of a deleted object counts as missing")
	}
}

// TestCreateWhileTheFirstIsAway: who creates while the first bucket is down has won for good.
func TestCreateWhileTheFirstIsAway(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
	s.faulty[0].Hook = buckettest.FailAll(errDown)
	if err := create(t.Context(), s, "k", "first"); err != nil {
		t.Fatal(err)
	}
	s.faulty[0].Hook = nil
	if err := create(t.Context(), s, "k", "second"); !errors.Is(err, objstore.ErrExists) {
		t.Fatalf("have error %v", err)
	}
	have, err := buckettest.ReadAll(t.Context(), s, "k")
	if err != nil || string(have) != "first" {
		t.Fatalf("have %q, %v", have, err)
	}
}

// TestLostAckOfACopy: the bucket has it, but its answer was lost: the copy counts as missing,
// which repair finds untrue, and the write as done by the others.
func TestLostAckOfACopy(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
	s.faulty[0].Hook = func(c buckettest.Call) buckettest.Fault {
		return buckettest.Fault{LostAck: c.Op == buckettest.Put}
	}
	if err := put(t.Context(), s, "k", "data"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.has(0, "k") || !s.has(1, "k") || s.missing(t) != 1 {
		t.Errorf("%t %t %g", s.has(0, "k"), s.has(1, "k"), s.missing(t))
	}
}

// An outage makes a line now and then, with how much is missing, and one line says that it is over.
func TestOutageIsSaidBriefly(t *testing.T) {
	s := newSet(t, 2, 1, objstore.ReplicatedConfig{})
	var down atomic.Bool
	down.Store(true)
	s.faulty[1].Hook = func(c buckettest.Call) buckettest.Fault {
		if down.Load() {
			return buckettest.Fault{Err: errDown}
		}
		return buckettest.Fault{}
	}
	n := 0
	write := func(copies float64) {
		t.Helper()
		n++
		if err := put(t.Context(), s, fmt.Sprintf("key-%d", n), "data"); err != nil {
			t.Fatal(err)
		}
		for s.missing(t) != copies || gauge(t, s.reg, "oklog_bucket_detached_bytes") != 0 {
			runtime.Gosched()
		}
	}
	for i := range 100 {
		write(float64(i + 1))
	}
	s.clock.Add(11)
	write(101)
	down.Store(false)
	write(101)
	write(101)
	down.Store(true)
	write(102)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var have []string
	for line := range strings.Lines(s.log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "msg=")
		have = append(have, line)
	}
	const lacks = `"a bucket lacks copies of objects that the others have; the last:" bucket=2 copies=`
	want := []string{
		lacks + `1 err="put key-1 in faulty: bucket is down"`,
		lacks + `100 err="put key-101 in faulty: bucket is down"`,
		`"a bucket is back, and lacks the copies that it could not take meanwhile" bucket=2 copies=101`,
		lacks + `1 err="put key-104 in faulty: bucket is down"`, // at the end
	}
	if !slices.Equal(have, want) {
		t.Errorf("want\n%s\nhave\n%s", strings.Join(want, "\n"), strings.Join(have, "\n"))
	}
}

// A bucket that failed before the clock was set back is not avoided for as long as that.
func TestClockSetBack(t *testing.T) {
	s := newSet(t, 2, 2, objstore.ReplicatedConfig{})
	if err := put(t.Context(), s, "k", "data"); err != nil {
		t.Fatal(err)
	}
	s.Avoid(0)
	get := func() {
		t.Helper()
		if _, err := s.Get(t.Context(), "k", 0, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	get()
	if n := s.faulty[0].Calls(buckettest.Get); n != 0 {
		t.Errorf("the bucket to avoid was read %d times", n)
	}
	s.clock.Add(-3600)
	get()
	if n := s.faulty[0].Calls(buckettest.Get); n != 1 {
		t.Errorf("the bucket is avoided for the time that the clock was set back by")
	}
}
