package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oklog/objstore/buckettest/servers"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	oklog "oklog/query"
	"oklog/query/client"
)

// serving is a querier that answers over HTTP, on MinIO with one topic of logs.
type serving struct {
	proc  *proc
	url   string
	lines [][]byte // of the topic, in order
	size  int64
}

const serveTopic = "served"

// newServing loads logs and starts oklog serve.
func newServing(tb testing.TB, logs []rawLog, args ...string) *serving {
	tb.Helper()
	url := servers.MinIO(tb).NewBucket(tb, "logs")
	b, err := open.Bucket(tb.Context(), []string{url}, open.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }() // it was written to, and read back by queries
	if _, err := load(tb.Context(), b, serveTopic, logs, true); err != nil {
		tb.Fatal(err)
	}
	s := &serving{}
	for _, l := range logs {
		text, err := os.ReadFile(l.path)
		if err != nil {
			tb.Fatal(err)
		}
		s.size += int64(len(text))
		s.lines = append(s.lines, bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})...)
	}
	addr := freeAddr(tb)
	s.url = "http://" + addr
	s.proc = spawn(tb, "oklog", append([]string{"serve", "--bucket", url, "--listen", addr, "--log-level", "warn"}, args...)...)
	s.await(tb)
	return s
}

func (s *serving) await(tb testing.TB) {
	tb.Helper()
	eventually(tb, "oklog serve answers", func() bool {
		resp, err := http.Get(s.url + "/api/v1/openapi.json")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == 200
	})
}

// word is one that many lines have, in so many letters at least.
func (s *serving) word(letters int) string {
	counts := map[string]int{}
	for i := 0; i < len(s.lines); i += 1 + len(s.lines)/5000 {
		seen := map[string]bool{}
		for _, w := range regexp.MustCompile(fmt.Sprintf(`[A-Za-z]{%d,}`, letters)).FindAll(s.lines[i], 50) {
			seen[string(w)] = true
		}
		for w := range seen {
			counts[w]++
		}
	}
	best := ""
	for w, n := range counts {
		if n > counts[best] || n == counts[best] && w < best {
			best = w
		}
	}
	return best
}

// asking is asked of a querier at the same time as others.
type asking struct {
	kind    string
	request oklog.Request
	count   int64
	texts   [][]byte // nil: none are wanted
	took    time.Duration
}

// questions are 64, of four kinds by turns.
func (s *serving) questions(tb testing.TB) (all []*asking) {
	tb.Helper()
	common, expr := s.word(4), `[0-9]{3}[^0-9]+[0-9]{2}\b`
	re := regexp.MustCompile(expr)
	var holds, matches int64
	var newest [][]byte
	for _, line := range slices.Backward(s.lines) {
		if bytes.Contains(line, []byte(common)) {
			if holds++; len(newest) < 100 {
				newest = append(newest, line)
			}
		}
		if re.Match(line) {
			matches++
		}
	}
	if holds == 0 || matches == 0 {
		tb.Fatalf("%d lines with %s, %d with %s: nothing is asked", holds, common, matches, expr)
	}
	for range 16 {
		for _, q := range []*asking{
			{kind: "absent needle", request: oklog.Request{Patterns: []string{unique(tb)}}, texts: [][]byte{}},
			{kind: "common count", request: oklog.Request{Patterns: []string{common}, CountOnly: true}, count: holds},
			{kind: "newest 100", request: oklog.Request{Patterns: []string{common}, Newest: true, Limit: 100}, count: int64(len(newest)), texts: newest},
			{kind: "regex scan", request: oklog.Request{Patterns: []string{expr}, Regex: true, CountOnly: true}, count: matches},
		} {
			q.request.Topic, q.request.From, q.request.To = serveTopic, "2026-11-22", "2026-11-24"
			all = append(all, q)
		}
	}
	return all
}

// ask asks all at the same time, and checks the answers.
func (s *serving) ask(tb testing.TB, all []*asking) {
	tb.Helper()
	c, err := client.New(client.Config{URL: s.url})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	var done sync.WaitGroup
	for _, q := range all {
		done.Go(func() {
			start := time.Now()
			var have [][]byte
			ans, err := c.Run(tb.Context(), q.request, func(r oklog.Record) error {
				have = append(have, bytes.Clone(r.Text))
				return nil
			})
			q.took = time.Since(start)
			switch {
			case err != nil || ans.Partial():
				tb.Errorf("%s: %v, %v", q.kind, err, ans.Problems)
			case ans.Count != q.count:
				tb.Errorf("%s: want %d, have %d", q.kind, q.count, ans.Count)
			case q.texts != nil && !slices.EqualFunc(q.texts, have, bytes.Equal):
				tb.Errorf("%s: other records", q.kind)
			}
		})
	}
	done.Wait()
}

// fairness prints the times of each kind, and returns the greatest ratio of a slowest to its median.
func fairness(tb testing.TB, all []*asking) (worst float64) {
	tb.Helper()
	kinds := map[string][]time.Duration{}
	var names []string
	for _, q := range all {
		if kinds[q.kind] == nil {
			names = append(names, q.kind)
		}
		kinds[q.kind] = append(kinds[q.kind], q.took)
	}
	for _, name := range names {
		times := kinds[name]
		slices.Sort(times)
		median, slowest := times[len(times)/2], times[len(times)-1]
		ratio := slowest.Seconds() / median.Seconds()
		worst = max(worst, ratio)
		tb.Logf("%-14s %d: fastest %s, median %s, slowest %s: %.1f times the median", name, len(times), times[0].Round(time.Millisecond), median.Round(time.Millisecond), slowest.Round(time.Millisecond), ratio)
	}
	return worst
}

