package compact

import (
	"context"
	"errors"
	"testing"
	"time"
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
				return func() {
					if _, err := c.Run(context.Background()); err != nil && !errors.Is(err, errCrash) {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			}
			processes := []func(){run(0)}
			if w.rnd.IntN(2) == 0 {
				processes = append(processes, run(1))
			}
			s.run(processes...)
			for _, c := range used {
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
