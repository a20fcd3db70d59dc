package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// reopen closes a cache and makes another one in its folder, without memory.
func reopen(t testing.TB, c *Cache, cfg Config) *Cache {
	t.Helper()
	if c != nil {
		closeCache(t, c)
	}
	return newCache(t, cfg)
}

func TestDiskSurvives(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "cache")}
	c := newCache(t, cfg)
	o := newObject("a topic/%s/../\x00\xff", 300*testPage+9)
	read(t, c, o, 0, len(o.data))
	written(t, c)
	first := c.Stats()
	if d := first.Dropped; first.Disk.Pages+d != 301 || first.Disk.Pages == 0 {
		t.Errorf("have %+v", first)
	}
	c = reopen(t, c, cfg)
	out := readAll(t, c, o)
	if want := first.Disk.Pages; int64(out.Hits) != want || int64(out.Misses) != 301-want || out.FromDisk > want*testPage {
		t.Errorf("%d pages on disk: %+v", want, out)
	}
	written(t, c)
	c = reopen(t, c, cfg)
	if out := read(t, c, o, 1, len(o.data)-1); out.FromDisk != int64(len(o.data)-1) || out.Loads != 0 {
		t.Errorf("have %+v", out)
	}
	until(t, "the look through the folder", func() bool { return c.Stats().Disk.Pages == 301 })
	if have := c.Stats().Disk.Bytes; have != 301*fileUnit {
		t.Errorf("%d bytes", have)
	}
}

// TestDiskIsPrivate: nobody else can read it, and no name tells of a key.
func TestDiskIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := newCache(t, Config{Dir: dir})
	readAll(t, c, newObject("../../../secret", 20*testPage))
	closeCache(t, c)
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.Contains(path, "secret") {
			t.Errorf("a name: %s", path)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		if !e.IsDir() {
			n++
		}
		return nil
	})
	if err != nil || n != 20 {
		t.Errorf("%d files, %v", n, err)
	}
}

// damageFile makes a cache with one page on disk, lets f damage its file, and reads the page again, twice.
func damageFile(t *testing.T, o *object, what string, f func(path string, b []byte) error) {
	t.Helper()
	cfg := Config{Dir: t.TempDir()}
	c := newCache(t, cfg)
	readAll(t, c, o)
	written(t, c)
	path := files(t, cfg.Dir)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f(path, b); err != nil {
		t.Fatal(err)
	}
	if out := readAll(t, c, o); out.Misses != 1 {
		t.Errorf("%s: %+v", what, out)
	}
	if s := c.Stats(); s.Damaged != 1 || s.Failed != 0 {
		t.Errorf("%s: %+v", what, s)
	}
	written(t, c)
	if out := readAll(t, c, o); out.Hits != 1 {
		t.Errorf("%s: it is not replaced: %+v", what, out)
	}
}

func TestDamagedFiles(t *testing.T) {
	o := newObject("key", 50)
	size := int(fileSize(pageID{key: "key"}, 50))
	for i := range size {
		damageFile(t, o, fmt.Sprintf("bit flipped in byte %d", i), func(path string, b []byte) error {
			b[i] ^= 1 << (i % 8)
			return os.WriteFile(path, b, 0o600)
		})
		damageFile(t, o, fmt.Sprintf("cut to %d bytes", i), func(path string, b []byte) error { return os.Truncate(path, int64(i)) })
	}
	damageFile(t, o, "longer", func(path string, b []byte) error { return os.WriteFile(path, append(b, 0), 0o600) })
	damageFile(t, o, "zeros", func(path string, b []byte) error { clear(b); return os.WriteFile(path, b, 0o600) })
	damageFile(t, o, "a folder", func(path string, b []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) })
	// As if both had one hash: an intact file, of something else.
	for _, other := range []pageID{{"kez", 50, 0}, {"key", 50, 1}, {"key", 51, 0}} {
		damageFile(t, o, fmt.Sprintf("page %v", other), func(path string, b []byte) error {
			return os.WriteFile(path, append(appendHead(nil, other, testPage, o.data), o.data...), 0o600)
		})
	}
	damageFile(t, o, "page size", func(path string, b []byte) error {
		return os.WriteFile(path, append(appendHead(nil, pageID{"key", 50, 0}, testPage+1, o.data), o.data...), 0o600)
	})
	if runtime.GOOS != "windows" { // there it takes a privilege
		damageFile(t, o, "a link", func(path string, b []byte) error {
			elsewhere := filepath.Join(t.TempDir(), "file")
			return errors.Join(os.WriteFile(elsewhere, b, 0o600), os.Remove(path), os.Symlink(elsewhere, path))
		})
	}
}

