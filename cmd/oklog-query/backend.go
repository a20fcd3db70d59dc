package main

import (
	"context"
	"iter"

	"oklog/query"
	"oklog/query/where"
)

// question is a request with what the command wants to hear while it is answered.
type question struct {
	query.Request
	query query.Query // the same, compiled
	idle  func()      // see query.Query; nil: nothing
	watch func(cost func() query.Stats)
}

// backend answers what the commands ask: a local does with buckets and a stream, and a server can stand in for it. Answers and
// errors are as those of package query's functions.
type backend interface {
	searcher
	counter
	catalogue
}

// searcher finds records.
type searcher interface {
	// Search is as query.Runner's Run.
	Search(ctx context.Context, q question, emit func(query.Record) error) (*query.Answer, error)
}

// counter counts records.
type counter interface {
	Histogram(ctx context.Context, q question, steps query.Steps) (*query.HistogramAnswer, error)
	// Top gives the n most frequent values of a field.
	Top(ctx context.Context, q question, field where.Path, n int) (*query.TopAnswer, error)
}

// catalogue tells what there is to search.
type catalogue interface {
	Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error]
	Sources(ctx context.Context, q question) ([]query.SourceInfo, *query.Answer, error)
	Estimate(ctx context.Context, q question) (query.Estimate, error)
	// Hint says in a line why nothing may have been found; "" if it is not known. It does not take long.
	Hint(ctx context.Context, q question) string
}
