package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// ErrManySources says that there are more sources than SourcesOf may hold in memory.
var ErrManySources = errors.New("more sources than may be held in memory")

const (
	// MaxSourceBytes bounds what SourcesOf holds: attributes and numbers of sessions.
	MaxSourceBytes = 64 << 20
	perSource      = 256 // what one takes besides its attributes, roughly, in bytes
	perAttr        = 32
	perSession     = 48
)

// SourceInfo is a source of which there is something in a range.
type SourceInfo struct {
	Source segment.Source `json:"source"`
	// First and Last bound the segments and unflushed batches in which it was seen, and these only: its own records may begin later and end
	// earlier, and what is in the range may be of others.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Sessions in which it was read: one more each time that a forwarder began with it.
	Sessions int `json:"sessions"`
	Segments int `json:"segments"` // in which it was seen, unflushed batches included
}

// SourcesOf tells the sources of a query's topic in its range that its conditions on sources let through, ordered by their text. It is told by
// the tables of segments that have a block in the range, and of unflushed batches: no block is read, and what records hold does not matter. Beyond
// MaxSourceBytes sources are left out, which is a problem, ErrManySources. As with Run, the answer is never nil and holds
// what could not be read.
func (e *Engine) SourcesOf(ctx context.Context, q Query) ([]SourceInfo, *Answer, error) {
	q.Pattern, q.Where, q.MaxBytes = nil, nil, 0
	r, err := e.begin(q)
	if err != nil {
		return nil, r.ans, err
	}
	var c *sourceCatalog
	err = r.survey(ctx, func() { c = &sourceCatalog{of: map[string]*seenSource{}} }, func(s *source) { c.add(s) })
	if c == nil { // it has not come so far
		c = &sourceCatalog{}
	}
	if c.full {
		r.ans.note(Problem{Err: fmt.Errorf("%w: over %d bytes: narrow the range, or the sources (--source)", ErrManySources, MaxSourceBytes)})
	}
	all := c.sources()
	r.ans.Count = int64(len(all))
	r.end()
	return all, r.ans, err
}

// sourceCatalog gathers sources.
type sourceCatalog struct {
	of   map[string]*seenSource // by their attributes, encoded
	size int64
	full bool // something was left out
	key  []byte
}

type seenSource struct {
	SourceInfo
	first, last ulid.ULID
	sessions    map[uint64]struct{}
	counted     *source // the segment that was counted last
}

// add takes the sources of a segment of which there is a block in the range.
func (c *sourceCatalog) add(s *source) {
	if !slices.ContainsFunc(s.seg.Blocks, func(b segment.BlockInfo) bool { return s.sc.q.Range.Overlaps(b.First, b.Last) }) {
		return
	}
	met := map[*segment.Attr]*seenSource{} // sessions of the same source share its attributes
	for session, source := range s.seg.Sources {
		if s.wanted != nil && !s.wanted[session] {
			continue
		}
		var seen *seenSource
		if len(source) > 0 {
			seen = met[&source[0]]
		}
		if seen == nil {
			if seen = c.seen(source); seen == nil {
				continue
			}
			if len(source) > 0 {
				met[&source[0]] = seen
			}
		}
		if _, known := seen.sessions[session]; !known {
			if c.size+perSession > MaxSourceBytes {
				c.full = true
			} else {
				c.size += perSession
				seen.sessions[session] = struct{}{}
			}
		}
		if seen.counted == s {
			continue
		}
		if seen.Segments == 0 || s.first.Compare(seen.first) < 0 {
			seen.first = s.first
		}
		if seen.Segments == 0 || s.last.Compare(seen.last) > 0 {
			seen.last = s.last
		}
		seen.Segments++
		seen.counted = s
	}
}

// seen gives the entry of a source; nil if there is no room for it.
func (c *sourceCatalog) seen(source segment.Source) *seenSource {
	c.key = c.key[:0]
	for _, a := range source {
		for _, text := range []string{a.Key, a.Value} {
			c.key = append(binary.AppendUvarint(c.key, uint64(len(text))), text...)
		}
	}
	if seen := c.of[string(c.key)]; seen != nil {
		return seen
	}
	size := int64(2*len(c.key) + perAttr*len(source) + perSource)
	if c.size+size > MaxSourceBytes {
		c.full = true
		return nil
	}
	c.size += size
	seen := &seenSource{sessions: map[uint64]struct{}{}}
	for _, a := range source { // whose texts are parts of the segment's whole table
		seen.Source = append(seen.Source, segment.Attr{Key: strings.Clone(a.Key), Value: strings.Clone(a.Value)})
	}
	c.of[string(c.key)] = seen
	return seen
}

func (c *sourceCatalog) sources() []SourceInfo {
	type texted struct {
		text string
		SourceInfo
	}
	all := make([]texted, 0, len(c.of))
	for _, seen := range c.of {
		seen.First, seen.Last = ulid.Time(seen.first.Time()).UTC(), ulid.Time(seen.last.Time()).UTC()
		seen.Sessions = len(seen.sessions)
		all = append(all, texted{seen.Source.String(), seen.SourceInfo})
	}
	slices.SortFunc(all, func(a, b texted) int { return strings.Compare(a.text, b.text) })
	infos := make([]SourceInfo, len(all))
	for i := range all {
		infos[i] = all[i].SourceInfo
	}
	return infos
}
