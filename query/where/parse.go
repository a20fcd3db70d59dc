package where

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"oklog/query/match"
)

// Parse parses an expression. Errors are ErrExpr.
func Parse(text string) (*Expr, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%w: %d bytes, at most %d: ask in parts", ErrExpr, len(text), MaxText)
	}
	p := parser{text: text, e: &Expr{text: text}, places: map[string]int{}}
	p.space()
	if p.at == len(text) {
		return nil, fmt.Errorf("%w: it is empty: want a text, such as \"connection reset\", or a condition, such as status>=500", ErrExpr)
	}
	root, err := p.or()
	if err == nil && p.at < len(text) {
		err = p.errorf(p.at, "there is no ( for this )") // nothing else ends an expression
	}
	if err != nil {
		return nil, err
	}
	p.e.root = root
	return p.e, nil
}

// parser is at a byte of a text. Its methods leave no space behind what they read.
type parser struct {
	text  string
	at    int
	depth int
	terms int

	e      *Expr
	places map[string]int // of the expression's paths
}

// errorf makes an error about the byte at a place.
func (p *parser) errorf(at int, format string, v ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrExpr, at+1, fmt.Sprintf(format, v...))
}

// have is what stands at a place, for errors.
func (p *parser) have(at int) string {
	const most = 20
	rest := p.text[at:]
	if rest == "" {
		return "the end"
	}
	if i := strings.IndexAny(rest[1:], " \t\r\n"); i >= 0 {
		rest = rest[:i+1]
	}
	if len(rest) > most {
		n := most
		for n > 1 && !utf8.RuneStart(rest[n]) {
			n--
		}
		return fmt.Sprintf("%q...", rest[:n])
	}
	return fmt.Sprintf("%q", rest)
}

