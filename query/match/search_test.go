package match

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestIndexPair(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		text := make([]byte, rnd.IntN(200))
		bytesOf := "abAB\x00\x01\x80\x7f\x81\xe1"[:1+rnd.IntN(10)]
		for i := range text {
			text[i] = '.'
			if rnd.IntN(8) == 0 {
				text[i] = bytesOf[rnd.IntN(len(bytesOf))]
			}
		}
		a, b, d := byte("abA\x00\x80"[rnd.IntN(5)]), byte("bA\x01\x81"[rnd.IntN(4)]), rnd.IntN(40)
		for _, fold := range []byte{0, caseBit} {
			a, b, want := a|fold, b|fold, -1
			for i := len(text) - 1 - d; i >= 0; i-- {
				if text[i]|fold == a && text[i+d]|fold == b {
					want = i
				}
			}
			if have := indexPair(text, a, b, d, fold); have != want {
				t.Fatalf("%q %q %q %d %d: want %d, have %d", text, a, b, d, fold, want, have)
			}
			if have := pairInWords(text, a, b, d, fold); have != want {
				t.Fatalf("in words: %q %q %q %d %d: want %d, have %d", text, a, b, d, fold, want, have)
			}
		}
	}
}

func TestLineStart(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		text := make([]byte, rnd.IntN(40))
		for i := range text {
			text[i] = "aaaaa\n\n\x0b\x8a\x00"[rnd.IntN(10)]
		}
		i := rnd.IntN(len(text) + 1)
		floor := rnd.IntN(i + 1)
		want := floor + bytes.LastIndexByte(text[floor:i], '\n') + 1
		if have := lineStart(text, floor, i); have != want {
			t.Fatalf("%q %d %d: want %d, have %d", text, floor, i, want, have)
		}
	}
}

// logLine makes something like a line of a log.
func logLine(rnd *rand.Rand) string {
	verbs := []string{"Failed password", "Accepted publickey", "Invalid user", "session opened", "GET /", "ERROR timeout", "warn: Disk full", "\u212aernel", "", "\xff\xfe", "Grüße"}
	switch rnd.IntN(10) {
	case 0:
		return ""
	case 1:
		return verbs[rnd.IntN(len(verbs))]
	default:
		return fmt.Sprintf("2026-11-%02d %02d:%02d:%02d host%d %s for %x from 10.%d.%d.%d port %d %s", 1+rnd.IntN(30), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(9),
			verbs[rnd.IntN(len(verbs))], rnd.Uint32(), rnd.IntN(4), rnd.IntN(256), rnd.IntN(256), rnd.IntN(65536), verbs[rnd.IntN(len(verbs))])
	}
}

// pieceOf takes a piece of the text, as a needle that is there: also at its ends, and over newlines.
func pieceOf(rnd *rand.Rand, text []byte) string {
	n := min(len(text), 1+rnd.IntN(16))
	at := rnd.IntN(len(text) - n + 1)
	switch rnd.IntN(20) {
	case 0:
		at = 0
	case 1:
		at = len(text) - n // with the last newline
	case 2:
		at = max(0, len(text)-n-1)
	}
	piece := string(text[at : at+n])
	if i := strings.IndexByte(piece, '\n'); i >= 0 && rnd.IntN(4) > 0 {
		piece = piece[:i] + strings.ReplaceAll(piece[i+1:], "\n", "")
	}
	return piece
}

