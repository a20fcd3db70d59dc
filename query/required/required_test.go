package required

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

type example struct{ pattern, want string }

// patterns are regular expressions and what a text must hold for each.
func patterns() []example {
	return []example{
		// What people ask.
		{`(Failed|Invalid).*port 41[0-9]{2}\b`, `("Failed" or "Invalid") and "port 41"`},
		{`(WARN|ERROR).*timeout`, `("WARN" or "ERROR") and "timeout"`},
		{`(\w+\s?)+timeout$`, `"timeout"`},
		{`(?i)allowusers`, `"allowusers"i`},
		{`(?i)exception`, `"exception"i`},
		{`kernel|sshd|authd`, `"kernel" or "sshd" or "authd"`},
		{`173\.234\.31\.186`, `"173.234.31.186"`},
		{`\b[0-9a-f]{8}\b`, `any`},
		{`\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}`, `"."`},
		{`\b\d{1,3}(?:\.\d{1,3}){3}:\d+`, `"." and ":"`},
		{`\d\d:\d\d`, `":"`},
		{`0x[0-9a-f]{4}`, `"0x"`},
		{`[0-9]+ms`, `"ms"`},
		{`[a-z]+ing`, `"ing"`},
		{`(GET|POST) /api/v[12]/users`, `"GET /api/v1/users" or "GET /api/v2/users" or "POST /api/v1/users" or "POST /api/v2/users"`},
		{`level=(warn|error|fatal)`, `"level=warn" or "level=error" or "level=fatal"`},
		{`"status":\s*5\d\d`, `"\"status\":" and "5"`},
		{`session (opened|closed) for user \w+`, `"session opened for user " or "session closed for user "`},
		{`user=(?:root|admin|guest|test|oracle|ubuntu|git|pi)\b`, `"user=root" or "user=admin" or "user=guest" or "user=test" or "user=oracle" or "user=ubuntu" or "user=git" or "user=pi"`},
		{`(?i)failed password for (invalid user )?\w+ from 10\.0\.`, `"failed password for "i and " from 10.0."i`},
		{`(\d+\.){3}\d+ - - \[.*\] "(GET|POST) [^"]*" (4|5)\d\d`, `"." and " - - [" and ("] \"GET " or "] \"POST ") and ("\" 4" or "\" 5")`},
		{`\[(ERROR|WARN)\].*(Connection (refused|reset)|timed? ?out)`, `("[ERROR]" or "[WARN]") and ("Connection refused" or "Connection reset" or "timed out" or "timedout" or "time out" or "timeout")`},
		{`java\.(lang|io|util)\.\w+Exception`, `("java.lang." or "java.io." or "java.util.") and "Exception"`},
		{`10.0.0.1|10.0.0.2|192.168.1.77`, `("10" or "192") and (("0" and ("1" or "2")) or ("92" and "168" and "77"))`}, // dots that are not escaped cost much

		// What matches the empty text, or nearly anything, requires nothing.
		{``, `any`},
		{`^$`, `any`},
		{`.`, `any`},
		{`.*`, `any`},
		{`[^\n]*`, `any`},
		{`x?y?z?`, `any`},
		{`a|b|c|e|g`, `any`}, // five letters are a quarter of all texts each, and more than all together
		{`a|b|c`, `"a" or "b" or "c"`},
		{`[^\x00-\x{10FFFF}]`, `none`},
		{`foo[^\x00-\x{10FFFF}]|bar`, `"bar"`},

		// Joining.
		{`foo\nbar`, `"foo\nbar"`},
		{`(?s)foo.bar`, `"foo" and "bar"`},
		{`(.*)(foo)(.*)`, `"foo"`},
		{`(?m)^foo$\n^bar$`, `"foo\nbar"`},
		{`\bfoo\b bar`, `"foo bar"`},
		{`abc.*b`, `"abc"`},
		{`port 41[0-9]{2} ssh`, `"port 41" and " ssh"`},
		{`port 4[0-3] ssh`, `"port 40 ssh" or "port 41 ssh" or "port 42 ssh" or "port 43 ssh"`},
		{`port 4[0-7]|port 5[01]`, `"port 40" or "port 41" or "port 42" or "port 43" or "port 44" or "port 45" or "port 46" or "port 47" or "port 50" or "port 51"`},
		{`[ab][cd]e`, `"ace" or "ade" or "bce" or "bde"`},

		// Alternatives.
		{`foo.*|foobar`, `"foo"`},
		{`(?:abc|ab)`, `"ab"`},
		{`(|a)b`, `"b"`},
		{`(?:a|b*)c`, `"c"`},
		{`(?:foo|bar|.)x`, `"x"`},
		{`(foo.*bar|baz)qux`, `(("foo" and "bar") or "baz") and ("barqux" or "bazqux")`},
		{`(foo|bar.*baz)qux`, `("foo" or ("bar" and "baz")) and ("fooqux" or "bazqux")`},
		{`(?:foo(?:a.*b|c)|bar)`, `(("fooa" or "fooc") and (("a" and "b") or "c")) or "bar"`},

		// Repeats.
		{`colou?r`, `"colour" or "color"`},
		{`cat(s|fish)?`, `"cat"`},
		{`cat(s|fish)? food`, `"cats food" or "catfish food" or "cat food"`},
		{`ab+c`, `"ab" and "bc"`},
		{`ab*c`, `"a" and "c"`},
		{`(?U)a+?b`, `"ab"`},
		{`(a+)+$`, `"a"`},
		{`a(?:bc)+d`, `"abc" and "bcd"`},
		{`(?:ab){3}`, `"ababab"`},
		{`(?:ab){2,}c`, `"ababc"`},
		{`(?:ab){2,}`, `"abab"`},
		{`(?:ab){1,3}c`, `"abc"`},
		{`(?:ab?){2}c`, `"ababc" or "abac" or "aabc" or "aac"`},
		{`(?:a.b){2}`, `"ba"`},
		{`x{0}y`, `"y"`},
		{`x{0,2}y`, `"y"`},
		{`x{1000}`, fmt.Sprintf("%q", strings.Repeat("x", 128))},
		{`(?:x{10}){100}`, fmt.Sprintf("%q", strings.Repeat("x", 120))},
		{`(?:\b){1000}foo`, `"foo"`},

		// Case.
		{`(?i)k`, `"k"i`},
		{`[kK]`, `"K" or "k"`},
		{`[Kk\x{212A}]`, `"k"i`},
		{`\x{212A}elvin`, fmt.Sprintf("%q", kelvin+"elvin")},
		{`[Aa]`, `"a"i`},
		{`(?i)[ab]c`, `"ac"i or "bc"i`},
		{`(?i)port 41[01]`, `"port 410"i or "port 411"i`},
		{`(?i)41`, `"41"`},
		{`[Ss]shd\[[0-9]+\]`, `("Sshd[" or "sshd[") and "]"`},
		{`[Ee]rror: disk`, `"error: disk"i and "rror: disk"`},
		{`(?i:failed) Password`, `"failed password"i and " Password"`},

		// Beyond ASCII.
		{`größe`, `"größe"`},
		{`(?i)größe`, `"grÖße"i or "grÖẞe"i or "größe"i or "gröẞe"i`},
		{`[éè]t`, `"èt" or "ét"`},
		{`é+`, `"é"`},
		{`a\x{FFFD}b`, `"a" and "b"`}, // U+FFFD is also each invalid byte
		{`[a\x{FFFD}]b`, `"b"`},
		{`\x{D800}`, `any`}, // no text has it, but the regexp package takes it for U+FFFD at times
	}
}

