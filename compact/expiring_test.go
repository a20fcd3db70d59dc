package compact

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest"
)

// What expires while it is being merged is gone when it should be, and not after the same time once more.
func TestMergeOfWhatExpires(t *testing.T) {
	const keep = 24 * time.Hour
	for _, before := range []time.Duration{time.Minute, 20 * time.Minute, 2 * time.Hour} {
		w := newWorld(t, 3, 1)
		for range 5 {
			w.put("web", 1, w.records("web", 50, day0, time.Hour))
		}
		w.clock.at = day0.Add(time.Hour + keep - before) // before the last of them expires
		// They were stored when they were written.
		for _, s := range segments(t, w.copies[0], "web") {
			w.storedAt(s.Key(), s.last().Add(time.Minute))
		}
		cfg := w.config()
		cfg.Retention, cfg.Yes = keep, true
		slow := cfg
		slow.Copies = []Copy{{"slow", hooked{w.copies[0], func(op buckettest.Op, key string) {
			if op == buckettest.Put && strings.HasPrefix(key, "web/") {
				w.clock.advance(30 * time.Minute) // the merge took so long
			}
		}}}}
		if _, err := w.compactor(slow).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			w.clock.advance(20 * time.Minute)
			if _, err := w.compactor(cfg).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range segments(t, w.copies[0], "web") {
			if w.clock.now().After(s.last().Add(keep + time.Hour)) {
				t.Errorf("%s before it expires: %s is still there at %s", before, s.Key(), w.clock.now())
			}
		}
	}
}

// storedAt stores an object anew, at another time.
func (w *world) storedAt(key string, at time.Time) {
	w.t.Helper()
	info, err := w.copies[0].Stat(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	b := make([]byte, info.Size)
	if err := readFull(w.t.Context(), w.copies[0], key, 0, b); err != nil {
		w.t.Fatal(err)
	}
	now := w.clock.at
	w.clock.at = at
	defer func() { w.clock.at = now }()
	if err := w.copies[0].Put(w.t.Context(), key, bytes.NewReader(b), info.Size); err != nil {
		w.t.Fatal(err)
	}
}
