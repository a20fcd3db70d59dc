package compact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest"
)

const oneDay = 24 * time.Hour

// tryRun runs a compactor that may have to refuse something.
func (w *world) tryRun(cfg Config) (*Report, error) {
	w.t.Helper()
	c := w.compactor(cfg)
	defer w.ended(c)
	return c.Run(context.Background())
}

// inTrash lists the keys that the trash of a copy has things of.
func inTrash(t testing.TB, w *world, i int) (keys []string) {
	t.Helper()
	for key := range keysOf(t, w.copies[i]) {
		if strings.HasPrefix(key, trashPrefix) {
			_, rest, _ := strings.Cut(key[len(trashPrefix):], "/")
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	return keys
}

func TestExpiry(t *testing.T) {
	f := func(name string, last, stored time.Duration, want time.Duration) {
		t.Helper()
		s := numbered(1, 0, 0, int(last/time.Millisecond), 1)
		s.Stored = day0.Add(stored)
		if have := expiry(s, Keep(7*oneDay)).Sub(day0); have != want {
			t.Errorf("%s: %v, want %v", name, have, want)
		}
	}
	f("stored at once", time.Hour, time.Hour, 7*oneDay+time.Hour)
	f("stored a day late", time.Hour, 25*time.Hour, 7*oneDay+time.Hour)
	f("stored just before it would have expired", 0, 7*oneDay-1, 7*oneDay)
	f("stored when it would have expired", 0, 7*oneDay, 14*oneDay)
	f("stored much later", 0, 700*oneDay, 707*oneDay)
	f("ahead of its time", 300*oneDay, 0, 307*oneDay)
}

// What counts as much: what has not just grown old under the policy.
func TestTooMuch(t *testing.T) {
	now := day0.Add(100 * oneDay)
	f := func(name string, since time.Duration, days []int, tooMuch bool) {
		t.Helper()
		e := &expired{keep: Keep(10 * oneDay)}
		var at time.Time
		if since > 0 {
			at = now.Add(-since)
		}
		for n, age := range days { // of its last record, in days
			s := numbered(n, 1, 0, int(now.Add(-time.Duration(age)*oneDay).Sub(day0)/time.Millisecond), 100)
			s.Stored = s.last()
			e.note(s, at, now)
		}
		if e.tooMuch() != tooMuch || e.total != int64(100*len(days)) || e.bytes != int64(100*len(e.segments)) {
			t.Errorf("%s: %v: %d of %d bytes", name, e.tooMuch(), e.sudden, e.total)
		}
	}
	f("nothing", 0, nil, false)
	f("nothing expired", 0, []int{1, 2, 3, 9}, false)
	f("a quarter", 0, []int{1, 2, 3, 12}, false)
	f("more than that", 0, []int{1, 2, 12, 13}, true)
	f("all of it", 0, []int{20}, true)
	f("as time passed, under an old policy", 50*oneDay, []int{1, 10, 11, 12}, false)
	f("for longer than usual", 50*oneDay, []int{1, 2, 13, 14}, true)
	f("a quarter for longer than usual, and more just now", 50*oneDay, []int{1, 10, 11, 14}, false)
	f("under a new policy", time.Hour, []int{1, 2, 11, 12}, true)
	f("what has expired since the policy was set", 12*time.Hour, []int{1, 2, 10, 10}, false)
}

// topicOfDays stores segments whose last records are as many days and one to two hours old, the latest first.
func (w *world) topicOfDays(topic string, days int) (keys []string) {
	now := w.clock.now()
	for n := range days {
		from := now.AddDate(0, 0, -n).Add(-2 * time.Hour)
		w.clock.advance(from.Add(90 * time.Minute).Sub(w.clock.now())) // it is stored then
		keys = append(keys, w.put(topic, 1<<len(w.copies)-1, w.records(topic, 30, from, time.Hour))...)
	}
	w.clock.advance(now.Sub(w.clock.now()))
	return keys
}

func TestRetention(t *testing.T) {
	there := func(w *world, keys []string, want string) {
		t.Helper()
		for i, b := range w.copies {
			have := ""
			for _, key := range keys {
				have += fmt.Sprint(has(t, b, key))
			}
			if have != want {
				t.Errorf("copy %d: have %s, want %s", i, have, want)
			}
		}
	}
	t.Run("by topic", func(t *testing.T) {
		w := newWorld(t, 1, 2)
		web, mail, audit := w.topicOfDays("web", 12), w.topicOfDays("mail", 12), w.topicOfDays("audit", 12)
		all := keysOf(t, w.copies[0])
		w.setPolicy(11*oneDay, map[string]Keep{"web": Keep(10 * oneDay), "audit": 0})
		before := []map[string]string{keysOf(t, w.copies[0]), keysOf(t, w.copies[1])}
		dry := w.config()
		dry.DryRun = true
		r, err := w.tryRun(dry)
		if err != nil || r.Expired != 3 || len(r.ExpiredKeys) != 3 || !slices.Contains(r.ExpiredKeys, web[11]) || r.ExpiredBytes == 0 || !r.DryRun {
			t.Errorf("a dry run: %+v, %v", r, err)
		}
		for i, b := range w.copies {
			if !maps.Equal(before[i], keysOf(t, b)) {
				t.Errorf("a dry run has changed copy %d", i)
			}
		}
		r, err = w.tryRun(w.config())
		if err != nil || r.Expired != 3 || r.ExpiredBytes == 0 || len(r.Refused) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		there(w, web, "111111111100")
		there(w, mail, "111111111110")
		there(w, audit, "111111111111")
		for i := range w.copies {
			if have := inTrash(t, w, i); len(have) != 3 || !slices.Contains(have, web[10]) || !slices.Contains(have, mail[11]) {
				t.Errorf("the trash of copy %d: %q", i, have)
			}
		}
		for key, data := range keysOf(t, w.copies[0]) {
			if at, topic, n, err := parseTrash(key); err == nil {
				if data != all[n.Key(topic)] || !at.Equal(w.clock.now()) {
					t.Errorf("%s is not what was there", key)
				}
			}
		}
	})
	t.Run("as configured", func(t *testing.T) {
		w := newWorld(t, 2, 2)
		web := w.topicOfDays("web", 12)
		cfg := w.config()
		cfg.Retention = 11 * oneDay
		w.run(cfg)
		there(w, web, "111111111110")
		w.setPolicy(-1, map[string]Keep{"web": 0}) // the policy comes before it
		w.clock.advance(oneDay)
		w.run(cfg)
		there(w, web, "111111111110")
	})
	t.Run("too much", func(t *testing.T) {
		w := newWorld(t, 3, 2)
		web, mail := w.topicOfDays("web", 12), w.topicOfDays("mail", 12)
		w.setPolicy(11*oneDay, map[string]Keep{"web": Keep(8 * oneDay)})
		r, err := w.tryRun(w.config())
		if !errors.Is(err, ErrTooMuch) || len(r.Refused) != 1 || !strings.Contains(r.Refused[0], "--yes") || !strings.Contains(r.Refused[0], "web") || r.Sound() {
			t.Errorf("%+v, %v", r, err)
		}
		there(w, web, "111111111111")
		there(w, mail, "111111111110") // the others are not held up
		yes := w.config()
		yes.Yes = true
		w.run(yes)
		there(w, web, "111111110000")
		// From now on a day goes each day, without being asked for.
		for range 3 {
			w.clock.advance(oneDay)
			w.put("web", 3, w.records("web", 30, w.clock.now().Add(-time.Hour), time.Hour))
			w.run(w.config())
		}
		if n := has(t, w.copies[0], web...); n != 5 {
			t.Errorf("%d of the first days are there", n)
		}
	})
	t.Run("a policy that cannot be understood", func(t *testing.T) {
		for _, text := range []string{`{"version":2,"all":"1h"}`, `{"version":1,"all":"1h","more":1}`, `{"version":1,`, ""} {
			w := newWorld(t, 4, 2)
			web := w.topicOfDays("web", 3)
			w.setPolicy(oneDay, nil)
			w.clock.advance(time.Minute)
			w.rawPolicy(3, text)
			cfg := w.config()
			cfg.Yes, cfg.Retention = true, time.Hour
			r, err := w.tryRun(cfg)
			if !errors.Is(err, ErrPolicy) || len(r.Refused) != 1 || r.Expired > 0 {
				t.Errorf("%s: %+v, %v", text, r, err)
			}
			there(w, web, "111")
		}
	})
	t.Run("a bucket is away", func(t *testing.T) {
		for _, op := range []buckettest.Op{buckettest.List, buckettest.Put} {
			w := newWorld(t, 5, 2)
			web := w.topicOfDays("web", 12)
			w.setPolicy(11*oneDay, nil)
			cfg := w.config()
			cfg.Quorum = 1
			cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
				if c.Op == op {
					return buckettest.Fault{Err: errCrash}
				}
				return buckettest.Fault{}
			}}
			if r, err := w.tryRun(cfg); err != nil || r.Sound() || r.Expired > 0 || len(r.Refused) == 0 {
				t.Errorf("%s: %+v, %v", op, r, err)
			}
			there(w, web, "111111111111")
		}
		// It goes away when the policy has been read.
		w := newWorld(t, 5, 2)
		web := w.topicOfDays("web", 12)
		w.setPolicy(11*oneDay, nil)
		cfg := w.config()
		cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: func(c buckettest.Call) buckettest.Fault {
			if c.Op == buckettest.List && c.Key == "web/" {
				return buckettest.Fault{Err: errCrash, After: 2}
			}
			return buckettest.Fault{}
		}}
		if r, _ := w.tryRun(cfg); r.Expired > 0 || len(r.Refused) == 0 {
			t.Errorf("%+v", r)
		}
		there(w, web, "111111111111")
	})
}

