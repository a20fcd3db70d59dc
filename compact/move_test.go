package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore/buckettest"
)

// A read that goes wrong while a segment is moved costs nothing, though it may be the only copy.
func TestMoveReadsWrongly(t *testing.T) {
	w := newWorld(t, 1, 1)
	keys := w.topicOfDays("web", 12)
	before := keysOf(t, w.copies[0])
	w.setPolicy(10*oneDay, nil)
	wrong := func() (Config, *atomic.Int64) {
		cfg, n := w.config(), new(atomic.Int64)
		cfg.Copies[0].Bucket = &buckettest.Faulty{Next: w.copies[0], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op != buckettest.Get || !strings.HasSuffix(c.Key, keys[10]) && !strings.HasSuffix(c.Key, keys[11]) {
				return buckettest.Fault{}
			}
			return buckettest.Fault{Flip: n.Add(1) == 1}
		}}
		return cfg, n
	}
	cfg, n := wrong()
	if _, err := w.compactor(cfg).Run(context.Background()); err == nil || n.Load() == 0 {
		t.Fatalf("%d reads, error %v", n.Load(), err)
	}
	if r, err := w.compactor(w.config()).Run(context.Background()); err != nil {
		t.Fatalf("%v %v", r, err)
	}
	cfg, n = wrong()
	c := w.compactor(cfg)
	all := trashed(t, c, "")
	failed := 0
	for range 2 { // the second time all is well
		for _, s := range all {
			if err := c.Restore(context.Background(), s); err != nil {
				failed++
			}
		}
	}
	if len(all) == 0 || n.Load() == 0 || failed == 0 {
		t.Fatalf("%d in the trash, %d reads, %d failed", len(all), n.Load(), failed)
	}
	after := keysOf(t, w.copies[0])
	for _, k := range keys {
		if after[k] != before[k] {
			t.Errorf("%s: %d bytes are not what they were", k, len(after[k]))
		}
	}
}

// A damaged segment is moved as it is, but not over what is there: a move that was broken off may have left a sound one.
func TestMoveOfDamaged(t *testing.T) {
	w := newWorld(t, 1, 1)
	keys := w.topicOfDays("web", 3)
	good := keysOf(t, w.copies[0])
	c := w.compactor(w.config())
	for i, key := range keys {
		bad := []byte(good[key])
		bad[len(bad)/2] ^= 1
		buckettest.MustPut(t, w.copies[0], trashKey(w.clock.now(), key), bad)
		switch i {
		case 0:
			if err := w.copies[0].Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		case 1: // damaged, and otherwise
			overwrite(t, w.copies[0], key, []byte(good[key][1:]))
		}
	}
	for _, s := range trashed(t, c, "") {
		if err := c.Restore(context.Background(), s); (err != nil) != (s.Key() == keys[1]) {
			t.Errorf("%s: %v", s.Key(), err)
		}
	}
	after := keysOf(t, w.copies[0])
	if after[keys[0]] == "" || after[keys[1]] != good[keys[1]][1:] || after[keys[2]] != good[keys[2]] {
		t.Error("what is there is not what should be")
	}
	if left := trashed(t, c, ""); len(left) != 1 {
		t.Errorf("%d are left", len(left))
	}
}

// A bucket whose trash cannot be listed is told: there may be more in it.
func TestTrashTellsWhatIsAway(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.topicOfDays("web", 3)
	cfg := w.config()
	cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) (f buckettest.Fault) {
		if c.Op == buckettest.List && strings.HasPrefix(c.Key, trashPrefix) {
			f.Err = errors.New("unavailable")
		}
		return f
	}}
	c := w.compactor(cfg)
	trashed(t, c, "")
	if away := c.Away(); !slices.Equal(away, []string{cfg.Copies[1].Name}) {
		t.Errorf("have %q", away)
	}
}

// What another compactor has replaced and deleted meanwhile is no damage.
func TestReplacedMeanwhileIsNoDamage(t *testing.T) {
	w := newWorld(t, 5, 1)
	cfg := w.config()
	cfg.Target = 4_000_000
	day := w.clock.now().Add(-24 * time.Hour).Truncate(oneDay)
	w.at(day.Add(12 * time.Hour).Sub(day0))
	for range 3 {
		w.put("web", 1, w.records("web", 100, day, time.Hour))
	}
	w.run(cfg)
	made := ""
	for _, g := range segments(t, w.copies[0], "web") {
		if g.Name.Generation == 1 {
			made = g.Key()
		}
	}
	for range 20 {
		w.put("web", 1, w.records("web", 100, day, time.Hour))
	}
	w.clock.advance(20 * time.Minute)
	w.run(cfg) // replaces that, too
	w.clock.advance(90 * time.Minute)
	var gets atomic.Int64
	slow := w.config()
	slow.Target = cfg.Target
	slow.Copies[0].Bucket = hooked{w.copies[0], func(op buckettest.Op, key string) {
		if op == buckettest.Get && key == made {
			if gets.Add(1) == 2 { // it is being read back
				w.run(cfg)
				w.run(cfg)
			}
		}
	}}
	r, err := w.compactor(slow).Run(context.Background())
	if err != nil || !r.Sound() || gets.Load() < 2 {
		t.Errorf("%v %v, %d reads: damaged copies %d", r, err, gets.Load(), r.BadCopies)
	}
	w.check(w.copies[0], "after")
}

// What is named is bounded, however much there is.
func TestLostIsBounded(t *testing.T) {
	const n = maxNamed + 50
	w := newWorld(t, 1, 1)
	for i := range n {
		key := w.put("web", 1, w.records("web", 2, day0.Add(time.Duration(i)*time.Minute), time.Minute))[0]
		overwrite(t, w.copies[0], key, bytes.Repeat([]byte("x"), 100+i))
	}
	r, err := w.compactor(w.config()).Repair(t.Context(), true)
	if err != nil || len(r.Lost) != maxNamed || r.LostObjects != n || r.Sound() {
		t.Error(fmt.Sprint(len(r.Lost), r.LostObjects, r.Sound(), err))
	}
}
