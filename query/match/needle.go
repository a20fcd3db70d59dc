package match

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// needle is what a search looks for: a text, or a sequence of letters of which some have several forms. It is not empty.
type needle struct {
	text    []byte   // of a needle whose letters have one form each, else nil
	letters []letter // of the others
	spans   bool     // it holds a newline, so no line holds it
}

// letter is one character of a needle: what of the text stands for it. A character has at most two
// forms of one byte (its cases in ASCII) and a few of more (k has the Kelvin sign, s the long s).
type letter struct {
	lower, upper byte     // the forms of one byte, the same if there is one only
	narrow       bool     // it has such forms
	wide         []string // its other forms, of two bytes and more
}

// rawLetter is a byte by itself.
func rawLetter(b byte) letter { return letter{lower: b, upper: b, narrow: true} }

// classLetter is any of some runes. It is not ok if they are too many for a letter, or if regexp gives them a
// meaning that bytes do not have: U+FFFD stands for every byte that is not UTF-8. A newline stands by itself,
// so that a needle either spans lines or does not.
func classLetter(runes []rune) (l letter, ok bool) {
	ascii := 0
	for _, r := range runes {
		switch {
		case r == utf8.RuneError || !utf8.ValidRune(r), r == '\n' && len(runes) > 1:
			return l, false
		case r >= utf8.RuneSelf:
			l.wide = append(l.wide, string(r))
		case ascii == 0:
			l.lower, l.upper, l.narrow = byte(r), byte(r), true
			ascii++
		default:
			l.upper = byte(r)
			ascii++
		}
	}
	return l, 0 < len(runes) && ascii <= 2 && len(l.wide) <= maxForms-2
}

// runeLetter is a rune, or all that Unicode's simple folding makes equal to it.
func runeLetter(r rune, fold bool) (l letter, ok bool) {
	runes := []rune{r}
	if fold {
		for c := unicode.SimpleFold(r); c != r; c = unicode.SimpleFold(c) {
			runes = append(runes, c)
		}
	}
	return classLetter(runes)
}

// newNeedle makes a needle of letters.
func newNeedle(letters []letter) *needle {
	n := &needle{letters: letters}
	single := true
	for i := range letters {
		l := &letters[i]
		n.spans = n.spans || l.narrow && l.lower == '\n'
		single = single && l.forms() == 1
	}
	if single {
		n.letters = nil
		for _, l := range letters {
			if l.narrow {
				n.text = append(n.text, l.lower)
			} else {
				n.text = append(n.text, l.wide[0]...)
			}
		}
	}
	return n
}

// exactNeedle is text as it stands.
func exactNeedle(text string) *needle {
	n := &needle{text: []byte(text)}
	n.spans = bytes.IndexByte(n.text, '\n') >= 0
	return n
}

// maxLetters is the greatest length of a needle of letters. They are compared one by one wherever the needle may stand: for
// longer ones a DFA is there, which looks at each byte of the text once.
const maxLetters = 128

// foldedNeedle is text in any case. Bytes that are not UTF-8 have no case. It is not ok if text is to be left to a DFA: it is
// long, or holds U+FFFD, which as a regular expression equals every byte that is not UTF-8. (With such bytes of its own, text is no regular
// expression.)
func foldedNeedle(text string) (n *needle, ok bool) {
	utf8Text := utf8.ValidString(text)
	if utf8Text && utf8.RuneCountInString(text) > maxLetters {
		return nil, false
	}
	letters := make([]letter, 0, len(text))
	known := map[rune]letter{}
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		l, ok := known[r]
		switch {
		case r == utf8.RuneError && size == 1:
			l = rawLetter(text[0])
		case r == utf8.RuneError && !utf8Text:
			l = letter{wide: []string{string(r)}}
		case !ok:
			if l, ok = runeLetter(r, true); !ok {
				return nil, false
			}
			known[r] = l
		}
		letters = append(letters, l)
		text = text[size:]
	}
	return newNeedle(letters), true
}

// forms is how many forms the letter has.
func (l *letter) forms() int {
	n := len(l.wide)
	if l.narrow {
		n++
		if l.upper != l.lower {
			n++
		}
	}
	return n
}

// cased tells that the letter is one byte, or one byte in two cases: what is equal but for one bit.
func (l *letter) cased() bool {
	return l.narrow && len(l.wide) == 0 && l.lower|caseBit == l.upper|caseBit
}

// prefix is how many bytes of the letter text begins with.
func (l *letter) prefix(text []byte) int {
	if l.narrow && len(text) > 0 && (text[0] == l.lower || text[0] == l.upper) {
		return 1
	}
	for _, form := range l.wide {
		if len(text) >= len(form) && string(text[:len(form)]) == form {
			return len(form)
		}
	}
	return 0
}

// suffix is how many bytes of the letter text ends with. No form is the end of another one.
func (l *letter) suffix(text []byte) int {
	if l.narrow && len(text) > 0 && (text[len(text)-1] == l.lower || text[len(text)-1] == l.upper) {
		return 1
	}
	for _, form := range l.wide {
		if len(text) >= len(form) && string(text[len(text)-len(form):]) == form {
			return len(form)
		}
	}
	return 0
}

// around tells whether the needle's other letters stand around text[at:], which begins with letter i.
func (n *needle) around(text []byte, at, i int) bool {
	end := at
	for k := i; k < len(n.letters); k++ {
		size := n.letters[k].prefix(text[end:])
		if size == 0 {
			return false
		}
		end += size
	}
	for k := i - 1; k >= 0; k-- {
		size := n.letters[k].suffix(text[:at])
		if size == 0 {
			return false
		}
		at -= size
	}
	return true
}
