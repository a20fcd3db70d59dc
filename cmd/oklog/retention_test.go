package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is set is shown, in every bucket, with flags on either side of the arguments.
func TestRetention(t *testing.T) {
	dirs, buckets := folders(t, 2)
	fill(t, buckets, "web", 1, ago(0))
	f := func(want string, args ...string) {
		t.Helper()
		out, errs := succeeds(t, with(buckets, append([]string{"retention"}, args...)...)...)
		if out != want || errs != "" {
			t.Errorf("%q: have\n%s%swant\n%s", args, out, errs, want)
		}
	}
	f("TOPIC     KEPT\n(others)  forever, unless oklog compact is told --retention\n", "show")
	f("TOPIC     KEPT\nweb       30d\n(others)  forever, unless oklog compact is told --retention\n", "set", "web", "30d")
	f("TOPIC     KEPT\nweb       30d\n(others)  90d\n", "set", "90d", "--all")
	f("TOPIC     KEPT\nweb       forever\n(others)  90d\n", "set", "web", "forever")
	f("TOPIC     KEPT\nweb       forever\n(others)  1h30m\n", "set", "--all", "90m")
	f("TOPIC     KEPT\n(others)  1h30m\n", "set", "web", "default")
	_, errs := succeeds(t, with(buckets, "retention", "set", "wbe", "1w")...)
	if errs != "oklog: there is no topic wbe here\n" {
		t.Errorf("of a topic that is not there it says %q", errs)
	}
	out, _ := succeeds(t, with(buckets, "retention", "show")...)
	fits(t, "show", out, `TOPIC     KEPT
wbe       7d
\(others\)  1h30m
set at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ
`)
	for _, dir := range dirs {
		out, _ = succeeds(t, "retention", "show", "--json", "--bucket", "file://"+dir)
		var have struct {
			Version int
			All     string
			Topics  map[string]string
		}
		if err := json.Unmarshal([]byte(out), &have); err != nil || have.Version != 1 || have.All != "1h30m0s" || have.Topics["wbe"] != "168h0m0s" || len(have.Topics) != 1 {
			t.Errorf("%v in %s", err, out)
		}
	}
}

// What expires is refused if it is much, goes to the trash if that is meant, and comes back from there.
func TestTrash(t *testing.T) {
	dirs, buckets := folders(t, 2)
	fill(t, buckets, "web", 10, ago(0), ago(240*time.Hour), ago(480*time.Hour))
	fill(t, buckets, "app", 10, ago(480*time.Hour))
	before := records(t, buckets, "web")
	grow(t, 240*time.Hour, dirs...)
	succeeds(t, with(buckets, "retention", "set", "web", "5d")...)

	code, out, errs := oklog(t.Context(), "", with(buckets, "compact")...)
	if code != exitFindings || !strings.HasPrefix(out, "nothing was done\n") {
		t.Errorf("much that expires: %d\n%s", code, out)
	}
	fits(t, "what is refused", errs, `oklog: refused: web: 2 of its segments.* older than 5d.*--yes.*oklog retention\n`)
	if have := records(t, buckets, "web"); !slices.Equal(have, before) {
		t.Errorf("%d records are left of %d", len(have), len(before))
	}

	out, _ = succeeds(t, with(buckets, "compact", "--dry-run", "--yes")...)
	fits(t, "the plan", out, `EXPIRED  FROM \(UTC\) +TO +SEGMENTS +BYTES +KEPT
web +\S+ 12:00:00 +\S+ 12:00:00 +2 +\S+ k?B +5d

2 expired segments of \S+ k?B would be moved to the trash
looked at 4 segments of .*
`)
	out, errs = succeeds(t, with(buckets, "compact", "--yes")...)
	fits(t, "the report", out, "2 expired segments of .* moved to the trash\nlooked at 2 segments of .*\n")
	fits(t, "the log", errs, "time=.* msg=expired topic=web .*\n")
	if have := records(t, buckets, "web"); !slices.Equal(have, before[20:]) {
		t.Errorf("%d records are left, want 10", len(have))
	}

	out, errs = succeeds(t, with(buckets, "trash", "ls")...)
	fits(t, "the list", out, `MOVED HERE \(UTC\) +FROM +TO +RECORDS +BYTES +KEY
(?:\S+ \S+  \S+ 12:00:00  \S+ 12:00:00  10 +\S+ k?B +web/\S+\.zst
){2}`)
	fits(t, "the sum", errs, "2 segments of .* k?B\n")
	lines := strings.Split(out, "\n")
	key := lines[1][strings.LastIndex(lines[1], " ")+1:]
	out, _ = succeeds(t, with(buckets, "trash", "ls", "--json", "--topic", "web")...)
	var first trashLine
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&first); err != nil || strings.Count(out, "\n") != 2 || first.Key != key || first.Records != 10 ||
		!first.From.Equal(ago(480*time.Hour)) || time.Since(first.Moved) > time.Hour || first.Bytes == 0 {
		t.Errorf("%v: %+v in\n%s", err, first, out)
	}
	_, errs = succeeds(t, with(buckets, "trash", "ls", "--topic", "app")...)
	fits(t, "the list of a topic without any", errs, "the trash is empty\n")

	hash := strings.TrimSuffix(key[strings.LastIndex(key, "-")+1:], ".zst")
	out, _ = succeeds(t, with(buckets, "trash", "restore", hash, "--topic", "web")...)
	fits(t, "restore", out, "1 segment of .* k?B restored in .*\n")
	if have := records(t, buckets, "web"); !slices.Equal(have, slices.Concat(before[:10], before[20:])) {
		t.Errorf("%d records after a restore, want 20", len(have))
	}
	out, _ = succeeds(t, with(buckets, "compact")...) // it stays
	fits(t, "after a restore", out, "nothing to do\nlooked at 3 segments of .*\n")
	out, _ = succeeds(t, with(buckets, "trash", "purge", "--all")...)
	fits(t, "purge", out, "1 segment of .* k?B purged in .*\n")
	out, _ = succeeds(t, with(buckets, "trash", "purge", "--all")...)
	fits(t, "purge of nothing", out, "the trash is empty\n")
	if have := records(t, buckets, "web"); len(have) != 20 {
		t.Errorf("%d records after a purge, want 20", len(have))
	}
}
