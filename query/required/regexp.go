package required

import (
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Bounds of a class that is taken for its characters.
const (
	maxClass = 16 // literals: a hexadecimal digit is in
	maxRunes = 64 // characters, before the cases of a letter are made one
)

// Substring tells what a text must hold to hold text, which is any bytes. With fold it holds them in any case: by Unicode's
// simple folding, as the regexp package has it for (?i), bytes that are not UTF-8 standing for themselves.
func Substring(text []byte, fold bool) *Expr {
	w := newWork()
	if !fold {
		return w.whole(w.plain(string(text), false))
	}
	return w.whole(w.text(string(text), true))
}

// Regexp tells what a text must hold for re to match somewhere in it. It is for expressions that syntax.Parse
// made with syntax.Perl, simplified or not.
func Regexp(re *syntax.Regexp) *Expr {
	w := newWork()
	return w.whole(w.describe(re))
}

// part is what is known of the texts that a part of a pattern matches.
type part struct {
	exact  bool  // each is one of front, which is also back
	front  set   // each begins with one of these
	back   set   // each ends with one of these
	inside *Expr // each holds this, besides
}

func exactly(s set) part { return part{exact: true, front: s, back: s, inside: anything()} }
func empty() part        { return exactly(set{{}}) }
func whatever() part     { return part{front: unknown(), back: unknown(), inside: anything()} }

// loose forgets that a part is exact: it may be longer than that.
func (p part) loose() part {
	return part{front: p.front.edge(), back: p.back.edge(), inside: p.inside}
}

// whole states all that is known of a part.
func (w *work) whole(p part) *Expr {
	if p.exact {
		return w.and(w.oneOf(p.front), p.inside)
	}
	return w.and(w.oneOf(p.front), p.inside, w.oneOf(p.back))
}

// describe describes a regular expression.
func (w *work) describe(re *syntax.Regexp) part {
	switch re.Op {
	case syntax.OpNoMatch:
		return exactly(nil)
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return empty()
	case syntax.OpLiteral:
		return w.text(string(re.Rune), re.Flags&syntax.FoldCase != 0)
	case syntax.OpCharClass:
		return class(re.Rune)
	case syntax.OpCapture:
		return w.describe(re.Sub[0])
	case syntax.OpConcat:
		p := empty()
		for _, sub := range re.Sub {
			p = w.concat(p, w.describe(sub))
		}
		return p
	case syntax.OpAlternate:
		var parts []part
		for _, sub := range re.Sub {
			parts = append(parts, w.describe(sub))
		}
		return w.alternate(parts...)
	case syntax.OpQuest:
		return w.repeat(w.describe(re.Sub[0]), 0, 1)
	case syntax.OpStar:
		return w.repeat(w.describe(re.Sub[0]), 0, -1)
	case syntax.OpPlus:
		return w.repeat(w.describe(re.Sub[0]), 1, -1)
	case syntax.OpRepeat:
		return w.repeat(w.describe(re.Sub[0]), re.Min, re.Max)
	default: // OpAnyChar, OpAnyCharNotNL
		return whatever()
	}
}

// concat is x followed by y. What x ends with and what y begins with stand side by side.
//
//	x exact, y exact    the joined set, exactly
//	x exact             the joined set is the front
//	         y exact    the joined set is the back
//	neither             the joined set is inside
//
// If there is no joined set, as it would be too large, each side stands for itself.
func (w *work) concat(x, y part) part {
	joined, ok := w.cross(x.back, y.front)
	if !ok {
		return w.apart(x, y)
	}
	z := part{front: x.front, back: y.back}
	seam := w.keepCase(x.back, y.front)
	switch {
	case x.exact && y.exact:
		z.exact, z.front, z.back = true, joined, joined
	case x.exact:
		z.front = joined.edge()
	case y.exact:
		z.back = joined.edge()
	default:
		seam = w.and(seam, w.oneOf(joined))
	}
	z.inside = w.and(x.inside, seam, y.inside)
	return z
}

// apart is x followed by y, where nothing is known across the seam.
func (w *work) apart(x, y part) part {
	terms := []*Expr{x.inside}
	if !x.exact { // else it is the front, and remains
		terms = append(terms, w.oneOf(x.back))
	}
	if !y.exact {
		terms = append(terms, w.oneOf(y.front))
	}
	return part{front: x.front.edge(), back: y.back.edge(), inside: w.and(append(terms, y.inside)...)}
}

// alternate is one of the parts.
func (w *work) alternate(parts ...part) part {
	var fronts, backs []set
	var insides, wholes []*Expr
	exact := true
	for _, p := range parts {
		fronts, backs = append(fronts, p.front), append(backs, p.back)
		insides = append(insides, p.inside)
		exact = exact && p.exact
	}
	if exact {
		if s, ok := w.union(maxLiterals, fronts...); ok {
			p := exactly(s)
			p.inside = w.or(insides...)
			return p
		}
	}
	for _, p := range parts {
		wholes = append(wholes, w.whole(p))
	}
	p := whatever()
	p.inside = w.or(wholes...)
	if s, ok := w.union(maxSet, fronts...); ok {
		p.front = s.edge()
	}
	if s, ok := w.union(maxSet, backs...); ok {
		p.back = s.edge()
	}
	return p
}

// repeat is x from atLeast to atMost times, which is endlessly often if it is below 0.
func (w *work) repeat(x part, atLeast, atMost int) part {
	optional := func(n int) part { return w.power(w.alternate(x, empty()), n) }
	switch {
	case atMost == atLeast:
		return w.power(x, atLeast)
	case atMost < 0 && atLeast == 0:
		return whatever()
	case atMost < 0:
		return w.power(x, atLeast).loose() // begins so, and ends so
	case atLeast == 0:
		return optional(atMost)
	}
	p := w.power(x, atLeast)
	if longer := w.concat(p, optional(atMost-atLeast)); longer.exact {
		return longer
	}
	return p.loose()
}

// power is x, n times. From the moment on that it is not exact another x would say nothing new: x once more is between the two
// that are there, and makes neither edge better.
func (w *work) power(x part, n int) part {
	p := empty()
	for i := range n {
		p = w.concat(p, x)
		isEmpty := p.exact && len(p.front) == 1 && p.front[0].Text == ""
		if i > 0 && !p.exact || isEmpty {
			break
		}
	}
	return p
}

// plain is text as it stands, in either case of ASCII if fold is set. A long one is a row of literals.
func (w *work) plain(text string, fold bool) part {
	p := empty()
	for len(text) > maxText {
		p = w.concat(p, exactly(set{newLiteral(text[:maxText], fold)}))
		text = text[maxText:]
	}
	return w.concat(p, exactly(set{newLiteral(text, fold)}))
}

// text is text as it stands, or in any case. U+FFFD is whatever in it: it also equals each byte that is not UTF-8.
func (w *work) text(text string, fold bool) part {
	p := empty()
	done := 0 // what p describes
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		var odd part // what is not plain
		switch {
		case r < utf8.RuneSelf || r == utf8.RuneError && size == 1 || r != utf8.RuneError && !fold:
			i += size
			continue
		case r == utf8.RuneError:
			odd = whatever()
		default:
			odd = characters(orbit(r))
		}
		p = w.concat(w.concat(p, w.plain(text[done:i], fold)), odd)
		i += size
		done = i
	}
	return w.concat(p, w.plain(text[done:], fold))
}

// orbit are all characters that are equal but for their case, in their order.
func orbit(r rune) []rune {
	all := []rune{r}
	for c := unicode.SimpleFold(r); c != r; c = unicode.SimpleFold(c) {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}

// class is one of a few characters, given by ranges as syntax.Regexp has them. A letter of ASCII that is there in all of its
// cases is folded.
func class(ranges []rune) part {
	var all []rune
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if len(all)+int(hi-lo) >= maxRunes {
			return whatever()
		}
		for r := lo; r <= hi; r++ {
			if r == utf8.RuneError || !utf8.ValidRune(r) {
				return whatever()
			}
			all = append(all, r)
		}
	}
	return characters(all)
}

func characters(all []rune) part {
	var s set
	for _, r := range all {
		l := Literal{Text: string(r)}
		same := orbit(r)
		missing := slices.ContainsFunc(same, func(c rune) bool { return !slices.Contains(all, c) })
		if first := same[0]; len(same) > 1 && first < utf8.RuneSelf && !missing {
			l = newLiteral(string(first), true)
		}
		s = append(s, l)
	}
	if s = s.unique(); len(s) > maxClass {
		return whatever()
	}
	return exactly(s)
}
