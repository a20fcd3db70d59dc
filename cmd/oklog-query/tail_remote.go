package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/client"
	"oklog/query/tail"
)

// How long a server that has ended a tail is left alone before it is asked again: twice as long each time, up to the most.
const (
	againAfter     = time.Second
	againAfterMost = 30 * time.Second
)

// followServer prints what a server tells, until ctx is done, or nobody reads it.
func followServer(ctx context.Context, opts tailOptions, stdout io.Writer, told *promptWarnings) (int, error) {
	r, err := openRemote(*opts.server)
	if err != nil {
		return exitTrouble, err
	}
	defer r.c.Close()
	f := &remoteTail{c: r.c, request: opts.request, lines: opts.lines, left: opts.request.Limit, told: told}
	f.request.Limit = 0
	f.w = bufio.NewWriterSize(stdout, 64<<10)
	f.p = newPrinter(f.w, opts.look, opts.query)
	running, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { warnNoTopic(running, r.Topics(running), opts.request.Topic, told) })
	wait := againAfter
	for {
		f.came = false
		err := f.once(ctx)
		if f.broken == nil {
			f.broken = f.w.Flush()
		}
		switch {
		case ctx.Err() != nil:
			return exitInterrupt, nil
		case err == nil || f.broken != nil, f.begun.IsZero(), !errors.Is(err, client.ErrCut) && !errors.Is(err, client.ErrDown):
			code, _, err := early(err, f.broken)
			return code, err
		}
		if f.came {
			wait = againAfter
		}
		told.tell("%v; asking again for what has come since", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, againAfterMost)
	}
}

// What was shown last and is remembered: how far back it is asked for again, since records of different sources do not come in the order of
// their ULIDs, and clocks may be behind; and how many records are kept from being shown twice. More than a server tells of the past.
const (
	tailMargin = 5 * time.Minute
	tailShown  = 4 * tail.MaxLines
	// Where nothing was shown yet, what came before the tail began is not to be.
	beginMargin = 2 * time.Second
)

// shown are the records that were printed last.
type shown struct {
	first, last ulid.ULID // the first one, and the one with the greatest ULID
	any         bool
	ids         map[ulid.ULID]bool
	order       []ulid.ULID // as they came, the oldest at next once it is full
	next        int
}

// add remembers a record, and tells whether it is a new one.
func (s *shown) add(id ulid.ULID) bool {
	if s.ids[id] {
		return false
	}
	if !s.any {
		s.any, s.first, s.last, s.ids = true, id, id, map[ulid.ULID]bool{}
	}
	if id.Compare(s.last) > 0 {
		s.last = id
	}
	s.ids[id] = true
	if len(s.order) < tailShown {
		s.order = append(s.order, id)
		return true
	}
	delete(s.ids, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % tailShown
	return true
}

// from is what to go on behind: some time before the last record, but not before the first.
func (s *shown) from() ulid.ULID {
	if from := segment.AtTime(ulid.Time(s.last.Time()).Add(-tailMargin)); from.Compare(s.first) > 0 {
		return from
	}
	return segment.Before(s.first)
}

// remoteTail goes on where a server has ended.
type remoteTail struct {
	c       *client.Client
	request query.Request
	lines   int
	left    int64 // records until it ends; 0: no limit
	told    *promptWarnings
	p       *printer
	w       *bufio.Writer
	broken  error
	shown   shown
	begun   time.Time // when the server first answered; zero: it has not
	came    bool      // since the server was asked last
}

// once asks, and prints until the server ends it; nil if enough was printed.
func (f *remoteTail) once(ctx context.Context) error {
	again, end := f.shown.any, f.shown.last // of what was shown before
	switch {
	case again:
		f.request.From, f.lines = f.shown.from().String(), tail.MaxLines
	case !f.begun.IsZero():
		f.request.From, f.lines = segment.AtTime(f.begun.Add(-beginMargin)).String(), tail.MaxLines
	}
	return f.c.Tail(ctx, f.request, f.lines, func(e client.Event) error {
		if e.Note == client.Begun {
			if f.begun.IsZero() {
				f.begun = time.Now()
			}
			return nil
		}
		f.came = true
		if e.Note != "" {
			f.note(e)
			return nil
		}
		id := e.Record.ID
		if again && id.Compare(end) > 0 { // what was shown before comes first, unless there is too much behind it
			f.told.tell("records between %s and %s may be missing here: search for them with --from and --to", end, id)
		}
		again = again && id.Compare(end) < 0
		if !f.shown.add(id) {
			return nil
		}
		f.broken = f.p.print(e.Record)
		if err := f.w.Flush(); f.broken == nil {
			f.broken = err
		}
		if f.broken != nil {
			return segment.ErrStop
		}
		if f.left > 0 && !e.Record.Joined {
			if f.left--; f.left == 0 {
				return segment.ErrStop
			}
		}
		return nil
	})
}

// note tells what is no record.
func (f *remoteTail) note(e client.Event) {
	switch e.Note {
	case "skipped":
		f.told.skipped(e.Count, e.Text)
	case "recovered":
		f.told.recovered(e.Count)
	default:
		f.told.notice(e.Text)
	}
}
