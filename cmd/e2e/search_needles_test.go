package e2e

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// question is what is asked of a topic, and of ripgrep: the same, in the words of either.
type question struct {
	name    string
	pattern string
	flags   []string // for oklog-query
	rg      []string // for ripgrep
	print   bool     // prints the lines; counts them otherwise
	newest  int      // prints so many lines, the newest first
}

// Shares of the lines that needles are on.
const (
	commonShare = 0.028
	foldedShare = 0.0053 // AllowUsers in the log of an sshd
)

// newestLines is how many are asked for.
const newestLines = 100

// questions makes up the table for a log. All of it follows from the log's text, so that it is the same
// whenever it is run. What the log has no needle for is told to note and left out.
func questions(name string, text []byte, note func(string)) (all []question) {
	literal, regex := []string{"-F"}, []string{"--no-unicode"} // \b, \w and . mean the same for both then
	add := func(q question) {
		if q.pattern == "" {
			note(name + ": nothing to ask for as " + q.name)
			return
		}
		all = append(all, q)
	}
	words := countWords(text)
	common := words.near(text, commonShare, nil)
	add(question{name: "absent", pattern: absentHex(text), rg: literal, print: true})
	add(question{name: "rare", pattern: rareIdentifier(text), rg: literal, print: true})
	add(question{name: "ipv4", pattern: rareAddress(text), rg: literal, print: true})
	add(question{name: "common", pattern: common, rg: literal})
	add(question{name: "regex", pattern: regexWithLiterals(name, text, words, common), flags: []string{"--regex"}, rg: regex})
	add(question{name: "regex-bare", pattern: `\b[0-9a-f]{8}\b`, flags: []string{"--regex"}, rg: regex})
	add(question{name: "three", pattern: threeWords(text, words), flags: []string{"--regex"}, rg: regex})
	add(question{name: "ignore-case", pattern: strings.ToLower(words.near(text, foldedShare, mixedCase)), flags: []string{"-i"}, rg: []string{"-F", "-i"}})
	add(question{name: "newest", pattern: common, flags: []string{"--newest"}, rg: literal, newest: newestLines})
	return all
}

// absentHex is 12 hexadecimal digits that the text does not hold.
func absentHex(text []byte) string {
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "absent %d", i))
		if s := fmt.Sprintf("%x", sum[:6]); !bytes.Contains(text, []byte(s)) {
			return s
		}
	}
}

// rareIdentifier is a token of at least 12 letters and digits, with some of both, that stands on one line only: without its first and
// last character, which are on that line only, too. It is the first one behind the middle of the text.
func rareIdentifier(text []byte) string {
	// What was hashed to a bit once, and what again. Tokens that share a bit are left out, and there are enough others.
	const bits = 1 << 27
	once, again := make([]uint64, bits/64), make([]uint64, bits/64)
	for t := range tokens(text, 0, isAlnum) {
		if !identifier(t) {
			continue
		}
		h := hash(t) % bits
		if once[h/64]&(1<<(h%64)) != 0 {
			again[h/64] |= 1 << (h % 64)
		}
		once[h/64] |= 1 << (h % 64)
	}
	for _, from := range []int{len(text) / 2, 0} {
		for t := range tokens(text, from, isAlnum) {
			if !identifier(t) {
				continue
			}
			if h := hash(t) % bits; again[h/64]&(1<<(h%64)) != 0 {
				continue
			}
			if inner := t[1 : len(t)-1]; linesWith(text, inner, 2) == 1 {
				return string(inner)
			}
		}
	}
	return ""
}

func identifier(t []byte) bool {
	return len(t) >= 12 && len(t) <= 64 && bytes.ContainsAny(t, "0123456789") && bytes.IndexFunc(t, func(r rune) bool { return r > '9' }) >= 0
}

// hash is FNV-1a.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ h>>32
}

