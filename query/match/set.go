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
	mask               uint64   // of the bytes of a gram
	grams              []uint64 // a bit for each hash of a gram
	gramShift          int
	heads              []int32 // by hash of a window: the first in windows, from 1
	headShift          int
	windows            []window
}

// window is the one of a needle.
type window struct {
	needle *needle
	at     int    // where it begins: byte of the text, or letter
	hash   uint32 // of it
	next   int32  // of the same head
}

const (
	maxWindow = 14
	maxOthers = 100                // needles with one window that are counted
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
	// Long grams are rarer, short ones leave longer strides.
	s.gram = max(2, s.size/2+1)
	s.stride = s.size - s.gram + 1
	s.mask = math.MaxUint64 >> (64 - 8*s.gram)
	// At most one gram of a text in a hundred is taken for one of a needle's by mistake, and the bitmap stays small.
	gramBits := min(max(16, bits.Len(uint(100*len(needles)*s.stride))), 26)
	s.grams, s.gramShift = make([]uint64, 1<<gramBits/64), 64-gramBits
	headBits := min(max(8, bits.Len(uint(16*len(needles)))), 20)
	s.heads, s.headShift = make([]int32, 1<<headBits), 32-headBits
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
		hash := s.window(core[at:])
		for k := s.heads[hash>>s.headShift]; k != 0 && others < maxOthers; k = s.windows[k-1].next {
			if s.windows[k-1].hash == hash {
				others++
			}
		}
		for _, b := range core[at : at+s.size] {
			rare -= math.Log2(float64(prior[b]))
		}
		if others < fewest || others == fewest && rare > rarest {
			best, fewest, rarest = at, others, rare
		}
	}
	w := core[best : best+s.size]
	hash := s.window(w)
	head := &s.heads[hash>>s.headShift]
	s.windows = append(s.windows, window{needle: n, at: start + best, hash: hash, next: *head})
	*head = int32(len(s.windows))
	for i := range s.stride {
		h := s.hash(load(w[i:]))
		s.grams[h/64] |= 1 << (h % 64)
	}
}

// load gives the first eight bytes of text, or what there is, without the bit that tells cases apart.
func load(text []byte) uint64 {
	if len(text) >= 8 {
		return binary.LittleEndian.Uint64(text) | folds
	}
	var eight [8]byte
	copy(eight[:], text)
	return binary.LittleEndian.Uint64(eight[:]) | folds
}

// hash is the hash of the gram in the lowest of eight bytes.
func (s *set) hash(eight uint64) uint64 { return (eight & s.mask) * mix >> s.gramShift }

// window is the hash of the window that text begins with.
func (s *set) window(text []byte) uint32 {
	text = text[:s.size]
	a, b := load(text), load(text[max(0, len(text)-8):])
	return uint32((a*mix ^ bits.RotateLeft64(b, 29)) * mix >> 32)
}

// seek finds the first needle at or behind from, roughly: of those within a few bytes any. It gives the
// place of one of its bytes, len(text) if there is none.
func (s *set) seek(text []byte, from int) int {
	at := from
	mask, shift, grams, stride := s.mask, s.gramShift, s.grams, s.stride
	// Two at a time: a branch less.
	for ; at+stride+8 <= len(text); at += 2 * stride {
		h := (binary.LittleEndian.Uint64(text[at:]) | folds) & mask * mix >> shift
		k := (binary.LittleEndian.Uint64(text[at+stride:]) | folds) & mask * mix >> shift
		if (grams[h/64]>>(h%64)|grams[k/64]>>(k%64))&1 == 0 {
			continue
		}
		if place := s.verify(text, from, at); place >= 0 {
			return place
		}
		if place := s.verify(text, from, at+stride); place >= 0 {
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
		hash := s.window(text[w:])
		for k := s.heads[hash>>s.headShift]; k != 0; k = s.windows[k-1].next {
			if s.windows[k-1].hash == hash && s.windows[k-1].stands(text, w) {
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
