package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
)

// Run tests that the buckets that empty returns, new and empty each, keep the contract of
// objstore.Bucket.
func Run(t *testing.T, empty func(t *testing.T) objstore.Bucket) {
	for _, c := range []struct {
		name string
		f    func(*testing.T, objstore.Bucket)
	}{
		{"PutGet", testPutGet},
		{"Ranges", testRanges},
		{"Replace", testReplace},
		{"Absent", testAbsent},
		{"BadKeys", testBadKeys},
		{"BadArguments", testBadArguments},
		{"ShortBody", testShortBody},
		{"Create", testCreate},
		{"CreateRace", testCreateRace},
		{"WholeOrNot", testWholeOrNot},
		{"ListOrder", testListOrder},
		{"ListRandom", testListRandom},
		{"ListPages", testListPages},
		{"ListBreak", testListBreak},
		{"Delete", testDelete},
		{"Canceled", testCanceled},
		{"Parallel", testParallel},
		{"ReaderAt", testReaderAt},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, empty(t)) })
	}
}

// Bytes returns n bytes that differ from place to place, by seed.
func Bytes(n int, seed uint64) []byte {
	p := make([]byte, n)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.NewChaCha8(key).Read(p)
	return p
}

// MustPut puts data and fails the test if that fails.
func MustPut(t testing.TB, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

// ReadAll returns the whole object, by Stat and Get.
func ReadAll(ctx context.Context, b objstore.Bucket, key string) ([]byte, error) {
	info, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	p := make([]byte, info.Size)
	n, err := b.Get(ctx, key, 0, p)
	return p[:n], err
}

// Keys returns the keys of a listing, those before an error with the error.
func Keys(ctx context.Context, b objstore.Bucket, prefix, after string) ([]string, error) {
	var keys []string
	for info, err := range b.List(ctx, prefix, after) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

func wantObject(t *testing.T, b objstore.Bucket, key string, want []byte) {
	t.Helper()
	have, err := ReadAll(t.Context(), b, key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Fatalf("%s: have %d bytes that differ from the %d bytes put", key, len(have), len(want))
	}
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("have error %v, want %v", err, want)
	}
}

func testPutGet(t *testing.T, b objstore.Bucket) {
	start := time.Now()
	for i, size := range []int{0, 1, 100, 32<<10 + 1, 1 << 20, 5<<20 + 7, 17 << 20} {
		key := fmt.Sprintf("t/2026-01-01/size=%d.zst", size)
		data := Bytes(size, uint64(i))
		MustPut(t, b, key, data)
		wantObject(t, b, key, data)
		info, err := b.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if info.Key != key || info.Size != int64(size) {
			t.Errorf("have %+v, want key %s, size %d", info, key, size)
		}
		if d := info.Modified.Sub(start); d < -time.Hour || d > time.Hour {
			t.Errorf("modified at %s, which is not now", info.Modified)
		}
	}
}

func testRanges(t *testing.T, b objstore.Bucket) {
	data := Bytes(1000, 1)
	MustPut(t, b, "r/object", data)
	MustPut(t, b, "r/empty", nil)
	for _, c := range []struct {
		off  int64
		n    int
		want int
	}{
		{0, 1, 1}, {0, 1000, 1000}, {999, 1, 1}, {500, 500, 500}, {1, 998, 998},
		{0, 1001, 1000}, {500, 501, 500}, {999, 2, 1}, {1000, 1, 0}, {5000, 10, 0}, {1 << 60, 10, 0}, {1<<63 - 1, 10, 0},
		{0, 0, 0}, {1000, 0, 0}, {5000, 0, 0},
	} {
		p := make([]byte, c.n)
		n, err := b.Get(t.Context(), "r/object", c.off, p)
		if n != c.want {
			t.Errorf("Get(off %d, len %d) = %d, want %d", c.off, c.n, n, c.want)
			continue
		}
		if n < c.n && !errors.Is(err, io.ErrUnexpectedEOF) || n == c.n && err != nil {
			t.Errorf("Get(off %d, len %d): error %v", c.off, c.n, err)
		}
		if n > 0 && !bytes.Equal(p[:n], data[c.off:c.off+int64(n)]) {
			t.Errorf("Get(off %d, len %d): wrong bytes", c.off, c.n)
		}
	}
	if n, err := b.Get(t.Context(), "r/empty", 0, make([]byte, 1)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Get of an empty object = %d, %v", n, err)
	}
	if n, err := b.Get(t.Context(), "r/empty", 0, nil); n != 0 || err != nil {
		t.Errorf("Get of nothing of an empty object = %d, %v", n, err)
	}
}

func testReplace(t *testing.T, b objstore.Bucket) {
	for i, size := range []int{100, 200, 0, 50} {
		data := Bytes(size, uint64(i))
		MustPut(t, b, "a/b/c", data)
		wantObject(t, b, "a/b/c", data)
	}
	keys, err := Keys(t.Context(), b, "", "")
	if err != nil || !slices.Equal(keys, []string{"a/b/c"}) {
		t.Fatalf("have keys %q, %v", keys, err)
	}
}

func testAbsent(t *testing.T, b objstore.Bucket) {
	MustPut(t, b, "folder/object", []byte("x"))
	for _, key := range []string{"nothing", "no/thing", "folder", "folder/object2", "folder/object/below"} {
		_, err := b.Get(t.Context(), key, 0, make([]byte, 1))
		wantIs(t, err, objstore.ErrNotFound)
		_, err = b.Get(t.Context(), key, 0, nil)
		wantIs(t, err, objstore.ErrNotFound)
		_, err = b.Get(t.Context(), key, 1<<62, make([]byte, 1))
		wantIs(t, err, objstore.ErrNotFound)
		_, err = b.Stat(t.Context(), key)
		wantIs(t, err, objstore.ErrNotFound)
		if !strings.Contains(err.Error(), key) {
			t.Errorf("the error %q does not name the key %q", err, key)
		}
	}
}

func testBadKeys(t *testing.T, b objstore.Bucket) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", ".tmp/x", "a\x00b", "a b", "ä", "a\\b", strings.Repeat("k", 256)} {
		wantIs(t, b.Put(t.Context(), key, strings.NewReader("x"), 1), objstore.ErrBadKey)
		wantIs(t, b.Create(t.Context(), key, strings.NewReader("x"), 1), objstore.ErrBadKey)
		_, err := b.Get(t.Context(), key, 0, make([]byte, 1))
		wantIs(t, err, objstore.ErrBadKey)
		_, err = b.Stat(t.Context(), key)
		wantIs(t, err, objstore.ErrBadKey)
		wantIs(t, b.Delete(t.Context(), key), objstore.ErrBadKey)
	}
	for _, prefix := range []string{"..", "../", "a/../", "/", "a//b", ".tmp/"} {
		if keys, err := Keys(t.Context(), b, prefix, ""); len(keys) != 0 || err != nil {
			t.Errorf("listing %q: have %q, %v", prefix, keys, err)
		}
	}
}

