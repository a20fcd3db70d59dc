package dfa

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

const (
	begins = syntax.EmptyBeginText | syntax.EmptyBeginLine
	ends   = syntax.EmptyEndText | syntax.EmptyEndLine
	words  = syntax.EmptyWordBoundary | syntax.EmptyNoWordBoundary
)

// verdict is what a set of instructions comes to.
type verdict int

const (
	undecided verdict = iota // it depends on what follows
	matching                 // matches, whatever follows
	failing                  // matches nothing before the next newline, whatever follows
)

// subset does the subset construction: from the set of instructions at which the threads of an
// NFA would stand, and a rune, the next such set. Only whether there is a match matters, so the set has no order.
//
// The set holds instructions that take a rune, and assertions ($, \z, \b, \B) that hang on the rune
// to come. All others are followed or dropped when it is made.
type subset struct {
	p      *Program
	set    []uint16
	before syntax.EmptyOp // what is before the place, as far as assertions in the set ask
	held   []byte         // read, but not yet a rune
	match  bool           // a thread came to the end of the program

	seen  []uint32 // by instruction: the round in which it was last followed
	round uint32
	stack []uint32
	from  []uint16 // the set that is left
	key   []byte
}

func newSubset(p *Program) *subset {
	return &subset{p: p, seen: make([]uint32, len(p.insts))}
}

// begin makes the set of a search that starts at a place.
func (s *subset) begin(before syntax.EmptyOp) verdict {
	s.reset()
	s.held = s.held[:0]
	s.follow(s.p.start, before, ends|words)
	return s.finish(before)
}

// read makes the set that follows the one of key on a byte. A byte that leaves a rune unfinished is held; what is no rune
// is U+FFFD, byte by byte, as it is to the regexp package.
func (s *subset) read(key string, b byte) verdict {
	s.unpack(key)
	s.held = append(s.held, b)
	v := undecided
	for v == undecided && utf8.FullRune(s.held) {
		v = s.take()
	}
	return v
}

// end tells whether the set of key matches at the end of the text.
func (s *subset) end(key string) bool {
	s.unpack(key)
	for len(s.held) > 0 {
		if v := s.take(); v != undecided {
			return v == matching
		}
	}
	s.assert(-1)
	return s.match
}

// take takes a rune of the bytes that are held.
func (s *subset) take() verdict {
	r, size := utf8.DecodeRune(s.held)
	s.held = append(s.held[:0], s.held[size:]...)
	s.assert(r)
	if s.match {
		return matching
	}
	s.from, s.set = s.set, s.from
	s.reset()
	before := runeFlags(r)
	for _, pc := range s.from {
		if in := &s.p.insts[pc]; takes(in, r) {
			s.follow(in.Out, before&begins, ends|words)
		}
	}
	s.follow(s.p.start, before&begins, ends|words)
	return s.finish(before)
}

// assert follows the assertions of the set, now that the rune behind them is known: -1 is the end of the text.
func (s *subset) assert(r rune) {
	holds := syntax.EmptyOpContext(runeBefore(s.before), r)
	s.from, s.set = s.set, s.from
	s.reset()
	for _, pc := range s.from {
		s.follow(uint32(pc), holds, 0)
	}
}

func (s *subset) reset() {
	s.set, s.match = s.set[:0], false
	if s.round++; s.round == 0 {
		clear(s.seen)
		s.round = 1
	}
}

// follow adds what can be reached from an instruction without taking a rune, where of the assertions
// some hold, some are still open, and the others fail.
func (s *subset) follow(pc uint32, holds, open syntax.EmptyOp) {
	s.stack = append(s.stack[:0], pc)
	for len(s.stack) > 0 {
		pc := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		if s.seen[pc] == s.round {
			continue
		}
		s.seen[pc] = s.round
		switch in := &s.p.insts[pc]; in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			s.stack = append(s.stack, in.Arg, in.Out)
		case syntax.InstCapture, syntax.InstNop:
			s.stack = append(s.stack, in.Out)
		case syntax.InstEmptyWidth:
			switch lacks := syntax.EmptyOp(in.Arg) &^ holds; {
			case lacks == 0:
				s.stack = append(s.stack, in.Out)
			case lacks&^open == 0:
				s.set = append(s.set, uint16(pc))
			}
		case syntax.InstMatch:
			s.match = true
		case syntax.InstFail:
		default:
			s.set = append(s.set, uint16(pc))
		}
	}
}

// finish puts the set in order.
func (s *subset) finish(before syntax.EmptyOp) verdict {
	switch {
	case s.match:
		return matching
	case len(s.set) == 0:
		return failing
	}
	slices.Sort(s.set)
	s.before = 0
	for _, pc := range s.set {
		if s.p.insts[pc].Op == syntax.InstEmptyWidth {
			s.before = before & s.p.asked
			break
		}
	}
	return undecided
}

// pack makes the key of the set: a byte of what is before it and of the number of bytes held, those bytes, and the instructions.
func (s *subset) pack() []byte {
	s.key = append(s.key[:0], byte(s.before)|byte(len(s.held))<<6)
	s.key = append(s.key, s.held...)
	for _, pc := range s.set {
		s.key = binary.LittleEndian.AppendUint16(s.key, pc)
	}
	return s.key
}

func (s *subset) unpack(key string) {
	held := int(key[0] >> 6)
	s.before = syntax.EmptyOp(key[0] & 0x3f)
	s.held = append(s.held[:0], key[1:1+held]...)
	s.set = s.set[:0]
	for i := 1 + held; i < len(key); i += 2 {
		s.set = append(s.set, uint16(key[i])|uint16(key[i+1])<<8)
	}
}

// runeFlags tells what a rune is to the place behind it: the end of a line, or a word character, for which both word
// assertions stand.
func runeFlags(r rune) syntax.EmptyOp {
	switch {
	case r == '\n':
		return syntax.EmptyBeginLine
	case syntax.IsWordChar(r):
		return words
	default:
		return 0
	}
}

// runeBefore is a rune of which runeFlags tells the same, or no rune.
func runeBefore(before syntax.EmptyOp) rune {
	switch {
	case before&syntax.EmptyBeginText != 0:
		return -1
	case before&syntax.EmptyBeginLine != 0:
		return '\n'
	case before&words != 0:
		return 'a'
	default:
		return ' '
	}
}

// takes tells whether an instruction takes a rune.
func takes(in *syntax.Inst, r rune) bool {
	switch in.Op {
	case syntax.InstRune1:
		return r == in.Rune[0]
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return r != '\n'
	case syntax.InstRune:
		return in.MatchRune(r)
	default:
		return false
	}
}
