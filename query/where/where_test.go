package where

import (
	"errors"
	"strings"
	"testing"

	"oklog/objstore/segment"
)

// holds tells whether an expression holds of a record, and sees to it that what is required of it is true then.
func holds(t *testing.T, text, record string) bool {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if e.String() != text {
		t.Errorf("%q is %q as a text", text, e)
	}
	have := e.Matcher().Match([]byte(record))
	checkUses(t, e, record, have)
	return have
}

// checkUses holds what is made of an expression against a record of which it holds.
func checkUses(t *testing.T, e *Expr, record string, holds bool) {
	t.Helper()
	if !holds {
		return
	}
	if r := e.Required(); !r.Match([]byte(record)) {
		t.Errorf("%s holds of %q, and requires %s", e, record, r)
	}
	if p := e.Program(); p != nil && !p.Searcher().Match([]byte(record)) {
		t.Errorf("%s holds of %q, and the program does not find it: %+v", e, record, p.Pattern())
	}
	if p := e.PlainProgram(); p != nil && !segment.Escaped([]byte(record)) && !p.Searcher().Match([]byte(record)) {
		t.Errorf("%s holds of %q, and the program for plain texts does not find it: %+v", e, record, p.Pattern())
	}
}

const event = ` {"level":"error","status":500,"ratio":0.25,"id":9007199254740993,"user":{"id":"17","name":"M\u00fcller \"M\"","admin":true},
	"items":[{"x":1},{"x":"two"},{"y":[3,4]}],"http.method":"GET","a":{"b.c":"d"},"none":null,"empty":"","path":"\/api\/v1","tags":["one","two"],
	"msg":"\u0063onnection reset", "big":1e400, "list":[], "k8s":{"app.kubernetes.io/name":"web"}} `

