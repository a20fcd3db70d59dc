package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore/open"
)

// querier is one of several processes among which queries are spread.
type querier struct {
	*proc
	url, metrics string

	mu    sync.Mutex
	up    bool
	kills int
}

// querier starts one that spreads queries of a few thousand stored bytes.
func (s *system) querier(bucket string) *querier {
	s.tb.Helper()
	addr, metrics := freeAddr(s.tb), freeAddr(s.tb)
	q := &querier{url: "http://" + addr, metrics: "http://" + metrics}
	q.proc = spawn(s.tb, "oklog", "serve", "--nats", s.natsURL, "--bucket", bucket, "--listen", addr, "--http", metrics, "--spread-min", "4KiB", "--stop-timeout", "5s")
	return q
}

// await waits until it answers.
func (q *querier) await() {
	q.tb.Helper()
	(&serving{url: q.url}).await(q.tb)
	q.mu.Lock()
	q.up = true
	q.mu.Unlock()
}

// state tells whether it may be asked, and how often it has been killed.
func (q *querier) state() (up bool, kills int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.up, q.kills
}

// shoot kills it, which those who ask can tell beforehand.
func (q *querier) shoot() {
	q.mu.Lock()
	q.up = false
	q.kills++
	q.mu.Unlock()
	q.kill()
}

// metric is the value of one, with its labels.
func (q *querier) metric(name string) float64 {
	q.tb.Helper()
	resp, err := http.Get(q.metrics + "/metrics")
	if err != nil {
		q.tb.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				q.tb.Fatal(err)
			}
			return v
		}
	}
	q.tb.Fatalf("no metric %s", name)
	return 0
}

const (
	membersMetric = "oklog_spread_members"
	givenMetric   = `oklog_spread_pieces_total{role="given"}`
	otherMetric   = `oklog_spread_pieces_total{role="other"}`
)

// queriers starts several, which know each other.
func (s *system) queriers(n int, bucket string) (all []*querier) {
	s.tb.Helper()
	for range n {
		all = append(all, s.querier(bucket))
	}
	for _, q := range all {
		q.await()
	}
	eventually(s.tb, "the first querier knows all", func() bool {
		// A query has it ask who is there.
		_, _ = query(s.tb, "--server", all[0].url, "--topic", "t", "--from", "1h", "-c", "")
		return all[0].metric(membersMetric) == float64(n)
	})
	return all
}

// fourQueriers is a way through one of four queriers, each of which has to have worked for it.
func fourQueriers(t *testing.T, bucket string) []string {
	all := newSystem(t, 0).queriers(4, bucket)
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for i, q := range all {
			given, other := q.metric(givenMetric), q.metric(otherMetric)
			t.Logf("querier %d gave others %.0f pieces, and did %.0f for them", i, given, other)
			if most := float64(len(invocations())); i == 0 && given < most || i > 0 && other < most/4 {
				t.Errorf("querier %d was hardly needed", i)
			}
		}
	})
	return []string{"--server", all[0].url}
}

// spreadAnswers is the environment variable with how many queries TestQueriersAreKilled asks. Without it, answersUsual.
const (
	spreadAnswers = "OKLOG_SPREAD_ANSWERS"
	answersUsual  = 60
)

// spreadQuestion is what is asked of oklog-query, and what it prints if it answers alone.
type spreadQuestion struct {
	args []string
	want []byte
	code int
}

