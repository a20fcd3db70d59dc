package where

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"oklog/objstore/segment"
	"oklog/query/required"
)

// The oracle builds records and expressions together with what the expressions are to say of them, from encoding/json, math/big and
// regexp: nothing of the package has a part in it.

// oracle tells whether something holds of a record: its bytes, and what they say.
type oracle func(record string, doc any) bool

// member is one of an object's, in order.
type member struct {
	key   string
	value any
}

// object is a JSON object with its members in order; other values are []any, string, json.Number, bool and nil.
type object []member

var (
	keys    = []string{"a", "level", "trace_id", "k-s", "ü", "x/y", "user", "b c", `q"`}
	strs    = []string{"", "error", "PushEvent", "kiss", "K\u212a s\u017f", "C:\\Users\\a", "/api/v1", "Müller", "500", "5e2", "007", "-0", "<b>&'x'", "\x00\n\t", "😀 smile", "true", "null", "9007199254740993", "12345.678"}
	numbers = []string{"0", "-0", "1", "500", "5e2", "500.0", "5.00E+2", "0.25", "25e-2", "-12345", "9007199254740993", "9007199254740992", "1e400", "1e-400", "123456.7", "1234567e-1", "-1.5"}
	regexes = []string{"err.r", "^Push", "Event$", "(?i)KISS", "kiss", `\\`, "/", "[0-9]{3}", "a|b", "ü", `^\x{fffd}|M.ller`, "", "x*"}
)

func pick[T any](rnd *rand.Rand, of []T) T { return of[rnd.IntN(len(of))] }

func randomValue(rnd *rand.Rand, depth int) any {
	switch n := rnd.IntN(10); {
	case n < 4:
		return pick(rnd, strs)
	case n < 6:
		return json.Number(pick(rnd, numbers))
	case n < 7:
		return pick(rnd, []any{true, false, nil})
	case depth == 0:
		return "leaf"
	case n < 8:
		var all []any
		for range rnd.IntN(4) {
			all = append(all, randomValue(rnd, depth-1))
		}
		return all
	default:
		return randomObject(rnd, depth-1)
	}
}

func randomObject(rnd *rand.Rand, depth int) object {
	var o object
	for range rnd.IntN(6) {
		key := pick(rnd, keys)
		if rnd.IntN(6) == 0 {
			key += "." + pick(rnd, keys)
		}
		if o.get(key) == nil {
			o = append(o, member{key, randomValue(rnd, depth)})
		}
	}
	return o
}

// get is the member under a key; nil if there is none.
func (o object) get(key string) *member {
	for i := range o {
		if o[i].key == key {
			return &o[i]
		}
	}
	return nil
}

// write writes JSON as one of many encoders might.
func write(rnd *rand.Rand, b *strings.Builder, v any) {
	space := func() { b.WriteString(pick(rnd, []string{"", "", "", " ", "\t", " \n "})) }
	switch v := v.(type) {
	case object:
		b.WriteString("{")
		for i, m := range v {
			if i > 0 {
				b.WriteString(",")
			}
			space()
			writeString(rnd, b, m.key)
			space()
			b.WriteString(":")
			space()
			write(rnd, b, m.value)
			space()
		}
		b.WriteString("}")
	case []any:
		b.WriteString("[")
		for i, e := range v {
			if i > 0 {
				b.WriteString(",")
			}
			space()
			write(rnd, b, e)
			space()
		}
		b.WriteString("]")
	case string:
		writeString(rnd, b, v)
	default:
		b.WriteString(scalar(v))
	}
}

func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return "null"
	default:
		return fmt.Sprint(v)
	}
}

