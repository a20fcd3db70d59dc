package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"oklog/objstore"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api"
	"oklog/query/api/wire"
)

// serve answers over HTTP what is in a bucket.
func serve(t *testing.T, b objstore.Bucket, tokens string) string {
	t.Helper()
	engine, err := query.New(query.Config{Bucket: b})
	if err != nil {
		t.Fatal(err)
	}
	cfg := api.Config{Runner: engine, Parts: api.Parts{Estimator: engine, Sources: engine, Topics: topicsIn{b}}}
	if tokens != "" {
		path := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(path, []byte(tokens), 0o600); err != nil {
			t.Fatal(err)
		}
		if cfg.Tokens, err = api.OpenTokens(path, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a)
	t.Cleanup(func() {
		a.Stop()
		s.Close()
	})
	return s.URL
}

type topicsIn struct{ b objstore.Bucket }

func (t topicsIn) Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error] {
	return query.Topics(ctx, t.b, time.Now())
}

// lossy is a bucket whose listings may lack objects.
type lossy struct{ objstore.Bucket }

func (l lossy) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range l.Bucket.List(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
		yield(objstore.Info{}, objstore.ErrIncomplete)
	}
}

// Topics that are known are told also where others may be lacking, and that they may be.
func TestTopicsAreLacking(t *testing.T) {
	b, url := folder(t)
	storeFrom(t, b, "web", at, nil, plain("x"))
	storeFrom(t, b, "db", at, nil, plain("x"))
	for _, where := range [][]string{{"--bucket", url, "--bucket", url + "-lost", "--write-quorum", "1"}, {"--server", serve(t, lossy{b}, "")}} {
		for _, form := range []string{"", "--long", "--json"} {
			out, errs, code := call(t, append(append(where, "topics"), strings.Fields(form)...)...)
			if !strings.Contains(out, "db") || !strings.Contains(out, "web") || form == "--long" && !strings.Contains(out, "2026-11-22") ||
				!strings.HasPrefix(errs, "oklog-query: ") || !strings.Contains(errs, "listing may lack objects") || strings.Count(errs, "\n") != 1 || code != exitTrouble {
				t.Errorf("%s %s: have\n%s%s(%d)", where, form, out, errs, code)
			}
		}
	}
}

