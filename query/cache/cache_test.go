package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestReadIsTheObject reads at random, from many goroutines, through caches of all kinds, with loads that fail and readers that leave.
func TestReadIsTheObject(t *testing.T) {
	least := cost(testPage, maxKey)
	for _, tc := range []struct {
		name   string
		memory int64
		disk   bool
	}{
		{"nothing kept", 0, false},
		{"tiny", least, false},
		{"small", 8 * least, false},
		{"enough", 1 << 24, false},
		{"disk only", 0, true},
		{"tiny and disk", least, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Memory: tc.memory}
			if tc.disk {
				cfg.Dir = t.TempDir()
			}
			c := newCache(t, cfg)
			var objects []*object
			for i, size := range []int{1, testPage - 1, testPage, testPage + 1, 10 * testPage, 100*testPage + 17} {
				objects = append(objects, newObject(fmt.Sprintf("topic/%d", i), size))
			}
			var mu sync.Mutex
			var sum Outcome
			var all sync.WaitGroup
			for seed := range uint64(8) {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, 1))
					mine := reader(t, c, rnd, objects)
					mu.Lock()
					defer mu.Unlock()
					sum = sum.plus(mine)
				})
			}
			all.Wait()
			checkMemory(t, &c.memory)
			if len(c.flights) != 0 {
				t.Errorf("%d pages are still on their way", len(c.flights))
			}
			if sum.Misses == 0 || sum.Fetched == 0 || sum.Loads == 0 {
				t.Errorf("it never loaded: %+v", sum)
			}
			if tc.memory == 0 && sum.FromMemory > 0 || tc.memory > least && sum.FromMemory == 0 || tc.memory > 1<<20 && sum.FromMemory < sum.Fetched {
				t.Errorf("memory of %d gave %d bytes, loads %d", tc.memory, sum.FromMemory, sum.Fetched)
			}
			if tc.disk != (sum.FromDisk > 0) {
				t.Errorf("disk gave %d bytes", sum.FromDisk)
			}
		})
	}
}

var errTest = errors.New("the store is on fire")

// reader reads some ranges.
func reader(t *testing.T, c *Cache, rnd *rand.Rand, objects []*object) (sum Outcome) {
	for range 400 {
		o := objects[rnd.IntN(len(objects))]
		off := rnd.IntN(len(o.data) + 1)
		n := rnd.IntN(len(o.data) - off + 1)
		if rnd.IntN(2) == 0 {
			n = min(n, 2*testPage)
		}
		ctx, cancel := context.WithCancel(t.Context())
		fate := rnd.IntN(20)
		load := func(ctx context.Context, off int64, p []byte) error {
			switch fate {
			case 0:
				return errTest
			case 1:
				cancel() // the reader leaves, and others may wait
			case 2:
				clear(p)
				cancel()
				for range 20 { // so that it is canceled, mostly, unless others wait
					runtime.Gosched()
				}
				if ctx.Err() != nil {
					return nil // with other bytes, which nobody must see
				}
			}
			return o.load(ctx, off, p)
		}
		p := make([]byte, n)
		out, err := c.Read(ctx, o.key, int64(len(o.data)), int64(off), p, load)
		cancel()
		sum = sum.plus(out)
		switch {
		case err == nil && !bytes.Equal(p, o.data[off:off+n]):
			t.Errorf("%d bytes at %d of %s: wrong", n, off, o.key)
		case err != nil && !errors.Is(err, errTest) && !errors.Is(err, context.Canceled):
			t.Errorf("%d bytes at %d of %s: %v", n, off, o.key, err)
		case err == nil && out.FromMemory+out.FromDisk+out.Shared > int64(n):
			t.Errorf("%d bytes: outcome %+v", n, out)
		}
		if rnd.IntN(100) == 0 {
			c.Forget(o.key, int64(len(o.data)))
		}
	}
	return sum
}

