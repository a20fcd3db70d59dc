package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
)

// show is what a search prints.
type show int

const (
	showRecords show = iota
	showCount
	showMatches // how many
	showSources
	showSourceCounts
	showHistogram
	showTop
	showNothing
)

// newSink makes what prints the answer.
func newSink(w *bufio.Writer, opts options, p *progress) sink {
	var to sink
	switch opts.show {
	case showNothing:
		to = silent{}
	case showCount:
		to = &tally{w: w, look: opts.look}
	case showMatches:
		to = &tally{w: w, look: opts.look, find: finderOf(opts.query.Pattern)}
	case showSources, showSourceCounts:
		to = &sourceLister{w: w, look: opts.look, count: opts.show == showSourceCounts, found: map[string]*foundSource{}}
	default:
		to = newPrinter(w, opts.look, opts.query)
	}
	return &counting{to, p}
}

// counting tells the line of progress how much was found.
type counting struct {
	sink
	p *progress
}

func (c *counting) print(r query.Record) error {
	if !r.Context && !r.Joined {
		c.p.found.Add(1)
	}
	return c.sink.print(r)
}

// silent prints nothing: the exit status tells.
type silent struct{}

func (silent) print(query.Record) error          { return nil }
func (silent) finish(*query.Answer, error) error { return nil }

// tally prints how many records there are, or matches in them.
type tally struct {
	w    *bufio.Writer
	look look
	find *match.Finder // nil: records

	n      int64
	places [][2]int
}

func (c *tally) print(r query.Record) error {
	if c.find != nil && !r.Context {
		c.places = c.find.Find(c.places[:0], r.Text)
		c.n += int64(len(c.places))
	}
	return nil
}

func (c *tally) finish(ans *query.Answer, failed error) error {
	if failed != nil {
		return nil
	}
	n := ans.Count
	if c.find != nil {
		n = c.n
	}
	if c.look.json {
		_, err := fmt.Fprintf(c.w, "{\"count\":%d}\n", n)
		return err
	}
	_, err := fmt.Fprintf(c.w, "%d\n", n)
	return err
}

// sourceLister prints the sources of what is found: each when it is met first, or all at the end with their counts.
type sourceLister struct {
	w     *bufio.Writer
	look  look
	count bool

	found map[string]*foundSource
	size  int          // bytes
	last  *foundSource // neighbours are often of one source
}

// foundSource is a source that has matches.
type foundSource struct {
	source segment.Source
	count  int64
}

// maxSourceBytes is how much the sources may take that have matches.
const maxSourceBytes = 64 << 20

var errSources = errors.New("too many sources have matches to list them: restrict them with --source, or ask in parts")

func (l *sourceLister) print(r query.Record) error {
	if r.Context || r.Joined {
		return nil
	}
	if l.last == nil || !slices.Equal(l.last.source, r.Source) {
		name := r.Source.String()
		l.last = l.found[name]
		if l.last == nil {
			if l.size += 3*len(name) + 200; l.size > maxSourceBytes {
				return errSources
			}
			l.last = &foundSource{source: slices.Clone(r.Source)}
			l.found[name] = l.last
		}
	}
	l.last.count++
	if l.last.count == 1 && !l.count {
		return l.line(l.last.source, 0)
	}
	return nil
}

func (l *sourceLister) finish(_ *query.Answer, failed error) error {
	if !l.count || failed != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		if err := l.line(l.found[name].source, l.found[name].count); err != nil {
			return err
		}
	}
	return nil
}

// sourceLine is a source in JSON.
type sourceLine struct {
	Source map[string]string `json:"source"`
	Count  int64             `json:"count,omitempty"`
}

func (l *sourceLister) line(s segment.Source, n int64) error {
	if l.look.json {
		return writeJSON(l.w, sourceLine{sourceMap(s), n})
	}
	name := s.String()
	if l.look.color {
		name = colorSource + name + colorOff
	}
	if l.count {
		name += fmt.Sprintf(":%d", n)
	}
	_, err := l.w.WriteString(name + string(l.look.end))
	return err
}

// writeJSON writes an object as a line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func sourceMap(s segment.Source) map[string]string {
	m := make(map[string]string, len(s))
	for _, a := range s {
		m[a.Key] = a.Value
	}
	return m
}
