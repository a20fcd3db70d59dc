package dfa

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// patterns are good and bad: each kind of instruction and assertion, and the places where engines differ.
func patterns() []string {
	return []string{
		``, `a`, `abc`, `a|b`, `ab|abc|`, `a*`, `a+b?`, `(a|b)*c`, `(|a)*`, `(|a)+b`, `(a*)*`, `(a|b|ab)*bc`,
		`^`, `$`, `^$`, `$^`, `^a`, `a$`, `^a$`, `\Aa`, `a\z`, `\A\z`, `(?m)^a`, `(?m)a$`, `(?m)^$`, `(?m)$^`, `(?m)$a`, `(?m)^a$|b`, `a^`, `$a`,
		`^^a$$`, `(^a|b$)`, `(?m)(^|b)a`, `(?m)a$\n^b`, `\n`, `a\nb`, `a[^b]b`, `a[^b]*b`, `(?s)a.b`, `a.b`, `(?s).`, `.`, `.*`, `(?s)^.*$`, `(?s)a.*\z`,
		`\b`, `\B`, `\ba`, `a\b`, `\Ba`, `a\B`, `\ba\b`, `\b\B`, `\b\b`, `^\b`, `\b$`, `^\B$`, `\B\B`, `\b[0-9a-f]{8}\b`, `(\ba|b\B)+c`, `\b^a`, `a\b$`, `(?m)\b$\n`, `é\b`, `\bé`, `\Bé`,
		`(?i)k`, `(?i)s`, `(?i)exception`, `(?i)[k-s]`, `(?i)K`, `(?i)ſ`, `(?i)µ|ß`, `(?i)é`, `[[:^alpha:]]`, `\pL`, `\PL+`, `(?i)\p{Lu}`, `\p{Greek}`, `[^\x00-\x{10FFFF}]`,
		`\x{FFFD}`, `^\x{FFFD}`, `^\x{FFFD}$`, `[\x{FFFD}]`, `[^\x{FFFD}]`, `[^a]`, `a\x{FFFD}b`, `[\x{80}-\x{FF}]`, `[\x{7f}-\x{81}]`, `\x{10FFFF}`, `[\x{D800}-\x{DFFF}]`, `[\x{D000}-\x{10FFFF}]a`,
		`\x00`, `\r$`, `\r?$`, `[^\r]$`, `\t`, `日本`, `日|本`, `(?i)日本`, `[日本]{2}`,
		`(WARN|ERROR).*timeout`, `\b(\d{1,3}\.){3}\d{1,3}:\d{1,5}\b`, `kernel|sshd|authd`, `(\w+\s?)+timeout$`,
		`(a|b)*a(a|b){12}`, `(a|b)*a(a|b){4}$`, `(?:a?){20}a{20}`, `(?U)a+?b`, `[a-c]{2,5}?d`, `a{0}`, `(a{0}b)*`, `x{2,}`, `(?:(?:^a)*b)*`, `(?:$|a)+b`, `(\b|a)*b`,
	}
}

