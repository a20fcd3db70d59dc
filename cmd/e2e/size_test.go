package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"oklog/objstore/segment"
)

// Fresh segments are at most 1.2 times what zstd -3 makes of the whole file, and 6 % of them at most are IDs.
func TestSegmentsAreSmall(t *testing.T) {
	paths := []string{corpus(t, "")}
	if dir := os.Getenv("CORPORA"); dir != "" {
		var err error
		if paths, err = filepath.Glob(filepath.Join(dir, "*.log")); err != nil || len(paths) == 0 {
			t.Fatalf("no logs in %s: %v", dir, err)
		}
	}
	for _, path := range paths {
		dir := t.TempDir()
		p := spawn(t, "oklog", "forward", "--quiet", "--mode", "bulk", "--bucket", "file://"+filepath.ToSlash(dir), "--topic", "t", path)
		if code := p.wait(); code != 0 {
			t.Fatalf("oklog forward ends with %d: %s", code, p.output())
		}
		stored, ids, text := measure(t, filepath.Join(dir, "t"))
		whole := zstd3(t, path)
		t.Logf("%-28s %6.2f %% of the text; zstd -3: %6.2f %%; ratio %.3f; IDs %.2f %%", filepath.Base(path),
			100*float64(stored)/float64(text), 100*float64(whole)/float64(text), float64(stored)/float64(whole), 100*float64(ids)/float64(stored))
		if float64(stored) > 1.2*float64(whole) {
			t.Errorf("%s: %d bytes stored, zstd -3 makes %d of it", path, stored, whole)
		}
		if float64(ids) > 0.06*float64(stored) {
			t.Errorf("%s: %d of %d bytes are IDs", path, ids, stored)
		}
	}
}

// measure adds up the segments in a folder, and the ID columns in them.
func measure(t *testing.T, dir string) (stored, ids, text int64) {
	t.Helper()
	d, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		seg, err := d.Open(f, info.Size())
		if err != nil {
			return err
		}
		stored += info.Size()
		for _, b := range seg.Blocks {
			ids += int64(b.IDsSize)
			text += int64(b.RawSize)
		}
		return nil
	})
	if err != nil || stored == 0 {
		t.Fatalf("%d bytes stored: %v", stored, err)
	}
	return stored, ids, text
}

// zstd3 is how small zstd -3 makes a file: the command if it is there, or else the library's level that comes closest.
func zstd3(t *testing.T, path string) int64 {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var n counter
	if _, err := exec.LookPath("zstd"); err == nil {
		cmd := exec.Command("zstd", "-3", "-c")
		cmd.Stdin, cmd.Stdout = in, &n
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return int64(n)
	}
	t.Log("no zstd command here: comparing with the library's default level")
	z, err := zstd.NewWriter(&n, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
