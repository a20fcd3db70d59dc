package where

import (
	"slices"
	"strings"

	"oklog/query/match"
	"oklog/query/required"
)

// A string may be written in more than one way: "PushEvent" is also "\u0050ushEvent". Therefore what a record must hold for a
// field to be PushEvent is that text, or an escape of one of its characters:
//
//	"PushEvent" or "\u005" or "\u006" or "\u007"
//
// Escapes of letters hardly occur, so that this is about as rare as the text by itself. Of letters the beginning of the escape is enough,
// since what else begins so is as rare; of others it is whole: "\u003" would also be the beginning of "\u003c", as which many encoders write <.
//
// Characters that have other escapes besides, or are often escaped, break a text: of C:\Users/x what remains is "C:", "Users" and "x".

// Required is what a record must hold for the expression to hold of it.
func (e *Expr) Required() *required.Expr { return e.require(e.root, false, true) }

// require is what a record must hold for n to hold, or not to hold, of it. Keys tells whether the keys of fields belong to it.
func (e *Expr) require(n *node, differ, keys bool) *required.Expr {
	switch n.op {
	case opNot:
		return e.require(n.sub[0], !differ, keys)
	case opAnd, opOr:
		var all []*required.Expr
		for _, sub := range n.sub {
			all = append(all, e.require(sub, differ, keys))
		}
		if (n.op == opAnd) != differ {
			return required.And(all...)
		}
		return required.Or(all...)
	}
	switch {
	case differ:
		return required.And()
	case n.op == opText:
		return required.Substring([]byte(n.text), false)
	case n.op == opRegex:
		return e.programs[n.program].Required()
	}
	var all []*required.Expr
	if keys {
		for _, s := range e.paths[n.cond.path].steps {
			if s.to == toKey {
				all = append(all, written(s.key, false))
			}
		}
	}
	return required.And(append(all, e.requireValue(n.cond))...)
}

// requireValue is what a record must hold for a field to meet a condition.
func (e *Expr) requireValue(c *cond) *required.Expr {
	switch {
	case c.test == matches:
		return rewritten(e.programs[c.program].Required())
	case c.test == equal && c.numeric:
		return writtenNumber(&c.number)
	case c.test == equal || c.test == contains:
		return written(c.text, false)
	default:
		return required.And()
	}
}

// rewritten is what a record must hold for a field to hold what an expression says.
func rewritten(e *required.Expr) *required.Expr {
	var all []*required.Expr
	for _, sub := range e.Sub {
		all = append(all, rewritten(sub))
	}
	switch e.Op {
	case required.OpLit:
		return written(e.Lit.Text, e.Lit.Fold)
	case required.OpNone, required.OpOr:
		return required.Or(all...)
	default:
		return required.And(all...)
	}
}

// breaks tells whether a character breaks a text.
func breaks(r rune) bool {
	return r < ' ' || r >= 0x7f || strings.ContainsRune("\"\\/<>&'", r)
}

// written is what a record must hold for one of its strings to hold a text; with fold, in any case.
func written(text string, fold bool) *required.Expr {
	var all []*required.Expr
	for _, piece := range strings.FieldsFunc(text, breaks) {
		ways := []*required.Expr{required.Substring([]byte(piece), fold)}
		for _, escape := range escapes(piece, fold) {
			ways = append(ways, required.Substring([]byte(escape), false))
		}
		all = append(all, required.Or(ways...))
	}
	return required.And(all...)
}

// escapes are those of the characters of a text of ASCII, or what they begin with.
func escapes(text string, fold bool) (all []string) {
	add := func(escape string) {
		if !slices.Contains(all, escape) {
			all = append(all, escape)
		}
	}
	const hex, upperHex = "0123456789abcdef", "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		if lower := c | 0x20; 'a' <= lower && lower <= 'z' {
			add(`\u00` + hex[c>>4:c>>4+1])
			if fold {
				other := c ^ 0x20
				add(`\u00` + hex[other>>4:other>>4+1])
			}
			switch {
			case fold && lower == 'k': // the Kelvin sign
				add(`\u212a`)
				add(`\u212A`)
			case fold && lower == 's': // the long s
				add(`\u017f`)
				add(`\u017F`)
			}
			continue
		}
		add(`\u00` + string([]byte{hex[c>>4], hex[c&15]}))
		add(`\u00` + string([]byte{hex[c>>4], upperHex[c&15]}))
	}
	return all
}

// Numbers of so few digits are in every other record, and those of so many are written in too many ways.
const minDigits, maxDigits = 4, 20

// writtenNumber is what a record must hold for a field to be a number: its digits, with a point anywhere between them.
func writtenNumber(d *decimal) *required.Expr {
	if d.len() < minDigits || d.len() > maxDigits {
		return required.And()
	}
	digits := string(d.front) + string(d.back)
	ways := []*required.Expr{required.Substring([]byte(digits), false)}
	for i := 1; i < len(digits); i++ {
		ways = append(ways, required.Substring([]byte(digits[:i]+"."+digits[i:]), false))
	}
	for _, escape := range escapes(digits+".", false) {
		ways = append(ways, required.Substring([]byte(escape), false))
	}
	return required.Or(ways...)
}

// shortest is how long each literal is, at least, that Program looks for. Shorter ones are everywhere.
const shortest = 3

// Program is a program that finds, among others, all records of which the expression holds; nil if there is none that is of use.
func (e *Expr) Program() *match.Program {
	// Values first: keys are the same in most records.
	for _, keys := range []bool{false, true} {
		for _, set := range e.require(e.root, false, keys).Sets() {
			if p := programOf(set); p != nil {
				return p
			}
		}
	}
	return nil
}

// programOf is a program that finds what holds a literal of a set; nil if it is of no use.
func programOf(set []required.Literal) *match.Program {
	var p match.Pattern
	for _, l := range set {
		if len(l.Text) < shortest {
			return nil
		}
		p.Texts = append(p.Texts, l.Text)
		p.IgnoreCase = p.IgnoreCase || l.Fold // also the others, then: that finds more
	}
	if len(set) == 0 {
		return nil
	}
	program, err := match.Compile(p)
	if err != nil {
		return nil
	}
	return program
}
