package match

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Finder tells what of a record a pattern matches. It is for one goroutine.
type Finder struct {
	word    bool
	all     *regexp.Regexp // the texts as one expression; with word, the first group is what matches
	behind  *regexp.Regexp // with word, where the record does not begin
	needles []*needle      // or else, in the order of the texts
	table   map[string][]int
	prefix  int           // the length of the table's keys
	pairs   *[1024]uint64 // what two bytes keys begin with, where they are that long
	places  []place
	found   [][2]int
	regexps []ordered // texts that are neither
}

// place is where a needle stands next in the record at hand.
type place struct{ start, end int }

// ordered is a text as an expression, and its place among the texts.
type ordered struct {
	*regexp.Regexp
	at int
}

// mostAlone is how many needles are looked for one by one, each for itself.
const mostAlone = 8

// Finder makes a finder. Where the pattern asks for what does not match, it finds nothing.
func (p *Program) Finder() *Finder {
	f := &Finder{word: p.pattern.Word}
	if p.invert {
		return f
	}
	texts := slices.DeleteFunc(slices.Clone(p.pattern.Texts), func(text string) bool { return text == "" })
	if len(texts) == 0 {
		return f
	}
	literal := !slices.ContainsFunc(texts, func(text string) bool { return regexp.QuoteMeta(text) != text })
	if p.pattern.Regex && (!literal || p.pattern.IgnoreCase) {
		f.expression(texts, p.pattern.IgnoreCase)
		return f
	}
	for i, text := range texts {
		n, ok := exactNeedle(text), true
		if p.pattern.IgnoreCase {
			n, ok = foldedNeedle(text)
		}
		f.needles = append(f.needles, n)
		if !ok {
			f.needles[i] = nil
			f.regexps = append(f.regexps, ordered{regexp.MustCompile("(?i)" + regexp.QuoteMeta(text)), i})
		}
	}
	f.arrange()
	return f
}

// newFinder makes a finder of needles.
func newFinder(needles []*needle, word bool) *Finder {
	f := &Finder{word: word, needles: needles}
	f.arrange()
	return f
}

// arrange makes the finder ready for its needles.
func (f *Finder) arrange() {
	f.places = make([]place, len(f.needles))
	if len(f.needles) > mostAlone && !slices.ContainsFunc(f.needles, func(n *needle) bool { return n == nil || n.text == nil }) {
		f.index()
	}
}

// any tells whether the record holds one of the needles.
func (f *Finder) any(record []byte) bool {
	if f.table != nil {
		f.found = f.findInTable(f.found[:0], record, 1)
		return len(f.found) > 0
	}
	for i := range f.needles {
		if f.seek(i, record, 0).start < len(record) {
			return true
		}
	}
	return false
}

// expression makes one of all texts, which Compile has compiled before.
func (f *Finder) expression(texts []string, ignoreCase bool) {
	var b strings.Builder
	b.WriteString("(")
	for i, text := range texts {
		if i > 0 {
			b.WriteString("|")
		}
		if ignoreCase {
			b.WriteString("(?i:" + text + ")")
		} else {
			b.WriteString("(?:" + text + ")")
		}
	}
	b.WriteString(")")
	if !f.word {
		f.all = regexp.MustCompile(b.String())
		return
	}
	f.all = regexp.MustCompile(`(?:^|` + noWord + `)` + b.String() + `(?:$|` + noWord + `)`)
	f.behind = regexp.MustCompile(noWord + b.String() + `(?:$|` + noWord + `)`)
}

// index makes a table of the needles by how they begin.
func (f *Finder) index() {
	f.prefix = 8
	for _, n := range f.needles {
		f.prefix = min(f.prefix, len(n.text))
	}
	f.table = make(map[string][]int, len(f.needles))
	for i, n := range f.needles {
		key := string(n.text[:f.prefix])
		f.table[key] = append(f.table[key], i)
	}
	if f.prefix >= 2 {
		f.pairs = new([1024]uint64)
		for key := range f.table {
			pair := pairOf(key[0], key[1])
			f.pairs[pair/64] |= 1 << (pair % 64)
		}
	}
}

func pairOf(a, b byte) uint { return uint(a)<<8 | uint(b) }