func parse(t testing.TB, pattern string) *syntax.Regexp {
	t.Helper()
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func TestRegexp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, tt := range patterns() {
		parsed := parse(t, tt.pattern)
		e := Regexp(parsed)
		if have := e.String(); have != tt.want {
			t.Errorf("%s\nwant %s\nhave %s", tt.pattern, tt.want, have)
		}
		checkShape(t, e)
		for _, text := range texts(rnd, parsed, 30) {
			check(t, regexp.MustCompile(tt.pattern), e, text)
		}
	}
}

func TestSubstring(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 20) // 320 bytes: 128, 128 and 64 of those
	for _, tt := range []struct {
		text string
		fold bool
		want string
	}{
		{"", false, `any`},
		{"", true, `any`},
		{"Failed", false, `"Failed"`},
		{"Failed", true, `"failed"i`},
		{"10.0.0.1", true, `"10.0.0.1"`},
		{"\xff%\x00\n", false, `"\xff%\x00\n"`},
		{"\xffA", true, `"\xffa"i`},
		{"a\ufffdb", false, `"a` + "\ufffd" + `b"`},
		{"a\ufffdb", true, `"a"i and "b"i`},
		{"\u212aelvin", true, `"kelvin"i`},
		{"\u212aelvin", false, `"` + "\u212a" + `elvin"`},
		{"Ärger", true, `"Ärger"i or "ärger"i`},
		{"東京", true, `"東京"`},
		{long, false, fmt.Sprintf("%q", long[:128])},
		{"<" + long + ">", false, fmt.Sprintf("%q and %q and %q", "<"+long[:127], "f"+long[:127], "f"+long[:64]+">")},
	} {
		e := Substring([]byte(tt.text), tt.fold)
		if have := e.String(); have != tt.want {
			t.Errorf("%q, %t\nwant %s\nhave %s", tt.text, tt.fold, tt.want, have)
		}
		checkShape(t, e)
	}
}

