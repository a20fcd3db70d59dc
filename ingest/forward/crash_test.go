package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore/segment"
)

var errCrash = errors.New("crashed here")

// TestCrashAtEveryStep lets a forwarder die at its n-th change on disk, for every n, in the middle of publishing, and between the
// broker's storing and its ack. Whatever it has published, and what the next one does, is every line exactly once.
func TestCrashAtEveryStep(t *testing.T) {
	var lines []string
	for i := range 24 {
		lines = append(lines, fmt.Sprintf("line %d %s", i, strings.Repeat("z", 2*i)))
	}
	name := writeFile(t, strings.Join(lines, "\n")+"\n")
	cfg := func(state string, p *recorder, full WhenFull, mode Mode) Config {
		return Config{
			Inputs: Inputs{Files: []string{name}, StateDir: state}, Publisher: p, WhenFull: full, Mode: mode,
			Limits:    Limits{Record: 20, Batch: 200, Spool: 1500},
			Permanent: func(err error) bool { return errors.Is(err, errCrash) },
		}
	}
	for _, full := range []WhenFull{Block, Spool} {
		for _, mode := range []Mode{Fast, Durable} {
			for _, kind := range []string{"disk", "refuse", "nack", "lie"} {
				t.Run(fmt.Sprint(full, mode, kind), func(t *testing.T) {
					crashes := 0
					for n := 1; ; n++ {
						state, p := t.TempDir(), newRecorder()
						// One crash at n, another somewhere behind it in the run that follows.
						for _, at := range []int{n, 1 + n/2} {
							f := quick(t, cfg(state, p, full, mode))
							var mu sync.Mutex
							count, dead := 0, false
							die := func(here bool) error {
								mu.Lock()
								defer mu.Unlock()
								if here {
									count++
								}
								if dead = dead || count == at; dead {
									return errCrash // and nothing happens after it
								}
								return nil
							}
							f.journal.step = func(string) error { return die(kind == "disk") }
							p.refuse = func(int) error { return die(kind == "refuse") }
							p.nack, p.lie = nil, nil
							switch kind {
							case "nack":
								p.nack = func(int) error { return die(true) }
							case "lie":
								p.lie = func(int) error { return die(true) }
							}
							_, err := f.Run(t.Context())
							if err != nil && !errors.Is(err, errCrash) {
								t.Fatal(err)
							}
							if err != nil {
								crashes++
							}
						}
						p.refuse, p.nack, p.lie = nil, nil, nil
						run(t, cfg(state, p, full, mode))
						equal(t, texts(t, p.records(t)), lines)
						if s := run(t, cfg(state, p, full, mode)); s.Records+s.Replayed != 0 {
							t.Fatalf("after all was acked: %+v", s)
						}
						if crashes < 2*n {
							break // n was behind the end
						}
					}
					if crashes < 6 {
						t.Errorf("only %d crashes", crashes)
					}
				})
			}
		}
	}
}

// TestSpool fills the spool while the broker is away, blocks, stops, and loses nothing.
func TestSpool(t *testing.T) {
	var lines []string
	for i := range 5000 {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	name, state := writeFile(t, strings.Join(lines, "\n")), t.TempDir()
	cfg := Config{
		Inputs: Inputs{Files: []string{name}, StateDir: state}, WhenFull: Spool,
		Limits: Limits{Record: 16, Batch: 100, Spool: 40 << 10, Stop: time.Millisecond},
	}
	away := newRecorder()
	away.refuse = func(int) error { return errAway }
	cfg.Publisher = away
	f := quick(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(ctx)
		ended <- err
	}()
	waitFor(t, func() bool { return f.journal.full(cfg.Limits.Spool) })
	cancel()
	if err := <-ended; !errors.Is(err, ErrNotAcked) {
		t.Fatal(err)
	}
	if n := f.Stats().Records; n >= 5000 {
		t.Fatalf("the spool took all of %d records", n)
	}
	var onDisk int64
	files, err := filepath.Glob(filepath.Join(state, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if onDisk > cfg.Limits.Spool+4<<10 {
		t.Errorf("%d bytes on disk, the limit is %d", onDisk, cfg.Limits.Spool)
	}
	p := newRecorder()
	cfg.Publisher, cfg.Limits.Stop = p, 0
	if s := run(t, cfg); s.Replayed == 0 || s.Replayed+s.Records < 5000 {
		t.Errorf("%+v", s)
	}
	equal(t, texts(t, p.records(t)), lines)
	if left, err := os.ReadDir(state); err != nil || len(left) != 2 {
		t.Errorf("left in the state folder: %v, %v", left, err) // the lock and the positions
	}
}

// TestTinySpool holds one batch at a time.
func TestTinySpool(t *testing.T) {
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	p := newRecorder()
	run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, strings.Join(lines, "\n"))}, StateDir: t.TempDir()}, WhenFull: Spool, Publisher: p,
		Limits: Limits{Record: 16, Batch: 100, Spool: 1},
	})
	equal(t, texts(t, p.records(t)), lines)
}