// texts have what lines may hold that trips engines up.
func texts() []string {
	list := []string{
		"", "\n", "\n\n\n", "a\n", "ab\nabc\n", "b\na\nb\n", "a\nb", "aa\n\nbb\n", "\na", "a\n\n", "ab ab\nba ab\n", "a b\tc\n_a-\n",
		"k\nK\n\u212a\n", "s\nS\n\u017f\n", "EXCEPTION\nexception\nexceptıon\n", "é\nÉ\n aé \n", "µ\nμ\nß\nẞ\n", "日本\n本日\n日\n", "\u0391\u03b1\n",
		"\xff\n\xc3\n\xc3\xa9\n\xc3\n\xa9\n", "a\xffb\naéb\na\ufffdb\na\xed\xa0\x80b\n", "\xe2\x82\n\xe2\x82\xac\n\xf0\x9f\x92\n\xf0\x9f\x92\xa9\n", "\xf4\x8f\xbf\xbf\n\xf4\x90\x80\x80\n", "\ufffd\n",
		"\x00\n\x00a\x00\n", "a\r\n\r\n\rb\n", "\x7f\n\u0080\n\u0081\n", "deadbeef\n deadbee \nxdeadbeef\n1deadbee,\n", "WARN x timeout\ntimeout ERROR\nERRORtimeout", "10.0.0.1:22 \n1.2.3.4:\n",
		"sshd\nkern\nel\nauthd", "one two timeout\ntimeout \n", "abababababababab\nbbbbbbbbbbbbbbb\n", "aaaaaaaaaaaaaaaaaaaa\n", "xx\n", "abcd\naaad\n",
		"\xe2\x82\xff\xe2\xe2\x82\xac\xe2", "\xf0\n\x9f\n\x92\n\xa9\n", "a$\n$a\n", "a\nb\na b", strings.Repeat("ab ", 800) + "timeout\n" + strings.Repeat("b", 300) + "\n",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", "c", "d", " ", "\n", "\n", "\n", "é", "\xff", "\xe2\x82", "K", "\u212a", "1", "_", "\r", "\x00", "日", "\ufffd"}
	for range 12 {
		var s strings.Builder
		for range rnd.IntN(400) {
			s.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		list = append(list, s.String())
	}
	return list
}

// surrogate tells whether an expression names a surrogate by itself: see the package's documentation.
func surrogate(insts []syntax.Inst) bool {
	return slices.ContainsFunc(insts, func(in syntax.Inst) bool {
		return len(in.Rune) == 1 && 0xd800 <= in.Rune[0] && in.Rune[0] < 0xe000
	})
}

func compile(tb testing.TB, expr string) *Program {
	tb.Helper()
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := Compile(re)
	if err != nil {
		tb.Fatalf("%q: %v", expr, err)
	}
	return p
}

// matchers are the ways to walk: as shipped, from four lanes on the shortest text, and with next to no memory, so that states are
// dropped all the time.
func matchers(p *Program) map[string]*DFA {
	shipped, short, tiny, tight := p.New(), p.New(), p.New(), p.New()
	short.steal, tiny.steal, tight.steal = 1, 1, 1
	tiny.limit, tiny.pace = 0, 0
	tight.limit, tight.pace = 12*tight.cost("12345"), 0
	return map[string]*DFA{"shipped": shipped, "four lanes": short, "no memory": tiny, "little memory": tight}
}

// checkLines compares Lines, Among and Line with package regexp.
func checkLines(tb testing.TB, ways map[string]*DFA, re *regexp.Regexp, text []byte) {
	tb.Helper()
	var want []Line
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		if re.Match(text[at:end]) {
			want = append(want, Line{at, end})
		}
		at = end + 1
	}
	before := []Line{{-1, -2}}
	for name, d := range ways {
		for _, n := range []int{1, lanes} {
			have, ok := d.lines(before, text, n)
			if !ok {
				tb.Fatalf("%s, %d lanes: %q gave up on %.200q", name, n, re, text)
			}
			if have[0] != before[0] || !slices.Equal(have[1:], want) {
				tb.Fatalf("%s, %d lanes: %q on %.2000q:\nwant %v\nhave %v", name, n, re, text, want, have)
			}
		}
		checkAmong(tb, name, d, re, text, want)
		w := want
		for at := 0; at < len(text); {
			matched, end, ok := d.Line(text, at)
			if !ok {
				tb.Fatalf("%s: %q gave up on a line of %.200q", name, re, text)
			}
			if isLine := len(w) > 0 && w[0].Start == at; matched != isLine || end < len(text) && text[end] != '\n' || bytes.IndexByte(text[at:end], '\n') >= 0 {
				tb.Fatalf("%s: %q on line %d:%d of %.2000q: want %v, have %v", name, re, at, end, text, isLine, matched)
			} else if isLine {
				w = w[1:]
			}
			at = end + 1
		}
	}
}

// checkAmong asks for all lines, and for two of three.
func checkAmong(tb testing.TB, name string, d *DFA, re *regexp.Regexp, text []byte, want []Line) {
	tb.Helper()
	all := everyLine(nil, text)
	picked := slices.DeleteFunc(slices.Clone(all), func(l Line) bool { return l.Start%3 == 0 })
	wantPicked := slices.DeleteFunc(slices.Clone(want), func(l Line) bool { return l.Start%3 == 0 })
	before := []Line{{-1, -2}}
	for _, c := range []struct{ candidates, want []Line }{{all, want}, {picked, wantPicked}} {
		have, ok := d.Among(before, text, c.candidates)
		if !ok || have[0] != before[0] || !slices.Equal(have[1:], c.want) {
			tb.Fatalf("%s: %q among %d lines of %.2000q:\nwant %v\nhave %v, %v", name, re, len(c.candidates), text, c.want, have, ok)
		}
	}
}

// checkMatch compares Match with package regexp.
func checkMatch(tb testing.TB, ways map[string]*DFA, re *regexp.Regexp, record []byte) {
	tb.Helper()
	want := re.Match(record)
	for name, d := range ways {
		have, ok := d.Match(record)
		if !ok || have != want {
			tb.Fatalf("%s: %q on %.2000q: want %v, have %v, %v", name, re, record, want, have, ok)
		}
	}
}

func TestOracle(t *testing.T) {
	list := texts()
	for _, expr := range patterns() {
		re := regexp.MustCompile(expr)
		ways := matchers(compile(t, expr))
		for _, text := range list {
			checkLines(t, ways, re, []byte(text))
			checkMatch(t, ways, re, []byte(text))
			for line := range strings.Lines(text) {
				checkMatch(t, ways, re, []byte(line))
			}
		}
	}
}

// TestRealLogs asks for what people ask for, in the beginnings of real logs: those of the folder named by CORPORA, or the sample.
func TestRealLogs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(cmp.Or(os.Getenv("CORPORA"), "../../testdata/sample"), "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = text[:min(len(text), 256<<10)]
		for _, bench := range benchPatterns() {
			d := compile(t, bench.expr).New()
			checkLines(t, map[string]*DFA{file: d}, regexp.MustCompile(bench.expr), text)
		}
	}
}

