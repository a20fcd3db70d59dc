package query

import (
	"bytes"
	"iter"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// folded matches records that hold a substring in any case: exactly what the regexp package finds for
// (?i) and the quoted substring. It looks for one character of the needle in each of its cases, with the vectorised
// search, and compares the others only there.
type folded struct {
	needle []letter
	anchor int // the letter of needle that is looked for: a rare one
}

// letter is one character of a needle.
type letter struct {
	cases []rune   // all that it equals; none: raw is a byte that is not UTF-8
	forms [][]byte // the same, encoded
	raw   byte
}

func newFolded(text string) (Matcher, error) {
	for _, r := range text {
		if r != utf8.RuneError {
			continue
		}
		// In regexp it equals every byte that is not UTF-8. (The needle's own such bytes have no
		// place in a regexp: those equal themselves.)
		if utf8.ValidString(text) {
			re, err := regexp.Compile("(?i)" + regexp.QuoteMeta(text))
			if err != nil {
				return nil, regexError(text, err)
			}
			return lineMatcher{re}, nil
		}
		break
	}
	f := &folded{}
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		l := letter{}
		if r == utf8.RuneError && size == 1 {
			l.raw, l.forms = text[0], [][]byte{{text[0]}}
		} else {
			for c := unicode.SimpleFold(r); ; c = unicode.SimpleFold(c) {
				l.cases = append(l.cases, c)
				l.forms = append(l.forms, utf8.AppendRune(nil, c))
				if c == r {
					break
				}
			}
		}
		f.needle = append(f.needle, l)
		text = text[size:]
	}
	for i, l := range f.needle {
		if frequency(l) < frequency(f.needle[f.anchor]) {
			f.anchor = i
		}
	}
	return f, nil
}

// frequency estimates how often a letter occurs in logs.
func frequency(l letter) int {
	const common = " etaionrsl0123456dc789mpuhgf.:-/_b,=\"vky()[]w"
	f := 0
	for _, form := range l.forms {
		if len(form) > 1 {
			f += 2 // the common bytes are ASCII
			continue
		}
		c := form[0]
		if 'A' <= c && c <= 'Z' {
			f += 4
			continue
		}
		if i := bytes.IndexByte([]byte(common), c); i >= 0 {
			f += 5 + 2*(len(common)-i)
		} else {
			f++
		}
	}
	return f
}

func (f *folded) Match(record []byte) bool {
	for range f.places(record) {
		return true
	}
	return false
}

func (f *folded) Absent(text []byte) bool { return !f.Match(text) }

func (f *folded) Lines(text []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		if slices.ContainsFunc(f.needle, func(l letter) bool { return slices.Contains(l.cases, '\n') }) {
			return // in no line
		}
		next := 0 // where the next line begins that was not yielded
		for at := range f.places(text) {
			if at < next {
				continue
			}
			start, end := lineAround(text, next, at)
			if !yield(start, end) {
				return
			}
			next = end + 1
		}
	}
}

// places yields, ascending, the offsets of the anchors of all matches.
func (f *folded) places(text []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		forms := f.needle[f.anchor].forms
		var room [4]int
		next := room[:0] // where each form occurs next
		for _, form := range forms {
			next = append(next, indexFrom(text, form, 0))
		}
		for {
			k := 0
			for i, at := range next {
				if at < next[k] {
					k = i
				}
			}
			at := next[k]
			if at == len(text) {
				return
			}
			if f.matchAt(text, at, at+len(forms[k])) && !yield(at) {
				return
			}
			next[k] = indexFrom(text, forms[k], at+len(forms[k]))
		}
	}
}

// indexFrom is where form occurs at or after from, len(text) if nowhere.
func indexFrom(text, form []byte, from int) int {
	var i int
	if len(form) == 1 {
		i = bytes.IndexByte(text[from:], form[0])
	} else {
		i = bytes.Index(text[from:], form)
	}
	if i < 0 {
		return len(text)
	}
	return from + i
}

// matchAt compares the needle around its anchor, which is text[start:end].
func (f *folded) matchAt(text []byte, start, end int) bool {
	for _, l := range f.needle[f.anchor+1:] {
		n := l.prefix(text[end:])
		if n == 0 {
			return false
		}
		end += n
	}
	for i := f.anchor - 1; i >= 0; i-- {
		n := f.needle[i].suffix(text[:start])
		if n == 0 {
			return false
		}
		start -= n
	}
	return true
}

// prefix is how many bytes of the letter text begins with.
func (l *letter) prefix(text []byte) int {
	for _, form := range l.forms {
		if bytes.HasPrefix(text, form) {
			return len(form)
		}
	}
	return 0
}

func (l *letter) suffix(text []byte) int {
	for _, form := range l.forms {
		if bytes.HasSuffix(text, form) {
			return len(form)
		}
	}
	return 0
}
