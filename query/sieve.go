package query

import (
	"slices"

	"oklog/objstore/segment"
	"oklog/query/required"
)

// sieve is what a query asks filters: which blocks may hold what a record must hold to match. It is the expression of package
// required with grams in the place of literals. What is too short to have a gram can be in any block.
type sieve struct {
	root  *node
	grams []segment.Gram // distinct; the nodes refer to them by their places
}

// node is an "and", an "or", or a leaf: the grams that a block must have, all of them. An "or" of nothing is
// never true.
type node struct {
	op      required.Op // OpAnd, OpOr, OpLit
	grams   []int
	escaped bool // a leaf: of a block that is plain it is not true
	sub     []*node
}

// told is what a filter has said: of each gram in which blocks it is (nil: not asked yet, perhaps in all), and which blocks are plain.
type told struct {
	sets  []segment.Set
	plain segment.Set
}

const (
	// So many grams of a literal are asked for at most, spread evenly: more hardly tell more. Fewer if there are many of its kind, exact or in any
	// case: an exact one may come with dozens that stand for escapes in it.
	gramsEach, gramsEachOfMany = 12, 6
	manyLiterals               = 32
)

// newSieve makes a sieve; nil if no block can be told from another by the expression.
func newSieve(e *required.Expr) *sieve {
	s := &sieve{}
	var exact, folded int
	countLiterals(e, &exact, &folded)
	each := func(l required.Literal) int {
		if l.Fold && folded > manyLiterals || !l.Fold && exact > manyLiterals {
			return gramsEachOfMany
		}
		return gramsEach
	}
	if s.root = s.node(e, each, map[segment.Gram]int{}); s.root == nil {
		return nil
	}
	return s
}

func countLiterals(e *required.Expr, exact, folded *int) {
	switch {
	case e.Op == required.OpLit && e.Lit.Fold:
		*folded++
	case e.Op == required.OpLit:
		*exact++
	}
	for _, sub := range e.Sub {
		countLiterals(sub, exact, folded)
	}
}

// node makes the node of an expression; nil is true of every block.
func (s *sieve) node(e *required.Expr, each func(required.Literal) int, places map[segment.Gram]int) *node {
	switch e.Op {
	case required.OpNone:
		return &node{op: required.OpOr}
	case required.OpLit:
		return s.leaf(e.Lit, each(e.Lit), places)
	case required.OpAnd:
		n := &node{op: e.Op}
		for _, sub := range e.Sub {
			if c := s.node(sub, each, places); c != nil {
				n.sub = append(n.sub, c)
			}
		}
		if len(n.sub) == 0 {
			return nil
		}
		return n
	case required.OpOr:
		n := &node{op: e.Op}
		for _, sub := range e.Sub {
			c := s.node(sub, each, places)
			if c == nil {
				return nil
			}
			n.sub = append(n.sub, c)
		}
		return n
	}
	return nil
}

// leaf makes the node of a literal. Grams fold case, so that of the literal does not matter.
func (s *sieve) leaf(l required.Literal, each int, places map[segment.Gram]int) *node {
	all := segment.AppendGrams(nil, []byte(l.Text))
	if len(all) == 0 {
		return nil
	}
	n := &node{op: required.OpLit, escaped: segment.Escaped([]byte(l.Text))}
	take := min(each, len(all))
	for i := range take {
		g := all[0]
		if take > 1 {
			g = all[i*(len(all)-1)/(take-1)]
		}
		place, ok := places[g]
		if !ok {
			place = len(s.grams)
			places[g] = place
			s.grams = append(s.grams, g)
		}
		n.grams = append(n.grams, place)
	}
	return n
}

// blocks tells which of some blocks may match.
func (s *sieve) blocks(of segment.Set, f told) segment.Set { return s.root.blocks(of, f) }

func (n *node) blocks(of segment.Set, f told) segment.Set {
	if n.op == required.OpOr {
		out := of.None()
		for _, sub := range n.sub {
			out.Or(sub.blocks(of, f))
		}
		return out
	}
	out := slices.Clone(of)
	if n.escaped {
		out.Sub(f.plain)
	}
	for _, g := range n.grams {
		if f.sets[g] != nil {
			out.And(f.sets[g])
		}
	}
	for _, sub := range n.sub {
		out.And(sub.blocks(of, f))
	}
	return out
}

// open are the places of the grams, ascending, that matter to which of some blocks may match: those of what can be true of one of them.
func (s *sieve) open(of segment.Set, f told) (places []int) {
	s.root.open(of, f, func(n *node) { places = append(places, n.grams...) })
	slices.Sort(places)
	return slices.Compact(places)
}

func (n *node) open(of segment.Set, f told, leaf func(*node)) {
	if n.op == required.OpLit && !n.blocks(of, f).Empty() {
		leaf(n)
	}
	for _, sub := range n.sub {
		sub.open(of, f, leaf)
	}
}

// at are the grams at some places.
func (s *sieve) at(places []int) []segment.Gram {
	grams := make([]segment.Gram, len(places))
	for i, p := range places {
		grams[i] = s.grams[p]
	}
	return grams
}
