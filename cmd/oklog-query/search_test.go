package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// storeFrom stores records of a source.
func storeFrom(t testing.TB, b objstore.Bucket, topic string, at time.Time, source []string, records []record) {
	t.Helper()
	name, data := put(t, at, source, records)
	if err := b.Put(t.Context(), name.Key(topic), bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

// What grep and ripgrep print with the same letters is in cmd/e2e; this is what they have not.
func TestModes(t *testing.T) {
	b, url := folder(t)
	storeFrom(t, b, "web", at, []string{"host=web1"}, plain("error one", "fine", "error two error"))
	storeFrom(t, b, "web", at.Add(time.Second), []string{"host=web2", "zone=a b"}, plain("error three", "ls", "{\"level\":\"warn\",\"n\":7}"))
	storeFrom(t, b, "web", at.Add(2*time.Second), nil, []record{{"cut er", segment.Continued}, {"ror here", segment.Continues}, {"two\nlines", 0}})
	base := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	for _, c := range []struct {
		args string // _ is a space in an argument
		want string
		code int
	}{
		{"-l error", "host=web1\nhost=web2 zone=a b\n", 0},
		{"-l", "host=web1\nhost=web2 zone=a b\n\n", 0},
		{"-lc error", "host=web1:2\nhost=web2 zone=a b:1\n", 0},
		{"-c -l absent", "", 1},
		{"-l --json three", `{"source":{"host":"web2","zone":"a b"}}` + "\n", 0},
		{"-lc --json -w one", `{"source":{"host":"web1"},"count":1}` + "\n", 0},
		{"-q error", "", 0},
		{"-q absent", "", 1},
		{"--quiet --json error", "", 0},
		{"-co error", "4\n", 0},
		{"-o -E [0-9]* --source host=web2", "7\n", 0},
		{"-oc -E [0-9]* --source host=web2", "1\n", 0},
		{"-o -E [a-z]*(two)?$ --source host=web1", "one\nfine\nerror\n", 0},
		{"--color always -E [0-9]* --source host=web2", "error three\nls\n{\"level\":\"warn\",\"n\":\x1b[1;31m7\x1b[0m}\n", 0},
		{"-c --json error", `{"count":3}` + "\n", 0},
		{"-ov error", "fine\nls\n{\"level\":\"warn\",\"n\":7}\ncut error here\ntwo\nlines\n", 0},
		{"-0 two", "error two error\x00two\nlines\x00", 0},
		{"-lv0 error", "host=web1\x00host=web2 zone=a b\x00\x00", 0},
		{"--source host=web2 error", "error three\n", 0},
		{"--source host!=web2 --source host=~web.* error", "error one\nerror two error\n", 0},
		{"--source host!~.+ -c", "2\n", 0},
		{"--where level=warn_AND_n>6", "{\"level\":\"warn\",\"n\":7}\n", 0},
		{"--where level=warn --where n>7", "", 1},
		{"--tz Europe/Berlin --time one", "2026-11-22T18:10:49.123+01:00 error one\n", 0},
		{"--tz Europe/Berlin --from 2026-11-22_18:10:50 --time three", "2026-11-22T18:10:50.123+01:00 error three\n", 0},
		{"--tz utc --from all three", "error three\n", 0},
		{"--from 0 three", "error three\n", 0},
		{"--time --no-time three", "error three\n", 0},
		{"--no-time --time three", "2026-11-22T17:10:50.123Z error three\n", 0},
		{"-1 fine", "error one\nfine\nerror two error\n", 0},
		{"-F -1 fine", "error one\nfine\nerror two error\n", 0},
		{"-wF -1 -e fine", "error one\nfine\nerror two error\n", 0},
		{"--source host=web1 -1 fine", "error one\nfine\nerror two error\n", 0},
		{"-c -e -1", "0\n", 1},
		{"-wce -1", "0\n", 1},
		{"-m 1 --limit 2 -c --count --limit=5 error", "3\n", 0},
		{"--regexp one -e three", "error one\nerror three\n", 0},
		{"-m -1 fine", "", 2},
		{"-A1 one --color always", "error \x1b[1;31mone\x1b[0m\nfine\n", 0},
		{"-A1 --color always -e one -e three", "error \x1b[1;31mone\x1b[0m\nfine\n\x1b[36m--\x1b[0m\nerror \x1b[1;31mthree\x1b[0m\nls\n", 0},
		{"-B1 --time --color always fine", "\x1b[2m2026-11-22T17:10:49.123Z\x1b[0m error one\n\x1b[2m2026-11-22T17:10:49.123Z\x1b[0m \x1b[1;31mfine\x1b[0m\n", 0},
		{"--color always -o --show-source three", "\x1b[36m{host=web2 zone=a b}\x1b[0m \x1b[1;31mthree\x1b[0m\n", 0},
		{"--colour always -w -e error two", "", 2}, // two patterns
		{"--color always -w error", "\x1b[1;31merror\x1b[0m one\n\x1b[1;31merror\x1b[0m two \x1b[1;31merror\x1b[0m\n\x1b[1;31merror\x1b[0m three\n", 0},
	} {
		args := slices.Clone(base)
		for arg := range strings.FieldsSeq(c.args) {
			args = append(args, strings.ReplaceAll(arg, "_", " "))
		}
		out, errs, code := call(t, args...)
		if out != c.want || code != c.code || (errs != "") != (code == exitTrouble || strings.Contains(c.args, "-ov") || strings.Contains(c.args, "-lv0")) {
			t.Errorf("%s:\nwant %d %q\nhave %d %q %q", c.args, c.code, c.want, code, out, errs)
		}
	}

	out, _, _ := call(t, append(slices.Clone(base), "--json", "-A1", "one")...)
	var second struct {
		Text    string
		Context bool
	}
	if _, line, _ := strings.Cut(out, "\n"); json.Unmarshal([]byte(line), &second) != nil || second.Text != "fine" || !second.Context {
		t.Errorf("have %s", out)
	}

	// A command that stands behind flags is a text, and it is said where that finds nothing.
	if out, errs, code := call(t, append(slices.Clone(base), "ls")...); out != "ls\n" || errs != "" || code != exitFound {
		t.Errorf("have %q %q (%d)", out, errs, code)
	}
	want := "oklog-query: \"topics\" was searched as a text: the command topics has to be the first argument: oklog-query topics ...\n"
	if _, errs, code := call(t, append(slices.Clone(base), "topics")...); errs != want || code != exitNone {
		t.Errorf("have %q (%d)", errs, code)
	}
	// What is of sources is no field, and the other way round.
	for args, want := range map[string]string{
		"--where host=web1":    "host is of sources, and may be no field of the records: --source host=... asks for it, -lc counts by it",
		"--top zone":           "zone is of sources, and may be no field of the records: --source zone=... asks for it, -lc counts by it",
		"--source hots=web1":   "no source has hots; what sources have there: host, zone (oklog-query sources)",
		"--source host=web9 x": "",
		"--where level=absent": "",
	} {
		_, errs, code := call(t, append(slices.Clone(base), strings.Fields(args)...)...)
		if want != "" && !strings.Contains(errs, "oklog-query: "+want+"\n") || want == "" && errs != "" || code != exitNone {
			t.Errorf("%s: have %q (%d)", args, errs, code)
		}
	}
	if _, errs, code := call(t, append(slices.Clone(base), "-e", "topics")...); errs != "" || code != exitNone {
		t.Errorf("have %q (%d)", errs, code)
	}
}

func TestMoreBadInput(t *testing.T) {
	_, url := folder(t)
	known := []string{"--bucket", url, "--topic", "web"}
	for _, c := range []struct{ args, want string }{
		{"--source", "--source needs a condition, such as --source host=web1: to print sources use --show-source"},
		{"--source panic", "--source panic: want KEY=VALUE, KEY!=VALUE, KEY=~REGEX or KEY!~REGEX: to print sources use --show-source"},
		{"--last 2026-11-22 x", "--last 2026-11-22: not understood: want a duration like 15m, 1h30m, 2d or 1w; other bounds are for --from"},
		{"--last 1h --from 2h x", "--last 1h stands beside --from 2h: give one of them"},
		{"--tz Mars/Olympus x", "--tz Mars/Olympus: there is no such zone: want utc, a name like Europe/Berlin, or an offset like +05:30"},
		{"-A x y", "--after-context x: want a number"},
		{"-C 10001 y", "--context 10001: want 0 to 10000"},
		{"-B -1 y", "--before-context -1: want at least 0"},
		{"-n timeout", "--limit timeout: want a number of records, at least 1 (-n is the same: records have no line numbers)"},
		{"--top n -c", "--top prints no records, and --count is about them: leave one of them out"},
		{"--histogram -C 3 x", "--histogram prints no records, and --context is about them: leave one of them out"},
		{"--histogram=1h -m 3 x", "--histogram prints no records, and --limit is about them: leave one of them out"},
		{"--count-matches x", "there is no flag --count-matches: it is -oc here: see oklog-query --help; to search for a text that begins with -, write -e --count-matches"},
		{"-o --json x", "-o prints matches, and --json whole records: leave one of them out"},
		{"-x", "there is no flag -x: whole records match with -E '^PATTERN$': see oklog-query --help; to search for a text that begins with -, write -e -x"},
		{"--xyz=1", "there is no flag --xyz: see oklog-query --help; to search for a text that begins with -, write -e --xyz"},
		{"--where level= x", "..."},
	} {
		out, errs, code := call(t, append(slices.Clone(known), strings.Fields(c.args)...)...)
		if errs != "oklog-query: "+c.want+"\n" && c.want != "..." || strings.Count(errs, "\n") != 1 || out != "" || code != exitTrouble {
			t.Errorf("%s:\nwant %s\nhave %q %s(%d)", c.args, c.want, out, errs, code)
		}
	}
}

func TestLists(t *testing.T) {
	b, url := folder(t)
	args := func(text string) []string {
		return append(strings.Fields(text), "--bucket", url)
	}
	if out, errs, code := call(t, args("topics")...); out != "" || errs != "" || code != exitNone {
		t.Errorf("have %q %q (%d)", out, errs, code)
	}
	storeFrom(t, b, "web", at, []string{"host=web1"}, plain("error one", "fine", "error two error"))
	storeFrom(t, b, "web", at.AddDate(0, 0, 2), []string{"host=web2", "zone=a b"}, plain("error three"))
	storeFrom(t, b, "db", at, []string{"host=db"}, plain("x"))
	const range1 = " --topic web --from 2026-11-22 --to 2026-11-30"
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"topics", "db\nweb\n", 0},
		{"topics --long", "topic  first       last\ndb     2026-11-22  2026-11-22\nweb    2026-11-22  2026-11-24\n", 0},
		{"topics --json", `{"name":"db","first_day":"2026-11-22","last_day":"2026-11-22"}` + "\n" + `{"name":"web","first_day":"2026-11-22","last_day":"2026-11-24"}` + "\n", 0},
		{"sources" + range1, "host=web1\nhost=web2 zone=a b\n", 0},
		{"sources --source host=web1" + range1, "host=web1\n", 0},
		{"sources --source host=web9" + range1, "", 1},
		{"sources -l" + range1, "first                 last                  segments  source\n2026-11-22T17:10:49Z  2026-11-22T17:10:49Z  1         host=web1\n2026-11-24T17:10:49Z  2026-11-24T17:10:49Z  1         host=web2 zone=a b\n", 0},
		{"sources --json --source host=web1" + range1, `{"source":{"host":"web1"},"first":"2026-11-22T17:10:49.123Z","last":"2026-11-22T17:10:49.123Z","sessions":1,"segments":1}` + "\n", 0},
	} {
		if out, errs, code := call(t, args(c.args)...); out != c.want || errs != "" || code != c.code {
			t.Errorf("%s:\nwant %d %s\nhave %d %s%s", c.args, c.code, c.want, code, out, errs)
		}
	}
	out, errs, code := call(t, args("stats error"+range1)...)
	for _, want := range []string{"segments  2 of 2 in the range\n", "blocks    2 of 2: 0 are out of the range, 0 cannot match\n", " range reads: 4 records"} {
		if !strings.Contains(out, want) || errs != "" || code != exitFound {
			t.Errorf("want %q in\n%s%s(%d)", want, out, errs, code)
		}
	}
	if out, errs, code = call(t, args("stats --topic web --from 2026-11-26 --to 2026-11-27")...); code != exitNone || !strings.Contains(errs, "there are some from 2026-11-22 to 2026-11-24 (") {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
	for args2, want := range map[string]string{
		"topics x":          "topics takes no argument such as \"x\"; to search for the text topics, write oklog-query -e topics",
		"sources x":         "sources takes no pattern such as \"x\": oklog-query -l \"x\" lists the sources that have matches",
		"sources":           "--topic is missing: say which topic to search, such as --topic web, or set OKLOG_TOPIC; oklog-query topics lists them",
		"topics --nonsense": "there is no flag --nonsense: see oklog-query topics --help",
	} {
		if out, errs, code := call(t, args(args2)...); errs != "oklog-query: "+want+"\n" || out != "" || code != exitTrouble {
			t.Errorf("%s: have %q %q (%d)", args2, out, errs, code)
		}
	}
	if out, errs, code := call(t, "help", "cat"); code != 0 || errs != "" || !strings.HasPrefix(out, "oklog-query cat - ") {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
}
