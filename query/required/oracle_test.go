package required

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The regexp package is the oracle: what it matches, the expression is true of.

// check holds the expression of a regular expression against the oracle, and tells whether that matches.
func check(t *testing.T, re *regexp.Regexp, e *Expr, text []byte) bool {
	t.Helper()
	if !re.Match(text) {
		return false
	}
	if !e.Match(text) {
		t.Fatalf("%q matches %q, of which this is not true: %v", re, text, e)
	}
	checkUses(t, e, text)
	return true
}

// checkUses holds what is made of an expression against a text of which it is true.
func checkUses(t *testing.T, e *Expr, text []byte) {
	t.Helper()
	for _, s := range e.Sets() {
		if !slices.ContainsFunc(s, func(l Literal) bool { return l.Match(text) }) {
			t.Fatalf("%v: %q holds none of %v", e, text, s)
		}
	}
	lowered := []byte(lower(string(text)))
	for _, l := range literals(e) {
		if !l.Match(text) {
			continue
		}
		for _, piece := range l.Pieces() {
			if !bytes.Contains(lowered, []byte(piece)) {
				t.Fatalf("%q holds %v, and in lower case not %q", text, l, piece)
			}
		}
	}
}

// literals are those of an expression, as it stands.
func literals(e *Expr) []Literal {
	if e.Op == OpLit {
		return []Literal{e.Lit}
	}
	var all []Literal
	for _, s := range e.Sub {
		all = append(all, literals(s)...)
	}
	return all
}

// checkShape holds an expression against the bounds, and against what its type promises.
func checkShape(t *testing.T, e *Expr) {
	t.Helper()
	n, size := 0, 0
	for _, l := range literals(e) {
		n++
		size += len(l.Text)
		if l.Text == "" || len(l.Text) > maxText {
			t.Fatalf("a literal of %d bytes", len(l.Text))
		}
		if l.Fold && (l.Text != lower(l.Text) || !strings.ContainsFunc(l.Text, isLetter)) {
			t.Fatalf("a literal that is not in its form: %v", l)
		}
	}
	if n > maxLiterals || size > maxBytes {
		t.Fatalf("%d literals of %d bytes", n, size)
	}
	var walk func(e *Expr)
	walk = func(e *Expr) {
		if (e.Op == OpLit) != (e.Lit.Text != "") || (e.Op >= OpAnd) != (len(e.Sub) >= 2) || e.Op < OpAnd && e.Sub != nil {
			t.Fatalf("bad expression %v", e)
		}
		if e.Op == OpAnd && len(e.Sub) > maxTerms {
			t.Fatalf("%d operands of an and", len(e.Sub))
		}
		for _, s := range e.Sub {
			if s.Op == e.Op || s.Op < OpLit {
				t.Fatalf("%v within %v", s, e)
			}
			walk(s)
		}
	}
	walk(e)
}

// A sampler writes texts that a regular expression probably matches.
type sampler struct {
	*rand.Rand
	out   []byte
	parts int // that it came across: stars within stars are many, and empty
}

func (s *sampler) pick(of ...string) string { return of[s.IntN(len(of))] }

func (s *sampler) rune(r rune) {
	if r == utf8.RuneError || !utf8.ValidRune(r) {
		s.out = append(s.out, s.pick("\ufffd", "\xff", "\x80", "\xed\xa0\x80", "\xe2\x84")...)
		return
	}
	s.out = utf8.AppendRune(s.out, r)
}

func (s *sampler) noise(n int) {
	for range s.IntN(n) {
		s.out = append(s.out, s.pick("a", "b", "K", "k", "s", "S", "\u212a", "\u017f", "é", "É", " ", "\n", "1", "\xff", "\xc3", "\ufffd", "foo", "port 4")...)
	}
}

