package query

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/where"
)

// Request is a query as people and programs write it. Compile makes a Query of it.
type Request struct {
	Topic string
	// From and To are bounds, as ParseRange takes them. From "" is DefaultFrom.
	From, To string

	// Patterns are texts of which a record holds one; none: every record.
	Patterns   []string
	Regex      bool // they are regular expressions (RE2)
	IgnoreCase bool
	SmartCase  bool // IgnoreCase, unless one of the patterns has a letter in upper case
	Word       bool // what matches has to be whole words
	Invert     bool // the records that do not match

	// Where are expressions over the text and the fields of records (package where). All have to hold, besides the pattern.
	Where []string
	// Sources restrict the query to some sources: KEY=VALUE, KEY!=VALUE, KEY=~REGEX, KEY!~REGEX. All have to hold.
	Sources []string

	Newest bool
	Limit  int64 // 0: none
	// Before and After are how many records of the same source are put out around each that matches.
	Before, After int
	CountOnly     bool
	IDsOnly       bool // records without their texts, and without context

	Brute    bool
	MaxBytes int64
}

// DefaultFrom is where a request begins that does not say.
const DefaultFrom = "1h"

// MaxContext is how many records before, and after, one that matches can be asked for.
const MaxContext = 10_000

// ParamError is an error about one parameter of a request.
type ParamError struct {
	// Param is its name as oklog-query's flag and as the HTTP API's parameter, without dashes: topic, from, to, pattern, where, source, limit,
	// before, after, max-bytes.
	Param string
	Err   error
}

// Error is one line. It names the parameter as a flag.
func (e *ParamError) Error() string { return e.Err.Error() }

// Unwrap gives the error about it.
func (e *ParamError) Unwrap() error { return e.Err }

func paramError(param, format string, v ...any) error {
	return &ParamError{param, fmt.Errorf(format, v...)}
}

// Compile checks a request and makes a query of it. Every error is a *ParamError.
func (r *Request) Compile(now time.Time) (Query, error) {
	q := Query{
		Topic: r.Topic, Newest: r.Newest, Limit: r.Limit, Before: r.Before, After: r.After,
		CountOnly: r.CountOnly, IDsOnly: r.IDsOnly, Brute: r.Brute, MaxBytes: r.MaxBytes,
	}
	if r.Topic == "" {
		return q, paramError("topic", "--topic is missing: say which topic to search, such as --topic web, or set OKLOG_TOPIC")
	}
	if err := segment.CheckTopic(r.Topic); err != nil {
		return q, paramError("topic", "--topic: %w", err)
	}
	from := r.From
	if from == "" {
		from = DefaultFrom
	}
	var err error
	if q.Range, err = ParseRange(from, r.To, now); err != nil {
		if errors.Is(err, ErrEmptyRange) && r.From == "" {
			err = fmt.Errorf("%w (--from was not given, and is %s then)", err, from)
		}
		if e, ok := errors.AsType[*ParamError](err); ok {
			err = &ParamError{e.Param, err}
		}
		return q, err
	}
	p := match.Pattern{
		Texts: r.Patterns, Regex: r.Regex, Word: r.Word, Invert: r.Invert,
		IgnoreCase: r.IgnoreCase || r.SmartCase && !match.HasUpper(r.Patterns, r.Regex),
	}
	program, err := match.Compile(p)
	if err != nil {
		if r.Regex {
			err = fmt.Errorf("%w: mend it, or leave out --regex to search for the text as it is", err)
		}
		return q, &ParamError{"pattern", err}
	}
	// One that matches every record still says what in it does: [0-9]* does the numbers.
	if !program.All() || slices.ContainsFunc(r.Patterns, func(text string) bool { return text != "" }) {
		q.Pattern = program
	}
	if q.Where, err = where.ParseAll(r.Where); err != nil {
		return q, paramError("where", "--where: %w", err)
	}
	if q.Sources, err = ParseSources(r.Sources); err != nil {
		return q, &ParamError{"source", err}
	}
	switch {
	case r.Limit < 0:
		return q, paramError("limit", "--limit %d: want at least 1", r.Limit)
	case r.MaxBytes < 0:
		return q, paramError("max-bytes", "--max-bytes %d: want at least 1", r.MaxBytes)
	case r.Before < 0 || r.Before > MaxContext:
		return q, paramError("before", "--before-context %d: want 0 to %d", r.Before, MaxContext)
	case r.After < 0 || r.After > MaxContext:
		return q, paramError("after", "--after-context %d: want 0 to %d", r.After, MaxContext)
	}
	return q, nil
}
