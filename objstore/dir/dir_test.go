package dir_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/dir"
)

func open(t *testing.T, path string) *dir.Bucket {
	t.Helper()
	b, err := dir.Open(path, dir.Config{Make: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// leftovers returns the names in .tmp.
func leftovers(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(path, ".tmp"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestObjectsAreFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folders")
	b := open(t, path)
	buckettest.MustPut(t, b, "topic/2026-01-01/x.zst", []byte("data"))
	have, err := os.ReadFile(filepath.Join(path, "topic", "2026-01-01", "x.zst"))
	if err != nil || string(have) != "data" {
		t.Fatalf("have %q, %v", have, err)
	}
	if names := leftovers(t, path); len(names) != 0 {
		t.Errorf("left over: %q", names)
	}
	if err := b.Delete(t.Context(), "topic/2026-01-01/x.zst"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "topic")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder is left: %v", err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLeftoversOfCrashes: old files in .tmp go at Open, young ones may be somebody's; neither
// is an object.
func TestLeftoversOfCrashes(t *testing.T) {
	path := t.TempDir()
	open(t, path)
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": 7 * time.Hour, "young": time.Hour} {
		file := filepath.Join(path, ".tmp", name)
		if err := os.WriteFile(file, []byte("half an obj"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, path)
	if names := leftovers(t, path); !slices.Equal(names, []string{"young"}) {
		t.Errorf("have %q, want the young one only", names)
	}
	if keys, err := buckettest.Keys(t.Context(), b, "", ""); err != nil || len(keys) != 0 {
		t.Errorf("have %q, %v", keys, err)
	}
}

// TestFailedPutLeavesNothing: neither an object nor a temporary file.
func TestFailedPutLeavesNothing(t *testing.T) {
	path := t.TempDir()
	b := open(t, path)
	if err := b.Put(t.Context(), "a/b", strings.NewReader("short"), 100); err == nil {
		t.Fatal("no error")
	}
	if err := b.Create(t.Context(), "a/b", strings.NewReader("short"), 100); err == nil {
		t.Fatal("no error")
	}
	buckettest.MustPut(t, b, "c", nil)
	if err := b.Create(t.Context(), "c", strings.NewReader("x"), 1); !errors.Is(err, objstore.ErrExists) {
		t.Fatalf("have error %v", err)
	}
	if names := leftovers(t, path); len(names) != 0 {
		t.Errorf("left over: %q", names)
	}
}

func TestKeyAndFolder(t *testing.T) {
	b := open(t, t.TempDir())
	buckettest.MustPut(t, b, "a/b", []byte("x"))
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		err := b.Put(t.Context(), key, strings.NewReader("y"), 1)
		if !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("put %s: have error %v", key, err)
		}
		if err = b.Create(t.Context(), key, strings.NewReader("y"), 1); !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("create %s: have error %v", key, err)
		}
	}
	have, err := buckettest.ReadAll(t.Context(), b, "a/b")
	if err != nil || string(have) != "x" {
		t.Fatalf("have %q, %v", have, err)
	}
}

// TestForeignFiles: what is no object is not listed, and links lead nowhere outside.
func TestForeignFiles(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	b := open(t, path)
	buckettest.MustPut(t, b, "a/object", []byte("x"))
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".hidden", "a/.hidden", "with space", "a/ä"} {
		if err := os.WriteFile(filepath.Join(path, filepath.FromSlash(name)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := true
	for name, target := range map[string]string{"link": outside, "a/file": filepath.Join(outside, "secret"), "up": ".."} {
		if err := os.Symlink(target, filepath.Join(path, filepath.FromSlash(name))); err != nil {
			if runtime.GOOS != "windows" { // there it takes a privilege
				t.Fatal(err)
			}
			links = false
		}
	}
	keys, err := buckettest.Keys(t.Context(), b, "", "")
	if err != nil || !slices.Equal(keys, []string{"a/object"}) {
		t.Errorf("have %q, %v", keys, err)
	}
	if !links {
		return
	}
	for _, key := range []string{"link/secret", "a/file", "up/x"} {
		if n, err := b.Get(t.Context(), key, 0, make([]byte, 1)); err == nil || n != 0 {
			t.Errorf("get %s: %d, %v", key, n, err)
		}
		if strings.Contains(key, "/x") || strings.HasPrefix(key, "link") {
			if err := b.Put(t.Context(), key, strings.NewReader("x"), 1); err == nil {
				t.Errorf("put %s: no error", key)
			}
		}
	}
	if keys, err := buckettest.Keys(t.Context(), b, "link/", ""); len(keys) != 0 {
		t.Errorf("have %q, %v", keys, err)
	}
	secret, err := os.ReadFile(filepath.Join(outside, "secret"))
	if err != nil || string(secret) != "secret" {
		t.Errorf("the file outside is %q, %v", secret, err)
	}
}

func TestFolderGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bucket")
	b := open(t, path)
	buckettest.MustPut(t, b, "a", nil)
	if runtime.GOOS == "windows" {
		return // a folder in use cannot be removed there
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	_, err := b.Stat(t.Context(), "a")
	want := func(err error) {
		t.Helper()
		if !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), path) {
			t.Errorf("have error %v", err)
		}
	}
	want(err)
	_, err = buckettest.Keys(t.Context(), b, "", "")
	want(err)
	_, err = buckettest.Keys(t.Context(), b, "x/y", "")
	want(err)
	want(b.Put(t.Context(), "b", strings.NewReader("x"), 1))
	want(b.Check(t.Context()))
}

func TestTmpGone(t *testing.T) {
	path := t.TempDir()
	b := open(t, path)
	if err := os.RemoveAll(filepath.Join(path, ".tmp")); err != nil {
		t.Fatal(err)
	}
	buckettest.MustPut(t, b, "a", []byte("x"))
}

func TestOpenErrors(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below", "it")} {
		_, err := dir.Open(path, dir.Config{Make: true})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--bucket") {
			t.Errorf("open %s: have error %v", path, err)
		}
	}
	if _, err := dir.Open("", dir.Config{}); err == nil {
		t.Error("no error for an empty path")
	}
}

// TestPutsAndDeletesInTheSameFolders: a Delete that removes an emptied folder does not make
// a Put in it fail. Two buckets stand for two processes.
func TestPutsAndDeletesInTheSameFolders(t *testing.T) {
	path := t.TempDir()
	a, b := open(t, path), open(t, path)
	failed := make(chan error, 2)
	for i, bucket := range []*dir.Bucket{a, b} {
		go func() {
			key := fmt.Sprintf("x/y/z/%d", i)
			for range 300 {
				if err := bucket.Put(t.Context(), key, strings.NewReader("x"), 1); err != nil {
					failed <- err
					return
				}
				if _, err := bucket.Stat(t.Context(), key); err != nil {
					failed <- err
					return
				}
				if err := bucket.Delete(t.Context(), key); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

const crashEnv = "OKLOG_DIR_CRASH_TEST"

// TestKilledWriter kills a process that writes, at many instants: each object is whole, all that were
// acknowledged are there.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv(crashEnv); path != "" {
		writeForever(t, path)
		return
	}
	path := t.TempDir()
	b := open(t, path)
	total := 0
	for round := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), crashEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Kill it after a number of acknowledgements, in the middle of what comes next.
		want := round * 3
		var acked []string
		line := make([]byte, 0, 64)
		one := make([]byte, 1)
		for len(acked) <= want {
			if _, err := out.Read(one); err != nil {
				t.Fatalf("the writer ended: %v", err)
			}
			if one[0] != '\n' {
				line = append(line, one[0])
				continue
			}
			acked = append(acked, string(line))
			line = line[:0]
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, key := range acked {
			if _, err := b.Stat(t.Context(), key); err != nil {
				t.Fatalf("acknowledged, and lost: %v", err)
			}
		}
	}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		have, err := buckettest.ReadAll(t.Context(), b, info.Key)
		if err != nil || !bytes.Equal(have, bytes.Repeat([]byte{'d'}, crashSize)) {
			t.Fatalf("%s: have %d bytes, %v", info.Key, len(have), err)
		}
		total++
	}
	if total < 15 {
		t.Errorf("only %d objects were seen", total)
	}
}

const crashSize = 300_000

// writeForever is the process that is killed. It prints the keys that Put has acknowledged.
func writeForever(t *testing.T, path string) {
	b, err := dir.Open(path, dir.Config{Make: true})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{'d'}, crashSize)
	for i := 0; ; i++ {
		key := fmt.Sprintf("k/%d/%d-%d", i%3, os.Getpid(), i)
		put := b.Put
		if i%2 == 0 {
			put = b.Create
		}
		if err := put(context.Background(), key, bytes.NewReader(data), crashSize); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Println(key); err != nil {
			return
		}
	}
}