// Whole blocks of lines, large enough to be sampled and glanced at: what Lines finds is what each line wants.
func TestBlocks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	for _, size := range []int{100, 3000, 70_000, 1_200_000} {
		var records [][]byte
		var text []byte
		for len(text) < size {
			l := logLine(rnd)
			records = append(records, []byte(l))
			text = append(append(text, l...), '\n')
		}
		rounds := min(200, 6_000_000/size)
		for range rounds {
			p := Pattern{IgnoreCase: rnd.IntN(2) == 0, Invert: rnd.IntN(5) == 0}
			switch rnd.IntN(4) {
			case 0:
				p.Texts = []string{pieceOf(rnd, text)}
			case 1:
				for range 1 + rnd.IntN(12) {
					p.Texts = append(p.Texts, pieceOf(rnd, text))
				}
			case 2:
				p.Regex = true
				for range 1 + rnd.IntN(2) {
					p.Texts = append(p.Texts, regexp.QuoteMeta(valid(pieceOf(rnd, text)))+".*"+regexp.QuoteMeta(valid(pieceOf(rnd, text))))
				}
			case 3:
				p.Regex = true
				p.Texts = []string{[]string{`(Failed|Invalid).*port 41[0-9]{2}\b`, `\b[0-9a-f]{8}\b`, `(WARN|ERROR).*timeout`, `^$`, `^2026.*[^a-z]$`, `[^\x00-\x7f]`, `(session|Disk) \w+ for [0-4]`}[rnd.IntN(7)]}
			}
			if p.IgnoreCase && slices.ContainsFunc(p.Texts, func(s string) bool { return !utf8.ValidString(s) }) {
				p.IgnoreCase = false
			}
			agree(t, compile(t, p).Searcher(), records, oracle(p))
			if t.Failed() {
				t.Fatal(p.Texts)
			}
		}
	}
}

// Real logs, and pieces of their lines: what Lines finds is what each line wants.
func TestLogs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(17, 18))
	for name, texts := range blocks(t, 100<<10) {
		text := texts[rnd.IntN(len(texts))]
		records := bytes.Split(text[:len(text)-1], []byte("\n"))
		patterns := benches()
		for range 4 {
			piece := valid(pieceOf(rnd, text))
			patterns = append(patterns,
				bench{"piece", Pattern{Texts: []string{piece}}},
				bench{"folded piece", Pattern{Texts: []string{strings.ToUpper(piece)}, IgnoreCase: true}},
				bench{"pieces", Pattern{Texts: []string{piece, valid(pieceOf(rnd, text)), valid(pieceOf(rnd, text))}}},
				bench{"regex", Pattern{Texts: []string{regexp.QuoteMeta(piece) + ".*[0-9]$"}, Regex: true}})
		}
		for _, b := range patterns {
			if len(b.p.Texts) > 100 {
				continue // the oracle is slow
			}
			s := compile(t, b.p).Searcher()
			want := oracle(b.p)
			var lines []Line
			at := 0
			for _, r := range records {
				if want(r) {
					lines = append(lines, Line{Start: at, End: at + len(r)})
				}
				at += len(r) + 1
			}
			if have := s.Lines(nil, text); !slices.Equal(have, lines) {
				t.Errorf("%s, %s %q: want %d lines, have %d", name, b.name, b.p.Texts, len(lines), len(have))
			}
			if have := s.Count(text); have != len(lines) || s.Absent(text) && have > 0 {
				t.Errorf("%s, %s %q: want %d lines, count %d", name, b.name, b.p.Texts, len(lines), have)
			}
		}
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "") }

// A searcher goes from text to text, of all sizes, and from what is rare in one to what is common in the next.
func TestOneSearcher(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 14))
	for _, p := range []Pattern{
		{Texts: []string{"Failed"}},
		{Texts: []string{"disk", "ERR"}, IgnoreCase: true},
		{Texts: []string{"Failed", "Accepted", "Invalid", "host3 ", "host5", "session"}},
		{Texts: []string{"(Failed|Invalid).*port 4"}, Regex: true},
	} {
		s := compile(t, p).Searcher()
		for round := range 15 {
			var records [][]byte
			for range 1 + rnd.IntN(4000) {
				l := logLine(rnd)
				if round%3 == 0 {
					l = strings.Repeat("Fad", rnd.IntN(9)) + "iled port 4"
				}
				records = append(records, []byte(l))
			}
			agree(t, s, records, oracle(p))
		}
	}
}

