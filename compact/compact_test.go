package compact

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest"
)

// settle runs compactors, while time passes, until there is nothing to do any more.
func (w *world) settle(cfg Config) {
	w.t.Helper()
	w.clock.advance(24 * time.Hour) // all days are over
	for n := 0; ; n++ {
		w.clock.advance(3 * time.Hour)
		c := w.compactor(cfg)
		r, err := c.Run(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		w.ended(c)
		if r.Merges == 0 && r.Deleted == 0 && r.Copied == 0 && r.Waiting == 0 {
			return
		}
		if n == 30 {
			w.t.Fatalf("it does not come to an end: %s, %d waiting, %d to do", r, r.Waiting, r.Backlog)
		}
	}
}

// Whatever comes in, whenever, and whoever dies when: every record is found once, at any time, and in the end there are few
// segments, none of which overlaps another.
func TestHistories(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() || raced {
		seeds = 25
	}
	for seed := range seeds {
		testHistory(t, seed)
	}
}

func testHistory(t *testing.T, seed uint64) {
	w := newWorld(t, seed, 1+int(seed%3))
	all := Set(1<<len(w.copies) - 1)
	cfg := w.config()
	cfg.Quorum = 1
	cfg.Grace = time.Hour
	cfg.Target = []int64{3000, 8000, 20_000}[w.rnd.IntN(3)] // a merge often makes several segments
	union := w.union()
	var everGenerations uint8
	for range 25 {
		switch w.rnd.IntN(6) {
		case 0, 1: // what comes in now, from some ingesters
			from := w.clock.now().Add(-10 * time.Minute)
			for range 1 + w.rnd.IntN(8) {
				w.put("web", w.some(all), w.records("web", 1+w.rnd.IntN(60), from, 10*time.Minute))
			}
		case 2: // what comes in late, over a long stretch
			w.put("web", w.some(all), w.records("web", 1+w.rnd.IntN(200), w.clock.now().Add(-30*time.Hour), 29*time.Hour))
		case 3: // what is delivered again, in other company
			if old := w.stored["web"]; len(old) > 0 {
				at := w.rnd.IntN(len(old))
				again := append(old[at:min(at+50, len(old)):min(at+50, len(old))], w.records("web", 5, w.clock.now().Add(-time.Hour), time.Hour)...)
				w.stored["web"] = append(w.stored["web"], again[len(again)-5:]...)
				w.putAgain("web", w.some(all), again)
			}
		case 4:
			w.clock.advance(time.Duration(w.rnd.Int64N(int64(4 * time.Hour))))
		case 5: // one or two compactors, some of which are killed
			s := newStepper(w.rnd)
			if w.rnd.IntN(2) == 0 {
				n := 0
				s.after = func() {
					if n++; n%7 == 0 {
						w.check(union, "underway")
					}
				}
			}
			var used []*Compactor
			var errs [2]error
			run := func(process int) func() {
				mine := cfg
				mine.Copies = nil
				for i, b := range w.copies {
					mine.Copies = append(mine.Copies, Copy{cfg.Copies[i].Name, stepped{b, cfg.Copies[i].Name, s, process}})
				}
				if w.rnd.IntN(2) == 0 {
					s.left[process] = w.rnd.IntN(120)
				}
				c := w.compactor(mine)
				used = append(used, c)
				return func() { _, errs[process] = c.Run(context.Background()) }
			}
			processes := []func(){run(0)}
			if w.rnd.IntN(2) == 0 {
				processes = append(processes, run(1))
			}
			s.run(processes...)
			for i, c := range used {
				if errs[i] != nil && !s.dead[i] {
					t.Errorf("seed %d: %v", seed, errs[i])
				}
				w.ended(c)
			}
			w.check(union, "after a run")
		}
		for _, b := range w.copies {
			for _, seg := range segments(t, b, "web") {
				everGenerations = max(everGenerations, seg.Name.Generation)
			}
		}
	}
	w.settle(cfg)
	if len(w.stored["web"]) == 0 {
		return
	}
	for i, b := range w.copies {
		w.check(b, "in the end")
		segs := segments(t, b, "web")
		var size, text int64
		for _, s := range segs {
			size += s.Size
			text += s.Name.RawBytes
			everGenerations = max(everGenerations, s.Name.Generation)
		}
		if n := overlaps(segs); n > 0 {
			t.Errorf("seed %d: %d of %d segments overlap", seed, n, len(segs))
		}
		if want := int(size/cfg.Target)*4 + 6; len(segs) > want {
			t.Errorf("seed %d, copy %d: %d segments of %d bytes together, want at most %d", seed, i, len(segs), size, want)
		}
	}
	if everGenerations >= MaxGeneration {
		t.Errorf("seed %d: generation %d", seed, everGenerations)
	}
}

// some is a set of copies, often of all.
func (w *world) some(all Set) Set {
	for {
		if s := Set(w.rnd.Uint64()) & all; s != 0 && w.rnd.IntN(3) == 0 {
			return s
		} else if w.rnd.IntN(3) > 0 {
			return all
		}
	}
}

// A day is complete if all the copies were listed from its beginning to its end.
func TestDays(t *testing.T) {
	w := newWorld(t, 1, 2)
	for n := range 3 {
		for range 2 {
			w.put("web", 3, w.records("web", 5, day0.AddDate(0, 0, n), time.Hour))
		}
	}
	f := func(after int, want string) { // how many keys of the second copy are listed
		t.Helper()
		cfg := w.config()
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(buckettest.Call) buckettest.Fault {
			if after < 0 {
				return buckettest.Fault{}
			}
			return buckettest.Fault{Err: errCrash, After: after}
		}}
		c := w.compactor(cfg)
		defer w.ended(c)
		c.begin()
		have := ""
		for d, err := range c.days(context.Background(), "web") {
			if err != nil {
				t.Fatal(err)
			}
			have += fmt.Sprintf("%s %d %v, ", d.date[8:], len(d.segments), d.complete)
		}
		if have = strings.TrimSuffix(have, ", "); have != want {
			t.Errorf("%d: have %s, want %s", after, have, want)
		}
	}
	f(-1, "20 2 true, 21 2 true, 22 2 true")
	f(0, "20 2 false, 21 2 false, 22 2 false")
	f(1, "20 2 false, 21 2 false, 22 2 false")
	f(2, "20 2 false, 21 2 false, 22 2 false") // there may be more of it
	f(3, "20 2 true, 21 2 false, 22 2 false")
	f(5, "20 2 true, 21 2 true, 22 2 false")
	f(6, "20 2 true, 21 2 true, 22 2 false")
}

