package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
)

// Queries from the network are refused where they cannot be asked.
func TestHostileQueries(t *testing.T) {
	const ids = `"from":"00000000000000000000000000","to":"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"`
	f := func(want, text string) {
		t.Helper()
		q := Query{Topic: "before"}
		err := json.Unmarshal([]byte(text), &q)
		if err == nil || !strings.Contains(err.Error(), "decode query: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
			t.Errorf("%.100s: want an error about %s, have %v", text, want, err)
		}
		if q.Topic != "before" {
			t.Errorf("%.100s: it has become %+v", text, q)
		}
	}
	f("topic", `null`)
	f("topic", `{}`)
	f("topic", `{"topic":"A/../B",`+ids+`}`)
	f("ULID", `{"topic":"t","from":"!!!!!!!!!!!!!!!!!!!!!!!!!!"}`)
	f("ULID", `{"topic":"t","from":"8ZZZZZZZZZZZZZZZZZZZZZZZZZ"}`)
	f("ULID", `{"topic":"t","to":""}`)
	f("unknown field", `{"topic":"t",`+ids+`,"where_not_known":["a"]}`)
	f("unknown field", `{"topic":"t",`+ids+`,"pattern":{"texts":[],"fuzzy":true}}`)
	f("limit -1", `{"topic":"t",`+ids+`,"limit":-1}`)
	f("cannot unmarshal", `{"topic":"t",`+ids+`,"limit":1e300}`)
	f("-5 bytes", `{"topic":"t",`+ids+`,"max_bytes":-5}`)
	f("context of 10001", `{"topic":"t",`+ids+`,"before":10001}`)
	f("context of 0 and -1", `{"topic":"t",`+ids+`,"after":-1}`)
	f("base64", `{"topic":"t",`+ids+`,"sources":["="]}`)
	f("want KEY=VALUE", `{"topic":"t",`+ids+`,"sources":["YQ=="]}`)
	f("bytes: at most", `{"topic":"t",`+ids+`,"sources":["`+strings.Repeat("A", maxWireQuery)+`"]}`)
	many, err := json.Marshal(wireQuery{Topic: "t", Sources: bytes.SplitAfter([]byte(strings.Repeat("a=b;", 65)), []byte{';'})})
	if err != nil {
		t.Fatal(err)
	}
	f("at most 64", string(many))
	large, err := json.Marshal(wireQuery{Topic: "t", Pattern: &wirePattern{Texts: [][]byte{[]byte(strings.Repeat("[ab]{1000}", 25))}, Regex: true}})
	if err != nil {
		t.Fatal(err)
	}
	f("too large", string(large))
}

// Conditions on sources that are too large, or not what they look like, are refused.
func TestBadSources(t *testing.T) {
	f := func(want, cond string) {
		t.Helper()
		if _, err := ParseSources([]string{cond}); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
			t.Errorf("%.80s: want %q, have %v", cond, want, err)
		}
	}
	f("unexpected )", "host=~a)|(b")
	f("longer than 4096 bytes", "host=~"+strings.Repeat("a", 4097))
	f("too large", "host=~"+strings.Repeat("[ab]{1000}", 25))
	f("longer than 1024 bytes", "host="+strings.Repeat("a", 1025))
	f("longer than 128 bytes", strings.Repeat("k", 129)+"=a")
	for cond, value := range map[string]string{`host=~\Qa.b`: "a.b", "host=~a.b": "a\nb", "host=~(?i)A|b": "a", "host=~": ""} {
		s, err := ParseSources([]string{cond})
		if err != nil || !s.Match(segment.Source{{Key: "host", Value: value}}) || s.Match(segment.Source{{Key: "host", Value: value + "x"}}) {
			t.Errorf("%s: %v", cond, err)
		}
	}
}

// FuzzQueryJSON feeds any JSON to the decoder of queries. What it takes is the same query again, and can be asked.
func FuzzQueryJSON(f *testing.F) {
	for _, r := range []Request{
		{Topic: "t", From: "2026-11-20", To: "2026-11-21"},
		{Topic: "web", From: "2026-11-20", To: "2026-11-23", Patterns: []string{"a\xffb", "record"}, IgnoreCase: true, Invert: true, Sources: []string{"host=~w.*", "a!=b"}, Newest: true, Limit: 3},
		{Topic: "web", From: "2026-11-20", To: "2026-11-23", Patterns: []string{"[0-9]+", "x(a|b)*"}, Regex: true, Word: true, MaxBytes: 9, CountOnly: true, Before: 1, After: 2, Brute: true},
	} {
		q, err := r.Compile(querytest.Day0)
		if err != nil {
			f.Fatal(err)
		}
		b, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`null`))
	f.Add([]byte(`{"topic":"web","pattern":{"texts":[null,""]},"sources":[null],"ids_only":true}`))
	mem := objstore.NewMemory("test", time.Now)
	querytest.Store(f, mem, "web", 0, 400, lines(1, querytest.Day0, 30))
	e := newEngine(f, Config{Bucket: mem, Workers: 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var q Query
		if err := json.Unmarshal(data, &q); err != nil {
			return
		}
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var again Query
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatalf("%v: of %s", err, b)
		}
		if c, err := json.Marshal(again); err != nil || !bytes.Equal(b, c) {
			t.Fatalf("%v: %s became %s", err, b, c)
		}
		n := int64(0)
		if ans, err := e.Run(t.Context(), q, func(Record) error { n++; return nil }); err != nil && q.MaxBytes == 0 || ans == nil || !q.CountOnly && q.Before+q.After == 0 && ans.Count != n {
			t.Fatalf("%s: %v, %d records of %+v", b, err, n, ans)
		}
	})
}

// FuzzAnswerJSON feeds any JSON to the decoder of answers.
func FuzzAnswerJSON(f *testing.F) {
	a := &Answer{Count: 3, Required: "a"}
	a.note(Problem{Key: "k", Err: fmt.Errorf("%w: x", ErrGone), First: segment.AtTime(querytest.Day0), Last: segment.AtTime(querytest.Day0)})
	a.note(Problem{Err: ErrManySources})
	b, err := json.Marshal(a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"problems":[{"kind":"gone","first":"8ZZZZZZZZZZZZZZZZZZZZZZZZZ"},null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var have Answer
		if err := json.Unmarshal(data, &have); err != nil {
			return
		}
		sum := &Answer{}
		sum.Add(&have)
		if len(sum.Problems) > MaxProblems {
			t.Fatalf("%d problems", len(sum.Problems))
		}
		for _, p := range sum.Problems {
			_ = p.String()
		}
		if _, err := json.Marshal(sum); err != nil {
			t.Fatal(err)
		}
	})
}