// Clocks that are wrong, and logs that are brought in late, lose nothing before their time.
func TestSkew(t *testing.T) {
	w := newWorld(t, 6, 2)
	day := w.clock.now().Truncate(oneDay)
	ahead := w.put("web", 3, w.records("web", 20, time.Date(2099, 5, 1, 3, 0, 0, 0, time.UTC), time.Hour))
	never := w.put("web", 3, w.records("web", 20, time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC), time.Hour))
	late := w.put("web", 3, w.records("web", 20, day.AddDate(0, 0, -30), time.Hour))
	w.put("web", 3, w.records("web", 2000, day.Add(time.Hour), time.Hour))
	w.put("web", 3, w.records("web", 20, w.clock.now().Add(5*time.Minute), time.Minute)) // that much is usual
	w.setPolicy(7*oneDay, nil)
	r := w.run(w.config())
	var named []string
	for _, s := range r.Skews {
		named = append(named, s.Key)
		if s.First.After(s.Last) || s.First.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	slices.Sort(named)
	if want := []string{never[0], ahead[0]}; r.Skewed != 2 || !slices.Equal(named, want) {
		t.Errorf("absurd times: have %q, want %q", named, want)
	}
	left := func() string {
		return fmt.Sprint(has(t, w.copies[0], never...), has(t, w.copies[1], late...), has(t, w.copies[0], ahead...))
	}
	w.clock.advance(7*oneDay - time.Minute)
	w.put("web", 3, w.records("web", 2000, w.clock.now().Add(-2*time.Hour), time.Hour))
	w.run(w.config())
	if left() != "1 1 1" {
		t.Errorf("before their time: %s are there", left())
	}
	w.clock.advance(time.Minute)
	w.run(w.config())
	if left() != "0 0 1" {
		t.Errorf("a week after they came in: %s are there", left())
	}
}