func writeString(rnd *rand.Rand, b *strings.Builder, s string) {
	often := pick(rnd, []int{1 << 30, 1 << 30, 20, 3})
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r > 0xffff && rnd.IntN(2) == 0:
			r -= 0x10000
			fmt.Fprintf(b, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case r <= 0xffff && rnd.IntN(often) == 0, r < ' ':
			fmt.Fprintf(b, pick(rnd, []string{`\u%04x`, `\u%04X`}), r)
		case r == '"' || r == '\\' || r == '/' && rnd.IntN(2) == 0:
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// lookup gives what a path leads to, by the rules of the package's documentation.
func lookup(v any, steps []any) (all []any) {
	if len(steps) == 0 {
		return []any{v}
	}
	switch s := steps[0].(type) {
	case string:
		if o, ok := v.(object); ok {
			if m := o.get(s); m != nil {
				return lookup(m.value, steps[1:])
			}
		}
	case int:
		if a, ok := v.([]any); ok {
			for i, e := range a {
				if s < 0 || s == i {
					all = append(all, lookup(e, steps[1:])...)
				}
			}
		}
	}
	return all
}

// lookupFlat gives the first, in the order of the text, that a path leads to with its rest as one key.
func lookupFlat(v any, steps []any) (any, bool) {
	o, ok := v.(object)
	if !ok {
		return nil, false
	}
	rest := ""
	for _, s := range steps {
		key, ok := s.(string)
		if !ok {
			rest = ""
			break
		}
		rest += "." + key
	}
	for _, m := range o {
		if len(steps) > 1 && rest != "" && m.key == rest[1:] {
			return m.value, true
		}
		if m.key == steps[0] && len(steps) > 1 {
			if v, ok := lookupFlat(m.value, steps[1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// randomPath draws a path without [] and [n] before keys with dots, for which there is no order between arrays.
func randomPath(rnd *rand.Rand) (text string, steps []any) {
	for i := range 1 + rnd.IntN(3) {
		key := pick(rnd, keys)
		if i > 0 {
			text += "."
		}
		if strings.ContainsAny(key, `"/ `) || rnd.IntN(5) == 0 {
			text += quoteExpr(key)
		} else {
			text += key
		}
		steps = append(steps, key)
		switch rnd.IntN(8) {
		case 0:
			text += "[]"
			steps = append(steps, -1)
		case 1:
			text += "[1]"
			steps = append(steps, 1)
		}
	}
	return text, steps
}

func quoteExpr(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\x00", `\x00`, "\t", `\t`).Replace(s) + `"`
}

var isNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// randomCond draws a condition on a field.
func randomCond(rnd *rand.Rand) (string, oracle) {
	path, steps := randomPath(rnd)
	values := func(doc any) []any {
		all := lookup(doc, steps)
		if len(all) == 0 {
			if v, ok := lookupFlat(doc, steps); ok {
				all = []any{v}
			}
		}
		return all
	}
	some := func(test func(text string) bool) oracle {
		return func(_ string, doc any) bool {
			for _, v := range values(doc) {
				switch v.(type) {
				case object, []any:
					continue
				}
				if test(scalar(v)) {
					return true
				}
			}
			return false
		}
	}
	not := func(o oracle) oracle { return func(r string, d any) bool { return !o(r, d) } }
	order := map[string]func(c int) bool{
		"=": func(c int) bool { return c == 0 }, "<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 },
		">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 }, "!=": func(c int) bool { return c == 0 },
	}
	op := pick(rnd, []string{"=", "=", "<", "<=", ">", ">=", "!="})
	var o oracle
	switch rnd.IntN(6) {
	case 0:
		return "exists(" + path + ")", func(_ string, doc any) bool { return len(values(doc)) > 0 }
	case 1:
		part := pick(rnd, strs)
		from := rnd.IntN(len(part) + 1)
		for !utf8.RuneStart((part + "x")[from]) {
			from--
		}
		part = part[from:]
		return "contains(" + path + "," + quoteExpr(part) + ")", some(func(text string) bool { return strings.Contains(text, part) })
	case 2:
		re := pick(rnd, regexes)
		if re == "" {
			re = "."
		}
		o = some(regexp.MustCompile(re).MatchString)
		if rnd.IntN(3) == 0 {
			return path + "!~/" + strings.ReplaceAll(re, "/", `\/`) + "/", not(o)
		}
		return path + "=~/" + strings.ReplaceAll(re, "/", `\/`) + "/", o
	case 3:
		want := pick(rnd, numbers)
		n, _ := new(big.Rat).SetString(want)
		o = some(func(text string) bool {
			have, ok := new(big.Rat).SetString(text)
			return isNumber.MatchString(text) && ok && order[op](have.Cmp(n))
		})
		path += op + want
	default:
		want := pick(rnd, strs)
		o = some(func(text string) bool { return order[op](strings.Compare(text, want)) })
		path += " " + op + " " + quoteExpr(want)
	}
	if op == "!=" {
		o = not(o)
	}
	return path, o
}

// randomExpr draws an expression.
func randomExpr(rnd *rand.Rand, depth int) (string, oracle) {
	if depth == 0 {
		switch rnd.IntN(8) {
		case 0:
			text := pick(rnd, []string{"error", "Push", "level", "500", "absent", "ü", "\\u00"})
			return quoteExpr(text), func(record string, _ any) bool { return strings.Contains(record, text) }
		case 1:
			re := regexp.MustCompile(pick(rnd, regexes[:10]))
			return "/" + strings.ReplaceAll(re.String(), "/", `\/`) + "/", func(record string, _ any) bool { return re.MatchString(record) }
		}
		return randomCond(rnd)
	}
	a, holdsA := randomExpr(rnd, rnd.IntN(depth))
	b, holdsB := randomExpr(rnd, rnd.IntN(depth))
	switch rnd.IntN(4) {
	case 0:
		return pick(rnd, []string{"NOT (", "!(", "not("}) + a + ")", func(r string, d any) bool { return !holdsA(r, d) }
	case 1:
		return "(" + a + ") OR (" + b + ")", func(r string, d any) bool { return holdsA(r, d) || holdsB(r, d) }
	default:
		return "(" + a + ")" + pick(rnd, []string{" AND ", " && ", " ", ""}) + "(" + b + ")", func(r string, d any) bool { return holdsA(r, d) && holdsB(r, d) }
	}
}

// What an expression says of JSON is what an evaluation of the decoded value says; and what it requires is there.
func TestOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var records []string
	var docs []any
	for range 400 {
		o := randomObject(rnd, 3)
		var b strings.Builder
		write(rnd, &b, o)
		if !json.Valid([]byte(b.String())) {
			t.Fatalf("the test writes bad JSON: %s", b.String())
		}
		records, docs = append(records, b.String()), append(docs, o)
	}
	holds, plain := 0, 0
	for range 3000 {
		text, want := randomExpr(rnd, rnd.IntN(4))
		e, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		m, needed, program, plainProgram := e.Matcher(), e.Required(), e.Program(), e.PlainProgram()
		var search, plainSearch interface{ Match([]byte) bool }
		if program != nil {
			search = program.Searcher()
		}
		if plainProgram != nil {
			plainSearch = plainProgram.Searcher()
		}
		for i := rnd.IntN(10); i < len(records); i += 10 {
			have := m.Match([]byte(records[i]))
			if have != want(records[i], docs[i]) {
				t.Fatalf("%s: have %v of %s", text, have, records[i])
			}
			if !have {
				continue
			}
			holds++
			if !needed.Match([]byte(records[i])) {
				t.Fatalf("%s holds of %s, and requires %s", text, records[i], needed)
			}
			if search != nil && !search.Match([]byte(records[i])) {
				t.Fatalf("%s holds of %s, and the program does not find it: %q", text, records[i], program.Pattern().Texts)
			}
			if plainSearch != nil && !segment.Escaped([]byte(records[i])) {
				plain++
				if !plainSearch.Match([]byte(records[i])) {
					t.Fatalf("%s holds of %s, and the program for plain texts does not find it: %q", text, records[i], plainProgram.Pattern().Texts)
				}
			}
		}
	}
	t.Logf("%d hold, and %d of what is plain", holds, plain)
	if plain == 0 {
		t.Error("nothing is plain")
	}
}

// Numbers are compared as math/big does.
func TestDecimal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	draw := func() string {
		s := pick(rnd, []string{"", "-"}) + pick(rnd, []string{"", "0", "000"}) + fmt.Sprint(rnd.IntN(pick(rnd, []int{2, 20, 100_000})))
		if rnd.IntN(2) == 0 {
			s += fmt.Sprintf(".%0*d", 1+rnd.IntN(4), rnd.IntN(pick(rnd, []int{1, 10, 1000})))
		}
		if rnd.IntN(3) == 0 {
			s += fmt.Sprintf("%s%d", pick(rnd, []string{"e", "E+", "e-"}), rnd.IntN(4))
		}
		return s
	}
	for range 50_000 {
		a, b := draw(), draw()
		x, ok := parseDecimal([]byte(a))
		y, ok2 := parseDecimal([]byte(b))
		p, _ := new(big.Rat).SetString(a)
		q, _ := new(big.Rat).SetString(b)
		c := x.compare(&y)
		if !ok || !ok2 || c < 0 != (p.Cmp(q) < 0) || c > 0 != (p.Cmp(q) > 0) {
			t.Fatalf("%s and %s: %d", a, b, c)
		}
	}
	for _, s := range []string{"", "-", "+1", "1.", ".5", "1e", "1e+", "1x", "0x1", "1_0", "NaN", "1 ", "1.2.3", "1e5.0"} {
		if _, ok := parseDecimal([]byte(s)); ok {
			t.Errorf("%q is a number", s)
		}
	}
	huge, ok := parseDecimal([]byte("1e" + strings.Repeat("9", 100)))
	small, ok2 := parseDecimal([]byte("-1e-" + strings.Repeat("9", 100)))
	if !ok || !ok2 || huge.compare(&small) <= 0 {
		t.Error("endless exponents")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`a AND (b OR NOT c)`, `status>=500 user.id="x" path=~/^\/api/i`, `items[].x!=1 && exists("a.b".c)`, `contains(a, 'b')`, `"\ud83d\ude00"`, `a=~"b\"c"`, `x=12345.678e3`, `!(/(?i)kiss/)`, `don't`, "a=\xff"} {
		f.Add(s, event)
	}
	f.Fuzz(func(t *testing.T, text, record string) {
		e, err := Parse(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of two lines: %q", err)
			}
			return
		}
		have := e.Matcher().Match([]byte(record))
		if inverse, err := Parse("NOT(" + text + ")"); err == nil && inverse.Matcher().Match([]byte(record)) == have {
			t.Errorf("%q and NOT of it are the same of %q", text, record)
		}
		checkUses(t, e, record, have)
	})
}

func FuzzRecord(f *testing.F) {
	exprs := []string{`a=1`, `a.b!="x" OR a[].b=~/kiss/i`, `exists(a.b.c) !exists(level)`, `contains(msg, "conn") status>400`, `n=12345678 OR "ü"=ü`}
	var matchers []*Matcher
	var all []*Expr
	var needed []*required.Expr
	for _, text := range exprs {
		e, err := Parse(text)
		if err != nil {
			f.Fatal(err)
		}
		all, matchers, needed = append(all, e), append(matchers, e.Matcher()), append(needed, e.Required())
	}
	for _, s := range []string{event, `{"a":[{"b":"kiss"}]}`, `a=1 b="x\"" level`, `{"a":{"b.c":1},"msg":"conn`, "{\"a\":\"\\", `{"n":1.2345678e7}`, strings.Repeat(`{"a":`, 500)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		before := bytes.Clone(record)
		for i, m := range matchers {
			have := m.Match(record)
			if have != all[i].Matcher().Match(record) {
				t.Errorf("%s: a used matcher and a new one differ on %q", all[i], record)
			}
			if have && !needed[i].Match(record) {
				t.Errorf("%s holds of %q, and requires %s", all[i], record, needed[i])
			}
		}
		if !bytes.Equal(record, before) {
			t.Error("the record has changed")
		}
		var o map[string]any
		d := json.NewDecoder(bytes.NewReader(record))
		d.UseNumber()
		if p := bytes.TrimLeft(record, " \t\r\n"); len(p) == 0 || p[0] != '{' || d.Decode(&o) != nil || bytes.Count(record, []byte(`"a"`)) != 1 || bytes.IndexByte(record, '\\') >= 0 {
			return
		}
		s, isText := o["a"].(json.Number)
		value, ok := mustPath(t, "a").Value(record)
		if isText && (!ok || string(value) != s.String()) {
			t.Errorf("a is %s, have %q %v of %q", s, value, ok, record)
		}
	})
}

func mustPath(t testing.TB, text string) Path {
	t.Helper()
	p, err := ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
