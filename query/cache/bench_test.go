package cache

import (
	"cmp"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// logs is an object of at most 64 MiB of the logs that CORPORA names, or of the sample that the project ships.
func logs(b *testing.B) *object {
	b.Helper()
	paths, err := filepath.Glob(filepath.Join(cmp.Or(os.Getenv("CORPORA"), "../../testdata/sample"), "*.log"))
	if err != nil || len(paths) == 0 {
		b.Fatalf("no logs (%v): set CORPORA to a folder of NAME.log files", err)
	}
	o := &object{key: "bench/2026-01-01/01JD0000000000000000000000-01JD0000000000000000000001.zst"}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		if o.data = append(o.data, text...); len(o.data) > 64<<20 {
			o.data = o.data[:64<<20]
			break
		}
	}
	return o
}

// benchReads reads blocks of 200 KB here and there.
func benchReads(b *testing.B, c *Cache, o *object, check func(sum Outcome)) {
	n := min(200_000, len(o.data))
	load := func(_ context.Context, off int64, p []byte) error {
		copy(p, o.data[off:])
		return nil
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, n)
	b.SetBytes(int64(n))
	b.ReportAllocs()
	var sum Outcome
	for b.Loop() {
		out, err := c.Read(b.Context(), o.key, int64(len(o.data)), rnd.Int64N(int64(len(o.data)-n)+1), p, load)
		if err != nil {
			b.Fatal(err)
		}
		sum = sum.plus(out)
	}
	check(sum)
}

func fill(b *testing.B, c *Cache, o *object) {
	for off := 0; off < len(o.data); off += 4 << 20 {
		read(b, c, o, off, min(4<<20, len(o.data)-off))
		if c.disk != nil {
			written(b, c)
		}
	}
}

func BenchmarkHitMemory(b *testing.B) {
	c, o := newCache(b, Config{Memory: 128 << 20, PageSize: usualPageSize}), logs(b)
	fill(b, c, o)
	benchReads(b, c, o, func(sum Outcome) {
		if sum.Misses > 0 {
			b.Errorf("have %+v", sum)
		}
	})
}

// BenchmarkHitDisk reads files that are in the operating system's cache.
func BenchmarkHitDisk(b *testing.B) {
	c, o := newCache(b, Config{Dir: b.TempDir(), Disk: 1 << 30, PageSize: usualPageSize}), logs(b)
	fill(b, c, o)
	benchReads(b, c, o, func(sum Outcome) {
		if sum.Misses > 0 || sum.FromMemory > 0 {
			b.Errorf("have %+v", sum)
		}
	})
}

// BenchmarkMiss loads everything, from a loader that only copies.
func BenchmarkMiss(b *testing.B) {
	f := func(cfg Config) func(*testing.B) {
		return func(b *testing.B) {
			if cfg.Disk > 0 {
				cfg.Dir = b.TempDir()
			}
			cfg.PageSize = usualPageSize
			c, o := newCache(b, cfg), logs(b)
			benchReads(b, c, o, func(sum Outcome) {
				if sum.Loads == 0 {
					b.Errorf("have %+v", sum)
				}
			})
		}
	}
	b.Run("nothing kept", f(Config{}))
	b.Run("memory", f(Config{Memory: 2 << 20}))
}