func testBadArguments(t *testing.T, b objstore.Bucket) {
	MustPut(t, b, "object", []byte("x"))
	if _, err := b.Get(t.Context(), "object", -1, make([]byte, 1)); err == nil {
		t.Error("a negative offset is no error")
	}
	if err := b.Put(t.Context(), "object", strings.NewReader("x"), -1); err == nil {
		t.Error("a negative size is no error")
	}
	wantObject(t, b, "object", []byte("x"))
}

// brokenBody fails at an offset.
type brokenBody struct {
	data []byte
	at   int64
	err  error
}

func (b brokenBody) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, b.err
	}
	return bytes.NewReader(b.data).ReadAt(p, off)
}

func testShortBody(t *testing.T, b objstore.Bucket) {
	if err := b.Put(t.Context(), "short", strings.NewReader("four"), 5); err == nil {
		t.Error("a body shorter than its size is no error")
	}
	failure := errors.New("disk on fire")
	data := Bytes(3<<20, 1)
	err := b.Put(t.Context(), "short", brokenBody{data, 2 << 20, failure}, int64(len(data)))
	wantIs(t, err, failure)
	err = b.Create(t.Context(), "short", brokenBody{data, 2 << 20, failure}, int64(len(data)))
	wantIs(t, err, failure)
	_, err = b.Stat(t.Context(), "short")
	wantIs(t, err, objstore.ErrNotFound)
	// A body longer than its size is cut.
	if err := b.Put(t.Context(), "short", strings.NewReader("fourteen"), 4); err != nil {
		t.Fatal(err)
	}
	wantObject(t, b, "short", []byte("four"))
}

