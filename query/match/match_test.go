package match

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"oklog/query/required"
)

func compile(t testing.TB, p Pattern) *Program {
	t.Helper()
	prog, err := Compile(p)
	if err != nil {
		t.Fatalf("%q: %v", p.Texts, err)
	}
	return prog
}

// agree holds the methods of a searcher against what each record wants.
func agree(t testing.TB, s *Searcher, records [][]byte, want func([]byte) bool) {
	t.Helper()
	var text []byte
	var lines []Line
	any, single := false, true
	for _, r := range records {
		w := want(r)
		if s.Match(r) != w {
			t.Fatalf("record %q: want %t", r, w)
		}
		if w && !s.p.Required().Match(r) {
			t.Fatalf("record %q: matches, and has not %s", r, s.p.Required())
		}
		any = any || w
		single = single && !bytes.Contains(r, []byte("\n"))
		if w {
			lines = append(lines, Line{Start: len(text), End: len(text) + len(r)})
		}
		text = append(append(text, r...), '\n')
	}
	if s.Absent(text) && any {
		t.Fatalf("text %q: absent and matched", text)
	}
	if !single {
		return
	}
	if have := s.Lines(nil, text); !slices.Equal(have, lines) {
		t.Fatalf("text %q: want %v, have %v", text, lines, have)
	}
	if have := s.Count(text); have != len(lines) {
		t.Fatalf("text %q: want %d, have %d", text, len(lines), have)
	}
}

// oracle is what a pattern means, by package regexp and bytes.Contains. It is for texts that are UTF-8.
func oracle(p Pattern) func([]byte) bool {
	var all []func([]byte) bool
	for _, text := range p.Texts {
		switch {
		case p.Regex && p.IgnoreCase:
			all = append(all, regexp.MustCompile("(?i)"+text).Match)
		case p.Regex:
			all = append(all, regexp.MustCompile(text).Match)
		case p.IgnoreCase:
			all = append(all, regexp.MustCompile("(?i)"+regexp.QuoteMeta(text)).Match)
		default:
			all = append(all, func(r []byte) bool { return bytes.Contains(r, []byte(text)) })
		}
	}
	return func(r []byte) bool {
		match := len(all) == 0 || slices.ContainsFunc(all, func(m func([]byte) bool) bool { return m(r) })
		return match != p.Invert
	}
}

var alphabet = []string{"a", "b", "A", "B", "k", "K", "\u212a", "s", "S", "\u017f", "ß", "\u1e9e", "é", "É", "\xff", "\xc3", "\x80", "\ufffd", "", " ", "1", "\x00", "\r", "@", "`", "σ", "ς", "Σ", "θ", "ϑ", "ϴ", "Θ"}

func word(rnd *rand.Rand, n int, letters []string) string {
	var b strings.Builder
	for range rnd.IntN(n) {
		b.WriteString(letters[rnd.IntN(len(letters))])
	}
	return b.String()
}

func TestSubstrings(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 40_000 {
		letters := alphabet
		if rnd.IntN(3) == 0 {
			letters = alphabet[:6+rnd.IntN(8)] // more of it matches
		}
		p := Pattern{Texts: []string{word(rnd, 5, letters)}, IgnoreCase: rnd.IntN(2) == 0, Invert: rnd.IntN(4) == 0}
		switch rnd.IntN(4) {
		case 0:
			p.Texts = append(p.Texts, word(rnd, 4, letters), word(rnd, 4, letters))
		case 1: // sets, of one tier or of both
			least := 2 + rnd.IntN(5)
			for range rnd.IntN(40) {
				p.Texts = append(p.Texts, word(rnd, 3, letters)+strings.Repeat(letters[rnd.IntN(len(letters))], least)+word(rnd, 4, letters))
			}
		}
		if rnd.IntN(20) == 0 {
			p.Texts = append(p.Texts, word(rnd, 3, letters)+"\n"+word(rnd, 3, letters))
		}
		if p.IgnoreCase && slices.ContainsFunc(p.Texts, func(s string) bool { return !utf8.ValidString(s) }) {
			continue // see TestFoldedBytes
		}
		records := make([][]byte, rnd.IntN(8))
		for i := range records {
			records[i] = []byte(word(rnd, 12, letters))
			if rnd.IntN(2) == 0 {
				records[i] = append(records[i], p.Texts[rnd.IntN(len(p.Texts))]+word(rnd, 5, letters)...)
			}
			if rnd.IntN(20) == 0 {
				records[i] = append(records[i], "\nx"...)
			}
		}
		s := compile(t, p).Searcher()
		agree(t, s, records, oracle(p))
		if t.Failed() {
			t.Fatalf("%d: %+q", i, p.Texts)
		}
	}
}