// words are n different ones, of which a pattern says that one is there.
func words(n int) []string {
	rnd := rand.New(rand.NewPCG(7, 8))
	var all []string
	for len(all) < n {
		w := fmt.Sprintf("%d.%d.%d.%d", 10+rnd.IntN(200), rnd.IntN(256), rnd.IntN(256), rnd.IntN(256))
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return all
}

func TestListOfWords(t *testing.T) {
	for _, n := range []int{1, 10, 64, 65, 500, 900} {
		all := words(n)
		want := map[string]bool{}
		for _, w := range all {
			// 10.0.0.1 is in 10.0.0.11, which need not be looked for.
			want[w] = !slices.ContainsFunc(all, func(v string) bool { return v != w && strings.HasPrefix(w, v) })
		}
		list := regexp.QuoteMeta(strings.Join(all, "|"))
		list = strings.ReplaceAll(list, `\|`, "|")
		for _, p := range []struct{ before, after string }{{"", ""}, {`\b(?:`, `)\b`}, {`from (`, `) port`}, {`x.*(`, `).*y`}} {
			e := Regexp(parse(t, p.before+list+p.after))
			checkShape(t, e)
			var best []Literal
			for _, s := range e.Sets() {
				if len(s) > len(best) {
					best = s
				}
			}
			for _, w := range all {
				held := slices.ContainsFunc(best, func(l Literal) bool { return l.Text == w || l.Text == "from "+w+" port" })
				if !held && (want[w] || p.after == ") port") {
					t.Fatalf("%d words, %q: %s is not looked for", n, p, w)
				}
			}
			if len(best) > n {
				t.Errorf("%d words, %q: %d literals", n, p, len(best))
			}
		}
	}
	if e := Regexp(parse(t, strings.ReplaceAll(strings.Join(words(1500), "|"), ".", `\.`))); e.Op != OpAny {
		t.Errorf("1500 words: %d literals", e.literals)
	}
}

func TestLiteral(t *testing.T) {
	for _, tt := range []struct {
		l    Literal
		text string
		want bool
	}{
		{Literal{Text: "disk"}, "a disk", true},
		{Literal{Text: "disk"}, "a DISK", false},
		{Literal{Text: "disk", Fold: true}, "a DiSk.", true},
		{Literal{Text: "disk", Fold: true}, "di\u017f\u212a", true},
		{Literal{Text: "disk", Fold: true}, "dis", false},
		{Literal{Text: "disk", Fold: true}, "dis\xe2\x84", false},
		{Literal{Text: "disk", Fold: true}, "", false},
		{Literal{Text: "é", Fold: true}, "É", false},
		{Literal{Text: "a[", Fold: true}, "A{", false}, // [ and { differ as A and a do
		{Literal{Text: "a@", Fold: true}, "a`", false},
	} {
		if have := tt.l.Match([]byte(tt.text)); have != tt.want {
			t.Errorf("%v in %q: %t", tt.l, tt.text, have)
		}
	}
	for _, tt := range []struct {
		l    Literal
		want []string
	}{
		{Literal{Text: "Disk K"}, []string{"disk k"}},
		{Literal{Text: "disk sectors", Fold: true}, []string{"di", " ", "ector"}},
		{Literal{Text: "k", Fold: true}, nil},
		{Literal{Text: "É\xffA"}, []string{"É\xffa"}},
	} {
		if have := tt.l.Pieces(); !slices.Equal(have, tt.want) {
			t.Errorf("pieces of %v: want %q, have %q", tt.l, tt.want, have)
		}
	}
}

func TestImplies(t *testing.T) {
	exact := func(s string) *Expr { return newLit(newLiteral(s, false)) }
	folded := func(s string) *Expr { return newLit(newLiteral(s, true)) }
	for _, tt := range []struct {
		x, y *Expr
		want bool
	}{
		{exact("abc"), exact("b"), true},
		{exact("b"), exact("abc"), false},
		{exact("ABC"), folded("b"), true},
		{exact("A\u212aC"), folded("ak"), true},
		{folded("abc"), exact("b"), false},
		{folded("ab41c"), exact("41"), true},
		{folded("abc"), folded("b"), true},
		{exact("ab"), Or(exact("ab"), exact("cd")), true},
		{Or(exact("abc"), exact("cde")), Or(exact("ab"), exact("cd")), true},
		{Or(exact("abc"), exact("xyz")), Or(exact("ab"), exact("cd")), false},
		{And(exact("abc"), exact("xyz")), exact("ab"), true},
		{exact("ab"), And(exact("a"), exact("x")), false},
		{exact("abx"), And(exact("a"), exact("x")), true},
		{And(exact("abc"), exact("xyz")), And(exact("ab"), exact("xy")), true},
		{Regexp(parse(t, "[^\x00-\U0010ffff]")), exact("a"), true},
		{exact("a"), And(), true},
	} {
		if have := newWork().implies(tt.x, tt.y); have != tt.want {
			t.Errorf("%v implies %v: %t", tt.x, tt.y, have)
		}
		if (&work{}).implies(tt.x, tt.y) {
			t.Errorf("%v implies %v, and nothing may be spent to find it", tt.x, tt.y)
		}
	}
}

func TestAndOr(t *testing.T) {
	lit := func(s string) *Expr { return Substring([]byte(s), false) }
	none := Or()
	for _, tt := range []struct {
		have *Expr
		want string
	}{
		{And(), `any`},
		{Or(), `none`},
		{And(lit("a")), `"a"`},
		{Or(lit("a")), `"a"`},
		{And(lit("a"), none), `none`},
		{Or(lit("a"), none), `"a"`},
		{Or(lit("a"), And()), `any`},
		{And(lit("a"), And()), `"a"`},
		{And(lit("abc"), lit("b")), `"abc"`},
		{And(lit("b"), lit("abc")), `"abc"`},
		{Or(lit("abc"), lit("b")), `"b"`},
		{Or(lit("b"), lit("abc")), `"b"`},
		{Or(lit("a"), And(lit("a"), lit("b"))), `"a"`},
		{And(lit("a"), Or(lit("a"), lit("b"))), `"a"`},
		{And(And(lit("a"), lit("b")), And(lit("c"), lit("b"))), `"a" and "b" and "c"`},
		{Or(Or(lit("a"), lit("b")), Or(lit("c"), lit("b"))), `"a" or "b" or "c"`},
		{And(Or(lit("ab"), lit("cd")), lit("xy")), `("ab" or "cd") and "xy"`},
		{Or(lit("a"), Substring([]byte("A"), true)), `"a"i`},
		{And(lit("A"), Substring([]byte("a"), true)), `"A"`},
	} {
		if tt.have.String() != tt.want {
			t.Errorf("want %s, have %s", tt.want, tt.have)
		}
		checkShape(t, tt.have)
	}
}

// What is made of two expressions is true where it must be, and nowhere else while no bound is met.
func TestAndOrMeaning(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abAB1"[rnd.IntN(5)]
		}
		return b
	}
	var draw func(depth int) *Expr
	draw = func(depth int) *Expr {
		switch {
		case depth == 0 || rnd.IntN(4) == 0:
			return Substring(text(3+rnd.IntN(3)), rnd.IntN(3) == 0)
		case rnd.IntN(2) == 0:
			return And(draw(depth-1), draw(depth-1))
		default:
			return Or(draw(depth-1), draw(depth-1), draw(depth-1))
		}
	}
	truths := 0
	for range 5_000 {
		x, y := draw(2), draw(2)
		and, or := And(x, y), Or(x, y)
		checkShape(t, and)
		checkShape(t, or)
		for range 4 {
			s := text(40)
			mx, my := x.Match(s), y.Match(s)
			if and.Match(s) != (mx && my) || or.Match(s) != (mx || my) {
				t.Fatalf("%s\nx   %v: %t\ny   %v: %t\nand %v: %t\nor  %v: %t", s, x, mx, y, my, and, and.Match(s), or, or.Match(s))
			}
			if mx {
				truths++
				checkUses(t, x, s)
			}
		}
	}
	if truths < 500 {
		t.Errorf("only %d truths", truths)
	}
}

