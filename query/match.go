package query

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"regexp/syntax"
	"slices"
)

// Matcher tells which records a query wants. Its methods may be called from any number of goroutines.
//
// A record is any bytes; most hold no newline, and then the text of a block is a line for each record,
// which Lines searches as a whole. The three methods agree with each other.
type Matcher interface {
	// Match tells whether the record matches.
	Match(record []byte) bool
	// Absent tells that no record matches that is part of text, whether or not
	// records hold newlines. It is quick: false only means that it does not know.
	Absent(text []byte) bool
	// Lines yields start and end, without the newline, of each line that matches as a
	// record, in their order. Each line of text ends in a newline, the last one too.
	Lines(text []byte) iter.Seq2[int, int]
}

// ErrPattern is what every error about a pattern is.
var ErrPattern = errors.New("bad pattern")

// MaxPattern is the greatest length of a pattern, in bytes.
const MaxPattern = 64 << 10

// Pattern says what records have to hold.
type Pattern struct {
	// Texts are substrings, or regular expressions (RE2, as Go's regexp has it; ^ and $ are the ends of the
	// record, and . is any character but a newline). A record that holds one of them matches. "" is in every record.
	Texts      []string
	Regex      bool
	IgnoreCase bool // by Unicode's simple folding, as (?i) does
	Invert     bool // the records that do not match
}

// NewMatcher compiles a pattern. A nil Matcher stands for one that matches every record. Errors are
// ErrPattern and say where the mistake is.
func NewMatcher(p Pattern) (Matcher, error) {
	var all anyOf
	every := len(p.Texts) == 0
	for _, text := range p.Texts {
		if len(text) > MaxPattern {
			return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrPattern, len(text), MaxPattern)
		}
		if text == "" {
			every = true
			continue
		}
		m, err := compile(text, p.Regex, p.IgnoreCase)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	var m Matcher
	switch {
	case every && p.Invert:
		return nothing{}, nil
	case every:
		return nil, nil
	case len(all) == 1:
		m = all[0]
	default:
		m = all
	}
	if p.Invert {
		m = inverted{m}
	}
	return m, nil
}

func compile(text string, regex, ignoreCase bool) (Matcher, error) {
	switch {
	case regex:
		expr := text
		if ignoreCase {
			expr = "(?i:" + text + ")"
		}
		// By itself first: an error quotes what was typed, and (?i:a)b) is not an expression.
		re, err := regexp.Compile(text)
		if err == nil && ignoreCase {
			re, err = regexp.Compile(expr)
		}
		if err != nil {
			return nil, regexError(text, err)
		}
		return lineMatcher{re}, nil
	case ignoreCase:
		return newFolded(text)
	default:
		return literal(text), nil
	}
}

// regexError says where a regular expression is wrong.
func regexError(text string, err error) error {
	var at *syntax.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("%w %q: %w", ErrPattern, text, err)
	}
	if at.Expr == "" || at.Expr == text {
		return fmt.Errorf("%w %q: %s", ErrPattern, text, at.Code)
	}
	if i := bytes.Index([]byte(text), []byte(at.Expr)); i >= 0 {
		return fmt.Errorf("%w %q: %s at byte %d: %q", ErrPattern, text, at.Code, i+1, at.Expr)
	}
	return fmt.Errorf("%w %q: %s: %q", ErrPattern, text, at.Code, at.Expr)
}

// literal matches records that hold it. It is not empty.
type literal string

func (l literal) Match(record []byte) bool { return bytes.Contains(record, []byte(l)) }
func (l literal) Absent(text []byte) bool  { return !bytes.Contains(text, []byte(l)) }

func (l literal) Lines(text []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		needle := []byte(l)
		if bytes.IndexByte(needle, '\n') >= 0 {
			return // in no line
		}
		for at := 0; ; {
			i := bytes.Index(text[at:], needle)
			if i < 0 {
				return
			}
			start, end := lineAround(text, at, at+i)
			if !yield(start, end) {
				return
			}
			at = end + 1
		}
	}
}

// lineAround gives the line that holds the byte at i. A line begins at floor, which is not behind it.
func lineAround(text []byte, floor, i int) (start, end int) {
	start = floor + bytes.LastIndexByte(text[floor:i], '\n') + 1
	end = i + bytes.IndexByte(text[i:], '\n')
	return start, end
}

// lineMatcher matches each record by itself.
type lineMatcher struct{ re *regexp.Regexp }

func (m lineMatcher) Match(record []byte) bool { return m.re.Match(record) }
func (m lineMatcher) Absent([]byte) bool       { return false }

func (m lineMatcher) Lines(text []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for start := 0; start < len(text); {
			end := start + bytes.IndexByte(text[start:], '\n')
			if m.re.Match(text[start:end]) && !yield(start, end) {
				return
			}
			start = end + 1
		}
	}
}

// inverted matches what the other one does not.
type inverted struct{ Matcher }

func (m inverted) Match(record []byte) bool { return !m.Matcher.Match(record) }
func (m inverted) Absent([]byte) bool       { return false }

func (m inverted) Lines(text []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		at := 0
		between := func(to int) bool {
			for at < to {
				end := at + bytes.IndexByte(text[at:], '\n')
				if !yield(at, end) {
					return false
				}
				at = end + 1
			}
			return true
		}
		for start, end := range m.Matcher.Lines(text) {
			if !between(start) {
				return
			}
			at = end + 1
		}
		between(len(text))
	}
}

// anyOf matches what one of several does.
type anyOf []Matcher

func (a anyOf) Match(record []byte) bool {
	return slices.ContainsFunc(a, func(m Matcher) bool { return m.Match(record) })
}

func (a anyOf) Absent(text []byte) bool {
	return !slices.ContainsFunc(a, func(m Matcher) bool { return !m.Absent(text) })
}

func (a anyOf) Lines(text []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		type line struct{ start, end int }
		var lines []line
		for _, m := range a {
			for start, end := range m.Lines(text) {
				lines = append(lines, line{start, end})
			}
		}
		slices.SortFunc(lines, func(x, y line) int { return x.start - y.start })
		for _, l := range slices.Compact(lines) {
			if !yield(l.start, l.end) {
				return
			}
		}
	}
}

// nothing matches no record.
type nothing struct{}

func (nothing) Match([]byte) bool                { return false }
func (nothing) Absent([]byte) bool               { return true }
func (nothing) Lines([]byte) iter.Seq2[int, int] { return func(func(int, int) bool) {} }