func testCreate(t *testing.T, b objstore.Bucket) {
	for i, size := range []int{0, 1, 18 << 20} { // the last one would go in parts, and lose the condition
		key := fmt.Sprintf("c/%d", size)
		data := Bytes(size, uint64(i))
		if err := b.Create(t.Context(), key, bytes.NewReader(data), int64(size)); err != nil {
			t.Fatal(err)
		}
		wantObject(t, b, key, data)
		other := Bytes(size+1, 99)
		wantIs(t, b.Create(t.Context(), key, bytes.NewReader(other), int64(len(other))), objstore.ErrExists)
		wantIs(t, b.Create(t.Context(), key, bytes.NewReader(data), int64(size)), objstore.ErrExists)
		wantObject(t, b, key, data)
	}
	if err := b.Delete(t.Context(), "c/1"); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "c/1", strings.NewReader("again"), 5); err != nil {
		t.Fatal(err)
	}
	wantObject(t, b, "c/1", []byte("again"))
}

func testCreateRace(t *testing.T, b objstore.Bucket) {
	const racers = 16
	for round := range 4 {
		key := fmt.Sprintf("race/%d", round)
		var winners atomic.Int64
		var winner atomic.Int64
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range racers {
			all.Go(func() {
				data := Bytes(1000+i, uint64(i))
				<-start
				err := b.Create(t.Context(), key, bytes.NewReader(data), int64(len(data)))
				switch {
				case err == nil:
					winners.Add(1)
					winner.Store(int64(i))
				case !errors.Is(err, objstore.ErrExists):
					t.Errorf("a loser has the error %v", err)
				}
			})
		}
		close(start)
		all.Wait()
		if winners.Load() != 1 {
			t.Fatalf("have %d winners, want 1", winners.Load())
		}
		wantObject(t, b, key, Bytes(1000+int(winner.Load()), uint64(winner.Load())))
	}
}

