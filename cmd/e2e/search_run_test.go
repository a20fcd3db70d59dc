package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cost is what a command took, and what it printed.
type cost struct {
	took time.Duration // from its start to its end
	cpu  time.Duration // user and system time of its processes
	out  []byte
}

// measured runs a command to its end, or two with a pipe between them, and gathers what is put out, unless that goes somewhere else.
// Exit status 1 is well: nothing was found.
func measured(cmds ...*exec.Cmd) (c cost, err error) {
	var out bytes.Buffer
	errs := make([]bytes.Buffer, len(cmds))
	var pipe []*os.File
	for i := range cmds[1:] {
		r, w, err := os.Pipe()
		if err != nil {
			return c, err
		}
		cmds[i].Stdout, cmds[i+1].Stdin = w, r
		pipe = append(pipe, r, w)
	}
	last := len(cmds) - 1
	if cmds[last].Stdout == nil {
		cmds[last].Stdout = &out
	}
	start := time.Now()
	started := 0
	for i, cmd := range cmds {
		cmd.Stderr = &errs[i]
		dieWithUs(cmd)
		if err = cmd.Start(); err != nil {
			break
		}
		started++
	}
	for _, f := range pipe { // the commands have theirs
		_ = f.Close()
	}
	for i, cmd := range cmds[:started] {
		_ = cmd.Wait() // the state tells
		c.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if code := cmd.ProcessState.ExitCode(); err == nil && code != 0 && (code != 1 || i != last) {
			err = fmt.Errorf("%s ends with %d: %s", cmd, code, errs[i].Bytes())
		}
	}
	c.took = time.Since(start)
	c.out = out.Bytes()
	return c, err
}

// observed runs a command to its end and looks at its memory every half a millisecond: the most it had, in bytes. It is
// not for measuring time.
func observed(cmd *exec.Cmd) (stderr string, peak int64, err error) {
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &errs // a pipe: the null device would do as a terminal
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the state tells
	}()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			peak = max(peak, peakMemory(cmd.Process.Pid))
		case <-ended:
			running = false
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		err = fmt.Errorf("%s ends with %d: %s", cmd, code, errs.Bytes())
	}
	return errs.String(), peak, err
}

// asked is oklog-query with a question.
func (q question) asked(bucket, topic string, more ...string) *exec.Cmd {
	args := []string{"--bucket", bucket, "--topic", topic, "--from", searchDay.Format(time.RFC3339), "--to", searchDay.Add(2 * time.Hour).Format(time.RFC3339)}
	switch {
	case q.newest > 0:
		args = append(args, "--limit", strconv.Itoa(q.newest))
	case !q.print:
		args = append(args, "--count")
	}
	args = slices.Concat(args, q.flags, more, []string{"-e", q.pattern})
	return exec.Command(filepath.Join(bin, "oklog-query"), args...)
}

// ripgrep is rg with a question: it counts, in files or else in its standard input.
func (q question) ripgrep(paths ...string) *exec.Cmd {
	args := slices.Concat([]string{"--no-config", "-a", "-c", "-I"}, q.rg, []string{"-e", q.pattern, "--"}, paths)
	if len(paths) == 0 {
		args = append(args, "-")
	}
	return exec.Command("rg", args...)
}

// unpack is zstd -dc.
func unpack(paths []string) *exec.Cmd {
	return exec.Command("zstd", append([]string{"-dc", "-q", "--"}, paths...)...)
}

// lines are what ripgrep prints for a question, file by file.
func (q question) lines(paths []string) ([]byte, error) {
	args := slices.Concat([]string{"--no-config", "-a", "-N", "-I", "-j1"}, q.rg, []string{"-e", q.pattern, "--"}, paths)
	c, err := measured(exec.Command("rg", args...))
	if err != nil || q.newest == 0 {
		return c.out, err
	}
	return newestOf([][]byte{c.out}, "", q.newest), nil
}

// sum adds up the counts that ripgrep prints, one a file.
func sum(out []byte) (n int64, err error) {
	for f := range strings.FieldsSeq(string(out)) {
		i, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("a count: %w", err)
		}
		n += i
	}
	return n, nil
}

