package query

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"oklog/objstore/segment"
)

// Hot tells which batches are published and not in a segment yet.
type Hot interface {
	// Unflushed yields the bodies of the topic's batches, each a small segment: every one that was
	// published before the call and is not in a segment that a listing after the iteration shows. The
	// bodies belong to the caller. An error is the last pair.
	Unflushed(ctx context.Context, topic string) iter.Seq2[[]byte, error]
}

// held are the unflushed batches of a query, in memory.
type held struct {
	sources []*source
	room    *Share
}

// keep drops the batches that are of no use.
func (h *held) keep(useful func(*source) bool) {
	h.sources = slices.DeleteFunc(h.sources, func(s *source) bool {
		if useful(s) {
			return false
		}
		h.room.Give(int64(len(s.raw)))
		return true
	})
}

// letGo drops all. It may be called more than once.
func (h *held) letGo() {
	h.sources = nil
	if h.room != nil {
		h.room.Close()
	}
}

// holdHot reads the unflushed batches into memory, and keeps those that overlap the range and have a source that is wanted.
func (r *run) holdHot(ctx context.Context) (_ *held, err error) {
	h := &held{room: NewShare(r.e.cfg.MaxHotBytes, r.e.cfg.Spare)}
	if r.e.cfg.Hot == nil {
		return h, nil
	}
	defer func() {
		if err != nil {
			h.letGo()
		}
	}()
	start := r.e.cfg.Now()
	defer func() {
		r.meter.add(func(s *Stats) { s.Time.Hot += r.e.cfg.Now().Sub(start) })
	}()
	dec, err := r.e.decoder()
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	defer r.e.decoders.Put(dec)
	var sift func(*source) bool // set when there is no room for all
	n := 0
	for body, err := range r.e.cfg.Hot.Unflushed(ctx, r.q.Topic) {
		if err != nil && r.e.cfg.HotMayFail && ctx.Err() == nil {
			r.ans.note(Problem{Err: fmt.Errorf("%w: %w", ErrHotAway, err)})
			break
		}
		if err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		n++
		r.meter.add(func(s *Stats) {
			s.Segments.Hot++
			s.Requests.Hot += int64(len(body))
		})
		seg, err := dec.Open(bytesAt(body), int64(len(body)))
		if err != nil {
			r.ans.note(Problem{Err: fmt.Errorf("batch %d: %w", n, err)})
			continue
		}
		if !r.q.Range.Overlaps(seg.First(), seg.Last()) {
			continue
		}
		r.meter.add(func(s *Stats) { s.Segments.HotUsed++ })
		if wanted := r.q.Sources.of(seg.Sources); wanted != nil && len(wanted) == 0 {
			continue
		}
		s := &source{hot: true, raw: body, seg: seg, first: seg.First(), last: seg.Last()}
		size := int64(len(body))
		taken := sift == nil && h.room.Take(size)
		if !taken && sift == nil && r.picks() {
			sift = r.sift(dec)
			h.keep(sift)
		}
		if sift != nil && !sift(s) {
			continue
		}
		if !taken && !h.room.Take(size) {
			r.ans.note(Problem{Err: fmt.Errorf("%w: over %d bytes", ErrHotTooLarge, h.room.Max())})
			break
		}
		h.sources = append(h.sources, s)
	}
	return h, ctx.Err()
}

// picks tells that what the query finds in a batch is all that it wants of it.
func (r *run) picks() bool { return (r.q.Pattern != nil || r.q.Where != nil) && !r.q.HasContext() }

// sift makes what tells whether the query finds something in a batch. What cannot be read counts as found: whoever reads it says so.
func (r *run) sift(dec *segment.Decoder) func(*source) bool {
	find := NewFilter(r.q)
	block := &segment.Block{}
	return func(s *source) bool {
		for _, info := range s.seg.Blocks {
			if !r.q.Range.Overlaps(info.First, info.Last) {
				continue
			}
			err := dec.Block(block, s.seg, info, s.raw[info.Offset:info.Offset+int64(info.Size())])
			r.meter.add(func(st *Stats) { st.Requests.Decoded += int64(info.RawSize) })
			if err != nil || len(find.Find(block)) > 0 {
				return true
			}
		}
		return false
	}
}