// A needle that is not UTF-8 has no regexp: its bad bytes equal themselves, the others are folded.
func TestFoldedBytes(t *testing.T) {
	for _, c := range []struct {
		needle, record string
		want           bool
	}{
		{"\xffa", "x\xffA", true},
		{"\xffa", "x\xfeA", false},
		{"K\xc3", "k\xc3", true},
		{"\x80", "\u00c0", true}, // the last byte of À, as without -i
		{"\ufffd\xff", "\ufffd\xff", true},
		{"\ufffd\xff", "\xff\xff", false},
		{"\ufffd", "\xff", true},
	} {
		s := compile(t, Pattern{Texts: []string{c.needle}, IgnoreCase: true}).Searcher()
		if have := s.Match([]byte(c.record)); have != c.want {
			t.Errorf("%q in %q: want %t, have %t", c.needle, c.record, c.want, have)
		}
		if have := len(s.Lines(nil, []byte(c.record+"\n"))) == 1; have != c.want {
			t.Errorf("%q in the line %q: want %t, have %t", c.needle, c.record, c.want, have)
		}
	}
}

var expressions = []string{"a", "^a$", "a.b", "(?s)a.b", "(?m)^b$", "^$", "", "x*", `\xff`, "[^a]", `\s$`, `\r`, "a|b", "(?i)A B",
	"st.t.s=[45]", "[Aa] ?b", "(a|b)c?d", `a\nb`, `a[\n ]b`, `\Qa.`, `a\b`, `\x{fffd}`, "[\ufffdx]", "a$|^b", `\pL+=`, "(a|b|c)(d|e|f)(g|h|i)",
	`(status|error)=(4|5)..\b`, `k\x{212a}`, "(?i)k", "(?i)sS", ".*", "^.*$", "^", "$", `\z|x`, "(?i)ſ", "[Kk]el", `(Failed|Invalid).*port 41[0-9]{2}\b`}

func TestRegex(t *testing.T) {
	records := [][]byte{{}, []byte("a"), []byte("A b"), []byte("a\nb"), []byte("status=500"), []byte("\xff"), []byte("x\r"), []byte("aaa"), []byte("a."),
		[]byte("abd"), []byte("K\u212a"), []byte("\u017fs"), []byte("beh"), []byte("b"), []byte("error=418 x"), []byte("\ufffd"), []byte("kelvin"),
		[]byte("Failed password from 1.2.3.4 port 4123 ssh2"), []byte("Failed password from 1.2.3.4 port 41234 ssh2")}
	lines := slices.DeleteFunc(slices.Clone(records), func(r []byte) bool { return bytes.Contains(r, []byte("\n")) })
	var many [][]byte // more than a glance
	for range 200 {
		many = append(many, lines...)
	}
	for i, expr := range expressions {
		for _, fold := range []bool{false, true} {
			for _, invert := range []bool{false, true} {
				p := Pattern{Texts: []string{expr}, Regex: true, IgnoreCase: fold, Invert: invert}
				if i%3 == 0 && i > 0 {
					p.Texts = append(p.Texts, expressions[i-1])
				}
				s := compile(t, p).Searcher()
				agree(t, s, records, oracle(p))
				agree(t, s, lines, oracle(p))
				agree(t, s, many, oracle(p))
				agree(t, s, records, oracle(p))
			}
		}
	}
}

