package main

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"oklog/query"
)

func TestBar(t *testing.T) {
	for _, c := range []struct {
		n, most int64
		width   int
		ascii   bool
		want    string
	}{
		{0, 10, 8, false, ""},
		{10, 10, 8, false, "████████"},
		{5, 10, 8, false, "████"},
		{1, 64, 8, false, "▏"},
		{1, 1_000_000, 8, false, "▏"}, // it is seen
		{63, 64, 8, false, "███████▉"},
		{64, 64, 8, true, "########"},
		{1, 1_000_000, 8, true, "#"},
		{1<<62 + 1, 1<<63 - 1, 8, false, "████"},
		{1, 1, 0, false, ""},
		{1, 0, 8, false, ""},
	} {
		if have := bar(c.n, c.most, c.width, c.ascii); have != c.want {
			t.Errorf("%+v: have %q", c, have)
		}
	}
}

func TestDrawBars(t *testing.T) {
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	rows := []barRow{{"10:00", 7, ""}, {"10:05Ä", 1200, ""}, {"10:10", 0, ""}}
	if err := drawBars(w, rows, screen{width: 30}, false); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "10:00      7  ▏\n10:05Ä  1200  " + strings.Repeat("█", 15) + "\n10:10      0\n"
	if out.String() != want {
		t.Errorf("want\n%s\nhave\n%s", want, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line); n > 30 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestHistogram(t *testing.T) {
	b, url := folder(t)
	for i, n := range []int{3, 0, 1} {
		if n > 0 {
			store(t, b, "web", at.Add(time.Duration(i)*5*time.Minute), plain(slices.Repeat([]string{"error"}, n)...))
		}
	}
	args := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "error"}
	for _, c := range []struct{ args, want string }{
		{"--histogram=5m", "2026-11-22T17:10Z  3  " + strings.Repeat("█", 57) + "\n2026-11-22T17:15Z  0\n2026-11-22T17:20Z  1  " + strings.Repeat("█", 19) + "\n"},
		{"--histogram=1d", "2026-11-22T00:00Z  4  " + strings.Repeat("█", 57) + "\n"},
		{"--histogram=1d --tz Europe/Berlin", "2026-11-22T00:00+01:00  4  " + strings.Repeat("█", 52) + "\n"},
		{"--histogram=10m --json", `{"start":"2026-11-22T17:10Z","count":3}` + "\n" + `{"start":"2026-11-22T17:20Z","count":1}` + "\n"},
		{"--histogram --from 2026-11-22T17:15", "2026-11-22T17:20:49Z  1  " + strings.Repeat("█", 54) + "\n"},
	} {
		out, errs, code := call(t, append(slices.Clone(args), strings.Fields(c.args)...)...)
		if out != c.want || errs != "" || code != exitFound {
			t.Errorf("%s: want\n%s\nhave\n%s%s(%d)", c.args, c.want, out, errs, code)
		}
	}
	out, errs, code := call(t, append(args, "--histogram")...) // the step is chosen
	if n := strings.Count(out, "\n"); n < 2 || n > query.AutoBuckets || errs != "" || code != exitFound {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
	for args2, want := range map[string]string{
		"--histogram=x":   "oklog-query: --histogram=x: want a step like 10s, 5m or 1d, or none\n",
		"--histogram=1ms": "oklog-query: --histogram=1ms: the records lie further apart than 10000 steps: want a longer step, or a shorter range (--from, --to)\n",
	} {
		if _, errs, code := call(t, append(slices.Clone(args), args2)...); errs != want || code != exitTrouble {
			t.Errorf("%s: have %s(%d)", args2, errs, code)
		}
	}
}

func TestTop(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain(`{"path":"/","n":1}`, `{"path":"/","n":2}`, `{"path":"/a b","n":1}`, `path=/ n=3`, `{"n":"x\ny"}`, "nothing at all"))
	args := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	for _, c := range []struct {
		args, want, wantErr string
		code                int
	}{
		{"--top path", "/     3   75.0%  " + strings.Repeat("█", 62) + "\n/a b  1   25.0%  " + strings.Repeat("█", 20) + "▋\n", "", 0},
		{"--top path -m1", "/  3   75.0%  " + strings.Repeat("█", 65) + "\n", "", 0},
		{"--top n --json --where n=1", `{"value":"1","count":2}` + "\n", "", 0},
		{"--top n -e x", "\"x\\ny\"  1  100.0%  " + strings.Repeat("█", 60) + "\n", "", 0},
		{"--top absent", "", "oklog-query: warning: none of the records has a value there (an object or an array is none: name what is in it, or add []): absent: 6 records were found\n", 1},
		{"--top path nowhere", "", "", 1},
		{"--top a[ x", "", "...", 2},
		{"--top a --histogram x", "", "oklog-query: --histogram and --top are different questions: ask one after the other\n", 2},
	} {
		out, errs, code := call(t, append(slices.Clone(args), strings.Fields(c.args)...)...)
		if out != c.want || errs != c.wantErr && c.wantErr != "..." || code != c.code {
			t.Errorf("%s: want (%d)\n%s%s\nhave (%d)\n%s%s", c.args, c.code, c.want, c.wantErr, code, out, errs)
		}
	}
}

func TestProgress(t *testing.T) {
	var s query.Stats
	if have, want := progressLine(s, 3, 2*time.Second, 80), "2 s: 3 records found"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	s.Segments.Listed = 12
	if have, want := progressLine(s, 0, 1500*time.Millisecond, 80), "1 s: listing, 12 segments so far"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	s.Blocks = query.BlockStats{Total: 40, OutOfRange: 1, Pruned: 20, Read: 4}
	s.Requests.Fetched, s.Requests.Cached = 12_000_000, 345_000
	line := progressLine(s, 1, 61*time.Second, 80)
	if want := "61 s: 1 record found, 25 of 40 blocks, 12.3 MB read"; line != want {
		t.Errorf("want %s, have %s", want, line)
	}
	if have := progressLine(s, 1, time.Second, 12); len(have) > 11 {
		t.Errorf("have %q", have)
	}

	// What is printed comes behind an empty line.
	var terminal bytes.Buffer
	p := newProgress(&terminal, screen{progress: true, width: 80})
	w := p.around(&terminal)
	fmt.Fprint(w, "a\n")
	p.draw("working")
	fmt.Fprint(w, "b\n")
	fmt.Fprint(w, "c\n")
	p.draw("still")
	p.stop()
	if want := "a\n" + eraseLine + "working" + eraseLine + "b\nc\n" + eraseLine + "still" + eraseLine; terminal.String() != want {
		t.Errorf("want %q\nhave %q", want, terminal.String())
	}
	p.start(func() query.Stats { return s })
	p.stop() // it waits for what it has started

	// In a pipe nothing is drawn.
	var pipe bytes.Buffer
	p = newProgress(&pipe, screen{width: 80})
	p.start(func() query.Stats { return s })
	if p.done != nil || p.around(&pipe) != &pipe {
		t.Error("it is drawn into a pipe")
	}
	p.stop()
}
