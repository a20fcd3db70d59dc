package required

import (
	"bytes"
	"strconv"
	"strings"
)

// Literal is bytes that a text must hold. It is not empty.
type Literal struct {
	Text string
	// Fold: in either case, by the simple folding of Unicode for the letters of ASCII. Text is in lower
	// case; an ASCII letter stands for both cases, k also for U+212A (Kelvin sign), s also for U+017F
	// (long s). All other bytes stand for themselves. It is not set for a text without ASCII letters.
	Fold bool
}

// Letters outside of ASCII that are equal to one of ASCII but for their case.
const (
	kelvin = "\u212a" // k
	longS  = "\u017f" // s
)

// newLiteral folds what is to be folded and has letters.
func newLiteral(text string, fold bool) Literal {
	if !fold || !strings.ContainsFunc(text, isLetter) {
		return Literal{Text: text}
	}
	return Literal{Text: lower(text), Fold: true}
}

// join is l followed by m. Where one of them is folded all of it is: that loses the case of the other one, never a match.
func (l Literal) join(m Literal) Literal {
	return newLiteral(l.Text+m.Text, l.Fold || m.Fold)
}

// String quotes the literal, with an i behind it if it is folded.
func (l Literal) String() string {
	s := strconv.Quote(l.Text)
	if l.Fold {
		s += "i"
	}
	return s
}

// Match tells whether text holds the literal. It tries every place.
func (l Literal) Match(text []byte) bool {
	if !l.Fold {
		return bytes.Contains(text, []byte(l.Text))
	}
	for i := range text {
		if spells(text[i:], l.Text) {
			return true
		}
	}
	return false
}

// spells tells whether text begins with want, which is in lower case, in any case.
func spells[T string | []byte](text T, want string) bool {
	for i := range len(want) {
		n := 1
		switch {
		case len(text) == 0:
			return false
		case lowerByte(text[0]) == want[i]:
		case want[i] == 'k' && len(text) >= len(kelvin) && string(text[:len(kelvin)]) == kelvin:
			n = len(kelvin)
		case want[i] == 's' && len(text) >= len(longS) && string(text[:len(longS)]) == longS:
			n = len(longS)
		default:
			return false
		}
		text = text[n:]
	}
	return true
}

// implies tells whether each text that holds l holds m.
func (l Literal) implies(m Literal) bool {
	switch {
	case len(m.Text) > len(l.Text): // also where m is folded: no spelling of it is shorter
		return false
	case l.Fold == m.Fold:
		return strings.Contains(l.Text, m.Text)
	case m.Fold:
		for i := range l.Text {
			if spells(l.Text[i:], m.Text) {
				return true
			}
		}
		return false
	default: // what l says of letters is less than m asks for
		return !strings.ContainsFunc(m.Text, isLetter) && strings.Contains(l.Text, m.Text)
	}
}

// Pieces are what an index of text in lower case (of ASCII: A to Z made a to z, and no other byte) must hold
// for the literal to be in the text: each of them, somewhere. A folded literal breaks at k and s, which may
// be spelled outside of ASCII.
func (l Literal) Pieces() []string {
	if !l.Fold {
		return []string{lower(l.Text)}
	}
	return strings.FieldsFunc(l.Text, func(r rune) bool { return r == 'k' || r == 's' })
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// lower makes A to Z lower case, and leaves every other byte as it is: strings.ToLower would not.
func lower(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}