func TestAll(t *testing.T) {
	for _, p := range []Pattern{{}, {Texts: []string{""}}, {Texts: []string{"", "x"}}, {Texts: []string{"x", "y*"}, Regex: true}} {
		prog := compile(t, p)
		if !prog.All() || prog.Required().Op != required.OpAny {
			t.Errorf("%q: not all", p.Texts)
		}
		if have := prog.Searcher().Lines(nil, []byte("x\n\n")); !slices.Equal(have, []Line{{Start: 0, End: 1}, {Start: 2, End: 2}}) {
			t.Errorf("%q: %v", p.Texts, have)
		}
		p.Invert = true
		prog = compile(t, p)
		s := prog.Searcher()
		if prog.All() || s.Match([]byte("x")) || s.Match(nil) || !s.Absent([]byte("x\n")) || s.Count([]byte("x\n")) != 0 || len(s.Lines(nil, []byte("x\n"))) != 0 {
			t.Errorf("inverted %q", p.Texts)
		}
	}
	for _, expr := range []string{"^.*$", "^$", "x", `^a*$|b`, `\b`, `(?m)$x`} {
		if compile(t, Pattern{Texts: []string{expr}, Regex: true}).All() {
			t.Errorf("%s does not match every record", expr)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	long := strings.Repeat("x", MaxPattern+1)
	for _, c := range []struct{ text, want string }{
		{"a(b", `bad pattern "a(b": missing closing )`},
		{"x)y", `bad pattern "x)y": unexpected )`},
		{"ab[z-a]", `bad pattern "ab[z-a]": invalid character class range at byte 4: "z-a"`},
		{"a**", `bad pattern "a**": invalid nested repetition operator at byte 2: "**"`},
		{"*", `bad pattern "*": missing argument to repetition operator`},
		{`(?<n>a)(?=b)`, `bad pattern "(?<n>a)(?=b)": invalid or unsupported Perl syntax at byte 8: "(?="`},
		{"a{9999}", `bad pattern "a{9999}": invalid repeat count at byte 2: "{9999}" (1000 is the most, of repetitions in each other together)`},
		{`a\1`, `bad pattern "a\\1": invalid escape sequence at byte 2: "\\1"`},
		{"\xff", `bad pattern "\xff": invalid UTF-8`},
		{long, "bad pattern: 65537 bytes are more than 65536"},
		{"(.abcdefghij){1000}{70}", `bad pattern "(.abcdefghij){1000}{70}": invalid nested repetition operator at byte 14: "{1000}{70}"`},
		{"(?:" + long[:99] + "y?){1000}", `bad pattern "(?:` + long[:99] + `y?){1000}": it is too large: 103000 instructions, at most 20000: repeat less, or ask in parts`},
		{"(?:" + long[:300] + "y?){1000}", `bad pattern "(?:` + long[:197] + `"... (312 bytes): it is too large: 304000 instructions, at most 20000: repeat less, or ask in parts`},
	} {
		for _, fold := range []bool{false, true} {
			_, err := Compile(Pattern{Texts: []string{"fine", c.text}, Regex: true, IgnoreCase: fold})
			if !errors.Is(err, ErrPattern) || err.Error() != c.want {
				t.Errorf("%q:\nwant %s\nhave %v", c.text, c.want, err)
			}
		}
	}
	var texts []string
	for i := range MaxPatterns/MaxPattern + 1 {
		texts = append(texts, long[:MaxPattern-1]+string(rune('a'+i)))
	}
	if _, err := Compile(Pattern{Texts: texts}); !errors.Is(err, ErrPattern) {
		t.Errorf("%d long texts: %v", len(texts), err)
	}
	texts = nil
	for i := range 20 {
		texts = append(texts, fmt.Sprintf("%d(..........x){900}", i))
	}
	if _, err := Compile(Pattern{Texts: texts, Regex: true}); !errors.Is(err, ErrPattern) || !strings.Contains(err.Error(), "together") {
		t.Errorf("%d large expressions: %v", len(texts), err)
	}
}

// What is too large for one DFA takes several, and what is too large for any is left to package regexp.
func TestTooLargeForOne(t *testing.T) {
	p := Pattern{Regex: true}
	for _, first := range "wxyz" {
		p.Texts = append(p.Texts, fmt.Sprintf("%c(?:[0-9]|[a-f][a-f]|%c[^x]){900}$", first, first))
	}
	p.Texts = append(p.Texts, "v"+strings.Repeat("u?", 9000)+"v")
	records := [][]byte{[]byte("x"), nil, []byte("-x" + strings.Repeat("7ab", 450)), []byte("-y" + strings.Repeat("7ab", 450)), []byte("-y" + strings.Repeat("7ab", 449))}
	s := compile(t, p).Searcher()
	if len(s.parts) < 2 {
		t.Errorf("%d parts", len(s.parts))
	}
	agree(t, s, records, oracle(p))

	p.Texts = []string{"^(?:((((((((((.))))))))))x){1000}$"}
	records = [][]byte{[]byte("x"), nil, []byte(strings.Repeat("yx", 1000)), []byte(strings.Repeat("yx", 999)), []byte("yx"), []byte("x\ny")}
	s = compile(t, p).Searcher()
	if s.parts[0].dfa != nil {
		t.Error("not too large")
	}
	agree(t, s, records, oracle(p))
	agree(t, s, records[:5], oracle(p))
}

// A DFA of too many states gives up, and is tried again later.
func TestGivesUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	p := Pattern{Texts: []string{"a.{14}b.{14}[ac].{10}d"}, Regex: true}
	s := compile(t, p).Searcher()
	var records [][]byte
	for range 12_000 {
		r := make([]byte, rnd.IntN(200))
		for i := range r {
			r[i] = "abcd"[rnd.IntN(4)]
		}
		records = append(records, r)
	}
	agree(t, s, records, oracle(p))
	if _, ok := s.parts[0].dfa.Match(records[0]); ok {
		t.Error("the DFA did not give up")
	}
}

// The letters that are folded are exactly those that Unicode folds.
func TestFoldedLetters(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r == utf8.RuneError || !utf8.ValidRune(r) || unicode.SimpleFold(r) == r {
			continue
		}
		s := compile(t, Pattern{Texts: []string{string(r)}, IgnoreCase: true}).Searcher()
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if !s.Match([]byte("-" + string(f))) {
				t.Errorf("%q does not match %q", r, f)
			}
		}
		if s.Match([]byte("0")) {
			t.Errorf("%q matches 0", r)
		}
	}
}

func ExampleCompile() {
	p, _ := Compile(Pattern{Texts: []string{"straße"}, IgnoreCase: true})
	text := []byte("Hauptstraße 1\nMarkt 2\nBERGSTRAẞE 3\n")
	for _, l := range p.Searcher().Lines(nil, text) {
		fmt.Printf("%s\n", text[l.Start:l.End])
	}
	// Output:
	// Hauptstraße 1
	// BERGSTRAẞE 3
}
