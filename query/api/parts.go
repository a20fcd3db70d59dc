package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"oklog/query"
	"oklog/query/api/wire"
	"oklog/query/where"
)

// Parts are what answers besides the Runner. A server without one says so, 501.
type Parts struct {
	Estimator Estimator
	Topics    TopicLister
	Sources   SourceLister
	Tailer    Tailer
}

// Estimator tells what a query would cost; query.Engine does.
type Estimator interface {
	Estimate(ctx context.Context, q query.Query) (query.Estimate, error)
}

// SourceLister tells the sources of a topic; query.Engine does.
type SourceLister interface {
	SourcesOf(ctx context.Context, q query.Query) ([]query.SourceInfo, *query.Answer, error)
}

// TopicLister tells the topics that there are. An error is the last pair; after query.ErrIncomplete, what was told counts.
type TopicLister interface {
	Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error]
}

var (
	_ Estimator    = (*query.Engine)(nil)
	_ SourceLister = (*query.Engine)(nil)
)

// missing says that a server lacks a part.
func missing(what string) error {
	return &statusError{http.StatusNotImplemented, fmt.Errorf("this server has no %s", what)}
}

// sourcesParams are those of a list of sources.
func sourcesParams() []param {
	return []param{topicParam(), textParam("from", func(a *asked) *string { return &a.From }), textParam("to", func(a *asked) *string { return &a.To }),
		textsParam("source", func(a *asked) *[]string { return &a.Sources })}
}

func topicParam() param { return textParam("topic", func(a *asked) *string { return &a.Topic }) }

// histogramParams are those of a histogram.
func histogramParams() []param {
	return append(whatParams(), param{"step", text, func(a *asked, v []string, _ int64) (err error) {
		if a.step, err = query.ParseAge(v[0]); err == nil && a.step < time.Millisecond {
			err = errors.New("it is shorter than 1ms")
		}
		if err != nil {
			return fmt.Errorf("step=%.40q: %w: want a time like 30s, 5m or 1d", v[0], err)
		}
		return nil
	}}, param{"tz", text, func(a *asked, v []string, _ int64) (err error) {
		if a.zone, err = query.ParseZone(v[0]); err != nil {
			return fmt.Errorf("tz=%.40q: %w", v[0], err)
		}
		return nil
	}})
}

// topParams are those of the most frequent values of a field.
func topParams() []param {
	return append(whatParams(), param{"field", text, func(a *asked, v []string, _ int64) (err error) {
		if a.field, err = where.ParsePath(v[0]); err != nil {
			return fmt.Errorf("field: %w", err)
		}
		a.hasField = true
		return nil
	}}, param{"n", number, func(a *asked, _ []string, n int64) error {
		if n < 1 || n > maxTop {
			return fmt.Errorf("n=%d: want 1 to %d", n, maxTop)
		}
		a.n = int(n)
		return nil
	}})
}

// How many values are told at most, and where nothing is said.
const maxTop, usualTop = 10_000, 10

// within runs something that answers at once, in its turn and within the time that it may take. Its turn lasts until the answer is written: so many answers
// are held in memory as queries may be, whoever does not read them.
func (a *API) within(x *exchange, q query.Query, do func(context.Context) (*query.Answer, error)) (cut bool, err error) {
	s, err := a.admit(x, q)
	if err != nil {
		return false, err
	}
	x.slot = s
	ctx, cancel := context.WithTimeoutCause(x.ctx, a.cfg.MaxTime, errTooLong)
	defer cancel()
	x.told.answer, err = do(ctx)
	if x.ctx.Err() != nil {
		return false, context.Cause(x.ctx)
	}
	if err != nil && errors.Is(context.Cause(ctx), errTooLong) {
		return true, nil
	}
	return false, err
}

// finish answers with an object, partial or not.
func (a *API) finish(x *exchange, partial bool, v any) {
	x.told.status, x.told.outcome = http.StatusOK, "ok"
	if partial {
		x.told.status, x.told.outcome = http.StatusPartialContent, "partial"
		x.w.Header().Set(wire.Partial, "true")
	}
	a.write(x, x.told.status, v)
}

