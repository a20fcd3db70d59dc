package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Damage and what is missing are found by verify and made good by repair; what cannot be is named.
func TestRepair(t *testing.T) {
	dirs, buckets := folders(t, 2)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	before := records(t, buckets, "web")
	a, b := segments(t, dirs[0]), segments(t, dirs[1])
	damage := func(path string, off int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[off] ^= 1
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := func(code int, wantOut, wantErrs string, args ...string) {
		t.Helper()
		have, out, errs := oklog(t.Context(), "", with(buckets, args...)...)
		if have != code {
			t.Errorf("%q ends with %d, want %d", args, have, code)
		}
		fits(t, strings.Join(args, " "), out, wantOut)
		fits(t, strings.Join(args, " "), errs, wantErrs)
	}
	const many = `(?:web/\S+\.zst in file://\S+: .*\n)+`
	f(exitOK, "looked at 2 objects of .*: no copy is missing\n", "", "repair")

	damage(a[0], 50)
	f(exitFindings, many+`web/\S+\.zst: the copies are not the same\n`, "looked at 2 segments, 4 copies of .*: [0-9]+ things are wrong\n", "verify")
	_, out, _ := oklog(t.Context(), "", with(buckets, "verify", "--json")...)
	for line := range strings.Lines(out) {
		var have struct{ Object, Problem string }
		if err := json.Unmarshal([]byte(line), &have); err != nil || !strings.HasPrefix(have.Object, "web/") || have.Problem == "" {
			t.Errorf("%v in %s", err, line)
		}
	}
	f(exitOK, "looked at 2 objects of .*: no copy is missing\n", "", "repair") // which does not look into them
	f(exitFindings, `web/\S+\.zst\nlooked at 2 objects of .*: 1 copy of .* would be made, in the place of 1 damaged one\n`, "", "repair", "--deep", "--dry-run")
	f(exitOK, "looked at 2 objects of .*: 1 copy of .* made, in the place of 1 damaged one\n", "", "repair", "--deep")
	f(exitOK, "", "looked at 2 segments, 4 copies of .*: all is well\n", "verify")

	if err := os.Truncate(a[0], 10); err != nil {
		t.Fatal(err)
	}
	f(exitFindings, "(?s).*", "oklog: 1 segment is not of the same size in all buckets, and left alone: oklog repair replaces the damaged copies\n", "compact")
	f(exitOK, "looked at 2 objects of .*: 1 copy of .* made, in the place of 1 damaged one\n", "", "repair")

	// A bucket is lost, and there is an empty one in its place.
	if err := os.RemoveAll(filepath.Join(dirs[0], "web")); err != nil {
		t.Fatal(err)
	}
	f(exitFindings, `(?:web/\S+\.zst in file://\S+: the copy is missing\n){2}`, "looked at 2 segments, 2 copies of .*: 2 things are wrong\n", "verify")
	f(exitOK, "looked at 2 objects of .*: 2 copies of .* made\n", "", "repair")
	f(exitOK, "", ".*all is well\n", "verify")
	if have := records(t, buckets[:2], "web"); !slices.Equal(have, before) {
		t.Errorf("%d records in the bucket that was filled again, want %d", len(have), len(before))
	}

	// Nothing is sound any more.
	damage(a[0], 50)
	damage(b[0], 60)
	if err := os.WriteFile(filepath.Join(dirs[0], "web", "notes.txt"), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(exitFindings, "looked at 2 objects of .*: nothing was copied; 1 object has no sound copy\n",
		`(?:time=.*\n)?oklog: no sound copy: web/\S+\.zst: .*\noklog: 1 object belongs to no segment, and left alone: web/notes.txt\n`, "repair", "--deep")
}

func TestVerifyRange(t *testing.T) {
	_, buckets := folders(t, 1)
	fill(t, buckets, "web", 10, ago(0), ago(48*time.Hour))
	f := func(want string, args ...string) {
		t.Helper()
		_, errs := succeeds(t, with(buckets, append([]string{"verify"}, args...)...)...)
		fits(t, strings.Join(args, " "), errs, "looked at "+want+", .*: (all is well|there is nothing here to verify)\n")
	}
	f("2 segments")
	f("1 segment", "--from", "2d")
	f("1 segment", "--to", "2d")
	f("0 segments", "--from", "1h")
	f("2 segments", "--from", "5d", "--to", "now")
}