// A merge needs the quorum.
func TestQuorum(t *testing.T) {
	for quorum := 1; quorum <= 2; quorum++ {
		w := newWorld(t, 1, 2)
		for range 4 {
			w.put("web", 3, w.records("web", 50, day0, time.Hour))
		}
		w.clock.advance(48 * time.Hour)
		cfg := w.config()
		cfg.Quorum = quorum
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op == buckettest.Put && strings.HasPrefix(c.Key, "web/") {
				return buckettest.Fault{Err: errCrash}
			}
			return buckettest.Fault{}
		}}
		c := w.compactor(cfg)
		r, err := c.Run(context.Background())
		if quorum == 2 && (!errors.Is(err, errCrash) || r.Merges > 0) || quorum == 1 && (err != nil || r.Merges != 1 || r.MissingCopies != 1 || len(r.Away) != 1) {
			t.Errorf("a quorum of %d: %+v, %v", quorum, r, err)
		}
		w.settle(w.config())
		for _, b := range w.copies {
			w.check(b, "in the end")
		}
	}
}

// The grace counts by the compactor's clock, whatever those of the buckets say.
func TestBucketClocks(t *testing.T) {
	for _, ahead := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		w := newWorld(t, 1, 2)
		for range 4 {
			w.put("web", 3, w.records("web", 50, day0, time.Hour))
		}
		w.clock.advance(48 * time.Hour)
		cfg := w.config()
		cfg.Now = func() time.Time { return w.clock.now().Add(-ahead) }
		if r := w.run(cfg); r.Merges != 1 {
			t.Fatalf("%+v", r)
		}
		w.clock.advance(DefaultGrace - time.Second)
		if r := w.run(cfg); r.Deleted != 0 {
			t.Errorf("%v: within the grace: %+v", ahead, r)
		}
		w.clock.advance(time.Second)
		if r := w.run(cfg); r.Deleted != 4 {
			t.Errorf("%v: behind it: %+v", ahead, r)
		}
	}
}
