package spread

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/dir"
	"oklog/query"
)

// querierRole makes the test program a querier of a group, "URL BUCKET", until its standard input ends.
const querierRole = "OKLOG_TEST_QUERIER"

// spreadAnswers is the environment variable with how many queries TestKilled asks. Without it, answersUsual.
const (
	spreadAnswers = "OKLOG_SPREAD_ANSWERS"
	answersUsual  = 100
)

func runQuerier(role string) error {
	url, folder, _ := strings.Cut(role, " ")
	ctx := context.Background()
	b, err := dir.Open(folder, dir.Config{})
	if err != nil {
		return err
	}
	s, err := stream.Connect(ctx, stream.Config{URL: url})
	if err != nil {
		return err
	}
	engine, err := query.New(query.Config{Bucket: slowed(b, 2*time.Millisecond, 0), Workers: 1})
	if err != nil {
		return err
	}
	cfg := small("")
	cfg.Engine, cfg.Transport = engine, s.Group()
	m, err := Join(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Println("joined")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // ends with the test, however that ends
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	return s.Close(ctx)
}

// slow is a bucket whose reads take time.
type slow struct {
	objstore.Bucket
	each time.Duration // of a request
	line *line
}

// line is what reads go through: so many bytes a second.
type line struct {
	rate int64
	free chan time.Time // when it is
}

// slowed has each request to a bucket take some time, and all of them together so many bytes a second at most; 0: any number.
func slowed(b objstore.Bucket, each time.Duration, rate int64) *slow {
	l := &line{rate: rate, free: make(chan time.Time, 1)}
	l.free <- time.Time{}
	return &slow{b, each, l}
}

func (s *slow) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	until := time.Now().Add(s.each)
	if s.line.rate > 0 {
		free := <-s.line.free
		if free.Before(until) {
			free = until
		}
		until = free.Add(time.Duration(int64(len(p)) * int64(time.Second) / s.line.rate))
		s.line.free <- until
	}
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case <-wait.C:
		return s.Bucket.Get(ctx, key, off, p)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// querier is a process that is killed.
type querier struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

func startQuerier(url, folder string) (*querier, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), querierRole+"="+url+" "+folder, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	q := &querier{cmd, stdin}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		q.kill()
		return nil, fmt.Errorf("a querier does not start: %q, %w", line, err)
	}
	return q, nil
}

// kill is kill -9. How the process ends is of no interest then.
func (q *querier) kill() {
	_ = q.cmd.Process.Kill()
	_ = q.cmd.Wait()
	_ = q.stdin.Close()
}

// Queriers are killed and added all the time, and no answer is wrong, or partial.
func TestKilled(t *testing.T) {
	answers := answersUsual
	if text := os.Getenv(spreadAnswers); text != "" {
		var err error
		if answers, err = strconv.Atoi(text); err != nil || answers < 1 {
			t.Fatalf("%s=%s: want a number", spreadAnswers, text)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 6))
	url, folder := natsServer(t), t.TempDir()
	b, err := dir.Open(folder, dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	all := world(rnd, 6000)
	hot := scatter(t, rnd, b, "web", all)
	for i := range all {
		if i%3000 == 0 {
			store(t, b, "web", 3, 2000, all[i:i+min(3000, len(all)-i)])
		}
	}
	cfg := small(url)
	cfg.Engine = newEngine(t, query.Config{Bucket: slowed(b, 2*time.Millisecond, 0), Hot: hot, Workers: 1})
	here := join(t, url, cfg)
	local := newEngine(t, query.Config{Bucket: b, Hot: hot})

	// Four queriers: the one that is asked, and three that are killed, one after the other and sometimes all.
	quit, ended := make(chan struct{}), make(chan struct{})
	kills := 0
	others := make([]*querier, 3)
	begin := func(i int) bool {
		q, err := startQuerier(url, folder)
		if err != nil {
			t.Error(err)
			return false
		}
		others[i] = q
		return true
	}
	for i := range others {
		if !begin(i) {
			return
		}
	}
	knows(t, here, 4)
	go func() {
		defer close(ended)
		rnd := rand.New(rand.NewPCG(seed, 7))
		defer func() {
			for _, q := range others {
				q.kill()
			}
		}()
		for {
			select {
			case <-time.After(time.Duration(50+rnd.IntN(400)) * time.Millisecond):
			case <-quit:
				return
			}
			n := 1
			if rnd.IntN(8) == 0 {
				n = len(others)
			}
			from := rnd.IntN(len(others))
			for i := range n {
				others[(from+i)%len(others)].kill()
				kills++
			}
			for i := range n {
				if !begin((from + i) % len(others)) {
					return
				}
			}
		}
	}()
	wrong, spread := 0, 0
	for i := range answers {
		q := randomQuery(t, rnd, all)
		if here.Members() > 1 {
			spread++
		}
		want, have := ask(t.Context(), local, q), ask(t.Context(), here, q)
		if d := differ(want, have); d != "" || want.err != nil || have.ans.Partial() {
			wrong++
			t.Errorf("answer %d to %+v: %s %v", i, q, d, want.err)
		}
	}
	close(quit)
	<-ended
	t.Logf("%d answers, %d of them while others were known, %d wrong; %d kills", answers, spread, wrong, kills)
	if spread == 0 || kills == 0 {
		t.Error("nothing was spread, or nobody killed")
	}
}
