package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
)

var (
	firstID = ulid.ULID{}
	lastID  = segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)
)

type finding struct {
	where string
	err   error
}

// verify verifies, and returns what it finds in the order of the places.
func (w *world) verify(cfg Config, from, to ulid.ULID) (v *Verified, found []finding, err error) {
	w.t.Helper()
	c := w.compactor(cfg)
	defer w.ended(c)
	v, err = c.Verify(context.Background(), from, to, func(where string, err error) { found = append(found, finding{where, err}) })
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.where, b.where) })
	if v.Findings != len(found) {
		w.t.Errorf("%d findings, and %d are told", v.Findings, len(found))
	}
	return v, found, err
}

func TestVerifySound(t *testing.T) {
	w, fresh, merged := grown(t, 1)
	w.put("mail", 3, w.records("mail", 20, day0, time.Hour))
	var size, text int64
	for _, topic := range []string{"web", "mail"} {
		for _, s := range segments(t, w.copies[0], topic) {
			size += s.Size
			text += s.Name.RawBytes
		}
	}
	n := len(fresh) + len(merged) + 1
	v, found, err := w.verify(w.config(), firstID, lastID)
	if err != nil || len(found) > 0 || v.Segments != n || v.Copies != 2*n || v.Bytes != 2*size || v.Text != text {
		t.Errorf("%+v, %v, %v: want %d segments of %d bytes and %d of text", v, found, err, n, size, text)
	}
	cfg := w.config()
	cfg.Topic = "mail"
	if v, found, err := w.verify(cfg, firstID, lastID); err != nil || len(found) > 0 || v.Segments != 1 {
		t.Errorf("a topic: %+v, %v, %v", v, found, err)
	}
	_, first, _ := segment.ParseKey(fresh[0])
	if v, found, err := w.verify(w.config(), first.First, first.First); err != nil || len(found) > 0 || v.Segments < 1 || v.Segments >= n {
		t.Errorf("a stretch of one ID: %+v, %v, %v", v, found, err)
	}
	if v, _, err := w.verify(w.config(), lastID, lastID); err != nil || v.Segments != 0 {
		t.Errorf("a stretch in which there is nothing: %+v, %v", v, err)
	}
	sum := 0
	for shard := range 3 {
		cfg := w.config()
		cfg.Shard, cfg.Shards = shard, 3
		v, _, _ := w.verify(cfg, firstID, lastID)
		sum += v.Segments
	}
	if sum != n {
		t.Errorf("three shards verify %d of %d", sum, n)
	}
}

// Each kind of damage is found, in the copy that has it, once.
func TestVerifyDamage(t *testing.T) {
	for name, damage := range damages {
		for i := range 2 {
			w := newWorld(t, 2, 2)
			var fresh []string
			for n := range 4 {
				fresh = append(fresh, w.put("web", 3, w.records("web", 60, day0.Add(time.Duration(n)*10*time.Minute), 20*time.Minute))...)
			}
			good := keysOf(t, w.copies[0])
			bad := []byte(good[fresh[1]])
			if damage != nil {
				bad = damage(good[fresh[2]])
			}
			overwrite(t, w.copies[i], fresh[2], bad)
			v, found, err := w.verify(w.config(), firstID, lastID)
			if err != nil || len(found) < 2 {
				t.Fatalf("%s in copy %d: %v, %v", name, i, found, err)
			}
			differ := 0
			for _, f := range found {
				switch {
				case f.where == fresh[2] && errors.Is(f.err, errDiffer):
					differ++
				case f.where != fmt.Sprintf("%s in copy%d", fresh[2], i):
					t.Errorf("%s in copy %d: found in %s: %v", name, i, f.where, f.err)
				case !segment.IsDamage(f.err) && !errors.Is(f.err, segment.ErrMisnamed) && !errors.Is(f.err, segment.ErrFilter):
					t.Errorf("%s in copy %d: %v", name, i, f.err)
				}
			}
			if differ != 1 || v.Segments != 4 {
				t.Errorf("%s in copy %d: %d times the copies differ; %d segments", name, i, differ, v.Segments)
			}
			// The same in both copies: they are alike, and bad.
			overwrite(t, w.copies[1-i], fresh[2], bad)
			_, both, err := w.verify(w.config(), firstID, lastID)
			if err != nil || len(both) != 2*(len(found)-1) || slices.ContainsFunc(both, func(f finding) bool { return errors.Is(f.err, errDiffer) }) {
				t.Errorf("%s in both: %v, %v", name, both, err)
			}
		}
	}
}

func TestVerifyCopies(t *testing.T) {
	w, fresh, merged := grown(t, 3)
	one := func(when, where string, want error) {
		t.Helper()
		if _, found, err := w.verify(w.config(), firstID, lastID); err != nil || len(found) != 1 || found[0].where != where || !errors.Is(found[0].err, want) {
			t.Errorf("%s: %v, %v", when, found, err)
		}
	}
	data := keysOf(t, w.copies[0])[merged[0]]
	if err := w.copies[1].Delete(context.Background(), merged[0]); err != nil {
		t.Fatal(err)
	}
	one("missing", merged[0]+" in copy1", errMissing)
	overwrite(t, w.copies[1], merged[0], []byte(data))
	overwrite(t, w.copies[0], "web/2026-11-20/notes", []byte("x"))
	one("foreign", "web/2026-11-20/notes", errForeign)
	for i := range maxNamed + 9 {
		overwrite(t, w.copies[0], fmt.Sprintf("web/2026-11-20/notes-%d", i), []byte("x"))
	}
	_, found, err := w.verify(w.config(), firstID, lastID)
	if err != nil || len(found) != maxNamed+1 || found[0].where != "web/2026-11-20" || !strings.HasPrefix(found[0].err.Error(), "10 more") {
		t.Errorf("many: %d, %v, %v", len(found), found[0], err)
	}

	// With one bucket the place is the key alone.
	w = newWorld(t, 4, 1)
	key := w.put("web", 1, w.records("web", 20, day0, time.Hour))[0]
	overwrite(t, w.copies[0], key, bytes.Repeat([]byte("x"), 500))
	if _, found, err := w.verify(w.config(), firstID, lastID); err != nil || len(found) == 0 || found[0].where != key {
		t.Errorf("one bucket: %v, %v", found, err)
	}

	// A bucket that fails is an error, and no finding.
	for _, op := range []buckettest.Op{buckettest.List, buckettest.Get} {
		w, _, _ := grown(t, 5)
		cfg := w.config()
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op == op {
				return buckettest.Fault{Err: errCrash}
			}
			return buckettest.Fault{}
		}}
		if _, found, err := w.verify(cfg, firstID, lastID); err == nil || len(found) > 0 {
			t.Errorf("%s: %v, %v", op, found, err)
		}
	}

	// A segment that is replaced meanwhile is no finding.
	w, fresh, _ = grown(t, 6)
	cfg := w.config()
	cfg.Workers = 1
	cfg.Copies[0].Bucket = &buckettest.Faulty{Next: w.copies[0], Hook: func(c buckettest.Call) buckettest.Fault {
		if c.Op == buckettest.Get {
			for _, b := range w.copies {
				for _, key := range fresh {
					_ = b.Delete(context.Background(), key) // never fails
				}
			}
		}
		return buckettest.Fault{}
	}}
	if _, found, err := w.verify(cfg, firstID, lastID); err != nil || len(found) > 0 {
		t.Errorf("replaced meanwhile: %v, %v", found, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.compactor(w.config()).Verify(ctx, firstID, lastID, func(string, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
