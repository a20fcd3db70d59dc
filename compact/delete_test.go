package compact

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
)

func TestDeletable(t *testing.T) {
	now := day0.Add(48 * time.Hour)
	const grace = time.Hour
	// a and b have been replaced by m, in both copies and long ago.
	type scene struct {
		d    *day
		cl   claims
		a, b *Segment
		m    *Segment
	}
	claim := func(cl claims, by *Segment, after, through int, of ...*Segment) {
		l := segment.Lineage{After: nth(after), Through: nth(through)}
		for _, s := range of {
			l.Replaces = append(l.Replaces, s.Key())
		}
		cl.add(by, l)
	}
	make := func(n, gen, first, last int) *Segment {
		s := numbered(n, uint8(gen), 0, 0, 1)
		s.Name.First, s.Name.Last, s.In, s.Settled = nth(first), nth(last), 3, now.Add(-grace)
		return s
	}
	f := func(name, want string, change func(*scene)) {
		t.Helper()
		s := &scene{cl: claims{}, a: make(1, 0, 0, 9), b: make(2, 0, 5, 14), m: make(3, 1, 0, 14)}
		s.d = &day{topic: "web", complete: true, segments: []*Segment{s.a, s.m, s.b}}
		claim(s.cl, s.m, -1, 14, s.a, s.b)
		change(s)
		slices.SortFunc(s.d.segments, byFirst)
		var have []string
		for _, found := range deletable(s.d, s.cl, now, grace) {
			have = append(have, string('`'+rune(found.Name.Hash[3])))
		}
		slices.Sort(have)
		if h := strings.Join(have, ""); h != want {
			t.Errorf("%s: have %q, want %q", name, h, want)
		}
	}
	f("replaced", "ab", func(*scene) {})
	f("a listing is incomplete", "", func(s *scene) { s.d.complete = false })
	f("within the grace", "", func(s *scene) { s.m.Settled = now.Add(-grace + 1) })
	f("what replaces it cannot be read", "", func(s *scene) { s.m.damaged = true })
	f("what replaces it is in one copy only", "", func(s *scene) { s.m.In = 1 })
	f("it is in the copy that has what replaces it", "a", func(s *scene) { s.m.In, s.a.In = 1, 1 })
	f("it is in the other copy", "", func(s *scene) { s.m.In, s.a.In, s.b.In = 1, 2, 2 })
	f("what replaces it has another size in the other copy", "", func(s *scene) { s.m.In, s.m.Odd = 1, 2 })
	f("it has another size in the other copy", "b", func(s *scene) { s.a.In, s.a.Odd = 1, 2 })
	f("not to its end", "a", func(s *scene) { s.b.Name.Last = nth(15); s.cl = claims{}; claim(s.cl, s.m, -1, 14, s.a, s.b) })
	f("not from its beginning", "b", func(s *scene) { s.cl = claims{}; claim(s.cl, s.m, 0, 14, s.a, s.b) })
	f("what replaces it is replaced", "ab", func(s *scene) { // and stays, as long as these are there
		n := make(4, 2, 0, 14)
		s.d.segments = append(s.d.segments, n)
		claim(s.cl, n, -1, 14, s.m)
	})
	f("what it replaced is gone", "c", func(s *scene) {
		n := make(4, 2, 0, 14)
		s.d.segments = []*Segment{s.m, n}
		claim(s.cl, n, -1, 14, s.m)
	})
	f("what it replaced is there, and claimed by nobody else", "ab", func(s *scene) {
		n := make(4, 2, 0, 14)
		n.Settled = now
		s.d.segments = append(s.d.segments, n)
		claim(s.cl, n, -1, 14, s.m, s.a)
	})
	f("each replaces the other", "", func(s *scene) { claim(s.cl, s.a, -1, 14, s.m); s.d.segments = []*Segment{s.a, s.m} })
	f("in two, one of them within the grace", "", func(s *scene) {
		n := make(4, 1, 8, 14)
		n.Settled = now
		s.d.segments, s.cl = append(s.d.segments, n), claims{}
		claim(s.cl, s.m, -1, 7, s.a, s.b)
		claim(s.cl, n, 7, 14, s.a, s.b)
	})
	f("in two, in different copies", "", func(s *scene) {
		n := make(4, 1, 8, 14)
		n.In, s.m.In = 1, 2
		s.d.segments, s.cl = append(s.d.segments, n), claims{}
		claim(s.cl, s.m, -1, 7, s.a, s.b)
		claim(s.cl, n, 7, 14, s.a, s.b)
	})
}

