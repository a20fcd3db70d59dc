package match

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"oklog/query/required"
)

// ErrPattern is what every error about a pattern is.
var ErrPattern = errors.New("bad pattern")

const (
	// MaxPattern is the greatest length of one text of a pattern, in bytes.
	MaxPattern = 64 << 10
	// MaxPatterns is the greatest length of all texts of a pattern together.
	MaxPatterns = 1 << 20
	// MaxInstructions is the greatest size of a regular expression: about one for each character, more for a class of
	// many ranges, repetitions written out. It bounds the time that package regexp takes for a byte where a DFA is of no use. What is only literals, a|b|c,
	// does not count: that is looked for without either.
	MaxInstructions = 20_000
	// MaxClasses is how many classes of Unicode, such as \pL, a regular expression may hold: each is hundreds of ranges.
	MaxClasses = 100

	// maxNeedles is how many needles one regular expression stands for at most: a|b|c.
	maxNeedles = 10_000
)

// Pattern says what records have to hold.
type Pattern struct {
	// Texts are substrings, or regular expressions (RE2, as Go's regexp has it; ^ and $ are the ends of the
	// record, and . is any character but a newline). A record that holds one of them matches. "" is in every record.
	Texts      []string
	Regex      bool
	IgnoreCase bool // by Unicode's simple folding, as (?i) does
	// Word says that what matches must have no part of a word before and behind it: no letter, mark, digit or _ of Unicode. Bytes that are
	// not UTF-8 are not part of one.
	Word   bool
	Invert bool // the records that do not match
}

// Program is a compiled pattern. It does not change and may be shared.
type Program struct {
	pattern  Pattern
	every    bool    // every record matches
	parts    []*part // or else: a record matches that one of them matches
	invert   bool    // the other ones
	required *required.Expr
	prior    *frequencies
}

// source is one text of a pattern.
type source struct {
	text    string
	needles []*needle      // what the text stands for, where that is a few needles
	tree    *syntax.Regexp // the regular expression, nil for a substring
	regex   string         // the same, "" for a substring
	size    int            // its instructions, where it is no needles
	needed  *required.Expr
}

// Compile compiles a pattern. Errors are ErrPattern and say where the mistake is.
func Compile(p Pattern) (*Program, error) {
	c := &Program{pattern: p, invert: p.Invert, every: len(p.Texts) == 0, required: required.And(), prior: priorFrequencies()}
	sources, err := parseAll(p)
	if err == nil && p.Word {
		sources, err = wholeWords(sources, p.IgnoreCase)
	}
	if err != nil {
		return nil, err
	}
	size := 0
	var needed []*required.Expr
	for i := range sources {
		s := &sources[i]
		if size += s.size; size > maxParts*MaxInstructions {
			return nil, fmt.Errorf("%w: the regular expressions are too large together: over %d instructions: ask in parts", ErrPattern, maxParts*MaxInstructions)
		}
		if s.tree != nil && size <= MaxInstructions {
			s.needed = required.Regexp(s.tree) // with more, nothing is known that helps
		}
		c.every = c.every || s.text == "" && !p.Word || s.tree != nil && matchesAll(s.tree)
		needed = append(needed, s.needed)
	}
	if c.every {
		return c, nil
	}
	if !p.Invert {
		c.required = required.Or(needed...)
	}
	if err := c.divide(sources); err != nil {
		return nil, err
	}
	return c, nil
}

// Pattern is what the program was compiled of.
func (p *Program) Pattern() Pattern { return p.pattern }

// parseAll makes sources of the distinct texts of a pattern.
func parseAll(p Pattern) (sources []source, err error) {
	known := make(map[string]bool, len(p.Texts))
	total := 0
	for _, text := range p.Texts {
		if known[text] {
			continue
		}
		known[text] = true
		if len(text) > MaxPattern {
			return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrPattern, len(text), MaxPattern)
		}
		if total += len(text); total > MaxPatterns {
			return nil, fmt.Errorf("%w: the texts are longer than %d bytes together: ask in parts", ErrPattern, MaxPatterns)
		}
		s, err := parse(text, p.Regex, p.IgnoreCase)
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// maxWords bounds how many regular expressions are made one as whole words.
const maxWords = 64

// wholeWords makes sources of whole words. Needles remain: what stands beside them is looked at where they are found. Of the others some
// together are a regular expression of words.
func wholeWords(sources []source, ignoreCase bool) (words []source, err error) {
	var texts []string
	size := 0
	flush := func() error {
		if len(texts) == 0 {
			return nil
		}
		s, err := parse(wholeWord(strings.Join(texts, "|")), true, ignoreCase)
		s.needles = nil // what stands beside the word is part of them
		words, texts, size = append(words, s), nil, 0
		return err
	}
	for _, s := range sources {
		if s.needles != nil && s.text != "" {
			words = append(words, s)
			continue
		}
		text := s.regex
		if text == "" {
			text = regexp.QuoteMeta(s.text)
		}
		n := s.size + MaxInstructions/MaxClasses*strings.Count(text, `\p`)
		if len(texts) == maxWords || size+n > MaxInstructions/2 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		size += n
		texts = append(texts, "(?:"+text+")")
	}
	return words, flush()
}

// wholeWord is a regular expression for a text as whole words: a character that is not part of one, or an end of the record, stands on
// either side. They are part of what it matches.
func wholeWord(text string) string { return `(?:^|` + noWord + `)(?:` + text + `)(?:$|` + noWord + `)` }

// All tells that every record matches.
func (p *Program) All() bool { return p.every && !p.invert }

// Required is what a record must hold to match.
func (p *Program) Required() *required.Expr { return p.required }

// parse makes a source of a text.
func parse(text string, regex, ignoreCase bool) (source, error) {
	s := source{text: text}
	switch {
	case regex:
		s.regex = text
		if n := strings.Count(text, `\p`) + strings.Count(text, `\P`); n > MaxClasses {
			return s, fmt.Errorf("%w %s: it is too large: %d classes of Unicode, at most %d", ErrPattern, quote(text), n, MaxClasses)
		}
		// By itself first: an error quotes what was typed.
		tree, err := syntax.Parse(text, syntax.Perl)
		if err == nil && ignoreCase {
			s.regex = "(?i)" + text
			tree, err = syntax.Parse(s.regex, syntax.Perl)
		}
		if err != nil {
			return s, regexError(text, err)
		}
		// What is over the limit may still be a few literals, but not what is far over it.
		if s.size = instructions(tree); s.size <= MaxPatterns {
			s.tree = tree.Simplify()
			s.needles = needles(s.tree, text)
		}
		if s.needles != nil {
			s.size = 0
		}
		if s.size > MaxInstructions {
			return s, fmt.Errorf("%w %s: it is too large: %d instructions, at most %d: repeat less, or ask in parts",
				ErrPattern, quote(text), s.size, MaxInstructions)
		}
		s.needed = required.And()
		return s, nil
	case ignoreCase:
		if n, ok := foldedNeedle(text); ok {
			s.needles, s.needed = []*needle{n}, required.Substring([]byte(text), true)
			return s, nil
		}
		return parse(regexp.QuoteMeta(text), true, true)
	default:
		s.needles, s.needed = []*needle{exactNeedle(text)}, required.Substring([]byte(text), false)
		return s, nil
	}
}
