package dfa

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

const (
	begins = syntax.EmptyBeginText | syntax.EmptyBeginLine
	ends   = syntax.EmptyEndText | syntax.EmptyEndLine
	words  = syntax.EmptyWordBoundary | syntax.EmptyNoWordBoundary
)

// verdict is what a set of instructions comes to.
type verdict int

const (
	open     verdict = iota // it depends on what follows
	matching                // matches, whatever follows
	failing                 // matches nothing before the next newline, whatever follows
)

// subset does the subset construction: from the set of instructions at which the threads of an
// NFA would stand, and a symbol, the next such set. Only whether there is a match matters, so the set has no order.
//
// A set holds instructions that take a rune, and assertions ($, \z, \b, \B) that hang on the rune
// to come. All others are followed or dropped when the set is made. Sets are keys: strings of what the rune before
// was, as far as the assertions ask, and of the instructions, ascending.
type subset struct {
	p     *Program
	set   []uint16 // the members found so far
	match bool     // a thread came to the end of the program
	seen  []uint32 // the round in which an instruction was last followed
	round uint32
	stack []uint32
	from  []uint16 // the members of the set that is left
	key   []byte
}

func newSubset(p *Program) *subset {
	return &subset{p: p, seen: make([]uint32, len(p.insts))}
}

// begin makes the set of a search that starts at a place that has the given begins before it.
func (s *subset) begin(before syntax.EmptyOp) verdict {
	s.reset()
	s.follow(s.p.start, before&begins, ends|words)
	return s.finish(before)
}

// next makes the set that follows the one of key, on the symbol of a column. At the end of the text it only tells
// whether the set matches.
func (s *subset) next(key string, col uint32) verdict {
	before := s.members(key)
	r := rune(-1)
	if col >= colRune {
		r = s.p.classes.first[col-colRune]
	}
	// First the assertions, now that both sides of the place are known.
	s.reset()
	holds := syntax.EmptyOpContext(runeBefore(before), r)
	for _, pc := range s.from {
		s.follow(uint32(pc), holds, 0)
	}
	if s.match {
		return matching
	}
	if col == colEnd {
		return failing
	}
	s.from = append(s.from[:0], s.set...)
	// Then the rune.
	s.reset()
	before = runeFlags(r)
	for _, pc := range s.from {
		if takes(&s.p.insts[pc], r) {
			s.follow(s.p.insts[pc].Out, before&begins, ends|words)
		}
	}
	s.follow(s.p.start, before&begins, ends|words)
	return s.finish(before)
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

// finish makes the key of the set.
func (s *subset) finish(before syntax.EmptyOp) verdict {
	if s.match {
		return matching
	}
	asks := false
	for _, pc := range s.set {
		asks = asks || s.p.insts[pc].Op == syntax.InstEmptyWidth
	}
	if !asks {
		before = 0
	}
	slices.Sort(s.set)
	s.key = append(s.key[:0], byte(before&s.p.before))
	for _, pc := range s.set {
		s.key = binary.LittleEndian.AppendUint16(s.key, pc)
	}
	if len(s.set) == 0 {
		return failing
	}
	return open
}

// members reads a key.
func (s *subset) members(key string) (before syntax.EmptyOp) {
	s.from = s.from[:0]
	for i := 1; i < len(key); i += 2 {
		s.from = append(s.from, uint16(key[i])|uint16(key[i+1])<<8)
	}
	return syntax.EmptyOp(key[0])
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
