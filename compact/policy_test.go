package compact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
)

func TestDecodePolicy(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1}`: `{"version":1}`,
		`{"version":1,"all":"720h","topics":{"web":"forever","mail":"1h30m"}}`: `{"version":1,"all":"720h0m0s","topics":{"mail":"1h30m0s","web":"forever"}}`,
		`{"version":1,"all":null}`:               `{"version":1}`,
		"  {\"version\":1}\n\n":                  `{"version":1}`,
		``:                                       "",
		`null`:                                   "",
		`[]`:                                     "",
		`{}`:                                     "",
		`{"version":2}`:                          "",
		`{"version":0}`:                          "",
		`{"version":-1}`:                         "",
		`{"version":1}{"version":1}`:             "",
		`{"version":1} x`:                        "",
		`{"version":1,"some":"720h"}`:            "",
		`{"version":1,"all":"720"}`:              "",
		`{"version":1,"all":720}`:                "",
		`{"version":1,"all":""}`:                 "",
		`{"version":1,"all":"0s"}`:               "",
		`{"version":1,"all":"-1h"}`:              "",
		`{"version":1,"all":"9999999999999h"}`:   "",
		`{"version":1,"topics":{"../x":"1h"}}`:   "",
		`{"version":1,"topics":{"web":"never"}}`: "",
		`{"version":1,"topics":["web"]}`:         "",
		strings.Repeat("[", 100_000):             "",
	} {
		p, err := decodePolicy([]byte(text))
		if want == "" {
			if !errors.Is(err, ErrPolicy) {
				t.Errorf("%.60s: have %+v, %v", text, p, err)
			}
			if p.Version != 0 || p.All != nil || p.Topics != nil {
				t.Errorf("%.60s: an error, and %+v", text, p)
			}
			continue
		}
		have, _ := json.Marshal(p)
		if err != nil || string(have) != want {
			t.Errorf("%.60s: have %s, %v, want %s", text, have, err, want)
		}
	}
}

func TestKeep(t *testing.T) {
	hour, forever := Keep(time.Hour), Keep(0)
	all := Policy{Version: 1, All: &hour, Topics: map[string]Keep{"web": Keep(2 * time.Hour), "audit": forever}}
	named := Policy{Version: 1, Topics: all.Topics}
	none := Policy{}
	f := func(p Policy, retention time.Duration, topic string, want time.Duration, since bool) {
		t.Helper()
		p.Since = day0
		w := newWorld(t, 1, 1)
		cfg := w.config()
		cfg.Retention = retention
		c := w.compactor(cfg)
		c.policy = p
		keep, at := c.keep(topic)
		if keep != Keep(want) || at.IsZero() == since {
			t.Errorf("%s: have %v since %v, want %v", topic, time.Duration(keep), at, want)
		}
	}
	f(all, 3*time.Hour, "web", 2*time.Hour, true)
	f(all, 3*time.Hour, "audit", 0, true)
	f(all, 3*time.Hour, "mail", time.Hour, true)
	f(named, 3*time.Hour, "web", 2*time.Hour, true)
	f(named, 3*time.Hour, "audit", 0, true)
	f(named, 3*time.Hour, "mail", 3*time.Hour, false)
	f(named, 0, "mail", 0, false)
	f(none, 3*time.Hour, "web", 3*time.Hour, false)
}

// setPolicy puts a policy in force.
func (w *world) setPolicy(all time.Duration, topics map[string]Keep) {
	w.t.Helper()
	p := Policy{Topics: topics}
	if all >= 0 {
		keep := Keep(all)
		p.All = &keep
	}
	c := w.compactor(w.config())
	c.begin()
	if err := c.SetPolicy(context.Background(), p); err != nil {
		w.t.Fatal(err)
	}
	w.ended(c)
}

// rawPolicy puts an object in the place of a policy of now.
func (w *world) rawPolicy(in Set, text string) string {
	w.t.Helper()
	key := policyPrefix + segment.AtTime(w.clock.now()).String() + policySuffix
	for i := range in.each {
		overwrite(w.t, w.copies[i], key, []byte(text))
	}
	return key
}

func TestPolicyInForce(t *testing.T) {
	w := newWorld(t, 1, 2)
	read := func() (Policy, error) {
		c := w.compactor(w.config())
		defer w.ended(c)
		c.begin()
		return c.ReadPolicy(context.Background())
	}
	is := func(want time.Duration, when string) {
		t.Helper()
		p, err := read()
		if keep, ok := p.Of("web"); err != nil || !ok || keep != Keep(want) || p.Since.IsZero() || p.Key == "" {
			t.Fatalf("%s: have %+v, %v", when, p, err)
		}
	}
	if p, err := read(); err != nil || p.Key != "" || !p.Since.IsZero() {
		t.Errorf("none: %+v, %v", p, err)
	}
	w.setPolicy(time.Hour, nil)
	is(time.Hour, "the first")
	w.clock.advance(time.Minute)
	w.setPolicy(2*time.Hour, nil)
	w.setPolicy(3*time.Hour, nil) // in the same millisecond
	is(3*time.Hour, "the last")
	w.clock.advance(-time.Hour)
	w.setPolicy(4*time.Hour, nil)
	is(4*time.Hour, "set by a clock that is behind")
	w.clock.advance(2 * time.Hour)
	if keys := keysOf(t, w.copies[0]); len(keys) != 4 || !maps.Equal(keys, keysOf(t, w.copies[1])) {
		t.Errorf("what was in force before is kept, in both copies: %d", len(keys))
	}
	overwrite(t, w.copies[0], policyPrefix+"zzz.json", []byte("{"))
	is(4*time.Hour, "something else lies there")

	key := w.rawPolicy(2, `{"version":1,"all":"5h"}`)
	is(5*time.Hour, "one copy has a later one")
	overwrite(t, w.copies[0], key, []byte(`{"version":1,"all":~5h"}`))
	is(5*time.Hour, "a copy is damaged")
	overwrite(t, w.copies[0], key, []byte(`{"version":1,"all":"1h"}`))
	if p, err := read(); !errors.Is(err, ErrPolicy) {
		t.Errorf("two copies say different things: %+v, %v", p, err)
	}
	for _, bad := range []string{`{"version":2}`, `{`, strings.Repeat("x", maxPolicy+1)} {
		w.clock.advance(time.Hour)
		w.rawPolicy(3, bad)
		if p, err := read(); !errors.Is(err, ErrPolicy) || p.All != nil || p.Topics != nil {
			t.Errorf("%.20s: %+v, %v", bad, p, err)
		}
	}
	// It can be replaced, and by a clock that is behind its own.
	w.clock.advance(-30 * time.Minute)
	w.setPolicy(6*time.Hour, nil)
	is(6*time.Hour, "behind a bad one")

	cfg := w.config()
	cfg.Copies[1].Bucket = &buckettest.Faulty{Next: w.copies[1], Hook: buckettest.FailAll(errCrash)}
	c := w.compactor(cfg)
	c.begin()
	if p, err := c.ReadPolicy(context.Background()); err == nil || errors.Is(err, ErrPolicy) {
		t.Errorf("without a bucket: %+v, %v", p, err)
	}
	if err := c.SetPolicy(context.Background(), Policy{}); err == nil {
		t.Error("it was set without a bucket")
	}
	c = w.compactor(w.config())
	if err := c.SetPolicy(context.Background(), Policy{Topics: map[string]Keep{"a/b": 1}}); !errors.Is(err, ErrPolicy) {
		t.Errorf("one that cannot be read: %v", err)
	}
}

