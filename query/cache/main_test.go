package cache

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPage = 512

// object is one to be read, and counts what is loaded of it.
type object struct {
	key   string
	data  []byte
	loads atomic.Int64
	bytes atomic.Int64
}

func newObject(key string, size int) *object {
	o := &object{key: key, data: make([]byte, size)}
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(len(key))))
	for i := range o.data {
		o.data[i] = byte(rnd.Uint32())
	}
	return o
}

func (o *object) load(_ context.Context, off int64, p []byte) error {
	o.loads.Add(1)
	o.bytes.Add(int64(len(p)))
	if n := copy(p, o.data[off:]); n < len(p) {
		return fmt.Errorf("load of %d at %d goes beyond the %d bytes", len(p), off, len(o.data))
	}
	return nil
}

// newCache makes a cache with small pages, which looks through its folder at once.
func newCache(t testing.TB, cfg Config) *Cache {
	t.Helper()
	if cfg.PageSize == 0 {
		cfg.PageSize = testPage
	}
	if cfg.Dir != "" && cfg.Disk == 0 {
		cfg.Disk = 64 << 20
	}
	cfg.pace = time.Nanosecond
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeCache(t, c) })
	return c
}

func closeCache(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Fetching != 0 {
		t.Errorf("closed while %d bytes are being fetched", s.Fetching)
	}
}

// read reads a range with the object's own load, and sees that it is right.
func read(t testing.TB, c *Cache, o *object, off, n int) Outcome {
	t.Helper()
	return readWith(t, c, o, off, n, o.load)
}

func readWith(t testing.TB, c *Cache, o *object, off, n int, load Load) Outcome {
	t.Helper()
	p := make([]byte, n)
	out, err := c.Read(t.Context(), o.key, int64(len(o.data)), int64(off), p, load)
	if err != nil {
		t.Fatalf("read %d bytes at %d of %s: %v", n, off, o.key, err)
	}
	if string(p) != string(o.data[off:off+n]) {
		t.Fatalf("read %d bytes at %d of %s: other bytes", n, off, o.key)
	}
	return out
}

// readAll reads an object page by page.
func readAll(t testing.TB, c *Cache, o *object) (sum Outcome) {
	t.Helper()
	for off := 0; off < len(o.data); off += int(c.pageSize) {
		sum = sum.plus(read(t, c, o, off, min(int(c.pageSize), len(o.data)-off)))
	}
	return sum
}

func (out Outcome) plus(o Outcome) Outcome {
	return Outcome{out.Hits + o.Hits, out.Misses + o.Misses, out.FromMemory + o.FromMemory, out.FromDisk + o.FromDisk,
		out.Shared + o.Shared, out.Fetched + o.Fetched, out.Loads + o.Loads}
}

// until waits for a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	poll := time.NewTicker(100 * time.Microsecond)
	defer poll.Stop()
	for !cond() {
		select {
		case <-poll.C:
		case <-t.Context().Done():
			t.Fatal("waited in vain for " + what)
		}
	}
}

// written waits until nothing is queued for the disk.
func written(t testing.TB, c *Cache) {
	t.Helper()
	until(t, "the writer", func() bool {
		c.disk.mu.Lock()
		defer c.disk.mu.Unlock()
		return len(c.disk.queued) == 0
	})
}

// holds is how many Reads want the page n of the object on its way.
func holds(c *Cache, o *object, n int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.flights[pageID{o.key, int64(len(o.data)), n}]; w != nil {
		return w.fetch.holds
	}
	return 0
}

// files returns the paths of all files below dir.
func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) lines() int { return strings.Count(l.String(), "\n") }

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
