package match

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes at a time, in a word: see Mycroft, "Is there a zero byte in this word?" (1987), and
// https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord.
const (
	low     = 0x0101010101010101
	high    = 0x8080808080808080
	caseBit = 0x20          // tells the cases of ASCII letters apart
	folds   = caseBit * low // the same in each byte
)

// pairInWords is indexPair, eight bytes at a time.
func pairInWords(t []byte, a, b byte, d int, fold byte) int {
	x, y, f := uint64(a)*low, uint64(b)*low, uint64(fold)*low
	i := 0
	for ; i+d+16 <= len(t); i += 16 {
		p, q := t[i:i+16:i+16], t[i+d:i+d+16:i+d+16]
		u := ((binary.LittleEndian.Uint64(p) | f) ^ x) | ((binary.LittleEndian.Uint64(q) | f) ^ y)
		v := ((binary.LittleEndian.Uint64(p[8:]) | f) ^ x) | ((binary.LittleEndian.Uint64(q[8:]) | f) ^ y)
		// The lowest bit of zeros is at a byte that is zero; those above it may not be.
		if zeros := (u - low) &^ u & high; zeros != 0 {
			return i + bits.TrailingZeros64(zeros)/8
		}
		if zeros := (v - low) &^ v & high; zeros != 0 {
			return i + 8 + bits.TrailingZeros64(zeros)/8
		}
	}
	for ; i+d < len(t); i++ {
		if t[i]|fold == a && t[i+d]|fold == b {
			return i
		}
	}
	return -1
}

// lineStart is where the line begins that holds the byte at i: behind the newline before it, or at floor.
func lineStart(text []byte, floor, i int) int {
	for ; i-8 >= floor; i -= 8 {
		v := binary.LittleEndian.Uint64(text[i-8:]) ^ '\n'*low
		// Exact in every byte, unlike the above: the highest one counts.
		if zeros := ^(v&^high + (high - low) | v | ^uint64(high)); zeros != 0 {
			return i - bits.LeadingZeros64(zeros)/8
		}
	}
	for i > floor && text[i-1] != '\n' {
		i--
	}
	return i
}
