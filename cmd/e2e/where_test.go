package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest/servers"
	"oklog/objstore/open"
)

// loadInto stores logs as ingesters do, each as its topic, in the bucket of a URL.
func loadInto(tb testing.TB, url string, logs ...rawLog) {
	tb.Helper()
	b, err := open.Bucket(tb.Context(), []string{url}, open.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, l := range logs {
		if _, err := load(tb.Context(), b, l.topic, []rawLog{l}, true); err != nil {
			tb.Fatal(err)
		}
	}
	if err := b.Close(context.WithoutCancel(tb.Context())); err != nil {
		tb.Fatal(err)
	}
}

// searchedDay are the flags for all that load stores.
func searchedDay(bucket, topic string) []string {
	return []string{"--bucket", bucket, "--topic", topic, "--from", searchDay.Format(time.RFC3339), "--to", searchDay.Add(2 * time.Hour).Format(time.RFC3339)}
}

// The command selects records by their fields, however its other flags are.
func TestWhere(t *testing.T) {
	var text bytes.Buffer
	var lines []string
	for i := range 3000 {
		line := fmt.Sprintf(`{"n":%d,"level":"%s","user":{"id":"u%05d"},"tags":["t%d","all"]}`, i, []string{"info", "error"}[i%2], i, i%5)
		if i%3 == 0 {
			line = fmt.Sprintf(`level=%s n=%d user.id=u%05d msg="some \"text\""`, []string{"info", "error"}[i%2], i, i)
		}
		lines = append(lines, line)
		fmt.Fprintln(&text, line)
	}
	path := filepath.Join(t.TempDir(), "fields.log")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	bucket := "file://" + t.TempDir()
	loadInto(t, bucket, rawLog{topic: "fields", path: path})

	f := func(want func(i int) bool, args ...string) {
		t.Helper()
		var all []string
		for i, line := range lines {
			if want(i) {
				all = append(all, line+"\n")
			}
		}
		have, _ := query(t, append(searchedDay(bucket, "fields"), args...)...)
		if string(have) != strings.Join(all, "") {
			t.Errorf("%q: %d lines, want %d", args, bytes.Count(have, []byte("\n")), len(all))
		}
	}
	f(func(i int) bool { return i == 1234 }, "--where", "user.id=u01234")
	f(func(i int) bool { return i >= 2990 && i%2 == 1 }, "--where", "level=error AND n>=2990")
	f(func(i int) bool { return i >= 2990 && i%2 == 1 }, "--where", "level=error", "--where", "n>=2990 or absent")
	f(func(i int) bool { return i%5 == 2 && i%3 != 0 && i < 100 }, "--where", "tags[]=t2 n<100")
	f(func(i int) bool { return i%3 == 0 && i%2 == 0 }, "--where", `contains(msg, "\"text\"")`, "info")
	f(func(i int) bool { return i%3 == 0 && i%2 == 1 }, "--where", `NOT exists(tags)`, "-v", "info")
	f(func(int) bool { return false }, "--where", `user.id=u99999`)
	for _, where := range []string{"n=", "(n=1", ""} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "oklog-query"), append(searchedDay(bucket, "fields"), "--where", where)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--where: bad expression") {
			t.Errorf("--where %q: %v: %s", where, err, out)
		}
	}
}

// linesOut counts lines and keeps none: to keep tens of megabytes takes longer than to find them.
type linesOut int

