package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"oklog/ingest/stream"
	"oklog/objstore/open"
	"oklog/objstore/segment"
)

// lines are the lines of a text, without their ends.
func lines(text []byte) [][]byte {
	return bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
}

func sorted(text []byte) [][]byte {
	l := lines(text)
	slices.SortFunc(l, bytes.Compare)
	return l
}

// grep is what grep would print: ripgrep if it is there, or else the regexp package, line by line.
func grep(t *testing.T, path string, text []byte, ignoreCase, invert, isRegex bool, pattern string) []byte {
	t.Helper()
	if rg, err := exec.LookPath("rg"); err == nil {
		args := []string{"--no-config", "--no-line-number", "--text", "--no-unicode", "--color=never", "--no-mmap"}
		for flag, on := range map[string]bool{"-i": ignoreCase, "-v": invert, "-F": !isRegex} {
			if on {
				args = append(args, flag)
			}
		}
		out, err := exec.Command(rg, append(args, "--", pattern, path)...).Output()
		if err != nil && len(out) > 0 {
			t.Fatalf("rg: %v", err)
		}
		return out
	}
	t.Log("no ripgrep here: comparing with package regexp")
	if !isRegex {
		pattern = regexp.QuoteMeta(pattern)
	}
	if ignoreCase {
		pattern = "(?i)" + pattern
	}
	re := regexp.MustCompile(pattern)
	var out []byte
	for _, l := range lines(text) {
		if re.Match(l) != invert {
			out = append(append(out, l...), '\n')
		}
	}
	return out
}

// A log goes through NATS into two buckets by two ingesters, and comes out again: by count, by ten patterns, and byte for byte with
// nothing but zstd, from either bucket alone.
func TestFromFileToBucketsAndBack(t *testing.T) {
	path := corpus(t, "sshd_auth")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, 2)
	one, two := s.ingester("--flush-age", "1s"), s.ingester("--flush-age", "1s")
	s.forward("--topic", "t", path)
	s.settled()
	for _, p := range []*proc{one, two} {
		if code := p.stop(); code != 0 {
			t.Errorf("an ingester ends with %d", code)
		}
	}
	base := append(s.bucketFlags(), "--topic", "t", "--from", "1h")
	if out, _ := query(t, append(base, "-c", "")...); strings.TrimSpace(string(out)) != fmt.Sprint(len(lines(text))) {
		t.Errorf("count is %s, want %d", out, len(lines(text)))
	}
	type search struct {
		pattern                    string
		regex, ignoreCase, exclude bool
	}
	searches := []search{
		{pattern: "Failed password"}, {pattern: "no such line anywhere"}, {pattern: "FAILED", ignoreCase: true}, {pattern: "%"}, {pattern: " "},
		{pattern: "e", exclude: true}, {pattern: `[Ee]rror.*\d{2}`, regex: true}, {pattern: `\b[0-9a-f]{8}\b`, regex: true},
		{pattern: `(invalid|preauth|PASS).*`, regex: true, ignoreCase: true}, {pattern: `\d+\.\d+`, regex: true, exclude: true},
		{pattern: `^\w+.*[a-z]$`, regex: true},
	}
	for _, q := range searches {
		args := slices.Clone(base)
		for flag, on := range map[string]bool{"--regex": q.regex, "-i": q.ignoreCase, "-v": q.exclude} {
			if on {
				args = append(args, flag)
			}
		}
		got, _ := query(t, append(args, q.pattern)...)
		// Two ingesters, one forwarder: the order is that of the file.
		if want := grep(t, path, text, q.ignoreCase, q.exclude, q.regex, q.pattern); !bytes.Equal(want, got) {
			t.Errorf("%+v: %d lines, want %d", q, len(lines(got)), len(lines(want)))
		}
	}
	for i, b := range s.buckets {
		if i == 0 {
			s.minio[1].Kill() // each bucket has to do alone
		} else {
			if err := s.minio[1].Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.minio[0].Kill()
		}
		if got := everything(t, b); !slices.EqualFunc(sorted(got), sorted(text), bytes.Equal) {
			t.Errorf("bucket %d holds %d bytes of text, want %d, or other ones", i, len(got), len(text))
		}
		if out, _ := query(t, append(s.bucketFlags(), "--topic", "t", "--from", "1h", "-c", "")...); strings.TrimSpace(string(out)) != fmt.Sprint(len(lines(text))) {
			t.Errorf("count with only bucket %d is %s, want %d", i, out, len(lines(text)))
		}
	}
}

// everything is what zstd makes of all the objects of a bucket.
func everything(t *testing.T, url string) []byte {
	t.Helper()
	b, err := open.Bucket(t.Context(), []string{url}, open.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, info.Size)
		if _, err := b.Get(t.Context(), info.Key, 0, data); err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&out, z); err != nil {
			t.Fatal(err)
		}
		z.Close()
	}
	return out.Bytes()
}

// kills is how often each test of crashes kills something.
func kills(t *testing.T) int {
	if testing.Short() {
		t.Log("short: 10 kills instead of 50")
		return 10
	}
	return 50
}

