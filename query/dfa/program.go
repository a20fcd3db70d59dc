package dfa

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"unicode/utf8"
)

const (
	// MaxInsts is the greatest number of instructions of a compiled regular expression: about one for each
	// character of it, repetitions written out.
	MaxInsts = 20_000
	// MaxClasses is the greatest number of classes of characters that a regular expression may tell apart.
	MaxClasses = 2_000
	// MaxMemory bounds a matcher's cache of states, in bytes.
	MaxMemory = 4 << 20

	// maxWork bounds the search for classes: about 0.1 s.
	maxWork = 4 << 20
)

// ErrTooLarge is the error for a regular expression that is over the limits.
var ErrTooLarge = errors.New("the regular expression is too large")

// The columns of a state's row. The classes of runes follow the first two.
const (
	colEnd   = iota // the end of the text
	colMulti        // no symbol: a byte that is not ASCII, the rune has to be decoded
	colRune         // the first class of runes
)

// Program is a compiled regular expression. It does not change and may be shared.
type Program struct {
	insts   []syntax.Inst
	start   uint32
	classes classes
	stride  uint32         // length of a row: columns
	before  syntax.EmptyOp // what instructions ask of the rune before a place
	caret   bool           // there is a (?m)^
	every   bool           // matches whatever the text

	line   [256]uint8 // the column of each byte in a line: the newline is the end of the text
	record [256]uint8 // in a record, where newlines are runes as any other
}

// Compile compiles a regular expression that was parsed with syntax.Perl, simplified or not. The error is
// ErrTooLarge, and says by how much.
func Compile(re *syntax.Regexp) (*Program, error) {
	// Both before memory is taken for the program, and after, exactly.
	if size(re, MaxInsts) > MaxInsts {
		return nil, fmt.Errorf("%w: it compiles to more than %d instructions: repeat less or ask in parts", ErrTooLarge, MaxInsts)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("compile regular expression: %w", err)
	}
	if len(prog.Inst) > MaxInsts {
		return nil, fmt.Errorf("%w: it compiles to %d instructions, over %d: repeat less or ask in parts", ErrTooLarge, len(prog.Inst), MaxInsts)
	}
	classes, err := newClasses(prog.Inst)
	if err != nil {
		return nil, err
	}
	p := &Program{insts: prog.Inst, start: uint32(prog.Start), classes: classes, stride: uint32(colRune + len(classes.first))}
	for i := range p.insts {
		if p.insts[i].Op != syntax.InstEmptyWidth {
			continue
		}
		op := syntax.EmptyOp(p.insts[i].Arg)
		p.before |= op & (begins | words)
		p.caret = p.caret || op&syntax.EmptyBeginLine != 0
	}
	for b := range p.line {
		// There are at most 128 classes up to the last that holds an ASCII character.
		col := uint8(colMulti)
		if b < utf8.RuneSelf {
			col = uint8(p.column(rune(b)))
		}
		p.line[b], p.record[b] = col, col
	}
	p.line['\n'] = colEnd
	s := newSubset(p)
	p.every = s.begin(begins) == matching
	return p, nil
}

// column is the column of a rune.
func (p *Program) column(r rune) uint32 { return colRune + uint32(p.classes.class(r)) }

// size estimates the number of instructions that re compiles to, up to limit+1: it does not look further.
func size(re *syntax.Regexp, limit int) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpConcat:
		n = 0
	case syntax.OpRepeat:
		if re.Max == 0 {
			return 1
		}
	}
	for _, sub := range re.Sub {
		if n > limit {
			break
		}
		n += size(sub, limit-n)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, limit+1)
}
