package compact

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/buckettest"
	"oklog/objstore/dir"
	"oklog/objstore/segment"
)

// damages are ways in which an object goes bad.
var damages = map[string]func(data string) []byte{
	"block":    func(data string) []byte { return flipped(data, 20) },
	"index":    func(data string) []byte { return flipped(data, len(data)-150) },
	"trailer":  func(data string) []byte { return flipped(data, len(data)-30) },
	"magic":    func(data string) []byte { return flipped(data, len(data)-1) },
	"half":     func(data string) []byte { return []byte(data[:len(data)/2]) },
	"a byte":   func(data string) []byte { return []byte(data[:len(data)-1]) },
	"nothing":  func(string) []byte { return nil },
	"garbage":  func(data string) []byte { return bytes.Repeat([]byte("x"), len(data)) },
	"another":  nil, // another segment's bytes
	"too long": func(data string) []byte { return []byte(data + data) },
}

// A damaged input is left alone, named, and never deleted, and its neighbours are merged without it. With one good copy of the
// same size, nothing is left out.
func TestDamagedInput(t *testing.T) {
	for name, damage := range damages {
		for _, in := range []Set{1, 2, 3} {
			t.Run(fmt.Sprint(name, " in ", in), func(t *testing.T) {
				w := newWorld(t, 1, 2)
				var keys []string
				for n := range 8 {
					keys = append(keys, w.put("web", 3, w.records("web", 60, day0.Add(time.Duration(n)*5*time.Minute), 10*time.Minute))...)
				}
				good := keysOf(t, w.copies[0])
				bad := []byte(good[keys[4]])
				if damage != nil {
					bad = damage(good[keys[3]])
				}
				for i := range in.each {
					overwrite(t, w.copies[i], keys[3], bad)
				}
				w.clock.advance(48 * time.Hour)
				differ := in != 3 && len(bad) != len(good[keys[3]])
				r := w.run(w.config())
				if all := in == 3; all != (r.DamagedSegments == 1) || all && (len(r.Damaged) != 1 || r.Damaged[0].Key != keys[3] || r.Sound()) {
					t.Errorf("damaged: %d, %v", r.DamagedSegments, r.Damaged)
				}
				met := 0 // the second copy is not read when the first is sound
				if in == 1 || differ {
					met = 1
				}
				if r.BadCopies+r.Differing != met {
					t.Errorf("%d bad copies, %d segments whose copies differ in size, want %d together", r.BadCopies, r.Differing, met)
				}
				want := 8
				if in == 3 || differ {
					want = 7
				}
				w.clock.advance(2 * DefaultGrace)
				r2 := w.run(w.config())
				if r2.Deleted != want {
					t.Errorf("%d of 8 were replaced, want %d: %+v", r2.Deleted, want, r2)
				}
				if want == 7 {
					for i := range w.copies {
						if have := keysOf(t, w.copies[i])[keys[3]]; in.Has(i) && have != string(bad) || !in.Has(i) && have != good[keys[3]] {
							t.Errorf("copy %d of the damaged one was touched", i)
						}
					}
				}
				if differ {
					if r := w.repair(w.config(), false); r.Replaced != 1 {
						t.Errorf("repair: %+v", r)
					}
				}
				if in == 3 { // what can be had is there
					lost := map[ulid.ULID]bool{}
					_, n, _ := segment.ParseKey(keys[3])
					for i := range w.copies {
						if err := w.copies[i].Delete(context.Background(), keys[3]); err != nil {
							t.Fatal(err)
						}
					}
					for _, e := range w.stored["web"] {
						if _, session, _ := segment.SplitID(e.id); session == 4 {
							lost[e.id] = true
						}
					}
					if len(lost) != 60 || n.Records != 60 {
						t.Fatalf("%d, %d", len(lost), n.Records)
					}
					// Merges that were under way when the damage was met may have had some of it.
					have := map[ulid.ULID]bool{}
					for _, e := range ask(t, w.copies[0], "web", false) {
						have[e.id] = true
					}
					w.stored["web"] = slices.DeleteFunc(w.stored["web"], func(e entry) bool { return lost[e.id] && !have[e.id] })
				}
				w.settle(w.config())
				for i := range w.copies {
					w.check(w.copies[i], "in the end")
				}
				if segs := segments(t, w.copies[0], "web"); overlaps(segs) > 0 {
					t.Errorf("%d segments overlap", overlaps(segs))
				}
			})
		}
	}
}