// A file is written while everything that handles it is killed with -9, one after the other and at random: the forwarder that follows it,
// ingesters, the NATS server, either MinIO. In the end every line is found, once.
func TestKillAnything(t *testing.T) {
	s := newSystem(t, 2)
	state, path := t.TempDir(), filepath.Join(t.TempDir(), "app.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	quorum := []string{"--flush-age", "300ms", "--ack-wait", "2s", "--write-quorum", "1"}
	one, two := s.ingester(quorum...), s.ingester(quorum...)
	fwd := spawn(t, "oklog", "forward", "--wait", "--nats", s.natsURL, "--ack-wait", "2s", "--topic", "t", "--follow", "--state", state, path)

	// The writer goes on whatever happens.
	var mu sync.Mutex
	var want []string
	quit, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			var lines strings.Builder
			mu.Lock()
			for k := range 5 {
				line := fmt.Sprintf("line %d.%d with some text %x", n, k, n*k)
				want = append(want, line)
				lines.WriteString(line + "\n")
			}
			mu.Unlock()
			text := lines.String()
			half := n % len(text) // a line is often written in two parts
			for _, part := range []string{text[:half], text[half:]} {
				if _, err := file.WriteString(part); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	restart := func(p *proc) {
		p.kill()
		p.start()
	}
	victims := []func(){
		func() { restart(fwd) },
		func() { restart(one) },
		func() { restart(two) },
		func() { restart(s.nats) },
		func() {
			m := s.minio[r.IntN(2)]
			m.Kill()
			pause(r, 200*time.Millisecond)
			if err := m.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for n := range kills(t) {
		pause(r, 300*time.Millisecond)
		victims[n%len(victims)]()
	}
	pause(r, 300*time.Millisecond)
	close(quit)
	<-written
	s.awaitNATS()

	// The forwarder is done when it has nothing left: it is stopped, and asked by exit status.
	eventually(t, "the forwarder has read it all", func() bool {
		out, code := query(t, append(s.bucketFlags(), "--nats", s.natsURL, "--topic", "t", "--from", "1h", "-c", "")...)
		return code == 0 && strings.TrimSpace(string(out)) == fmt.Sprint(len(want))
	})
	if code := fwd.stop(); code != 0 {
		t.Errorf("the forwarder ends with %d", code)
	}
	s.settled()
	one.stop()
	two.stop()
	out, _ := query(t, append(s.bucketFlags(), "--topic", "t", "--from", "1h", "")...)
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines found, want %d", len(got), len(want))
	}
	t.Logf("%d lines", len(want))
}

// pause waits at random, up to most: kills are to come at any instant.
func pause(r *rand.Rand, most time.Duration) { time.Sleep(time.Duration(r.Int64N(int64(most)))) }

// Two ingesters are given the same batches, and both store them: each record is shown once.
func TestRedeliveredBatchesAreShownOnce(t *testing.T) {
	s := newSystem(t, 1)
	path := corpus(t, "loghub2k_mixed16")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in := s.ingester("--flush-age", "200ms")
	js, err := stream.Connect(t.Context(), stream.Config{URL: s.natsURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := js.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	in.stop()
	s.forward("--topic", "t", "--batch-size", "64KiB", path)
	// What is in the stream now is published once more, under other message IDs: each batch will be stored twice.
	var bodies [][]byte
	for body, err := range js.Unflushed(t.Context(), "t") {
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	if len(bodies) < 3 {
		t.Fatalf("only %d batches", len(bodies))
	}
	in.start()
	s.settled()
	// Without the last one: the very same records would become the very same object.
	for i, body := range bodies[:len(bodies)-1] {
		ack, err := js.Publish(t.Context(), "t", fmt.Sprintf("again-%d", i), body)
		if err == nil {
			err = ack.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	args := append(s.bucketFlags(), "--topic", "t", "--from", "1h")
	for range 2 { // once hot, once all stored
		got, _ := query(t, append(args, "--nats", s.natsURL, "")...)
		if !bytes.Equal(got, append(bytes.TrimSuffix(text, []byte{'\n'}), '\n')) {
			t.Errorf("%d lines shown, want %d", len(lines(got)), len(lines(text)))
		}
		s.settled()
	}
	in.stop()
	if stored := lines(everything(t, s.buckets[0])); len(stored) < 3*len(lines(text))/2 {
		t.Errorf("%d records are stored, want most of the %d twice: nothing was tested", len(stored), len(lines(text)))
	}
}

// pipeTo is the standard input of a forwarder that runs until the test ends.
func pipeTo(tb testing.TB, s *system, args ...string) io.Writer {
	tb.Helper()
	cmd := exec.Command(filepath.Join(bin, "oklog"), append([]string{"forward", "--nats", s.natsURL}, args...)...)
	dieWithUs(cmd)
	w, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Errorf("oklog forward: %v", err)
		}
	})
	return w
}

// publishTopics publishes a text, piece by piece, to so many topics in turn.
func publishTopics(tb testing.TB, url string, text []byte, topics int) {
	tb.Helper()
	js, err := stream.Connect(context.Background(), stream.Config{URL: url})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := js.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	}()
	w, err := segment.NewWriter(segment.WriterConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	entropy := rand.NewChaCha8([32]byte{1})
	m, err := segment.NewMinter(entropy, nil)
	if err != nil {
		tb.Fatal(err)
	}
	var acks []*stream.Ack
	for n := 0; len(text) > 0; n++ {
		size := min(len(text), 100_000)
		i := bytes.LastIndexByte(text[:size], '\n')
		if i < 0 {
			break
		}
		r, err := m.Now(uint64(time.Now().UnixMilli()), uint32(bytes.Count(text[:i+1], []byte{'\n'})))
		if err != nil {
			tb.Fatal(err)
		}
		var b segment.Block
		b.AppendLines(r, text[:i+1])
		text = text[i+1:]
		var out bytes.Buffer
		w.Reset(&out)
		c := b.Cursor()
		if err := w.Take(&c, b.Len()); err != nil {
			tb.Fatal(err)
		}
		name, err := w.Finish()
		if err != nil {
			tb.Fatal(err)
		}
		ack, err := js.Publish(context.Background(), fmt.Sprintf("t%d", n%topics), name.String(), out.Bytes())
		if err != nil {
			tb.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		if err := ack.Wait(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}
