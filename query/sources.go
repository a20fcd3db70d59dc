package query

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"oklog/objstore/segment"
	"oklog/query/match"
)

// Bounds on the conditions on sources of a query.
const (
	maxSources     = 64
	maxSourceRegex = 4 << 10 // bytes
)

// Sources restrict a query to some sources: every condition has to hold. They do not change.
type Sources struct {
	texts []string
	conds []sourceCond
}

// sourceCond is a condition on one attribute. What a source does not have is "".
type sourceCond struct {
	key    string
	value  string
	regex  *regexp.Regexp // instead of the value; it has to match all of it
	differ bool           // it must not hold
}

// ParseSources reads conditions on attributes of sources:
//
//	host=web1          it is web1
//	host!=web1         it is another one, or there is none
//	host=~web[0-9]+    all of it matches the regular expression (RE2)
//	host!~web.*        it does not
//
// Without one, it is nil.
func ParseSources(texts []string) (*Sources, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	if len(texts) > maxSources {
		return nil, fmt.Errorf("--source: %d conditions: at most %d", len(texts), maxSources)
	}
	s := &Sources{texts: slices.Clone(texts)}
	for _, text := range texts {
		c, err := parseSource(text)
		if err != nil {
			return nil, fmt.Errorf("--source %s: %w", show(text), err)
		}
		s.conds = append(s.conds, c)
	}
	return s, nil
}

func parseSource(text string) (c sourceCond, err error) {
	at := strings.IndexAny(text, "=!")
	rest := ""
	if at > 0 {
		c.key, rest = text[:at], text[at:]
	}
	op := ""
	for _, o := range []string{"=~", "!~", "!=", "="} {
		if strings.HasPrefix(rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		return c, fmt.Errorf("want KEY=VALUE, KEY!=VALUE, KEY=~REGEX or KEY!~REGEX")
	}
	c.value, c.differ = rest[len(op):], op[0] == '!'
	switch {
	case len(c.key) > segment.MaxAttrKey:
		return c, fmt.Errorf("the key is longer than %d bytes, which none is", segment.MaxAttrKey)
	case op[len(op)-1] == '~':
		c.regex, err = wholeRegexp(c.value)
	case len(c.value) > segment.MaxAttrValue:
		return c, fmt.Errorf("the value is longer than %d bytes, which none is", segment.MaxAttrValue)
	}
	return c, err
}

// wholeRegexp is a regular expression that has to match all of a value.
func wholeRegexp(text string) (*regexp.Regexp, error) {
	if len(text) > maxSourceRegex {
		return nil, fmt.Errorf("the regular expression is longer than %d bytes", maxSourceRegex)
	}
	// By itself first, which also bounds how large it is: anchors around a)|(b would make another one of it.
	if _, err := match.Compile(match.Pattern{Texts: []string{text}, Regex: true}); err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(text, syntax.Perl|syntax.DotNL)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + tree.String() + `)\z`)
}

// Match tells whether a source is one of those.
func (s *Sources) Match(source segment.Source) bool {
	for i := range s.conds {
		c := &s.conds[i]
		value := source.Get(c.key)
		holds := value == c.value
		if c.regex != nil {
			holds = c.regex.MatchString(value)
		}
		if holds == c.differ {
			return false
		}
	}
	return true
}

// Texts are the conditions as they were read.
func (s *Sources) Texts() []string {
	if s == nil {
		return nil
	}
	return s.texts
}

// of tells which sessions of a segment's table have one of those sources: nil if all have.
func (s *Sources) of(table segment.Sources) map[uint64]bool {
	if s == nil {
		return nil
	}
	wanted := make(map[uint64]bool, len(table))
	for session, source := range table {
		if s.Match(source) {
			wanted[session] = true
		}
	}
	if len(wanted) == len(table) {
		return nil
	}
	return wanted
}