func TestDamageIsSaidOnce(t *testing.T) {
	var log logBuffer
	cfg := Config{Dir: t.TempDir(), Logger: log.logger()}
	c := newCache(t, cfg)
	o := newObject("k", 10*testPage)
	readAll(t, c, o)
	written(t, c)
	for _, path := range files(t, cfg.Dir) {
		if err := os.Truncate(path, 7); err != nil {
			t.Fatal(err)
		}
	}
	if out := read(t, c, o, 0, len(o.data)); out.Misses != 10 || out.Loads != 1 {
		t.Errorf("have %+v", out)
	}
	if s := c.Stats(); s.Damaged != 10 || log.lines() != 1 || !strings.Contains(log.String(), "damaged") {
		t.Errorf("%+v, and the log says %s", s, &log)
	}
}

// TestCrash: what a process that was killed leaves, half files under their names and temporary ones.
func TestCrash(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	c := newCache(t, cfg)
	o := newObject("k", 8*testPage)
	readAll(t, c, o)
	closeCache(t, c)
	half := files(t, cfg.Dir)[0]
	if err := os.Truncate(half, 100); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(half)
	now := time.Now()
	for name, age := range map[string]time.Duration{"OLD.tmp": staleAfter + time.Minute, "YOUNG.tmp": 0, "somebody's notes": 24 * time.Hour} {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.WriteFile(path, []byte("half a p"), 0o600), os.Chtimes(path, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	c = reopen(t, nil, cfg)
	until(t, "the look through the folder", func() bool { return c.Stats().Disk.Pages == 8 })
	if out := readAll(t, c, o); out.Misses != 1 || out.Hits != 7 {
		t.Errorf("have %+v", out)
	}
	closeCache(t, c)
	var left []string
	for _, path := range files(t, cfg.Dir) {
		if len(filepath.Base(path)) != nameLength {
			left = append(left, filepath.Base(path))
		}
	}
	slices.Sort(left)
	if want := []string{"YOUNG.tmp", "somebody's notes"}; !slices.Equal(left, want) {
		t.Errorf("want %q, have %q", want, left)
	}
}

// onDisk is what the files take.
func onDisk(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, path := range files(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sum += blocks(info.Size())
	}
	return sum
}

func TestDiskBound(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Disk: leastDisk(testPage)}
	c := newCache(t, cfg)
	o := newObject("k", 4000*testPage)
	for off := 0; off < len(o.data); off += 50 * testPage {
		read(t, c, o, off, 50*testPage)
		written(t, c)
	}
	check := func(limit int64) {
		t.Helper()
		if have := onDisk(t, cfg.Dir); have > limit || have < limit/2 || have != c.Stats().Disk.Bytes {
			t.Errorf("%d bytes on disk, %d said, of at most %d", have, c.Stats().Disk.Bytes, limit)
		}
	}
	check(cfg.Disk)
	if s := c.Stats(); s.Dropped != 0 || s.Failed != 0 {
		t.Errorf("have %+v", s)
	}
	// The next one has more, and the one after that less room.
	small := cfg.Disk
	cfg.Disk *= 3
	c = reopen(t, c, cfg)
	for off := 0; off < len(o.data); off += 50 * testPage {
		read(t, c, o, off, 50*testPage)
		written(t, c)
	}
	lookAllAndClose(t, c)
	check(cfg.Disk)
	cfg.Disk = small
	c = newCache(t, cfg)
	lookAllAndClose(t, c)
	check(cfg.Disk)
}

// lookAllAndClose waits until all sets were looked through.
func lookAllAndClose(t *testing.T, c *Cache) {
	t.Helper()
	until(t, "all sets", func() bool {
		c.disk.mu.Lock()
		defer c.disk.mu.Unlock()
		for i := range c.disk.sets {
			if _, err := os.Stat(filepath.Join(c.disk.dir, fileName{byte(i)}.folder())); err == nil && !c.disk.sets[i].known {
				return false
			}
		}
		return true
	})
	closeCache(t, c)
}

func TestVictims(t *testing.T) {
	name := func(i int) fileName { return fileName{0, byte(i)} }
	f := func(what string, files []file, limit, size int64, want ...int) {
		t.Helper()
		s := set{files: make(map[fileName]file)}
		for i, file := range files {
			s.put(name(i), file)
		}
		var have []int
		for _, v := range s.victims(limit, size) {
			have = append(have, int(v[1]))
		}
		if !slices.Equal(want, have) {
			t.Errorf("%s: want %v, have %v", what, want, have)
		}
	}
	f("empty", nil, 100, 50)
	f("fits", []file{{1, 50, false}}, 100, 50)
	f("the oldest first", []file{{3, 30, false}, {1, 30, false}, {2, 30, false}}, 100, 20, 1)
	f("down to 15/16 of the limit", []file{{1, 4, false}, {2, 4, false}, {3, 90, false}}, 100, 4, 0, 1)
	f("reused ones are spared", []file{{1, 30, true}, {2, 30, false}, {3, 30, false}}, 100, 20, 1)
	f("up to three quarters", []file{{1, 30, true}, {2, 40, true}, {3, 20, false}}, 100, 20, 0)
	f("and all if need be", []file{{1, 30, true}, {2, 30, false}}, 50, 40, 1, 0)
}

// TestDiskOrder: the least recently used go first, also when the process that used them is gone.
func TestDiskOrder(t *testing.T) {
	now := time.Now()
	cfg := Config{Dir: t.TempDir(), Disk: leastDisk(testPage), Now: func() time.Time { return now }}
	c := newCache(t, cfg)
	o := newObject("k", 20000*testPage)
	room := int(c.disk.limit / fileUnit) // pages of a set
	var same []int                       // more pages of one set
	for n := 0; len(same) < room+2; n++ {
		if nameOf(pageID{o.key, int64(len(o.data)), int64(n)}, testPage)[0] == 7 {
			same = append(same, n)
		}
	}
	page := func(i int) Outcome {
		out := read(t, c, o, same[i]*testPage, testPage)
		written(t, c)
		return out
	}
	path := func(i int) string {
		name := nameOf(pageID{o.key, int64(len(o.data)), int64(same[i])}, testPage)
		return filepath.Join(cfg.Dir, filepath.FromSlash(name.path()))
	}
	for i := range room {
		page(i)
		written := now.Add(time.Duration(i-2*room) * time.Hour)
		if err := os.Chtimes(path(i), written, written); err != nil {
			t.Fatal(err)
		}
	}
	if out := page(0); out.Hits != 1 {
		t.Errorf("have %+v", out)
	}
	c = reopen(t, c, cfg)
	page(room)
	page(room + 1)
	for i := range same {
		_, err := os.Stat(path(i))
		if gone := i == 1 || i == 2; gone != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("page %d of %d: %v", i, len(same), err)
		}
	}
}

