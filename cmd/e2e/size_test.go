package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"oklog/objstore/segment"
)

// sizes are what the logs of a run of TestSegmentsAreSmall take, in bytes.
type sizes struct{ stored, filter, ids, text int64 }

func (s sizes) String() string {
	part := func(n int64) float64 { return 100 * float64(n) / float64(s.stored) }
	return fmt.Sprintf("%6.2f %% of the text (of which IDs %.2f %%, filter %4.1f %%)", 100*float64(s.stored)/float64(s.text), part(s.ids), part(s.filter))
}

// Segments against what zstd -3 makes of the whole file: fresh ones are at most 1.35 times as large; rewritten as one
// at the best level 1.15 times, and no larger on average. IDs are at most 6 % of them, filters 25 %, and 15 % on average.
func TestSegmentsAreSmall(t *testing.T) {
	paths := []string{corpus(t, "")}
	if dir := os.Getenv("CORPORA"); dir != "" {
		var err error
		if paths, err = filepath.Glob(filepath.Join(dir, "*.log")); err != nil || len(paths) == 0 {
			t.Fatalf("no logs in %s: %v", dir, err)
		}
	}
	var ratios, filters float64
	for _, path := range paths {
		dir := t.TempDir()
		p := spawn(t, "oklog", "forward", "--quiet", "--mode", "bulk", "--bucket", "file://"+filepath.ToSlash(dir), "--topic", "t", path)
		if code := p.wait(); code != 0 {
			t.Fatalf("oklog forward ends with %d: %s", code, p.output())
		}
		whole := float64(zstd3(t, path))
		check := func(what string, s sizes, most float64) (ratio, filter float64) {
			ratio, filter = float64(s.stored)/whole, float64(s.filter)/float64(s.stored)
			t.Logf("%-28s %-9s %s; %.3f of zstd -3", filepath.Base(path), what, s, ratio)
			if ratio > most {
				t.Errorf("%s, %s: %d bytes stored, zstd -3 makes %.0f of it", path, what, s.stored, whole)
			}
			if float64(s.ids) > 0.06*float64(s.stored) {
				t.Errorf("%s, %s: %d of %d bytes are IDs", path, what, s.ids, s.stored)
			}
			return ratio, filter
		}
		fresh, best := measure(t, filepath.Join(dir, "t"))
		check("fresh", fresh, 1.35)
		ratio, filter := check("rewritten", best, 1.15)
		if filter > 0.25 {
			t.Errorf("%s: the filter is %.1f %% of the segment", path, 100*filter)
		}
		ratios += ratio / float64(len(paths))
		filters += filter / float64(len(paths))
	}
	t.Logf("mean of the rewritten ones: %.3f of zstd -3, filter %.1f %%", ratios, 100*filters)
	if ratios > 1 && len(paths) > 1 {
		t.Errorf("rewritten segments are %.3f times zstd -3 on average", ratios)
	}
	if filters > 0.15 && len(paths) > 1 {
		t.Errorf("filters are %.1f %% on average", 100*filters)
	}
}

// measure adds up the segments in a folder, and what becomes of them when they are merged at the best level.
func measure(t *testing.T, dir string) (fresh, best sizes) {
	t.Helper()
	d, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var inputs []segment.Input
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seg, err := d.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		fresh.add(seg, len(data))
		inputs = append(inputs, seg.Input(d, bytes.NewReader(data)))
		return nil
	})
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d segments: %v", len(inputs), err)
	}
	days, err := segment.NewDays(segment.WriterConfig{Level: segment.Best, Generation: 1, Filter: true}, 1<<30, func(_ segment.Name, data []byte) error {
		seg, err := d.Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			best.add(seg, len(data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := segment.Merge(inputs, false, days.Take); err != nil {
		t.Fatal(err)
	}
	if err := days.Close(); err != nil {
		t.Fatal(err)
	}
	if fresh.text != best.text {
		t.Fatalf("%d bytes of text became %d", fresh.text, best.text)
	}
	return fresh, best
}

func (s *sizes) add(seg *segment.Segment, size int) {
	s.stored += int64(size)
	s.filter += seg.Filter.Size
	for _, b := range seg.Blocks {
		s.ids += int64(b.IDsSize)
		s.text += int64(b.RawSize)
	}
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
