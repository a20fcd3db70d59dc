package match

import (
	"bytes"
	"slices"

	"oklog/query/dfa"
)

// Line is where a line stands in a text: text[Start:End], with its newline at End.
type Line = dfa.Line

// Searcher looks for the records that a program matches. It is for one goroutine: it keeps the states of its
// DFAs and its buffers from one text to the next.
type Searcher struct {
	p     *Program
	parts []worker
	freq  frequencies // of the text at hand
	lines []Line
}

// Searcher makes a searcher.
func (p *Program) Searcher() *Searcher {
	s := &Searcher{p: p, parts: make([]worker, len(p.parts))}
	for i, part := range p.parts {
		s.parts[i] = newWorker(part, p.prior)
	}
	return s
}

// Match tells whether a record matches: any bytes, newlines among them.
func (s *Searcher) Match(record []byte) bool {
	return s.match(record) != s.p.invert
}

func (s *Searcher) match(record []byte) bool {
	if s.p.every {
		return true
	}
	for i := range s.parts {
		if s.parts[i].match(record) {
			return true
		}
	}
	return false
}

// Absent tells that no record matches that is part of text: records, each with a newline behind it, whether or
// not they hold newlines themselves. It is quick: false only means that it does not know.
func (s *Searcher) Absent(text []byte) bool {
	if s.p.invert || s.p.every {
		return s.p.invert && s.p.every
	}
	s.aim(text)
	for i := range s.parts {
		if !s.parts[i].absent(text) {
			return false
		}
	}
	return true
}

// Lines appends the lines of text that match as records, in order. Each line of text ends in a newline, the last one
// too.
func (s *Searcher) Lines(dst []Line, text []byte) []Line {
	if !s.p.invert {
		return s.find(dst, text)
	}
	s.lines = s.find(s.lines[:0], text)
	at := 0
	for _, l := range s.lines {
		dst = appendLines(dst, text[:l.Start], at)
		at = l.End + 1
	}
	return appendLines(dst, text, at)
}

// Count is how many lines of text match.
func (s *Searcher) Count(text []byte) int {
	n := 0
	switch {
	case s.p.every:
		n = bytes.Count(text, []byte{'\n'})
	case len(s.parts) == 1 && s.parts[0].needles != nil && s.parts[0].words == nil:
		s.aim(text)
		n = s.parts[0].count(text)
	default:
		s.lines = s.find(s.lines[:0], text)
		n = len(s.lines)
	}
	if s.p.invert {
		n = bytes.Count(text, []byte{'\n'}) - n
	}
	return n
}

// find appends the lines that match, not inverted.
func (s *Searcher) find(dst []Line, text []byte) []Line {
	if s.p.every {
		return appendLines(dst, text, 0)
	}
	s.aim(text)
	before := len(dst)
	for i := range s.parts {
		dst = s.parts[i].lines(dst, text)
	}
	if len(s.parts) > 1 {
		found := dst[before:]
		slices.SortFunc(found, func(a, b Line) int { return a.Start - b.Start })
		dst = dst[:before+len(slices.Compact(found))]
	}
	return dst
}

// aim makes the parts fit the text.
func (s *Searcher) aim(text []byte) {
	if len(text) < minSampled {
		return
	}
	s.freq.sample(text, s.p.prior)
	for i := range s.parts {
		s.parts[i].aim(&s.freq)
	}
}

// appendLines appends all lines from at on.
func appendLines(dst []Line, text []byte, at int) []Line {
	for at < len(text) {
		end := lineEnd(text, at)
		dst = append(dst, Line{Start: at, End: end})
		at = end + 1
	}
	return dst
}