// Queriers are killed with -9 and started all the time, the ones that are asked among them: what is answered is right and whole. Who
// asks one that is killed is told that there is no answer.
func TestQueriersAreKilled(t *testing.T) {
	answers := answersUsual
	if text := os.Getenv(spreadAnswers); text != "" {
		var err error
		if answers, err = strconv.Atoi(text); err != nil || answers < 1 {
			t.Fatalf("%s=%s: want a number", spreadAnswers, text)
		}
	}
	s := newSystem(t, 1)
	b, err := open.Bucket(t.Context(), s.buckets, open.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var text bytes.Buffer
	for i := range 6000 {
		fmt.Fprintf(&text, `{"n":%d,"status":%d,"took":%d,"msg":"%s %x"}`+"\n", i, 200+100*rng.IntN(4), rng.IntN(500), []string{"connect", "Error", "timeout", "ok"}[rng.IntN(4)], rng.Uint64())
	}
	if _, err := loadMany(t.Context(), b, "t", cutLines(text.Bytes(), 16<<10)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Some is not flushed, and stays so: the ingester that made the stream has stopped.
	if code := s.ingester().stop(); code != 0 {
		t.Fatal(code)
	}
	fresh := filepath.Join(t.TempDir(), "fresh.log")
	if err := os.WriteFile(fresh, bytes.Join(bytes.SplitAfter(text.Bytes(), []byte{'\n'})[:1000], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	s.forward("--topic", "t", "--quiet", fresh)

	base := []string{"--topic", "t", "--from", searchDay.Format(time.RFC3339), "--to", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
	var questions []*spreadQuestion
	for _, args := range []string{
		"-c Error", "-c -v ok", "Error", "--newest timeout", "-m 7 connect", "--newest -m 30 -i ERROR", "-m 400 status", "-C 2 abcd", "--newest -C 1 -m 9 beef",
		"-c --where status>=400", "--where took==17", "--newest -m 20 --where status==500 Error", "-o -i -E e[rR]+or.[0-9a-f]{3}", "-c nowhere-at-all", "nowhere-at-all",
	} {
		q := &spreadQuestion{args: slices.Concat(base, strings.Fields(args))}
		q.want, q.code = query(t, slices.Concat([]string{"--nats", s.natsURL}, s.bucketFlags(), q.args)...)
		questions = append(questions, q)
	}
	// Each request of the queriers' waits: queries take long enough to be hit.
	scheme, rest, _ := strings.Cut(s.buckets[0], "@")
	host, path, _ := strings.Cut(rest, "/")
	all := s.queriers(4, scheme+"@"+slow(t, host, 3*time.Millisecond)+"/"+path)

	var mu sync.Mutex
	done, wrong, lost := 0, 0, 0
	ask := func(rng *rand.Rand) {
		q := all[0]
		if rng.IntN(2) == 0 {
			q = all[rng.IntN(len(all))]
		}
		up, kills := q.state()
		if !up {
			time.Sleep(10 * time.Millisecond)
			return
		}
		question := questions[rng.IntN(len(questions))]
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "oklog-query"), slices.Concat([]string{"--server", q.url}, question.args)...)
		dieWithUs(cmd)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the state tells
		code := cmd.ProcessState.ExitCode()
		_, now := q.state()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case code == 2 && now != kills:
			lost++
			// What it has printed until then is right all the same.
			if whole := out.Bytes()[:bytes.LastIndexByte(out.Bytes(), '\n')+1]; !bytes.HasPrefix(question.want, whole) {
				wrong++
				t.Errorf("oklog-query %q, of a querier that was killed: %s", question.args, firstDifference(question.want, whole))
			}
		case code != question.code || !bytes.Equal(out.Bytes(), question.want):
			wrong++
			t.Errorf("oklog-query %q: status %d, want %d: %s\n%s", question.args, code, question.code, errs.String(), firstDifference(question.want, out.Bytes()))
			done++
		default:
			done++
		}
	}
	var asking sync.WaitGroup
	for i := range 3 {
		rng := rand.New(rand.NewPCG(seed, uint64(2+i)))
		asking.Go(func() {
			for {
				mu.Lock()
				enough := done >= answers || wrong > 5 || t.Context().Err() != nil
				mu.Unlock()
				if enough {
					return
				}
				ask(rng)
			}
		})
	}
	ended := make(chan struct{})
	go func() { defer close(ended); asking.Wait() }()
	defer func() { <-ended }()
	kills, given := 0, 0.0
	for {
		select {
		case <-time.After(time.Duration(300+rng.IntN(1000)) * time.Millisecond):
		case <-ended:
			for _, q := range all {
				given += q.metric(givenMetric)
			}
			t.Logf("%d answers, %d wrong, %d lost with the querier that was asked; %d kills; at least %.0f pieces were given to others", done, wrong, lost, kills, given)
			if kills == 0 || given == 0 {
				t.Error("nobody was killed, or nothing spread")
			}
			return
		}
		n := 1
		if rng.IntN(6) == 0 {
			n = len(all) - 1
		}
		from := 1 + rng.IntN(len(all)-1)
		if rng.IntN(6) == 0 {
			from = 0 // which is asked most
		}
		shot := make([]*querier, n)
		for i := range shot {
			shot[i] = all[(from+i)%len(all)]
			given += shot[i].metric(givenMetric)
			shot[i].shoot()
			kills++
		}
		for _, q := range shot {
			q.start()
		}
		for _, q := range shot {
			q.await()
		}
	}
}

// cutLines cuts a text into pieces of whole lines, of so many bytes or a little less.
func cutLines(text []byte, size int) (all [][]byte) {
	for len(text) > 0 {
		n := min(size, len(text))
		if n = max(bytes.LastIndexByte(text[:n], '\n'), bytes.IndexByte(text, '\n')) + 1; n == 0 {
			n = len(text)
		}
		all, text = append(all, text[:n]), text[n:]
	}
	return all
}