func TestTwoForwardersAreRefused(t *testing.T) {
	cfg := Config{Topic: "t", Inputs: Inputs{Stdin: strings.NewReader(""), StateDir: t.TempDir()}, Publisher: newRecorder()}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "--state") {
		t.Errorf("error is %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}

// TestDamagedJournal flips each bit of a journal's file in turn, and cuts it at each length.
func TestDamagedJournal(t *testing.T) {
	state := t.TempDir()
	p := newRecorder()
	p.nack = func(int) error { return errCrash }
	cfg := Config{
		Topic: "test", Inputs: Inputs{Files: []string{writeFile(t, "one\n")}, StateDir: state}, Publisher: p,
		Permanent: func(error) bool { return true },
	}
	if _, err := Run(t.Context(), cfg); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(state, "*"+journalSuffix))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := decodeJournal(good); err != nil {
		t.Fatal(err)
	}
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := decodeJournal(b); err == nil {
			t.Fatalf("bit %d flipped, and nobody noticed", i)
		}
	}
	for n := range good {
		if _, _, err := decodeJournal(good[:n]); err == nil {
			t.Fatalf("cut to %d bytes, and nobody noticed", n)
		}
	}
	good[len(good)/2] ^= 1
	if err := os.WriteFile(files[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), corruptSuffix) || !strings.Contains(err.Error(), "start again") {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(files[0] + corruptSuffix); err != nil {
		t.Error(err)
	}
	p.nack = nil
	if s, err := Run(t.Context(), cfg); err != nil || s.Acked != 1 {
		t.Error(s, err)
	}
}

// TestHostileJournal has a sound checksum over what no forwarder wrote: it is moved aside like a damaged one.
func TestHostileJournal(t *testing.T) {
	const print = "00112233445566778899aabbccddeeff"
	good := func() (uint64, header) {
		return 7, header{
			Topic: "test", Parts: []part{{ID: "A-b0", Records: 1, Size: 2, CRC: crc32.Checksum([]byte("ab"), castagnoli), body: []byte("ab")}},
			Files: []fileState{{Path: "p", PrintLen: 3, Print: print, Pos: 4}},
		}
	}
	for name, change := range map[string]func(seq *uint64, h *header){
		"":                      func(*uint64, *header) {},
		"sequence":              func(seq *uint64, _ *header) { *seq = math.MaxUint64 },
		"sequence far":          func(seq *uint64, _ *header) { *seq = maxSeq },
		"topic":                 func(_ *uint64, h *header) { h.Topic = "a\nb" },
		"ID":                    func(_ *uint64, h *header) { h.Parts[0].ID = "a\r\nb" },
		"no ID":                 func(_ *uint64, h *header) { h.Parts[0].ID = "" },
		"long ID":               func(_ *uint64, h *header) { h.Parts[0].ID = strings.Repeat("x", maxPartID+1) },
		"message's CRC":         func(_ *uint64, h *header) { h.Parts[0].CRC++ },
		"no records":            func(_ *uint64, h *header) { h.Parts[0].Records = 0 },
		"records":               func(_ *uint64, h *header) { h.Parts[0].Records = math.MaxInt64 },
		"path":                  func(_ *uint64, h *header) { h.Files[0].Path = "" },
		"negative print":        func(_ *uint64, h *header) { h.Files[0].PrintLen = -1 },
		"long print":            func(_ *uint64, h *header) { h.Files[0].PrintLen = 1 << 40 },
		"print":                 func(_ *uint64, h *header) { h.Files[0].Print = "no hex" },
		"no print":              func(_ *uint64, h *header) { h.Files[0].Print = "" },
		"negative position":     func(_ *uint64, h *header) { h.Files[0].Pos = -1 },
		"position":              func(_ *uint64, h *header) { h.Files[0].Pos = math.MaxInt64 },
		"cut, but no beginning": func(_ *uint64, h *header) { h.Files[0].Cutting = true },
	} {
		t.Run(name, func(t *testing.T) {
			seq, h := good()
			change(&seq, &h)
			b, _, err := encodeJournal(h)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, fmt.Sprintf("%016x%s", seq, journalSuffix))
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for attempt := range 2 {
				j, err := openJournal(dir, "test")
				if name != "" && attempt == 0 {
					if !errors.Is(err, ErrState) || !strings.Contains(fmt.Sprint(err), "start again") {
						t.Fatalf("error is %v", err)
					}
					if _, err := os.Stat(file + corruptSuffix); err != nil {
						t.Error(err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := j.add([]fileState{{Path: "q"}}, nil); err != nil {
					t.Error(err)
				}
				if err := j.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestForeignFilesInTheStateFolder stay.
func TestForeignFilesInTheStateFolder(t *testing.T) {
	dir := t.TempDir()
	own := strings.Repeat("0", 15) + "a" + journalSuffix + tmpSuffix
	foreign := []string{"thesis.tmp", "a.batch.tmp", strings.Repeat("0", 15) + "B" + journalSuffix + tmpSuffix, "x.batch", strings.Repeat("0", 17) + ".batch.tmp"}
	for _, name := range append(foreign, own) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, err := openJournal(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, own)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its own is still there: %v", err)
	}
}

func TestJournalOfAnotherTopic(t *testing.T) {
	p := newRecorder()
	p.nack = func(int) error { return errCrash }
	cfg := Config{
		Topic: "one", Inputs: Inputs{Stdin: strings.NewReader("x"), StateDir: t.TempDir()}, Publisher: p,
		Permanent: func(error) bool { return true },
	}
	if _, err := Run(t.Context(), cfg); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	cfg.Topic = "two"
	if _, err := New(cfg); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "topic one") {
		t.Errorf("error is %v", err)
	}
}

// folder is a Publisher for processes that are killed: each batch is a file.
type folder string

func (d folder) MaxBatch() int { return 1 << 20 }

func (d folder) Publish(_ context.Context, _, id string, body []byte) (Ack, error) {
	name := filepath.Join(string(d), id)
	if old, err := os.ReadFile(name); err == nil && !bytes.Equal(old, body) {
		fmt.Fprintln(os.Stderr, "batch", id, "again with other bytes")
		os.Exit(3)
	}
	if err := os.WriteFile(name+".tmp", body, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return nil, err
	}
	a := &ack{done: make(chan struct{})}
	close(a.done)
	return a, nil
}

// child is the process that TestKill kills: it follows the file app.log in a folder.
func child(dir string) {
	f, err := New(Config{
		Topic: "test", Publisher: folder(filepath.Join(dir, "out")),
		Inputs: Inputs{Files: []string{filepath.Join(dir, "app.log")}, Follow: true, StateDir: filepath.Join(dir, "state")},
		Limits: Limits{BatchAge: time.Millisecond, Record: 64, Batch: 500},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err == nil {
		f.wait.poll, f.wait.linger = 5*time.Millisecond, 50*time.Millisecond
		_, err = f.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestKill kills a process that follows a file, with SIGKILL and at random instants, while the file grows and is
// rotated. Every line is found exactly once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"out", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "app.log")
	rnd := rand.New(rand.NewPCG(5, 6))
	var want []string
	write := func() {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range 1 + rnd.IntN(50) {
			line := fmt.Sprintf("line %d %s", len(want), strings.Repeat("x", rnd.IntN(150)))
			want = append(want, line)
			half := rnd.IntN(len(line))
			for _, s := range []string{line[:half], line[half:] + "\n"} { // in two writes
				if _, err := f.WriteString(s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	read := func() []record {
		p := newRecorder()
		files, err := os.ReadDir(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".tmp") {
				continue
			}
			if p.bodies[f.Name()], err = os.ReadFile(filepath.Join(dir, "out", f.Name())); err != nil {
				t.Fatal(err)
			}
		}
		return p.records(t)
	}
	caughtUp := func() bool {
		n := 0
		for _, r := range read() {
			if r.piece&segment.Continued == 0 {
				n++
			}
		}
		return n >= len(want)
	}
	var errs bytes.Buffer
	start := func() *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "FORWARD_CHILD="+dir)
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer func() {
		if t.Failed() {
			t.Log(errs.String())
		}
	}()
	for i := range 25 {
		c := start()
		for range rnd.IntN(6) {
			write()
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
		if i%5 == 4 {
			write()
			waitFor(t, caughtUp) // so that the file is known: nobody finds one that came and went unseen
			if err := os.Rename(name, fmt.Sprint(name, ".", i)); err != nil {
				t.Fatal(err)
			}
			write()
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != -1 {
			t.Fatalf("the process ended by itself: %v\n%s", err, &errs)
		}
		write()
	}
	c := start()
	waitFor(t, caughtUp)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	have := texts(t, bySession(read()))
	slices.Sort(have)
	slices.Sort(want)
	equal(t, have, want)
}

// FuzzJournal decodes anything.
func FuzzJournal(f *testing.F) {
	b, _, err := encodeJournal(header{Topic: "t", Parts: []part{{ID: "x", Records: 1, Size: 2, CRC: crc32.Checksum([]byte("ab"), castagnoli), body: []byte("ab")}}, Files: []fileState{{Path: "p"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, at, err := decodeJournal(b)
		if err != nil {
			return
		}
		size := at + 4
		for _, p := range h.Parts {
			size += int(p.Size)
		}
		if size != len(b) {
			t.Errorf("%d bytes accepted of %d", size, len(b))
		}
	})
}
