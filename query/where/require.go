package where

import (
	"regexp"
	"slices"
	"strings"

	"oklog/query/match"
	"oklog/query/required"
)

// What a record must hold is said in two ways: to filters, which know of each block which sequences of six bytes it holds, and are
// wrong about one sequence of three or four; and to a search, which is exact and for which a literal costs the same whether it is long or short.
//
// Neither may overlook that strings can be written in more than one way: "PushEvent" is also "\u0050ushEvent". Hardly anybody writes letters
// so, and the literals for it are not to cost much. A search looks for the beginnings of such escapes besides, of which there are four:
//
//	"PushEvent" or "\u005" or "\u006" or "\u007"
//
// To filters that would be too short. They are asked for the first escape with what stands around it, at each place where it may be:
//
//	"\"PushEvent\"" or "type=PushEvent" or "\"\u0050ushE" or "\"P\u0075shE" or "\"Pu\u0073hE" or … or "\"\u0050\u0075" or …
//
// Of most blocks it is known that there is no such escape in them (segment.Escaped). There the literal suffices: a search for it by itself takes half the time.
//
// Characters that are often written as escapes, or have others than those, break a text: of C:\Users/x what remains is "C:", "Users" and "x".

// way is how a requirement is said.
type way struct {
	filters bool // to filters; else to a search
	keys    bool // a search is told the keys of fields, too
	plain   bool // a search of what is not segment.Escaped
}

// Required is what a record must hold for the expression to hold of it, as filters are asked.
func (e *Expr) Required() *required.Expr { return e.require(e.root, false, way{filters: true}) }