// What a server says is printed as what is found without one.
func TestServer(t *testing.T) {
	b, url := folder(t)
	storeFrom(t, b, "web", at, []string{"host=web1"}, plain("error one", "fine", "error two error", `{"path":"/","n":1}`, "\xff binary"))
	storeFrom(t, b, "web", at.Add(time.Second), []string{"host=web2", "zone=a b"}, plain("error three", "ls", `{"path":"/a","n":7}`))
	storeFrom(t, b, "web", at.Add(2*time.Second), []string{"host=web1"}, plain("a first", "in two"))
	storeFrom(t, b, "web", at.Add(3*time.Second), []string{"host=web2", "zone=a b"}, plain("ls in three"))
	storeFrom(t, b, "db", at, nil, plain("x"))
	server := serve(t, b, "")
	const day = " --topic web --from 2026-11-22 --to 2026-11-23"
	for _, args := range []string{
		day, "error" + day, "-c error" + day, "-lc error" + day, "-l" + day, "-q absent" + day, "-C1 three" + day, "-A1 -e one -e three" + day, "-B2 in" + day, "-B2 --newest -e fine -e in" + day, "-o -w error" + day, "-co error" + day,
		"-i -v ERROR --newest -m2" + day, "-E ^e.*e$ --time --show-source --ulid" + day, "--json" + day, "-0 fine" + day, "--source host=web2 --json" + day, "--where n>0" + day,
		"--histogram error" + day, "--histogram=1h" + day, "--histogram=1d --tz Asia/Kathmandu" + day, "--histogram=1d --tz local" + day, "--top path" + day, "--top n --json" + day,
		"--tz Europe/Berlin --time three --topic web --from 2026-11-22T18:10 --to 2026-11-22T18:11",
		"sources" + day, "sources -l --source host=web1" + day, "sources --json" + day, "topics", "topics -l", "topics --json", "absent" + day,
	} {
		fields := strings.Fields(args)
		out1, errs1, code1 := call(t, append(slices.Clone(fields), "--bucket", url)...)
		out2, errs2, code2 := call(t, append(slices.Clone(fields), "--server", server)...)
		if out1 != out2 || errs1 != errs2 || code1 != code2 {
			t.Errorf("%s:\n%s%s(%d)\nwith a server\n%s%s(%d)", args, out1, errs1, code1, out2, errs2, code2)
		}
	}
	out, errs, code := call(t, "stats", "--server", server, "--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23", "error")
	if !strings.HasPrefix(out, "segments  4\nblocks    4\nbytes     ") || errs != "" || code != exitFound {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
	for _, c := range []struct{ args, want string }{
		{"--topic wbe x --from 2026-11-22 --to 2026-11-23", "there is no topic wbe, or the token may not see it; topics here: db web"},
		{"--topic web x --from 2026-11-24 --to 2026-11-25", "topic web has nothing between --from and --to; there are segments from 2026-11-22 to 2026-11-22"},
	} {
		out, errs, code := call(t, append(strings.Fields(c.args), "--server", server)...)
		if out != "" || errs != "oklog-query: "+c.want+"\n" || code != exitNone {
			t.Errorf("%s: have %s%s(%d)", c.args, out, errs, code)
		}
	}

	for args, want := range map[string]string{
		"web absent":                        "topic web has nothing between --from and --to; there are segments from 2026-11-22 to 2026-11-22; without --from, what is searched is the last hour",
		"web absent --from 1h":              "topic web has nothing between --from and --to; there are segments from 2026-11-22 to 2026-11-22",
		"web topic" + day:                   `"topic" was searched as a text: there is a command topics`,
		"web tpoics" + day:                  `"tpoics" was searched as a text: there is a command topics`,
		"web -e topic" + day:                "",
		"web fail" + day:                    "", // that is a word, and like tail
		"web --where level:warn" + day:      "--where level:warn looked for this text in whole records: a field is compared with =, as in level=warn",
		"web --where a.b~x --where n" + day: "--where a.b~x looked for this text in whole records: a field is compared with =, as in a.b=x",
		"web --where '17:10'" + day:         "",
	} {
		if want != "" {
			want = "oklog-query: " + want + "\n"
		}
		if out, errs, code := call(t, append(strings.Fields("--topic "+args), "--server", server)...); out != "" || errs != want || code != exitNone {
			t.Errorf("%s: want %s, have %s%s(%d)", args, want, out, errs, code)
		}
	}

	// What is among the arguments counts before the environment.
	t.Setenv("OKLOG_SERVER", "http://127.0.0.1:1")
	if out, errs, code := call(t, "--bucket", url, "--topic", "web", "--from", "2026-11-22", "one"); out != "error one\n" || errs != "" || code != exitFound {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
	t.Setenv("OKLOG_SERVER", "")
	t.Setenv("OKLOG_BUCKET", "file:///nowhere")
	if out, errs, code := call(t, "--server", server, "--topic", "web", "--from", "2026-11-22", "one"); out != "error one\n" || errs != "" || code != exitFound {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
}

func TestServerErrors(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("x"))
	const secret = "0123456789abcdef0123456789abcdef"
	server := serve(t, b, "me "+secret+" topics=web\n")
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := func(more ...string) []string {
		return append([]string{"--topic", "web", "--from", "2026-11-22", "--to", "2026-11-23"}, more...)
	}
	t.Setenv("OKLOG_TOKEN", "another-token-that-is-not-known")
	for _, ok := range [][]string{args("--server", server, "--token", secret), args("--server", server, "--token-file", file("good", secret+"\n"))} {
		if out, errs, code := call(t, ok...); out != "x\n" || errs != "" || code != exitFound {
			t.Errorf("%q: have %s%s(%d)", ok, out, errs, code)
		}
	}
	t.Setenv("OKLOG_TOKEN", "")
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is given up
	secure.StartTLS()
	defer secure.Close()
	for _, c := range []struct {
		args []string
		want string // part of it
	}{
		{args("--server", secure.URL), "(--server-ca)"},
		{args("--server", server), "(--token-file)"},
		{args("--server", server, "--token", "wrong"), "(--token-file)"},
		{args("--server", server, "--token-file", file("empty", "\n")), "want a token in it"},
		{args("--server", server, "--token-file", filepath.Join(dir, "absent")), "--token-file: open "},
		{args("--server", "logs:8080"), "--server logs:8080: want a URL, such as http://logs:8080 or https://logs:8080"},
		{args("--server", "http://127.0.0.1:1"), "see whether it runs"},
		{args("--server", server, "--bucket", url), "--bucket says how to search without a server"},
		{args("--server", server, "--cache", dir), "--cache says how to search without a server"},
		{args("--server", server, "--token", secret, "-E", "a("), "missing closing )"},
		{[]string{"--server", server, "--token", secret, "--topic", "db", "x"}, "refused"},
	} {
		out, errs, code := call(t, c.args...)
		if !strings.HasPrefix(errs, "oklog-query: ") || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || out != "" || code != exitTrouble {
			t.Errorf("%q: want %s, have %s%s(%d)", c.args, c.want, out, errs, code)
		}
	}
}

// A tail goes on where a server has ended it: what has come late of the time before the last record is shown, nothing is shown twice, and
// what may be lacking is told.
func TestServerTailGoesOn(t *testing.T) {
	day := time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)
	line := func(ms int) string {
		r := query.Record{}
		r.ID, r.Text = segment.MakeID(uint64(day.UnixMilli())+uint64(ms), uint64(ms%2+1), uint32(ms)), fmt.Appendf(nil, "line %d", ms)
		return "data: " + string((&query.LineEncoder{}).Append(nil, r)) + "\n"
	}
	answers := [][]int{
		{1000, 1002, 30000, 29000}, // the last one came late
		{29000, 29500, 30000, 30001},
		{40000, 40001}, // too many came meanwhile
		{40001, 40002},
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.Version, "1")
		if r.URL.Path != wire.Tail {
			http.NotFound(w, r) // what topics there are is not told
			return
		}
		asked = append(asked, r.URL.Query().Get("from"))
		w.Header().Set("Content-Type", "text/event-stream")
		for _, ms := range answers[len(asked)-1] {
			fmt.Fprint(w, line(ms))
		}
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	run(t.Context(), []string{"oklog-query", "tail", "--server", s.URL, "--topic", "web", "-n", "5", "-m", "9"}, nil, &out, &errs)
	if want := "line 1000\nline 1002\nline 30000\nline 29000\nline 29500\nline 30001\nline 40000\nline 40001\nline 40002\n"; out.String() != want {
		t.Errorf("have %s", out.String())
	}
	if have := errs.String(); strings.Count(have, "may be missing") != 1 || !strings.Contains(have, "records between ") {
		t.Errorf("have %s", have)
	}
	if len(asked) != 4 || asked[0] != "" && strings.HasPrefix(asked[0], "0") || asked[1] != segment.Before(segment.MakeID(uint64(day.UnixMilli())+1000, 1, 1000)).String() {
		t.Errorf("have %q", asked)
	}
}

// A tail that has nothing to show yet goes on as well where a server ends it, or is away for a while; one that never began does not.
func TestServerTailOfNothingGoesOn(t *testing.T) {
	started := time.Now()
	var asked []time.Time // from when
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.Version, "1")
		if r.URL.Path != wire.Tail {
			http.NotFound(w, r)
			return
		}
		from, err := ulid.ParseStrict(r.URL.Query().Get("from"))
		if err == nil {
			asked = append(asked, ulid.Time(from.Time()))
		} else {
			asked = append(asked, time.Time{})
		}
		switch len(asked) {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 3:
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, `data: {"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R01","time":"2026-11-22T17:10:49.501Z","source":{},"text":"at last"}`+"\n\n")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": the tail of web\n\n")
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"oklog-query", "tail", "--server", s.URL, "--topic", "web", "-n", "0", "-m", "1"}, nil, &out, &errs)
	if out.String() != "at last\n" || code != exitFound || len(asked) != 3 {
		t.Fatalf("%d requests: %s%s(%d)", len(asked), out.String(), errs.String(), code)
	}
	for _, from := range asked[1:] {
		if d := from.Sub(started); d < -3*time.Second || d > time.Minute {
			t.Errorf("asked again from %s after the start on", d)
		}
	}
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer away.Close()
	if _, _, code := call(t, "tail", "--server", away.URL, "--topic", "web"); code != exitTrouble {
		t.Errorf("a server that is away from the beginning: %d", code)
	}
}

