package where

import (
	"errors"
	"fmt"
	"strings"

	"oklog/query/match"
)

// ErrExpr is what every error about an expression or a path is.
var ErrExpr = errors.New("bad expression")

// Bounds of an expression.
const (
	MaxText    = 64 << 10 // bytes
	MaxDepth   = 100      // of parentheses and NOTs in each other
	MaxTerms   = 1000     // texts and conditions
	MaxRegexes = 16       // each has tables of its own in every goroutine that evaluates it
	MaxFields  = 200      // different ones: each key of a record is compared with them
)

// Expr is an expression. It does not change and may be shared.
type Expr struct {
	text     string
	root     *node
	paths    []Path           // the fields, each once
	conds    []*cond          // on fields, by their places
	programs []*match.Program // of regular expressions
}

// op is what a node is.
type op uint8

const (
	opAnd   op = iota // all of sub hold
	opOr              // one of sub holds
	opNot             // sub[0] does not hold
	opText            // the record holds a text
	opRegex           // it matches a regular expression
	opCond            // a field of it meets a condition
)

type node struct {
	op      op
	sub     []*node
	text    string // of opText
	program int    // of opRegex: its place
	cond    *cond  // of opCond
}

// test is what a condition says of a field.
type test uint8

const (
	exists test = iota
	equal
	less
	lessOrEqual
	more
	moreOrEqual
	contains
	matches
)

// cond is a condition on a field.
type cond struct {
	test    test
	path    int // its place
	place   int // of the condition
	text    string
	numeric bool // the value is a number
	number  decimal
	program int // of matches: its place
}

// String is the expression as it was typed.
func (e *Expr) String() string { return e.text }

// ParseAll parses expressions of which all have to hold, and makes one of them. Without any it is nil.
func ParseAll(texts []string) (*Expr, error) {
	switch len(texts) {
	case 0:
		return nil, nil
	case 1:
		return Parse(texts[0])
	}
	total := 0
	for i, text := range texts {
		if _, err := Parse(text); err != nil { // by itself: one may not close what another one opens
			return nil, fmt.Errorf("expression %d: %w", i+1, err)
		}
		total += len(text)
	}
	if total > MaxText {
		return nil, fmt.Errorf("%w: %d bytes together, at most %d: ask in parts", ErrExpr, total, MaxText)
	}
	return Parse("(" + strings.Join(texts, ") AND (") + ")")
}