// estimate answers with what a query would cost, in headers.
func (a *API) estimate(x *exchange, q query.Query) error {
	if a.cfg.Parts.Estimator == nil {
		return missing("estimate")
	}
	var e query.Estimate
	cut, err := a.within(x, q, func(ctx context.Context) (_ *query.Answer, err error) {
		e, err = a.cfg.Parts.Estimator.Estimate(ctx, q)
		return nil, err
	})
	if err != nil {
		return err
	}
	if cut {
		return errTooLong
	}
	h := x.w.Header()
	setCount(h, wire.Segments, int64(e.Segments))
	setCount(h, wire.Blocks, int64(e.Blocks))
	setCount(h, wire.Bytes, e.Bytes)
	h.Set("Content-Type", wire.NDJSON)
	x.told.status, x.told.outcome = http.StatusOK, "ok"
	if e.Answer != nil && e.Answer.Partial() {
		x.told.status, x.told.outcome = http.StatusPartialContent, "partial"
		h.Set(wire.Partial, "true")
	}
	_ = a.inOne(x.w).hurry() // what fails here shows with the write
	x.w.WriteHeader(x.told.status)
	return nil
}

// histogram answers with counts by time.
func (a *API) histogram(x *exchange) error {
	q, err := a.compile(x)
	if err != nil {
		return err
	}
	var h *query.HistogramAnswer
	cut, err := a.within(x, q, func(ctx context.Context) (_ *query.Answer, err error) {
		h, err = query.Histogram(ctx, a.cfg.Runner, q, query.Steps{Length: x.asked.step, Zone: x.asked.zone})
		return h.Answer, err
	})
	if err != nil {
		return rename(err, x.route.params)
	}
	if cut {
		h.Answer.Problems = append(h.Answer.Problems, timeProblem(q, a.cfg.MaxTime.String(), q.Range.From, false))
	}
	if h.Buckets == nil {
		h.Buckets = []query.Bucket{}
	}
	a.finish(x, h.Answer.Partial(), h)
	return nil
}

// top answers with the most frequent values of a field.
func (a *API) top(x *exchange) error {
	q, err := a.compile(x)
	if err != nil {
		return err
	}
	if !x.asked.hasField {
		return paramErr("field", errors.New("field is missing: say which, such as field=status or field=user.id"))
	}
	var top *query.TopAnswer
	cut, err := a.within(x, q, func(ctx context.Context) (_ *query.Answer, err error) {
		top, err = query.TopWithin(ctx, a.cfg.Runner, q, x.asked.field, cmp.Or(x.asked.n, usualTop), a.cfg.MaxTopBytes)
		return &top.Answer, err
	})
	if err != nil {
		return rename(err, x.route.params)
	}
	if cut {
		top.Answer.Problems = append(top.Answer.Problems, timeProblem(q, a.cfg.MaxTime.String(), q.Range.From, false))
	}
	if top.Values == nil {
		top.Values = []query.ValueCount{}
	}
	a.finish(x, top.Answer.Partial(), top)
	return nil
}

// sources answers with the sources of a topic.
func (a *API) sources(x *exchange) error {
	if a.cfg.Parts.Sources == nil {
		return missing("list of sources")
	}
	q, err := a.compile(x)
	if err != nil {
		return err
	}
	list := wire.SourceList{Sources: []wire.SourceInfo{}}
	cut, err := a.within(x, q, func(ctx context.Context) (*query.Answer, error) {
		all, ans, err := a.cfg.Parts.Sources.SourcesOf(ctx, q)
		for _, s := range all {
			list.Sources = append(list.Sources, wire.NewSourceInfo(s))
		}
		list.Answer = ans
		return ans, err
	})
	if err != nil {
		return rename(err, x.route.params)
	}
	if cut {
		return errTooLong
	}
	a.finish(x, list.Answer.Partial(), list)
	return nil
}

// topics answers with the topics that the token sees.
func (a *API) topics(x *exchange) error {
	if a.cfg.Parts.Topics == nil {
		return missing("list of topics")
	}
	list := wire.TopicList{Topics: []query.TopicInfo{}}
	cut, err := a.within(x, query.Query{}, func(ctx context.Context) (*query.Answer, error) {
		for t, err := range a.cfg.Parts.Topics.Topics(ctx) {
			if errors.Is(err, query.ErrIncomplete) {
				list.Problems = append(list.Problems, query.Problem{Err: err})
				break
			}
			if err != nil {
				return nil, err
			}
			if x.token.Sees(t.Name) {
				list.Topics = append(list.Topics, t)
			}
		}
		return nil, ctx.Err()
	})
	if err != nil {
		return err
	}
	if cut {
		return errTooLong
	}
	a.finish(x, len(list.Problems) > 0, list)
	return nil
}
