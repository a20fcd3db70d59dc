package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"io"

	"go.uber.org/goleak"

	"oklog/ingest/forward"
	"oklog/ingest/stream/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is a buffer that may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func oklog(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs output
	code = run(ctx, append([]string{"oklog"}, args...), streams{strings.NewReader(stdin), &out, &errs})
	return code, out.String(), errs.String()
}

// Whatever is wrong with what people type: one line that says what, where, and what to do; exit 2.
func TestBadInput(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	up := t.TempDir()
	server, err := embedded.Start(embedded.Config{Dir: filepath.Join(up, "jetstream"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	nats, dir := server.ClientURL(), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		code, _, stderr := oklog(ctx, "", args...)
		if code != exitError {
			t.Errorf("oklog %q ends with %d, want %d", args, code, exitError)
		}
		if ctx.Err() != nil {
			t.Errorf("oklog %q hangs", args)
		}
		if strings.Count(stderr, "\n") != 1 || !regexp.MustCompile(want).MatchString(stderr) {
			t.Errorf("oklog %q says\n%swant one line that matches %s", args, stderr, want)
		}
	}
	f(`no command "wat".*--help`, "wat")
	f(`-wat.*oklog forward --help`, "forward", "--wat")
	f(`no topic.*--topic`, "forward", file)
	f(`bad topic name "A".*--topic`, "forward", "--nats", nats, "--topic", "A", file)
	f(`key=value.*--source`, "forward", "--topic", "t", "--source", "x", file)
	f(`bad mode "quick".*--mode`, "forward", "--topic", "t", "--mode", "quick", file)
	f(`bad policy "x".*--when-full`, "forward", "--topic", "t", "--when-full", "x", file)
	f(`bad size "lots".*--record-limit`, "forward", "--topic", "t", "--record-limit", "lots", file)
	f(`--record-limit`, "forward", "--nats", nats, "--topic", "t", "--record-limit", "1GiB", file)
	f(`bad time.*--batch-age`, "forward", "--topic", "t", "--batch-age", "-1s", file)
	f(`--time-zone`, "forward", "--topic", "t", "--time-zone", "Atlantis/City", file)
	f(`--time`, "forward", "--nats", nats, "--topic", "t", "--time", "Jan _2 15:04:05", file)
	f(`--multiline`, "forward", "--nats", nats, "--topic", "t", "--multiline", "(", file)
	f(`bad mode "quick".*--mode`, "forward", "--topic", "t", file, "--mode", "quick")
	f(`no such file`, "forward", "--nats", nats, "--topic", "t", filepath.Join(dir, "none"))
	f(nobody+`.*--nats`, "forward", "--nats", "nats://"+nobody, "--topic", "t", file)
	f(`--nats`, "forward", "--nats", "http://"+nobody, "--topic", "t", file)
	f(`no bucket is named.*--bucket`, "forward", "--topic", "t", "--mode", "bulk", file)
	f(`--bucket is for --mode bulk`, "forward", "--topic", "t", "--bucket", "mem://", file)
	f(`no NATS server is named.*--nats`, "ingest", "--bucket", "mem://")
	f(`no bucket is named.*--bucket`, "ingest", "--nats", nats)
	f(nobody+`.*--nats`, "ingest", "--nats", "nats://"+nobody, "--bucket", "mem://")
	f(`--bucket`, "ingest", "--nats", nats, "--bucket", "ftp://x/y")
	f(`--bucket`, "ingest", "--nats", nats, "--bucket", "s3://host")
	f(`--write-quorum`, "ingest", "--nats", nats, "--bucket", "mem://a", "--bucket", "mem://b", "--write-quorum", "3")
	f(`--write-quorum`, "ingest", "--nats", nats, "--bucket", "mem://a", "--write-quorum", "-1")
	f(`--flush-age`, "ingest", "--nats", nats, "--bucket", "mem://", "--flush-age", "1h")
	f(`--memory`, "ingest", "--nats", nats, "--bucket", "mem://", "--memory", "1KiB")
	f(`--log-level`, "ingest", "--nats", nats, "--bucket", "mem://", "--log-level", "loud")
	f(`unexpected argument "x"`, "ingest", "--nats", nats, "--bucket", "mem://", "x")
	f(`no folder is named.*--data`, "up")
	f(`bad time "-1s".*--compact-every`, "up", "--data", filepath.Join(dir, "d"), "--compact-every", "-1s")
	f(`file.*--data`, "up", "--data", file, "--nats-listen", "127.0.0.1:0")
	f(`another process uses the folder.*--data`, "up", "--data", up, "--nats-listen", "127.0.0.1:0")
	f(`could read all logs.*oklog serve`, "up", "--data", filepath.Join(dir, "d"), "--nats-listen", "127.0.0.1:0", "--listen", ":0")
	f(`--listen`, "up", "--data", filepath.Join(dir, "d"), "--nats-listen", "127.0.0.1:0", "--http", "", "--log-level", "warn", "--listen", strings.TrimPrefix(nats, "nats://"))
	f(`--nats-listen`, "up", "--data", filepath.Join(dir, "d"), "--nats-listen", strings.TrimPrefix(nats, "nats://"))
}

// await waits until a running program has said something.
func (o *output) await(t *testing.T, text string) string {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := o.String(); strings.Contains(s, text) {
			return s
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited in vain for %q in:\n%s", text, o.String())
		}
	}
}

// oklog up answers on its addresses, says what to type next, takes records in and stops cleanly.
func TestUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := filepath.Join(t.TempDir(), "with space")
	var out, errs output
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"oklog", "up", "--data", dir, "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--flush-age", "100ms"},
			streams{strings.NewReader(""), &out, &errs})
	}()
	text := out.await(t, "PATTERN")
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(text)
	nats := regexp.MustCompile(`nats://[0-9.:]+`).FindString(text)
	if !strings.Contains(text, "oklog forward --nats "+nats+" --topic demo") || !strings.Contains(text, "oklog-query --server http://127.0.0.1:") {
		t.Errorf("the lines to type next are not right:\n%s", text)
	}
	get := func(path string) (int, string) {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	defer http.DefaultClient.CloseIdleConnections()
	query := func(server string) string {
		resp, err := http.Get(server + "/api/v1/query?topic=demo&count&from=1d")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "nats: ok\nbucket: ok\n"} {
		if status, body := get(path); status != http.StatusOK || body != want {
			t.Errorf("%s answers %d %q, want %q", path, status, body, want)
		}
	}
	code, _, stderr := oklog(t.Context(), "one\ntwo\n\nfour", "forward", "--nats", nats, "--topic", "demo", "--source", "k=v")
	if code != exitOK || !strings.HasPrefix(stderr, "forwarded 4 records (14 B) to demo in ") {
		t.Errorf("oklog forward ends with %d: %s", code, stderr)
	}
	if body := query(regexp.MustCompile(`--server (\S+)`).FindStringSubmatch(text)[1]); !strings.Contains(body, `"count":4`) {
		t.Errorf("the records are not found: %s", body)
	}
	errs.await(t, "msg=ingesting")
	late := time.Now().Add(time.Minute)
	for {
		_, body := get("/metrics")
		if strings.Contains(body, `oklog_ingest_records_stored_total{topic="demo"} 4`) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("4 records are not accounted for:\n%s", body)
		}
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("oklog up ends with %d:\n%s", code, errs.String())
	}
	var found []string
	err := filepath.WalkDir(filepath.Join(dir, "bucket", "demo"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Errorf("no segment in %s: %v", dir, err)
	}
}