// testWholeOrNot reads an object over and over while it is written: each time all of one
// version is there, or nothing.
func testWholeOrNot(t *testing.T, b objstore.Bucket) {
	const size = 1 << 20
	versions := [2][]byte{bytes.Repeat([]byte{'0'}, size), bytes.Repeat([]byte{'1'}, size)}
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		p := make([]byte, size)
		for {
			n, err := b.Get(t.Context(), "w/object", 0, p)
			if err == nil && !bytes.Equal(p, versions[0]) && !bytes.Equal(p, versions[1]) {
				t.Errorf("a read shows a mixture of two versions")
				return
			}
			if err != nil && (n != 0 || !errors.Is(err, objstore.ErrNotFound)) {
				t.Errorf("read: %d, %v", n, err)
				return
			}
			for info, err := range b.List(t.Context(), "w/", "") {
				if err != nil || info.Key != "w/object" || info.Size != size {
					t.Errorf("listing shows %+v, %v", info, err)
					return
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 20 {
		MustPut(t, b, "w/object", versions[i%2])
	}
	close(done)
	reader.Wait()
}

func testListOrder(t *testing.T, b objstore.Bucket) {
	want := []string{
		"A", "B/x", "a-b", "a-b-c", "a.b", "a/b-", "a/b-c/x", "a/b.c", "a/b/c", "a/b/c-", "a/b0", "a0", "a=", "a_", "aa/a",
		"b/2026-01-01/00/x.zst", "b/2026-01-01/01/y.zst", "b/2026-01-01/x.zst", "b/2026-01-02/x.zst",
	}
	if !slices.IsSorted(want) {
		t.Fatal("the test itself is out of order")
	}
	sizes := map[string]int64{}
	for i, k := range rand.Perm(len(want)) {
		MustPut(t, b, want[k], Bytes(i, 1))
		sizes[want[k]] = int64(i)
	}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != sizes[info.Key] || info.Modified.IsZero() {
			t.Errorf("%+v: want size %d and a time", info, sizes[info.Key])
		}
	}
	prefixes := []string{"", "a", "a/", "a/b", "a/b/", "a/b/c", "a-", "b/2026-01-01/", "b/2026-01-0", "b/2026-01-03", "nothing", "nothing/at/all", "A", "a/b/c/", "z"}
	afters := append([]string{"", "a", "a/", "a/b", "a/b-c", "a/b/", "a/b/zzz", "b", "b/2026-01-01/01", "zzz", "-", "a/b/c/d", "\xff", "b/2026-01-01/~", "a/..", ".", "a//", "a/b/.."}, want...)
	for _, prefix := range prefixes {
		for _, after := range afters {
			var expect []string
			for _, k := range want {
				if strings.HasPrefix(k, prefix) && k > after {
					expect = append(expect, k)
				}
			}
			have, err := Keys(t.Context(), b, prefix, after)
			if err != nil {
				t.Fatalf("list prefix %q after %q: %v", prefix, after, err)
			}
			if !slices.Equal(have, expect) {
				t.Errorf("list prefix %q after %q:\nhave %q\nwant %q", prefix, after, have, expect)
			}
		}
	}
}

// testListRandom compares listings of drawn keys with those of a Memory.
func testListRandom(t *testing.T, b objstore.Bucket) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	model := objstore.NewMemory("model", time.Now)
	const alphabet = "ab-._=0A"
	draw := func() string {
		var parts []string
		for range 1 + rng.IntN(4) {
			part := make([]byte, 1+rng.IntN(2))
			for i := range part {
				part[i] = alphabet[rng.IntN(len(alphabet))]
			}
			parts = append(parts, string(part))
		}
		return strings.Join(parts, "/")
	}
	for model.Len() < 150 {
		key := draw()
		if model.Put(t.Context(), key, strings.NewReader(key), int64(len(key))) != nil {
			continue // it is no key, or a folder, or below an object
		}
		MustPut(t, b, key, []byte(key))
	}
	for range 60 {
		prefix, after := "", ""
		if rng.IntN(3) > 0 {
			prefix = draw()
			prefix = prefix[:rng.IntN(len(prefix)+1)]
		}
		if rng.IntN(3) > 0 {
			after = draw()
		}
		want, err := Keys(t.Context(), model, prefix, after)
		if err != nil {
			t.Fatal(err)
		}
		have, err := Keys(t.Context(), b, prefix, after)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(have, want) {
			t.Fatalf("list prefix %q after %q:\nhave %q\nwant %q", prefix, after, have, want)
		}
	}
}

func testListPages(t *testing.T, b objstore.Bucket) {
	const n = 2100 // more than two pages of S3
	var all errs
	for w := range 8 {
		all.Go(func() error {
			for i := w; i < n; i += 8 {
				if err := b.Put(t.Context(), fmt.Sprintf("p/%d/%06d", i/1500, i), strings.NewReader("x"), 1); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, after := range []int{-1, 0, 998, 999, 1000, 1499, 2098, 2099} {
		start := ""
		if after >= 0 {
			start = fmt.Sprintf("p/%d/%06d", after/1500, after)
		}
		i := after
		for info, err := range b.List(t.Context(), "p/", start) {
			if err != nil {
				t.Fatal(err)
			}
			i++
			if want := fmt.Sprintf("p/%d/%06d", i/1500, i); info.Key != want {
				t.Fatalf("have %s, want %s", info.Key, want)
			}
		}
		if i != n-1 {
			t.Fatalf("the listing after %q ended at %d of %d", start, i, n)
		}
	}
}

func testListBreak(t *testing.T, b objstore.Bucket) {
	for i := range 5 {
		MustPut(t, b, fmt.Sprintf("k%d", i), nil)
	}
	for stop := range 5 {
		n := 0
		for _, err := range b.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > stop {
				break
			}
		}
		if n != stop+1 {
			t.Fatalf("have %d keys, want to stop at %d", n, stop+1)
		}
	}
	// An iterator may be used more than once.
	list := b.List(t.Context(), "", "k2")
	for range 2 {
		var keys []string
		for info, err := range list {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Key)
		}
		if !slices.Equal(keys, []string{"k3", "k4"}) {
			t.Fatalf("have %q", keys)
		}
	}
}

func testDelete(t *testing.T, b objstore.Bucket) {
	for _, key := range []string{"d/x/1", "d/x/2", "d/y"} {
		MustPut(t, b, key, []byte(key))
	}
	for _, key := range []string{"d/x/1", "d/x/1", "nothing", "no/thing", "d/x", "d/y/below"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Stat(t.Context(), "d/x/1")
	wantIs(t, err, objstore.ErrNotFound)
	keys, err := Keys(t.Context(), b, "", "")
	if err != nil || !slices.Equal(keys, []string{"d/x/2", "d/y"}) {
		t.Fatalf("have %q, %v", keys, err)
	}
	// A folder that has lost its last object does not stand in the way of an object.
	if err := b.Delete(t.Context(), "d/x/2"); err != nil {
		t.Fatal(err)
	}
	MustPut(t, b, "d/x", []byte("object"))
	wantObject(t, b, "d/x", []byte("object"))
}

func testCanceled(t *testing.T, b objstore.Bucket) {
	MustPut(t, b, "object", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// In the middle of a listing.
	var last error
	n := 0
	MustPut(t, b, "object2", []byte("x"))
	for _, err := range b.List(ctx, "", "") {
		last = err
		n++
		cancel()
	}
	wantIs(t, last, context.Canceled)
	if n > 2 {
		t.Errorf("a listing yields %d pairs after its context is done", n-1)
	}
	wantIs(t, b.Put(ctx, "object3", strings.NewReader("y"), 1), context.Canceled)
	wantIs(t, b.Create(ctx, "object3", strings.NewReader("y"), 1), context.Canceled)
	_, err := b.Get(ctx, "object", 0, make([]byte, 1))
	wantIs(t, err, context.Canceled)
	_, err = b.Stat(ctx, "object")
	wantIs(t, err, context.Canceled)
	wantIs(t, b.Delete(ctx, "object"), context.Canceled)
	_, err = Keys(ctx, b, "", "")
	wantIs(t, err, context.Canceled)
	wantObject(t, b, "object", []byte("x"))
}

func testParallel(t *testing.T, b objstore.Bucket) {
	var all errs
	for w := range 16 {
		all.Go(func() error {
			for i := range 10 {
				key := fmt.Sprintf("par/%d/%d", i, w) // the folders are everybody's
				data := Bytes(1000+w, uint64(i))
				if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
					return err
				}
				have, err := ReadAll(t.Context(), b, key)
				if err != nil {
					return err
				}
				if !bytes.Equal(have, data) {
					return fmt.Errorf("%s: other bytes than were put", key)
				}
				keys, err := Keys(t.Context(), b, key, "")
				if err != nil {
					return err
				}
				if !slices.Contains(keys, key) {
					return fmt.Errorf("%s: put, but not listed", key)
				}
				if err := b.Delete(t.Context(), key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	keys, err := Keys(t.Context(), b, "", "")
	if err != nil || len(keys) != 0 {
		t.Fatalf("left over: %q, %v", keys, err)
	}
}

func testReaderAt(t *testing.T, b objstore.Bucket) {
	data := Bytes(100_000, 5)
	MustPut(t, b, "object", data)
	r := io.NewSectionReader(objstore.ReaderAt(t.Context(), b, "object"), 10, 1<<40)
	have, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(have, data[10:]) {
		t.Fatalf("have %d bytes, %v", len(have), err)
	}
	_, err = objstore.ReaderAt(t.Context(), b, "nothing").ReadAt(make([]byte, 1), 0)
	wantIs(t, err, objstore.ErrNotFound)
}

// errs waits for functions and joins their errors.
type errs struct {
	group sync.WaitGroup
	mu    sync.Mutex
	all   []error
}

func (e *errs) Go(f func() error) {
	e.group.Go(func() {
		if err := f(); err != nil {
			e.mu.Lock()
			e.all = append(e.all, err)
			e.mu.Unlock()
		}
	})
}

func (e *errs) Wait() error {
	e.group.Wait()
	return errors.Join(e.all...)
}
