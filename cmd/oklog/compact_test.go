package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/compact"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/open"
	"oklog/query"
)

// folders makes buckets, and the arguments that name them.
func folders(t *testing.T, n int) (dirs, args []string) {
	t.Helper()
	for range n {
		dir := t.TempDir()
		dirs, args = append(dirs, dir), append(args, "--bucket", "file://"+filepath.ToSlash(dir))
	}
	return dirs, args
}

// with is a command with the arguments that name buckets.
func with(buckets []string, args ...string) []string { return slices.Concat(args, buckets) }

// succeeds runs a command that ends with status 0.
func succeeds(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := oklog(t.Context(), "", args...)
	if code != exitOK {
		t.Fatalf("oklog %q ends with %d: %s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

// fill writes segments of n records each from some times on.
func fill(t *testing.T, buckets []string, topic string, n int, from ...time.Time) {
	t.Helper()
	for _, at := range from {
		var lines strings.Builder
		for i := range n {
			fmt.Fprintf(&lines, "%s %s line %d of 100%%\n", at.Add(time.Duration(i)*time.Millisecond).UTC().Format("2006-01-02T15:04:05.000Z"), topic, i)
		}
		code, _, stderr := oklog(t.Context(), lines.String(), with(buckets, "forward", "--mode", "bulk", "-q", "--topic", topic, "--time", "rfc3339", "--time-regex", `^\S+`)...)
		if code != exitOK {
			t.Fatal(stderr)
		}
	}
}

// records is what a query finds of a topic: ID and text of each record.
func records(t *testing.T, buckets []string, topic string) (found []string) {
	t.Helper()
	var urls []string
	for i := 1; i < len(buckets); i += 2 {
		urls = append(urls, buckets[i])
	}
	b, err := open.Bucket(t.Context(), urls, open.Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	engine, err := query.New(query.Config{Bucket: b, Copies: b.Copies()})
	if err != nil {
		t.Fatal(err)
	}
	all, err := query.ParseRange("1970-01-01", "9999-12-31", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ans, err := engine.Run(t.Context(), query.Query{Topic: topic, Range: all}, func(r query.Record) error {
		found = append(found, r.ID.String()+" "+string(r.Text))
		return nil
	})
	if err != nil || ans.Partial() {
		t.Fatalf("the answer is not whole: %v %v", err, ans.Problems)
	}
	return found
}

// tree is all the files below some folders, with their sizes and times.
func tree(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			files[path] = fmt.Sprint(info.Size(), info.ModTime())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// segments are the paths of the segments in folders, ascending.
func segments(t *testing.T, dirs ...string) (paths []string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(tree(t, dirs...))) {
		if strings.HasSuffix(path, ".zst") {
			paths = append(paths, path)
		}
	}
	return paths
}

// grow makes segments look as if they had been written some time ago.
func grow(t *testing.T, by time.Duration, dirs ...string) {
	t.Helper()
	at := time.Now().Add(-by)
	for _, path := range segments(t, dirs...) {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func fits(t *testing.T, what, have, want string) {
	t.Helper()
	if !regexp.MustCompile(`\A(?:` + want + `)\z`).MatchString(have) {
		t.Errorf("%s:\n%swant what matches\n%s", what, have, want)
	}
}

// noon is that of yesterday, whose day is over.
var noon = time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)

// ago is a time so long before that.
func ago(d time.Duration) time.Time { return noon.Add(-d) }

// What is planned is printed and not done; what is done is what was planned; a query finds the same all the time.
func TestCompact(t *testing.T) {
	dirs, buckets := folders(t, 2)
	fill(t, buckets, "web", 100, ago(0), ago(0), ago(time.Minute))
	fill(t, buckets, "web", 7, ago(24*time.Hour))
	fill(t, buckets, "app", 10, ago(time.Second), ago(0))
	topics := []string{"web", "app"}
	before := map[string][]string{}
	for _, topic := range topics {
		before[topic] = records(t, buckets, topic)
	}
	same := func(when string) {
		t.Helper()
		for _, topic := range topics {
			if have := records(t, buckets, topic); !slices.Equal(have, before[topic]) {
				t.Fatalf("%s: %s has %d records, want the %d that it had", when, topic, len(have), len(before[topic]))
			}
		}
	}
	if len(before["web"]) != 307 || len(before["app"]) != 20 {
		t.Fatalf("%d and %d records", len(before["web"]), len(before["app"]))
	}
	const took = `in [0-9.µm]*s`
	grow(t, 2*time.Hour, dirs...)
	files := tree(t, dirs...)
	out, errs := succeeds(t, with(buckets, "compact", "--dry-run")...)
	fits(t, "the plan", out, `TO BE MERGED +FROM \(UTC\) +TO +SEGMENTS +BYTES +INTO ABOUT +BYTES ABOUT +GENERATION
app +\S+ 11:59:59  12:00:00  2 .*
web +\S+ 11:59:00  12:00:00  3 .*

5 segments of [0-9.]+ kB would be merged into 2 of [0-9.]+ kB \(85 %\), 14 kB of text, in 2 merges
looked at 6 segments of [0-9.]+ kB in 2 topics `+took+"\n")
	if errs != "" {
		t.Errorf("a dry run says\n%s", errs)
	}
	if !maps.Equal(files, tree(t, dirs...)) {
		t.Error("a dry run has changed something")
	}

	out, _ = succeeds(t, with(buckets, "compact")...)
	fits(t, "the report", out, `5 segments of [0-9.]+ kB merged into 2 of [0-9.]+ kB \([0-9]+ %\), 14 kB of text, in 2 merges
looked at 6 segments of [0-9.]+ kB in 2 topics `+took+`; 5 replaced segments stay until queries that began before are over \(--grace\)
`)
	same("after the merge")
	out, _ = succeeds(t, with(buckets, "compact")...)
	fits(t, "the second report", out, `nothing to do
looked at 8 segments of .*; 5 replaced segments stay .*
`)
	grow(t, 90*time.Minute, dirs...)
	out, _ = succeeds(t, with(buckets, "compact", "--grace", "2h")...)
	fits(t, "within the grace", out, "nothing to do\n.*\n")
	out, errs = succeeds(t, with(buckets, "compact")...)
	fits(t, "after the grace", out, "5 replaced segments of [0-9.]+ kB deleted\nlooked at 8 segments of [0-9.]+ kB in 2 topics "+took+"\n")
	if errs != "" {
		t.Errorf("it says\n%s", errs)
	}
	same("after the deletion")
	if have := segments(t, dirs[0]); len(have) != 3 {
		t.Errorf("want 3 segments, have %q", have)
	}
	_, errs = succeeds(t, with(buckets, "verify")...)
	fits(t, "verify", errs, `looked at 3 segments, 6 copies of [0-9.]+ kB, 1[0-9] kB of text, `+took+": all is well\n")
}

// The report as JSON has the fields that its type documents, and nothing else is on standard output.
func TestCompactJSON(t *testing.T) {
	dirs, buckets := folders(t, 1)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	fill(t, buckets, "old", 10, ago(1000*time.Hour))
	grow(t, 500*time.Hour, dirs...)
	read := func(code int, args ...string) *compact.Report {
		t.Helper()
		var r compact.Report
		have, out, errs := oklog(t.Context(), "", with(buckets, args...)...)
		if have != code {
			t.Errorf("%q ends with %d, want %d: %s", args, have, code, errs)
		}
		dec := json.NewDecoder(strings.NewReader(out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil || dec.More() {
			t.Fatalf("%q: %v:\n%s", args, err, out)
		}
		return &r
	}
	r := read(exitOK, "compact", "--json", "--dry-run", "--retention", "10d", "--yes")
	if !r.DryRun || len(r.Jobs) != 1 || r.Jobs[0].Topic != "web" || r.Jobs[0].Segments != 2 || r.Jobs[0].RecordCount != 20 || r.Jobs[0].Generation != 1 || r.Jobs[0].IntoAbout != 1 {
		t.Errorf("the plan is %+v", r.Jobs)
	}
	if len(r.ExpiredTopics) != 1 || r.ExpiredTopics[0].Topic != "old" || r.ExpiredTopics[0].Segments != 1 || r.ExpiredTopics[0].Keep != 240*time.Hour ||
		!r.ExpiredTopics[0].From.Equal(ago(1000*time.Hour)) || len(r.ExpiredKeys) != 1 {
		t.Errorf("what expires is %+v %q", r.ExpiredTopics, r.ExpiredKeys)
	}
	if r = read(exitFindings, "compact", "--json", "--retention", "10d"); len(r.Refused) != 1 || r.Expired != 0 || r.MergedIn != 2 || r.MergedOut != 1 || r.Waiting != 2 || r.Backlog != 0 {
		t.Errorf("the report is %+v", r)
	}
	if r = read(exitOK, "compact", "--json", "--retention", "10d", "--yes"); r.Expired != 1 || r.Deleted != 0 || r.Topics != 2 {
		t.Errorf("the report is %+v", r)
	}
	if r = read(exitOK, "repair", "--deep", "--json"); r.Segments != 4 || r.Copied != 0 { // with that in the trash
		t.Errorf("the report is %+v", r)
	}
}

// Two buckets in MinIO; then one of them is away.
func TestCompactMinIO(t *testing.T) {
	server := servers.MinIO(t)
	a, b := server.NewBucket(t, "logs-a"), server.NewBucket(t, "logs-b")
	buckets := []string{"--bucket", a, "--bucket", b}
	fill(t, buckets, "web", 1000, ago(0), ago(0), ago(time.Hour))
	before := records(t, buckets, "web")
	out, _ := succeeds(t, with(buckets, "compact", "--quiet", "0", "--grace", "0")...)
	fits(t, "the report", out, "(?s)3 segments of .* merged into 1 of .*, in 1 merge\n.*")
	if have := records(t, buckets, "web"); len(have) != 3000 || !slices.Equal(have, before) {
		t.Errorf("%d records after compaction, %d before", len(have), len(before))
	}
	_, errs := succeeds(t, with(buckets, "verify", "--topic", "web")...)
	fits(t, "verify", errs, "looked at [14] segments?, [28] copies of .*: all is well\n")

	away := strings.Replace(b, "logs-b", "logs-c", 1)
	code, _, errs := oklog(t.Context(), "", "compact", "--bucket", a, "--bucket", away, "--write-quorum", "1")
	if code != exitFindings || !strings.Contains(errs, "logs-c could not be used") || strings.Contains(errs, server.SecretKey) {
		t.Errorf("with one bucket away it ends with %d:\n%s", code, errs)
	}
	wrong := strings.Replace(a, server.SecretKey, "not-the-secret", 1)
	for _, command := range []string{"compact", "verify"} {
		code, _, errs = oklog(t.Context(), "", command, "--bucket", wrong)
		if code != exitError || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "does not accept the credentials") || strings.Contains(errs, "not-the-secret") {
			t.Errorf("%s with a wrong secret ends with %d:\n%s", command, code, errs)
		}
	}
}

// Whatever is wrong with what people type: one line that says what, where, and what to do; exit 2.
func TestCompactBadInput(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, one := folders(t, 1)
	_, two := folders(t, 2)
	absent := one[1] + "/absent"
	f := func(want string, args ...string) {
		t.Helper()
		code, out, errs := oklog(t.Context(), "", args...)
		if code != exitError || out != "" || strings.Count(errs, "\n") != 1 || !regexp.MustCompile(want).MatchString(errs) {
			t.Errorf("oklog %q ends with %d and says\n%s%swant one line that matches %s", args, code, out, errs, want)
		}
	}
	for _, c := range []string{"compact", "repair --deep", "verify", "retention show", "trash ls", "trash purge --all", "retention set --all 1d"} {
		args := strings.Fields(c)
		f(`no bucket is named.*--bucket`, args...)
		f(`absent: bucket does not exist.*--bucket`, append(args, "--bucket", absent)...)
		if c != "verify" && c != "retention show" && c != "trash ls" { // which tell what is away
			f(`1 of the 2 buckets that are needed can be used.*absent.*--bucket`, append(args, "--bucket", one[1], "--bucket", absent)...)
		}
		f(`given twice.*--bucket`, append(args, "--bucket", one[1], "--bucket", one[1])...)
		f(`not defined: -wat: see oklog `+regexp.MustCompile(`^[a-z]+( [a-z]+)?`).FindString(c)+` --help`, append(args, "--wat")...)
		f(`bad level "loud".*--log-level`, with(one, append(args, "--log-level", "loud")...)...)
	}
	for _, c := range []string{"compact", "repair --deep", "verify", "retention show", "trash ls"} {
		f(`unexpected argument "x": see oklog [a-z ]+ --help`, with(one, append(strings.Fields(c), "x")...)...)
	}
	for _, c := range []string{"compact", "repair --deep", "verify"} {
		f(`bad topic name "Web".*--topic`, with(one, append(strings.Fields(c), "--topic", "Web")...)...)
	}
	for _, flag := range []string{"--older-than", "--grace", "--quiet", "--trash-for"} {
		f(`bad time "-1s": want one like .*`+flag, with(one, "compact", flag, "-1s")...)
		f(`bad time "5".*`+flag, with(one, "compact", flag, "5")...)
		f(`bad time "soon".*`+flag, with(one, "compact", flag, "soon")...)
	}
	for _, retention := range []string{"5", "-5d", "0d", "forever"} {
		f(`bad time "`+retention+`".*--retention`, with(one, "compact", "--retention", retention)...)
	}
	for _, every := range []string{"0", "-1m", "often"} {
		f(`bad time .*--every`, with(one, "compact", "--every", every)...)
	}
	f(`leave it out with --once`, with(one, "compact", "--every", "1m", "--once")...)
	f(`leave it out with .*--dry-run`, with(one, "compact", "--every", "1m", "--dry-run")...)
	f(`bad size "lots".*--target-size`, with(one, "compact", "--target-size", "lots")...)
	f(`--target-size`, with(one, "compact", "--target-size", "0")...)
	f(`--memory.*--target-size`, with(one, "compact", "--target-size", "100TB")...)
	f(`--memory`, with(one, "compact", "--memory", "1MB")...)
	f(`bad size "x".*--memory`, with(one, "compact", "--memory", "x")...)
	f(`bad level "3": want best or fast.*--level`, with(one, "compact", "--level", "3")...)
	for _, shard := range []string{"4/4", "-1/4", "4", "a/b", "0/0", "/"} {
		f(`bad shard "`+shard+`".*--shard`, with(one, "compact", "--shard", shard)...)
		f(`bad shard "`+shard+`".*--shard`, with(one, "verify", "--shard", shard)...)
	}
	f(`quorum of 3.*--write-quorum`, with(two, "compact", "--write-quorum", "3")...)
	f(`quorum of -1.*--write-quorum`, with(two, "compact", "--write-quorum", "-1")...)
	f(`-write-quorum`, with(two, "compact", "--write-quorum", "most")...)
	f(`--http`, with(one, "compact", "--http", l.Addr().String())...)
	for _, push := range []string{"gateway", "gateway:9091", "ftp://gateway", "http://"} {
		f(`bad URL "`+push+`".*--push`, with(one, "compact", "--push", push)...)
	}
	f(`there is one bucket.*--deep`, with(one, "repair")...)
	f(`--from x`, with(one, "verify", "--from", "x")...)
	f(`the range is empty`, with(one, "verify", "--from", "1d", "--to", "2d")...)
	f(`no command "wat": see oklog retention --help`, "retention", "wat")
	f(`no command "wat": see oklog trash --help`, "trash", "wat")
	f(`want a topic and a time`, with(one, "retention", "set")...)
	f(`want a topic and a time`, with(one, "retention", "set", "web")...)
	f(`want a topic and a time`, with(one, "retention", "set", "web", "30d", "--all")...)
	f(`bad time "30": want one like`, with(one, "retention", "set", "web", "30")...)
	f(`bad time "0d": want one like`, with(one, "retention", "set", "web", "0d")...)
	f(`bad topic name "Web"`, with(one, "retention", "set", "Web", "30d")...)
	for _, c := range []string{"restore", "purge"} {
		f(`want the keys of segments.*--all`, with(one, "trash", c)...)
		f(`want the keys of segments.*--all`, with(one, "trash", c, "x", "--all")...)
		f(`x is not in the trash: oklog trash ls`, with(one, "trash", c, "x", "--topic", "web")...)
	}
}

// What only looks needs no right to write, and tells what is away.
func TestCompactLooks(t *testing.T) {
	dirs, buckets := folders(t, 1)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	files := tree(t, dirs...)
	for _, c := range []string{"compact --dry-run", "repair --deep --dry-run", "verify", "retention show", "trash ls"} {
		succeeds(t, with(buckets, strings.Fields(c)...)...)
		code, _, errs := oklog(t.Context(), "", with(buckets, append(strings.Fields(c), "--bucket", buckets[1]+"-absent")...)...)
		if code != exitError || !strings.Contains(errs, "-absent") || !strings.Contains(errs, "\noklog: ") {
			t.Errorf("%s with one bucket away ends with %d:\n%s", c, code, errs)
		}
	}
	if !maps.Equal(files, tree(t, dirs...)) {
		t.Error("something has changed")
	}
}

// An empty bucket is no error, nor is a topic that is not there; the latter is told.
func TestCompactNothing(t *testing.T) {
	_, buckets := folders(t, 2)
	out, errs := succeeds(t, with(buckets, "compact")...)
	fits(t, "an empty bucket", out+errs, "nothing to do\nlooked at 0 segments of 0 B in 0 topics in [0-9.µm]*s\n")
	out, errs = succeeds(t, with(buckets, "repair", "--deep")...)
	fits(t, "an empty bucket", out+errs, "looked at 0 objects of 0 B in [0-9.µm]*s: no copy is missing or damaged\n")
	out, errs = succeeds(t, with(buckets, "trash", "ls")...)
	fits(t, "an empty bucket", out+errs, "the trash is empty\n")
	for _, c := range []string{"compact", "verify"} {
		_, errs = succeeds(t, with(buckets, c, "--topic", "wbe")...)
		fits(t, c, errs, "(?s)oklog: there is no topic wbe here\n.*")
	}
}

// --every goes on, serves metrics, and ends at once and well when it is stopped.
func TestCompactEvery(t *testing.T) {
	_, buckets := folders(t, 2)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs output
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, with(buckets, "oklog", "compact", "--every", "1h", "--quiet", "0", "--http", "127.0.0.1:0"), streams{strings.NewReader(""), &out, &errs})
	}()
	text := errs.await(t, "compaction is done for now")
	defer http.DefaultClient.CloseIdleConnections()
	url := strings.TrimSuffix(regexp.MustCompile(`http://\S+/metrics`).FindString(text), "/metrics")
	for path, wants := range map[string][]string{
		"/healthz": {"ok"}, "/readyz": {"bucket: ok"},
		"/metrics": {`oklog_compact_segments_in_total{topic="web"} 2`, "oklog_compact_last_run_ok 1", "oklog_compact_backlog_segments 0", "oklog_compact_waiting_segments 2", "oklog_bucket_requests_total{"},
	} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, err)
		}
		for _, want := range wants {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
	}
	begin := time.Now()
	cancel()
	if code := <-done; code != exitOK || time.Since(begin) > 5*time.Second {
		t.Errorf("it ends with %d after %s:\n%s", code, time.Since(begin), errs.String())
	}
	if out.String() != "" || !strings.Contains(errs.String(), "msg=stopped") {
		t.Errorf("it prints %q and says\n%s", out.String(), errs.String())
	}
	t.Setenv("OKLOG_EVERY", "1h")
	succeeds(t, with(buckets, "compact", "--once")...)
	succeeds(t, with(buckets, "compact", "--dry-run")...)
}

func TestCompactInterrupted(t *testing.T) {
	_, buckets := folders(t, 2)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []string{"compact", "repair", "verify", "trash purge --all"} {
		code, out, errs := oklog(ctx, "", with(buckets, strings.Fields(c)...)...)
		if code != exitInterrupt || out != "" || !strings.HasPrefix(errs, "oklog: interrupted") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s ends with %d: %q %q", c, code, out, errs)
		}
	}
}

func TestCompactPush(t *testing.T) {
	_, buckets := folders(t, 1)
	type pushed struct{ method, path, body string }
	got := make(chan pushed, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- pushed{r.Method, r.URL.Path, string(body)}
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer gateway.Close()
	f := func(path string, args ...string) {
		t.Helper()
		succeeds(t, with(buckets, append(args, "--push", gateway.URL)...)...)
		if have := <-got; have.method != http.MethodPut || have.path != path || !strings.Contains(have.body, "oklog_compact_last_run_timestamp_seconds") {
			t.Errorf("%q: the gateway has got %s %s of %d bytes", args, have.method, have.path, len(have.body))
		}
	}
	f("/metrics/job/oklog_compact", "compact")
	f("/metrics/job/oklog_compact/shard/0of2", "compact", "--shard", "0/2")
	succeeds(t, with(buckets, "compact", "--dry-run", "--push", gateway.URL)...)
	if len(got) > 0 {
		t.Error("a dry run pushes its metrics")
	}
	gateway.Close()
	if _, errs := succeeds(t, with(buckets, "compact", "--push", gateway.URL)...); !strings.Contains(errs, "--push") {
		t.Errorf("without a gateway it says %q", errs)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	oklog(ctx, "", with(buckets, "compact", "--push", "http://"+silent.Addr().String())...)
	if took := time.Since(begin); took > pushTimeout/2 {
		t.Errorf("a gateway that does not answer keeps it from stopping for %s", took)
	}
}

// The examples of --help work as they stand.
func TestExamples(t *testing.T) {
	dirs, buckets := folders(t, 2)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	_, other := folders(t, 1)
	vars := strings.NewReplacer(`"$A"`, buckets[1], `"$B"`, buckets[3], `"$JOB_COMPLETION_INDEX/4"`, "0/4", "file:///var/lib/oklog/bucket", other[1], "127.0.0.1:7652", "127.0.0.1:0")
	t.Setenv("OKLOG_BUCKET", buckets[1]+","+buckets[3])
	n := 0
	for _, command := range []string{"compact", "repair", "verify", "retention", "trash"} {
		help, _ := succeeds(t, command, "--help")
		for _, line := range regexp.MustCompile(`(?m)^ +oklog (`+command+` .+)$`).FindAllStringSubmatch(help, -1) {
			example, _, _ := strings.Cut(line[1], "#")
			if strings.HasPrefix(example, command+" - ") || strings.Contains(example, "[command options]") {
				continue
			}
			n++
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			want := exitOK
			switch {
			case strings.Contains(example, "--every"):
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			case strings.Contains(example, "…") || strings.Contains(example, "8c0de59f31d2a7b4"):
				want = exitError // there is no such key
			}
			code, out, errs := oklog(ctx, "", strings.Fields(vars.Replace(example))...)
			cancel()
			if code != want {
				t.Errorf("%s ends with %d: %s%s", example, code, out, errs)
			}
		}
	}
	if n < 15 {
		t.Errorf("found %d examples", n)
	}
	if len(segments(t, dirs[0])) == 0 {
		t.Error("the examples have lost the records")
	}
}

func TestPrintReport(t *testing.T) {
	for _, c := range []struct {
		r    *compact.Report
		err  error
		want string
	}{
		{&compact.Report{}, nil, "nothing to do\nlooked at 0 segments of 0 B in 0 topics in 0s\n"},
		{&compact.Report{}, errors.New("x"), "nothing was done\nlooked at 0 segments of 0 B in 0 topics in 0s\n"},
		{&compact.Report{Refused: []string{"x"}}, nil, "nothing was done\nlooked at 0 segments of 0 B in 0 topics in 0s\n"},
		{&compact.Report{Merges: 1, MergedIn: 2, MergedOut: 1, BytesIn: 2000, BytesOut: 1000, Text: 9000, Deleted: 1, DeletedBytes: 1, Expired: 1, Purged: 1, Copied: 1, Replaced: 1, MissingCopies: 1,
			Segments: 1, Topics: 1, Bytes: 1, Waiting: 1, Backlog: 1, Took: time.Second},
			nil, `2 segments of 2.0 kB merged into 1 of 1.0 kB (50 %), 9.0 kB of text, in 1 merge
1 replaced segment of 1 B deleted
1 expired segment of 0 B moved to the trash
1 segment of 0 B purged from the trash
1 copy of 0 B made, in the place of 1 damaged one
1 copy is missing of what was written: a later run makes them
looked at 1 segment of 1 B in 1 topic in 1s; 1 replaced segment stays until queries that began before are over (--grace); 1 small or overlapping segment is left for later runs, when they are older or more have come
`},
		{&compact.Report{DryRun: true, Merges: 2, MergedIn: 1234, MergedOut: 2, Deleted: 3, Purged: 2, Copied: 3, Replaced: 1, Segments: 5000, Topics: 2, Waiting: 3, Backlog: 1236},
			nil, `1,234 segments of 0 B would be merged into 2 of 0 B (0 %), 0 B of text, in 2 merges
3 replaced segments of 0 B would be deleted
2 segments of 0 B would be purged from the trash
3 copies of 0 B would be made, 1 of them in the place of damaged ones
looked at 5,000 segments of 0 B in 2 topics in 0s; 2 small or overlapping segments are left for later runs, when they are older or more have come
`},
	} {
		var b strings.Builder
		printReport(&b, c.r, c.err)
		if b.String() != c.want {
			t.Errorf("have\n%swant\n%s", b.String(), c.want)
		}
	}
}

// What needs a look is told, a line each, and makes the exit status.
func TestVerdict(t *testing.T) {
	broken := errors.New("disk full")
	tooMuch := fmt.Errorf("%w: topic web", compact.ErrTooMuch)
	for _, c := range []struct {
		r      *compact.Report
		err    error
		want   string
		status error
	}{
		{&compact.Report{}, nil, "", nil},
		{&compact.Report{}, broken, "oklog: disk full\n", errTold},
		{&compact.Report{}, errors.Join(fmt.Errorf("%w: %w", broken, tooMuch), errors.New("one\nline")), "oklog: disk full: retention refused: topic web\noklog: one; line\n", errTold},
		{&compact.Report{Refused: []string{"nothing expires: bad policy"}}, errors.New("retention: bad policy"), "oklog: refused: nothing expires: bad policy\n", errTold},
		{&compact.Report{Refused: []string{"web: is that meant?"}}, tooMuch, "oklog: refused: web: is that meant?\n", errFindings},
		{&compact.Report{Refused: []string{"web"}}, errors.Join(errors.Join(tooMuch, tooMuch), broken), "oklog: refused: web\noklog: disk full\n", errTold},
		{&compact.Report{Away: []string{"s3://b"}}, nil, "oklog: s3://b could not be used: nothing was deleted, and what it lacks is copied to it by a later run\n", errFindings},
		{&compact.Report{Away: []string{"s3://b"}}, errors.New("s3://b is away"), "oklog: s3://b is away\n", errTold},
		{&compact.Report{DamagedSegments: 3, Damaged: []compact.Finding{{Key: "k", Problem: "bad\nbytes"}}}, nil, "oklog: damaged, and left alone: k: bad; bytes\noklog: and 2 more damaged segments\n", errFindings},
		{&compact.Report{LostObjects: 2, Lost: []compact.Finding{{Key: "k", Problem: "bad"}}}, nil, "oklog: no sound copy: k: bad\noklog: and 1 more object without a sound copy\n", errFindings},
		{&compact.Report{BadCopies: 1}, nil, "oklog: 1 damaged copy was found, of which others are sound: oklog repair --deep replaces them\n", errFindings},
		{&compact.Report{Differing: 2}, nil, "oklog: 2 segments are not of the same size in all buckets, and left alone: oklog repair replaces the damaged copies\n", errFindings},
		{&compact.Report{Foreign: 5, ForeignKeys: []string{"a", "b", "c", "d", "e"}}, nil, "oklog: 5 objects belong to no segment, and left alone: a b c and 2 more\n", nil},
	} {
		var b strings.Builder
		status := verdict(&b, c.r, c.err)
		if b.String() != c.want || fmt.Sprint(status) != fmt.Sprint(c.status) {
			t.Errorf("have %v\n%swant %v\n%s", status, b.String(), c.status, c.want)
		}
	}
	many := &compact.Report{Skewed: 30, Skews: make([]compact.Skew, 30)}
	if lines := findings(many, nil); len(lines) != 11 || lines[10] != "and 20 more segments with absurd times" {
		t.Errorf("have %q", lines)
	}
}

func TestCompactLine(t *testing.T) {
	f := func(p compact.Progress, want string) {
		t.Helper()
		if have := compactLine("compacting", p, 10*time.Second); have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
	f(compact.Progress{}, "compacting  10s")
	f(compact.Progress{Topic: "web", Records: 1000, Total: 4000}, "compacting web   25%  1,000 of 4,000 records  30s left  10s")
	f(compact.Progress{Objects: 1234, Bytes: 5e6}, "compacting  1,234 objects, 5.0 MB  10s")
}

func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 24 * time.Hour: "1d", 36 * time.Hour: "36h", 2160 * time.Hour: "90d", time.Hour + time.Second: "1h0m1s",
	} {
		if have := age(d); have != want {
			t.Errorf("%s: have %s, want %s", d, have, want)
		}
	}
}

// Who asks for errors alone, as in a crontab, is not told each time of what is there and no error.
func TestCompactIsQuiet(t *testing.T) {
	paths, buckets := folders(t, 1)
	fill(t, buckets, "web", 10, ago(0), ago(0))
	if err := os.WriteFile(filepath.Join(paths[0], "web", "notes.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs := succeeds(t, with(buckets, "compact", "--log-level", "error")...)
	if errs != "" {
		t.Errorf("it says %q", errs)
	}
	_, errs = succeeds(t, with(buckets, "compact", "--log-level", "warn")...)
	if !strings.Contains(errs, "belongs to no segment") {
		t.Errorf("it says %q", errs)
	}
}