// What may be deleted is what a look at every record in every copy allows, and nothing that stands in for what is there.
func TestDeletableAsTold(t *testing.T) {
	now := day0.Add(48 * time.Hour)
	const grace = time.Hour
	deleted := 0
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		d, cl := &day{topic: "web", complete: true}, claims{}
		all := Set(1)<<(1+rnd.IntN(3)) - 1
		for n := range 2 + rnd.IntN(7) {
			s := numbered(n, uint8(min(n, 3)), 0, 0, 1)
			first := rnd.IntN(12)
			s.Name.First, s.Name.Last = nth(first), nth(first+rnd.IntN(12))
			s.In = Set(rnd.Uint64()) & all
			if s.In == 0 || rnd.IntN(3) > 0 {
				s.In = all
			}
			s.damaged = rnd.IntN(12) == 0
			s.Settled = now.Add(-grace).Add(time.Duration(rnd.IntN(3)-2) * time.Minute)
			if rnd.IntN(10) == 0 {
				s.Settled = now.Add(-grace + time.Minute)
			}
			for _, t := range d.segments {
				if rnd.IntN(3) > 0 && !s.damaged {
					after := rnd.IntN(8) - 2
					cl.add(s, segment.Lineage{After: nth(after), Through: nth(after + 10 + rnd.IntN(20)), Replaces: []string{t.Key()}})
				}
			}
			d.segments = append(d.segments, s)
		}
		slices.SortFunc(d.segments, byFirst)
		found := deletable(d, cl, now, grace)
		deleted += len(found)
		for _, s := range d.segments {
			may := true
			for i := range s.In.each {
				for n := counter(s.Name.First); n <= counter(s.Name.Last); n++ {
					may = may && slices.ContainsFunc(cl[s.Name], func(c claim) bool {
						return counter(c.after) < n && n <= counter(c.through) && c.by.In.Has(i) && !c.by.damaged && now.Sub(c.by.Settled) >= grace
					})
				}
			}
			for _, other := range d.segments {
				may = may && !slices.ContainsFunc(cl[other.Name], func(c claim) bool { return c.by == s })
			}
			if have := slices.Contains(found, s); have != may {
				t.Fatalf("seed %d: %s: have %v, want %v", seed, s.Key(), have, may)
			}
		}
	}
	if deleted < 300 {
		t.Errorf("%d were deleted: the test tests little", deleted)
	}
}

// keysOf lists all that is in a bucket, with what is in it.
func keysOf(t testing.TB, b objstore.Bucket) map[string]string {
	t.Helper()
	all := map[string]string{}
	for info, err := range b.List(context.Background(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, info.Size)
		if _, err := b.Get(context.Background(), info.Key, 0, data); err != nil {
			t.Fatal(err)
		}
		all[info.Key] = string(data)
	}
	return all
}

// grown is a world of two copies, with a day that is over and is compacted, the segments of which are still there.
func grown(t testing.TB, seed uint64) (w *world, fresh, merged []string) {
	w = newWorld(t, seed, 2)
	for n := range 6 {
		fresh = append(fresh, w.put("web", 3, w.records("web", 500, day0.Add(time.Duration(n)*10*time.Minute), 20*time.Minute))...)
	}
	w.clock.advance(48 * time.Hour)
	w.run(w.config())
	for key := range keysOf(t, w.copies[0]) {
		if _, n, err := segment.ParseKey(key); err == nil && n.Generation > 0 {
			merged = append(merged, key)
		}
	}
	slices.Sort(fresh)
	slices.Sort(merged)
	if len(fresh) != 6 || len(merged) < 2 {
		t.Fatalf("%d segments were merged into %d", len(fresh), len(merged))
	}
	return w, fresh, merged
}

