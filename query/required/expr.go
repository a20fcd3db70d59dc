package required

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Op is what an expression is.
type Op uint8

const (
	OpAny  Op = iota // true of every text
	OpNone           // true of no text
	OpLit            // true of a text that holds the literal
	OpAnd            // true of a text that all operands are true of
	OpOr             // true of a text that one of the operands is true of
)

// Expr is a boolean expression over literals. It is made by Substring, Regexp, And and Or, and
// immutable. No operand of an OpAnd or OpOr is OpAny, OpNone or of the same Op, and there are at least two.
type Expr struct {
	Op  Op
	Lit Literal // of OpLit
	Sub []*Expr // of OpAnd and OpOr: the operands

	chance   float64 // see estimate
	literals int     // how many it has
	bytes    int     // that its literals have
}

func anything() *Expr { return &Expr{Op: OpAny, chance: 1} }
func nothing() *Expr  { return &Expr{Op: OpNone} }

func newLit(l Literal) *Expr {
	return &Expr{Op: OpLit, Lit: l, chance: math.Ldexp(1, -2*len(l.Text)), literals: 1, bytes: len(l.Text)}
}

// newExpr joins at least two operands.
func newExpr(op Op, sub []*Expr) *Expr {
	e := &Expr{Op: op, Sub: sub}
	for _, s := range sub {
		e.literals += s.literals
		e.bytes += s.bytes
	}
	e.estimate()
	return e
}

// estimate sets chance: how likely it is that the expression is true of a place of a text, as if each byte were one of four
// letters and nothing depended on anything. It is crude, and is only used to compare; over 1, in an Or of much
// that is short, it says that the expression is of no use.
func (e *Expr) estimate() {
	const least = 1e-300 // so that a product of many is not 0, which is none's
	e.chance = 0
	if e.Op == OpAnd {
		e.chance = 1
	}
	for _, s := range e.Sub {
		if e.Op == OpAnd {
			e.chance = max(e.chance*s.chance, least)
		} else {
			e.chance += s.chance
		}
	}
}

// String is the expression as people read it: any, none, "literal", "folded"i, joined by and and or.
func (e *Expr) String() string {
	switch e.Op {
	case OpAny:
		return "any"
	case OpNone:
		return "none"
	case OpLit:
		return e.Lit.String()
	}
	word := " and "
	if e.Op == OpOr {
		word = " or "
	}
	var b strings.Builder
	for i, s := range e.Sub {
		if i > 0 {
			b.WriteString(word)
		}
		if s.Op == OpLit {
			b.WriteString(s.String())
		} else {
			b.WriteString("(" + s.String() + ")")
		}
	}
	return b.String()
}

// Match tells whether the expression is true of text. It is what an expression means; it is not quick.
func (e *Expr) Match(text []byte) bool {
	is := func(s *Expr) bool { return s.Match(text) }
	switch e.Op {
	case OpAny:
		return true
	case OpLit:
		return e.Lit.Match(text)
	case OpAnd:
		return !slices.ContainsFunc(e.Sub, func(s *Expr) bool { return !is(s) })
	case OpOr:
		return slices.ContainsFunc(e.Sub, is)
	default:
		return false
	}
}

// Sets are what a search can look for ahead of a match: of each set, a text of which the expression is true holds at
// least one literal. Each set is true by itself; one suffices, and the one that seems rarest is first. Of literals that
// begin or end alike what they share is a set too, since one literal is sooner found than many. There is no set for
// any; none has one, which is empty.
func (e *Expr) Sets() [][]Literal {
	type choice struct {
		set    []Literal
		chance float64
	}
	var choices []choice
	for _, term := range e.terms() {
		s := set(term.alternatives())
		choices = append(choices, choice{s, term.chance})
		for _, l := range s.shared() {
			choices = append(choices, choice{[]Literal{l}, newLit(l).chance})
		}
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(a.chance, b.chance) })
	var sets [][]Literal
	for _, c := range choices {
		sets = append(sets, c.set)
	}
	return sets
}

// terms are all expressions that are true if e is: the operands of an "and", or e itself.
func (e *Expr) terms() []*Expr {
	switch e.Op {
	case OpAny:
		return nil
	case OpAnd:
		return e.Sub
	default:
		return []*Expr{e}
	}
}

// alternatives are literals of which one is there if e is true: of an "and", those of its rarest operand.
func (e *Expr) alternatives() []Literal {
	switch e.Op {
	case OpLit:
		return []Literal{e.Lit}
	case OpAnd:
		return slices.MinFunc(e.Sub, func(a, b *Expr) int { return cmp.Compare(a.chance, b.chance) }).alternatives()
	case OpOr:
		var all []Literal
		for _, s := range e.Sub {
			all = append(all, s.alternatives()...)
		}
		return all
	default:
		return []Literal{}
	}
}
