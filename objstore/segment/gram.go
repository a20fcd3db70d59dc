package segment

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// A gram is GramSize neighbouring bytes of a record, none of them a newline, folded so that the two cases of an ASCII letter are
// the same. What it becomes is a number of gramBits bits: the same for the text when the filter is built and for a needle when it is
// asked. There is one hash and no more: with many grams in a needle that is as selective as several hashes of each, at a third of the size.
//
// Folding is coarse on purpose, since it is done for every byte of every log: 0x20 is set in each byte. That
// makes A equal to a, and harmlessly [ to {, or a tab to a parenthesis. Before that, the two characters outside ASCII that are
// another case of an ASCII letter become that letter: U+212A (Kelvin sign) k, U+017F (long s) s.
const (
	GramSize = 6
	gramBits = 22
)

// Gram is the hash of a gram, less than 1<<22.
type Gram uint32

const (
	foldWord = 0x2020202020202020
	// An odd number without a pattern in its bits: 2^64 divided by the golden ratio.
	hashFactor = 0x9E3779B97F4A7C15
)

// gramAt is the gram of the six low bytes of w, which is folded.
func gramAt(w uint64) Gram { return Gram(w << 16 * hashFactor >> (64 - gramBits)) }

// load6 is the six bytes at p, folded, as gramAt wants them.
func load6(text []byte, p int) uint64 {
	return foldWord | uint64(binary.LittleEndian.Uint32(text[p:])) | uint64(binary.LittleEndian.Uint16(text[p+4:]))<<32
}

var (
	kelvin = []byte("\u212a")
	longS  = []byte("\u017f")
)

// asciiCases replaces the characters outside ASCII that are a case of an ASCII letter. It returns text itself where there are none.
func asciiCases(text []byte) []byte {
	if bytes.Contains(text, kelvin) {
		text = bytes.ReplaceAll(text, kelvin, []byte{'k'})
	}
	if bytes.Contains(text, longS) {
		text = bytes.ReplaceAll(text, longS, []byte{'s'})
	}
	return text
}

// AppendGrams adds the grams that every record has which holds needle, in the order of the needle, one for each byte but
// the last five: nothing for a short one. The needle is any bytes, in any case.
func AppendGrams(dst []Gram, needle []byte) []Gram {
	// At its ends may be a part of a character that the text has folded.
	for _, char := range [][]byte{kelvin, longS} {
		for n := 1; n < len(char); n++ {
			if bytes.HasPrefix(needle, char[n:]) {
				needle = needle[len(char)-n:]
			}
			if bytes.HasSuffix(needle, char[:n]) {
				needle = needle[:len(needle)-n]
			}
		}
	}
	for line := range bytes.SplitSeq(asciiCases(needle), newline) {
		for p := 0; p+GramSize <= len(line); p++ {
			dst = append(dst, gramAt(load6(line, p)))
		}
	}
	return dst
}

// signer finds the grams of a block's text, in memory of a fixed size.
type signer struct {
	seen  *[1 << (gramBits - 6)]uint64 // a bit for each gram
	place *[1 << placeBits]uint32      // where eight bytes with that hash were met last
}

const placeBits = 14

func newSigner() *signer {
	return &signer{new([1 << (gramBits - 6)]uint64), new([1 << placeBits]uint32)}
}

// sign makes the signature of a text: lines, each ending in a newline. stored is what the text takes in the segment, in bytes.
func (s *signer) sign(text []byte, stored int) signature {
	s.find(text)
	grams := 0
	for _, w := range s.seen {
		grams += bits.OnesCount64(w)
	}
	sig := newSignature(classFor(grams, stored))
	sig.plain = !Escaped(text)
	s.fill(sig)
	return sig
}

// find has seen be the grams of a text.
func (s *signer) find(text []byte) {
	clear(s.seen[:])
	clear(s.place[:])
	s.add(asciiCases(text))
}