// TestDiskFails: every way in which files cannot be read or written is a miss and one line in the log.
func TestDiskFails(t *testing.T) {
	var log logBuffer
	cfg := Config{Dir: t.TempDir(), Logger: log.logger()}
	for n := range numSets { // files where folders belong: that stops root, too
		if err := os.WriteFile(filepath.Join(cfg.Dir, fileName{byte(n)}.folder()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newCache(t, cfg)
	o := newObject("k", 30*testPage)
	for range 3 {
		if out := readAll(t, c, o); out.Misses != 30 {
			t.Errorf("have %+v", out)
		}
		written(t, c)
	}
	if s := c.Stats(); s.Failed < 90 || s.Disk.Pages != 0 || log.lines() > 2 || !strings.Contains(log.String(), "cannot be written") {
		t.Errorf("%+v, and the log says %s", s, &log)
	}
	for n := range numSets {
		if err := os.Remove(filepath.Join(cfg.Dir, fileName{byte(n)}.folder())); err != nil {
			t.Fatal(err)
		}
	}
	readAll(t, c, o)
	written(t, c)
	if out := readAll(t, c, o); out.Hits != 30 || !strings.Contains(log.String(), "again") {
		t.Errorf("have %+v, and the log says %s", out, &log)
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	readAll(t, c, o)
}

// TestQueueIsBounded: what comes faster than the disk takes it is dropped and counted.
func TestQueueIsBounded(t *testing.T) {
	const pageSize = 4 << 20
	c := newCache(t, Config{Dir: t.TempDir(), PageSize: pageSize, Disk: 2 * leastDisk(pageSize)})
	if have := cap(c.disk.queue); have != maxQueue/pageSize {
		t.Fatalf("room for %d pages", have)
	}
	o := newObject("k", 12*pageSize)
	read(t, c, o, 0, len(o.data))
	written(t, c)
	s := c.Stats()
	if s.Dropped == 0 || s.Dropped+s.Disk.Pages != 12 {
		t.Errorf("have %+v", s)
	}
}

func TestFolderOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("there are no such modes on Windows")
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Disk: 1 << 30}); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("have %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := New(Config{Dir: dir, Disk: 1 << 30}); err == nil || !strings.Contains(err.Error(), "change Dir") {
			t.Errorf("have %v", err)
		}
	}
}