// Whatever lies in the place of a policy is understood as it will be again when it is written anew, or is refused.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"version":1,"all":"720h","topics":{"web":"forever","mail":"1h30m"}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"topics":{"../x":"1h"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePolicy(b)
		if err != nil {
			if !errors.Is(err, ErrPolicy) {
				t.Fatal(err)
			}
			return
		}
		for topic, keep := range p.Topics {
			if segment.CheckTopic(topic) != nil || keep < 0 {
				t.Fatalf("%q: %d", topic, keep)
			}
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := decodePolicy(again)
		if err != nil || fmt.Sprint(p2.Topics) != fmt.Sprint(p.Topics) || (p.All == nil) != (p2.All == nil) || p.All != nil && *p.All != *p2.All {
			t.Fatalf("%s became %s: %v", b, again, err)
		}
	})
}

// lying is a bucket whose listings and Stats tell another size.
type lying struct {
	objstore.Bucket
	size int64
}

func (b lying) Stat(ctx context.Context, key string) (objstore.Info, error) {
	info, err := b.Bucket.Stat(ctx, key)
	info.Size = b.size
	return info, err
}

func (b lying) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			info.Size = b.size
			if !yield(info, err) {
				return
			}
		}
	}
}

// Sizes that a bucket tells are not believed before memory is taken.
func TestHostileSizes(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.put("web", 1, w.records("web", 10, day0, time.Hour))
	w.rawPolicy(1, `{"version":1}`)
	for _, size := range []int64{0, 1, 1 << 20, 1 << 40, 1<<63 - 1} {
		cfg := w.config()
		cfg.Copies[0].Bucket = lying{w.copies[0], size}
		c := w.compactor(cfg)
		c.begin()
		if p, err := c.ReadPolicy(context.Background()); err == nil {
			t.Errorf("%d bytes of policy: %+v", size, p)
		}
		if r, _ := c.Run(context.Background()); r.Merges > 0 || r.Deleted > 0 {
			t.Errorf("%d bytes: %+v", size, r)
		}
		if r, err := c.Repair(context.Background(), true); err == nil && len(r.Lost) == 0 {
			t.Errorf("a repair of %d bytes: %+v", size, r)
		}
		w.ended(c)
	}
	if !bytes.HasPrefix([]byte(keysOf(t, w.copies[0])[clockKey]), []byte("oklog")) {
		t.Error("nothing ran")
	}
}
