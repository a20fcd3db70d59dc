package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"strconv"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// compile makes a query of what is asked, within what the server allows.
func (a *API) compile(x *exchange) (query.Query, error) {
	q, err := a.compileOnly(x)
	if err != nil {
		return q, err
	}
	if most := a.cfg.MaxBytes; most > 0 && (q.MaxBytes == 0 || q.MaxBytes > most) {
		q.MaxBytes = most
	}
	return q, nil
}

// compileOnly makes a query of what is asked, and of its body nothing else is needed then.
func (a *API) compileOnly(x *exchange) (query.Query, error) {
	done, err := a.bodies.turn(x.ctx)
	if err != nil {
		return query.Query{}, err
	}
	defer done()
	q, err := x.asked.compile(a.cfg.Now(), x.route.params)
	if err == nil {
		x.free()
	}
	return q, err
}

// admit waits until it is the request's turn.
func (a *API) admit(x *exchange, q query.Query) (*slot, error) {
	start := a.cfg.Now()
	s, err := a.queue.acquire(x.ctx, x.client, shape(x, q))
	x.told.wait = a.cfg.Now().Sub(start)
	a.metrics.wait.Observe(x.told.wait.Seconds())
	return s, err
}

// shape is what queries have in common that cost about the same.
func shape(x *exchange, q query.Query) string {
	long := q.Pattern != nil // filters can be asked for all of its texts
	regex, invert := false, false
	if long {
		p := q.Pattern.Pattern()
		regex, invert = p.Regex, p.Invert
		long = !slices.ContainsFunc(p.Texts, func(text string) bool { return len(text) < gram })
	}
	return fmt.Sprint(x.r.Method, x.route.path, " ", q.Topic, bits.Len64(q.Range.To.Time()-q.Range.From.Time()), q.Pattern == nil, long, regex, invert, q.Where != nil, q.Sources != nil,
		q.Limit > 0, q.Newest, q.CountOnly, q.IDsOnly, q.Brute)
}

// gram is how long a text has to be for filters to be asked.
const gram = 6

// query answers with records, or how many there are.
func (a *API) query(x *exchange) error {
	q, err := a.compile(x)
	if err != nil {
		return err
	}
	if x.r.Method == http.MethodHead {
		return a.estimate(x, q)
	}
	s, err := a.admit(x, q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	clock := limitTime(a.cfg.MaxTime, func() { cancel(errTooLong) })
	defer clock.timer.Stop()
	out := &stream{ctx: ctx, cancel: cancel, w: x.w, rc: http.NewResponseController(x.w), slot: s, wait: a.cfg.ReaderWait, pool: &a.encoders,
		accept: x.r.Header.Get("Accept-Encoding"), clock: clock}
	out.start()
	defer out.release()

	var lines query.LineEncoder
	var last ulid.ULID
	any := false
	ans, err := a.cfg.Runner.Run(ctx, q, func(r query.Record) error {
		if !r.Context { // which may stand before, or behind, matches of other sources
			last, any = r.ID, true
		}
		return out.add(func(dst []byte) []byte { return lines.Append(dst, r) })
	})
	x.told.answer = ans
	if err != nil && errors.Is(context.Cause(ctx), errTooLong) {
		ans.Problems = append(ans.Problems, timeProblem(q, a.cfg.MaxTime.String(), last, any))
		err = nil
	}
	switch {
	case isGone(x.ctx) || errors.Is(context.Cause(ctx), errReader):
		x.told.outcome, x.told.err, x.told.status = "gone", context.Cause(ctx), 499
		return nil
	case err != nil:
		if x.ctx.Err() != nil {
			err = context.Cause(x.ctx)
		}
		if out.discard() {
			return err
		}
		f := failure(err)
		x.told.status, x.told.outcome, x.told.err = http.StatusOK, "failed", err
		out.end(http.StatusOK, false, appendJSON(wire.Failure{Error: f}))
		return nil
	}
	end := &wire.End{Answer: *ans, Partial: ans.Partial()}
	if any {
		end.Cursor = last.String()
	}
	status := http.StatusOK
	x.told.outcome = "ok"
	if end.Partial {
		status, x.told.outcome = http.StatusPartialContent, "partial"
	}
	if !out.end(status, end.Partial, appendJSON(wire.Last{End: end})) {
		status = http.StatusOK
	}
	x.told.status = status
	return nil
}

// isGone tells that whoever asked is not there any more.
func isGone(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStopping)
}

// timeProblem says what is lacking of a query that has run for too long.
func timeProblem(q query.Query, limit string, last ulid.ULID, any bool) query.Problem {
	p := query.Problem{Err: fmt.Errorf("%w, %s: ask for a shorter time, or with a longer pattern", query.ErrTimeLimit, limit), First: q.Range.From, Last: segment.Before(q.Range.To)}
	switch {
	case any && q.Newest:
		p.Last = segment.Before(last)
	case any:
		p.First = segment.After(last)
	}
	return p
}

// appendJSON is v as a line.
func appendJSON(v any) []byte {
	b, err := encode(v)
	if err != nil { // a time beyond the year 9999 has no JSON
		return appendJSON(wire.Failure{Error: &wire.Error{Message: "encode: " + err.Error(), Status: http.StatusInternalServerError}})
	}
	return b
}

// encode makes a line of JSON.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func setCount(h http.Header, name string, n int64) { h.Set(name, strconv.FormatInt(n, 10)) }
