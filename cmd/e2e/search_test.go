package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest/servers"
	"oklog/objstore/open"
)

// Topics besides those of the single logs.
const (
	topicAll  = "all"  // all the logs
	topicMany = "many" // one log in many small segments, behind a proxy at which every request waits
)

// requestDelay is how long a request for topicMany waits.
const requestDelay = 30 * time.Millisecond

// BenchmarkSearchTable asks one table of questions of oklog-query, on a real MinIO; of ripgrep, on the raw files
// in the page cache; and of zstd -dc piped into ripgrep, by turns. It prints a table of times, of their ratios, and of what a query
// cost, and fails where the answers differ. It says nothing about what is fast enough.
//
//	CORPORA       the folder of the logs, NAME.log; the shipped sample without it
//	SEARCH        a regexp of the topics to ask: a log's name, all, or many;
//	              ^(sshd_auth|all|many)$ without it, with the largest log if there is no sshd_auth
//	SEARCH_LEVEL  best, as compaction stores (segments of up to 1 GiB of text), or fast, as ingesters do (64 MiB)
//	SEARCH_RUNS   how often each question is asked of each, for the median; 5 without it
func BenchmarkSearchTable(b *testing.B) {
	wantPrograms(b.Context(), b)
	t := newSearchTable(b)
	for _, topic := range t.topics {
		b.Run(topic.name, func(b *testing.B) {
			for _, q := range topic.questions {
				b.Run(q.name, func(b *testing.B) {
					for b.Loop() {
						t.ask(b, topic, q)
					}
				})
			}
		})
	}
	t.print()
}

// searchTable is what is asked, and the answers.
type searchTable struct {
	minio  *servers.Server
	runs   int
	fresh  bool
	topics []*searchTopic
	notes  []string
}

// searchTopic is a topic with what is asked of it.
type searchTopic struct {
	name      string
	bucket    string // its URL
	logs      []rawLog
	pieces    [][]byte // of topicMany: there is no file to compare with
	stored    stored
	questions []question
	rows      []row
}

// row is an answer. Times are medians, but for cold, which is the first time after the server's start.
type row struct {
	question
	found                     int64
	cold, warm, packed, raw   time.Duration // packed and raw are 0 where there is nothing to compare with
	cpu                       time.Duration
	fetched, blocks, requests float64 // -1: not known
	peak                      int64
	wrong                     bool
}

func newSearchTable(b *testing.B) *searchTable {
	b.Helper()
	t := &searchTable{runs: 5}
	if s := os.Getenv("SEARCH_RUNS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			b.Fatalf("SEARCH_RUNS %s: want a number, at least 1", s)
		}
		t.runs = n
	}
	switch level := os.Getenv("SEARCH_LEVEL"); level {
	case "", "best":
	case "fast":
		t.fresh = true
	default:
		b.Fatalf("SEARCH_LEVEL %s: want best or fast", level)
	}
	t.choose(b, rawLogs(b))
	t.load(b)
	return t
}

// choose says which topics there are, and what is asked of them.
func (t *searchTable) choose(b *testing.B, logs []rawLog) {
	b.Helper()
	mainLog := slices.IndexFunc(logs, func(l rawLog) bool { return l.topic == "sshd_auth" })
	if mainLog < 0 {
		largest := slices.MaxFunc(logs, func(a, b rawLog) int { return int(a.size - b.size) })
		mainLog = slices.IndexFunc(logs, func(l rawLog) bool { return l.topic == largest.topic })
	}
	chosen := os.Getenv("SEARCH")
	if chosen == "" {
		chosen = "^(" + logs[mainLog].topic + "|" + topicAll + "|" + topicMany + ")$"
	}
	matches, err := regexp.Compile(chosen)
	if err != nil {
		b.Fatalf("SEARCH: %v", err)
	}
	all, many := matches.MatchString(topicAll), matches.MatchString(topicMany)
	for i, l := range logs {
		alone := matches.MatchString(l.topic)
		if !alone && (i != mainLog || !all && !many) {
			continue
		}
		text, err := os.ReadFile(l.path)
		if err != nil {
			b.Fatal(err)
		}
		asked := questions(l.topic, text, func(note string) { t.notes = append(t.notes, note) })
		if alone {
			t.topics = append(t.topics, &searchTopic{name: l.topic, logs: logs[i : i+1], questions: asked})
		}
		if i != mainLog {
			continue
		}
		if all { // the needles of the main log
			t.topics = append(t.topics, &searchTopic{name: topicAll, logs: logs, questions: asked})
		}
		if many {
			asked = slices.DeleteFunc(slices.Clone(asked), func(q question) bool { return q.name != "absent" && q.newest == 0 })
			t.topics = append(t.topics, &searchTopic{name: topicMany, pieces: pieces(text), questions: asked})
		}
	}
	if len(t.topics) == 0 {
		b.Fatalf("SEARCH %s: no topic's name matches", chosen)
	}
	rank := func(s *searchTopic) int { return slices.Index([]string{topicAll, topicMany}, s.name) } // those last
	slices.SortStableFunc(t.topics, func(x, y *searchTopic) int { return rank(x) - rank(y) })
}