// require is what a record must hold for n to hold, or not to hold, of it.
func (e *Expr) require(n *node, differ bool, w way) *required.Expr {
	switch n.op {
	case opNot:
		return e.require(n.sub[0], !differ, w)
	case opAnd, opOr:
		var all []*required.Expr
		for _, sub := range n.sub {
			all = append(all, e.require(sub, differ, w))
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
	case w.filters:
		return e.needCond(n.cond)
	}
	needed := e.seekValue(n.cond, w.plain)
	if !w.keys {
		return needed
	}
	all := []*required.Expr{needed}
	for _, s := range e.paths[n.cond.path].steps {
		if s.to == toKey {
			all = append(all, seek(s.key, false, w.plain))
		}
	}
	return required.And(all...)
}

// rewritten is what a record must hold for a field to hold what an expression says, each literal of it being said by write.
func rewritten(e *required.Expr, write func(required.Literal) *required.Expr) *required.Expr {
	var all []*required.Expr
	for _, sub := range e.Sub {
		all = append(all, rewritten(sub, write))
	}
	switch e.Op {
	case required.OpLit:
		return write(e.Lit)
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

// oneOf is true of what holds one of the literals; fold is for all of them.
func oneOf(literals []string, fold bool) *required.Expr {
	var all []*required.Expr
	for _, l := range literals {
		all = append(all, required.Substring([]byte(l), fold))
	}
	return required.Or(all...)
}

// What filters are asked for.
const (
	leastPiece   = 6  // bytes of a text: what is shorter is in every block
	mostPiece    = 24 // of a longer one the end is asked for
	leastContext = 11 // bytes of an escape and what stands around it: six sequences
)

// needCond says to filters what a record must hold for a field to meet a condition: its value, or else its key.
func (e *Expr) needCond(c *cond) *required.Expr {
	path := e.paths[c.path]
	needed := required.And()
	switch {
	case c.test == matches:
		needed = rewritten(e.programs[c.program].Required(), func(l required.Literal) *required.Expr {
			if l.Fold {
				return required.And()
			}
			return need(l.Text)
		})
	case c.test == equal && !c.numeric:
		needed = needWhole(path, c.text)
	case c.test == contains:
		needed = need(c.text)
	}
	if needed.Op != required.OpAny {
		return needed
	}
	longest := ""
	for _, s := range path.steps {
		if s.to == toKey && len(s.key) > len(longest) {
			longest = s.key
		}
	}
	return need(longest)
}

// needWhole is what a record must hold for the text of a field to be a text.
func needWhole(path Path, text string) *required.Expr {
	bare := text == "true" || text == "false" || text == "null" || text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9')
	if bare || len(text) < leastPiece || len(text) > mostPiece || strings.ContainsFunc(text, breaks) {
		return need(text)
	}
	ways := []string{`"` + text + `"`}
	if name := path.rests[0]; name != "" {
		ways = append(ways, name+"="+text, name+`="`+text)
	}
	return required.Or(oneOf(ways, false), oneOf(contexts(`"`, text), true))
}

// need is what a record must hold for a string to hold a text: the longest piece of it.
func need(text string) *required.Expr {
	longest := ""
	for _, piece := range strings.FieldsFunc(text, breaks) {
		if len(piece) > len(longest) {
			longest = piece
		}
	}
	if len(longest) < leastPiece {
		return required.And()
	}
	end := longest[max(0, len(longest)-mostPiece):]
	return required.Or(oneOf([]string{end}, false), oneOf(contexts("", end), true))
}

// contexts are texts of which a record holds one that holds a piece of a string, behind before, with an escape in it: the first
// escape, with what is right before it, and behind it as much as is needed. It may be in either case. They are short: what does not reach into the
// escape may be in every block.
func contexts(before, piece string) (all []string) {
	for i := range len(piece) {
		text := before + piece[:i]
		text = text[max(0, len(text)-leastContext+len(escape(0))):] + escape(piece[i])
		for k := i + 1; len(text) < leastContext && k < len(piece); k++ {
			all = append(all, text+escape(piece[k]))
			text += piece[k : k+1]
		}
		all = append(all, text)
	}
	return all
}

const hex = "0123456789abcdef"

// escape is a character of ASCII as an escape.
func escape(c byte) string { return `\u00` + string([]byte{hex[c>>4], hex[c&15]}) }

// seekValue says to a search what a record must hold for a field to meet a condition.
func (e *Expr) seekValue(c *cond, plain bool) *required.Expr {
	switch {
	case c.test == matches:
		return rewritten(e.programs[c.program].Required(), func(l required.Literal) *required.Expr { return seek(l.Text, l.Fold, plain) })
	case c.test == equal && c.numeric:
		return seekNumber(&c.number, plain)
	case c.test == equal && (c.text == "true" || c.text == "false" || c.text == "null"):
		return required.And() // they are in most records: the key is rarer
	case c.test == equal || c.test == contains:
		return seek(c.text, false, plain)
	default:
		return required.And()
	}
}

// seek is what a record must hold for one of its strings to hold a text; with fold, in any case.
func seek(text string, fold, plain bool) *required.Expr {
	var all []*required.Expr
	for _, piece := range strings.FieldsFunc(text, breaks) {
		needed := oneOf([]string{piece}, fold)
		if !plain {
			needed = required.Or(needed, oneOf(escapes(piece, fold), false))
		}
		all = append(all, needed)
	}
	return required.And(all...)
}

// escapes are what those of the characters of a text of ASCII begin with. Of letters that is short, since there are few of them. Of others it is
// whole: many encoders write < as \u003c, which begins as those of digits do.
func escapes(text string, fold bool) (all []string) {
	add := func(escape string) {
		if !slices.Contains(all, escape) {
			all = append(all, escape)
		}
	}
	for i := range len(text) {
		c := text[i]
		lower := c | 0x20
		if lower < 'a' || 'z' < lower {
			add(escape(c))
			add(`\u00` + strings.ToUpper(escape(c)[4:]))
			continue
		}
		add(escape(c)[:5])
		switch {
		case fold && lower == 'k': // the Kelvin sign
			add(`\u212a`)
			add(`\u212A`)
		case fold && lower == 's': // the long s
			add(`\u017f`)
			add(`\u017F`)
		}
		if fold {
			add(escape(c ^ 0x20)[:5])
		}
	}
	return all
}

// Numbers of so few digits are in every other record, and those of so many are written in too many ways.
const minDigits, maxDigits = 4, 20

// seekNumber is what a record must hold for a field to be a number: its digits, with a point anywhere between them.
func seekNumber(d *decimal, plain bool) *required.Expr {
	if d.len() < minDigits || d.len() > maxDigits {
		return required.And()
	}
	digits := string(d.front) + string(d.back)
	ways := []string{digits}
	for i := 1; i < len(digits); i++ {
		ways = append(ways, digits[:i]+"."+digits[i:])
	}
	if !plain {
		ways = append(ways, escapes(digits+".", false)...)
	}
	return oneOf(ways, false)
}

// shortest is how long each literal is, at least, that Program looks for. Shorter ones are everywhere.
const shortest = 3

// Program is a program that finds, among others, all records of which the expression holds; nil if there is none that is of use.
func (e *Expr) Program() *match.Program { return e.search(false) }

// PlainProgram is one that finds them among those that are not segment.Escaped.
func (e *Expr) PlainProgram() *match.Program { return e.search(true) }

func (e *Expr) search(plain bool) *match.Program {
	// Without keys first: they are the same in most records.
	for _, keys := range []bool{false, true} {
		for _, set := range e.require(e.root, false, way{keys: keys, plain: plain}).Sets() {
			if p := programOf(set); p != nil {
				return p
			}
		}
	}
	return nil
}

// escapeStart is what escapes of ASCII begin with.
const escapeStart = `\u00`

// programOf is a program that finds what holds a literal of a set; nil if it is of no use.
func programOf(set []required.Literal) *match.Program {
	p := match.Pattern{Regex: true}
	var endings []string // of escapes
	for _, l := range set {
		if len(l.Text) < shortest {
			return nil
		}
		p.IgnoreCase = p.IgnoreCase || l.Fold // also the others, then: that finds more
		if ending, ok := strings.CutPrefix(l.Text, escapeStart); ok && !l.Fold {
			endings = append(endings, regexp.QuoteMeta(ending))
		} else {
			p.Texts = append(p.Texts, regexp.QuoteMeta(l.Text))
		}
	}
	if len(set) == 0 {
		return nil
	}
	if len(endings) > 0 {
		// Repeated, so that they are looked for by what they begin with, once, and not one after the other.
		p.Texts = append(p.Texts, "(?:"+regexp.QuoteMeta(escapeStart)+"(?:"+strings.Join(endings, "|")+"))+")
	}
	program, err := match.Compile(p)
	if err != nil {
		return nil
	}
	return program
}
