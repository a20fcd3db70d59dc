package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
)

// fake is a segment for listings, which read nothing: its object is so many zeros.
type fake struct {
	topic         string
	first, last   string // times; last is of the same day, without it
	level         uint8
	records, text int64
	size          int
}

func (f fake) name(t testing.TB) segment.Name {
	t.Helper()
	day, _, _ := strings.Cut(f.first, "T")
	id := func(s string, counter uint32) [16]byte {
		at, err := time.Parse("2006-01-02T15:04:05.000", s)
		if err != nil {
			t.Fatal(err)
		}
		return segment.MakeID(uint64(at.UnixMilli()), 7, counter)
	}
	return segment.Name{First: id(f.first, 0), Last: id(day+"T"+f.last, uint32(f.records)), Generation: f.level, Records: f.records, RawBytes: f.text, Hash: [8]byte{0xab, f.level, byte(f.size)}}
}

// lay puts it into buckets and returns its key.
func (f fake) lay(t testing.TB, buckets ...objstore.Bucket) string {
	t.Helper()
	key := f.name(t).Key(f.topic)
	for _, b := range buckets {
		if err := b.Put(t.Context(), key, bytes.NewReader(make([]byte, f.size)), int64(f.size)); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

func junk(t testing.TB, b objstore.Bucket, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := b.Put(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
}

// A bucket of two topics and a half. The segments of web lie in another order than that of their times.
func sample(t testing.TB) (b objstore.Bucket, url string, keys []string) {
	t.Helper()
	b, url = folder(t)
	for _, f := range []fake{
		{"web", "2024-05-01T00:10:00.000", "00:59:59.999", 0, 10, 3_000_000, 150_000},
		{"web", "2024-05-01T01:30:00.000", "01:30:10.250", 0, 20, 1000, 400},
		{"web", "2024-05-01T01:50:00.000", "02:10:00.000", 0, 30, 2000, 500}, // beside the hours, over two of them
		{"web", "2024-05-01T02:00:00.000", "02:00:00.000", 0, 1, 50, 100},
		{"web", "2024-05-02T00:00:00.000", "23:59:59.999", 3, 1_000_000, 5_000_000_000, 100_000},
		{"web-2", "2023-01-01T12:00:00.000", "12:00:01.000", 0, 5, 600, 300},
	} {
		keys = append(keys, f.lay(t, b))
	}
	junk(t, b, "_trash/web/2024-05-01/x", "_oklog/policy", "_zzzzz/y")
	return b, url, keys
}

func TestLsTopics(t *testing.T) {
	_, url, _ := sample(t)
	out, errs, code := call(t, "ls", "--bucket", url)
	want := `topic  segments  records   text   stored     ratio  first                 last                  notes
web-2         1        5   600B     300B      2.00  2023-01-01T12:00:00Z  2023-01-01T12:00:01Z  -
web           5  1000061  5.0GB  251.0kB  19932.28  2024-05-01T00:10:00Z  2024-05-02T23:59:59Z  -
total: 2 topics, 6 segments, 1000066 records, 5.0 GB of text stored in 251.3 kB, ratio 19908.49; 0 lack copies, 2 overlap another
`
	if out != want || errs != "" || code != exitFound {
		t.Errorf("want\n%shave\n%s%s(%d)", want, out, errs, code)
	}
	out, errs, code = call(t, "ls", "--bucket", url, "-l", "--to", "2024-05-01T01:00")
	want = `topic  segments  records     text  stored  ratio  first                     last                      notes
web-2         1        5      600     300   2.00  2023-01-01T12:00:00.000Z  2023-01-01T12:00:01.000Z  -
web           1       10  3000000  150000  20.00  2024-05-01T00:10:00.000Z  2024-05-01T00:59:59.999Z  -
total: 2 topics, 2 segments, 15 records, 3000600 B of text stored in 150300 B, ratio 19.96; 0 lack copies, 0 overlap another
`
	if out != want || errs != "" || code != exitFound {
		t.Errorf("want\n%shave\n%s%s(%d)", want, out, errs, code)
	}
	out, errs, _ = call(t, "ls", "--bucket", url, "--json")
	want = `{"topic":"web-2","segments":1,"records":5,"text_bytes":600,"stored_bytes":300,"ratio":2,"first":"2023-01-01T12:00:00.000Z","last":"2023-01-01T12:00:01.000Z","lacking_copies":0,"overlapping":0,"ahead":0,"early":0,"sizes_differ":0}
{"topic":"web","segments":5,"records":1000061,"text_bytes":5003003050,"stored_bytes":251000,"ratio":19932.28,"first":"2024-05-01T00:10:00.000Z","last":"2024-05-02T23:59:59.999Z","lacking_copies":0,"overlapping":2,"ahead":0,"early":0,"sizes_differ":0}
`
	if out != want || errs != "" {
		t.Errorf("want\n%shave\n%s%s", want, out, errs)
	}
}

func TestLsSegments(t *testing.T) {
	_, url, keys := sample(t)
	args := []string{"ls", "--bucket", url, "--topic", "web"}
	out, errs, code := call(t, args...)
	want := `first                     last             records      text    stored   ratio  level  copies  notes     key
2024-05-01T00:10:00Z      00:59:59Z             10     3.0MB   150.0kB   20.00  fresh  1/1     -         ` + keys[0] + `
2024-05-01T01:30:00.000Z  01:30:10.250Z         20     1000B      400B    2.50  fresh  1/1     -         ` + keys[1] + `
2024-05-01T01:50:00Z      02:10:00Z             30     2000B      500B    4.00  fresh  1/1     overlaps  ` + keys[2] + `
2024-05-01T02:00:00.000Z  02:00:00.000Z          1       50B      100B    0.50  fresh  1/1     overlaps  ` + keys[3] + `
2024-05-02T00:00:00Z      23:59:59Z        1000000     5.0GB   100.0kB  50000.00  3      1/1     -         ` + keys[4] + `
total: 5 segments, 1000061 records, 5.0 GB of text stored in 251.0 kB, ratio 19932.28; 0 lack copies, 2 overlap another
`
	if out != want || errs != "" || code != exitFound {
		t.Errorf("want\n%shave\n%s%s(%d)", want, out, errs, code)
	}
	out, _, _ = call(t, append(args, "--long", "--from", "2024-05-02")...)
	// When it was stored is not known here.
	lines := strings.SplitN(out, "\n", 3)
	before := "2024-05-02T00:00:00.000Z  23:59:59.999Z    1000000     5000000000         100000  50000.00  3      1/1     "
	if !strings.HasPrefix(lines[1], before) || !strings.HasSuffix(lines[1], "Z  -         "+keys[4]) || !strings.Contains(lines[0], "  copies  modified              notes     key") {
		t.Errorf("have\n%s", out)
	}
	out, errs, _ = call(t, append(args, "--json", "--to", "2024-05-01T01:00")...)
	out, _, _ = strings.Cut(out, `,"modified"`)
	want = `{"key":"` + keys[0] + `","topic":"web","first":"2024-05-01T00:10:00.000Z","last":"2024-05-01T00:59:59.999Z","records":10,"text_bytes":3000000,"stored_bytes":150000,"ratio":20,"level":0,"copies":1,"buckets":1,"buckets_listed":1`
	if out != want || errs != "" {
		t.Errorf("want\n%s\nhave\n%s\n%s", want, out, errs)
	}
	// The environment serves as for a search, and a topic of "" means all.
	t.Setenv("OKLOG_BUCKET", url)
	t.Setenv("OKLOG_TOPIC", "web-2")
	if out, _, _ := call(t, "ls"); !strings.Contains(out, "  "+keys[5]+"\n") || strings.Contains(out, keys[0]) {
		t.Errorf("have\n%s", out)
	}
	if out, _, _ := call(t, "ls", "--topic", ""); !strings.Contains(out, "total: 2 topics, ") {
		t.Errorf("have\n%s", out)
	}
}

// On a terminal a row fits.
func TestLsFits(t *testing.T) {
	b, url, _ := sample(t)
	fake{"web", "2024-05-03T00:00:00.001", "23:59:59.999", 3, 99_999_999, 9_999_000_000, 101_300}.lay(t, b)
	opts := lsOptions{place: place{buckets: []string{url}}, topic: "web", from: "2024-05-03", short: true, now: at}
	var err error
	if opts.span, err = query.ParseRange(opts.from, "2024-05-04", at); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code, err := list(t.Context(), opts, slog.New(slog.DiscardHandler), &out, &errs)
	lines := strings.Split(out.String(), "\n")
	const before = "2024-05-03T00:00:00Z  23:59:59Z   99999999    10.0GB   101.3kB  98706.81  3      1/1     -         "
	if err != nil || code != exitFound || len(lines) != 4 || !strings.HasPrefix(lines[1], before) || len(lines[1]) != len(before)+12 {
		t.Errorf("have %d, %v\n%s%s", code, err, out.String(), errs.String())
	}
	if want := "total: 1 segment, 99999999 records, 10.0 GB of text stored in 101.3 kB, ratio 98706.81"; lines[2] != want {
		t.Errorf("want\n%s\nhave\n%s", want, lines[2])
	}
	if n := len(lines[0]); n > 110 {
		t.Errorf("%d columns: %s", n, lines[0])
	}
	// What is not as it should be is told of anyway.
	fake{"web", "2024-05-03T12:00:00.000", "23:59:59.999", 0, 1, 100, 101}.lay(t, b)
	out.Reset()
	if _, err := list(t.Context(), opts, slog.New(slog.DiscardHandler), &out, &errs); err != nil || !strings.HasSuffix(out.String(), ", ratio 98608.50; 2 overlap another\n") {
		t.Errorf("have %v\n%s", err, out.String())
	}
}

// lastColumn is the keys of a table.
func lastColumn(out string) (keys []string) {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.HasSuffix(f[len(f)-1], ".zst") {
			keys = append(keys, f[len(f)-1])
		}
	}
	return keys
}

func TestLsRanges(t *testing.T) {
	_, url, keys := sample(t)
	for _, c := range []struct {
		args string
		want []int
	}{
		{"--from 2024-05-01", []int{0, 1, 2, 3, 4}},
		{"--from 2024-05-01T01:00", []int{1, 2, 3, 4}},
		{"--from 2024-05-01T02:05 --to 2024-05-02", []int{2}},
		{"--to 2024-05-02", []int{0, 1, 2, 3}},
		{"--to 2024-05-02T00:00:00.001", []int{0, 1, 2, 3, 4}},
		{"--from 2024-05-02T12:00 --to 2024-05-02T13:00", []int{4}},
		{"--from 1h", nil},
		{"--to 2024-04-30", nil},
	} {
		args := append([]string{"ls", "--bucket", url, "--topic", "web"}, strings.Fields(c.args)...)
		out, errs, code := call(t, args...)
		var want []string
		for _, i := range c.want {
			want = append(want, keys[i])
		}
		if have := lastColumn(out); !slices.Equal(have, want) || (code == exitNone) != (want == nil) || (errs == "") != (want != nil) {
			t.Errorf("%s: want %q\nhave %q %s(%d)", c.args, want, have, errs, code)
		}
	}
	_, errs, _ := call(t, "ls", "--bucket", url, "--topic", "web", "--from", "1h")
	if want := "oklog-query: topic web has no segments between --from and --to; there are some from 2024-05-01 to 2024-05-02\n"; errs != want {
		t.Errorf("have %s", errs)
	}
	_, errs, code := call(t, "ls", "--bucket", url, "--from", "1h")
	if want := "oklog-query: no topic has segments between --from and --to; topics here: web web-2\n"; sortedWords(errs) != sortedWords(want) || code != exitNone {
		t.Errorf("have %s(%d)", errs, code)
	}
}

// What passes over keys leaves out nothing that is in the range.
func TestLsSeek(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	topics := []string{"a", "a-b", "a0", "b"}
	const segments = 100
	b, url := folder(t)
	for i := range segments {
		first := time.Date(2024, 1, 1+rng.IntN(90), rng.IntN(24), rng.IntN(60), 0, 0, time.UTC)
		if i%10 == 0 {
			first = time.Date(10000+rng.IntN(800), 3, 4, 5, 6, 7, 0, time.UTC)
		}
		last := first.Add(time.Duration(rng.IntN(120)) * time.Minute)
		if end := first.Truncate(24 * time.Hour).Add(24*time.Hour - 1); last.After(end) {
			last = end
		}
		id := func(at time.Time) [16]byte { return segment.MakeID(uint64(at.UnixMilli()), 1, uint32(i)) }
		n := segment.Name{First: id(first), Last: id(last), Generation: uint8(rng.IntN(2)), Records: 2, RawBytes: 2}
		junk(t, b, n.Key(topics[rng.IntN(len(topics))]))
	}
	everything := map[string][]string{}
	listed := 0
	for _, topic := range topics {
		out, _, _ := call(t, "ls", "--bucket", url, "--topic", topic)
		everything[topic] = lastColumn(out)
		listed += len(everything[topic])
	}
	if listed != segments {
		t.Fatalf("%d of %d are listed", listed, segments)
	}
	bounds := []string{"", "2024-01-10", "2024-02-01T12:30", "2024-02-01T13:00", "9999-12-31", "7ZZZZZZZZZ0000000000000000"}
	for i, from := range bounds {
		for _, to := range bounds[i:] {
			if from == to && to != "" {
				continue
			}
			var args []string
			if from != "" {
				args = append(args, "--from", from)
			}
			if to != "" {
				args = append(args, "--to", to)
			}
			span, err := query.ParseRange(cmp.Or(from, "1970-01-01"), cmp.Or(to, endOfTime().String()), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for topic, keys := range everything {
				var want []string
				for _, key := range keys {
					if _, n, err := segment.ParseKey(key); err != nil || span.Overlaps(n.First, n.Last) {
						want = append(want, key)
					}
				}
				out, _, _ := call(t, append([]string{"ls", "--bucket", url, "--topic", topic}, args...)...)
				if have := lastColumn(out); !slices.Equal(have, want) {
					t.Errorf("%s from %q to %q: %d of %d", topic, from, to, len(have), len(want))
				}
				total += len(want)
			}
			out, _, _ := call(t, append([]string{"ls", "--bucket", url, "--json"}, args...)...)
			for line := range strings.Lines(out) {
				var topic struct{ Segments int }
				if err := json.Unmarshal([]byte(line), &topic); err != nil {
					t.Fatal(err)
				}
				total -= topic.Segments
			}
			if total != 0 {
				t.Errorf("from %q to %q: %d are lacking from the table of topics", from, to, total)
			}
		}
	}
	// In the order of time, years of five digits last.
	for topic, keys := range everything {
		if !slices.IsSortedFunc(keys, func(a, b string) int {
			_, x, _ := segment.ParseKey(a)
			_, y, _ := segment.ParseKey(b)
			return x.First.Compare(y.First)
		}) {
			t.Errorf("%s is not in the order of time", topic)
		}
	}
}

func TestLsCopies(t *testing.T) {
	one, oneURL := folder(t)
	two, twoURL := folder(t)
	f := fake{"web", "2024-05-01T10:00:00.000", "10:30:00.000", 0, 10, 1000, 100}
	both := f.lay(t, one, two)
	f.first, f.last = "2024-05-01T11:00:00.000", "11:30:00.000"
	lacking := f.lay(t, two)
	f.first, f.last = "2024-05-01T12:00:00.000", "12:30:00.000"
	uneven := f.lay(t, one)
	junk(t, two, uneven)
	args := []string{"ls", "--topic", "web", "--bucket", oneURL}
	row := func(out, key string) string {
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[len(f)-1] == key {
				return strings.Join(f[6:9], " ")
			}
		}
		return ""
	}
	out, errs, code := call(t, append(args, "--bucket", twoURL)...)
	for key, want := range map[string]string{both: "fresh 2/2 -", lacking: "fresh 1/2 lacking", uneven: "fresh 2/2 sizes"} {
		if have := row(out, key); have != want {
			t.Errorf("want %s, have %s", want, have)
		}
	}
	if !strings.Contains(out, "; 1 lacks copies, 0 overlap another, 1 has copies of different sizes\n") || errs != "" || code != exitFound {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
	out, _, _ = call(t, "ls", "--bucket", oneURL+","+twoURL)
	if !strings.Contains(out, "  lacking=1,sizes=1\n") || !strings.Contains(out, "; 1 lacks copies, ") {
		t.Errorf("have\n%s", out)
	}
	out, _, _ = call(t, append(args, "--bucket", twoURL, "--json")...)
	if !strings.Contains(out, `"copies":1,"buckets":2,"buckets_listed":2,`) || strings.Count(out, `"sizes_differ":true`) != 1 {
		t.Errorf("have\n%s", out)
	}

	// A bucket that is away: what the other one has is listed, and all that was written with the write quorum is there.
	away := append(args, "--bucket", twoURL+"-lost")
	warning := "oklog-query: warning: a bucket could not be listed, and its copies are not known: "
	out, errs, code = call(t, away...)
	if row(out, both) != "fresh 1/? -" || row(out, lacking) != "" || !strings.HasPrefix(errs, warning) || !strings.Contains(errs, "-lost: bucket does not exist") || strings.Count(errs, "\n") != 1 || code != exitFound ||
		!strings.Contains(out, "; 0 lack copies in the buckets that could be listed, ") {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
	_, errs, code = call(t, append(away, "--write-quorum", "1")...)
	if want := "oklog-query: the list is partial: 1 of 2 buckets could not be listed, and with --write-quorum 1 there may be segments that only they have\n"; !strings.Contains(errs, want) || code != exitTrouble {
		t.Errorf("have %s(%d)", errs, code)
	}
	out, errs, code = call(t, "ls", "--bucket", oneURL+"-lost", "--bucket", twoURL+"-lost")
	if out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "correct --bucket") || code != exitTrouble {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
}

// Clocks that were wrong are shown.
func TestLsSkew(t *testing.T) {
	b, url := folder(t)
	now := time.Now().UTC()
	const layout = "2006-01-02T15:04:05.000"
	lay := func(at time.Time) string {
		_, last, _ := strings.Cut(at.Format(layout), "T")
		return fake{"web", at.Format(layout), last, 0, 1, 10, 5}.lay(t, b)
	}
	early, behind, near := lay(time.Unix(1_000_000, 0).UTC()), lay(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), lay(now.Add(5*time.Minute))
	ahead := lay(now.Add(15 * time.Minute))
	end := segment.Name{First: segment.MakeID(segment.MaxTime, 1, 0), Last: segment.MakeID(segment.MaxTime, 1, 9), Records: 10, RawBytes: 100}.Key("web")
	junk(t, b, end)
	out, errs, code := call(t, "ls", "--bucket", url, "--topic", "web")
	if want := []string{early, behind, near, ahead, end}; !slices.Equal(lastColumn(out), want) {
		t.Errorf("want %q\nhave %s", want, out)
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		want := map[string]string{early: "early", behind: "-", near: "-", ahead: "ahead", end: "ahead"}[f[len(f)-1]]
		if want != "" && f[8] != want {
			t.Errorf("want %s, have %s", want, line)
		}
	}
	if !strings.HasSuffix(out, ", 2 are ahead of now, 1 is from before 2000\n") || errs != "" || code != exitFound {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
	if out, _, _ := call(t, "ls", "--bucket", url); !strings.Contains(out, "  ahead=2,early=1\n") {
		t.Errorf("have\n%s", out)
	}
	if out, _, _ := call(t, "ls", "--bucket", url, "--topic", "web", "--json"); strings.Count(out, `"ahead":true`) != 2 || strings.Count(out, `"early":true`) != 1 {
		t.Errorf("have\n%s", out)
	}
}

// Objects that are no segments are named.
func TestLsForeign(t *testing.T) {
	b, url, keys := sample(t)
	junk(t, b, "readme.txt", "web/notes", "web/2024-05-01/01/x.zst", "Upper/2024-05-01/x")
	out, errs, code := call(t, "ls", "--bucket", url, "--topic", "web")
	want := "foreign: 2 objects whose keys are no segment's:\n  web/2024-05-01/01/x.zst\n  web/notes\n"
	if !strings.HasSuffix(out, "another\n"+want) || len(lastColumn(out)) != 6 || errs != "" || code != exitFound {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
	out, _, _ = call(t, "ls", "--bucket", url)
	want = "foreign: 4 objects whose keys are no segment's:\n  Upper/2024-05-01/x\n  readme.txt\n  web/2024-05-01/01/x.zst\n  web/notes\n"
	if !strings.HasSuffix(out, want) || strings.Contains(out, "_") {
		t.Errorf("have\n%s", out)
	}
	out, _, _ = call(t, "ls", "--bucket", url, "--topic", "web", "--json")
	if !strings.Contains(out, `{"key":"web/notes","stored_bytes":1,"foreign":true}`+"\n") || !strings.Contains(out, keys[4]) {
		t.Errorf("have\n%s", out)
	}
	for i := range 12 {
		junk(t, b, fmt.Sprintf("odd/%02d", i))
	}
	out, errs, code = call(t, "ls", "--bucket", url, "--topic", "odd")
	if !strings.HasPrefix(out, "foreign: 12 objects ") || !strings.HasSuffix(out, "  odd/09\n  and 2 more\n") || errs != "" || code != exitFound {
		t.Errorf("have\n%s%s(%d)", out, errs, code)
	}
}

func TestLsNothing(t *testing.T) {
	b, url := folder(t)
	for _, args := range [][]string{nil, {"--topic", "web"}, {"--json"}, {"--from", "1h"}} {
		out, errs, code := call(t, append([]string{"ls", "--bucket", url}, args...)...)
		if out != "" || errs != "oklog-query: there are no segments at all in this bucket\n" || code != exitNone {
			t.Errorf("%q: have %s%s(%d)", args, out, errs, code)
		}
	}
	store(t, b, "web", at, plain("x"))
	out, errs, code := call(t, "ls", "--bucket", url, "--topic", "wbe")
	if out != "" || errs != "oklog-query: there is no topic wbe; topics here: web\n" || code != exitNone {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
}

func TestLsBadInput(t *testing.T) {
	_, url := folder(t)
	for _, c := range []struct {
		args []string
		want string // beginning
	}{
		{nil, "--bucket is missing: "},
		{[]string{"--bucket", url, "web"}, `ls takes no argument such as "web": name a topic with --topic; `},
		{[]string{"--bucket", url, "--topic", "Web"}, `--topic: bad topic name "Web": `},
		{[]string{"--bucket", url, "--from", "yesterday"}, "bad bound: --from yesterday: not understood: "},
		{[]string{"--bucket", url, "--from", "1h", "--to", "2h"}, "bad bound: --from 1h is not before --to 2h: "},
		{[]string{"--bucket", url, "--nonsense"}, "there is no flag --nonsense: see oklog-query ls --help"},
		{[]string{"--bucket", url, "--write-quorum", "2"}, "open buckets: a write quorum of 2 cannot be had from 1 buckets: set --write-quorum "},
		{[]string{"--bucket", url + "-lost"}, "open folder bucket "},
		{[]string{"--bucket", "s3://127.0.0.1:1/logs?tls=false"}, "list "},
	} {
		out, errs, code := call(t, append([]string{"ls"}, c.args...)...)
		if !strings.HasPrefix(errs, "oklog-query: "+c.want) || strings.Count(errs, "\n") != 1 || out != "" || code != exitTrouble {
			t.Errorf("%q:\nwant %s\nhave %s%s(%d)", c.args, c.want, out, errs, code)
		}
	}
}

// ls and cat are commands in the first place only.
func TestCommandsAreFirst(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("run ls here", "cat that", "neither"))
	rest := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{append([]string{"-e", "ls"}, rest...), "run ls here\n"},
		{append(slices.Clone(rest), "--", "ls"), "run ls here\n"},
		{append(slices.Clone(rest), "ls"), "run ls here\n"},
		{append(slices.Clone(rest), "cat"), "cat that\n"},
	} {
		if out, errs, code := call(t, c.args...); out != c.want || errs != "" || code != exitFound {
			t.Errorf("%q: have %q %q %d", c.args, out, errs, code)
		}
	}
	// A command's name is one behind flags that say where records are, too.
	profiles := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(profiles, []byte("[prod]\nbucket = "+url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"topics --bucket URL", "--bucket URL topics", "--bucket=URL -write-quorum 1 topics", "--config FILE --profile prod topics", "--profile=prod topics --config FILE",
	} {
		args := strings.Fields(strings.NewReplacer("URL", url, "FILE", profiles).Replace(c))
		if out, errs, code := call(t, args...); out != "web\n" || errs != "" || code != exitFound {
			t.Errorf("%s: have %q %q %d", c, out, errs, code)
		}
	}
	for _, c := range []string{"--bucket", "--bucket URL", "--bucket URL --", "--bucket URL -i topics", "-i --bucket URL topics", "--topic web topics", "--bucket topics", "-- topics", "", "-", "- topics"} {
		args := append([]string{"oklog-query"}, strings.Fields(strings.ReplaceAll(c, "URL", url))...)
		if cmd, own := commandIn(args); cmd.name != "" || !slices.Equal(own, args) {
			t.Errorf("%s: have %q, %q", c, cmd.name, own)
		}
	}
	t.Setenv("OKLOG_BUCKET", url)
	t.Setenv("OKLOG_TOPIC", "web")
	if out, errs, _ := call(t, "--", "ls"); errs != "" && !strings.Contains(errs, "between --from and --to") || strings.Contains(out, "segments") {
		t.Errorf("have %q %q", out, errs)
	}
	for _, c := range []string{"ls", "cat"} {
		if out, _, _ := call(t, "--help", c); !strings.Contains(out, "oklog-query "+c+" [--topic T]") {
			t.Errorf("--help %s: %s", c, out)
		}
		out, errs, code := call(t, c, "--help")
		if code != 0 || errs != "" || !strings.Contains(out, "Examples:") || !strings.Contains(out, "oklog-query "+c+" [--topic T]") {
			t.Errorf("%s: %d %s %s", c, code, out, errs)
		}
	}
	if out, _, _ := call(t, "--help"); !strings.Contains(out, "oklog-query -e ls") || !strings.Contains(out, "oklog-query COMMAND --help") {
		t.Errorf("have %s", out)
	}
}

func TestMarkOverlaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		list := make([]stored, rng.IntN(8))
		for i := range list {
			first := rng.IntN(30)
			list[i].name = segment.Name{First: segment.MakeID(uint64(first), 0, 0), Last: segment.MakeID(uint64(first+rng.IntN(6)), 0, 0)}
		}
		slices.SortFunc(list, func(a, b stored) int { return a.name.First.Compare(b.name.First) })
		markOverlaps(list)
		for i, a := range list {
			want := false
			for j, b := range list {
				want = want || i != j && a.name.First.Compare(b.name.Last) <= 0 && b.name.First.Compare(a.name.Last) <= 0
			}
			if a.overlaps != want {
				t.Fatalf("%d of %+v: want %v", i, list, want)
			}
		}
	}
}

func TestLsOutput(t *testing.T) {
	_, url, _ := sample(t)
	args := []string{"oklog-query", "ls", "--bucket", url, "--topic", "web"}
	var errs bytes.Buffer
	if c := run(t.Context(), args, nil, brokenWriter{}, &errs); c != exitTrouble || errs.String() != "oklog-query: write output: no space left\n" {
		t.Errorf("have %d %s", c, errs.String())
	}
	errs.Reset()
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if c := run(t.Context(), args, nil, w, &errs); c != exitFound || errs.Len() > 0 {
		t.Errorf("have %d %s", c, errs.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if c := run(ctx, args, nil, &out, &errs); c != exitInterrupt || errs.String() != "oklog-query: interrupted: the list is not complete\n" {
		t.Errorf("have %d %s%s", c, out.String(), errs.String())
	}
}