// load starts a MinIO and stores the topics in it.
func (t *searchTable) load(b *testing.B) {
	b.Helper()
	t.minio = servers.MinIO(b)
	direct := t.minio.NewBucket(b, "logs")
	bucket, err := open.Bucket(b.Context(), []string{direct}, open.Config{})
	if err != nil {
		b.Fatal(err)
	}
	folder := b.TempDir()
	start := time.Now()
	var work []func(context.Context) error
	packs := map[string]*rawLog{}
	for _, topic := range slices.Backward(t.topics) { // the largest first, so that the processors end together
		topic.bucket = direct
		if topic.name == topicMany {
			topic.bucket = strings.Replace(direct, t.minio.Addr, slow(b, t.minio.Addr, requestDelay), 1)
		}
		work = append(work, func(ctx context.Context) (err error) {
			if topic.name == topicMany {
				topic.stored, err = loadMany(ctx, bucket, topic.name, topic.pieces)
			} else {
				topic.stored, err = load(ctx, bucket, topic.name, topic.logs, t.fresh)
			}
			return err
		})
		for i := range topic.logs {
			packs[topic.logs[i].topic] = &topic.logs[i] // topics share their logs
		}
	}
	for _, l := range packs {
		work = append(work, func(ctx context.Context) error { return l.pack(ctx, folder) })
	}
	if err := loads(b.Context(), work...); err != nil {
		b.Fatal(err)
	}
	if err := bucket.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("loaded in %.1f s\n", time.Since(start).Seconds())
	debug.FreeOSMemory() // what loads is not to be in the way of what is measured
}

func (s *searchTopic) paths() (raw, packed []string) {
	for _, l := range s.logs {
		raw, packed = append(raw, l.path), append(packed, l.packed)
	}
	return raw, packed
}

// want is the lines that a question has to print.
func (s *searchTopic) want(b *testing.B, q question) []byte {
	b.Helper()
	switch {
	case s.pieces != nil && q.newest > 0:
		return newestOf(s.pieces, q.pattern, q.newest)
	case s.pieces != nil:
		return nil // what is asked besides is absent
	}
	raw, _ := s.paths()
	lines, err := q.lines(raw)
	if err != nil {
		b.Fatal(err)
	}
	return lines
}

// ask asks one question of all, again and again by turns.
func (t *searchTable) ask(b *testing.B, s *searchTopic, q question) {
	b.Helper()
	r := row{question: q}
	raw, packed := s.paths()
	counted := q
	counted.newest = 0
	commands := []func() []*exec.Cmd{func() []*exec.Cmd { return []*exec.Cmd{q.asked(s.bucket, s.name)} }}
	if s.pieces == nil {
		commands = append(commands,
			func() []*exec.Cmd { return []*exec.Cmd{unpack(packed), counted.ripgrep()} },
			func() []*exec.Cmd { return []*exec.Cmd{counted.ripgrep(raw...)} })
	}
	turn := func() (costs []cost) {
		for _, cmds := range commands {
			c, err := measured(cmds()...)
			if err != nil {
				b.Fatal(err)
			}
			costs = append(costs, c)
		}
		return costs
	}

	t.minio.Kill()
	if err := t.minio.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	first := turn()
	r.cold, r.found = first[0].took, r.answer(b, first[0])
	r.check(b, first)
	if q.print || q.newest > 0 {
		if lines := s.want(b, q); !bytes.Equal(lines, first[0].out) {
			r.wrong = true
			b.Errorf("%s: the lines are not those that rg finds: %d bytes, not %d", q.pattern, len(first[0].out), len(lines))
		}
	}
	stats, peak, err := observed(q.asked(s.bucket, s.name, "--stats"))
	if err != nil {
		b.Fatal(err)
	}
	r.peak = peak
	r.fetched, r.blocks, r.requests = readStats(stats)

	runtime.GC() // not while it is measured
	took, cpu := make([][]time.Duration, 3), []time.Duration(nil)
	for range t.runs {
		costs := turn()
		r.check(b, costs)
		for i, c := range costs {
			took[i] = append(took[i], c.took)
		}
		cpu = append(cpu, costs[0].cpu)
	}
	r.warm, r.packed, r.raw, r.cpu = median(took[0]), median(took[1]), median(took[2]), median(cpu)
	r.report(b, s)
	s.rows = append(s.rows, r)
}