// TestRandomPatterns draws expressions from a grammar, over few characters, so that much of it matches.
func TestRandomPatterns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	list := texts()
	for range 1500 {
		expr := randomPattern(rnd, 4)
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		ways := matchers(compile(t, expr))
		for range 4 {
			text := []byte(list[rnd.IntN(len(list))])
			text = text[:min(len(text), 600)]
			checkLines(t, ways, re, text)
			checkMatch(t, ways, re, text)
		}
	}
}

func randomPattern(rnd *rand.Rand, depth int) string {
	atoms := []string{"a", "b", "c", "ab", ".", "[ab]", "[^a]", `\w`, `\W`, `\s`, `\d`, "é", "日", `\x{FFFD}`, `\n`, "(?i:k)", `(?s:.)`, "", " ", `\pL`,
		"^", "$", `\b`, `\B`, `\A`, `\z`, "(?m:^)", "(?m:$)"}
	if depth == 0 {
		return atoms[rnd.IntN(len(atoms))]
	}
	sub := func() string { return randomPattern(rnd, depth-1) }
	switch rnd.IntN(8) {
	case 0:
		return "(?:" + sub() + "|" + sub() + ")"
	case 1:
		return "(" + sub() + ")*"
	case 2:
		return "(?:" + sub() + ")?"
	case 3:
		return "(?:" + sub() + ")+?"
	case 4:
		return fmt.Sprintf("(?:%s){%d,%d}", sub(), rnd.IntN(2), 1+rnd.IntN(3))
	case 5:
		return atoms[rnd.IntN(len(atoms))]
	default:
		return sub() + sub()
	}
}

func TestSimplifiedIsTheSame(t *testing.T) {
	for _, expr := range patterns() {
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(re.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, matchers(p), regexp.MustCompile(expr), []byte("ab\naab\nabbbb abab\n\nxx\n"))
	}
}

// manyStates is an expression that needs 2^13 states, and a text that comes to most of them.
func manyStates() (expr string, text []byte) {
	rnd := rand.New(rand.NewPCG(5, 6))
	text = make([]byte, 256<<10)
	for i := range text {
		text[i] = "ab"[rnd.IntN(2)]
		if rnd.IntN(90) == 0 {
			text[i] = '\n'
		}
	}
	text[len(text)-1] = '\n'
	return `^(a|b)*a(a|b){12}$`, text
}

func TestFlushesWhileLanesStand(t *testing.T) {
	expr, text := manyStates()
	p := compile(t, expr)
	d := p.New()
	d.limit, d.pace = 50_000, 0
	checkLines(t, map[string]*DFA{"50 kB": d}, regexp.MustCompile(expr), text[:32<<10])
	if !d.flushed {
		t.Fatal("the cache was never full")
	}
	if most := d.limit + (lanes+2)*d.cost(strings.Repeat("x", 2*len(p.insts))); d.used > most || 4*len(d.table) > most {
		t.Errorf("%d bytes used, of which %d in the table: want at most %d", d.used, 4*len(d.table), most)
	}
}