// A needle that spans a newline is in no line, and may be in a record.
func TestSpanningNeedles(t *testing.T) {
	for _, p := range []Pattern{
		{Texts: []string{"a\nb"}},
		{Texts: []string{"A\nb"}, IgnoreCase: true},
		{Texts: []string{`a\nb`}, Regex: true},
		{Texts: []string{`a\n[b-z]`}, Regex: true},
		{Texts: []string{"a\nb", "\n\n", "q"}},
		{Texts: strings.Split("a\nb,1\n2,1\n3,1\n4,1\n5,1\n6,1\n7,aaaaaa\nbbbbbb,2\n2,2\n3", ",")},
	} {
		s := compile(t, p).Searcher()
		if !s.Match([]byte("xa\nbx")) || s.Match([]byte("a b")) {
			t.Errorf("%q: wrong of a record", p.Texts)
		}
		text := []byte("xa\nbx\na\n\tb\n")
		if lines := s.Lines(nil, text); len(lines) != 0 {
			t.Errorf("%q: lines %v", p.Texts, lines)
		}
		if s.Count(text) != 0 {
			t.Errorf("%q: counts lines", p.Texts)
		}
		if s.Absent(text) {
			t.Errorf("%q: absent", p.Texts)
		}
		if !s.Absent([]byte("a b\n")) && s.p.parts[0].needles != nil {
			t.Errorf("%q: not absent", p.Texts)
		}
	}
}

// Needles that repeat themselves, in a text that does.
func TestRepetitive(t *testing.T) {
	long := strings.Repeat("ab", 1000)
	var records [][]byte
	for range 8 {
		records = append(records, []byte(long[:1900]), []byte(long[1:1500]))
	}
	records = append(records, []byte(long+"c"), []byte(strings.ToUpper(long)+"ac"))
	for _, needle := range []string{long, long[:1901], long[:100] + "c", long[:200] + "c", long + "c", "c" + long[:130], "\xff" + long} {
		for _, fold := range []bool{false, true} {
			if fold && !utf8.ValidString(needle) {
				continue
			}
			p := Pattern{Texts: []string{needle}, IgnoreCase: fold}
			agree(t, compile(t, p).Searcher(), records, oracle(p))
		}
	}
	// Not in the square of the needle's length, which would be a test that never ends.
	text := append(bytes.Repeat([]byte("a"), 1<<20), '\n')
	needle := strings.Repeat("a", 30_000) + "b" + strings.Repeat("a", 30_000)
	for _, p := range []Pattern{{Texts: []string{needle}}, {Texts: []string{needle[:300]}, IgnoreCase: true}, {Texts: []string{needle[29_900:30_200]}, IgnoreCase: true}} {
		s := compile(t, p).Searcher()
		want := 0
		if !strings.Contains(p.Texts[0], "b") {
			want = 1
		}
		if have := s.Count(text); have != want {
			t.Errorf("%d bytes: want %d, have %d", len(p.Texts[0]), want, have)
		}
	}
}