// What a merge has made is damaged everywhere, while its inputs are still there: these are merged again, and stay for another grace.
func TestDamagedOutput(t *testing.T) {
	for name, damage := range damages {
		w, fresh, merged := grown(t, 1)
		good := keysOf(t, w.copies[0])
		bad := []byte(good[merged[1]])
		if damage != nil {
			bad = damage(good[merged[0]])
		}
		for i := range w.copies {
			overwrite(t, w.copies[i], merged[0], bad)
		}
		_, of, _ := segment.ParseKey(merged[0])
		all := func(when string) {
			t.Helper()
			for i := range w.copies {
				for _, key := range fresh {
					_, n, _ := segment.ParseKey(key)
					if n.First.Compare(of.Last) <= 0 && n.Last.Compare(of.First) >= 0 && has(t, w.copies[i], key) == 0 {
						t.Errorf("%s, %s: copy %d: %s is gone", name, when, i, key)
					}
				}
			}
		}
		w.clock.advance(2 * DefaultGrace) // it is old enough
		r := w.run(w.config())
		all("at once")
		again := r.MergedOut > 0 // else its tables can be read: what it says stands, until it comes to deleting
		if again && (r.DamagedSegments != 1 || r.Damaged[0].Key != merged[0]) || !again && r.BadCopies != 1 {
			t.Errorf("%s: %v, %d bad copies", name, r.Damaged, r.BadCopies)
		}
		if !again && name != "block" {
			t.Errorf("%s: nothing was made again", name)
		}
		w.clock.advance(DefaultGrace - time.Second)
		w.run(w.config())
		all("within the grace")
		if !again {
			continue
		}
		w.clock.advance(time.Second)
		for i := range w.copies { // if it was made again under its name, nothing is to be done
			if d := keysOf(t, w.copies[i])[merged[0]]; d != good[merged[0]] {
				t.Errorf("%s: copy %d: %s was not put right", name, i, merged[0])
			}
		}
		w.settle(w.config())
		for i := range w.copies {
			w.check(w.copies[i], "in the end")
			if n := has(t, w.copies[i], fresh...); n > 0 {
				t.Errorf("%s: copy %d: %d are left", name, i, n)
			}
		}
	}
}

// An input that is gone when the merge comes to it was replaced by somebody else: that is no error.
func TestInputDisappears(t *testing.T) {
	for n := range 10 {
		w := newWorld(t, uint64(n), 2)
		for i := range 10 {
			w.put("web", 3, w.records("web", 300, day0.Add(time.Duration(i)*5*time.Minute), 10*time.Minute))
		}
		w.clock.advance(48 * time.Hour)
		cfg := w.config()
		var calls atomic.Int64
		var once sync.Once
		for i, b := range w.copies {
			cfg.Copies[i].Bucket = &buckettest.Faulty{Next: b, Hook: func(c buckettest.Call) buckettest.Fault {
				if c.Op == buckettest.Get && strings.HasPrefix(c.Key, "web/") && calls.Add(1) > int64(n) {
					once.Do(func() { w.run(w.config()); w.clock.advance(2 * DefaultGrace); w.run(w.config()) })
				}
				return buckettest.Fault{}
			}}
		}
		c := w.compactor(cfg)
		if r, err := c.Run(context.Background()); err != nil || r.DamagedSegments > 0 {
			t.Fatalf("call %d: %+v, %v", n, r, err)
		}
		w.check(w.union(), "when another one was faster")
		w.settle(w.config())
		for _, b := range w.copies {
			w.check(b, "in the end")
		}
	}
}

// Segments without a record up to the cutoff in what is left of them are not merged again and again.
func TestNothingToMerge(t *testing.T) {
	w := newWorld(t, 1, 1)
	from := w.clock.now()
	for range 4 {
		early, late := w.records("web", 5, from.Add(-2*time.Hour), time.Minute), w.records("web", 5, from.Add(8*time.Hour), time.Minute)
		w.put("web", 1, append(early, late...))
	}
	if r := w.run(w.config()); r.Merges != 1 {
		t.Fatalf("%+v", r)
	}
	for range 10 {
		w.clock.advance(10 * time.Minute)
		c := w.compactor(w.config())
		gets := &buckettest.Faulty{Next: w.copies[0]}
		c.cfg.Copies[0].Bucket = gets
		r, err := c.Run(context.Background())
		if err != nil || r.MergedOut > 0 || gets.Calls(buckettest.Get) > 20 {
			t.Fatalf("%+v, %v, %d requests", r, err, gets.Calls(buckettest.Get))
		}
		w.ended(c)
	}
	w.check(w.copies[0], "meanwhile")
	w.settle(w.config())
	w.check(w.copies[0], "in the end")
	if segs := segments(t, w.copies[0], "web"); len(segs) != 1 || segs[0].Name.Generation > 3 {
		t.Errorf("%d segments are left", len(segs))
	}
}

