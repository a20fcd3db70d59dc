package query

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
)

// agree holds the three methods of a matcher against what each record wants.
func agree(t *testing.T, m Matcher, records [][]byte, want func([]byte) bool) {
	t.Helper()
	var text []byte
	var lines [][2]int
	any, single := false, true
	for _, r := range records {
		w := want(r)
		if m.Match(r) != w {
			t.Fatalf("%#v: record %q: want %t", m, r, w)
		}
		any = any || w
		single = single && !bytes.Contains(r, []byte("\n"))
		if w {
			lines = append(lines, [2]int{len(text), len(text) + len(r)})
		}
		text = append(append(text, r...), '\n')
	}
	if m.Absent(text) && any {
		t.Fatalf("%#v: text %q: absent and matched", m, text)
	}
	if !single {
		return
	}
	var have [][2]int
	for start, end := range m.Lines(text) {
		have = append(have, [2]int{start, end})
	}
	if !slices.Equal(have, lines) {
		t.Fatalf("%#v: text %q: want %v, have %v", m, text, lines, have)
	}
	for range m.Lines(text) {
		break // whoever has seen enough may leave
	}
}

func TestMatcherLines(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	alphabet := []string{"a", "b", "A", "k", "K", "\u212a", "s", "\u017f", "ß", "\u1e9e", "é", "É", "\xff", "\xc3", "\x80", "\ufffd", "", " ", "1", "\x00", "\r", "σ", "ς", "Σ", "θ", "ϑ", "ϴ", "Θ"}
	word := func(n int) string {
		var b strings.Builder
		for range rnd.IntN(n) {
			b.WriteString(alphabet[rnd.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 20_000 {
		p := Pattern{Texts: []string{word(5)}, IgnoreCase: rnd.IntN(2) == 0, Invert: rnd.IntN(4) == 0}
		if rnd.IntN(3) == 0 {
			p.Texts = append(p.Texts, word(4), word(4))
		}
		if p.IgnoreCase && slices.ContainsFunc(p.Texts, func(s string) bool { return !utf8.ValidString(s) }) {
			continue // see TestFoldedBytes
		}
		m, err := NewMatcher(p)
		if err != nil {
			t.Fatal(err)
		}
		if m == nil {
			continue
		}
		records := make([][]byte, rnd.IntN(8))
		for i := range records {
			records[i] = []byte(word(12))
			if rnd.IntN(20) == 0 {
				records[i] = append(records[i], "\nx"...)
			}
		}
		agree(t, m, records, func(r []byte) bool {
			match := false
			for _, text := range p.Texts {
				if p.IgnoreCase {
					match = match || regexp.MustCompile("(?i)"+regexp.QuoteMeta(text)).Match(r)
				} else {
					match = match || bytes.Contains(r, []byte(text))
				}
			}
			return match != p.Invert
		})
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
	} {
		m, err := NewMatcher(Pattern{Texts: []string{c.needle}, IgnoreCase: true})
		if err != nil {
			t.Fatal(err)
		}
		if have := m.Match([]byte(c.record)); have != c.want {
			t.Errorf("%q in %q: want %t, have %t", c.needle, c.record, c.want, have)
		}
	}
}

func TestMatcherRegex(t *testing.T) {
	records := [][]byte{{}, []byte("a"), []byte("A b"), []byte("a\nb"), []byte("status=500"), []byte("\xff"), []byte("x\r"), []byte("aaa")}
	for _, expr := range []string{"a", "^a$", "a.b", "(?s)a.b", "(?m)^b$", "^$", "", "x*", `\xff`, "[^a]", `\s$`, `\r`, "a|b", "(?i)A B", "st.t.s=[45]"} {
		for _, fold := range []bool{false, true} {
			m, err := NewMatcher(Pattern{Texts: []string{expr}, Regex: true, IgnoreCase: fold})
			if err != nil {
				t.Fatal(err)
			}
			re := regexp.MustCompile(expr)
			if fold {
				re = regexp.MustCompile("(?i)" + expr)
			}
			if m == nil {
				continue
			}
			agree(t, m, records, re.Match)
			agree(t, m, slices.DeleteFunc(slices.Clone(records), func(r []byte) bool { return bytes.Contains(r, []byte("\n")) }), re.Match)
		}
	}
}

func TestMatcherOfAll(t *testing.T) {
	for _, texts := range [][]string{nil, {""}, {"", "x"}} {
		if m, err := NewMatcher(Pattern{Texts: texts}); m != nil || err != nil {
			t.Errorf("%q: %v, %v", texts, m, err)
		}
		m, err := NewMatcher(Pattern{Texts: texts, Invert: true})
		if err != nil || m.Match([]byte("x")) || m.Match(nil) || !m.Absent([]byte("x\n")) {
			t.Errorf("inverted %q: %v, %v", texts, m, err)
		}
		for range m.Lines([]byte("x\n")) {
			t.Error("a line")
		}
	}
}

func TestPatternErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a(b", `bad pattern "a(b": missing closing )`},
		{"x)y", `bad pattern "x)y": unexpected )`},
		{"ab[z-a]", `bad pattern "ab[z-a]": invalid character class range at byte 4: "z-a"`},
		{"a**", `bad pattern "a**": invalid nested repetition operator at byte 2: "**"`},
		{"*", `bad pattern "*": missing argument to repetition operator`},
		{`(?<n>a)(?=b)`, `bad pattern "(?<n>a)(?=b)": invalid or unsupported Perl syntax at byte 8: "(?="`},
		{"a{9999}", `bad pattern "a{9999}": invalid repeat count at byte 2: "{9999}"`},
		{`a\1`, `bad pattern "a\\1": invalid escape sequence at byte 2: "\\1"`},
		{"\xff", `bad pattern "\xff": invalid UTF-8`},
		{strings.Repeat("x", MaxPattern+1), "bad pattern: 65537 bytes are more than 65536"},
	} {
		for _, fold := range []bool{false, true} {
			_, err := NewMatcher(Pattern{Texts: []string{"fine", c.text}, Regex: true, IgnoreCase: fold})
			if !errors.Is(err, ErrPattern) || err.Error() != c.want {
				t.Errorf("%q:\nwant %s\nhave %v", c.text, c.want, err)
			}
		}
	}
}

// The letters that are folded are exactly those that Unicode folds.
func TestFoldedLetters(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r == utf8.RuneError || !utf8.ValidRune(r) || unicode.SimpleFold(r) == r {
			continue
		}
		m, err := NewMatcher(Pattern{Texts: []string{string(r)}, IgnoreCase: true})
		if err != nil {
			t.Fatal(err)
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if !m.Match([]byte("-" + string(f))) {
				t.Errorf("%q does not match %q", r, f)
			}
		}
		if m.Match([]byte("0")) {
			t.Errorf("%q matches 0", r)
		}
	}
}

func FuzzFolded(f *testing.F) {
	f.Add("Köln", []byte("KÖLN\nk\xffoln\n\u212aöln"))
	f.Add("ss", []byte("s\u017f\nSS"))
	f.Add("\ufffd", []byte("\xff"))
	f.Fuzz(func(t *testing.T, needle string, text []byte) {
		re, err := regexp.Compile("(?i)" + regexp.QuoteMeta(needle))
		if err != nil || needle == "" {
			return
		}
		m, err := NewMatcher(Pattern{Texts: []string{needle}, IgnoreCase: true})
		if err != nil {
			t.Fatal(err)
		}
		agree(t, m, bytes.Split(text, []byte("\n")), re.Match)
	})
}

func ExampleNewMatcher() {
	m, _ := NewMatcher(Pattern{Texts: []string{"straße"}, IgnoreCase: true})
	text := []byte("Hauptstraße 1\nMarkt 2\nBERGSTRAẞE 3\n")
	for start, end := range m.Lines(text) {
		fmt.Printf("%s\n", text[start:end])
	}
	// Output:
	// Hauptstraße 1
	// BERGSTRAẞE 3
}
