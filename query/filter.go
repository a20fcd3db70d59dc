package query

import (
	"context"

	"oklog/objstore/segment"
)

// Filter finds a query's records in blocks that come from elsewhere, as an engine finds them in segments. The range, the order, the limit
// and the context of the query do not matter. It is for one goroutine: it keeps what it learns from one block to the next.
type Filter struct {
	p picker
}

// NewFilter makes a filter.
func NewFilter(q Query) *Filter {
	// Everything that says which records match belongs here; what says how many of them, and in which order, does not.
	f := &Filter{picker{ctx: context.Background(), q: &Query{Topic: q.Topic, Pattern: q.Pattern, Where: q.Where, Sources: q.Sources}}}
	f.p.compile()
	return f
}

// Find returns the records of a block that match, in their order. They are the filter's until the next call; their text is the block's.
func (f *Filter) Find(b *segment.Block) []segment.Record {
	if b.Len() == 0 {
		return nil
	}
	f.p.block, f.p.wanted = b, nil
	if f.p.q.Sources != nil {
		f.p.wanted = f.p.q.Sources.of(b.Sources)
	}
	clear(f.p.found) // it holds on to blocks
	f.p.find(b.Cursor(), 0, b.Len())
	f.p.block = nil
	return f.p.found
}