func TestGivesUp(t *testing.T) {
	expr, text := manyStates()
	re := regexp.MustCompile(expr)
	d := compile(t, expr).New()
	d.limit = 50_000
	before := []Line{{1, 2}}
	if lines, ok := d.Lines(before, text); ok || !slices.Equal(lines, before) {
		t.Fatalf("made %d states in %d bytes and went on: %v", len(d.keys), len(text), ok)
	}
	if lines, ok := d.Among(before, text, []Line{{0, bytes.IndexByte(text, '\n')}}); ok || !slices.Equal(lines, before) {
		t.Fatal("took a text again at once")
	}
	// It leaves what follows to others, for as long as was said, and then takes up again. Its answers are right all the while.
	easy := []byte(strings.Repeat("aaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbb\n", 100))
	for left := d.rest; left > 0; left -= len(easy) + 1 {
		if _, ok := d.Lines(nil, easy); ok {
			t.Fatalf("%d bytes too early", left)
		}
	}
	checkLines(t, map[string]*DFA{"after its rest": d}, re, easy)
	answers, none := 0, 0
	for range 5 {
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			have, ok := d.Match(line)
			if !ok {
				none++
				continue
			}
			answers++
			if have != re.Match(line) {
				t.Fatalf("%q: have %v", line, have)
			}
		}
	}
	if answers == 0 || none < 10*answers {
		t.Errorf("%d answers and %d without: want a few answers for many without", answers, none)
	}
}

func TestLanesShareUnevenText(t *testing.T) {
	// Lines at one end are decided at once, those at the other are walked to their ends, and one is longer than a lane's share.
	var text []byte
	text = append(text, strings.Repeat("match "+strings.Repeat("x", 200)+"\n", 300)...)
	text = append(text, strings.Repeat("y", 100_000)+" match\n"...)
	text = append(text, strings.Repeat("none\n\n", 9000)...)
	text = append(text, strings.Repeat("é", 3000)+"match\nmatch\n"...)
	for _, expr := range []string{`match`, `^match`, `match$`, `^none$`, `^$`, `é+`, `^[^é]*match`} {
		checkLines(t, matchers(compile(t, expr)), regexp.MustCompile(expr), text)
	}
}

func TestTooLarge(t *testing.T) {
	for _, c := range []struct {
		name, expr, want string
	}{
		{"repeated", `(a|bc){1000}`, ""},
		{"repeated more", `(?:some text here){1000}(?:and another){1000}`, "instructions"},
		{"nested", `((((a|bc|d)x*){10}){10}){10}`, ""},
		{"long", strings.Repeat("abcdefghij", 2_001), "instructions"},
		{"tables", strings.Repeat(`\pL\PN`, 4000), ""},
		{"letters", `(?i)\pL{1000}`, ""},
		{"empty", `(?:){1000}`, ""},
		{"nothing", `(?:x{500}){0}`, ""},
		{"one over", strings.Repeat("ab|c*", MaxInsts/4), "instructions"},
	} {
		re, err := syntax.Parse(c.expr, syntax.Perl)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		_, err = Compile(re)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: want an error about %s, have %v", c.name, c.want, err)
		}
	}
}