// rareAddress is an IPv4 address on 3 lines, or else on as few as there is one, at least on 2 if possible; "" if there is none.
func rareAddress(text []byte) string {
	type address struct {
		at, tokens int
	}
	seen := map[string]*address{}
	at := 0
	for t := range tokens(text, 0, func(c byte) bool { return isDigit(c) || c == '.' }) {
		at++
		if !isIPv4(t) {
			continue
		}
		if a := seen[string(t)]; a != nil {
			a.tokens++
		} else {
			seen[string(t)] = &address{at, 1}
		}
	}
	middle := at / 2
	var order []string
	for s := range seen {
		order = append(order, s)
	}
	wish := func(a *address) int { // 3, 2, 4, 5, ... and 1 last
		switch {
		case a.tokens == 3:
			return 0
		case a.tokens == 1:
			return math.MaxInt
		}
		return a.tokens
	}
	slices.SortFunc(order, func(x, y string) int {
		a, b := seen[x], seen[y]
		return cmp.Or(cmp.Compare(wish(a), wish(b)), cmp.Compare(max(a.at, middle)-min(a.at, middle), max(b.at, middle)-min(b.at, middle)), strings.Compare(x, y))
	})
	if len(order) == 0 {
		return ""
	}
	// 1.2.3.4 is in 11.2.3.45, too.
	for _, s := range order[:min(100, len(order))] {
		if linesWith(text, []byte(s), 4) == 3 {
			return s
		}
	}
	return order[0]
}

func isIPv4(t []byte) bool {
	if len(t) < 7 || len(t) > 15 || bytes.Count(t, []byte{'.'}) != 3 {
		return false
	}
	for part := range bytes.SplitSeq(t, []byte{'.'}) {
		if len(part) == 0 || len(part) > 3 || len(part) == 3 && string(part) > "255" {
			return false
		}
	}
	return true
}

// regexWithLiterals is one in which there is something to search for: for the sshd's log the one that is
// commonly measured, and for another (COMMON|WORD).*NAME=12[0-9]*\b, taken from a line.
func regexWithLiterals(name string, text []byte, words *words, common string) string {
	if name == "sshd_auth" {
		return `(Failed|Invalid).*port 41[0-9]{2}\b`
	}
	if common == "" {
		return ""
	}
	either := "(" + common + "|" + words.near(text, 0.1, func(w string) bool { return w != common }) + ").*"
	number := regexp.MustCompile(`[A-Za-z]{2,}[ =:\[("]{1,3}[0-9]{2}[0-9]+\b`)
	rest := text[len(text)/2:]
	for range 10_000 {
		i := bytes.Index(rest, []byte(common))
		if i < 0 {
			break
		}
		line, after, _ := bytes.Cut(rest[i+len(common):], []byte{'\n'})
		rest = after
		if m := number.Find(line); m != nil {
			digits := bytes.IndexFunc(m, func(r rune) bool { return r >= '0' && r <= '9' })
			return either + regexp.QuoteMeta(string(m[:digits+2])) + `[0-9]*\b`
		}
	}
	return either + `[0-9]{2}\b`
}

// threeWords is three words, the commonest of them on one line of a thousand.
func threeWords(text []byte, words *words) string {
	var three []string
	for _, share := range []float64{1e-3, 3e-4, 1e-4} {
		w := words.near(text, share, func(w string) bool {
			return !slices.ContainsFunc(three, func(t string) bool { return strings.Contains(t, w) || strings.Contains(w, t) })
		})
		if w == "" {
			return ""
		}
		three = append(three, w)
	}
	return strings.Join(three, "|")
}

// words counts the lines that words of four and more letters are on, in a sample of a text.
type words struct {
	sampled int // lines
	lines   map[string]*lineCount
}

type lineCount struct{ n, last int }

// countWords looks at 32 MiB at most: at pieces of 64 KiB, spread evenly.
func countWords(text []byte) *words {
	const piece, most = 64 << 10, 512
	step := max(1, (len(text)+piece*most-1)/(piece*most)) * piece
	w := &words{lines: map[string]*lineCount{}}
	for at := 0; at < len(text); at += step {
		part := text[at:min(at+piece, len(text))]
		for line := range bytes.Lines(part) {
			w.sampled++
			for t := range tokens(line, 0, isAlnum) {
				if len(t) < 4 || len(t) > 40 || bytes.ContainsFunc(t, unicode.IsDigit) {
					continue
				}
				c := w.lines[string(t)]
				if c == nil {
					c = &lineCount{}
					w.lines[string(t)] = c
				}
				if c.last != w.sampled {
					c.n, c.last = c.n+1, w.sampled
				}
			}
		}
	}
	return w
}

