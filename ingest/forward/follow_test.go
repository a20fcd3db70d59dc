package forward

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// following is a forwarder that runs on one file in a folder of its own.
type following struct {
	t      *testing.T
	dir    string
	name   string
	cfg    Config
	change func(*Forwarder)
	p      *recorder
	f      *Forwarder
	log    lockedBuffer
	cancel context.CancelFunc
	ended  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFollowing(t *testing.T) *following {
	dir := t.TempDir()
	w := &following{t: t, dir: dir, name: filepath.Join(dir, "app.log"), p: newRecorder(), change: func(*Forwarder) {}}
	w.cfg = Config{
		Publisher: w.p, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
		Inputs: Inputs{Files: []string{w.name}, Follow: true, StateDir: filepath.Join(dir, "state")},
		Limits: Limits{BatchAge: time.Millisecond, Record: 64},
	}
	return w
}

func (w *following) begin() {
	w.t.Helper()
	w.f = quick(w.t, w.cfg)
	w.change(w.f)
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(w.t.Context())
	w.ended = make(chan error, 1)
	go func() {
		_, err := w.f.Run(ctx)
		w.ended <- err
	}()
}

func (w *following) end() {
	w.t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil {
		w.t.Fatal(err)
	}
}

// write appends text to a file.
func (w *following) write(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *following) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}

// await waits until n records were acked, and compares the texts, in any order.
func (w *following) await(want ...string) {
	w.t.Helper()
	waitFor(w.t, func() bool {
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		n := 0
		for _, body := range w.p.bodies {
			n += len(decode(w.t, body))
		}
		return n >= len(want)
	})
	have := texts(w.t, bySession(w.p.records(w.t)))
	slices.Sort(have)
	slices.Sort(want)
	equal(w.t, have, want)
}

func TestFollowGrowth(t *testing.T) {
	w := newFollowing(t)
	w.begin() // the file does not exist yet
	w.write(w.name, "one\ntwo\nha")
	w.await("one", "two")
	w.write(w.name, "lf")
	w.write(w.name, "\n\n")
	w.await("one", "two", "half", "")
	w.write(w.name, "unfinished")
	w.end()
	w.begin()
	w.write(w.name, " no more\n"+strings.Repeat("x", 100)+"\n")
	w.await("one", "two", "half", "", "unfinished no more", strings.Repeat("x", 100))
	w.end()
	w.begin()
	w.end()
	if s := w.f.Stats(); s.Records != 0 {
		t.Errorf("read again: %+v", s)
	}
}

func (w *following) awaitPieces() []string {
	return texts(w.t, bySession(w.p.records(w.t)))
}

// TestFollowNotified finds growth without polling.
func TestFollowNotified(t *testing.T) {
	w := newFollowing(t)
	w.change = func(f *Forwarder) { f.wait.poll = time.Hour }
	w.write(w.name, "one\n")
	w.begin()
	w.await("one")
	w.write(w.name, "two\n")
	w.await("one", "two")
	w.rename(w.name, w.name+".1")
	w.write(w.name, "three\n")
	w.await("one", "two", "three")
	w.end()
}

func TestFollowRename(t *testing.T) {
	w := newFollowing(t)
	w.change = func(f *Forwarder) { f.wait.linger = 200 * time.Millisecond }
	w.write(w.name, "one\n")
	w.begin()
	w.await("one")
	want := []string{"one"}
	for i, old := range []string{w.name + ".1", w.name + ".2"} {
		w.rename(w.name, old)
		w.write(old, fmt.Sprintf("%d after the rename\n", i)) // the writer has not opened the new one yet
		w.write(w.name, fmt.Sprintf("%d new\n", i))
		w.write(old, fmt.Sprintf("%d late\nhalf of %d", i, i))
		want = append(want, fmt.Sprint(i, " after the rename"), fmt.Sprint(i, " new"), fmt.Sprint(i, " late"), fmt.Sprint("half of ", i))
		w.await(want...)
	}
	// Finished with: positions are kept, in case that somebody writes to them after all.
	waitFor(t, func() bool { return strings.Count(w.log.String(), "rotated away") == 2 })
	w.write(w.name, "last\n")
	w.await(append(want, "last")...)
	w.end()
	j, err := openJournal(w.cfg.Inputs.StateDir, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if states := j.positions(); len(states) != 3 || !states[0].Done || !states[1].Done || states[2].Done || len(j.entries) != 1 || j.entries[0].pending != 0 {
		t.Errorf("state is %+v", states)
	}
}

func TestFollowRenameBack(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, "one\n")
	w.begin()
	w.await("one")
	w.rename(w.name, w.name+".x")
	waitFor(t, func() bool { return strings.Contains(w.log.String(), "rotated away or removed") })
	w.rename(w.name+".x", w.name)
	w.write(w.name, "two\n")
	w.await("one", "two")
	w.end()
}

