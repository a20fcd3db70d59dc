package match

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"

	"oklog/query/dfa"
	"oklog/query/required"
)

const (
	// maxParts bounds how many DFAs a pattern takes: each of them reads the whole text.
	maxParts = 8
	// maxSets is how many sets of required needles are weighed against each other, and minBits how rare
	// those of a set have to be: rarer than every hundredth byte. Lines are about that long.
	maxSets = 4
	minBits = 7
)

// part is some texts of a pattern: needles, or regular expressions. A record matches if it holds a needle,
// or matches one of the expressions.
type part struct {
	needles *quarry          // nil for regular expressions
	words   []*needle        // the needles, where they have to be whole words
	dfa     *dfa.Program     // nil where it would be too large
	regexps []*regexp.Regexp // what is asked where the DFA gives up
	sets    []*quarry        // of each, a record that matches holds a needle; rarest first
}

// divide makes the parts of the program. What is needles altogether is looked for as such; of regular expressions,
// one DFA takes as many as it can.
func (p *Program) divide(sources []source) error {
	var found []*needle
	var regexes []source
	for _, s := range sources {
		if s.needles == nil {
			regexes = append(regexes, s)
		}
		found = append(found, s.needles...)
	}
	if len(found) > 0 {
		part := &part{needles: newQuarry(found, p.prior)}
		if p.pattern.Word {
			part.words = found
		}
		p.parts = append(p.parts, part)
	}
	if len(regexes) > 0 {
		return p.group(regexes)
	}
	return nil
}

// group makes a part of regular expressions, or of one half and the other if that is too large for a DFA.
func (p *Program) group(sources []source) error {
	if len(p.parts) > maxParts {
		return fmt.Errorf("%w: the regular expressions are too large together: ask in parts", ErrPattern)
	}
	tree := sources[0].tree
	needed := []*required.Expr{sources[0].needed}
	if len(sources) > 1 {
		tree = &syntax.Regexp{Op: syntax.OpAlternate}
		needed = nil
		for _, s := range sources {
			tree.Sub = append(tree.Sub, s.tree)
			needed = append(needed, s.needed)
		}
	}
	prog, err := dfa.Compile(tree)
	if err != nil && !errors.Is(err, dfa.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrPattern, err)
	}
	if err != nil && len(sources) > 1 {
		if err := p.group(sources[:len(sources)/2]); err != nil {
			return err
		}
		return p.group(sources[len(sources)/2:])
	}
	part := &part{dfa: prog, sets: p.sets(required.Or(needed...))}
	for _, s := range sources {
		re, err := regexp.Compile(s.regex)
		if err != nil {
			return regexError(s.text, err)
		}
		part.regexps = append(part.regexps, re)
	}
	p.parts = append(p.parts, part)
	return nil
}

// sets are the sets of needles that are worth a search before the DFA.
func (p *Program) sets(needed *required.Expr) []*quarry {
	type ranked struct {
		needles []*needle
		bits    float64
	}
	var all []ranked
	for _, literals := range needed.Sets() {
		r := ranked{}
		var share float64
		for _, l := range literals {
			n := literalNeedle(l)
			r.needles = append(r.needles, n)
			share += math.Exp2(-p.prior.bits(n))
		}
		if r.bits = -math.Log2(share); len(literals) > 0 && r.bits >= minBits {
			all = append(all, r)
		}
	}
	// Each needle of a set is a search: as if it were a bit less rare.
	rank := func(r ranked) float64 { return r.bits - float64(len(r.needles)) }
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(rank(b), rank(a)) })
	var sets []*quarry
	for _, r := range all[:min(len(all), maxSets)] {
		sets = append(sets, newQuarry(r.needles, p.prior))
	}
	return sets
}

// literalNeedle is what a required literal stands for.
func literalNeedle(l required.Literal) *needle {
	if !l.Fold {
		return exactNeedle(l.Text)
	}
	letters := make([]letter, len(l.Text))
	for i := range letters {
		b := l.Text[i]
		letters[i] = rawLetter(b)
		if 'a' <= b && b <= 'z' {
			letters[i], _ = runeLetter(rune(b), true)
		}
	}
	return newNeedle(letters)
}
