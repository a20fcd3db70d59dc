package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// Topics whose names begin alike are all found, also among objects that belong to nothing.
func TestTopicsAmongStrays(t *testing.T) {
	w := newWorld(t, 1, 1)
	want := []string{"0", "web", "web-1", "web.a", "web0", "webx"}
	for _, topic := range want {
		w.put(topic, 1, w.records(topic, 3, day0, time.Hour))
	}
	for _, key := range []string{"READ-ME", "w", "webb", "we-b", "_x/1", "we/b", "web0-1"} {
		if err := w.copies[0].Put(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	have, err := w.compactor(w.config()).topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(have)
	have = slices.DeleteFunc(have, func(topic string) bool { return topic == "we" })
	if !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
	w = newWorld(t, 1, 1)
	w.put("web-1", 1, w.records("web-1", 3, day0, time.Hour))
	if err := w.copies[0].Put(t.Context(), "web", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if have, err := w.compactor(w.config()).topics(t.Context()); err != nil || !slices.Equal(have, []string{"web-1"}) {
		t.Errorf("beside an object: have %q (%v), want web-1", have, err)
	}
}

// What somebody else has purged or restored meanwhile is not said to have been restored.
func TestRestoreWhatIsGone(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.put("web", 3, w.records("web", 30, day0, time.Hour))
	c := w.compactor(w.config())
	for d, err := range c.days(t.Context(), "web") {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range d.segments {
			if err := c.trash(t.Context(), s, w.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for trashed, err := range c.Trash(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Purge(t.Context(), trashed); err != nil {
			t.Fatal(err)
		}
		if err := c.Restore(t.Context(), trashed); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("restored what was purged: %v", err)
		}
	}
}

// Records of more sessions than a segment's table has room for are not written anew again and again.
func TestFullTables(t *testing.T) {
	if testing.Short() {
		t.Skip("short: segments whose tables are full are not merged here, which takes some seconds")
	}
	w := newWorld(t, 1, 1)
	sw, err := segment.NewWriter(segment.WriterConfig{Level: segment.Fast})
	if err != nil {
		t.Fatal(err)
	}
	source, _ := segment.ParseSource([]string{"host=a"})
	const count, sessions = 14, 10_000
	for i := range uint64(count) {
		b := &segment.Block{Sources: segment.Sources{}}
		for k := range uint64(sessions) {
			session := (i*sessions + k + 1) * 7919
			b.Sources[session] = source
			e := entry{segment.MakeID(uint64(day0.UnixMilli())+1000*i+k/20, session, 0), fmt.Sprint(session)}
			b.Append(e.id, []byte(e.text), 0)
			w.stored["web"] = append(w.stored["web"], e)
		}
		w.write("web", sw, b)
	}
	cfg := w.config()
	cfg.Target = DefaultTarget
	for range 4 {
		w.clock.advance(3 * time.Hour)
		r, err := w.compactor(cfg).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Log(r)
	}
	w.check(w.copies[0], "in the end")
	for _, s := range segments(t, w.copies[0], "web") {
		if s.Name.Generation > usualGenerations+3 {
			t.Fatalf("%d records of generation %d", s.Name.Records, s.Name.Generation)
		}
	}
}

// Two who change the policy at the same time both have their change in it, or are told that they have not.
func TestPolicyOfTwo(t *testing.T) {
	told := 0
	for seed := range uint64(100) {
		w := newWorld(t, seed, 2)
		s := newStepper(w.rnd)
		errs := make([]error, 2)
		set := func(process int) func() {
			cfg := w.config()
			for i, b := range w.copies {
				cfg.Copies[i].Bucket = stepped{Bucket: b, s: s, process: process}
			}
			c := w.compactor(cfg)
			return func() {
				_, errs[process] = c.ChangePolicy(context.Background(), func(p *Policy) {
					p.Topics[fmt.Sprint("topic", process)] = Keep(time.Hour)
				})
			}
		}
		s.run(set(0), set(1))
		p, err := w.compactor(w.config()).ReadPolicy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for process, err := range errs {
			_, is := p.Of(fmt.Sprint("topic", process))
			if err == nil && !is {
				t.Errorf("seed %d: change %d is lost, and nobody was told", seed, process)
			}
			if err != nil {
				told++
			}
		}
	}
	if told == 0 || told > 150 {
		t.Errorf("%d of 200 were told", told)
	}
}
