package required

import (
	"slices"
	"strings"
)

// Bounds of an expression.
const (
	maxLiterals = 1000     // in an expression
	maxBytes    = 32 << 10 // of all its literals
	maxTerms    = 32       // operands of an "and"
	maxPairs    = 64       // operands of an "or" that are compared with each other, all with all
)

// maxWork is how many literals are compared or made for one expression, which is some tens of milliseconds. What people
// write takes some hundreds.
const maxWork = 1 << 18

// work is what may still be done. It runs out on patterns that were made for that; then nothing more is
// simplified, and no sets are joined: the expression is longer or says less, and remains true.
type work struct{ left int }

func newWork() *work { return &work{left: maxWork} }

// spend tells whether n more may be done.
func (w *work) spend(n int) bool {
	if n > w.left {
		w.left = 0
		return false
	}
	w.left -= n
	return true
}

// And is true of a text that all operands are true of; without one it is any. What other operands imply is left
// out: "ab" beside "abc". Over the bounds, what seems commonest is left out.
func And(operands ...*Expr) *Expr { return newWork().and(operands...) }

// Or is true of a text that one of the operands is true of; without one it is none. What implies other
// operands is left out: "abc" beside "ab". It is any where it is over the bounds, and where it says next to
// nothing: one of five letters.
func Or(operands ...*Expr) *Expr { return newWork().or(operands...) }

func (w *work) and(operands ...*Expr) *Expr {
	var terms []*Expr
	for _, e := range operands {
		switch {
		case e.Op == OpNone:
			return nothing()
		case e.Op == OpAny:
		case e.Op == OpAnd && terms == nil:
			terms = slices.Clone(e.Sub) // none of which implies another
		case e.Op == OpAnd:
			for _, s := range e.Sub {
				terms = w.addTerm(terms, s)
			}
		default:
			terms = w.addTerm(terms, e)
		}
	}
	switch len(terms) {
	case 0:
		return anything()
	case 1:
		return terms[0]
	}
	return newExpr(OpAnd, terms)
}

// addTerm adds e to the operands of an "and" that it owns, and keeps them in bounds.
func (w *work) addTerm(terms []*Expr, e *Expr) []*Expr {
	if slices.ContainsFunc(terms, func(t *Expr) bool { return w.implies(t, e) }) {
		return terms
	}
	terms = slices.DeleteFunc(terms, func(t *Expr) bool { return w.implies(e, t) })
	terms = append(terms, e)
	for {
		literals, bytes, worst := 0, 0, 0
		for i, t := range terms {
			literals += t.literals
			bytes += t.bytes
			if t.chance >= terms[worst].chance {
				worst = i
			}
		}
		if len(terms) == 1 || len(terms) <= maxTerms && literals <= maxLiterals && bytes <= maxBytes {
			return terms
		}
		terms = slices.Delete(terms, worst, worst+1)
	}
}

func (w *work) or(operands ...*Expr) *Expr {
	var terms []*Expr
	for _, e := range operands {
		switch e.Op {
		case OpAny:
			return anything()
		case OpNone:
		case OpOr:
			terms = append(terms, e.Sub...)
		default:
			terms = append(terms, e)
		}
	}
	terms = w.absorb(terms)
	switch len(terms) {
	case 0:
		return nothing()
	case 1:
		return terms[0]
	}
	e := newExpr(OpOr, terms)
	if e.inBounds() {
		return e
	}
	// Of each "and" below it the rarest operand is enough.
	rarest := e.alternatives()
	if len(rarest) == e.literals {
		return anything()
	}
	terms = nil
	for _, l := range rarest {
		terms = append(terms, newLit(l))
	}
	return w.or(terms...)
}

// inBounds tells whether an "or" is short enough, and says enough.
func (e *Expr) inBounds() bool {
	return e.literals <= maxLiterals && e.bytes <= maxBytes && e.chance <= 1
}

// absorb takes those operands from an "or" that imply another one. Among many it only finds
// equal literals, and literals that begin with another one.
func (w *work) absorb(terms []*Expr) []*Expr {
	if len(terms) > maxPairs {
		return absorbPrefixes(terms)
	}
	var kept []*Expr
	for _, e := range terms {
		if slices.ContainsFunc(kept, func(k *Expr) bool { return w.implies(e, k) }) {
			continue
		}
		kept = slices.DeleteFunc(kept, func(k *Expr) bool { return w.implies(k, e) })
		kept = append(kept, e)
	}
	return kept
}

func absorbPrefixes(terms []*Expr) []*Expr {
	var order []int // of the literals, those that begin alike together, the shortest first
	for i, e := range terms {
		if e.Op == OpLit {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(terms[i].Lit.Text, terms[j].Lit.Text) })
	absorbed := make([]bool, len(terms))
	last := map[bool]string{} // the literal kept last, exact and folded
	for _, i := range order {
		l := terms[i].Lit
		if short, ok := last[l.Fold]; ok && strings.HasPrefix(l.Text, short) {
			absorbed[i] = true
			continue
		}
		last[l.Fold] = l.Text
	}
	var kept []*Expr
	for i, e := range terms {
		if !absorbed[i] {
			kept = append(kept, e)
		}
	}
	return kept
}

// implies tells whether y is true of every text that x is true of. It may not notice.
func (w *work) implies(x, y *Expr) bool {
	if !w.spend(1) {
		return false
	}
	if x == y {
		return true
	}
	switch {
	case x.Op == OpNone || y.Op == OpAny:
		return true
	case x.Op == OpLit && y.Op == OpLit:
		return x.Lit.implies(y.Lit)
	case x.Op == OpOr:
		return !slices.ContainsFunc(x.Sub, func(s *Expr) bool { return !w.implies(s, y) })
	case y.Op == OpAnd:
		return !slices.ContainsFunc(y.Sub, func(s *Expr) bool { return !w.implies(x, s) })
	}
	if x.Op == OpAnd && slices.ContainsFunc(x.Sub, func(s *Expr) bool { return w.implies(s, y) }) {
		return true
	}
	return y.Op == OpOr && slices.ContainsFunc(y.Sub, func(s *Expr) bool { return w.implies(x, s) })
}
