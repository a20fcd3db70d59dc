package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// checkpoint is a time before which everything is known: so many records.
type checkpoint struct {
	to    string
	count int
}

// While records come in, two compactors run, are killed with -9 and begin anew, retention takes another topic away, and repair makes
// copies of what one bucket missed while it was away: queries go on and count what was there before some time. No count is ever wrong.
func TestCompactorsAreKilledUnderQueries(t *testing.T) {
	s := newSystem(t, 2)
	path := filepath.Join(t.TempDir(), "app.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	quorum := []string{"--write-quorum", "1"}
	ingest := slices.Concat(quorum, []string{"--flush-age", "300ms", "--ack-wait", "2s"})
	one, two := s.ingester(ingest...), s.ingester(ingest...)
	fwd := spawn(t, "oklog", "forward", "--nats", s.natsURL, "--topic", "t", "--follow", "--state", t.TempDir(), path)
	oklog := func(args ...string) *exec.Cmd { return exec.Command(filepath.Join(bin, "oklog"), args...) }
	if out, err := oklog(slices.Concat([]string{"retention", "set"}, s.bucketFlags(), []string{"old", "3s"})...).CombinedOutput(); err != nil {
		t.Fatalf("oklog retention set: %v\n%s", err, out)
	}
	compactor := func() *proc {
		return spawn(t, "oklog", slices.Concat([]string{"compact"}, s.bucketFlags(), quorum, []string{"--every", "100ms", "--older-than", "1s",
			"--grace", "5s", "--quiet", "2s", "--trash-for", "2s", "--target-size", "1MiB", "--yes", "--log-level", "warn"})...)
	}
	compactors := []*proc{compactor(), compactor()}

	written := 0
	write := func(n int) {
		var text strings.Builder
		for range n {
			fmt.Fprintf(&text, "line %d with some text %x\n", written, written*written)
			written++
		}
		if _, err := file.WriteString(text.String()); err != nil {
			t.Fatal(err)
		}
	}
	base := slices.Concat(s.bucketFlags(), quorum, []string{"--topic", "t", "--from", "1h"})
	// ask runs a query. With one of the buckets away, and a write quorum of one, it rightly says that its answer may be partial;
	// but here the other bucket has been filled up.
	var away atomic.Bool
	ask := func(args ...string) string {
		wasAway := away.Load()
		cmd := exec.Command(filepath.Join(bin, "oklog-query"), slices.Concat(base, args)...)
		dieWithUs(cmd)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the state tells
		if code := cmd.ProcessState.ExitCode(); code > 1 && !wasAway && !away.Load() {
			t.Errorf("oklog-query %q ends with %d: %s", args, code, errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	count := func(args ...string) string { return ask(append(args, "-c", "")...) }

	// What was read before a checkpoint stays what it is.
	var mu sync.Mutex
	var points []checkpoint
	mark := func() {
		eventually(t, "everything that was written is found", func() bool { return count("--nats", s.natsURL) == fmt.Sprint(written) })
		time.Sleep(2 * time.Millisecond) // what is read from now on is of a later millisecond
		mu.Lock()
		defer mu.Unlock()
		points = append(points, checkpoint{time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), written})
		time.Sleep(2 * time.Millisecond)
	}
	write(500)
	mark()

	quit := make(chan struct{})
	var loops sync.WaitGroup
	loop := func(f func(n int)) {
		loops.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				default:
					f(n)
				}
			}
		})
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	queries, wrong := 0, 0 // of the loop below
	loop(func(n int) {
		mu.Lock()
		p := points[(n*7)%len(points)]
		mu.Unlock()
		args := []string{"--to", p.to, "--nats", s.natsURL}
		queries++
		if have := count(args...); have != fmt.Sprint(p.count) {
			wrong++
			t.Errorf("query %d: %s records before %s, want %d", n, have, p.to, p.count)
		}
		if n%5 == 0 {
			if have := strings.Split(ask(append(args, "--newest", "line")...), "\n"); len(have) != p.count {
				t.Errorf("query %d prints %d lines before %s, want %d", n, len(have), p.to, p.count)
			}
		}
	})
	loop(func(n int) { // another topic comes and goes
		p := filepath.Join(t.TempDir(), "old.log")
		if err := os.WriteFile(p, bytes.Repeat([]byte("an old line\n"), 50), 0o644); err != nil {
			t.Error(err)
		}
		if out, err := oklog("forward", "--nats", s.natsURL, "--quiet", "--topic", "old", p).CombinedOutput(); err != nil {
			t.Errorf("oklog forward: %v\n%s", err, out)
		}
		time.Sleep(300 * time.Millisecond)
	})
	loop(func(n int) {
		args := []string{"repair"}
		if n%4 == 3 {
			args = append(args, "--deep")
		}
		cmd := oklog(append(args, s.bucketFlags()...)...)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() == 1 {
			t.Errorf("oklog repair: %v\n%s", err, out) // 2: a bucket was away
		}
		time.Sleep(500 * time.Millisecond)
	})

	r := rand.New(rand.NewPCG(seed, 0))
	killed := min(30, kills(t))
	for n := range killed {
		write(20 + r.IntN(200))
		pause(r, 700*time.Millisecond)
		p := compactors[n%2]
		p.kill()
		p.start()
		if n%5 == 4 {
			mark()
		}
		if n == killed/2 {
			away.Store(true)
			s.minio[1].Kill()
			write(100)
			time.Sleep(time.Second)
			if err := s.minio[1].Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			mark()
			away.Store(false)
		}
	}
	mark()
	// Nobody kills them any more. What was compacted is compacted again as soon as there is twice as much beside it.
	twice := func() bool {
		inv := s.inventory(s.buckets[0], "t")
		return slices.ContainsFunc(inv.keys, func(k string) bool { return strings.Contains(k, "-g2-") })
	}
	for round := 0; !twice(); round++ {
		if round == 5 {
			t.Errorf("nothing was compacted twice: %q", s.inventory(s.buckets[0], "t").keys)
			break
		}
		write(3 * written)
		mark()
		for wait := 0; wait < 100 && !twice(); wait++ {
			time.Sleep(100 * time.Millisecond)
		}
	}
	close(quit)
	loops.Wait()
	t.Logf("%d kills, %d queries, %d of them wrong, %d records", killed, queries, wrong, written)
	if code := fwd.stop(); code != 0 {
		t.Errorf("the forwarder ends with %d", code)
	}
	s.settled()
	one.stop()
	two.stop()
	for _, p := range compactors {
		if code := p.stop(); code != 0 {
			t.Errorf("a compactor ends with %d:\n%s", code, p.output())
		}
	}

	// Whatever was left behind is made good by one repair and a few runs.
	if out, err := oklog(append([]string{"repair", "--deep"}, s.bucketFlags()...)...).CombinedOutput(); err != nil {
		t.Errorf("oklog repair: %v\n%s", err, out)
	}
	for range 6 { // each deletes what the one before has replaced
		if out, err := s.compact("--older-than", "0s", "--grace", "0s", "--quiet", "0s", "--yes").CombinedOutput(); err != nil {
			t.Errorf("oklog compact: %v\n%s", err, out)
		}
	}
	for _, url := range s.buckets {
		inv := s.inventory(url, "t")
		if len(inv.keys) > 8 { // the day is not over: what is worth it has been merged
			t.Errorf("%s is left with %d segments", url, len(inv.keys))
		}
		out, _ := query(t, "--bucket", url, "--topic", "t", "--from", "1h", "")
		have := lines(out)
		slices.SortFunc(have, bytes.Compare)
		if n := len(slices.CompactFunc(have, bytes.Equal)); n != written || len(have) != written {
			t.Errorf("%s: %d lines are found, %d different ones, want %d", url, len(have), n, written)
		}
	}
	if out, err := oklog(append([]string{"verify"}, s.bucketFlags()...)...).CombinedOutput(); err != nil {
		t.Errorf("oklog verify: %v\n%s", err, out)
	}
}
