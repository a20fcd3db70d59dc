package query

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// wantRipgrep leaves a test out where there is no ripgrep of the version that is imitated.
func wantRipgrep(t *testing.T) {
	t.Helper()
	out, err := exec.Command("rg", "--version").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("ripgrep 13.")) {
		t.Skipf("left out: what a query puts out is not compared with ripgrep 13, which is not here: %.20q, %v", out, err)
	}
}

// ripgrep runs it over a text.
func ripgrep(t *testing.T, text []byte, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rg", append(slices.Clone(args), file)...)
	cmd.Env = []string{}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// printed is what a query puts out, as ripgrep would print it.
func printed(t *testing.T, e *Engine, q Query) string {
	t.Helper()
	var b bytes.Buffer
	ans, err := e.Run(t.Context(), q, func(r Record) error {
		if r.Apart {
			b.WriteString("--\n")
		}
		b.Write(append(r.Text, '\n'))
		return nil
	})
	if err != nil || ans.Partial() {
		t.Fatal(err, ans.Problems)
	}
	return b.String()
}

// Over one source, context is what ripgrep prints with -A, -B, -m and -v.
func TestContextAsRipgrep(t *testing.T) {
	wantRipgrep(t)
	source, _ := segment.ParseSource([]string{"host=h"})
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		var all []querytest.Entry
		var text []byte
		ms := uint64(querytest.Day0.UnixMilli())
		for i := range 1 + rnd.IntN(600) {
			if rnd.IntN(3) > 0 {
				ms += rnd.Uint64N(1 << rnd.IntN(22))
			}
			line := fmt.Sprintf("%x %s", rnd.IntN(64), strings.Repeat("x", rnd.IntN(40)))
			text = append(append(text, line...), '\n')
			all = append(all, querytest.Entry{ID: segment.MakeID(ms, 5+uint64(ms>>20), uint32(i)), Source: source, Text: line})
		}
		b := objstore.NewMemory("test", time.Now)
		hot := scatter(t, rnd, b, "web", all)
		e := newEngine(t, Config{Bucket: b, Hot: hot, MaxBytes: []int64{1, 0}[rnd.IntN(2)]})
		for range 40 {
			q := Query{Topic: "web", Range: everything(), Before: rnd.IntN(6), After: rnd.IntN(6)}
			p := match.Pattern{Texts: []string{"^" + strconv.FormatInt(rnd.Int64N(16), 16) + []string{"", "[0-3]", " "}[rnd.IntN(3)]}, Regex: true, Invert: rnd.IntN(4) == 0}
			args := []string{"-N", "--no-config", "-A", fmt.Sprint(q.After), "-B", fmt.Sprint(q.Before), "-e", p.Texts[0]}
			if p.Invert {
				args = append(args, "-v")
			}
			if rnd.IntN(2) == 0 {
				q.Limit = 1 + rnd.Int64N(9)
				args = append(args, "-m", fmt.Sprint(q.Limit))
			}
			if q.Before+q.After == 0 {
				q.Before, args[5] = 1, "1"
			}
			q.Pattern = compile(t, p)
			if want, have := ripgrep(t, text, args...), printed(t, e, q); have != want {
				t.Fatalf("%v: want\n%shave\n%s", args, want, have)
			}
		}
	}
}

// On real logs, too.
func TestContextOfRealLogs(t *testing.T) {
	wantRipgrep(t)
	bucket, texts := corpus(t, math.MaxInt)
	e := newEngine(t, Config{Bucket: bucket})
	rare := rareText(t, texts)
	files, _ := filepath.Glob(logFiles())
	for i, text := range texts {
		for _, pattern := range []string{rare, "from", "status", "0"} {
			for _, size := range [][2]int{{2, 2}, {0, 3}, {5, 0}} {
				var err error
				q := Query{Topic: "bench", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{pattern}}), Before: size[0], After: size[1]}
				if q.Sources, err = ParseSources([]string{"file=" + filepath.Base(files[i])}); err != nil {
					t.Fatal(err)
				}
				want := ripgrep(t, text, "-N", "--no-config", "-a", "-F", "-B", fmt.Sprint(size[0]), "-A", fmt.Sprint(size[1]), "-e", pattern)
				if have := printed(t, e, q); have != want {
					t.Errorf("%q %v in %s: want %d bytes, have %d", pattern, size, files[i], len(want), len(have))
				}
			}
		}
	}
}