// near is the word that comes closest to being on a share of the text's lines, also within other words; "" if there is none.
func (w *words) near(text []byte, share float64, ok func(string) bool) string {
	type candidate struct {
		word string
		off  float64
	}
	var all []candidate
	off := func(n, lines int) float64 {
		return math.Abs(math.Log(float64(n) / float64(lines) / share))
	}
	for word, c := range w.lines {
		if ok == nil || ok(word) {
			all = append(all, candidate{word, off(c.n, w.sampled)})
		}
	}
	order := func(a, b candidate) int { return cmp.Or(cmp.Compare(a.off, b.off), strings.Compare(a.word, b.word)) }
	slices.SortFunc(all, order)
	if len(all) == 0 {
		return ""
	}
	// Within other words, the best few may be more common than they seem.
	all = all[:min(8, len(all))]
	lines := bytes.Count(text, []byte{'\n'})
	for i := range all {
		all[i].off = off(linesWith(text, []byte(all[i].word), math.MaxInt), max(1, lines))
	}
	return slices.MinFunc(all, order).word
}

func mixedCase(w string) bool { return strings.ToLower(w) != w && strings.ToUpper(w) != w }

// linesWith counts the lines that hold the needle, up to so many.
func linesWith(text, needle []byte, most int) (n int) {
	for n < most {
		i := bytes.Index(text, needle)
		if i < 0 {
			break
		}
		n++
		_, text, _ = bytes.Cut(text[i:], []byte{'\n'})
	}
	return n
}

// tokens are the stretches of such bytes in the text, from an offset on.
func tokens(text []byte, from int, in func(byte) bool) func(yield func([]byte) bool) {
	var class [256]bool
	for c := range class {
		class[c] = in(byte(c))
	}
	return func(yield func([]byte) bool) {
		start := -1
		for i := from; i < len(text); i++ {
			switch inside := class[text[i]]; {
			case inside && start < 0:
				start = i
			case !inside && start >= 0:
				if !yield(text[start:i]) {
					return
				}
				start = -1
			}
		}
		if start >= 0 {
			yield(text[start:])
		}
	}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isAlnum(c byte) bool  { return isDigit(c) || isLetter(c) }

// The needles are what they are said to be, and the same each time.
func TestQuestions(t *testing.T) {
	var text bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&text, "Jan 5 host%d daemon: request from 10.0.%d.%d took %d ms\n", i%7, i/250%250, i%250, i*37%977)
		if i%35 == 0 {
			fmt.Fprintf(&text, "WebError: session %08xabc%04d closed, id=%d\n", uint32(i)*2654435761, i, 1000+i)
		}
		if i%180 == 0 {
			text.WriteString("from 192.168.7.7 AllowNobody\n")
		}
		if i%2000 == 0 {
			text.WriteString("from 172.16.9.9 port 41\n")
		}
	}
	ask := func() map[string]question {
		all := map[string]question{}
		for _, q := range questions("t", text.Bytes(), func(s string) { t.Error(s) }) {
			all[q.name] = q
		}
		return all
	}
	first, second := ask(), ask()
	if len(first) != 9 {
		t.Errorf("%d questions", len(first))
	}
	for name, q := range first {
		if second[name].pattern != q.pattern {
			t.Errorf("%s: %q once and %q then", name, q.pattern, second[name].pattern)
		}
	}
	count := func(name string) int { return linesWith(text.Bytes(), []byte(first[name].pattern), math.MaxInt) }
	if n := count("absent"); n != 0 || len(first["absent"].pattern) != 12 {
		t.Errorf("absent: %q is on %d lines", first["absent"].pattern, n)
	}
	if n := count("rare"); n != 1 || len(first["rare"].pattern) != 13 {
		t.Errorf("rare: %q is on %d lines", first["rare"].pattern, n)
	}
	if have := first["ipv4"].pattern; have != "172.16.9.9" {
		t.Errorf("ipv4: %q", have)
	}
	if have := first["common"].pattern; have != "WebError" && have != "session" && have != "closed" {
		t.Errorf("common: %q", have)
	}
	if have := first["ignore-case"].pattern; have != "allownobody" {
		t.Errorf("ignore-case: %q", have)
	}
	if r := regexp.MustCompile(first["regex"].pattern); len(r.FindAll(text.Bytes(), 3)) == 0 {
		t.Errorf("regex: %s is nowhere", r)
	}
	if n := strings.Count(first["three"].pattern, "|"); n != 2 {
		t.Errorf("three: %q", first["three"].pattern)
	}
}