func TestSummary(t *testing.T) {
	f := func(s forward.Stats, want string) {
		t.Helper()
		if got := summary("t", s, 1500*time.Millisecond); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(forward.Stats{Records: 1234, Acked: 1234, Bytes: 5_000_000}, "forwarded 1,234 records (5.0 MB) to t in 1.5s")
	f(forward.Stats{Records: 1, Acked: 1, Bytes: 5}, "forwarded 1 record (5 B) to t in 1.5s")
	f(forward.Stats{}, "nothing new to forward to t")
	f(forward.Stats{Records: 10, Acked: 5, Dropped: 2, Cut: 1, Unparsed: 4}, "forwarded 5 records (0 B) to t in 1.5s; 2 dropped, 1 cut into pieces, 4 without a time that parses, 3 not acked")
}

func TestProgressLine(t *testing.T) {
	for want, p := range map[string]forward.Progress{
		" 25%  1.0 MB of 4.0 MB  500 kB/s  10 read, 5 acked  6s left": {Read: 1e6, Total: 4e6, Records: 10, Acked: 5, Rate: 5e5},
		"1.0 MB  500 kB/s  10 read, 5 acked":                          {Read: 1e6, Total: -1, Records: 10, Acked: 5, Rate: 5e5},
	} {
		if got := progressLine(p); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	long := progressLine(forward.Progress{Read: 999e9, Total: 999.9e9, Records: 99e9, Acked: 99e9, Rate: 999e6})
	if len(long) > 100 {
		t.Errorf("%d columns: %s", len(long), long)
	}
}

// Whoever waits for NATS and is told to stop has nothing in hand.
func TestStopWhileNATSIsAway(t *testing.T) {
	_, buckets := folders(t, 1)
	dir := t.TempDir()
	name := filepath.Join(dir, "app.log")
	if err := os.WriteFile(name, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{with(buckets, "ingest"), exitOK},
		{[]string{"forward", "--topic", "web", "--follow", "--state", filepath.Join(dir, "state"), name}, exitOK},
		{[]string{"forward", "--topic", "web", name}, exitInterrupt},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out := new(output)
		done := make(chan int, 1)
		go func() {
			done <- run(ctx, append([]string{"oklog"}, append(c.args, "--wait", "--nats", "nats://127.0.0.1:1")...), streams{strings.NewReader(""), out, out})
		}()
		out.await(t, "trying again")
		cancel()
		if code := <-done; code != c.want {
			t.Errorf("%s ends with %d:\n%s", c.args[0], code, out.await(t, ""))
		}
	}
}
