package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// Event is a record of a tail, or a note about what comes next.
type Event struct {
	Record query.Record
	// Note is "" for a record; skipped: Count records were left out, and whether they match is not known; recovered: Count of these have come after all, and
	// those that match follow; notice: Text says something about the server's connection, or what could not be read; begun, once and first: the server has
	// answered, and what is published from now on comes.
	Note  string
	Count int64
	Text  string // one line, for people
}

// Begun is the first note of a tail.
const Begun = "begun"

// Tail calls emit with the last n records, and with each that is published from then on, until ctx is done or emit fails. emit ends it with
// segment.ErrStop. It returns ErrCut where the server ends it: From with the ULID of the last record, and n as large as wanted, goes on. Records
// of different sources do not come in the order of their ULIDs: whoever wants those that come late asks from some seconds before, and leaves out
// what came already.
func (c *Client) Tail(ctx context.Context, r query.Request, n int, emit func(Event) error) error {
	r.To, r.Brute, r.MaxBytes = "", false, 0
	v := whatValues(r)
	if n != 0 {
		v.Set("n", strconv.Itoa(n))
	}
	// There is no POST for it: a server bounds how long a URL may be, and says so.
	resp, err := c.send(ctx, "GET", wire.Tail, v)
	if err != nil {
		return err
	}
	defer resp.close()
	if resp.StatusCode != 200 {
		return c.refusal(resp)
	}
	if have := resp.Header.Get("Content-Type"); have != "text/event-stream" {
		return c.explain(fmt.Errorf("%w: it answers with %.60q: look at the URL", ErrForeign, have))
	}
	d := newEvents(resp.body)
	for first := true; ; first = false {
		e, err := Event{Note: Begun}, error(nil)
		if !first {
			e, err = d.next()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return c.explain(resp.silence(err))
		}
		if err := emit(e); errors.Is(err, segment.ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// events reads server-sent events.
type events struct {
	d    *decoder
	data []byte
}

func newEvents(r io.Reader) *events { return &events{d: newDecoder(r, false)} }

// next is the next event that says something.
func (e *events) next() (Event, error) {
	kind, any := "", false
	e.data = e.data[:0]
	for {
		line, err := e.d.readLine()
		if err != nil {
			return Event{}, err
		}
		if len(line) > 0 {
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(name) {
			case "event":
				kind = string(value[:min(len(value), 20)])
			case "data":
				if any {
					e.data = append(e.data, '\n')
				}
				if any = true; len(e.data)+len(value) > query.MaxLine {
					return Event{}, fmt.Errorf("%w: an event is longer than %d bytes", ErrForeign, query.MaxLine)
				}
				e.data = append(e.data, value...)
			}
			continue
		}
		if !any { // a comment
			kind = ""
			continue
		}
		switch kind {
		case "", "message":
			rec, err := query.ParseLine(e.data)
			if err != nil {
				return Event{}, fmt.Errorf("%w: %w", ErrForeign, err)
			}
			return Event{Record: rec}, nil
		case "skipped", "recovered", "notice":
			var n wire.Note
			if err := json.Unmarshal(e.data, &n); err != nil || n.Count < 0 {
				return Event{}, fmt.Errorf("%w: its event %s says %.40q", ErrForeign, kind, e.data)
			}
			return Event{Note: kind, Count: n.Count, Text: oneLine(n.Text)}, nil
		case "error":
			var f wire.Failure
			if err := json.Unmarshal(e.data, &f); err != nil || f.Error == nil {
				return Event{}, fmt.Errorf("%w: its event error says nothing", ErrForeign)
			}
			return Event{}, failed(f.Error)
		}
		kind, any = "", false // an event that is not known yet
		e.data = e.data[:0]
	}
}