// TestTwoCachesOneFolder as two processes have it: what one writes the other reads, both evict, and nothing is ever wrong.
func TestTwoCachesOneFolder(t *testing.T) {
	var log logBuffer
	cfg := Config{Dir: t.TempDir(), Disk: leastDisk(testPage), Logger: log.logger()}
	a, b := newCache(t, cfg), newCache(t, cfg)
	o := newObject("k", 3000*testPage)
	read(t, a, o, 0, 10*testPage)
	written(t, a)
	if out := read(t, b, o, 0, 10*testPage); out.Hits != 10 {
		t.Errorf("have %+v", out)
	}
	var all sync.WaitGroup
	for seed, c := range []*Cache{a, b, a, b} {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(seed), 3))
			p := make([]byte, 5*testPage)
			for range 500 {
				off := rnd.IntN(len(o.data) - len(p))
				if _, err := c.Read(t.Context(), o.key, int64(len(o.data)), int64(off), p, o.load); err != nil || !bytes.Equal(p, o.data[off:off+len(p)]) {
					t.Errorf("read at %d: wrong, or %v", off, err)
				}
				if rnd.IntN(200) == 0 {
					c.Forget(o.key, int64(len(o.data)))
				}
			}
		})
	}
	all.Wait()
	closeCache(t, a)
	closeCache(t, b)
	if have := onDisk(t, cfg.Dir); have > 2*cfg.Disk {
		t.Errorf("%d bytes on disk, each may have %d", have, cfg.Disk)
	}
	if a.Stats().Damaged+b.Stats().Damaged+a.Stats().Failed+b.Stats().Failed > 0 {
		t.Errorf("%+v, %+v: %s", a.Stats(), b.Stats(), &log)
	}
	c := newCache(t, cfg)
	lookAllAndClose(t, c)
	if have := onDisk(t, cfg.Dir); have > cfg.Disk {
		t.Errorf("%d bytes on disk after a start, of at most %d", have, cfg.Disk)
	}
}

// FuzzPageFile: a file is the page only if it is what would have been written for it.
func FuzzPageFile(f *testing.F) {
	id := pageID{"topic/key", 3*testPage + 5, 3}
	data := []byte("12345")
	whole := append(appendHead(nil, id, testPage, data), data...)
	f.Add(whole, "topic/key", int64(3*testPage+5), int64(3))
	f.Add(whole[:40], "topic/key", int64(3*testPage+5), int64(3))
	f.Add(whole, "", int64(0), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, key string, size, n int64) {
		id := pageID{key, size, n}
		head := pageHead + len(key)
		if len(b) < head {
			if intact(id, testPage, b, nil) {
				t.Error("too short, and taken")
			}
			return
		}
		want := append(appendHead(nil, id, testPage, b[head:]), b[head:]...)
		if intact(id, testPage, b[:head], b[head:]) != bytes.Equal(b, want) {
			t.Errorf("intact is wrong about %q", b)
		}
		if !intact(id, testPage, want[:head], want[head:]) {
			t.Error("what is written is not intact")
		}
		name := nameOf(id, testPage)
		if back, ok := parseName(name[0], strings.TrimPrefix(name.path(), name.folder()+"/")); !ok || back != name {
			t.Errorf("name %s comes back as %s", name.path(), back.path())
		}
		if back, ok := parseName(name[0], key); ok && !strings.HasSuffix(back.path(), key) {
			t.Errorf("%q is taken for %s", key, back.path())
		}
	})
}
