package compact

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore/segment"
)

// putTiny stores n segments of two records each, quickly: that of number i from time from(i) to time to(i).
func (w *world) putTiny(topic string, n int, from, to func(i int) time.Time) {
	w.t.Helper()
	sw, err := segment.NewWriter(segment.WriterConfig{Level: segment.Fast})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		session := uint64(i) + 1
		source, _ := segment.ParseSource([]string{"host=a"})
		b := &segment.Block{Sources: segment.Sources{session: source}}
		for k, at := range []time.Time{from(i), to(i)} {
			e := entry{segment.MakeID(uint64(at.UnixMilli()), session, uint32(k)), fmt.Sprintf("%d.%d", i, k)}
			b.Append(e.id, []byte(e.text), 0)
			w.stored[topic] = append(w.stored[topic], e)
		}
		w.write(topic, sw, b)
	}
}

// peak tells how much memory the heap takes at most while f runs, beyond what it took before, in bytes.
func peak(f func()) int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				runtime.GC() // what is not in use does not count
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapAlloc))
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	return int64(most.Load()) - int64(before)
}

// A day of more small segments than one can name is merged all the same: side by side, or each over all the others.
func TestMoreSegmentsThanOneCanReplace(t *testing.T) {
	n := segment.MaxReplaced + 5000
	if raced || testing.Short() {
		n = 3000
		t.Logf("%d segments: what is more than one can replace is tested without the race detector, and not in short runs", n)
	}
	second := func(i int) time.Time { return day0.Add(time.Duration(i) * 4 * time.Second) }
	early := func(i int) time.Time { return day0.Add(time.Duration(i) * time.Millisecond) }
	late := func(i int) time.Time { return day0.Add(20*time.Hour + time.Duration(i)*time.Millisecond) }
	for name, f := range map[string][2]func(int) time.Time{
		"side by side": {second, second}, "over each other": {early, late},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			w.putTiny("web", n, f[0], f[1])
			cfg := w.config()
			cfg.Target = DefaultTarget
			for i := range 6 {
				w.clock.advance(3 * time.Hour)
				start := time.Now()
				var r *Report
				var err error
				mem := peak(func() { r, err = w.compactor(cfg).Run(t.Context()) })
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("run %d: %s, %d waiting, %d to do, in %v and %d MiB", i, r, r.Waiting, r.Backlog, time.Since(start).Round(time.Millisecond), mem>>20)
			}
			w.check(w.copies[0], "in the end")
			if segs := segments(t, w.copies[0], "web"); len(segs) > 1 || overlaps(segs) > 0 {
				t.Errorf("%d segments are left, %d of which overlap", len(segs), overlaps(segs))
			}
		})
	}
}

// What many segments with many sessions take in memory while they are merged is what a merge may take.
func TestMemoryOfSessions(t *testing.T) {
	count := 350
	if raced || testing.Short() {
		count = 40
		t.Logf("%d segments: the memory of more is tested without the race detector, and not in short runs", count)
	}
	for name, span := range map[string]time.Duration{"side by side": time.Second, "over each other": 10 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			sw, err := segment.NewWriter(segment.WriterConfig{Level: segment.Fast})
			if err != nil {
				t.Fatal(err)
			}
			source, _ := segment.ParseSource([]string{"host=a"})
			const sessions = 4000
			for i := range count {
				b := &segment.Block{Sources: segment.Sources{}}
				for k := range uint64(sessions) {
					b.Sources[k+1] = source
					at := day0.Add(time.Duration(i)*10*time.Second + span/sessions*time.Duration(k))
					b.Append(segment.MakeID(uint64(at.UnixMilli()), k+1, uint32(i)), []byte("some words of a record"), 0)
				}
				w.write("web", sw, b)
			}
			cfg := w.config()
			cfg.Target = DefaultTarget
			var r *Report
			mem := peak(func() { r, err = w.compactor(cfg).Run(t.Context()) })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %d waiting, in %d MiB", r, r.Waiting, mem>>20)
			if most := cfg.Memory * 3 / 2; mem > most {
				t.Errorf("%d MiB of memory, want %d at most", mem>>20, most>>20)
			}
			segs := segments(t, w.copies[0], "web")
			var records int64
			for _, s := range slices.DeleteFunc(segs, func(s *Segment) bool { return s.Name.Generation == 0 }) {
				records += s.Name.Records
			}
			if records < int64(count*sessions) {
				t.Errorf("%d records of %d", records, count*sessions)
			}
		})
	}
}