func TestBounds(t *testing.T) {
	var many []*Expr
	for _, w := range words(maxLiterals + 1) {
		many = append(many, Substring([]byte("<"+w+">"), false))
	}
	if e := Or(many[1:]...); e.Op != OpOr || e.literals != maxLiterals {
		t.Errorf("%d literals: %v", maxLiterals, e)
	}
	if e := Or(many...); e.Op != OpAny {
		t.Errorf("%d literals: %v", e.literals, e)
	}
	if e := And(many...); e.Op != OpAnd || len(e.Sub) != maxTerms {
		t.Errorf("an and of %d literals: %v", len(many), e)
	}
	// The rarest of each "and" remain.
	var pairs []*Expr
	for i, e := range many[:maxLiterals] {
		pairs = append(pairs, And(e, many[i+1], Substring([]byte("common"), false)))
	}
	if e := Or(pairs...); e.Op != OpOr || len(e.Sub) < maxLiterals/2 || slices.ContainsFunc(e.Sub, func(s *Expr) bool { return s.Op != OpLit || s.Lit.Text == "common" }) {
		t.Errorf("%d pairs: %d literals: %.200v", len(pairs), e.literals, e)
	}
	// What an "and" leaves out is what is common.
	all := []*Expr{Substring([]byte("zz"), false)}
	all = append(all, many[:maxTerms]...)
	if e := And(all...); slices.Contains(e.Sub, all[0]) || !slices.Contains(e.Sub, many[0]) {
		t.Errorf("%v", e)
	}
}