func TestFollowRemoved(t *testing.T) {
	w := newFollowing(t)
	w.change = func(f *Forwarder) { f.wait.missing = 20 * time.Millisecond }
	w.write(w.name, "one\nhalf")
	w.begin()
	w.await("one")
	if err := os.Remove(w.name); err != nil {
		t.Fatal(err)
	}
	w.await("one", "half")
	w.write(w.name, "two\n")
	w.await("one", "half", "two")
	w.end()
}

func TestFollowTruncate(t *testing.T) {
	long := strings.Repeat("a line of the old file\n", 200)
	for name, fresh := range map[string]string{
		"shorter":              "new 1\nnew 2\n",
		"longer":               "new 1\n" + strings.Repeat("a line of the new file\n", 300),
		"longer and unlike it": strings.Repeat("b", 30) + "\n" + long + long,
	} {
		t.Run(name, func(t *testing.T) {
			w := newFollowing(t)
			w.write(w.name, long)
			w.begin()
			want := split(long)
			w.await(want...)
			// The new text is there at once: a look at the size alone would not do.
			f, err := os.OpenFile(w.name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(fresh) < len(long) {
				if err := f.Truncate(0); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.WriteAt([]byte(fresh), 0); err != nil {
				t.Fatal(err)
			}
			w.await(append(want, split(fresh)...)...)
			w.end()
			if !strings.Contains(w.log.String(), "truncated") {
				t.Error("the log does not say so")
			}
		})
	}
}

// TestFollowRotatedMeanwhile stops the forwarder, rotates, and starts it again.
func TestFollowRotatedMeanwhile(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, "one\nhalf")
	w.begin()
	w.await("one")
	w.end()
	w.write(w.name, " a line\ntwo\nend")
	w.rename(w.name, w.name+".1")
	w.write(w.name, "three\n")
	w.begin()
	w.await("one", "half a line", "two", "end", "three")
	w.end()
	if err := os.Remove(w.name); err != nil { // and now it is nowhere
		t.Fatal(err)
	}
	w.write(w.name, "four\n")
	w.begin()
	w.await("one", "half a line", "two", "end", "three", "four")
	w.end()
	if !strings.Contains(w.log.String(), "not beside its path any more") {
		t.Error("the log does not say what is missing")
	}
}

// TestFollowReplacedMeanwhile puts another text into the same file while nobody looks.
func TestFollowReplacedMeanwhile(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, "one\ntwo\n")
	w.begin()
	w.await("one", "two")
	w.end()
	if err := os.WriteFile(w.name, []byte("three\nfour\nfive\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.await("one", "two", "three", "four", "five")
	w.end()
}

func TestFollowMultiline(t *testing.T) {
	w := newFollowing(t)
	w.cfg.Inputs.Multiline = "^S"
	w.write(w.name, "S one\n more\nS two\n")
	w.begin()
	w.await("S one\n more", "S two") // the second by silence
	w.write(w.name, "S three\n")
	w.end() // too early to tell: it is not read
	w.write(w.name, " goes on\n")
	w.begin()
	w.await("S one\n more", "S two", "S three\n goes on")
	w.end()
}

// TestFollowCut stops in the middle of a long record: the pieces read later, in another session, say that they go on
// from something and have its time.
func TestFollowCut(t *testing.T) {
	w := newFollowing(t)
	w.write(w.name, strings.Repeat("x", 150))
	w.begin()
	waitFor(t, func() bool { return w.f.Stats().Acked == 2 })
	w.end()
	w.write(w.name, strings.Repeat("y", 150)+"\nend\n")
	w.begin()
	waitFor(t, func() bool { return w.f.Stats().Acked == 4 })
	w.end()
	have := w.awaitPieces()
	slices.Sort(have) // the order of sessions is any
	equal(t, have, []string{"end", strings.Repeat("x", 150) + strings.Repeat("y", 150)})
	ms := w.p.records(t)[0].id.Time()
	for i, r := range w.p.records(t)[:5] {
		if r.id.Time() != ms {
			t.Errorf("piece %d has another time", i)
		}
	}
}

func TestFollowManyFilesAndStdin(t *testing.T) {
	w := newFollowing(t)
	var want []string
	w.cfg.Inputs.Files = nil
	for i := range 30 {
		name := filepath.Join(w.dir, fmt.Sprint(i, ".log"))
		w.cfg.Inputs.Files = append(w.cfg.Inputs.Files, name)
		for k := range 50 {
			want = append(want, fmt.Sprint(i, " ", k))
			w.write(name, fmt.Sprint(i, " ", k, "\n"))
		}
	}
	w.cfg.Inputs.Stdin = strings.NewReader("from stdin")
	w.cfg.Limits.Batch = 200
	w.begin()
	w.await(append(want, "from stdin")...)
	w.end()
	w.cfg.Inputs.Stdin = nil
	w.begin()
	w.end()
	if s := w.f.Stats(); s.Records != 0 {
		t.Errorf("read again: %+v", s)
	}
}
