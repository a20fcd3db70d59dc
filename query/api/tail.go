package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// TailEvent is a record of a tail, or a note about what comes next.
type TailEvent struct {
	Record query.Record
	Note   string // "": it is a record; or what the event is called: EventSkipped, EventRecovered, EventNotice
	Count  int64
	Text   string
}

// Events of a tail besides records.
const (
	EventSkipped   = "skipped"   // Count records were left out
	EventRecovered = "recovered" // Count of these have come after all: those that match follow
	EventNotice    = "notice"    // Text says something about the connection, or what could not be read
)

// Tailer follows what is published.
type Tailer interface {
	// Tail calls emit with the last n records there are, and with each that is published from then on, until ctx is done or emit fails: from
	// one goroutine at a time. The record's text is valid until emit returns. While emit waits, it skips what it cannot hold, and says how many.
	// Before it waits for more it calls q.Idle, if that is set.
	Tail(ctx context.Context, q query.Query, n int, emit func(TailEvent) error) error
}

// Why a tail is refused, or ended.
var (
	errTails     = errors.New("too many tails are followed: try again later, or use a query")
	errYourTails = errors.New("too many tails of yours are followed: end some, or use a query")
	errWithdrawn = errors.New("the token is not good for this any more")
)

// tails counts those that are followed. A quarter of them is never one client's.
type tails struct {
	most int
	mu   sync.Mutex
	all  int
	of   map[string]int // by client
}

func (t *tails) begin(client string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.all >= t.most:
		return errTails
	case t.of[client] >= t.most-t.most/4:
		return errYourTails
	}
	t.all++
	t.of[client]++
	return nil
}

func (t *tails) end(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.of[client]--; t.of[client] == 0 {
		delete(t.of, client)
	}
}

func (t *tails) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// maxPast is how many records of the past a tail begins with at most.
const maxPast = 10_000

// tailParams are those of a tail.
func tailParams() []param {
	var params []param
	for _, p := range whatParams() {
		switch p.name {
		case "to", "brute", "max_bytes":
		default:
			params = append(params, p)
		}
	}
	return append(params, param{"n", number, func(a *asked, _ []string, n int64) error {
		if n < 0 || n > maxPast {
			return fmt.Errorf("n=%d: want 0 to %d", n, maxPast)
		}
		a.n = int(n)
		return nil
	}})
}

// tail answers with events, as they happen.
func (a *API) tail(x *exchange) error {
	if a.cfg.Parts.Tailer == nil {
		return missing("tail: it was started without --nats")
	}
	q, err := a.compileOnly(x)
	if err != nil {
		return err
	}
	if err := goOn(x, &q); err != nil {
		return err
	}
	select {
	case <-a.stopping:
		return errStopping
	default:
	}
	if err := a.tails.begin(x.client); err != nil {
		return err
	}
	defer a.tails.end(x.client)
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	var beating sync.WaitGroup
	e := &events{x: x, rc: http.NewResponseController(x.w), wait: a.cfg.ReaderWait}
	beating.Go(func() {
		tick := time.NewTicker(wire.Heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-a.stopping:
				cancel(errStopping)
				return
			case <-tick.C:
				if !a.stillGood(x) {
					cancel(errWithdrawn)
					return
				}
				if err := e.send([]byte(": still here\n\n")); err != nil {
					cancel(err)
				}
			}
		}
	})
	defer beating.Wait()
	defer close(stop)
	if err := e.send([]byte(": the tail of " + x.asked.Topic + "\n\n")); err != nil {
		return nil
	}
	var lines query.LineEncoder
	var b []byte
	count := int64(0)
	q.Idle = func() { _ = e.flush() } // what fails here fails what is added next
	err = a.cfg.Parts.Tailer.Tail(ctx, q, x.asked.n, func(ev TailEvent) error {
		b = b[:0]
		if ev.Note != "" {
			b = fmt.Appendf(b, "event: %s\ndata: %s\n", ev.Note, appendJSON(wire.Note{Count: ev.Count, Text: ev.Text}))
		} else {
			count++
			b = append(append(append(b, "id: "...), ev.Record.ID.String()...), "\ndata: "...)
			b = append(lines.Append(b, ev.Record), '\n')
		}
		return e.add(b)
	})
	x.told.status, x.told.outcome = http.StatusOK, "ok"
	x.told.answer = &query.Answer{Count: count}
	switch {
	case isGone(x.ctx) || errors.Is(context.Cause(ctx), errReader):
		x.told.outcome = "gone"
	case errors.Is(context.Cause(ctx), errStopping): // the server's context has ended, or this one's
		err = errStopping
	case errors.Is(context.Cause(ctx), errWithdrawn):
		err = errWithdrawn
	case err != nil:
		x.told.outcome = "failed"
	}
	if err != nil && x.told.outcome != "gone" {
		x.told.err = err
		_ = e.send(fmt.Appendf(nil, "event: error\ndata: %s\n", appendJSON(wire.Failure{Error: failure(err)}))) // the connection ends in any case
	}
	return nil
}

// goOn has a tail begin behind the event that the client got last, if it says which: a browser's EventSource does where it connects again.
func goOn(x *exchange, q *query.Query) error {
	text := x.r.Header.Get("Last-Event-ID")
	if text == "" {
		return nil
	}
	id, err := ulid.ParseStrict(text)
	if err != nil {
		return &statusError{http.StatusBadRequest, fmt.Errorf("header Last-Event-ID: %.40q: want a ULID, as events have it", text)}
	}
	q.Range.From, x.asked.n = segment.After(id), maxPast
	return nil
}

// events writes to one reader.
type events struct {
	x    *exchange
	rc   *http.ResponseController
	wait time.Duration

	mu    sync.Mutex
	buf   []byte // to be written
	begun bool
	err   error
}

// add sends b with what follows, which is no later than the next flush.
func (e *events) add(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = append(e.buf, b...)
	if len(e.buf) < flushSize {
		return e.err
	}
	return e.write()
}

// flush sends what was added.
func (e *events) flush() error { return e.send(nil) }

// send sends what was added, and b.
func (e *events) send(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = append(e.buf, b...)
	return e.write()
}

func (e *events) write() error {
	if e.err != nil || len(e.buf) == 0 {
		return e.err
	}
	if !e.begun {
		e.begun = true
		e.x.w.Header().Set("Content-Type", "text/event-stream")
		e.x.w.Header().Set("X-Accel-Buffering", "no")
		e.x.w.WriteHeader(http.StatusOK)
	}
	err := e.rc.SetWriteDeadline(time.Now().Add(e.wait))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		if _, err = e.x.w.Write(e.buf); err == nil {
			err = e.rc.Flush()
		}
		patient(e.rc)
	}
	e.buf = e.buf[:0]
	if err != nil {
		e.err = fmt.Errorf("%w: %w", errReader, err)
	}
	return e.err
}
