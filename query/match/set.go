package match

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// set finds many needles at once, in the time of one pass.
//
// Each needle has a window: size bytes of it, so many for all, which hold size-gram+1 = stride grams. Wherever
// a needle stands, one of these grams stands at a multiple of stride, so it is enough to look at those places of the text: is the
// gram there one of any window? Few are, and there the windows that have it are looked for, by their hash, and the
// needles that have those are compared.
//
//	needle   1  9  2  .  0  .  2  .  1  7        size 7, gram 4, stride 4
//	window            [  0  .  2  .  1  7 ]      -.0.- -0.2- -.2.1 ...: four grams
//	text     ...|...|...|...|...                 looked at: every fourth byte
//
// The method is that of Wu and Manber, "A Fast Algorithm for Multi-Pattern Searching" (1994), with the skip made constant:
// no step waits for the one before it. All is compared without the bit that tells cases apart until the last.
type set struct {
	size, gram, stride int
	mask               uint32   // of the bytes of a gram
	grams              []uint64 // a bit for each hash of a gram
	gramShift          int
	heads              []int32 // by hash of a window: the first in windows, from 1
	headShift          int
	windows            []window
}

// window is the one of a needle.
type window struct {
	needle *needle
	at     int   // where it begins: byte of the text, or letter
	next   int32 // of the same hash
}

const (
	maxWindow = 12
	folds     = caseBit * low
	mix       = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// core is the longest run of a needle's letters that are one byte each but for case, without the bit that tells: text
// that stands at a fixed distance. It begins at byte or letter at.
func (n *needle) core() (core []byte, at int) {
	if n.text != nil {
		for _, b := range n.text {
			core = append(core, b|caseBit)
		}
		return core, 0
	}
	for i := 0; i < len(n.letters); i++ {
		var run []byte
		start := i
		for ; i < len(n.letters) && n.letters[i].cased(); i++ {
			run = append(run, n.letters[i].lower|caseBit)
		}
		if len(run) > len(core) {
			core, at = run, start
		}
	}
	return core, at
}

// newSet makes a set of needles, whose cores have two bytes and more.
func newSet(needles []*needle, prior *frequencies) *set {
	s := &set{size: maxWindow}
	for _, n := range needles {
		core, _ := n.core()
		s.size = min(s.size, len(core))
	}
	switch {
	case s.size >= 6:
		s.gram = 4
	case s.size >= 4:
		s.gram = 3
	default:
		s.gram = 2
	}
	s.stride = s.size - s.gram + 1
	s.mask = math.MaxUint32 >> (32 - 8*s.gram)
	// One in 32 grams of the text is taken for one of a needle's: the bitmap stays small.
	gramBits := min(max(12, bits.Len(uint(32*len(needles)*s.stride))), 26)
	s.grams, s.gramShift = make([]uint64, 1<<gramBits/64), 32-gramBits
	headBits := max(8, bits.Len(uint(2*len(needles))))
	s.heads, s.headShift = make([]int32, 1<<headBits), 64-headBits
	for _, n := range needles {
		s.add(n, prior)
	}
	return s
}

// add gives a needle its window: the one with the rarest bytes of those that fewest others have.
func (s *set) add(n *needle, prior *frequencies) {
	core, start := n.core()
	best, fewest, rarest := 0, math.MaxInt, 0.0
	for at := 0; at+s.size <= min(len(core), aimed); at++ {
		others, rare := 0, 0.0
		for k := s.heads[s.window(core[at:])]; k != 0; k = s.windows[k-1].next {
			others++
		}
		for _, b := range core[at : at+s.size] {
			rare -= math.Log2(float64(prior[b]))
		}
		if others < fewest || others == fewest && rare > rarest {
			best, fewest, rarest = at, others, rare
		}
	}
	w := core[best : best+s.size]
	head := &s.heads[s.window(w)]
	s.windows = append(s.windows, window{needle: n, at: start + best, next: *head})
	*head = int32(len(s.windows))
	for i := range s.stride {
		h := s.hash(load(w[i:]))
		s.grams[h/64] |= 1 << (h % 64)
	}
}

// load gives the first four bytes of text, or what there is, without the bit that tells cases apart.
func load(text []byte) uint32 {
	if len(text) >= 4 {
		return binary.LittleEndian.Uint32(text) | folds&math.MaxUint32
	}
	var four [4]byte
	copy(four[:], text)
	return binary.LittleEndian.Uint32(four[:]) | folds&math.MaxUint32
}

// hash is the hash of the gram in the lowest bytes of four.
func (s *set) hash(four uint32) uint32 { return (four & s.mask) * (mix >> 32) >> s.gramShift }

// window is the place in heads of the window that text begins with.
func (s *set) window(text []byte) uint64 {
	text = text[:s.size]
	var a, b uint64
	if len(text) >= 8 {
		a = binary.LittleEndian.Uint64(text) | folds
		b = binary.LittleEndian.Uint64(text[len(text)-8:]) | folds
	} else {
		a = uint64(load(text))
		b = uint64(load(text[len(text)-min(4, len(text)):]))
	}
	return (a*mix ^ bits.RotateLeft64(b, 29)) * mix >> s.headShift
}

// seek finds the first needle at or behind from, roughly: of those within a few bytes any. It gives the
// place of one of its bytes, len(text) if there is none.
func (s *set) seek(text []byte, from int) int {
	at := from
	mask, shift, grams, stride := s.mask, s.gramShift, s.grams, s.stride
	for ; at+4 <= len(text); at += stride {
		four := binary.LittleEndian.Uint32(text[at:]) | folds&math.MaxUint32
		h := (four & mask) * (mix >> 32) >> shift
		if grams[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		if place := s.verify(text, from, at); place >= 0 {
			return place
		}
	}
	for ; at+s.gram <= len(text); at += stride {
		if place := s.verify(text, from, at); place >= 0 {
			return place
		}
	}
	return len(text)
}

// verify looks for a needle at or behind from, of whose window the gram at at is part. It gives the place of the window, -1 if there is none.
func (s *set) verify(text []byte, from, at int) int {
	for w := at; w >= from && w > at-s.stride; w-- {
		if w+s.size > len(text) {
			continue
		}
		for k := s.heads[s.window(text[w:])]; k != 0; k = s.windows[k-1].next {
			if s.windows[k-1].stands(text, w) {
				return w
			}
		}
	}
	return -1
}

// stands tells whether the window's needle is in text, with the window at w.
func (w *window) stands(text []byte, at int) bool {
	n := w.needle
	if n.text == nil {
		return n.around(text, at, w.at)
	}
	start := at - w.at
	return start >= 0 && start+len(n.text) <= len(text) && string(text[start:start+len(n.text)]) == string(n.text)
}
