package compact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/s3"
	"oklog/objstore/segment"
)

// repair repairs, which has to succeed.
func (w *world) repair(cfg Config, deep bool) *Report {
	w.t.Helper()
	c := w.compactor(cfg)
	defer w.ended(c)
	r, err := c.Repair(context.Background(), deep)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// full is a world of two copies that has segments of two topics, some in the trash, and policies.
func full(t testing.TB, seed uint64, each int) *world {
	w := newWorld(t, seed, 2)
	for n := range each {
		for _, topic := range []string{"web", "mail"} {
			w.put(topic, 3, w.records(topic, 1+w.rnd.IntN(50), day0.Add(time.Duration(n)*time.Minute), time.Hour))
		}
	}
	w.setPolicy(1000*oneDay, nil)
	w.clock.advance(time.Minute)
	w.setPolicy(2000*oneDay, nil)
	c := w.compactor(w.config())
	for i, s := range segments(t, w.copies[0], "mail") {
		if s.In = 3; i%5 == 0 {
			if err := c.trash(context.Background(), s, w.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// spoil makes something else of an object's bytes.
func spoil(rnd *rand.Rand, data string) []byte {
	switch rnd.IntN(4) {
	case 0:
		return flipped(data, rnd.IntN(len(data)))
	case 1:
		return []byte(data[:rnd.IntN(len(data))])
	case 2:
		return []byte(data + "x")
	}
	b := make([]byte, len(data))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// decodes tells that the bytes of a policy can be understood: it has no checksum.
func decodes(key string, data []byte) bool {
	_, err := decodePolicy(data)
	return strings.HasPrefix(key, policyPrefix) && err == nil
}

// What has one good copy is restored; what has none is named, and nothing else.
func TestRepairDeep(t *testing.T) {
	for seed := range uint64(20) {
		w := full(t, seed, 20)
		good := keysOf(t, w.copies[0])
		var lost []string
		damaged := 0
		for _, key := range slices.Sorted(maps.Keys(good)) {
			bad := spoil(w.rnd, good[key])
			if decodes(key, bad) {
				continue
			}
			switch w.rnd.IntN(12) {
			case 0, 1: // in one copy
				overwrite(t, w.copies[w.rnd.IntN(2)], key, bad)
				damaged++
			case 2: // in both
				overwrite(t, w.copies[0], key, bad)
				for string(bad) == good[key] || decodes(key, bad) || w.rnd.IntN(2) == 0 {
					bad = spoil(w.rnd, good[key])
				}
				overwrite(t, w.copies[1], key, bad)
				lost = append(lost, key)
			case 3: // gone from one
				if err := w.copies[w.rnd.IntN(2)].Delete(context.Background(), key); err != nil {
					t.Fatal(err)
				}
			case 4: // gone from one, damaged in the other
				i := w.rnd.IntN(2)
				if err := w.copies[i].Delete(context.Background(), key); err != nil {
					t.Fatal(err)
				}
				overwrite(t, w.copies[1-i], key, bad)
				lost = append(lost, key)
			}
		}
		before := []map[string]string{keysOf(t, w.copies[0]), keysOf(t, w.copies[1])}
		dry := w.config()
		dry.DryRun = true
		planned := w.repair(dry, true)
		for i, b := range w.copies {
			if !maps.Equal(before[i], keysOf(t, b)) {
				t.Fatalf("seed %d: a dry run has changed copy %d", seed, i)
			}
		}
		r := w.repair(w.config(), true)
		var named []string
		for _, f := range r.Lost {
			named = append(named, f.Key)
			if f.Problem == "" {
				t.Errorf("seed %d: %s: no problem is told", seed, f.Key)
			}
		}
		slices.Sort(named)
		if !slices.Equal(named, lost) {
			t.Errorf("seed %d: lost: have %q, want %q", seed, named, lost)
		}
		if r.Replaced != damaged || planned.Replaced != damaged || planned.Copied != r.Copied || len(planned.CopiedKeys) != r.Copied || len(planned.Lost) != len(r.Lost) {
			t.Errorf("seed %d: %d were damaged: %+v, and the dry run %+v", seed, damaged, r, planned)
		}
		for _, key := range lost {
			delete(good, key)
		}
		for i, b := range w.copies {
			have := keysOf(t, b)
			for _, key := range lost { // they are left as they are
				if had, ok := before[i][key]; ok && have[key] != had {
					t.Errorf("seed %d: copy %d: %s was touched", seed, i, key)
				}
				delete(have, key)
			}
			if !maps.Equal(good, have) {
				t.Errorf("seed %d: copy %d has %d objects, want %d", seed, i, len(have), len(good))
			}
		}
		if again := w.repair(w.config(), true); again.Copied != 0 || len(again.Lost) != len(lost) {
			t.Errorf("seed %d: again: %+v", seed, again)
		}
	}
}

// Without deep, what is missing is made, and what differs in size; what is copied is read and found sound before.
func TestRepairShallow(t *testing.T) {
	w := full(t, 1, 20)
	good := keysOf(t, w.copies[0])
	keys := slices.Sorted(maps.Keys(good))
	w.copies[1] = objstore.NewMemory("copy 1, new", w.clock.now) // wiped
	r := w.repair(w.config(), false)
	if r.Copied != len(good) || r.Replaced != 0 || len(r.Lost) > 0 || r.CopiedBytes == 0 || !maps.Equal(good, keysOf(t, w.copies[1])) {
		t.Errorf("%+v: have %d of %d", r, len(keysOf(t, w.copies[1])), len(good))
	}
	if r := w.repair(w.config(), false); r.Copied != 0 || r.Segments < len(good) {
		t.Errorf("again: %+v", r)
	}
	// Sizes that differ.
	overwrite(t, w.copies[0], keys[len(keys)-1], []byte(good[keys[len(keys)-1]][:7]))
	overwrite(t, w.copies[1], keys[len(keys)-2], []byte(good[keys[len(keys)-2]]+"more"))
	overwrite(t, w.copies[0], keys[len(keys)-3], nil)
	if r := w.repair(w.config(), false); r.Copied != 3 || r.Replaced != 3 || len(r.Lost) > 0 {
		t.Errorf("%+v", r)
	}
	for i, b := range w.copies {
		if !maps.Equal(good, keysOf(t, b)) {
			t.Errorf("copy %d is not as it was", i)
		}
	}
	// What is damaged is not copied.
	bad := keys[len(keys)-1]
	overwrite(t, w.copies[0], bad, flipped(good[bad], 3))
	if err := w.copies[1].Delete(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	if r := w.repair(w.config(), false); r.Copied != 0 || len(r.Lost) != 1 || r.Lost[0].Key != bad || r.Sound() || has(t, w.copies[1], bad) != 0 {
		t.Errorf("%+v", r)
	}
	// Of one topic only.
	w = full(t, 2, 5)
	all := w.copies[1]
	w.copies[1] = objstore.NewMemory("copy 1, new", w.clock.now)
	cfg := w.config()
	cfg.Topic = "web"
	w.repair(cfg, false)
	for key := range keysOf(t, w.copies[1]) {
		if !strings.HasPrefix(key, "web/") {
			t.Errorf("%s was copied", key)
		}
	}
	if len(segments(t, all, "web")) != len(segments(t, w.copies[1], "web")) {
		t.Error("not all of the topic was copied")
	}
}

// A read that goes wrong on the way puts nothing in a copy's place that is not what its key names.
func TestRepairReadsWrongly(t *testing.T) {
	for n := 1; n <= 6; n++ {
		w := newWorld(t, uint64(n), 2)
		key := w.put("web", 3, w.records("web", 100, day0, time.Hour))[0]
		good := keysOf(t, w.copies[0])[key]
		if err := w.copies[1].Delete(context.Background(), key); err != nil {
			t.Fatal(err)
		}
		cfg := w.config()
		cfg.Copies[0].Bucket = &buckettest.Faulty{Next: w.copies[0], Hook: func(c buckettest.Call) buckettest.Fault {
			return buckettest.Fault{Flip: c.Op == buckettest.Get && c.N == n}
		}}
		c := w.compactor(cfg)
		_, _ = c.Repair(context.Background(), n%2 == 0)
		if data, ok := keysOf(t, w.copies[1])[key]; ok && data != good {
			t.Errorf("read %d was wrong, and was written", n)
		}
		if keysOf(t, w.copies[0])[key] != good {
			t.Errorf("read %d was wrong, and the good copy was overwritten", n)
		}
	}
}

func TestRepairForeign(t *testing.T) {
	w := full(t, 3, 3)
	foreign := []string{"README", "web/2026-11-20/notes.txt", "_trash/20261122T171049Z/web/x", "_oklog/retention/what.json", "_oklog/other", "Web/2026-11-20/x", "other/thing"}
	for _, key := range foreign {
		overwrite(t, w.copies[0], key, []byte("x"))
	}
	r := w.repair(w.config(), true)
	slices.Sort(foreign)
	if r.Foreign != len(foreign) || !slices.Equal(r.ForeignKeys, foreign) {
		t.Errorf("have %q", r.ForeignKeys)
	}
	if n := has(t, w.copies[1], foreign...); n != 0 {
		t.Errorf("%d of them were copied", n)
	}
	if n := has(t, w.copies[0], foreign...); n != len(foreign) {
		t.Errorf("%d of them are left", n)
	}
	// A run names those of topics.
	if r := w.run(w.config()); r.Foreign != 2 || !slices.Contains(r.ForeignKeys, "web/2026-11-20/notes.txt") || !slices.Contains(r.ForeignKeys, "other/thing") {
		t.Errorf("a run: %q", r.ForeignKeys)
	}
	for i := range 2 * maxNamed {
		overwrite(t, w.copies[0], fmt.Sprintf("web/2026-11-20/notes-%d", i), []byte("x"))
	}
	if r := w.repair(w.config(), true); r.Foreign != len(foreign)+2*maxNamed || len(r.ForeignKeys) != maxNamed {
		t.Errorf("%d, and %d are named", r.Foreign, len(r.ForeignKeys))
	}
}

// An object that is too large to be held in memory whole is copied as it is, and read back.
func TestRepairLarge(t *testing.T) {
	w := newWorld(t, 1, 2)
	data := make([]byte, 2*inMemory+12_345)
	for i := range data {
		data[i] = byte(i>>16 ^ i)
	}
	s := numbered(1, 1, 0, 9, int64(len(data)))
	sum := sha256.Sum256(data)
	copy(s.Name.Hash[:], sum[:])
	overwrite(t, w.copies[0], s.Key(), data)
	cfg := w.config()
	wrong := true
	cfg.Copies[0].Bucket = &buckettest.Faulty{Next: w.copies[0], Hook: func(c buckettest.Call) buckettest.Fault {
		return buckettest.Fault{Flip: wrong && c.Op == buckettest.Get && c.N == len(data)/chunkSize+3}
	}}
	c := w.compactor(cfg)
	if r, err := c.Repair(context.Background(), false); !errors.Is(err, segment.ErrCorrupt) || r.Copied > 0 {
		t.Errorf("a wrong read: %+v, %v", r, err)
	}
	wrong = false
	// What was damaged on the way is not left: with the right size, nobody would miss the copy.
	if r := w.repair(cfg, false); r.Copied != 1 || r.Replaced != 0 || keysOf(t, w.copies[1])[s.Key()] != string(data) {
		t.Errorf("%+v", r)
	}
}

// A bucket that fails is told, and takes nothing away from the other one.
func TestRepairAway(t *testing.T) {
	for _, op := range []buckettest.Op{buckettest.List, buckettest.Get, buckettest.Put} {
		w := full(t, 4, 10)
		before := []map[string]string{keysOf(t, w.copies[0]), keysOf(t, w.copies[1])}
		for _, key := range slices.Sorted(maps.Keys(before[0]))[:5] {
			if err := w.copies[0].Delete(context.Background(), key); err != nil {
				t.Fatal(err)
			}
			delete(before[0], key)
		}
		cfg := w.config()
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op == op && c.N > 2 || c.Op == op && op == buckettest.List {
				return buckettest.Fault{Err: errCrash, After: 3}
			}
			return buckettest.Fault{}
		}}
		c := w.compactor(cfg)
		r, err := c.Repair(context.Background(), true)
		if op != buckettest.Put && (err == nil || len(r.Away) != 1 || r.Away[0] != "copy1" || r.Sound()) {
			t.Errorf("%s: %+v, %v", op, r, err)
		}
		if len(r.Lost) > 0 {
			t.Errorf("%s: said to be lost: %v", op, r.Lost)
		}
		for i, b := range w.copies {
			have := keysOf(t, b)
			for key, data := range before[i] {
				if have[key] != data {
					t.Errorf("%s: copy %d: %s is not as it was", op, i, key)
				}
			}
		}
		w.ended(c)
	}
}

// A run makes copies that have been missing for longer than they may be on their way; not of what is replaced.
func TestRunMakesCopies(t *testing.T) {
	w := newWorld(t, 5, 2)
	key := w.put("web", 1, w.records("web", 30, day0, time.Hour))[0]
	w.clock.advance(inFlight)
	if r := w.run(w.config()); r.Copied != 0 || has(t, w.copies[1], key) != 0 {
		t.Errorf("it may be on its way: %+v", r)
	}
	w.clock.advance(time.Second)
	if r := w.run(w.config()); r.Copied != 1 || has(t, w.copies[1], key) != 1 {
		t.Errorf("%+v", r)
	}
	w.check(w.copies[1], "copied")

	w, fresh, _ := grown(t, 6)
	if err := w.copies[1].Delete(context.Background(), fresh[0]); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Hour / 2)
	if r := w.run(w.config()); r.Copied != 0 || has(t, w.copies[1], fresh[0]) != 0 {
		t.Errorf("one that is replaced: %+v", r)
	}
}

// On real servers: a bucket is lost, and a hundredth of the objects of the other one is damaged.
func TestRepairOnServers(t *testing.T) {
	var buckets [2]*s3.Bucket
	for i, server := range []*servers.Server{servers.MinIO(t), servers.VersityGW(t)} {
		if err := server.CreateBucket(t.Context(), "logs"); err != nil {
			t.Fatal(err)
		}
		b, err := s3.New(server.Config("logs"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		buckets[i] = b
	}
	w := full(t, 6, 100)
	good := keysOf(t, w.copies[0])
	wiped := w.rnd.IntN(2)
	keys := slices.Sorted(maps.Keys(good))
	var lost []string
	rnd := rand.New(rand.NewPCG(1, 2))
	for n, key := range keys {
		data := []byte(good[key])
		if n%100 == 50 {
			if data = spoil(rnd, good[key]); !decodes(key, data) {
				lost = append(lost, key)
			}
		}
		overwrite(t, buckets[1-wiped], key, data)
	}
	cfg := w.config()
	cfg.Now = nil
	cfg.Copies = []Copy{{"minio", buckets[0]}, {"versity", buckets[1]}}
	named := func(r *Report) []string {
		var all []string
		for _, f := range r.Lost {
			all = append(all, f.Key)
		}
		slices.Sort(all)
		return all
	}
	compare := func(when string) {
		t.Helper()
		for i, b := range buckets {
			have := keysOf(t, b)
			for key, data := range good {
				if !slices.Contains(lost, key) && have[key] != data {
					t.Errorf("%s: bucket %d: %s is not as it was", when, i, key)
				}
			}
			if max := len(good); len(have) < max-len(lost) || len(have) > max {
				t.Errorf("%s: bucket %d has %d objects of %d", when, i, len(have), max)
			}
		}
	}
	r := w.repair(cfg, false) // into the wiped one
	if have := named(r); !slices.Equal(have, lost) || r.Copied != len(good)-len(lost) {
		t.Errorf("lost: have %q, want %q; %d copied", have, lost, r.Copied)
	}
	compare("shallow")
	// Now each has damage of its own, of which the other has a good copy.
	replaced := 0
	for n, key := range keys {
		if bad := spoil(rnd, good[key]); n%20 == 3 && !slices.Contains(lost, key) && !decodes(key, bad) {
			overwrite(t, buckets[n/20%2], key, bad)
			replaced++
		}
	}
	r = w.repair(cfg, true)
	if have := named(r); !slices.Equal(have, lost) || r.Replaced != replaced {
		t.Errorf("deep: lost: have %q, want %q; %d of %d replaced", have, lost, r.Replaced, replaced)
	}
	compare("deep")
	var n segment.Name
	for _, key := range lost {
		if _, parsed, err := segment.ParseKey(key); err == nil {
			n = parsed
		}
	}
	if n == (segment.Name{}) {
		t.Error("no segment was damaged: the test tests little")
	}
}

// An object that its store does not read any more, as it found it damaged, is a damaged copy: the bucket is as good as before.
func TestRepairOfWhatCannotBeRead(t *testing.T) {
	w := newWorld(t, 1, 2)
	var keys []string
	for i := range 5 {
		keys = append(keys, w.put("web", 3, w.records("web", 30, day0.Add(time.Duration(i)*time.Hour), time.Minute))...)
	}
	bad := keys[1]
	var put atomic.Bool
	cfg := w.config()
	cfg.Copies[0].Bucket = &buckettest.Faulty{Next: w.copies[0], Hook: func(c buckettest.Call) (f buckettest.Fault) {
		if c.Op == buckettest.Put && c.Key == bad {
			put.Store(true)
		}
		if c.Op == buckettest.Get && c.Key == bad && !put.Load() {
			f.Err = errCrash
		}
		return f
	}}
	var found []string
	v, err := w.compactor(cfg).Verify(context.Background(), ulid.ULID{}, segment.MakeID(segment.MaxTime, 0, 0), func(where string, err error) { found = append(found, where) })
	if err != nil || v.Copies != 2*len(keys)-1 || len(found) != 1 || !strings.HasPrefix(found[0], bad) {
		t.Errorf("verify: %+v, %q, %v", v, found, err)
	}
	if r, err := w.compactor(cfg).Run(context.Background()); err != nil || len(r.Away) > 0 || r.BadCopies != 1 || r.Merges == 0 {
		t.Errorf("compact: %+v, %v", r, err)
	}
	w.check(w.copies[1], "compacted")
	if r, err := w.compactor(cfg).Repair(context.Background(), true); err != nil || r.Replaced != 1 || r.Copied != 1 || !put.Load() {
		t.Errorf("repair: %+v, %v", r, err)
	}
}
