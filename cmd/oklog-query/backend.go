package main

import (
	"context"

	"oklog/query"
)

// question is a request with what the command wants to hear while it is answered.
type question struct {
	query.Request
	query query.Query // the same, compiled
	idle  func()      // see query.Query; nil: nothing
	watch func(cost func() query.Stats)
}

// backend answers: a local does with buckets and a stream, and a server can stand in for it.
type backend interface {
	// Search is as query.Runner's Run.
	Search(ctx context.Context, q question, emit func(query.Record) error) (*query.Answer, error)
	// Hint says in a line why nothing may have been found; "" if it is not known. It does not take long.
	Hint(ctx context.Context, q question) string
	Close(ctx context.Context)
}
