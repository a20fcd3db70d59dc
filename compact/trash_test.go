package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
)

func TestTrashKey(t *testing.T) {
	s := numbered(1, 0, 0, 9, 1)
	key := trashKey(time.Date(2026, 11, 22, 18, 10, 49, 5e8, time.FixedZone("", 3600)), s.Key())
	if want := "_trash/20261122T171049Z/" + s.Key(); key != want {
		t.Errorf("have %s, want %s", key, want)
	}
	if err := objstore.CheckKey(key); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "_trash/", "_trash/20261122T171049Z", "_trash/20261122T171049Z/", s.Key(), "_trash/" + s.Key(), "_trash/20261322T171049Z/" + s.Key(), "trash/20261122T171049Z/" + s.Key()} {
		if at, topic, n, err := parseTrash(bad); err == nil {
			t.Errorf("%s: %v, %s, %v", bad, at, topic, n)
		}
	}
}

// FuzzTrashKey: whatever is taken for a key of the trash is what would be made for it.
func FuzzTrashKey(f *testing.F) {
	s := numbered(1, 0, 0, 9, 1)
	f.Add(trashKey(day0, s.Key()))
	f.Add("_trash/20261122T171049Z/web/x")
	f.Add("_trash/20261122T171049.5Z/" + s.Key())
	f.Fuzz(func(t *testing.T, key string) {
		at, topic, n, err := parseTrash(key)
		if err != nil {
			return
		}
		if again := trashKey(at, n.Key(topic)); again != key {
			t.Fatalf("%q became %q", key, again)
		}
	})
}