func TestSets(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{`.*`, `[]`},
		{`[^\x00-\x{10FFFF}]`, `[[]]`},
		{`foo`, `[["foo"]]`},
		{`(Failed|Invalid).*port 41[0-9]{2}\b`, `[["port 41"] ["Failed" "Invalid"]]`},
		{`(foo.*longer|baz)qux`, `[["longerqux" "bazqux"] ["qux"] ["longer" "baz"]]`},
		{`GET /api/v[12]/users`, `[["GET /api/v1/users" "GET /api/v2/users"] ["GET /api/v"] ["/users"]]`},
		{`(?i)x(?:ab|cd)efg`, `[["xabefg"i "xcdefg"i] ["efg"i]]`},
	} {
		if have := fmt.Sprint(Regexp(parse(t, tt.pattern)).Sets()); have != tt.want {
			t.Errorf("%s\nwant %s\nhave %s", tt.pattern, tt.want, have)
		}
	}
}

// hostile are patterns that grow with n and are bad for somebody.
func hostile(n int) map[string]string {
	letters := func(i int) string { return string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676%26)}) }
	each := func(format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, letters(i))
		}
		return b.String()
	}
	deep := min(n, 300) // the parser allows a nesting of 1000
	return map[string]string{
		"literal":       strings.Repeat("abcdefgh", n),
		"alternatives":  "x" + each("|%[1]s"),
		"lists":         strings.Repeat("(?:"+strings.Join(words(100), "|")+").", n/100+1),
		"pieces":        each("%s."),
		"classes":       strings.Repeat("[ab]", n),
		"pairs":         strings.Repeat("[ab]{6}.", n),
		"huge classes":  strings.Repeat(`\pL`, n),
		"plus":          each("%s+"),
		"optional":      each("(?:%s)?"),
		"stars":         each("%s*"),
		"folds":         "(?i)" + strings.Repeat("привет", n),
		"case by case":  each("(?i:%s)xyzk"),
		"nested repeat": strings.Repeat("(?:(?:[ab]{10}){10}){10}", n),
		"deep groups":   strings.Repeat("(a|b", deep) + strings.Repeat(")c", deep),
		"deep ands":     strings.Repeat("(?:a.*b|c.*(?:d|", deep/4) + "e" + strings.Repeat(".*f))", deep/4),
		"deep plus":     strings.Repeat("(?:ab.*", deep) + strings.Repeat("cd)+", deep),
		"or of ands":    "x" + each("|%[1]s.*a%[1]s"),
		"words, longer": "(?:" + strings.Join(words(500), "|") + ")" + each("a(?i:%s)"),
		"large lists":   strings.Repeat("(?:"+strings.Join(words(900), "|")+")|a.*", n/100+1) + "b",
	}
}