func (s *sampler) sample(re *syntax.Regexp) {
	const enough = 2000
	if s.parts++; len(s.out) > enough || s.parts > enough {
		return
	}
	times := 1
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 {
				all := orbit(r)
				r = all[s.IntN(len(all))]
			}
			s.rune(r)
		}
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return
		}
		i := s.IntN(len(re.Rune)/2) * 2
		lo, hi := re.Rune[i], re.Rune[i+1]
		r := lo + s.Int32N(min(hi-lo, 100)+1)
		if lo <= utf8.RuneError && utf8.RuneError <= hi && s.IntN(2) == 0 {
			r = utf8.RuneError
		}
		s.rune(r)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s.noise(2)
	case syntax.OpBeginLine, syntax.OpEndLine:
		s.out = append(s.out, s.pick("", "", "\n")...)
	case syntax.OpWordBoundary:
		s.out = append(s.out, s.pick("", "", " ")...)
	case syntax.OpAlternate:
		s.sample(re.Sub[s.IntN(len(re.Sub))])
		return
	case syntax.OpQuest:
		times = s.IntN(2)
	case syntax.OpStar:
		times = s.IntN(4)
	case syntax.OpPlus:
		times = 1 + s.IntN(3)
	case syntax.OpRepeat:
		if times = re.Min; re.Max > re.Min {
			times += s.IntN(re.Max - re.Min + 1)
		} else if re.Max < 0 {
			times += s.IntN(3)
		}
	}
	for range times {
		for _, sub := range re.Sub {
			s.sample(sub)
		}
	}
}

// texts yields some for a regular expression: most match it, some nearly.
func texts(rnd *rand.Rand, re *syntax.Regexp, n int) [][]byte {
	var all [][]byte
	for range n {
		s := &sampler{Rand: rnd}
		if rnd.IntN(2) == 0 {
			s.noise(4)
		}
		s.sample(re)
		if rnd.IntN(2) == 0 {
			s.noise(4)
		}
		if len(s.out) > 0 && rnd.IntN(4) == 0 {
			i := rnd.IntN(len(s.out))
			switch rnd.IntN(3) {
			case 0:
				s.out[i] ^= 0x20
			case 1:
				s.out = slices.Delete(s.out, i, i+1)
			default:
				s.out = slices.Insert(s.out, i, s.out[rnd.IntN(len(s.out))])
			}
		}
		all = append(all, s.out)
	}
	return all
}

// pattern draws a regular expression.
func pattern(rnd *rand.Rand, depth int) string {
	one := func(of ...string) string { return of[rnd.IntN(len(of))] }
	if depth == 0 || rnd.IntN(4) == 0 {
		return one("a", "b", "k", "K", "s", "\u212a", "\u017f", "é", "ß", "ς", "foo", "Port 4", "disk", "ab", "1",
			`[ab]`, `[Aa]`, `[Kk]`, `[Kk\x{212A}]`, `[Ss\x{17F}x]`, `[0-9]`, `[0-9a-f]`, `[^a]`, `[a-z]`, `[éÉ]`, `[\x{FFFD}a]`, `\x{FFFD}`, `\x{D7FF}`,
			`\x{D800}`, `[\x{D800}a]`, `.`, `\w`, `\d`, `\s`, `\pL`, `[^\x00-\x{10FFFF}]`, `\n`, `\x00`, `\b`, `\B`, `^`, `$`, `\A`, `\z`, ``)
	}
	sub := func() string { return pattern(rnd, depth-1) }
	switch rnd.IntN(10) {
	case 0, 1, 2:
		return sub() + sub()
	case 3:
		return sub() + sub() + sub()
	case 4:
		return "(?:" + sub() + "|" + sub() + ")"
	case 5:
		return "(" + sub() + "|" + sub() + "|" + sub() + "|" + sub() + ")"
	case 6:
		return "(?:" + sub() + ")" + one("?", "*", "+", "??", "*?", "+?")
	case 7:
		n := rnd.IntN(4)
		return "(?:" + sub() + ")" + one(fmt.Sprintf("{%d}", n), fmt.Sprintf("{%d,}", n), fmt.Sprintf("{%d,%d}", n, n+rnd.IntN(3)))
	case 8:
		return "(?" + one("i", "s", "m", "im", "-i", "U") + ":" + sub() + ")"
	default:
		return sub() + ".*" + sub()
	}
}