// fill sets the slots of the grams that were found.
func (s *signer) fill(sig signature) {
	for i, w := range s.seen {
		for ; w != 0; w &= w - 1 {
			sig.set(sig.slot(Gram(i<<6 | bits.TrailingZeros64(w))))
		}
	}
}

// add takes note of all grams of the text. Logs repeat themselves: where eight bytes and what follows were met before, as an
// LZ77 compressor would find it, all grams in there are known, and only where the repetition ends is there something to do. That more
// than doubles the speed, and the result is the same to the bit.
func (s *signer) add(text []byte) {
	for start := 0; start < len(text); {
		end := len(text)
		if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
			end = start + i
		}
		p := start
		for p+8 <= end {
			w := binary.LittleEndian.Uint64(text[p:])
			place := &s.place[w*hashFactor>>(64-placeBits)]
			before := int(*place)
			*place = uint32(p)
			if before < p && binary.LittleEndian.Uint64(text[before:]) == w {
				p += 8 + common(text[p+8:end], text[before+8:]) - (GramSize - 1)
				continue
			}
			w |= foldWord
			s.note(gramAt(w))
			s.note(gramAt(w >> 8))
			s.note(gramAt(w >> 16))
			p += 3
		}
		for ; p+GramSize <= end; p++ {
			s.note(gramAt(load6(text, p)))
		}
		start = end + 1
	}
}

func (s *signer) note(g Gram) { s.seen[uint16(g>>6)] |= 1 << (g & 63) }

// common counts the bytes in which a and b, which is not shorter, begin alike.
func common(a, b []byte) int {
	n := 0
	for n+8 <= len(a) {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// A signature's size is a compromise. The share of its slots that are taken, its fill, is at most mostFill, for a needle of k grams is wrongly
// found in a block with a probability of fill^k. As long as it takes no more than a part of what the block itself takes (text that
// compresses well has few grams), it is larger, until the fill is leastFill. See FORMAT.md for the measurements that chose these.
const (
	mostFill, leastFill = 0.45, 0.25
	storedPart          = 7
)

// A signature has one of these numbers of slots: 512, 768, 1024, 1536 and so on up to one for each gram.
const maxClass = 26

func classSlots(class uint8) int { return (2 + int(class&1)) << (class>>1 + 8) }

// classFor is the class for a number of bits in signer.seen, of a block that takes so many bytes.
func classFor(seen, stored int) uint8 {
	const universe = 1 << gramBits
	// Grams that fell on the same bit are counted back in.
	grams := -universe * math.Log1p(-min(float64(seen)/universe, 0.999))
	slots := func(fill float64) float64 { return grams / -math.Log1p(-fill) }
	ideal := max(slots(mostFill), min(slots(leastFill), float64(stored)*8/storedPart))
	class := uint8(0)
	for class < maxClass && float64(classSlots(class))*float64(classSlots(class+1)) < ideal*ideal {
		class++ // the geometric mean is where the next class is nearer
	}
	return class
}

// signature is a set of the grams in a block: several share a slot.
type signature struct {
	class uint8
	plain bool     // the text is not Escaped
	slots []uint64 // a bit for each
}

func newSignature(class uint8) signature {
	return signature{class: class, slots: make([]uint64, classSlots(class)/64)}
}

// slot is where a gram falls in a signature of some size.
func (s signature) slot(g Gram) uint32 { return slotOf(g, classSlots(s.class)) }

func slotOf(g Gram, slots int) uint32 { return uint32(uint64(g) * uint64(slots) >> gramBits) }

func (s signature) set(slot uint32) { s.slots[slot>>6] |= 1 << (slot & 63) }

// half is the signature with half as many slots: neighbours become one.
func (s signature) half() signature {
	h := newSignature(s.class - 2)
	h.plain = s.plain
	for i, w := range s.slots {
		for ; w != 0; w &= w - 1 {
			h.set(uint32(i<<6|bits.TrailingZeros64(w)) / 2)
		}
	}
	return h
}
