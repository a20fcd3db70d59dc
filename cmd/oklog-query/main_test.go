package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/objstore/dir"
	"oklog/objstore/segment"
	"oklog/query"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call runs the program.
func call(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"oklog-query"}, args...), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

// record is one to be stored.
type record struct {
	text  string
	piece segment.Piece
}

func plain(texts ...string) (records []record) {
	for _, text := range texts {
		records = append(records, record{text: text})
	}
	return records
}

// put encodes records of one source, read at the same time, as a segment.
func put(t testing.TB, at time.Time, source []string, records []record) (segment.Name, []byte) {
	t.Helper()
	src, err := segment.ParseSource(source)
	if err != nil {
		t.Fatal(err)
	}
	m, err := segment.NewMinter(rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := segment.Block{Sources: segment.Sources{m.Session(): src}}
	for _, r := range records {
		id, err := m.Now(uint64(at.UnixMilli()), 1)
		if err != nil {
			t.Fatal(err)
		}
		b.Append(id.First(), []byte(r.text), r.piece)
	}
	w, err := segment.NewWriter(segment.WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w.Reset(&buf)
	c := b.Cursor()
	if err := w.Take(&c, c.Left()); err != nil {
		t.Fatal(err)
	}
	name, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return name, buf.Bytes()
}

// folder makes a bucket and returns its URL.
func folder(t testing.TB) (objstore.Bucket, string) {
	t.Helper()
	path := t.TempDir()
	b, err := dir.Open(path, dir.Config{Make: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return b, "file://" + path
}

func store(t testing.TB, b objstore.Bucket, topic string, at time.Time, records []record) string {
	t.Helper()
	name, data := put(t, at, []string{"host=a", "job=test"}, records)
	key := name.Key(topic)
	if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	return key
}

var at = time.Date(2026, 11, 22, 17, 10, 49, 123e6, time.UTC)

const when = "2026-11-22T17:10:49.123Z"

func TestPrints(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("error one", "fine two", "ERROR three"))
	store(t, b, "web", at.Add(time.Second), plain("error 100% four"))
	base := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	const all = "error one\nfine two\nERROR three\nerror 100% four\n"
	for _, c := range []struct {
		args string // separated by spaces; _ is one in an argument
		want string
		code int
	}{
		{"", all, 0},
		{"error", "error one\nerror 100% four\n", 0},
		{"100%_four", "error 100% four\n", 0},
		{"-i error", "error one\nERROR three\nerror 100% four\n", 0},
		{"error -i", "error one\nERROR three\nerror 100% four\n", 0},
		{"error --ignore-case -c", "3\n", 0},
		{"-ic error", "3\n", 0},
		{"-vi error", "fine two\n", 0},
		{"-iv -e error", "fine two\n", 0},
		{"-ie three", "ERROR three\n", 0},
		{"-e one -e two", "error one\nfine two\n", 0},
		{"-e one,two", "", 1},
		{"-n1 error", "error one\n", 0},
		{"-vn1 error", "fine two\n", 0},
		{"-n=1 error", "error one\n", 0},
		{"-iethree", "ERROR three\n", 0},
		{"absent", "", 1},
		{"-c absent", "0\n", 1},
		{"--regex ^(error|fine)", "error one\nfine two\nerror 100% four\n", 0},
		{"e.r --regex", "error one\nerror 100% four\n", 0},
		{"e.r", "", 1},
		{"--limit 2", "error one\nfine two\n", 0},
		{"--limit=1 error --newest", "error 100% four\n", 0},
		{"--newest", "error 100% four\nERROR three\nfine two\nerror one\n", 0},
		{"-n 1 -v error", "fine two\n", 0},
		{"--time one", when + " error one\n", 0},
		{"--time --show-source one", when + " {host=a job=test} error one\n", 0},
		{"--color always one", "error \x1b[1;31mone\x1b[0m\n", 0},
		{"--color always -i three|FOUR -E", "ERROR \x1b[1;31mthree\x1b[0m\nerror 100% \x1b[1;31mfour\x1b[0m\n", 0},
		{"-on1 -E e.r", "err\n", 0},
		{"-o -E -i r+[^r]", "rro\nr \nRRO\nR \nre\nrro\nr \n", 0},
		{"--color always -v error", "fine two\nERROR three\n", 0},
		{"--color never one", "error one\n", 0},
		{"--from " + when + " --to 2026-11-22T17:10:49.124Z two", "fine two\n", 0},
		{"--from 2026-11-22T18:10:50+01:00", "error 100% four\n", 0},
		{"-- -x", "", 1},
		{"-e -x", "", 1},
	} {
		args := slices.Clone(base)
		for arg := range strings.FieldsSeq(c.args) {
			args = append(args, strings.ReplaceAll(arg, "_", " "))
		}
		out, errs, code := call(t, args...)
		if out != c.want || errs != "" || code != c.code {
			t.Errorf("%s:\nwant %d %q\nhave %d %q %q", c.args, c.code, c.want, code, out, errs)
		}
	}
	// Bounds from the environment, and ULIDs as a cursor from page to page.
	t.Setenv("OKLOG_BUCKET", url)
	t.Setenv("OKLOG_TOPIC", "web")
	from, have := "2026-11-22", ""
	for {
		out, errs, code := call(t, "--from", from, "--to", "2026-11-23", "--limit", "1", "--ulid")
		if code == exitNone {
			break
		}
		id, text, ok := strings.Cut(out, " ")
		if !ok || len(id) != 26 || errs != "" {
			t.Fatalf("have %q %q", out, errs)
		}
		from, have = id, have+text
	}
	if have != all {
		t.Errorf("in pages: want %q, have %q", all, have)
	}
}

func TestPrintsAnyBytes(t *testing.T) {
	b, url := folder(t)
	texts := []string{"", "%s %d 100%", "nul \x00", "cr\r", "\xff\xfe", strings.Repeat("x", 1<<20), "no newline"}
	store(t, b, "web", at, plain(texts...))
	args := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	out, errs, code := call(t, args...)
	if want := strings.Join(texts, "\n") + "\n"; out != want || errs != "" || code != 0 {
		t.Errorf("%d bytes instead of %d, %q, %d", len(out), len(want), errs, code)
	}
	out, _, _ = call(t, append(args, "--json")...)
	for i, l := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		var have struct {
			ULID, Time string
			Source     map[string]string
			Text       *string
			Base64     []byte `json:"text_base64"`
		}
		if err := json.Unmarshal([]byte(l), &have); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		text := string(have.Base64)
		if have.Text != nil {
			text = *have.Text
		}
		if text != texts[i] || have.Time != when || len(have.ULID) != 26 || have.Source["host"] != "a" || (have.Text == nil) != (texts[i] == "\xff\xfe") {
			t.Errorf("record %d: %.200s", i, l)
		}
	}
}

// The pieces of a record that was cut come out as one line.
func TestPieces(t *testing.T) {
	b, url := folder(t)
	const first, middle, last = segment.Continued, segment.Continues | segment.Continued, segment.Continues
	store(t, b, "web", at, []record{{"before", 0}, {"one ", first}, {"two ", middle}, {"three", last}, {"x1", first}, {"y2", last}, {"after", 0}})
	args := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	for _, c := range []struct{ args, want string }{
		{"", "before\none two three\nx1y2\nafter\n"},
		{"-c", "4\n"},
		{"--limit 2", "before\none two three\n"},
		{"o", "before\none two \n"},
		{"one", "one \n"},
		{"e", "before\none \nthree\nafter\n"},
		{"--newest", "after\ny2\nx1\nthree\ntwo \none \nbefore\n"},
		{"--newest --limit 2", "after\ny2\nx1\n"},
		{"--time one -e two", ""},
	} {
		out, _, code := call(t, append(slices.Clone(args), strings.Fields(c.args)...)...)
		if c.want == "" {
			if code != exitTrouble {
				t.Errorf("%s: %d", c.args, code)
			}
			continue
		}
		if out != c.want {
			t.Errorf("%s: want %q, have %q", c.args, c.want, out)
		}
	}
	out, _, _ := call(t, append(args, "--time", "-e", "one", "-e", "two")...)
	if want := when + " one two \n"; out != want {
		t.Errorf("want %q, have %q", want, out)
	}
	out, errs, _ := call(t, append(args, "--json", "-e", "x1", "-e", "two", "-e", "three")...)
	for _, want := range []string{`"text":"two ","piece":"middle"`, `"text":"three","piece":"last"`} {
		if !strings.Contains(out, want) {
			t.Errorf("want %s in %s", want, out)
		}
	}
	if want := "oklog-query: warning: 3 of what was found are pieces of records that were cut at the size limit: each was matched by itself\n"; errs != want {
		t.Errorf("want %s\nhave %s", want, errs)
	}
	if out, errs, _ = call(t, append(args, "before")...); out != "before\n" || errs != "" {
		t.Errorf("have %q %q", out, errs)
	}
	if _, errs, _ = call(t, args...); errs != "" { // nothing is matched
		t.Errorf("have %q", errs)
	}
	out, _, _ = call(t, append(args, "--json", "x1")...)
	if !strings.Contains(out, `"text":"x1","piece":"first"`) {
		t.Errorf("have %q", out)
	}
}

func TestBadInput(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("x"))
	absent := url + "/absent"
	bound := ": want a time (2026-11-22T17:10:49Z, 2026-11-22), how long ago (5m, 1h30m, 2d), now, or a ULID"
	topic := " (want [a-z0-9][a-z0-9_.-]*, at most 100 bytes)"
	known := []string{"--bucket", url, "--topic", "web"}
	for _, c := range []struct {
		args []string
		want string // beginning, if it ends in ...
	}{
		{[]string{"--topic", "web"}, "--bucket is missing: say where the segments are, such as --bucket file:///var/lib/oklog/bucket or --bucket s3://HOST/BUCKET, set OKLOG_BUCKET, or write it into a profile (--help)"},
		{[]string{"--bucket", url}, "--topic is missing: say which topic to search, such as --topic web, or set OKLOG_TOPIC; oklog-query topics lists them"},
		{[]string{"--bucket", url, "--topic", "Web"}, `--topic: bad topic name "Web": 'W' at byte 0` + topic},
		{[]string{"--bucket", url, "--topic", "a..b"}, `--topic: bad topic name "a..b": two dots in a row` + topic},
		{[]string{"--bucket", "/tmp", "--topic", "web"}, "open bucket /tmp: it is not a URL: ..."},
		{[]string{"--bucket", "ftp://x/y", "--topic", "web"}, "open bucket ftp://x/y: there is no kind of bucket..."},
		{[]string{"--bucket", absent, "--topic", "web"}, "open folder bucket " + strings.TrimPrefix(absent, "file://") + ": bucket does not exist: there is no such folder: create it or mount what it is on, or correct --bucket"},
		{[]string{"--bucket", "mem://x", "--topic", "web"}, "--bucket mem://x: it lives within one process, so there is nothing in it here: give s3://HOST/BUCKET or file:///PATH"},
		{[]string{"--bucket", "s3://h/b", "--topic", "web"}, `open S3 bucket: "b" cannot be a bucket's name...`},
		{append(known, "--to", "1h"), "bad bound: --from 1h is not before --to 1h: the range is empty: exchange or widen them (--from was not given, and is 1h then)"},
		{[]string{"--bucket", "s3://127.0.0.1:1/logs?tls=false", "--topic", "web"}, "list segments: list ..."},
		{append(known, "--from", "yesterday"), "bad bound: --from yesterday: not understood" + bound},
		{append(known, "--to", "5"), "bad bound: --to 5: the unit is missing" + bound},
		{append(known, "--from", "1h", "--to", "2h"), "bad bound: --from 1h is not before --to 2h: the range is empty: exchange or widen them"},
		{append(known, "--regex", "a(b"), `bad pattern "a(b": missing closing ): mend it, or leave out --regex to search for the text as it is`},
		{append(known, "a", "b.log"), `2 patterns ("a", "b.log"): want one: put it in quotes if it holds spaces, or give several with -e; no files are searched, but a topic (--topic), and its sources (--source)`},
		{append(known, "stats", "b"), `2 patterns ("stats", "b"): want one: put it in quotes if it holds spaces, or give several with -e; the command stats has to be the first argument: oklog-query stats ...`},
		{append(known, "--histogram", "5m", "b"), "the step of a histogram stands behind a =: --histogram=5m"},
		{append(known, "a", "b"), `2 patterns ("a", "b"): want one: put it in quotes if it holds spaces, or give several with -e`},
		{append(known, "a", "-e", "b"), `the pattern "a" stands beside -e: give it with -e, too`},
		{append(known, "--limit", "0"), "--limit 0: want at least 1"},
		{append(known, "--limit", "-5"), "--limit -5: want at least 1"},
		{append(known, "--limit", "x"), "--limit x: want a number of records, at least 1 (-n is the same: records have no line numbers)"},
		{append(known, "--nonsense"), "there is no flag --nonsense: see oklog-query --help; to search for a text that begins with -, write -e --nonsense"},
		{append(known, "-iz"), "there is no flag -iz: see oklog-query --help; to search for a text that begins with -, write -e -iz"},
		{append(known, "-nx"), "--limit x: want a number of records, at least 1 (-n is the same: records have no line numbers)"},
		{append(known, "--topic"), "flag needs an argument: -topic: see oklog-query --help"},
		{append(known, "--color", "red"), "--color red: want auto, always or never"},
		{append(known, "--max-unflushed", "0"), "--max-unflushed 0: want at least a byte, or leave out --nats to search what is flushed"},
		{append(known, "--max-unflushed", "lots"), `bad size "lots": want a number of bytes like 64MiB or 1.5GB (--max-unflushed)`},
		{append(known, "--nats", "http://x"), "connect to NATS: bad URL..."},
		{append(known, "--nats", "nats://127.0.0.1:1"), "connect to NATS..."},
	} {
		start := time.Now()
		out, errs, code := call(t, c.args...)
		want, open := strings.CutSuffix(c.want, "...")
		fits := errs == "oklog-query: "+want+"\n" || open && strings.HasPrefix(errs, "oklog-query: "+want)
		if !fits || strings.Count(errs, "\n") != 1 || out != "" || code != exitTrouble {
			t.Errorf("%q:\nwant %s\nhave %s (%d, %q)", c.args, c.want, errs, code, out)
		}
		t.Logf("%s%v", errs, time.Since(start).Round(time.Millisecond))
	}
}

// Damage is named, and what is there is printed; the status tells.
func TestPartial(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("sound"))
	key := store(t, b, "web", at, plain("broken"))
	if err := b.Put(t.Context(), key, strings.NewReader("foreign"), 7); err != nil {
		t.Fatal(err)
	}
	out, errs, code := call(t, "--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "-v", "absent")
	want := "oklog-query: the answer is partial: records may be missing, 1 thing could not be read:\n  " + key + " (" + when + " to " + when + "): "
	if out != "sound\n" || code != exitTrouble || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 2 {
		t.Errorf("want %s\nhave %q, %s (%d)", want, out, errs, code)
	}
	for i := range 20 {
		if err := b.Put(t.Context(), fmt.Sprintf("web/2026-11-22/17/junk-%d", i), strings.NewReader(""), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, errs, _ = call(t, "--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23")
	if !strings.Contains(errs, " 21 things could not be read:\n") || !strings.HasSuffix(errs, "\n  and 11 more\n") || strings.Count(errs, "\n") != 12 {
		t.Errorf("have %s", errs)
	}
}

func TestStats(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("one", "two"))
	out, errs, code := call(t, "--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "--stats", "two")
	if out != "two\n" || code != 0 {
		t.Errorf("have %q %d", out, code)
	}
	for _, want := range []string{
		"segments   1 listed, 1 in range, 1 opened\n",
		"blocks     1: 0 out of range, 0 replaced by compacted ones, 0 pruned by filters, 1 read (1 of them matched), 0 not needed\n",
		`filters    not asked: the pattern needs no six bytes in a row; a record must hold "two"`,
		"records    2 scanned, 1 found, 0 duplicates removed, 0 pieces\n",
		"requests   1 range reads, 1 pages of listings\n",
		"problems   0\n",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("want %q in\n%s", want, errs)
		}
	}
}

// Records that nobody has flushed are found through NATS.
func TestUnflushed(t *testing.T) {
	b, url := folder(t)
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	now := time.Now()
	store(t, b, "web", now.Add(-time.Second), plain("flushed"))
	args := []string{"--bucket", url, "--nats", server.ClientURL(), "--topic", "web"}

	// Before there is a stream nothing was published, which is worth a word.
	out, errs, code := call(t, args...)
	if out != "flushed\n" || code != 0 || !strings.HasPrefix(errs, "oklog-query: warning: nothing is unflushed: ") || strings.Count(errs, "\n") != 1 {
		t.Errorf("have %q %q %d", out, errs, code)
	}

	s, err := stream.Connect(t.Context(), stream.Config{URL: server.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish := func(topic string, records []record) (segment.Name, []byte) {
		name, data := put(t, now, nil, records)
		ack, err := s.Publish(t.Context(), topic, name.String(), data)
		if err == nil {
			err = ack.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return name, data
	}
	publish("other", plain("of another topic"))
	name, data := publish("web", plain("unflushed"))
	for range 2 {
		out, errs, code = call(t, args...)
		if out != "flushed\nunflushed\n" || errs != "" || code != 0 {
			t.Errorf("have %q %q %d", out, errs, code)
		}
		// And flushed, before it is acked.
		if err := b.Put(t.Context(), name.Key("web"), bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
	}
	_, errs, code = call(t, append(args, "--max-unflushed", "10B")...)
	if code != exitTrouble || !strings.Contains(errs, ": ask again in a moment, raise --max-unflushed (with --server it does not count), or see whether ingesters are behind\n") {
		t.Errorf("have %q %d", errs, code)
	}
}

// Whoever reads the output may have seen enough.
func TestClosedPipe(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain(slices.Repeat([]string{strings.Repeat("x", 1000)}, 5000)...))
	args := []string{"oklog-query", "--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	r, w := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int)
	go func() { code <- run(t.Context(), args, nil, w, &errs) }()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != exitFound || errs.Len() > 0 {
		t.Errorf("have %d %s", c, errs.String())
	}
	// A disk that is full is another matter.
	if c := run(t.Context(), args, nil, brokenWriter{}, &errs); c != exitTrouble || errs.String() != "oklog-query: write output: no space left\n" {
		t.Errorf("have %d %s", c, errs.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestInterrupt(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain(slices.Repeat([]string{strings.Repeat("x", 1000)}, 5000)...))
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"oklog-query", "--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}, nil, w, &errs)
	}()
	buf := make([]byte, 1000)
	if _, err := io.ReadFull(r, buf); err != nil {
		t.Fatal(err)
	}
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if c := <-code; c != exitInterrupt || errs.String() != "oklog-query: interrupted: the answer is not complete\n" {
		t.Errorf("have %d %s", c, errs.String())
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// A copy that is damaged is read from the other bucket, whichever of them is asked first.
func TestDamagedCopy(t *testing.T) {
	damage := map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func([]byte) []byte { return nil },
		"text":      func(b []byte) []byte { b[9] ^= 1; return b },
		"foreign":   func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
		"trailer":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	}
	for name, spoil := range damage {
		for _, first := range []bool{true, false} {
			one, oneURL := folder(t)
			two, twoURL := folder(t)
			key := store(t, one, "web", at, plain("x", "y", "z"))
			info, err := one.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, info.Size)
			if _, err := one.Get(t.Context(), key, 0, data); err != nil {
				t.Fatal(err)
			}
			bad := two
			if first {
				bad = one
				if err := two.Put(t.Context(), key, bytes.NewReader(data), info.Size); err != nil {
					t.Fatal(err)
				}
			}
			data = spoil(slices.Clone(data))
			if err := bad.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
				t.Fatal(err)
			}
			out, errs, code := call(t, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "--bucket", oneURL, "--bucket", twoURL, "-c")
			if out != "3\n" || code != 0 || first != strings.Contains(errs, "sound ones from another") {
				t.Errorf("%s, first %v: have %q %q %d", name, first, out, errs, code)
			}
		}
	}
}

// One of two buckets is enough, and worth a word.
func TestLostBucket(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("x"))
	_, copyURL := folder(t)
	args := []string{"--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "--bucket", url}
	if out, errs, code := call(t, append(args, "--bucket", copyURL)...); out != "x\n" || errs != "" || code != 0 {
		t.Errorf("have %q %q %d", out, errs, code)
	}
	want := "oklog-query: warning: a bucket cannot be used at present; going on with the others: open folder bucket " + strings.TrimPrefix(url, "file://") + "-lost: bucket does not exist: there is no such folder: create it or mount what it is on, or correct --bucket\n"
	if out, errs, code := call(t, append(args, "--bucket", url+"-lost")...); out != "x\n" || errs != want || code != 0 {
		t.Errorf("have %q %q %d", out, errs, code)
	}
}

func TestHelpAndVersion(t *testing.T) {
	out, errs, code := call(t, "--help")
	for _, want := range []string{"Usage:\n", "Commands:\n", "Daily use", "--ignore-case, -i", "--bucket URL", "[$OKLOG_TOPIC]", "(default: 1h)", "--histogram[=STEP]"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	if code != 0 || errs != "" {
		t.Errorf("%d %s", code, errs)
	}
	brief, errs, code := call(t, "-h")
	if code != 0 || errs != "" || strings.Count(brief, "\n") > 26 {
		t.Errorf("%d %s %s", code, brief, errs)
	}
	if out, _, code := call(t, "--version"); code != 0 || out != "oklog-query "+version+"\n" {
		t.Errorf("have %d %s", code, out)
	}
}

func TestHintTopics(t *testing.T) {
	b, _ := folder(t)
	hint := func(topic string, days int) string {
		return hintTopics(t.Context(), b, topic, query.Range{To: segment.MakeID(uint64(at.AddDate(0, 0, days).UnixMilli()), 0, 0)}, nil)
	}
	if have, want := hint("web", 9), "there are no segments at all in this bucket"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	store(t, b, "web", at, plain("x"))
	if have, want := hint("web", 9), "topic web has no segments between --from and --to; there are some of 2026-11-22"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	for _, topic := range []string{"web-2", "web0", "web.x", "app"} {
		store(t, b, topic, at, plain("x"))
	}
	store(t, b, "web", at.AddDate(0, 0, 3), plain("x"))
	if have, want := hint("web", 9), "topic web has no segments between --from and --to; there are some from 2026-11-22 to 2026-11-25"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	if have, want := hint("web", 1), "topic web has no segments between --from and --to; there are some from 2026-11-22 to 2026-11-25, the next of them of 2026-11-25"; have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	have := hint("wbe", 0)
	if want := "there is no topic wbe; topics here: app web web-2 web.x web0"; sortedWords(have) != sortedWords(want) {
		t.Errorf("want %s, have %s", want, have)
	}
}

func sortedWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestColour(t *testing.T) {
	if isTerminal(&bytes.Buffer{}) {
		t.Error("a buffer is a terminal")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if isTerminal(f) {
		t.Error("a file is a terminal")
	}
}

// A topic that was misspelt is told from one with no matches.
func TestHintsTopics(t *testing.T) {
	b, url := folder(t)
	ask := func(topic, from string) string {
		t.Helper()
		out, errs, code := call(t, "--bucket", url, "--topic", topic, "--from", from, "--to", "2026-12-01", "x")
		if out != "" || code != exitNone {
			t.Errorf("have %q %d", out, code)
		}
		return errs
	}
	if have, want := ask("wbe", "2026-11-22"), "oklog-query: there are no segments at all in this bucket (what is not flushed yet is found with --nats)\n"; have != want {
		t.Errorf("want %s\nhave %s", want, have)
	}
	store(t, b, "web", at, plain("one"))
	if have, want := ask("web", "2026-11-28"), "oklog-query: topic web has no segments between --from and --to; there are some of 2026-11-22 (what is not flushed yet is found with --nats)\n"; have != want {
		t.Errorf("want %s\nhave %s", want, have)
	}
	store(t, b, "db", at, plain("one"))
	if have, want := ask("wbe", "2026-11-22"), "oklog-query: there is no topic wbe; topics here: db web (what is not flushed yet is found with --nats)\n"; have != want {
		t.Errorf("want %s\nhave %s", want, have)
	}
	if have := ask("web", "2026-11-22"); have != "" {
		t.Errorf("have %s", have)
	}
}

// What a query would read is said before it does, and with --brute nothing is pruned.
func TestMaxBytesAndBrute(t *testing.T) {
	b, url := folder(t)
	lines := make([]string, 2000)
	for i := range lines {
		lines[i] = fmt.Sprintf("request %d took %d ms on host-%d", i*i, i%97, i%13)
	}
	store(t, b, "web", at, plain(lines...))
	known := []string{"--bucket", url, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}
	_, errs, code := call(t, append(known, "--max-bytes", "1kB", "request")...)
	if want := "oklog-query: the query would read "; code != exitTrouble || !strings.HasPrefix(errs, want) || !strings.Contains(errs, "--max-bytes is 1000 B: raise it") {
		t.Errorf("have %q, %d", errs, code)
	}
	if out, errs, code := call(t, append(known, "--max-bytes", "10MB", "-c", "request")...); out != "2000\n" || code != exitFound {
		t.Errorf("have %q %q, %d", out, errs, code)
	}
	cached := append(known, "--cache", t.TempDir(), "--cache-size", "200MiB", "--brute", "--stats", "-c", "host-7")
	for range 2 {
		out, errs, code := call(t, cached...)
		if out != "154\n" || code != exitFound || !strings.Contains(errs, "filters    not asked: --brute\n") {
			t.Errorf("have %q %q, %d", out, errs, code)
		}
	}
	if _, errs, code := call(t, append(known, "--cache", t.TempDir(), "--cache-size", "1MiB", "x")...); code != exitTrouble || !strings.Contains(errs, "--cache-size 1MiB: want at least 150.0 MB") {
		t.Errorf("have %q, %d", errs, code)
	}
}