func TestOutcome(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20})
	o := newObject("k", 10*testPage+7)
	f := func(off, n int, want Outcome) {
		t.Helper()
		if have := read(t, c, o, off, n); have != want {
			t.Errorf("%d at %d: want %+v, have %+v", n, off, want, have)
		}
	}
	f(0, 0, Outcome{})
	f(10*testPage+7, 0, Outcome{})
	f(10, 20, Outcome{Misses: 1, Fetched: testPage, Loads: 1})
	f(10, 20, Outcome{Hits: 1, FromMemory: 20})
	f(testPage-1, 2, Outcome{Hits: 1, Misses: 1, FromMemory: 1, Fetched: testPage, Loads: 1})
	f(10*testPage, 7, Outcome{Misses: 1, Fetched: 7, Loads: 1})
	f(5*testPage, testPage, Outcome{Misses: 1, Fetched: testPage, Loads: 1})
	f(0, len(o.data), Outcome{Hits: 4, Misses: 7, FromMemory: 3*testPage + 7, Fetched: 7 * testPage, Loads: 2})
	f(0, len(o.data), Outcome{Hits: 11, FromMemory: int64(len(o.data))})
}

// TestNeighbours: missing neighbours are one load, and the loads of a Read are made side by side.
func TestNeighbours(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20})
	o := newObject("k", 9*testPage)
	read(t, c, o, 2*testPage, testPage)
	read(t, c, o, 6*testPage, 1)
	var mu sync.Mutex
	var have [][2]int64
	all := make(chan struct{})
	readWith(t, c, o, 1, 9*testPage-1, func(ctx context.Context, off int64, p []byte) error {
		mu.Lock()
		if have = append(have, [2]int64{off / testPage, int64(len(p)) / testPage}); len(have) == 3 {
			close(all)
		}
		mu.Unlock()
		<-all // none returns before the others have come
		return o.load(ctx, off, p)
	})
	slices.SortFunc(have, func(a, b [2]int64) int { return int(a[0] - b[0]) })
	if want := [][2]int64{{0, 2}, {3, 3}, {7, 2}}; !slices.Equal(have, want) {
		t.Errorf("first page and number of pages: want %v, have %v", want, have)
	}
}

// gate is a load that waits to be let through.
type gate struct {
	o       *object
	open    chan error
	started chan struct{}
	ended   chan error
}

func newGate(o *object) *gate {
	return &gate{o, make(chan error), make(chan struct{}, 10), make(chan error, 10)}
}