// A text in which nothing is found costs no allocation, once the states of the DFA are made.
func TestAllocations(t *testing.T) {
	rnd := rand.New(rand.NewPCG(15, 16))
	var text []byte
	for len(text) < 1<<20 {
		text = append(append(text, logLine(rnd)...), '\n')
	}
	record := []byte("Failed password for nobody from 10.0.0.1 port 4123 ssh2")
	for _, p := range []Pattern{
		{Texts: []string{"3f9c1be07ad2"}},
		{Texts: []string{"allowusers"}, IgnoreCase: true},
		{Texts: []string{"Kßkß"}, IgnoreCase: true},
		{Texts: []string{"one such", "two such", "three such"}},
		{Texts: addresses()[:100], IgnoreCase: true},
		{Texts: []string{`(Failed|Invalid).*port x[0-9]{2}\b`}, Regex: true},
		{Texts: []string{`\b[0-9a-f]{9}\b`}, Regex: true},
		{Texts: []string{`\b[g-z]{19}\b`, `from.*user .*nobody`}, Regex: true},
		{Texts: []string{"^"}, Regex: true, Invert: true},
		{Texts: []string{`2026|.?.?.?`}, Regex: true, Invert: true},
	} {
		s := compile(t, p).Searcher()
		lines := make([]Line, 0, 8)
		search := func() {
			s.Absent(text)
			if lines = s.Lines(lines[:0], text); len(lines) > 0 || s.Count(text) > 0 {
				t.Fatalf("%q: found %q", p.Texts, text[lines[0].Start:lines[0].End])
			}
		}
		search()
		if n := testing.AllocsPerRun(3, search); n != 0 {
			t.Errorf("%q: %v allocations", p.Texts, n)
		}
		if n := testing.AllocsPerRun(100, func() { s.Match(record) }); n != 0 {
			t.Errorf("%q: %v allocations for a record", p.Texts, n)
		}
	}
}

// The table of frequencies fits logs: those of the folder named by CORPORA, or the project's sample. It may be off
// by a lot for each byte, but not in what is rare.
func TestRarity(t *testing.T) {
	if len(rarity) != 256 {
		t.Fatalf("%d bytes", len(rarity))
	}
	var share [256]float64
	logs := blocks(t, 64<<20)
	for _, texts := range logs {
		size := 0.0
		var counts [256]float64
		for _, text := range texts {
			size += float64(len(text))
			for _, b := range text {
				counts[b]++
			}
		}
		for b := range share {
			share[b] += counts[b] / size / float64(len(logs))
		}
	}
	var table []byte // to be pasted into freq.go
	prior := priorFrequencies()
	for b, have := range share {
		r := 200.0
		if have > 0 {
			r = min(r, math.Round(-8*math.Log2(have)))
		}
		table = append(table, byte(r))
		if have > 0.01 && prior[b] < 0.001 {
			t.Errorf("%q: %.4f of the text, in the table %.4f", byte(b), have, prior[b])
		}
	}
	for i := 0; i < len(table) && t.Failed(); i += 16 {
		t.Logf("%q +", table[i:i+16])
	}
}

func FuzzMatch(f *testing.F) {
	for i, expr := range expressions {
		f.Add(expr, "", byte(i), []byte("Failed K\u212a s\u017f\nport 4123 \xff\n\nstatus=500"))
	}
	f.Add("Köln", "s", byte(2), []byte("KÖLN\nk\xffoln\n\u212aöln"))
	f.Add("ss", "a\nb", byte(3), []byte("s\u017f\nSSa\nb"))
	f.Add("\ufffd", "x\xff", byte(2), []byte("\xff"))
	f.Fuzz(func(t *testing.T, first, second string, flags byte, text []byte) {
		if len(first)+len(second) > 200 || len(text) > 10_000 {
			return // the oracle is slow
		}
		p := Pattern{Texts: []string{first}, Regex: flags&1 != 0, IgnoreCase: flags&2 != 0, Invert: flags&4 != 0}
		if flags&8 != 0 {
			p.Texts = append(p.Texts, second)
		}
		if flags&16 != 0 {
			for _, r := range second {
				p.Texts = append(p.Texts, first+string(r))
			}
		}
		if p.IgnoreCase && !p.Regex && slices.ContainsFunc(p.Texts, func(s string) bool { return !utf8.ValidString(s) }) {
			return // see TestFoldedBytes
		}
		prog, err := Compile(p)
		if err != nil {
			for _, text := range p.Texts {
				if _, err := regexp.Compile(text); err != nil {
					return
				}
			}
			if !strings.Contains(err.Error(), "too large") {
				t.Fatal(err)
			}
			return
		}
		s := prog.Searcher()
		agree(t, s, bytes.Split(text, []byte("\n")), oracle(p))
		agree(t, s, [][]byte{text, []byte(first), []byte(second)}, oracle(p))
	})
}
