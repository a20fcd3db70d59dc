package dfa

import (
	"errors"
	"fmt"
	"regexp/syntax"
)

const (
	// MaxInsts is the greatest number of instructions of a compiled regular expression: about one for each
	// character of it, repetitions written out.
	MaxInsts = 20_000
	// MaxMemory bounds a matcher's cache of states, in bytes.
	MaxMemory = 4 << 20
)

// ErrTooLarge is the error for a regular expression that is over the limits.
var ErrTooLarge = errors.New("the regular expression is too large")

// Program is a compiled regular expression. It does not change and may be shared.
type Program struct {
	insts  []syntax.Inst
	start  uint32
	stride uint32         // length of a row: columns
	asked  syntax.EmptyOp // what assertions ask of the rune before them
	caret  bool           // there is a (?m)^
	every  bool           // matches whatever the text

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
	p := &Program{insts: prog.Inst, start: uint32(prog.Start)}
	for i := range p.insts {
		if p.insts[i].Op == syntax.InstEmptyWidth {
			op := syntax.EmptyOp(p.insts[i].Arg)
			p.asked |= op & (begins | words)
			p.caret = p.caret || op&syntax.EmptyBeginLine != 0
		}
	}
	p.record, p.stride = columns(p.insts)
	p.line = p.record
	p.line['\n'] = colEnd
	p.every = newSubset(p).begin(begins) == matching
	return p, nil
}

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
