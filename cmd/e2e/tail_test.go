package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

// tailed is a tail that runs, and what it has printed.
type tailed struct {
	mu      sync.Mutex
	at      map[string]time.Time // when a line was printed
	read    map[string]time.Time // when the forwarder read it: its ULID says so
	twice   []string
	skipped int64
	told    []string // on standard error
	cmd     *exec.Cmd
	done    sync.WaitGroup
}

// startTail runs oklog-query tail, which has to print ULIDs (--ulid), until the test ends.
func startTail(t *testing.T, s *system, args ...string) *tailed {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "oklog-query"), slices.Concat([]string{"tail", "--nats", s.natsURL}, s.bucketFlags(), args)...)
	dieWithUs(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tl := &tailed{at: map[string]time.Time{}, read: map[string]time.Time{}, cmd: cmd}
	tl.done.Go(func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			now := time.Now()
			id, line, _ := strings.Cut(in.Text(), " ")
			tl.mu.Lock()
			if _, ok := tl.at[line]; ok {
				tl.twice = append(tl.twice, line)
			}
			tl.at[line] = now
			if id, err := ulid.ParseStrict(id); err == nil {
				tl.read[line] = ulid.Time(id.Time())
			}
			tl.mu.Unlock()
		}
	})
	tl.done.Go(func() {
		for in := bufio.NewScanner(errs); in.Scan(); {
			n := int64(0)
			_, err := fmt.Sscanf(in.Text(), "oklog-query: %d", &n)
			tl.mu.Lock()
			tl.told = append(tl.told, in.Text())
			switch {
			case err != nil:
			case strings.Contains(in.Text(), "came late"):
				tl.skipped -= n
			case strings.Contains(in.Text(), "skipped"):
				tl.skipped += n
			}
			tl.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		tl.done.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the tail told:\n%s", strings.Join(tl.told, "\n"))
		}
	})
	return tl
}

func (tl *tailed) has(line string) bool {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	_, ok := tl.at[line]
	return ok
}

// counts are how many lines were printed, and how many told as skipped.
func (tl *tailed) counts() (printed int, skipped int64) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return len(tl.at), tl.skipped
}

// tailTime is how long lines are written.
func tailTime(t *testing.T) time.Duration {
	text := os.Getenv("TAIL_TIME")
	if text == "" {
		t.Log("5 s of lines: set TAIL_TIME, such as 10m, for more")
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		t.Fatalf("TAIL_TIME=%s: want a time of at least 1s, such as 10m", text)
	}
	return d
}

// A file grows by 2,000 lines a second while it is followed and tailed, and the NATS server is killed and started again, twice: each line is printed
// once, or told as skipped.
func TestTailThroughRestarts(t *testing.T) {
	total := tailTime(t)
	s := newSystem(t, 0)
	s.buckets = []string{"file://" + t.TempDir()}
	s.ingester("--flush-age", "1s", "--ack-wait", "3s")
	path := filepath.Join(t.TempDir(), "app.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("the first line\n"); err != nil {
		t.Fatal(err)
	}
	fwd := spawn(t, "oklog", "forward", "--nats", s.natsURL, "--topic", "t", "--follow", "--state", t.TempDir(), path)
	tl := startTail(t, s, "--topic", "t", "--ulid")
	eventually(t, "the first line is printed", func() bool { return tl.has("the first line") })

	// The writer goes on whatever happens.
	const perSecond, every = 2000, 5 * time.Millisecond
	written := map[string]time.Time{}
	writerDone := make(chan error, 1)
	go func() {
		start := time.Now()
		n := 0
		for time.Since(start) < total {
			due := int(time.Since(start).Seconds() * perSecond)
			var lines strings.Builder
			now := time.Now()
			for ; n < due; n++ {
				line := fmt.Sprintf("line %d with some text %x", n, uint32(n)*2654435761)
				written[line] = now
				lines.WriteString(line + "\n")
			}
			if _, err := file.WriteString(lines.String()); err != nil {
				writerDone <- err
				return
			}
			time.Sleep(every)
		}
		writerDone <- nil
	}()
	var outages [][2]time.Time
	for range 2 {
		time.Sleep(total / 3)
		from := time.Now()
		s.nats.kill()
		time.Sleep(500 * time.Millisecond)
		s.nats.start()
		s.awaitNATS()
		outages = append(outages, [2]time.Time{from, time.Now().Add(5 * time.Second)})
	}
	if err := <-writerDone; err != nil {
		t.Fatal(err)
	}
	eventually(t, "each line is printed or told as skipped", func() bool {
		printed, skipped := tl.counts()
		return int64(printed)+skipped == int64(len(written))+1
	})
	time.Sleep(2 * time.Second) // nothing comes twice later on
	interrupted := time.Now()
	if err := tl.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	tl.done.Wait()
	_ = tl.cmd.Wait() // the state tells
	t.Logf("the tail has ended %s after Ctrl-C", time.Since(interrupted).Round(time.Millisecond))
	if code := tl.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("the tail ends with %d", code)
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if len(tl.twice) > 0 {
		t.Errorf("%d lines are printed twice, such as %q", len(tl.twice), tl.twice[0])
	}
	if n := int64(len(tl.at)) + tl.skipped; n != int64(len(written))+1 {
		t.Errorf("%d lines are printed and %d skipped, of %d", len(tl.at), tl.skipped, len(written)+1)
	}
	var all, calm, reading, coming []time.Duration
	for line, at := range tl.at {
		w, ok := written[line]
		if !ok {
			if line != "the first line" {
				t.Errorf("printed is %q, which was never written", line)
			}
			continue
		}
		all = append(all, at.Sub(w))
		if !slices.ContainsFunc(outages, func(o [2]time.Time) bool { return w.After(o[0].Add(-time.Second)) && w.Before(o[1]) }) {
			calm = append(calm, at.Sub(w))
			reading = append(reading, max(tl.read[line].Sub(w), 0))
			coming = append(coming, at.Sub(tl.read[line]))
		}
	}
	t.Logf("%d lines, %d skipped; from the file to the output: outside of restarts %s; with them %s", len(written), tl.skipped, percentiles(calm), percentiles(all))
	t.Logf("outside of restarts: until it was read %s; from there to the output %s", percentiles(reading), percentiles(coming))
	if code := fwd.stop(); code != 0 {
		t.Errorf("the forwarder ends with %d", code)
	}
	for _, told := range tl.told {
		t.Log(told)
	}
}

func percentiles(d []time.Duration) string {
	if len(d) == 0 {
		return "no lines"
	}
	slices.Sort(d)
	at := func(p float64) time.Duration {
		return d[min(len(d)-1, int(p*float64(len(d))))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s (%d lines)", at(.5), at(.99), at(1), len(d))
}