// answer is how many lines oklog-query has found.
func (r *row) answer(b *testing.B, c cost) int64 {
	b.Helper()
	n, err := r.count(c.out)
	if err != nil {
		b.Fatalf("oklog-query prints %.200q: %v", c.out, err)
	}
	return n
}

// check holds the answers of one turn against what oklog-query has found at first.
func (r *row) check(b *testing.B, costs []cost) {
	b.Helper()
	for i, c := range costs {
		who, have := "oklog-query", int64(0)
		if i == 0 {
			have = r.answer(b, c)
		} else {
			n, err := sum(c.out)
			if err != nil {
				b.Fatalf("rg prints %.200q: %v", c.out, err)
			}
			if who, have = "rg", n; r.newest > 0 {
				have = min(n, int64(r.newest))
			}
		}
		if have != r.found {
			r.wrong = true
			b.Errorf("%s: oklog-query found %d at first, %s finds %d", r.pattern, r.found, who, have)
		}
	}
}

// report gives the figures to benchstat.
func (r *row) report(b *testing.B, s *searchTopic) {
	b.ReportMetric(float64(r.warm.Nanoseconds()), "ns/op")
	b.ReportMetric(float64(r.cold.Nanoseconds()), "cold-ns")
	b.ReportMetric(r.cpu.Seconds()*1000, "cpu-ms")
	b.ReportMetric(float64(r.peak)/(1<<20), "peak-MiB")
	for unit, v := range map[string]float64{"fetched-B": r.fetched, "blocks": r.blocks, "requests": r.requests} {
		if v >= 0 {
			b.ReportMetric(v, unit)
		}
	}
	if s.pieces == nil {
		b.ReportMetric(ratio(r.warm, r.packed), "x-zstd|rg")
		b.ReportMetric(ratio(r.warm, r.raw), "x-rg")
	}
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }

// print prints the table.
func (t *searchTable) print() {
	level := "as compaction leaves them"
	if t.fresh {
		level = "as ingesters write them"
	}
	fmt.Printf("\nTimes are medians of %d, of processes from start to end, taken by turns; %d processors. Segments %s.\n", t.runs, runtime.GOMAXPROCS(0), level)
	fmt.Println("cold: the first time after the start of MinIO. RSS: in the run with --stats, which is not timed; it is looked at every 0.5 ms.")
	for _, s := range t.topics {
		var text, packed, lines int64
		for _, l := range s.logs {
			text, lines = text+l.size, lines+l.lines
			if info, err := os.Stat(l.packed); err == nil {
				packed += info.Size()
			}
		}
		for _, p := range s.pieces {
			text, lines = text+int64(len(p)), lines+int64(bytes.Count(p, []byte{'\n'}))
		}
		fmt.Printf("\n%s: %.1f MB, %d lines; stored %.2f MB (%.2f %%) in %d segments", s.name, float64(text)/1e6, lines,
			float64(s.stored.bytes)/1e6, 100*float64(s.stored.bytes)/float64(text), s.stored.segments)
		if s.pieces == nil {
			fmt.Printf("; zstd -3 %.2f MB", float64(packed)/1e6)
		} else {
			fmt.Printf("; every request waits %v", requestDelay)
		}
		fmt.Printf("\n%-12s %8s %9s %9s %9s %9s %9s %8s %8s %6s %5s %7s %5s  %s\n", "", "found", "warm ms", "cold ms",
			"zstd|rg", "rg raw", "/zstd|rg", "/rg raw", "MB read", "blocks", "reqs", "CPU s", "MiB", "pattern")
		for _, r := range s.rows {
			r.print()
		}
	}
	for _, n := range t.notes {
		fmt.Println(n)
	}
	fmt.Println()
}

func (r *row) print() {
	number := func(format string, v float64, known bool) string {
		if !known {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	ms := func(d time.Duration) string { return number("%.1f", d.Seconds()*1000, d > 0) }
	compared := r.raw > 0
	wrong := ""
	if r.wrong {
		wrong = "WRONG "
	}
	fmt.Printf("%-12s %8d %9s %9s %9s %9s %9s %8s %8s %6s %5s %7.3f %5s  %s%.60s\n", r.name, r.found, ms(r.warm), ms(r.cold), ms(r.packed), ms(r.raw),
		number("%.3f", ratio(r.warm, r.packed), compared), number("%.2f", ratio(r.warm, r.raw), compared),
		number("%.2f", r.fetched/1e6, r.fetched >= 0), number("%.0f", r.blocks, r.blocks >= 0), number("%.0f", r.requests, r.requests >= 0),
		r.cpu.Seconds(), number("%.0f", float64(r.peak)/(1<<20), r.peak > 0), wrong, r.pattern)
}