// peek is the byte n behind the next one, 0 at the end.
func (p *parser) peek(n int) byte {
	if p.at+n < len(p.text) {
		return p.text[p.at+n]
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (p *parser) space() {
	for p.at < len(p.text) && isSpace(p.text[p.at]) {
		p.at++
	}
}

// or reads what OR joins.
func (p *parser) or() (*node, error) { return p.join(opOr, "OR", "||", p.and) }

// and reads what AND joins, or nothing.
func (p *parser) and() (*node, error) { return p.join(opAnd, "AND", "&&", p.not) }

func (p *parser) join(op op, word, sign string, operand func() (*node, error)) (*node, error) {
	n := &node{op: op}
	for {
		sub, err := operand()
		if err != nil {
			return nil, err
		}
		if sub.op == op {
			n.sub = append(n.sub, sub.sub...)
		} else {
			n.sub = append(n.sub, sub)
		}
		ends := p.at == len(p.text) || p.text[p.at] == ')'
		switch {
		case strings.HasPrefix(p.text[p.at:], sign):
			p.at += len(sign)
			p.space()
		case p.keyword(word):
		case op == opOr, ends, p.isKeyword("OR"), strings.HasPrefix(p.text[p.at:], "||"):
			if len(n.sub) == 1 {
				return n.sub[0], nil
			}
			return n, nil
		}
	}
}

// isKeyword tells whether a word stands here that joins: in any case, by itself, and not as a field.
func (p *parser) isKeyword(word string) bool {
	end := p.at + len(word)
	if end > len(p.text) || !strings.EqualFold(p.text[p.at:end], word) {
		return false
	}
	if end < len(p.text) && !isSpace(p.text[end]) && strings.IndexByte(`()"'!`, p.text[end]) < 0 {
		return false
	}
	ahead := *p
	ahead.at = end
	ahead.space()
	return !ahead.atOperator()
}

// keyword passes a word that joins.
func (p *parser) keyword(word string) bool {
	if !p.isKeyword(word) {
		return false
	}
	p.at += len(word)
	p.space()
	return true
}

// deeper counts a level.
func (p *parser) deeper(at int) error {
	if p.depth++; p.depth > MaxDepth {
		return p.errorf(at, "more than %d parentheses and NOTs in each other", MaxDepth)
	}
	return nil
}

func (p *parser) not() (*node, error) {
	at := p.at
	switch {
	case p.keyword("NOT"):
	case p.peek(0) == '!' && p.peek(1) != '=' && p.peek(1) != '~':
		p.at++
		p.space()
	default:
		return p.term()
	}
	if err := p.deeper(at); err != nil {
		return nil, err
	}
	sub, err := p.not()
	if err != nil {
		return nil, err
	}
	p.depth--
	return &node{op: opNot, sub: []*node{sub}}, nil
}

// term reads what stands between the words that join.
func (p *parser) term() (*node, error) {
	at := p.at
	if p.peek(0) == '(' {
		return p.group()
	}
	if p.terms++; p.terms > MaxTerms {
		return nil, p.errorf(at, "more than %d terms: ask in parts", MaxTerms)
	}
	n, err := p.single()
	if err != nil {
		return nil, err
	}
	p.space()
	return n, nil
}

func (p *parser) group() (*node, error) {
	at := p.at
	if err := p.deeper(at); err != nil {
		return nil, err
	}
	p.at++
	p.space()
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.peek(0) != ')' {
		return nil, p.errorf(at, "there is no ) for this (")
	}
	p.at++
	p.space()
	p.depth--
	return n, nil
}

// single reads a text, a regular expression, a condition or a function.
func (p *parser) single() (*node, error) {
	at := p.at
	if p.peek(0) == '/' {
		program, err := p.regex()
		if err != nil {
			return nil, err
		}
		return &node{op: opRegex, program: program}, nil
	}
	// What an operator follows is a field, and anything else a text.
	ahead := *p
	err := ahead.skipWord()
	if err != nil {
		return nil, err
	}
	end := ahead.at
	switch {
	case end == at, p.isKeyword("AND"), p.isKeyword("OR"):
		return nil, p.errorf(at, "want a text, such as \"connection reset\", or a condition, such as status>=500, have %s", p.have(at))
	case ahead.peek(0) == '(' && !isQuote(p.peek(0)):
		return p.function(p.text[at:end])
	}
	ahead.space()
	if ahead.atOperator() {
		return p.condition()
	}
	text := p.text[at:end]
	if isQuote(p.peek(0)) {
		if text, err = p.quoted(); err != nil {
			return nil, err
		}
		if p.at < end {
			return nil, p.errorf(p.at, "want =, !=, <, <=, >, >=, =~ or !~ behind a field, or a space behind a text, have %s", p.have(p.at))
		}
	}
	if text == "" {
		return nil, p.errorf(at, "the text is empty: every record holds that")
	}
	p.at = end
	return &node{op: opText, text: text}, nil
}

func isQuote(c byte) bool { return c == '"' || c == '\'' }

// skipWord passes a word, or a quoted text, and what follows without a space: it may be a path.
func (p *parser) skipWord() error {
	start := p.at
	for p.at < len(p.text) && !p.endsWord() {
		if !isQuote(p.text[p.at]) {
			p.at++
			continue
		}
		if p.at > start && p.text[p.at-1] != '.' {
			return p.errorf(p.at, "a quote within a word: quote all of it")
		}
		if _, err := p.quoted(); err != nil {
			return err
		}
		if c := p.peek(0); p.at < len(p.text) && c != '.' && c != '[' {
			return nil
		}
	}
	return nil
}

// endsWord tells whether a word, of a text or of a path, ends before the next byte.
func (p *parser) endsWord() bool {
	switch c := p.text[p.at]; c {
	case ' ', '\t', '\n', '\r', '(', ')', '=', '<', '>':
		return true
	case '!':
		return p.peek(1) == '=' || p.peek(1) == '~'
	case '&', '|':
		return p.peek(1) == c
	}
	return false
}

// regex reads /regex/ or /regex/i and adds a program for it.
func (p *parser) regex() (program int, err error) {
	at := p.at
	var b strings.Builder
	for p.at++; ; p.at++ {
		switch c := p.peek(0); {
		case p.at >= len(p.text):
			return 0, p.errorf(at, "there is no second / for this one (to look for a text with a slash, quote it)")
		case c == '\\' && p.peek(1) == '/':
			p.at++
			b.WriteByte('/')
			continue
		case c == '\\' && p.at+1 < len(p.text):
			b.WriteByte(c)
			p.at++
			b.WriteByte(p.text[p.at])
			continue
		case c != '/':
			b.WriteByte(c)
			continue
		}
		break
	}
	p.at++
	ignoreCase := p.peek(0) == 'i'
	if ignoreCase {
		p.at++
	}
	if p.at < len(p.text) && !isSpace(p.text[p.at]) && p.text[p.at] != ')' && p.text[p.at] != '(' && !p.endsWord() {
		return 0, p.errorf(p.at, "want a space, or i for any case, behind a regular expression, have %s (to look for a text with a slash, quote it)", p.have(p.at))
	}
	return p.addRegex(at, b.String(), ignoreCase)
}

func (p *parser) addRegex(at int, text string, ignoreCase bool) (program int, err error) {
	if text == "" {
		return 0, p.errorf(at, "the regular expression is empty: it matches everything")
	}
	if len(p.e.programs) == MaxRegexes {
		return 0, p.errorf(at, "more than %d regular expressions: join some with |, or ask in parts", MaxRegexes)
	}
	compiled, err := match.Compile(match.Pattern{Texts: []string{text}, Regex: true, IgnoreCase: ignoreCase})
	if err != nil {
		return 0, p.errorf(at, "%v", err)
	}
	p.e.programs = append(p.e.programs, compiled)
	return len(p.e.programs) - 1, nil
}

// operators are those of conditions.
var operators = map[string]struct {
	test   test
	differ bool
}{
	"=": {equal, false}, "==": {equal, false}, "!=": {equal, true}, "=~": {matches, false}, "!~": {matches, true},
	"<": {less, false}, "<=": {lessOrEqual, false}, ">": {more, false}, ">=": {moreOrEqual, false},
}

// atOperator tells whether something stands here that is meant as an operator.
func (p *parser) atOperator() bool {
	switch p.peek(0) {
	case '=', '<', '>':
		return true
	case '!':
		return p.peek(1) == '=' || p.peek(1) == '~'
	}
	return false
}

// condition reads a field, an operator and a value.
func (p *parser) condition() (*node, error) {
	path, err := p.path("")
	if err != nil {
		return nil, err
	}
	p.space()
	at := p.at
	for p.at < len(p.text) && strings.IndexByte("=!<>~", p.text[p.at]) >= 0 {
		p.at++
	}
	operator, ok := operators[p.text[at:p.at]]
	if !ok {
		return nil, p.errorf(at, "unknown operator %s: want =, !=, <, <=, >, >=, =~ or !~; quote a value that begins with one", p.text[at:min(p.at, at+20)])
	}
	spaced := p.at
	p.space()
	c := &cond{test: operator.test}
	if c.test == matches {
		c.program, err = p.matched()
	} else {
		err = p.value(c, p.at > spaced)
	}
	if err != nil {
		return nil, err
	}
	n, err := p.addCond(c, path)
	if err == nil && operator.differ {
		n = &node{op: opNot, sub: []*node{n}}
	}
	return n, err
}

// matched reads the regular expression behind =~.
func (p *parser) matched() (program int, err error) {
	at := p.at
	switch {
	case p.peek(0) == '/':
		return p.regex()
	case !isQuote(p.peek(0)):
		return 0, p.errorf(at, "want a regular expression, /REGEX/, /REGEX/i or \"REGEX\", have %s", p.have(at))
	}
	quote := p.peek(0)
	var b strings.Builder
	for p.at++; p.peek(0) != quote; p.at++ {
		if p.at >= len(p.text) {
			return 0, p.errorf(at, "there is no second %c for this one", quote)
		}
		if c := p.peek(0); c == '\\' && p.at+1 < len(p.text) {
			if p.at++; p.text[p.at] != quote {
				b.WriteByte(c)
			}
		}
		b.WriteByte(p.text[p.at])
	}
	p.at++
	return p.addRegex(at, b.String(), false)
}

// value reads the value behind an operator; spaced tells that there is a space between.
func (p *parser) value(c *cond, spaced bool) (err error) {
	at := p.at
	if isQuote(p.peek(0)) {
		c.text, err = p.quoted()
		return err
	}
	if spaced && (p.isKeyword("AND") || p.isKeyword("OR") || p.isKeyword("NOT")) {
		return p.errorf(at, "want a value, have %s: quote it if that is the value", p.have(at))
	}
	for p.at < len(p.text) && !isSpace(p.text[p.at]) && p.text[p.at] != '(' && p.text[p.at] != ')' {
		if c := p.text[p.at]; isQuote(c) {
			return p.errorf(p.at, "a quote within a value: quote all of it")
		} else if (c == '&' || c == '|') && p.peek(1) == c {
			break
		}
		p.at++
	}
	if p.at > at && p.peek(0) == '(' {
		return p.errorf(p.at, "a parenthesis within a value: quote all of it, or leave a space before it")
	}
	if p.at == at {
		return p.errorf(at, "want a value, such as 500 or \"a text\", have %s", p.have(at))
	}
	c.text = p.text[at:p.at]
	c.number, c.numeric = parseDecimal([]byte(c.text))
	return nil
}

// function reads exists(field) or contains(field, "text").
func (p *parser) function(name string) (*node, error) {
	at := p.at
	c := &cond{test: exists}
	switch {
	case strings.EqualFold(name, "exists"):
	case strings.EqualFold(name, "contains"):
		c.test = contains
	default:
		return nil, p.errorf(at, "there is no function %s: want exists(FIELD) or contains(FIELD, \"TEXT\"), or a space before (", p.have(at))
	}
	open := at + len(name)
	p.at = open + 1
	p.space()
	path, err := p.path(",")
	if err != nil {
		return nil, err
	}
	p.space()
	if c.test == contains {
		if p.peek(0) != ',' {
			return nil, p.errorf(p.at, "want contains(FIELD, \"TEXT\"), have %s behind the field", p.have(p.at))
		}
		p.at++
		p.space()
		if err := p.value(c, false); err != nil {
			return nil, err
		}
		c.numeric = false
		p.space()
	}
	switch {
	case p.at == len(p.text):
		return nil, p.errorf(open, "there is no ) for this (")
	case p.text[p.at] != ')':
		return nil, p.errorf(p.at, "want ), have %s", p.have(p.at))
	}
	p.at++
	return p.addCond(c, path)
}

// addCond adds a condition on a field to the expression.
func (p *parser) addCond(c *cond, path Path) (*node, error) {
	id := path.id()
	place, ok := p.places[id]
	if !ok {
		if len(p.e.paths) == MaxFields {
			return nil, p.errorf(p.at-1, "more than %d different fields: ask in parts", MaxFields)
		}
		place = len(p.e.paths)
		p.places[id] = place
		p.e.paths = append(p.e.paths, path)
	}
	c.path, c.place = place, len(p.e.conds)
	p.e.conds = append(p.e.conds, c)
	return &node{op: opCond, cond: c}, nil
}

// path reads a field. It ends where a word does, and at one of the bytes in ends.
func (p *parser) path(ends string) (Path, error) {
	start := p.at
	if p.peek(0) == '.' {
		p.at++
	}
	var steps []step
	for {
		key, err := p.key(ends)
		if err != nil {
			return Path{}, err
		}
		steps = append(steps, step{key: key})
		for p.peek(0) == '[' {
			s, err := p.index()
			if err != nil {
				return Path{}, err
			}
			steps = append(steps, s)
		}
		if len(steps) > maxSteps {
			return Path{}, p.errorf(start, "a field of more than %d steps", maxSteps)
		}
		if p.peek(0) != '.' {
			break
		}
		p.at++
	}
	if p.at < len(p.text) && !p.endsWord() && strings.IndexByte(ends, p.text[p.at]) < 0 {
		return Path{}, p.errorf(p.at, "want . or [ or the end of the field, have %s", p.have(p.at))
	}
	return newPath(p.text[start:p.at], steps), nil
}

// key reads one key of a path.
func (p *parser) key(ends string) (string, error) {
	if isQuote(p.peek(0)) {
		return p.quoted()
	}
	start := p.at
	for p.at < len(p.text) && !p.endsWord() && strings.IndexByte(".[]\"'", p.text[p.at]) < 0 && strings.IndexByte(ends, p.text[p.at]) < 0 {
		p.at++
	}
	if p.at == start {
		return "", p.errorf(start, "want a key of a field, such as user, or \"a.b\" in quotes, have %s", p.have(start))
	}
	return p.text[start:p.at], nil
}

// index reads [] or [7].
func (p *parser) index() (step, error) {
	at := p.at
	p.at++
	n := 0
	first := p.at
	for c := p.peek(0); '0' <= c && c <= '9' && n < 1<<30; c = p.peek(0) {
		n = 10*n + int(c-'0')
		p.at++
	}
	if p.peek(0) != ']' {
		return step{}, p.errorf(at, "want [], of some element, or the place of one, such as [0], have %s", p.have(at))
	}
	p.at++
	if first == p.at-1 {
		return step{to: toAll}, nil
	}
	return step{to: toIndex, index: n}, nil
}

// quoted reads a text in quotes.
func (p *parser) quoted() (string, error) {
	at := p.at
	quote := p.text[at]
	var b bytes.Buffer
	for p.at++; ; p.at++ {
		if p.at >= len(p.text) {
			return "", p.errorf(at, "there is no second %c for this one", quote)
		}
		c := p.text[p.at]
		if c == quote {
			p.at++
			return b.String(), nil
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if err := p.escape(&b); err != nil {
			return "", err
		}
	}
}

// escape reads an escape, and leaves the parser at its last byte.
func (p *parser) escape(b *bytes.Buffer) error {
	at := p.at
	p.at++
	c := p.peek(0)
	if i := strings.IndexByte(`"'\/nrtbf`, c); i >= 0 && c != 0 {
		b.WriteByte("\"'\\/\n\r\t\b\f"[i])
		return nil
	}
	digits := map[byte]int{'u': 4, 'x': 2}[c]
	end := p.at + 1 + digits
	if digits > 0 && end <= len(p.text) {
		if r, ok := hex4([]byte("00" + p.text[p.at+1:end])[digits-2:]); ok {
			if c == 'u' {
				// Two of them may be one character.
				more := unescape(nil, []byte(p.text[at:min(end+6, len(p.text))]))
				if _, size := utf8.DecodeRune(more); size == 4 {
					end += 6
					b.Write(more[:4])
				} else {
					b.WriteRune(r)
				}
			} else {
				b.WriteByte(byte(r))
			}
			p.at = end - 1
			return nil
		}
	}
	return p.errorf(at, "unknown escape: want \\\" \\' \\\\ \\/ \\n \\r \\t \\b \\f \\u1234 or \\x12; a backslash itself is \\\\")
}