// A tail goes on at the last record where a server has ended it.
func TestServerTail(t *testing.T) {
	line := func(i int) string {
		return fmt.Sprintf(`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R%02d","time":"2026-11-22T17:10:49.501Z","source":{},"text":"line %d"}`, i, i)
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.Version, "1")
		if r.URL.Path != wire.Tail {
			http.NotFound(w, r) // what topics there are is not told
			return
		}
		asked = append(asked, r.URL.RawQuery)
		w.Header().Set("Content-Type", "text/event-stream")
		if len(asked) == 1 {
			fmt.Fprintf(w, "data: %s\n\n: alive\n\nevent: skipped\ndata: {\"count\":3,\"text\":\"gone\"}\n\ndata: %s\n\n", line(1), line(2))
			return
		}
		fmt.Fprintf(w, "data: %s\n\ndata: %s\n\ndata: %s\n\n", line(2), line(3), line(4))
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"oklog-query", "tail", "--server", s.URL, "--topic", "web", "-n", "5", "-m", "3", "-i", "line"}, nil, &out, &errs)
	if out.String() != "line 1\nline 2\nline 3\n" || code != exitFound {
		t.Errorf("have %s(%d)", out.String(), code)
	}
	if have := errs.String(); !strings.HasPrefix(have, "oklog-query: 3 records skipped: gone\n") || !strings.HasSuffix(have, "; asking again for what has come since\n") || strings.Count(have, "\n") != 2 {
		t.Errorf("have %s", have)
	}
	if len(asked) != 2 || !strings.Contains(asked[0], "n=5") || !strings.Contains(asked[1], "from=01KAPV2P4X4Q8S3M6W1Z0N5R00") {
		t.Errorf("have %q", asked)
	}
	if _, errs, code := call(t, "tail", "--topic", "web"); code != exitTrouble || !strings.HasPrefix(errs, "oklog-query: --nats is missing: ") {
		t.Errorf("have %s(%d)", errs, code)
	}
	// Somebody who has seen enough ends it.
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"oklog-query", "tail", "--server", s.URL, "--topic", "web"}, nil, w, io.Discard); code != exitFound {
		t.Errorf("have %d", code)
	}
}

// An estimate that a server calls partial is told to be, as any partial answer.
func TestServerEstimateIsPartial(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{wire.Version: "1", wire.Segments: "2", wire.Blocks: "3", wire.Bytes: "4000", wire.Partial: "true"} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(http.StatusPartialContent)
	}))
	defer s.Close()
	out, errs, code := call(t, "stats", "--server", s.URL, "--topic", "web", "x")
	if code != exitTrouble || !strings.Contains(errs, "the answer is partial") || !strings.Contains(out, "blocks    3\n") {
		t.Errorf("have %s%s(%d)", out, errs, code)
	}
}