// count is the answer in what oklog-query prints.
func (q question) count(out []byte) (int64, error) {
	if q.print || q.newest > 0 {
		return int64(bytes.Count(out, []byte{'\n'})), nil
	}
	return sum(out)
}

// readStats takes from the table of --stats what is there, by the names of its rows; -1 is what is not there.
func readStats(table string) (fetched, blocks, requests float64) {
	rows := map[string]string{}
	for line := range strings.Lines(table) {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			rows[name] = strings.TrimSpace(rest)
		}
	}
	number := func(row, pattern string) float64 {
		m := regexp.MustCompile(pattern).FindStringSubmatch(rows[row])
		if m == nil {
			return -1
		}
		f, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return -1
		}
		unit := map[string]float64{"kB": 1e3, "MB": 1e6, "GB": 1e9}
		if len(m) > 2 && unit[m[2]] > 0 {
			f *= unit[m[2]]
		}
		return f
	}
	fetched = number("bytes", `([0-9.]+) ?([kMG]?B) fetched`)
	blocks = number("blocks", `(\d+) read\b`)
	requests = number("requests", `(\d+) range reads?`)
	if pages := number("requests", `(\d+) pages?`); requests >= 0 && pages >= 0 {
		requests += pages
	}
	return fetched, blocks, requests
}

// slow is an HTTP proxy in front of an object store, at which every request waits: its address.
func slow(tb testing.TB, addr string, wait time.Duration) string {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: transport,
		// A query that has enough breaks its requests off.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.Listener.Addr().String()
}

// wantPrograms fails without the programs that are compared with.
func wantPrograms(ctx context.Context, tb testing.TB) {
	tb.Helper()
	for _, p := range []struct{ name, from string }{
		{"rg", "apt install ripgrep, brew install ripgrep, or https://github.com/BurntSushi/ripgrep"},
		{"zstd", "apt install zstd, brew install zstd, or https://github.com/facebook/zstd"},
	} {
		out, err := exec.CommandContext(ctx, p.name, "--version").Output()
		if err != nil {
			tb.Fatalf("run %s, which the table compares with: %v: install it (%s)", p.name, err, p.from)
		}
		version, _, _ := strings.Cut(string(out), "\n")
		fmt.Println(strings.Trim(version, "* "))
	}
}

func TestReadStats(t *testing.T) {
	for _, c := range []struct {
		table                     string
		fetched, blocks, requests float64
	}{
		{"", -1, -1, -1},
		{"blocks  nothing\nbytes  many\nrequests  some\n", -1, -1, -1},
		{"segments   1 listed, 1 in range, 1 opened\nblocks     12, 3 out of range, 9 read, 1 matched\n" +
			"bytes      1234 B fetched, 12.5 MB decoded\nrequests   7 range reads, 2 pages of listings\n", 1234, 9, 9},
		{"blocks     12, 3 out of range, 8 pruned, 1 read, 1 matched\nbytes      0.5 MB from the cache, 12.3 kB fetched, 12.5 MB decoded\n" +
			"requests   7 range reads, 5 cache hits\n", 12300, 1, 7},
	} {
		if fetched, blocks, requests := readStats(c.table); fetched != c.fetched || blocks != c.blocks || requests != c.requests {
			t.Errorf("have %v %v %v of\n%s", fetched, blocks, requests, c.table)
		}
	}
}

// Every request waits, and what comes back is what the server says.
func TestSlowProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s", r.Host, r.URL)
	}))
	defer server.Close()
	const wait = 20 * time.Millisecond
	addr := slow(t, server.Listener.Addr().String(), wait)
	start := time.Now()
	resp, err := http.Get("http://" + addr + "/a%2Fb?c=d")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := addr + " /a%2Fb?c=d"; err != nil || string(body) != want || resp.StatusCode != http.StatusTeapot {
		t.Errorf("want %q, have %q (%d, %v)", want, body, resp.StatusCode, err)
	}
	if took := time.Since(start); took < wait { // a timer does not ring early
		t.Errorf("it took %v", took)
	}
}