func (n *linesOut) Write(p []byte) (int, error) {
	*n += linesOut(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

// repeated is the path of a file that holds another one many times over.
func repeated(tb testing.TB, path, times string) string {
	tb.Helper()
	if times == "" {
		return path
	}
	n, err := strconv.Atoi(times)
	if err != nil || n < 1 {
		tb.Fatalf("WHERE_TIMES=%s: want how often to repeat logs", times)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	out, err := os.Create(filepath.Join(tb.TempDir(), filepath.Base(path)))
	if err != nil {
		tb.Fatal(err)
	}
	for range n {
		if _, err := out.Write(text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Name()
}

// BenchmarkWhere asks questions with a text that rg can look for: of oklog-query, from its start to its end, on a real MinIO; and of rg on
// the raw file in the page cache, piped into jq. It reports how many times as long, and as much of the processors, those take, at the best of
// several runs, and fails where the answers differ; also how many times as long it takes where the file is compressed, as logs that are kept are, and zstd -dc
// stands in front; and how long oklog-query takes to do nothing but begin. CORPORA names the folder of the logs; with WHERE_TIMES=N each is repeated so often, to
// the size that logs have: the start of a process counts for less then.
func BenchmarkWhere(b *testing.B) {
	folder := os.Getenv("CORPORA")
	if folder == "" {
		b.Skip("set CORPORA to a folder of github_events_json.log, aws_cloudtrail_json.log and windows_events_json.log")
	}
	for _, name := range []string{"rg", "jq", "zstd"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("install %s to compare with it", name)
		}
	}
	url := servers.MinIO(b).NewBucket(b, "logs")
	loaded := map[string]rawLog{}
	for _, q := range []struct{ log, where, literal, jq string }{
		{"github_events_json", `actor.login=josephyzhou`, `josephyzhou`, `.actor.login=="josephyzhou"`},
		{"github_events_json", `type=PublicEvent`, `PublicEvent`, `.type=="PublicEvent"`},
		{"github_events_json", `type=PushEvent payload.size>5`, `PushEvent`, `.type=="PushEvent" and .payload.size>5`},
		{"github_events_json", `payload.pull_request.merged=true`, `"merged":true`, `.payload.pull_request.merged==true`},
		{"aws_cloudtrail_json", `errorCode=AccessDenied`, `AccessDenied`, `.errorCode=="AccessDenied"`},
		{"windows_events_json", `ProcessGuid="{029f9482-bfa2-5f84-0f00-000000000400}"`, `{029f9482-bfa2-5f84-0f00-000000000400}`,
			`.ProcessGuid=="{029f9482-bfa2-5f84-0f00-000000000400}"`},
		{"windows_events_json", `EventID=4658 Channel=Security`, `"EventID":4658`, `.EventID==4658 and .Channel=="Security"`},
		{"windows_events_json", `Image=~/\\powershell\.exe$/`, `powershell.exe`, `(.Image//"")|tostring|test("\\\\powershell\\.exe$")`},
		{"windows_events_json", `contains(TargetObject, "Services\\bam")`, `Services\\bam`, `(.TargetObject//"")|contains("Services\\bam")`},
		{"windows_events_json", `SeverityValue=2 Hostname=~/^WORKSTATION5/`, `WORKSTATION5`, `.SeverityValue==2 and (.Hostname|test("^WORKSTATION5"))`},
		{"windows_events_json", `EventID=10`, `"EventID":10`, `.EventID==10`},
	} {
		log, ok := loaded[q.log]
		if !ok {
			log = rawLog{topic: topicOf(q.log), path: repeated(b, filepath.Join(folder, q.log+".log"), os.Getenv("WHERE_TIMES"))}
			loadInto(b, url, log)
			log.packed = filepath.Join(b.TempDir(), "packed.zst")
			if out, err := exec.Command("zstd", "-3", "-q", "-f", "-o", log.packed, log.path).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			loaded[q.log] = log
		}
		b.Run(q.log+"/"+q.where, func(b *testing.B) {
			var ours, theirs, packed, start cost
			var found, wanted, unpacked, version linesOut
			best := func(c *cost, found *linesOut, cmds ...*exec.Cmd) {
				*found = 0
				cmds[len(cmds)-1].Stdout = found
				have, err := measured(cmds...)
				if err != nil {
					b.Fatal(err)
				}
				if c.took > 0 {
					have.took, have.cpu = min(have.took, c.took), min(have.cpu, c.cpu)
				}
				*c = have
			}
			for b.Loop() {
				best(&ours, &found, exec.Command(filepath.Join(bin, "oklog-query"), append(searchedDay(url, log.topic), "--where", q.where)...))
				best(&theirs, &wanted, exec.Command("rg", "--no-config", "-a", "-N", "-I", "-F", "-e", q.literal, "--", log.path), exec.Command("jq", "-c", "select("+q.jq+")"))
				best(&packed, &unpacked, exec.Command("zstd", "-dc", "-q", "--", log.packed), exec.Command("rg", "--no-config", "-a", "-N", "-I", "-F", "-e", q.literal), exec.Command("jq", "-c", "select("+q.jq+")"))
				best(&start, &version, exec.Command(filepath.Join(bin, "oklog-query"), "--version"))
			}
			if found != wanted || found != unpacked {
				b.Errorf("%d records, jq finds %d", found, wanted)
			}
			b.ReportMetric(float64(ours.took)/1e6, "ms")
			b.ReportMetric(float64(start.took)/1e6, "ms-start")
			b.ReportMetric(float64(packed.took)/float64(cmp.Or(ours.took, 1)), "x-packed")
			b.ReportMetric(float64(found), "records")
			b.ReportMetric(float64(theirs.took)/float64(cmp.Or(ours.took, 1)), "x-time")
			b.ReportMetric(float64(theirs.cpu)/float64(cmp.Or(ours.cpu, 1)), "x-cpu")
		})
	}
}