// trashed lists the trash.
func trashed(t testing.TB, c *Compactor, topic string) (all []Trashed) {
	t.Helper()
	for s, err := range c.Trash(context.Background(), topic) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// expiredWorld has a topic the last two of whose days have just gone to the trash.
func expiredWorld(t testing.TB, seed uint64, copies int) (w *world, gone []string) {
	w = newWorld(t, seed, copies)
	keys := w.topicOfDays("web", 12)
	w.setPolicy(10*oneDay, nil)
	if r := w.run(w.config()); r.Expired != 2 {
		t.Fatalf("%+v", r)
	}
	return w, keys[10:]
}

func TestTrash(t *testing.T) {
	w, gone := expiredWorld(t, 1, 2)
	c := w.compactor(w.config())
	all := trashed(t, c, "")
	if len(all) != 2 || len(trashed(t, c, "web")) != 2 || len(trashed(t, c, "mail")) != 0 {
		t.Fatalf("%d are listed", len(all))
	}
	for _, s := range all {
		if !slices.Contains(gone, s.Key()) || s.In != 3 || s.Size == 0 || !s.At.Equal(w.clock.now()) {
			t.Errorf("%+v", s)
		}
	}
	// What is restored is found again, in both copies, and does not expire again at once.
	for _, s := range all {
		if err := c.Restore(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(trashed(t, c, "")); n != 0 {
		t.Errorf("%d are still in the trash", n)
	}
	for range 3 {
		w.check(w.copies[0], "restored")
		w.check(w.copies[1], "restored")
		w.clock.advance(oneDay)
		w.put("web", 3, w.records("web", 30, w.clock.now().Add(-time.Hour), time.Hour))
		w.run(w.config())
		if n := has(t, w.copies[0], gone...); n != 2 {
			t.Fatalf("%d of 2 are there", n)
		}
		for topic := range w.stored { // what has grown old meanwhile is gone
			w.stored[topic] = slices.DeleteFunc(w.stored[topic], func(e entry) bool {
				_, err := w.copies[0].Stat(context.Background(), keyOf(t, w, e))
				return err != nil
			})
		}
	}
	w.clock.advance(7*oneDay + time.Minute)
	w.put("web", 3, w.records("web", 3000, w.clock.now().Add(-time.Hour), time.Hour))
	w.run(w.config())
	if n := has(t, w.copies[0], gone...); n != 0 {
		t.Errorf("%d of 2 are there after they were kept for as long again", n)
	}
	// And for good.
	c = w.compactor(w.config())
	for _, s := range trashed(t, c, "") {
		if err := c.Purge(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	if len(inTrash(t, w, 0))+len(inTrash(t, w, 1)) > 0 {
		t.Error("the trash is not empty")
	}
}

// keyOf is the key of a segment that has a record; "-" if there is none.
func keyOf(t testing.TB, w *world, e entry) string {
	for _, s := range segments(t, w.copies[0], "web") {
		if s.Name.First.Compare(e.id) <= 0 && s.Name.Last.Compare(e.id) >= 0 {
			return s.Key()
		}
	}
	return "-"
}

// The trash is emptied when both clocks say so, and all the buckets are there.
func TestEmptyTrash(t *testing.T) {
	left := func(w *world) int { return len(inTrash(t, w, 0)) + len(inTrash(t, w, 1)) }
	w, _ := expiredWorld(t, 1, 2)
	w.clock.advance(DefaultTrashFor - time.Second)
	if r := w.run(w.config()); r.Purged != 0 || left(w) < 4 {
		t.Errorf("too early: %+v", r)
	}
	w.clock.advance(time.Second)
	cfg := w.config()
	cfg.DryRun = true
	if r := w.run(cfg); r.Purged != 2 || left(w) < 4 {
		t.Errorf("a dry run: %+v, %d are left", r, left(w))
	}
	cfg = w.config()
	cfg.Quorum = 1
	cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
		if c.Op == buckettest.List && c.Key == trashPrefix {
			return buckettest.Fault{Err: errCrash}
		}
		return buckettest.Fault{}
	}}
	if r, _ := w.tryRun(cfg); r.Purged != 0 || left(w) < 4 {
		t.Errorf("without a bucket: %+v", r)
	}
	if r := w.run(w.config()); r.Purged != 2 || r.PurgedBytes == 0 {
		t.Errorf("%+v, %d are left", r, left(w))
	}

	// A key that says that it has been there for long, written just now: by a clock that is behind.
	w, gone := expiredWorld(t, 2, 2)
	for i, b := range w.copies {
		for key, data := range keysOf(t, b) {
			if strings.HasPrefix(key, trashPrefix) {
				if err := b.Delete(context.Background(), key); err != nil {
					t.Fatal(err)
				}
				_, topic, n, _ := parseTrash(key)
				if i == 1 {
					w.clock.advance(time.Hour)
				}
				overwrite(t, b, trashKey(day0.AddDate(0, 0, -100), n.Key(topic)), []byte(data))
				if i == 1 {
					w.clock.advance(-time.Hour)
				}
			}
		}
	}
	w.clock.advance(DefaultTrashFor + 30*time.Minute)
	if r := w.run(w.config()); r.Purged != 0 {
		t.Errorf("one of the copies has not been there for long enough: %+v", r)
	}
	w.clock.advance(30 * time.Minute)
	if r := w.run(w.config()); r.Purged != len(gone) {
		t.Errorf("%+v", r)
	}
	// Nor is what a clock that is ahead has put there ever purged too early.
	w = newWorld(t, 3, 1)
	s := numbered(1, 0, 0, 9, 1)
	overwrite(t, w.copies[0], trashKey(w.clock.now().Add(time.Hour), s.Key()), []byte("x"))
	w.clock.advance(DefaultTrashFor + 30*time.Minute)
	if r := w.run(w.config()); r.Purged != 0 {
		t.Errorf("by the clock that is ahead it has not been there for long enough: %+v", r)
	}
	w.clock.advance(30 * time.Minute)
	if r := w.run(w.config()); r.Purged != 1 {
		t.Errorf("%+v", r)
	}
}

// However a move ends, no copy loses a segment; and doing it again completes it.
func TestMoveCrashes(t *testing.T) {
	restore := func(c *Compactor, s *Segment) error {
		var errs []error
		for found, err := range c.Trash(context.Background(), "") {
			if err != nil {
				return err
			}
			errs = append(errs, c.Restore(context.Background(), found))
		}
		return errors.Join(errs...)
	}
	expire := func(c *Compactor, s *Segment) error { return c.trash(context.Background(), s, day0) }
	for _, lost := range []bool{false, true} {
		for name, move := range map[string]func(*Compactor, *Segment) error{"to the trash": expire, "restored": restore} {
			for n := 1; ; n++ {
				w := newWorld(t, uint64(n), 2)
				key := w.put("web", 3, w.records("web", 30, day0, time.Hour))[0]
				data := keysOf(t, w.copies[0])[key]
				_, parsed, _ := segment.ParseKey(key)
				s := &Segment{Topic: "web", Name: parsed, Size: int64(len(data)), In: 3}
				if name == "restored" {
					if err := expire(w.compactor(w.config()), s); err != nil {
						t.Fatal(err)
					}
				}
				cfg := w.config()
				var mu sync.Mutex
				calls, dead := 0, false
				for i, b := range w.copies {
					cfg.Copies[i].Bucket = &counting{Bucket: b, fail: func() (before, after error) {
						mu.Lock()
						defer mu.Unlock()
						if calls++; calls == n && lost {
							return nil, errCrash
						} else if dead = dead || calls == n; dead {
							return errCrash, nil
						}
						return nil, nil
					}}
				}
				c := w.compactor(cfg)
				err := move(c, s)
				for i, b := range w.copies {
					found := 0
					for _, have := range keysOf(t, b) {
						if have == data {
							found++
						} else {
							t.Errorf("%s, call %d: copy %d has something else", name, n, i)
						}
					}
					if found == 0 {
						t.Errorf("%s, call %d: copy %d has lost it", name, n, i)
					}
				}
				if calls < n {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					break
				}
				if !lost && err == nil {
					t.Errorf("%s: call %d failed, and nothing was said", name, n)
				}
				if err := move(w.compactor(w.config()), s); err != nil {
					t.Errorf("%s, call %d: again: %v", name, n, err)
				}
				want := map[string]string{key: data}
				if name != "restored" {
					want = map[string]string{trashKey(day0, key): data}
				}
				for i, b := range w.copies {
					if have := keysOf(t, b); !maps.Equal(have, want) {
						t.Errorf("%s, call %d, again: copy %d has %v", name, n, i, slices.Collect(maps.Keys(have)))
					}
				}
				if n > 50 {
					t.Fatal("it does not come to an end")
				}
			}
		}
	}
}

// counting is a bucket that asks before each call whether it fails, and whether its answer is lost.
type counting struct {
	objstore.Bucket
	fail func() (before, after error)
}

func (b *counting) do(f func() error) error {
	before, after := b.fail()
	if before != nil {
		return before
	}
	if err := f(); err != nil {
		return err
	}
	return after
}

// A run that is killed at any call, with retention and the trash at work, loses nothing.
func TestRetentionCrashes(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t, 7, 2)
		w.topicOfDays("web", 5)
		w.setPolicy(4*oneDay, nil)
		before := keysOf(t, w.copies[0])
		s := newStepper(w.rnd)
		s.left[0] = n
		cfg := w.config()
		for i, b := range w.copies {
			cfg.Copies[i].Bucket = stepped{b, cfg.Copies[i].Name, s, 0}
		}
		c := w.compactor(cfg)
		var err error
		s.run(func() { _, err = c.Run(context.Background()) })
		w.ended(c)
		for i, b := range w.copies {
			have := keysOf(t, b)
			for key, data := range before {
				found := have[key] == data
				for other, d := range have {
					found = found || strings.HasPrefix(other, trashPrefix) && strings.HasSuffix(other, "/"+key) && d == data
				}
				if !found {
					t.Fatalf("call %d: copy %d has lost %s", n, i, key)
				}
			}
		}
		r := w.run(w.config())
		if left := fmt.Sprint(len(inTrash(t, w, 0)), len(inTrash(t, w, 1))); left != "1 1" {
			t.Fatalf("call %d: the trash holds %s: %s", n, left, r)
		}
		if err == nil {
			if n < 20 {
				t.Errorf("it took %d calls: the test tests little", n)
			}
			return
		}
	}
}

// Put implements objstore.Bucket.
func (b *counting) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.do(func() error { return b.Bucket.Put(ctx, key, body, size) })
}

// Get implements objstore.Bucket.
func (b *counting) Get(ctx context.Context, key string, off int64, p []byte) (n int, err error) {
	err = b.do(func() error { n, err = b.Bucket.Get(ctx, key, off, p); return err })
	return n, err
}

// Delete implements objstore.Bucket.
func (b *counting) Delete(ctx context.Context, key string) error {
	return b.do(func() error { return b.Bucket.Delete(ctx, key) })
}