func (g *gate) load(ctx context.Context, off int64, p []byte) (err error) {
	g.started <- struct{}{}
	defer func() { g.ended <- err }()
	select {
	case err := <-g.open:
		if err != nil {
			return err
		}
		return g.o.load(ctx, off, p)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// result of a Read in a goroutine.
type result struct {
	p   []byte
	out Outcome
	err error
}

func goRead(ctx context.Context, c *Cache, o *object, off, n int, load Load) <-chan result {
	ch := make(chan result, 1)
	go func() {
		p := make([]byte, n)
		out, err := c.Read(ctx, o.key, int64(len(o.data)), int64(off), p, load)
		ch <- result{p, out, err}
	}()
	return ch
}

func TestSingleFlight(t *testing.T) {
	for _, memory := range []int64{0, 1 << 20} {
		c := newCache(t, Config{Memory: memory})
		o := newObject("k", 4*testPage)
		g := newGate(o)
		results := []<-chan result{goRead(t.Context(), c, o, 0, 3*testPage, g.load)}
		<-g.started
		for range 9 {
			results = append(results, goRead(t.Context(), c, o, testPage, testPage, g.load))
		}
		until(t, "ten readers", func() bool { return holds(c, o, 1) == 3+9 })
		if have := c.Stats().Fetching; have != 3*testPage {
			t.Errorf("fetching %d", have)
		}
		g.open <- nil
		var sum Outcome
		for i, ch := range results {
			r := <-ch
			want := o.data[testPage:][:testPage]
			if i == 0 {
				want = o.data[:3*testPage]
			}
			if r.err != nil || !bytes.Equal(r.p, want) {
				t.Errorf("reader %d: wrong, or %v", i, r.err)
			}
			sum = sum.plus(r.out)
		}
		if want := (Outcome{Hits: 9, Misses: 3, Shared: 9 * testPage, Fetched: 3 * testPage, Loads: 1}); sum != want {
			t.Errorf("want %+v, have %+v", want, sum)
		}
		if n := o.loads.Load(); n != 1 {
			t.Errorf("%d loads", n)
		}
	}
}

// TestWaiterLeaves: a reader leaves when its ctx ends, whether it began the fetch or not, and the others get their bytes.
func TestWaiterLeaves(t *testing.T) {
	for _, starter := range []bool{true, false} {
		c := newCache(t, Config{Memory: 1 << 20})
		o := newObject("k", testPage)
		g := newGate(o)
		firstCtx, leaveFirst := context.WithCancel(t.Context())
		secondCtx, leaveSecond := context.WithCancel(t.Context())
		first := goRead(firstCtx, c, o, 0, testPage, g.load)
		<-g.started
		second := goRead(secondCtx, c, o, 0, testPage, g.load)
		until(t, "both", func() bool { return holds(c, o, 0) == 2 })
		leaves, stays := second, first
		if starter {
			leaveFirst()
			leaves, stays = first, second
		} else {
			leaveSecond()
		}
		if r := <-leaves; !errors.Is(r.err, context.Canceled) || !strings.Contains(r.err.Error(), "read k") {
			t.Errorf("who leaves gets %v", r.err)
		}
		g.open <- nil
		if r := <-stays; r.err != nil || !bytes.Equal(r.p, o.data) {
			t.Errorf("who stays gets %v", r.err)
		}
		if err := <-g.ended; err != nil {
			t.Errorf("the load ended with %v", err)
		}
		leaveFirst()
		leaveSecond()
	}
}

// TestLastWaiterLeaves: then the load is canceled, and the next reader begins another one at once.
func TestLastWaiterLeaves(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20})
	o := newObject("k", 3*testPage)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	stubborn := func(ctx context.Context, off int64, p []byte) error {
		cancel()
		<-ctx.Done()
		<-release
		for i := range p {
			p[i] = 'x' // what nobody waits for is not kept
		}
		return nil
	}
	r := <-goRead(ctx, c, o, 0, len(o.data), stubborn)
	if !errors.Is(r.err, context.Canceled) {
		t.Errorf("have %v", r.err)
	}
	if out := read(t, c, o, 0, len(o.data)); out.Loads != 1 || out.Misses != 3 {
		t.Errorf("the next reader: %+v", out)
	}
	close(release)
	until(t, "the first load", func() bool { return c.Stats().Fetching == 0 })
	if out := read(t, c, o, 0, len(o.data)); out.FromMemory != int64(len(o.data)) {
		t.Errorf("after both: %+v", out)
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20, Dir: t.TempDir()})
	o := newObject("k", 2*testPage)
	g := newGate(o)
	first := goRead(t.Context(), c, o, 0, len(o.data), g.load)
	<-g.started
	second := goRead(t.Context(), c, o, testPage+1, 3, g.load)
	until(t, "both", func() bool { return holds(c, o, 1) == 3 })
	g.open <- fmt.Errorf("get k: %w", errTest)
	for _, ch := range []<-chan result{first, second} {
		if r := <-ch; !errors.Is(r.err, errTest) || r.out.Fetched != 0 {
			t.Errorf("have %v, %+v", r.err, r.out)
		}
	}
	if s := c.Stats(); s.Memory.Pages != 0 || s.Fetching != 0 {
		t.Errorf("an error is held: %+v", s)
	}
	if out := read(t, c, o, 0, len(o.data)); out.Loads != 1 || out.Misses != 2 {
		t.Errorf("the next reader: %+v", out)
	}
}

