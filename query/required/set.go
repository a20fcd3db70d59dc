package required

import (
	"slices"
	"strings"
)

// Bounds of a set.
const (
	maxSet  = 64  // literals in a set that was multiplied, or is an edge
	maxText = 128 // bytes of a literal
)

// set is what a part of a pattern may be, or may begin or end with: one of several literals, in the order of the pattern. Here
// the empty literal is one. A set without a literal is what no text has.
type set []Literal

// unknown is the edge of what can be anything: each text begins and ends with the empty literal.
func unknown() set { return set{{}} }

// unique drops what is there already.
func (s set) unique() set {
	if len(s) < 2 {
		return s
	}
	seen := make(map[Literal]struct{}, len(s))
	var kept set
	for _, l := range s {
		if _, ok := seen[l]; !ok {
			seen[l] = struct{}{}
			kept = append(kept, l)
		}
	}
	return kept
}

// bytes are how many its literals have together, and the longest and shortest of them.
func (s set) bytes() (sum, longest, shortest int) {
	for i, l := range s {
		n := len(l.Text)
		sum += n
		longest = max(longest, n)
		if i == 0 || n < shortest {
			shortest = n
		}
	}
	return sum, longest, shortest
}

func (s set) isFolded() bool { return slices.ContainsFunc(s, func(l Literal) bool { return l.Fold }) }

// edge is the set as an edge: with the empty literal in it, it says nothing.
func (s set) edge() set {
	if slices.ContainsFunc(s, func(l Literal) bool { return l.Text == "" }) {
		return unknown()
	}
	return s
}

// cross is each literal of x followed by each of y, if there are not too many: at most maxSet, or as many as there were. A
// thousand words behind one prefix are a thousand literals.
func (w *work) cross(x, y set) (z set, ok bool) {
	n := len(x) * len(y)
	sumX, longestX, _ := x.bytes()
	sumY, longestY, _ := y.bytes()
	switch {
	case n > maxSet && n > len(x) && n > len(y),
		longestX+longestY > maxText,
		sumX*len(y)+sumY*len(x) > maxBytes,
		!w.spend(n):
		return nil, false
	}
	z = make(set, 0, n)
	for _, l := range x {
		for _, m := range y {
			z = append(z, l.join(m))
		}
	}
	return z.unique(), true
}

// union is all literals of the sets, if they are at most limit.
func (w *work) union(limit int, sets ...set) (z set, ok bool) {
	n, bytes := 0, 0
	for _, s := range sets {
		sum, _, _ := s.bytes()
		n += len(s)
		bytes += sum
	}
	if n > limit || bytes > maxBytes || !w.spend(n) {
		return nil, false
	}
	return slices.Concat(sets...).unique(), true
}

// oneOf states that a text holds one of the set.
func (w *work) oneOf(s set) *Expr {
	if s = s.trim(); slices.Contains(s, Literal{}) || !w.spend(len(s)) {
		return anything()
	}
	terms := make([]*Expr, 0, len(s))
	for _, l := range s {
		terms = append(terms, newLit(l))
	}
	return w.or(terms...)
}

// trim cuts the last byte off all literals, or the first, as long as that leaves an eighth of them or less. Ten literals "port 410" to "port 419"
// say hardly more than "port 41", and cost ten times as much to look for.
func (s set) trim() set {
	const less = 8
	for len(s) >= less {
		if t := s.cut(func(text string) string { return text[:len(text)-1] }); len(t)*less <= len(s) {
			s = t
		} else if t := s.cut(func(text string) string { return text[1:] }); len(t)*less <= len(s) {
			s = t
		} else {
			break
		}
	}
	return s
}

// cut shortens all literals, if none gets empty by it.
func (s set) cut(shorter func(string) string) set {
	if _, _, shortest := s.bytes(); shortest < 2 {
		return s
	}
	t := make(set, 0, len(s))
	for _, l := range s {
		t = append(t, newLiteral(shorter(l.Text), l.Fold))
	}
	return t.unique()
}

// shared is what at least two literals all begin with, and what they all end with, as far as it is long enough to look for.
func (s set) shared() (found []Literal) {
	const enough = 3
	if len(s) < 2 || slices.ContainsFunc(s, func(l Literal) bool { return l.Fold != s[0].Fold }) {
		return nil
	}
	front, back := s[0].Text, s[0].Text
	for _, l := range s[1:] {
		for !strings.HasPrefix(l.Text, front) {
			front = front[:len(front)-1]
		}
		for !strings.HasSuffix(l.Text, back) {
			back = back[1:]
		}
	}
	for _, text := range []string{front, back} {
		if len(text) >= enough {
			found = append(found, newLiteral(text, s[0].Fold))
		}
	}
	return found
}

// keepCase states what joining x and y is about to make folded, if that is long enough to be of use: an index
// has more to go by in it (Literal.Pieces), and a search is quicker.
func (w *work) keepCase(x, y set) *Expr {
	const enough = 4
	exact := x
	if x.isFolded() {
		exact = y
	}
	_, _, shortest := exact.bytes()
	hasLetters := func(l Literal) bool { return strings.ContainsFunc(l.Text, isLetter) }
	if x.isFolded() == y.isFolded() || shortest < enough || !slices.ContainsFunc(exact, hasLetters) {
		return anything()
	}
	return w.oneOf(exact)
}
