package match

import (
	"errors"
	"fmt"
	"math"
	"regexp/syntax"
	"slices"
	"strings"
)

// regexError says where a regular expression is wrong.
func regexError(text string, err error) error {
	var at *syntax.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("%w %s: %w", ErrPattern, quote(text), err)
	}
	hint := ""
	if at.Code == syntax.ErrInvalidRepeatSize {
		hint = " (1000 is the most, of repetitions in each other together)"
	}
	if at.Expr == "" || at.Expr == text {
		return fmt.Errorf("%w %s: %s%s", ErrPattern, quote(text), at.Code, hint)
	}
	if i := strings.Index(text, at.Expr); i >= 0 {
		return fmt.Errorf("%w %s: %s at byte %d: %s%s", ErrPattern, quote(text), at.Code, i+1, quote(at.Expr), hint)
	}
	return fmt.Errorf("%w %s: %s: %s%s", ErrPattern, quote(text), at.Code, quote(at.Expr), hint)
}

// quote quotes a text, or the beginning of a long one.
func quote(text string) string {
	const most = 200
	if len(text) > most {
		return fmt.Sprintf("%q... (%d bytes)", text[:most], len(text))
	}
	return fmt.Sprintf("%q", text)
}

// instructions is about how many instructions a regular expression compiles to, with repetitions written out.
func instructions(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n += len(re.Rune) / 8 // four ranges: \pL has hundreds
	}
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		times := max(re.Min, re.Max, 1)
		if n > math.MaxInt32/times {
			return math.MaxInt32
		}
		n *= times
	}
	return min(n, math.MaxInt32)
}

// matchesAll tells that a regular expression matches every record, since it matches the empty text at one of
// the ends: .* or ^ or x*$.
func matchesAll(re *syntax.Regexp) bool {
	return matchesEmpty(re, syntax.OpBeginText, syntax.OpBeginLine) || matchesEmpty(re, syntax.OpEndText, syntax.OpEndLine)
}

// matchesEmpty tells that re matches the empty text where the given conditions hold.
func matchesEmpty(re *syntax.Regexp, holds ...syntax.Op) bool {
	empty := func(sub *syntax.Regexp) bool { return matchesEmpty(sub, holds...) }
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpRepeat:
		return re.Min == 0 || empty(re.Sub[0])
	case syntax.OpPlus, syntax.OpCapture:
		return empty(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !empty(sub) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, empty)
	default:
		return slices.Contains(holds, re.Op)
	}
}

// needles gives the needles that a regular expression stands for, if it stands for nothing else, or nil: for a|b|c,
// and for much that comes to the same. The expression is simplified and does not match the empty text; text is
// how it was typed.
//
// The needles are at most a few times as long together as what was typed. 4[0-9][0-9] stands for a hundred, but
// the DFA finds them sooner, from the 4 alone.
func needles(re *syntax.Regexp, text string) []*needle {
	l := language{most: 4*len(text) + 64}
	all, ok := l.sequences(re)
	if !ok {
		return nil
	}
	var found []*needle
	for _, letters := range all {
		if len(letters) == 0 {
			return nil
		}
		n := newNeedle(letters)
		if len(n.letters) > maxLetters {
			return nil
		}
		found = append(found, n)
	}
	return found
}

// language is what a regular expression stands for: sequences of letters, of most letters together.
type language struct{ most int }

// fits tells whether n sequences of some letters are within the bounds.
func (l language) fits(n, letters int) bool { return n <= maxNeedles && letters <= l.most }

// sum is how many letters there are in sequences.
func sum(all [][]letter) (n int) {
	for _, letters := range all {
		n += len(letters)
	}
	return n
}

func (l language) sequences(re *syntax.Regexp) (all [][]letter, ok bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return [][]letter{nil}, true
	case syntax.OpLiteral:
		letters := make([]letter, len(re.Rune))
		for i, r := range re.Rune {
			if letters[i], ok = runeLetter(r, re.Flags&syntax.FoldCase != 0); !ok {
				return nil, false
			}
		}
		return [][]letter{letters}, true
	case syntax.OpCharClass:
		return l.class(re.Rune)
	case syntax.OpCapture:
		return l.sequences(re.Sub[0])
	case syntax.OpQuest:
		all, ok = l.sequences(re.Sub[0])
		return append(all, nil), ok
	case syntax.OpAlternate:
		letters := 0
		for _, sub := range re.Sub {
			some, ok := l.sequences(sub)
			all = append(all, some...)
			if letters += sum(some); !ok || !l.fits(len(all), letters) {
				return nil, false
			}
		}
		return all, true
	case syntax.OpConcat:
		all = [][]letter{nil}
		for _, sub := range re.Sub {
			next, ok := l.sequences(sub)
			if !ok || !l.fits(len(all)*len(next), len(next)*sum(all)+len(all)*sum(next)) {
				return nil, false
			}
			all = product(all, next)
		}
		return all, true
	default:
		return nil, false
	}
}

// class gives a letter that is any of the runes in ranges, or a letter for each of them.
func (l language) class(ranges []rune) (all [][]letter, ok bool) {
	var runes []rune
	for i := 0; i < len(ranges); i += 2 {
		if n := len(runes) + int(ranges[i+1]-ranges[i]) + 1; !l.fits(n, n) {
			return nil, false
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			runes = append(runes, r)
		}
	}
	if one, ok := classLetter(runes); ok {
		return [][]letter{{one}}, true
	}
	for _, r := range runes {
		one, ok := classLetter([]rune{r})
		if !ok {
			return nil, false
		}
		all = append(all, []letter{one})
	}
	return all, len(all) > 0
}

// product puts each of next behind each of all. Both hold at least one.
func product(all, next [][]letter) [][]letter {
	if len(next) == 1 { // in place: most expressions go on like this
		for i := range all {
			all[i] = append(all[i], next[0]...)
		}
		return all
	}
	var out [][]letter
	for _, a := range all {
		for _, b := range next {
			out = append(out, slices.Concat(a, b))
		}
	}
	return out
}