// run runs a compactor, which has to do all that it is to do.
func (w *world) run(cfg Config) *Report {
	w.t.Helper()
	c := w.compactor(cfg)
	defer w.ended(c)
	r, err := c.Run(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// overwrite puts something else in an object's place.
func overwrite(t testing.TB, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Put(context.Background(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

func flipped(data string, at int) []byte {
	b := []byte(data)
	b[at] ^= 0x10
	return b
}

func has(t testing.TB, b objstore.Bucket, keys ...string) (n int) {
	t.Helper()
	for _, key := range keys {
		if _, err := b.Stat(context.Background(), key); err == nil {
			n++
		} else if !errors.Is(err, objstore.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return n
}

// Replaced segments go when the grace is over, and not before; and not while a copy is away, or what replaces them is not sound.
func TestDeleteReplaced(t *testing.T) {
	kept := func(w *world, fresh []string, when string) {
		t.Helper()
		for i, b := range w.copies {
			if n := has(t, b, fresh...); n != len(fresh) {
				t.Errorf("%s: copy %d has %d of %d", when, i, n, len(fresh))
			}
		}
		w.check(w.union(), when)
	}
	t.Run("grace", func(t *testing.T) {
		w, fresh, _ := grown(t, 1)
		w.clock.advance(DefaultGrace - time.Second)
		if r := w.run(w.config()); r.Deleted != 0 || r.Waiting != len(fresh) {
			t.Errorf("within the grace: %+v", r)
		}
		kept(w, fresh, "within the grace")
		w.clock.advance(time.Second)
		if r := w.run(w.config()); r.Deleted != len(fresh) || r.Waiting != 0 || r.DeletedBytes == 0 {
			t.Errorf("behind it: %+v", r)
		}
		if n := has(t, w.copies[0], fresh...) + has(t, w.copies[1], fresh...); n > 0 {
			t.Errorf("%d are left", n)
		}
		w.check(w.copies[0], "in the end")
		w.check(w.copies[1], "in the end")
	})
	for name, op := range map[string]buckettest.Op{"cannot be listed": buckettest.List, "cannot be written": buckettest.Put, "cannot be read": buckettest.Get} {
		t.Run(name, func(t *testing.T) {
			w, fresh, _ := grown(t, 2)
			w.put("web", 3, w.records("web", 1, day0.Add(30*time.Hour), time.Hour)) // another day
			w.clock.advance(2 * DefaultGrace)
			cfg := w.config()
			cfg.Quorum = 1
			cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
				if c.Op == op {
					return buckettest.Fault{Err: errCrash}
				}
				return buckettest.Fault{}
			}}
			c := w.compactor(cfg)
			r, _ := c.Run(context.Background())
			if r.Deleted != 0 || len(r.Away) == 0 && op != buckettest.Get {
				t.Errorf("%+v", r)
			}
			kept(w, fresh, name)
		})
	}
	t.Run("a listing breaks off", func(t *testing.T) {
		w, fresh, _ := grown(t, 3)
		w.clock.advance(2 * DefaultGrace)
		cfg := w.config()
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op == buckettest.List && c.Key == "web/" {
				return buckettest.Fault{Err: errCrash, After: 3}
			}
			return buckettest.Fault{}
		}}
		c := w.compactor(cfg)
		if r, _ := c.Run(context.Background()); r.Deleted != 0 {
			t.Errorf("%+v", r)
		}
		kept(w, fresh, "when a listing breaks off")
	})
	t.Run("damaged", func(t *testing.T) {
		w, fresh, merged := grown(t, 4)
		w.clock.advance(2 * DefaultGrace)
		good := keysOf(t, w.copies[1])[merged[0]]
		overwrite(t, w.copies[1], merged[0], flipped(good, 100)) // a block
		w.clock.advance(2 * DefaultGrace)
		r := w.run(w.config())
		if r.BadCopies == 0 {
			t.Errorf("the bad copy is not counted: %+v", r)
		}
		_, bad, _ := segment.ParseKey(merged[0])
		for _, key := range fresh {
			_, n, _ := segment.ParseKey(key)
			if n.First.Compare(bad.Last) <= 0 && n.Last.Compare(bad.First) >= 0 && has(t, w.copies[1], key) == 0 {
				t.Errorf("%s was deleted, and what replaces it is damaged in that copy", key)
			}
		}
		if err := w.copies[1].Delete(context.Background(), merged[0]); err != nil { // a query leaves it out
			t.Fatal(err)
		}
		w.check(w.copies[1], "without the damaged one")
		overwrite(t, w.copies[1], merged[0], flipped(good, 100))
		c := w.compactor(w.config())
		if r, err := c.Repair(context.Background(), true); err != nil || r.Replaced != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		if keysOf(t, w.copies[1])[merged[0]] != good {
			t.Error("it was not repaired")
		}
		w.clock.advance(2 * DefaultGrace)
		w.run(w.config())
		if n := has(t, w.copies[0], fresh...) + has(t, w.copies[1], fresh...); n > 0 {
			t.Errorf("%d are left", n)
		}
		w.check(w.copies[1], "in the end")
	})
}
