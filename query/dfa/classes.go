package dfa

import (
	"regexp/syntax"
	"unicode/utf8"
)

// The columns of a state's row: the end of the text, then the classes of ASCII characters, then the other bytes. Those
// that are in no UTF-8 share one, which makes 245 at most.
const (
	colEnd   = 0
	colASCII = 1

	highCols   = 64 + 51 + 1 // 0x80 to 0xbf, the 51 that begin a rune, and the others
	firstLead2 = 0xc2
	lastLead   = 0xf4
)

// columns gives each byte its column, and says how many there are. No instruction of the program tells two ASCII characters
// of a column apart.
func columns(insts []syntax.Inst) (cols [256]uint8, n uint32) {
	var class [utf8.RuneSelf]uint8
	classes := part(&class, func(r rune) bool { return r == '\n' })
	words := false
	for i := range insts {
		in := &insts[i]
		switch in.Op {
		case syntax.InstEmptyWidth:
			words = words || asksWord(in)
		case syntax.InstRune, syntax.InstRune1:
			classes = part(&class, func(r rune) bool { return takes(in, r) })
		}
	}
	if words {
		classes = part(&class, syntax.IsWordChar)
	}
	for b, c := range class {
		cols[b] = colASCII + c
	}
	high := colASCII + classes
	for b := utf8.RuneSelf; b < len(cols); b++ {
		switch {
		case b < firstLead2-2:
			cols[b] = high + uint8(b-utf8.RuneSelf)
		case firstLead2 <= b && b <= lastLead:
			cols[b] = high + 64 + uint8(b-firstLead2)
		default:
			cols[b] = high + highCols - 1
		}
	}
	return cols, uint32(high) + highCols
}

// part parts the classes that a set cuts through, and counts the classes.
func part(class *[utf8.RuneSelf]uint8, in func(rune) bool) uint8 {
	var ids [2 * utf8.RuneSelf]uint8 // of a class's outside and inside: the new number and one
	n := uint8(0)
	for b, c := range class {
		k := 2 * int(c)
		if in(rune(b)) {
			k++
		}
		if ids[k] == 0 {
			n++
			ids[k] = n
		}
		class[b] = ids[k] - 1
	}
	return n
}

func asksWord(in *syntax.Inst) bool { return syntax.EmptyOp(in.Arg)&words != 0 }
