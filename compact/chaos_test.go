package compact

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore/buckettest"
)

// Compactors that are told different things, repair, retention, and those who take things back out of the trash may all be at work at
// once and fail anywhere: no record is lost that has not expired, none is shown twice, and it comes to an end.
func TestEverythingAtOnce(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		w := newWorld(t, seed, 1+int(seed%2))
		all := Set(1<<len(w.copies) - 1)
		union := w.union()
		cfg := w.config()
		cfg.Grace = time.Hour
		// Nothing is to expire, but some of them take it for expired.
		for range 12 {
			from := w.clock.now().Add(-3 * time.Hour)
			for range 1 + w.rnd.IntN(6) {
				w.put("web", w.some(all), w.records("web", 1+w.rnd.IntN(60), from, 2*time.Hour))
			}
			s := newStepper(w.rnd)
			var processes []func()
			process := 0
			compactor := func(change func(*Config)) *Compactor {
				mine := cfg
				mine.Copies = nil
				for i, b := range w.copies {
					faulty := &buckettest.Faulty{Next: stepped{Bucket: b, s: s, process: process}}
					if w.rnd.IntN(4) == 0 {
						n := w.rnd.IntN(60)
						var mu sync.Mutex
						faulty.Hook = func(buckettest.Call) buckettest.Fault {
							mu.Lock()
							defer mu.Unlock()
							if n--; n == 0 {
								return buckettest.Fault{Err: errCrash, LostAck: seed%2 == 0}
							}
							return buckettest.Fault{}
						}
					}
					mine.Copies = append(mine.Copies, Copy{cfg.Copies[i].Name, faulty})
				}
				process++
				change(&mine)
				return w.compactor(mine)
			}
			add := func(f func() error) {
				processes = append(processes, func() {
					if err := f(); err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrTooMuch) {
						t.Logf("seed %d: %v", seed, err)
						if strings.Contains(err.Error(), "%!") {
							t.Errorf("seed %d: no cause: %v", seed, err)
						}
					}
				})
			}
			run := func(change func(*Config)) {
				c := compactor(change)
				add(func() error { _, err := c.Run(context.Background()); return err })
			}
			run(func(c *Config) { c.Target = 5000 })
			run(func(c *Config) { c.OlderThan = time.Nanosecond; c.Quorum = 1 })
			if w.rnd.IntN(2) == 0 {
				run(func(c *Config) { c.Retention, c.Yes, c.TrashFor = 10*time.Hour, true, 1000*time.Hour })
			}
			if w.rnd.IntN(2) == 0 {
				c := compactor(func(*Config) {})
				add(func() error { _, err := c.Repair(context.Background(), true); return err })
			}
			if w.rnd.IntN(2) == 0 {
				c := compactor(func(*Config) {})
				add(func() error { return restoreAll(c) })
			}
			s.run(processes...)
			w.clock.advance(time.Duration(w.rnd.Int64N(int64(3 * time.Hour))))
		}
		cfg.TrashFor = 1000 * time.Hour
		for range 3 { // what was trashed wrongly comes back, whole
			if err := restoreAll(w.compactor(cfg)); err != nil {
				t.Fatal(err)
			}
		}
		w.check(union, "restored")
		w.settle(cfg)
		for _, b := range w.copies {
			w.check(b, "in the end")
			if n := overlaps(segments(t, b, "web")); n > 0 {
				t.Errorf("seed %d: %d segments overlap", seed, n)
			}
		}
	}
}

func restoreAll(c *Compactor) error {
	var errs []error
	for trashed, err := range c.Trash(context.Background(), "") {
		if err != nil {
			return err
		}
		errs = append(errs, c.Restore(context.Background(), trashed))
	}
	return errors.Join(errs...)
}