// The work grows with the pattern, and ends.
func TestHostile(t *testing.T) {
	used := func(pattern string) (int, *Expr) {
		w := newWork()
		e := w.whole(w.describe(parse(t, pattern)))
		checkShape(t, e)
		return maxWork - w.left, e
	}
	small, middle, large := hostile(100), hostile(200), hostile(2000)
	for name := range large {
		one, _ := used(small[name])
		two, _ := used(middle[name])
		// What is nested is compared again at each level; it is the parser that bounds the levels.
		if two > 3*one+100 && !strings.HasPrefix(name, "deep") {
			t.Errorf("%s: twice as long, and %d becomes %d", name, one, two)
		}
		all, e := used(large[name])
		t.Logf("%-14s %6d bytes: work %6d, %6d, %6d; %d literals", name, len(large[name]), one, two, all, e.literals)
	}
}

// With nothing left to spend, an expression says less, and is as true.
func TestWorkRunsOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	for _, tt := range patterns() {
		parsed := parse(t, tt.pattern)
		re := regexp.MustCompile(tt.pattern)
		for _, left := range []int{0, 1, 2, 5, 10, 20, 50} {
			w := &work{left: left}
			e := w.whole(w.describe(parsed))
			checkShape(t, e)
			for _, text := range texts(rnd, parsed, 5) {
				check(t, re, e, text)
			}
		}
	}
}

func BenchmarkRegexp(b *testing.B) {
	list := strings.ReplaceAll(strings.Join(words(500), "|"), ".", `\.`)
	for _, bm := range []struct{ name, pattern string }{
		{"literals", `(Failed|Invalid).*port 41[0-9]{2}\b`},
		{"none", `\b[0-9a-f]{8}\b`},
		{"folded", `(?i)allowusers`},
		{"list of 500", list},
		{"hostile", hostile(2000)["pairs"]},
	} {
		b.Run(bm.name, func(b *testing.B) {
			re := parse(b, bm.pattern)
			b.SetBytes(int64(len(bm.pattern)))
			b.ReportAllocs()
			for b.Loop() {
				Regexp(re)
			}
		})
	}
}