// TestSizeIsNear holds that no program is taken memory for that is far over the limit.
func TestSizeIsNear(t *testing.T) {
	list := append(patterns(), `(a?){1000}`, `(?:ab*){0,500}`, `(((a))){900,}`, `(?:a|b|cd){3,900}`, `((a{1,10}){1,10}){1,10}`, `(?:){900}`)
	for _, expr := range list {
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		prog, err := syntax.Compile(re.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if n, is := size(re, MaxInsts), len(prog.Inst); is > 4*n+4 {
			t.Errorf("%q: %d instructions, estimated at %d", expr, is, n)
		}
	}
}

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		expr string
		want int // classes: the newline is one, what is not named another
	}{
		{``, 2}, {`a`, 3}, {`[a-z]`, 3}, {`[a-z]x|qy`, 6}, {`\w\b`, 3}, {`\pL`, 3}, {`\pLa|\PLb`, 5}, {`(?i)k`, 3}, {`(?i:k)|ky`, 5}, {`\n`, 2}, {`(?s).`, 2}, {`日`, 2},
	} {
		if have := int(compile(t, c.expr).stride) - colASCII - highCols; have != c.want {
			t.Errorf("%q: want %d classes, have %d", c.expr, c.want, have)
		}
	}
	// Each pair of ASCII characters against the instructions themselves, and the other bytes against what UTF-8 is.
	all := ""
	for r := range rune(utf8.RuneSelf) {
		all += fmt.Sprintf(`[\x%02x]x?|`, r)
	}
	for _, expr := range append(patterns(), all) {
		p := compile(t, expr)
		first := map[uint8]rune{}
		for b, col := range p.record {
			switch r, ok := first[col]; {
			case col == colEnd || uint32(col) >= p.stride:
				t.Fatalf("%q: column %d of %d", expr, col, p.stride)
			case !ok:
				first[col] = rune(b)
			case b >= utf8.RuneSelf:
				for _, c := range []byte{byte(r), byte(b)} {
					if c < 0xc0 || !utf8.FullRune([]byte{c}) { // it goes on a rune, or begins one
						t.Fatalf("%q: bytes %x and %x share a column", expr, r, b)
					}
				}
			default:
				for i := range p.insts {
					if in := &p.insts[i]; takes(in, r) != takes(in, rune(b)) {
						t.Fatalf("%q: %q and %q share a column, and %v takes one of them", expr, r, rune(b), in)
					}
				}
				if syntax.IsWordChar(r) != syntax.IsWordChar(rune(b)) && p.asked&words != 0 || r == '\n' {
					t.Fatalf("%q: %q and %q share a column", expr, r, rune(b))
				}
			}
		}
	}
}

func TestSharedProgram(t *testing.T) {
	p := compile(t, `\b[0-9a-f]{8}\b|(?i)Kern\pL`)
	text := []byte(strings.Repeat("12345678 x\nno\nein \u212aerné\n", 2000))
	want, ok := p.New().Lines(nil, text)
	if !ok || len(want) != 4000 {
		t.Fatal(len(want), ok)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if have, ok := p.New().Lines(nil, text); !ok || !slices.Equal(have, want) {
				t.Errorf("%d lines, %v", len(have), ok)
			}
		})
	}
	wg.Wait()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	text := []byte(strings.Repeat("Dec 10 sshd[1]: deadbeef from 10.0.0.1:22\nnone é\nERROR: a timeout\n", 500))
	for _, expr := range []string{`\b[0-9a-f]{8}\b`, `(WARN|ERROR).*timeout`, `(?i)é`, `^none`, ``} {
		d := compile(t, expr).New()
		var found, picked []Line
		walk := func() {
			found, _ = d.Lines(found[:0], text)
			for _, l := range found {
				d.Line(text, l.Start)
			}
			picked, _ = d.Among(picked[:0], text, found)
			d.Match(text[:1000])
		}
		walk()
		if n := testing.AllocsPerRun(20, walk); n != 0 {
			t.Errorf("%q: %v allocations", expr, n)
		}
		if len(found) == 0 || len(picked) != len(found) {
			t.Errorf("%q: found nothing", expr)
		}
	}
}

func FuzzLines(f *testing.F) { fuzz(f, checkLines) }

func FuzzMatch(f *testing.F) { fuzz(f, checkMatch) }

func fuzz(f *testing.F, check func(testing.TB, map[string]*DFA, *regexp.Regexp, []byte)) {
	list := texts()
	for i, expr := range patterns() {
		for j := range 3 {
			text := list[(3*i+7*j)%len(list)]
			f.Add(expr, []byte(text[:min(len(text), 500)]))
		}
	}
	f.Fuzz(func(t *testing.T, expr string, text []byte) {
		if len(expr) > 100 || len(text) > 4000 {
			return
		}
		parsed, err := syntax.Parse(expr, syntax.Perl)
		if err != nil || size(parsed, 500) > 500 {
			return
		}
		p, err := Compile(parsed)
		if err != nil || surrogate(p.insts) {
			return
		}
		check(t, matchers(p), regexp.MustCompile(expr), text)
	})
}
