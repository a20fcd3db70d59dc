package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

func TestCompileTellsTheParameter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := func(param, text string, r Request) {
		t.Helper()
		_, err := r.Compile(now)
		e, ok := errors.AsType[*ParamError](err)
		if !ok || e.Param != param || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: want %q about %s, have %v", r, text, param, err)
		}
	}
	f("topic", "--topic is missing", Request{})
	f("topic", "--topic", Request{Topic: "A B"})
	f("from", "--from 5: ", Request{Topic: "t", From: "5"})
	f("to", "--to x", Request{Topic: "t", To: "x"})
	f("from", "--from was not given, and is 1h then", Request{Topic: "t", To: "2d"})
	f("pattern", "leave out --regex", Request{Topic: "t", Patterns: []string{"("}, Regex: true})
	f("where", "--where: bad expression: at byte 3: want a value", Request{Topic: "t", Where: []string{"a="}})
	f("source", "--source web1: want KEY=VALUE", Request{Topic: "t", Sources: []string{"web1"}})
	f("source", "--source =x", Request{Topic: "t", Sources: []string{"=x"}})
	f("source", "missing closing", Request{Topic: "t", Sources: []string{"a=~("}})
	f("limit", "--limit -1", Request{Topic: "t", Limit: -1})
	f("max-bytes", "--max-bytes -1", Request{Topic: "t", MaxBytes: -1})
	f("before", "--before-context -1", Request{Topic: "t", Before: -1})
	f("after", "--after-context 10001", Request{Topic: "t", After: 10001})
}

func TestSmartCase(t *testing.T) {
	f := func(ignores, regex bool, patterns ...string) {
		t.Helper()
		q, err := (&Request{Topic: "t", Patterns: patterns, Regex: regex, SmartCase: true}).Compile(time.Now())
		if err != nil || q.Pattern.Pattern().IgnoreCase != ignores {
			t.Errorf("%q: want %v, have %v: %v", patterns, ignores, !ignores, err)
		}
	}
	f(true, false, "error")
	f(false, false, "Error")
	f(false, false, "error", "É")
	f(true, true, `\S+ \pL \W error\b`)
	f(false, true, `\S+ Error`)
	f(true, true, `[^a]x`)
	f(false, true, `[AB]x`)
	f(false, false, `\S`)
}

func TestSources(t *testing.T) {
	web := segment.Source{{Key: "file", Value: "/a=b"}, {Key: "host", Value: "web1"}}
	f := func(want bool, conds ...string) {
		t.Helper()
		s, err := ParseSources(conds)
		if err != nil {
			t.Fatal(err)
		}
		if have := s.Match(web); have != want {
			t.Errorf("%q: want %v, have %v", conds, want, have)
		}
	}
	f(true, "host=web1")
	f(false, "host=web")
	f(false, "host!=web1")
	f(true, "host!=web2")
	f(true, "host=~web[0-9]")
	f(false, "host=~web")
	f(true, "host!~web")
	f(true, "host=~(?i)WEB.")
	f(true, "file=/a=b")
	f(true, "zone=", "zone!=a", "zone!~.+")
	f(false, "zone=a")
	f(false, "host=web1", "file=x")
	f(true, "host=~a|web1")
	if s, err := ParseSources(nil); s != nil || err != nil {
		t.Errorf("of nothing: have %v, %v", s, err)
	}
}

func TestQueryOnTheWire(t *testing.T) {
	r := Request{Topic: "t", From: "2026-11-22", To: "2026-11-23", Patterns: []string{"a\xffb", "c"}, IgnoreCase: true, Word: true, Invert: true,
		Where: []string{"a=1 or \"\\xff\"", "c\xff"}, Sources: []string{"host=~w.*"}, Newest: true, Limit: 3, Before: 1, After: 2, CountOnly: true, Brute: true, MaxBytes: 9}
	f := func(r Request) {
		t.Helper()
		q, err := r.Compile(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var have Query
		if err := json.Unmarshal(b, &have); err != nil {
			t.Fatalf("%v of %s", err, b)
		}
		again, err := json.Marshal(have)
		if err != nil || string(again) != string(b) {
			t.Errorf("want %s, have %s: %v", b, again, err)
		}
		if q.Where != nil && have.Where.String() != q.Where.String() {
			t.Errorf("where is %q, have %q", q.Where, have.Where)
		}
		if q.Pattern != nil && cmp.Diff(q.Pattern.Pattern(), have.Pattern.Pattern()) != "" {
			t.Errorf("another pattern: %s", cmp.Diff(q.Pattern.Pattern(), have.Pattern.Pattern()))
		}
	}
	r.Word = false // which takes a regular expression, and that UTF-8
	f(r)
	r.Word, r.Patterns = true, []string{"c"}
	f(r)
	f(Request{Topic: "t", From: "2026-11-22"})
}

func TestProblemOnTheWire(t *testing.T) {
	f := func(p Problem) {
		t.Helper()
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var have Problem
		if err := json.Unmarshal(b, &have); err != nil {
			t.Fatal(err)
		}
		if have.String() != p.String() || errors.Is(have.Err, ErrGone) != errors.Is(p.Err, ErrGone) {
			t.Errorf("want %s, have %s", p, have)
		}
		a := &Answer{}
		a.note(have)
		again := have
		again.Err = &toldError{text: have.Err.Error()}
		a.note(again)
		if len(a.Problems) != 1 {
			t.Errorf("the same problem is noted twice")
		}
	}
	f(Problem{Key: "k", Err: fmt.Errorf("%w: x", ErrGone), First: ulid.ULID{1}, Last: ulid.ULID{2}})
	f(Problem{Err: errors.New("some")})
}