func TestRegexpSound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	matched, says, total := 0, 0, 0
	for range 5_000 {
		p := pattern(rnd, 4)
		parsed, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			continue // a repeat of repeats over its limit
		}
		re := regexp.MustCompile(p)
		e := Regexp(parsed)
		checkShape(t, e)
		for _, text := range texts(rnd, parsed, 8) {
			total++
			if check(t, re, e, text) {
				matched++
				if e.Op != OpAny {
					says++
				}
			}
		}
	}
	if matched < total/4 || says < matched/4 {
		t.Errorf("of %d texts %d matched, and %d of those with an expression that says something: the test has no teeth", total, matched, says)
	}
}

func FuzzRegexp(f *testing.F) {
	for i, tt := range patterns() {
		f.Add(tt.pattern, []byte("Failed password from port 4177"), uint64(i))
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		f.Add(pattern(rnd, 4), []byte("\xff\u212a\n"), uint64(i))
	}
	f.Fuzz(func(t *testing.T, p string, text []byte, seed uint64) {
		parsed, err := syntax.Parse(p, syntax.Perl)
		if err != nil || len(p) > 500 || len(text) > 5000 {
			return
		}
		re, err := regexp.Compile(p)
		if err != nil {
			return
		}
		e := Regexp(parsed)
		checkShape(t, e)
		check(t, re, e, text)
		for _, text := range texts(rand.New(rand.NewPCG(seed, 0)), parsed, 8) {
			check(t, re, e, text)
		}
		check(t, re, Regexp(parsed.Simplify()), text)
	})
}

// spelling writes a needle in any case, as a text that holds it may have it.
func spelling(rnd *rand.Rand, needle []byte) []byte {
	var out []byte
	for len(needle) > 0 {
		r, size := utf8.DecodeRune(needle)
		all := orbit(r)
		if r == utf8.RuneError {
			out = append(out, needle[:size]...)
		} else {
			out = utf8.AppendRune(out, all[rnd.IntN(len(all))])
		}
		needle = needle[size:]
	}
	return out
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

func FuzzSubstring(f *testing.F) {
	for _, s := range []string{"", "a", "disk", "Kelvin\u212a", "große Straße", "\xff\xc3k", "\ufffds", "ΣΑΣ", "привет", strings.Repeat("long ", 99), strings.Repeat("é", 200)} {
		f.Add([]byte(s), []byte("DIS\u212a "+s), uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, needle, text []byte, seed uint64) {
		if len(needle) > 5000 || len(text) > 5000 {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		exact, folded := Substring(needle, false), Substring(needle, true)
		checkShape(t, exact)
		checkShape(t, folded)
		held := slices.Concat(text, needle, text)
		if !exact.Match(held) || !folded.Match(held) {
			t.Fatalf("%q holds %q: not true: %v or %v", held, needle, exact, folded)
		}
		if len(needle) <= maxText && exact.Match(text) != bytes.Contains(text, needle) {
			t.Fatalf("%q of %q: %t", exact, text, exact.Match(text))
		}
		checkUses(t, exact, held)
		spelled := slices.Concat(text, spelling(rnd, needle), text)
		if !folded.Match(spelled) {
			t.Fatalf("%q holds %q in some case: not true: %v", spelled, needle, folded)
		}
		checkUses(t, folded, spelled)
		if !utf8.Valid(needle) {
			return
		}
		re := regexp.MustCompile("(?i)" + regexp.QuoteMeta(string(needle)))
		check(t, re, folded, text)
		check(t, re, folded, spelled)
		if len(needle) <= maxText && isASCII(needle) && folded.Match(text) != re.Match(text) {
			t.Fatalf("%v of %q: %t", folded, text, folded.Match(text))
		}
	})
}