// 64 queries at a time, of several kinds, all have the right answers; and the server ends when it is told to.
func TestServe(t *testing.T) {
	s := newServing(t, rawLogs(t))
	all := s.questions(t)
	s.ask(t, all)
	fairness(t, all)
	if code := s.proc.stop(); code != 0 {
		t.Errorf("oklog serve ends with %d: %s", code, s.proc.output())
	}
	t.Logf("peak memory of the server: %d MiB", s.proc.peak>>20)
}

// What was published a moment ago is found through HTTP, topics tell of it, and tokens hold.
func TestServeFresh(t *testing.T) {
	sys := newSystem(t, 1)
	tokens := filepath.Join(t.TempDir(), "tokens")
	const secret = "0123456789abcdef"
	if err := os.WriteFile(tokens, []byte("me "+secret+" topics=fresh*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	needle := unique(t)
	file := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(file, []byte("one\ntwo "+needle+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	s := &serving{url: "http://" + addr}
	ingester := sys.ingester("--flush-age", "1s") // it makes the stream
	if code := ingester.stop(); code != 0 {
		t.Fatal(code)
	}
	s.proc = spawn(t, "oklog", slices.Concat([]string{"serve", "--nats", sys.natsURL, "--listen", addr, "--tokens", tokens}, sys.bucketFlags())...)
	s.await(t)
	for _, topic := range []string{"fresh1", "hidden"} {
		sys.forward("--topic", topic, file)
	}
	c, err := client.New(client.Config{URL: s.url, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	have := ""
	ans, err := c.Run(t.Context(), oklog.Request{Topic: "fresh1", Patterns: []string{needle}}, func(r oklog.Record) error {
		have += string(r.Text)
		return nil
	})
	if err != nil || have != "two "+needle || ans.Stats.Segments.Hot == 0 {
		t.Errorf("%q %+v %v", have, ans, err)
	}
	// A tail begins with what is there, and goes on with what comes.
	var followed []string
	err = c.Tail(t.Context(), oklog.Request{Topic: "fresh1", From: "1h"}, 1, func(e client.Event) error {
		if e.Note != "" {
			return nil
		}
		if followed = append(followed, string(e.Record.Text)); len(followed) == 1 {
			sys.forward("--topic", "fresh1", file)
		}
		if len(followed) == 3 {
			return segment.ErrStop
		}
		return nil
	})
	if want := []string{"two " + needle, "one", "two " + needle}; err != nil || !slices.Equal(followed, want) {
		t.Errorf("want %q, have %q, %v", want, followed, err)
	}
	topics, err := c.Topics(t.Context())
	if err != nil || len(topics) != 1 || topics[0].Name != "fresh1" || !topics[0].Hot {
		t.Errorf("%+v %v", topics, err)
	}
	if _, err := c.Run(t.Context(), oklog.Request{Topic: "hidden"}, func(oklog.Record) error { return nil }); err == nil || !strings.Contains(err.Error(), "not for the token me") {
		t.Error(err)
	}
	// A new file counts at a signal.
	if err := os.WriteFile(tokens, []byte("me "+secret+" topics=hidden\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.proc.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new tokens count", func() bool {
		topics, err := c.Topics(t.Context())
		return err == nil && len(topics) == 1 && topics[0].Name == "hidden"
	})
	// NATS away: what is flushed is found, and that there may be more is said.
	ingester = sys.ingester("--flush-age", "1s")
	sys.settled()
	if code := ingester.stop(); code != 0 {
		t.Fatal(code)
	}
	sys.nats.kill()
	eventually(t, "the answer is partial", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/query?topic=hidden", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == 206 && bytes.Contains(body, []byte(needle)) && bytes.Contains(body, []byte(`"kind":"stream"`))
	})
	if topics, err := c.Topics(t.Context()); !errors.Is(err, oklog.ErrIncomplete) || len(topics) != 1 {
		t.Errorf("%+v %v", topics, err)
	}
	if code := s.proc.stop(); code != 0 || strings.Contains(s.proc.output(), secret) {
		t.Errorf("%d: %s", code, s.proc.output())
	}
}

// BenchmarkServe asks 64 questions at a time, and reports how evenly they are answered and what the server takes in memory. CORPORA is the folder
// of the logs, NAME.log: the largest is asked.
func BenchmarkServe(b *testing.B) {
	logs := rawLogs(b)
	largest := slices.MaxFunc(logs, func(x, y rawLog) int { return int(x.size - y.size) })
	s := newServing(b, []rawLog{largest}, "--max-wait", "30m") // a machine may be busy: who is slow shows
	all := s.questions(b)
	worst := 0.0
	for b.Loop() {
		s.ask(b, all)
		worst = max(worst, fairness(b, all))
	}
	b.ReportMetric(float64(len(all))*float64(b.N)/b.Elapsed().Seconds(), "queries/s")
	b.ReportMetric(worst, "slowest/median")
	s.proc.stop()
	b.ReportMetric(float64(s.proc.peak>>20), "peak-MiB")
}