// Find appends where the record matches, from left to right: places that do not overlap and are not empty. Of what may match at one
// place, the first text counts, as in an expression a|b. With Pattern.Word it is the word alone.
func (f *Finder) Find(dst [][2]int, record []byte) [][2]int {
	switch {
	case f.all != nil && f.word:
		return f.findWords(dst, record)
	case f.all != nil:
		for _, m := range f.all.FindAllIndex(record, -1) {
			if m[0] < m[1] {
				dst = append(dst, [2]int{m[0], m[1]})
			}
		}
		return dst
	case f.table != nil:
		return f.findInTable(dst, record, len(record))
	}
	for i := range f.places {
		f.places[i] = place{-1, -1}
	}
	for at := 0; ; {
		best := place{len(record), len(record)}
		for i := range f.places {
			if f.places[i].start < at {
				f.places[i] = f.seek(i, record, at)
			}
			if f.places[i].start < best.start {
				best = f.places[i]
			}
		}
		if best.start == len(record) {
			return dst
		}
		dst = append(dst, [2]int{best.start, best.end})
		at = best.end
	}
}

// seek finds where text i stands at or behind at, as a word if that is asked for; len(record) if nowhere.
func (f *Finder) seek(i int, record []byte, at int) place {
	for at < len(record) {
		var p place
		switch n := f.needles[i]; {
		case n == nil:
			p = f.seekRegexp(i, record, at)
		case n.text != nil:
			p.start = len(record)
			if k := bytes.Index(record[at:], n.text); k >= 0 {
				p = place{at + k, at + k + len(n.text)}
			}
		default:
			p = n.seek(record, at)
		}
		if p.start == len(record) || !f.word || isWord(record, p.start, p.end) {
			return p
		}
		at = p.start + 1
	}
	return place{len(record), len(record)}
}

func (f *Finder) seekRegexp(i int, record []byte, at int) place {
	k, _ := slices.BinarySearchFunc(f.regexps, i, func(o ordered, i int) int { return cmp.Compare(o.at, i) })
	if m := f.regexps[k].FindIndex(record[at:]); m != nil { // it is a literal: what stands before does not matter
		return place{at + m[0], at + m[1]}
	}
	return place{len(record), len(record)}
}

// seek finds where a needle of letters stands.
func (n *needle) seek(record []byte, at int) place {
	first := &n.letters[0]
	for ; at < len(record); at++ {
		if b := record[at]; len(first.wide) == 0 && b != first.lower && b != first.upper {
			continue
		}
		end := at
		for k := range n.letters {
			size := n.letters[k].prefix(record[end:])
			if size == 0 {
				end = -1
				break
			}
			end += size
		}
		if end > at {
			return place{at, end}
		}
	}
	return place{at, at}
}

// findInTable finds the first most.
func (f *Finder) findInTable(dst [][2]int, record []byte, most int) [][2]int {
	most += len(dst)
next:
	for at := 0; at+f.prefix <= len(record) && len(dst) < most; {
		if f.pairs != nil {
			if pair := pairOf(record[at], record[at+1]); f.pairs[pair/64]>>(pair%64)&1 == 0 {
				at++
				continue
			}
		}
		for _, i := range f.table[string(record[at:at+f.prefix])] {
			text := f.needles[i].text
			if bytes.HasPrefix(record[at:], text) && (!f.word || isWord(record, at, at+len(text))) {
				dst = append(dst, [2]int{at, at + len(text)})
				at += len(text)
				continue next
			}
		}
		at++
	}
	return dst
}

// findWords finds what is a word and matches the expression.
func (f *Finder) findWords(dst [][2]int, record []byte) [][2]int {
	re, from := f.all, 0
	for {
		m := re.FindSubmatchIndex(record[from:])
		if m == nil {
			return dst
		}
		start, end := from+m[2], from+m[3]
		if start < end {
			dst = append(dst, [2]int{start, end})
		} else if _, size := utf8.DecodeRune(record[end:]); size > 0 {
			end += size
		} else {
			return dst
		}
		// What the next one stands behind may be the end of this one.
		_, size := utf8.DecodeLastRune(record[:end])
		re, from = f.behind, end-size
	}
}

// isWord tells that no part of a word stands on either side of record[start:end].
func isWord(record []byte, start, end int) bool {
	before, _ := utf8.DecodeLastRune(record[:start])
	after, _ := utf8.DecodeRune(record[end:])
	return !inWord(before) && !inWord(after)
}

// noWord is a character that is not part of a word, as an expression: not alphabetic, no mark, digit or punctuation that connects, and nothing that joins
// others. inWord is the contrary.
const noWord = `[^\pL\pM\p{Nd}\p{Nl}\p{Pc}` + `\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}\x{200c}\x{200d}]`

func inWord(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '_' || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc) ||
		0x24b6 <= r && r <= 0x24e9 || 0x1f130 <= r && r <= 0x1f149 || 0x1f150 <= r && r <= 0x1f169 || 0x1f170 <= r && r <= 0x1f189 ||
		r == 0x200c || r == 0x200d
}