// A folder that is not there is not made unasked: the path may be mistyped, or a disk not mounted.
func TestMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent")
	_, err := dir.Open(path, dir.Config{})
	if !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), "create it") || !strings.Contains(err.Error(), "--bucket") {
		t.Errorf("have error %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// The folder is moved away, another one that is no bucket stands there, and then one that is.
func TestFolderIsReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a folder in use cannot be moved there
	}
	base := t.TempDir()
	path, aside := filepath.Join(base, "bucket"), filepath.Join(base, "aside")
	b := open(t, path)
	buckettest.MustPut(t, b, "a/1", []byte("x"))
	all := func() map[string]error {
		_, getErr := b.Get(t.Context(), "a/1", 0, make([]byte, 1))
		_, statErr := b.Stat(t.Context(), "a/1")
		var listErr error
		for _, err := range b.List(t.Context(), "a/", "") {
			listErr = err
		}
		return map[string]error{
			"check": b.Check(t.Context()), "get": getErr, "stat": statErr, "list": listErr,
			"put":    b.Put(t.Context(), "a/2", strings.NewReader("x"), 1),
			"create": b.Create(t.Context(), "a/"+rand.Text(), strings.NewReader("x"), 1),
			"delete": b.Delete(t.Context(), "a/2"),
		}
	}
	fail := func(text string) {
		t.Helper()
		for op, err := range all() {
			if !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: want %q, have error %v", op, text, err)
			}
		}
	}
	succeed := func() {
		t.Helper()
		for op, err := range all() {
			if err != nil {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	succeed()
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	fail("was removed")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	fail("not the one that was opened")
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		t.Errorf("it was written to: %v, %v", entries, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(path, os.DirFS(aside)); err != nil { // from a backup, say
		t.Fatal(err)
	}
	succeed()
	buckettest.MustPut(t, b, "b/3", []byte("x"))
	if _, err := os.Stat(filepath.Join(path, "b", "3")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	succeed()
}
