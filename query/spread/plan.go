package spread

import (
	"cmp"
	"slices"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
)

const (
	// A query is cut into so many pieces at least, if they do not become smaller than a quarter of the usual size, and
	// into so many at most, whatever they become.
	fewPieces, mostPieces = 32, 2000
	// A segment is cut if it is larger than so many pieces; where filters are asked, of each piece anew, than so many.
	cutBeyond, cutBeyondSieved = 2, 8
)

// piece is a part of a query: a range of its own, next to those of the others.
type piece struct {
	query.Range
	bytes int64  // stored, about
	key   string // names the stretch of a segment that is most of it
	local bool   // unflushed records that are held may be in there
}

// pieceSize is how many bytes a piece of so many stored ones has, if usual is the usual size.
func pieceSize(stored, usual int64) int64 {
	return max(min(stored/fewPieces, usual), usual/4, stored/mostPieces, 1)
}

// largeSegment tells which segments of a query are cut.
func largeSegment(usual int64) func(stored int64, sieved bool) int64 {
	return func(stored int64, sieved bool) int64 {
		if sieved {
			return cutBeyondSieved * pieceSize(stored, usual)
		}
		return cutBeyond * pieceSize(stored, usual)
	}
}

// floor is the lowest ID of the same millisecond and session. The pieces of a record that was cut at the record limit have both in
// common: between two such IDs there is never a part of one.
func floor(id ulid.ULID) ulid.ULID {
	ms, session, _ := segment.SplitID(id)
	return segment.MakeID(ms, session, 0)
}

// ceil is the lowest such ID behind id; the greatest ID if there is none.
func ceil(id ulid.ULID) ulid.ULID {
	ms, session, _ := segment.SplitID(id)
	last := segment.MakeID(ms, session, 1<<32-1)
	return segment.After(last)
}

// cut divides a range into pieces, in ascending order: disjoint, adjacent, none of them empty, together the range. Each is of about
// size bytes of what is stored, but for what is too dense to be cut. What is hot is apart from what is
// not, where that is worth a piece. It is a pure function.
func cut(r query.Range, extents, hot []query.Extent, size int64) []piece {
	if r.Empty() {
		return nil
	}
	begin := func(e query.Extent) ulid.ULID { return maxID(r.From, floor(e.First)) }
	extents = slices.Clone(extents)
	slices.SortStableFunc(extents, func(a, b query.Extent) int { return cmp.Or(begin(a).Compare(begin(b)), a.Last.Compare(b.Last)) })

	hots := hotRanges(r, extents, hot, size)
	cuts := append(cutsByBytes(r, extents, size), r.From)
	for _, h := range hots {
		cuts = append(cuts, h.From)
		if h.To.Compare(r.To) < 0 {
			cuts = append(cuts, h.To)
		}
	}
	slices.SortFunc(cuts, ulid.ULID.Compare)
	cuts = slices.Compact(cuts)

	pieces := make([]piece, len(cuts))
	h, e := 0, 0
	for i, from := range cuts {
		p := &pieces[i]
		p.Range = query.Range{From: from, To: r.To}
		if i+1 < len(cuts) {
			p.To = cuts[i+1]
		}
		for h < len(hots) && hots[h].To.Compare(p.From) <= 0 {
			h++
		}
		p.local = h < len(hots) && hots[h].From.Compare(p.To) < 0
		var most int64 = -1
		for ; e < len(extents) && begin(extents[e]).Compare(p.To) < 0; e++ {
			p.bytes += extents[e].Bytes
			if extents[e].Bytes > most {
				most, p.key = extents[e].Bytes, extents[e].Key+" "+extents[e].First.String()
			}
		}
	}
	return pieces
}

// cutsByBytes are where pieces of about size bytes end. A place between extents is better than one inside of some, of which two pieces would read.
func cutsByBytes(r query.Range, extents []query.Extent, size int64) (cuts []ulid.ULID) {
	var acc int64
	last, open := r.From, r.From
	for _, e := range extents {
		at := maxID(r.From, floor(e.First))
		between := at.Compare(open) > 0
		if at.Compare(last) > 0 && at.Compare(r.To) < 0 && (acc >= size && between || acc >= size+size/4) {
			cuts = append(cuts, at)
			last, acc = at, 0
		}
		acc += e.Bytes
		open = maxID(open, e.Last)
	}
	return cuts
}

// hotRanges are the stretches of what is hot. Two become one if little is stored between them.
func hotRanges(r query.Range, extents, hot []query.Extent, size int64) (all []query.Range) {
	hot = slices.Clone(hot)
	slices.SortFunc(hot, func(a, b query.Extent) int { return a.First.Compare(b.First) })
	e := 0
	for _, h := range hot {
		if !r.Overlaps(h.First, h.Last) {
			continue
		}
		from, to := maxID(r.From, floor(h.First)), r.To
		if c := ceil(h.Last); c.Compare(to) < 0 && c.Compare(h.Last) > 0 {
			to = c
		}
		if n := len(all); n > 0 {
			var between int64
			for e < len(extents) && floor(extents[e].First).Compare(all[n-1].To) < 0 {
				e++
			}
			for i := e; i < len(extents) && floor(extents[i].First).Compare(from) < 0 && between < size/4; i++ {
				between += extents[i].Bytes
			}
			if between < size/4 || from.Compare(all[n-1].To) <= 0 {
				all[n-1].To = maxID(all[n-1].To, to)
				continue
			}
		}
		all = append(all, query.Range{From: from, To: to})
	}
	return all
}

func maxID(a, b ulid.ULID) ulid.ULID {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}