func TestBadRanges(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20})
	f := func(key string, size, off int64, n int, want string, is error) {
		t.Helper()
		_, err := c.Read(t.Context(), key, size, off, make([]byte, n), func(context.Context, int64, []byte) error {
			t.Error("loaded")
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
			t.Errorf("%d at %d of %d: %v", n, off, size, err)
		}
	}
	f("k", 10, 11, 0, "11 of an object of 10", io.ErrUnexpectedEOF)
	f("k", 10, 5, 6, "6 bytes at 5 of an object of 10", io.ErrUnexpectedEOF)
	f("k", 1<<63-1, 1<<63-2, 2, "object of", io.ErrUnexpectedEOF)
	f("k", 10, -1, 1, "negative", nil)
	f("k", -1, 0, 0, "negative", nil)
	f(strings.Repeat("k", maxKey+1), 10, 0, 1, "at most 4096", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Read(ctx, "k", 10, 0, make([]byte, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

// TestObjectsAreApart: other keys, and other sizes under the same key, are other objects.
func TestObjectsAreApart(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20, Dir: t.TempDir()})
	for _, o := range []*object{newObject("a", 10), newObject("b", 10), newObject("b", 11), newObject("bb", 10), newObject("", 5)} {
		if out := read(t, c, o, 0, len(o.data)); out.Loads != 1 {
			t.Errorf("%q: %+v", o.key, out)
		}
	}
}

func TestForget(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20, Dir: t.TempDir()})
	bad, other := newObject("bad", 5*testPage+1), newObject("other", testPage)
	readAll(t, c, bad)
	readAll(t, c, other)
	g := newGate(newObject("bad", 7))
	flying := goRead(t.Context(), c, g.o, 0, 7, g.load)
	<-g.started
	c.Forget("bad", 7)
	c.Forget("bad", int64(len(bad.data)))
	g.open <- nil
	if r := <-flying; r.err != nil {
		t.Error(r.err)
	}
	written(t, c)
	if s := c.Stats(); s.Memory.Pages != 1 || s.Disk.Pages != 1 {
		t.Errorf("held after all: %+v", s)
	}
	if n := len(files(t, c.disk.dir)); n != 1 {
		t.Errorf("%d files", n)
	}
	if out := readAll(t, c, bad); out.Loads != 6 {
		t.Errorf("have %+v", out)
	}
	if out := readAll(t, c, other); out.Loads != 0 {
		t.Errorf("have %+v", out)
	}
	checkMemory(t, &c.memory)
}

func TestClose(t *testing.T) {
	c := newCache(t, Config{Memory: 1 << 20, Dir: t.TempDir()})
	o := newObject("k", 2*testPage)
	read(t, c, o, 0, testPage)
	g := newGate(o)
	var waiting []<-chan result
	for range 3 {
		waiting = append(waiting, goRead(t.Context(), c, o, 0, len(o.data), g.load))
	}
	<-g.started
	until(t, "all three", func() bool { return holds(c, o, 1) == 3 })
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, ch := range waiting {
		if r := <-ch; !errors.Is(r.err, ErrClosed) {
			t.Errorf("who waits gets %v", r.err)
		}
	}
	all.Wait()
	if err := <-g.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the load ended with %v", err)
	}
	if _, err := c.Read(t.Context(), o.key, 2*testPage, 0, make([]byte, 1), o.load); !errors.Is(err, ErrClosed) {
		t.Errorf("a later reader gets %v", err)
	}
	if n := len(files(t, c.disk.dir)); n != 1 {
		t.Errorf("%d files: what was queued was not written", n)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	f := func(cfg Config, want ...string) {
		t.Helper()
		c, err := New(cfg)
		if err == nil {
			c.Close()
			t.Errorf("%+v is taken", cfg)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q lacks %q", err, w)
			}
		}
	}
	f(Config{PageSize: 511}, "PageSize is 511", "512")
	f(Config{PageSize: -1}, "PageSize")
	f(Config{PageSize: 16<<20 + 1}, "PageSize")
	f(Config{Memory: -1}, "Memory is -1", "or 0")
	f(Config{Memory: 128 << 10}, "Memory is 131072: want at least")
	f(Config{Disk: 1 << 40}, "set Dir")
	f(Config{Dir: dir}, "Disk is 0", "want at least", "empty Dir")
	f(Config{Dir: dir, Disk: 100 << 20}, "Disk is 104857600")
	f(Config{Dir: dir, Disk: -1}, "Disk is -1")
	if n := len(files(t, dir)); n != 0 {
		t.Errorf("%d files are left", n)
	}
	c, err := New(Config{Dir: filepath.Join(dir, "new", "folders"), Disk: 1 << 30, Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	closeCache(t, c)
}