// Whether an expression asks for a field that has no value of JSON or does not makes no difference to what it says of others.
func TestNoValueOfJSON(t *testing.T) {
	for _, word := range []string{"NaN", "Infinity", "None", "True", "undefined", "nul"} {
		record := `{"a":` + word + `,"level":"error","in":[` + word + `,7],"o":{"x":` + word + `}}`
		for text, want := range map[string]bool{
			`level=error`: true, `level=error OR a>100`: true, `level=error a!=5`: true, `level=error exists(a)`: false, `level=error NOT exists(b)`: true,
			`a=5`: false, `a=` + word: false, `in[1]=7 in[0]!=7`: true, `in[]=7`: true, `o.x=1`: false, `exists(o.x)`: false, `exists(o)`: true,
		} {
			if have := holds(t, text, record); have != want {
				t.Errorf("%s of %s: %v", text, record, have)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	f := func(want bool, text string, record string) {
		t.Helper()
		if have := holds(t, text, record); have != want {
			t.Errorf("%s: want %v, have %v of %s", text, want, have, record)
		}
	}
	yes := func(text string) { t.Helper(); f(true, text, event) }
	no := func(text string) { t.Helper(); f(false, text, event) }

	// Texts and how they are joined.
	yes(`error`)
	no(`errors`)
	yes(`error reset`)
	no(`error absent`)
	yes(`error or absent`)
	yes(`absent OR error`)
	yes(`absent || error && reset`)
	no(`absent && error || absent && reset`)
	yes(`absent && error || reset`)
	no(`absent && (error || reset)`)
	yes(`NOT absent`)
	yes(`not not error`)
	yes(`!absent !(absent or gone)`)
	yes(`"level\":\"error"`)
	no(`'"level":"Error"'`)
	yes(`'"level":"error"'`)
	yes(`"\u004D\u005cu00fcller"`)
	yes(`"\x4D"`)
	yes(`/LEVEL/i /err.r"/`)
	no(`/LEVEL/`)
	yes(`/\\\/api/`)
	yes(`"level"`)
	yes(`and=x or error`)
	yes(`not!=x`)
	yes(`error AND NOT absent`)

	// Numbers.
	yes(`status=500`)
	yes(`status = 500.0`)
	yes(`status==5e2`)
	yes(`status>=500 status<=500 status>499.99 status<1e3`)
	no(`status>500`)
	no(`status<500`)
	no(`status!=500`)
	yes(`status!=501`)
	yes(`status="500"`)
	no(`status="5e2"`)
	yes(`id=9007199254740993`)
	no(`id=9007199254740992`)
	yes(`id>9007199254740992`)
	yes(`ratio=.25 or ratio=0.25`)
	yes(`ratio<0.3`)
	yes(`user.id=17`)
	yes(`user.id>=17.0`)
	yes(`user.id<100`)
	no(`user.id<"100" and user.id>"170"`)
	no(`level>5`)
	no(`level<5`)
	no(`level=5`)
	yes(`level!=5`)
	yes(`big>1e399 big<1e401 big=10e399`)
	no(`none=0`)

	// Texts of fields.
	yes(`level=error`)
	yes(`level="error"`)
	no(`level=erro`)
	no(`level=Error`)
	yes(`level>=error level<f level>"err"`)
	yes(`user.name="Müller \"M\""`)
	yes(`user.name='M\u00fcller "M"'`)
	yes(`.user.name=~/^M.ller/`)
	yes(`user.name=~/^m.*"m"$/i`)
	yes(`user.name=~"^M.*\"M\"$"`)
	yes(`user.name!~/muller/`)
	no(`user.name!~/ller/`)
	yes(`path=~/^\/api\//`)
	yes(`path=/api/v1`)
	yes(`path="\/api/v1"`)
	yes(`contains(path, "/api")`)
	yes(`CONTAINS( path ,api/v )`)
	no(`contains(path, "/API")`)
	yes(`msg="connection reset"`)
	yes(`contains(msg, "connection")`)
	yes(`msg=~/^conn/`)
	no(`"connection reset"`) // as it stands, it does not
	yes(`user.admin=true`)
	yes(`user.admin="true"`)
	no(`user.admin=1`)
	yes(`none=null`)
	no(`none=""`)
	yes(`empty=""`)
	no(`absent=""`)
	yes(`absent!=""`)

	// What is there, and what is not.
	yes(`exists(level)`)
	yes(`exists(none) exists(user) exists(items) exists(empty) exists( user.id )`)
	no(`exists(user.absent) or exists(level.x) or exists(x)`)
	no(`user="x" or user=~/./ or user<z or contains(user, "")`)
	yes(`user!="x"`)
	yes(`!exists(absent)`)

	// Paths.
	yes(`items[0].x=1`)
	no(`items[0].x=two`)
	yes(`items[].x=two`)
	yes(`items[].x=1 items[].x!=3`)
	no(`items[].x!=1`)
	yes(`items[2].y[1]=4`)
	yes(`items[].y[]>3`)
	no(`items[].y[]>4`)
	no(`items[3].x!=absent and exists(items[3])`)
	yes(`tags[]=two tags[0]=one`)
	no(`tags=one or exists(tags.x) or exists(user[0]) or exists(user[])`)
	no(`exists(list[])`)
	yes(`http.method=GET`)
	yes(`"http.method"=GET`)
	yes(`a.b.c=d`)
	yes(`a."b.c"=d`)
	no(`"a.b".c=d`)
	yes(`k8s.app.kubernetes.io/name=web`)
	yes(`k8s."app.kubernetes.io/name"=web`)
	yes(`'level'=error`)

	// Logfmt.
	line := `ts=2026-11-25T10:00:00Z level=warn msg="a \"quoted\" text" status=503 debug user.id=7 path=/x?a=b level=later  dur=1.5s empty= q="" n="12"`
	f(true, `level=warn status>=500 status<504`, line)
	f(false, `level=later`, line)
	f(true, `msg="a \"quoted\" text"`, line)
	f(true, `msg=~/"quoted"/ exists(debug) debug="" empty="" q=""`, line)
	f(true, `user.id=7 path=/x?a=b`, line)
	f(true, `n=12 n>11`, line)
	f(true, `ts>="2026-11-25T09" ts<2026-11-26`, line)
	f(false, `exists(a) or exists(quoted) or exists(text)`, line)
	f(false, `dur>1`, line)
	f(true, `items[].x!=1`, line)
	f(true, `a=1`, "a=1")
	f(true, `a="b c`+`"`, `a="b c`) // which does not end
	f(false, `a=1`, ``)
	f(true, `"a b"!=1 exists(k)`, "a b\x00 k")
	f(true, `b=2`, "=1 ==\" b=2")

	// What is damaged, repeated or odd.
	f(true, `a=1 !exists(c)`, `{"a":1,"b":{"c":`)
	f(false, `exists(a)`, `{"a":`)
	f(false, `exists(a)`, `{"a":}`)
	f(false, `exists(a)`, `{"a":"`)
	f(true, `exists(a) a=""`, `{"a":""`)
	f(false, `a=""`, `{"a":"x\"`)
	f(false, `exists(b)`, `{a:1,"b":2}`)
	f(true, `b=2`, `{"a":[1,{"b":3},"]}"],"b":2}`)
	f(true, `b=2`, "{\"a\\\"b\":[[[]]],\n\"b\"\t:\r2 }")
	f(false, `exists(a)`, `{"a":error}`)
	f(true, `exists(a) or exists(b)`, `{"a":truefalse,"b":1}`)
	f(true, `b=1`, `{"a":error,"b":1}`)
	f(true, `a=1`, `{"a":1,"a":2}`)
	f(true, `user.name="connection"`, `user.name="connection`)
	f(true, `user.name="connection"`, `user.name=connection`)
	f(true, `user.name="connection"`, `{"user.name":"connectio\u006E"}`)
	f(true, `user.trace_id="\x2dconnection" exists(user.trace_id)`, `{"user.\u0074\u0072ace_id":"\u002Dconnection"}`)
	f(true, `name="-connection"`, `{"name":-connection}`)
	f(true, `a.b=2`, `{"a":1,"a":{"b":2}}`)
	f(true, `a.b=1`, `{"a.b":2,"a":{"b":1}}`)
	f(true, `a.b=1`, `{"a":{"b":1},"a.b":2}`)
	f(true, `a[]=1 a[]=2`, `{"a":[1],"a":[2]}`)
	f(true, `a=1`, `{"\u0061":1}`)
	f(true, `"a\"b"=1`, `{"a\"b":1}`)
	f(true, `a="\ufffd"`, `{"a":"\ud800"}`)
	f(true, `a="😀"`, `{"a":"\ud83d\ude00"}`)
	f(true, `a="\ud83d\ude00"`, `{"a":"😀"}`)
	f(true, `a="\\x\\u12"`, `{"a":"\x\u12"}`)
	f(true, `a="\xff\x00"`, "{\"a\":\"\xff\x00\"}")
	f(true, `a=1`, `{"x":`+strings.Repeat(`[`, 100_000)+strings.Repeat(`]`, 100_000)+`,"a":1}`)
	f(true, `12345.678=x or n=12345.678`, `{"n":1.2345678e4}`)
	f(true, `n=1234567`, `{"n":"123456\u0037"}`)
	f(true, `n=-1234500`, `{"n":-12345e2}`)
	f(true, `n=0`, `{"n":-0.00e9}`)
	f(true, `n=00012`, `n=12`)
	f(true, `key=~/kiss/i`, "{\"key\":\"\\u212ai\\u017fs\"}")
	f(true, `key=~/kiss/i`, "{\"key\":\"\u212ai\u017fs\"}")
}

func TestErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Parse(text)
		if !errors.Is(err, ErrExpr) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: want %q, have %v", text, want, err)
		}
	}
	f(``, `it is empty`)
	f(" \n", `it is empty`)
	f(`a AND`, `at byte 6: want a text`)
	f(`a OR OR b`, `at byte 6: want a text`)
	f(`AND a`, `at byte 1: want a text`)
	f(`NOT`, `at byte 4: want a text`)
	f(`(a`, `at byte 1: there is no ) for this (`)
	f(`a (b (c)`, `at byte 3: there is no )`)
	f(`a) b`, `at byte 2: there is no ( for this )`)
	f(`()`, `at byte 2: want a text`)
	f(`a "b`, `at byte 3: there is no second "`)
	f(`'b`, `at byte 1: there is no second '`)
	f(`don't`, `at byte 4: a quote within a word`)
	f(`"a\q"`, `at byte 3: unknown escape`)
	f(`"\u12"`, `at byte 2: unknown escape`)
	f(`"\`, `at byte 2: unknown escape`)
	f(`""`, `at byte 1: the text is empty`)
	f(`/a`, `at byte 1: there is no second /`)
	f(`//`, `the regular expression is empty`)
	f(`/(/`, `at byte 1: bad pattern "(": missing closing )`)
	f(`/api/v1`, `at byte 6: want a space, or i for any case`)
	f(`x /\pL{500}{500}/`, `at byte 3:`)
	f(`a=<b`, `at byte 2: unknown operator =<`)
	f(`a <> b`, `at byte 3: unknown operator <>`)
	f(`a===b`, `unknown operator ===`)
	f(`a=`, `at byte 3: want a value`)
	f(`a= AND b`, `at byte 4: want a value, have "AND"`)
	f(`a=)`, `at byte 3: want a value`)
	f(`a=x"y"`, `at byte 4: a quote within a value`)
	f(`a=f(x)`, `at byte 4: a parenthesis within a value`)
	f(`a=~b`, `at byte 4: want a regular expression`)
	f(`a=~"b`, `at byte 4: there is no second "`)
	f(`=x`, `at byte 1: want a text`)
	f(`!=x`, `at byte 1: want a text`)
	f(`a..b=1`, `at byte 3: want a key`)
	f(`a[x]=1`, `at byte 2: want []`)
	f(`a[0=1`, `at byte 2: want []`)
	f(`a[99999999999]=1`, `at byte 2: want []`)
	f(`a]=1`, `at byte 2: want . or [`)
	f(`"a".b`, `at byte 4: want =, !=`)
	f(`foo(x)`, `at byte 1: there is no function`)
	f(`exists()`, `at byte 8: want a key`)
	f(`exists(a`, `at byte 7: there is no )`)
	f(`exists(a b)`, `at byte 10: want )`)
	f(`contains(a)`, `at byte 11: want contains(FIELD, "TEXT")`)
	f(`contains(a,)`, `at byte 12: want a value`)
	f(`contains(a, "x"`, `there is no )`)
	f(strings.Repeat("a", MaxText+1), `at most 65536`)
	f(strings.Repeat("(", MaxText), `more than 100`)
	f(strings.Repeat("!", MaxText), `more than 100`)
	f(strings.Repeat("NOT ", 1000)+"a", `more than 100`)
	f(strings.Repeat("a ", 1001), `more than 1000 terms`)
	f(strings.Repeat("/a/ ", 17), `more than 16 regular`)
	f(strings.Repeat("a.", 101)+"b=1", `more than 100 steps`)
	var many strings.Builder
	for i := range 201 {
		many.WriteString(" f" + strings.Repeat("x", i) + "=1")
	}
	f(many.String(), `more than 200 different fields`)

	for _, text := range []string{"", ".", "a.", "a b", "a=1", "a(", "a[", strings.Repeat("a", MaxText+1)} {
		if _, err := ParsePath(text); !errors.Is(err, ErrExpr) {
			t.Errorf("path %.20q: have %v", text, err)
		}
	}
}

func TestParseAll(t *testing.T) {
	if e, err := ParseAll(nil); e != nil || err != nil {
		t.Errorf("of nothing: have %v, %v", e, err)
	}
	e, err := ParseAll([]string{"a or b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	for record, want := range map[string]bool{"a": false, "ac": true, "bc": true, "c": false} {
		if have := e.Matcher().Match([]byte(record)); have != want {
			t.Errorf("%s of %s: want %v", e, record, want)
		}
	}
	if _, err := ParseAll([]string{"a) or (b", "c"}); err == nil || !strings.Contains(err.Error(), "expression 1: ") {
		t.Errorf("unbalanced: have %v", err)
	}
	if _, err := ParseAll([]string{strings.Repeat("a", MaxText-1), "bc"}); err == nil {
		t.Error("too long together: no error")
	}
}

func TestValues(t *testing.T) {
	f := func(path, record string, want ...string) {
		t.Helper()
		p, err := ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		r := p.Reader()
		for range 2 { // the second time with what is left from the first
			have = nil
			n := r.Values([]byte(record), func(v []byte) { have = append(have, string(v)) })
			if n != len(want) || strings.Join(have, "|") != strings.Join(want, "|") {
				t.Errorf("%s: want %q, have %q", path, want, have)
			}
		}
		v, ok := p.Value([]byte(record))
		if ok != (len(want) > 0) || ok && string(v) != want[0] {
			t.Errorf("%s: want the first of %q, have %q %v", path, want, v, ok)
		}
		if p.String() != path {
			t.Errorf("%q is %q as a text", path, p)
		}
	}
	f("level", event, "error")
	f("status", event, "500")
	f("user.name", event, `Müller "M"`)
	f("user", event)
	f("none", event, "null")
	f("items[].x", event, "1", "two")
	f("items[].y", event)
	f("items[].y[]", event, "3", "4")
	f("a.b.c", event, "d")
	f("http.method", event, "GET")
	f("absent", event)
	f("a.b", `{"a.b":"flat","a":{"b":"nested"}}`, "nested")
	f("a.b", `{"a.b":"fl\u0061t","a":{"c":"nested"}}`, "flat")
	f("a.b", `x a.b="1\t2" a.b=3`, "1\t2")
	f("a", `x`)
	f("x", `x`, "")
}