// The lowest and the greatest ID there are do no harm.
func TestExtremeIDs(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.put("web", 1, []entry{{ulid.ULID{}, "the first"}, {segment.MakeID(5, 1, 1), "early"}})
	w.put("web", 1, []entry{{segment.MakeID(3, 1, 1), "early, too"}, {segment.MakeID(7, 1, 1), "later"}})
	w.put("web", 1, []entry{{segment.MakeID(segment.MaxTime-1, 1, 1), "late"}, {segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-3), "nearly the last"}})
	greatest := w.putAgain("web", 1, []entry{{segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1), "the last, which no query's range includes"}})
	w.put("web", 1, []entry{{segment.MakeID(segment.MaxTime-2, 1, 1), "late, too"}, {segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-2), "the last but one"}})
	for range 10 {
		w.clock.advance(24 * time.Hour)
		w.run(w.config())
		w.check(w.copies[0], "extreme")
	}
	if has(t, w.copies[0], greatest...) != 1 {
		t.Error("the greatest ID is gone")
	}
	if n := w.copies[0].Len(); n > 8 {
		t.Errorf("%d objects", n)
	}
}

// Two compactors with the same inputs make the same, wherever they read it and however many workers they have.
func TestDeterminism(t *testing.T) {
	var all []map[string]string
	for n := range 4 {
		w := newWorld(t, 9, 2)
		for i := range 12 {
			w.put("web", 3, w.records("web", 200, day0.Add(time.Duration(i)*2*time.Minute), 10*time.Minute))
			w.put("mail", 3, w.records("mail", 200, day0.Add(time.Duration(i)*2*time.Hour), 3*time.Hour))
		}
		w.clock.advance(48 * time.Hour)
		cfg := w.config()
		cfg.Workers = 1 + 3*(n%2)
		if n/2 == 1 {
			slices.Reverse(cfg.Copies)
		}
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		var mu sync.Mutex
		for i := range cfg.Copies {
			cfg.Copies[i].Bucket = &buckettest.Faulty{Next: cfg.Copies[i].Bucket, Hook: func(c buckettest.Call) buckettest.Fault {
				mu.Lock()
				defer mu.Unlock()
				return buckettest.Fault{Delay: time.Duration(rnd.IntN(1000)) * time.Microsecond}
			}}
		}
		w.run(cfg)
		for _, b := range w.copies {
			all = append(all, keysOf(t, b))
		}
	}
	made := 0
	for key := range all[0] {
		if _, n, err := segment.ParseKey(key); err == nil && n.Generation > 0 {
			made++
		}
	}
	if made < 4 {
		t.Errorf("%d were made: the test tests little", made)
	}
	for i := range all[1:] {
		if !maps.Equal(all[0], all[i+1]) {
			t.Errorf("%d: %d objects, and %d in the first", i+1, len(all[i+1]), len(all[0]))
		}
	}
}

// A merge keeps within its memory, however much overlaps, in the first generation and in those that follow.
func TestMemory(t *testing.T) {
	const (
		segs, records = 200, 150
		margin        = 48 << 20 // what the process has besides, and garbage
	)
	at := &clock{at: day0}
	folder, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	writer, err := segment.NewWriter(segment.WriterConfig{Level: segment.Fast, Filter: true})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for n := range segs {
		d, err := writer.Days(segment.DaysConfig{MaxText: 64 << 20, Emit: func(name segment.Name, data []byte) error {
			return folder.Put(context.Background(), name.Key("web"), bytes.NewReader(data), int64(len(data)))
		}})
		if err != nil {
			t.Fatal(err)
		}
		b := &segment.Block{Sources: segment.Sources{}}
		session := uint64(n + 1)
		b.Sources[session], _ = segment.ParseSource([]string{"host=a"})
		for i := range records {
			text.Reset()
			for text.Len() < 30_000 {
				fmt.Fprintf(&text, "%d.%d.%d something that compresses well ", n, i, text.Len())
			}
			b.Append(segment.MakeID(uint64(day0.UnixMilli())+uint64(i*1000+n), session, uint32(i)), text.Bytes(), 0)
		}
		b.Sort()
		c := b.Cursor()
		if err := d.Take(&c, c.Left()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	writer = nil
	at.advance(48 * time.Hour)
	cfg := Config{Copies: []Copy{{"folder", folder}}, Target: 16 << 20, Memory: 128 << 20, Now: at.now, Workers: 2, Level: segment.Fast}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	inuse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	runtime.GC()
	before := inuse()
	var most atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				runtime.GC() // what is not collected yet is not in use
				most.Store(max(most.Load(), inuse()-before))
			}
		}
	}()
	r, err := c.Run(context.Background())
	close(stop)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d merges of %d segments (%d MiB of text) took %d MiB, of %d", r.Merges, r.MergedIn, r.Text>>20, most.Load()>>20, cfg.Memory>>20)
	if most.Load() > cfg.Memory+margin {
		t.Errorf("it took %d MiB, more than %d", most.Load()>>20, (cfg.Memory+margin)>>20)
	}
	if r.Merges < 3 || r.MergedIn < segs {
		t.Errorf("%+v: the test tests little", r)
	}
}
