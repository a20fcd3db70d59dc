package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

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
		case err == nil || f.broken != nil, !f.known, !errors.Is(err, client.ErrCut) && !errors.Is(err, client.ErrDown):
			code, _, err := early(err, f.broken)
			return code, err
		}
		if f.came {
			wait = againAfter
		}
		told.tell("%v: asking again from the last record on", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, againAfterMost)
	}
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
	known   bool // a record came: where to go on
	came    bool // since the server was asked last
}

// once asks, and prints until the server ends it; nil if enough was printed.
func (f *remoteTail) once(ctx context.Context) error {
	return f.c.Tail(ctx, f.request, f.lines, func(e client.Event) error {
		f.came = true
		if e.Note != "" {
			f.note(e)
			return nil
		}
		f.broken = f.p.print(e.Record)
		if err := f.w.Flush(); f.broken == nil {
			f.broken = err
		}
		if f.broken != nil {
			return segment.ErrStop
		}
		f.known, f.request.From, f.lines = true, e.Record.ID.String(), tail.MaxLines
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
