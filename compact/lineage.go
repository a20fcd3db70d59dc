package compact

import (
	"errors"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// claim says of a segment that its records above after, up to through, are in the segment by.
type claim struct {
	after, through ulid.ULID
	by             *Segment
}

// claims are what segments say of those that they replace.
type claims map[segment.Name][]claim

// add takes in the lineage of by.
func (cl claims) add(by *Segment, l segment.Lineage) {
	for _, key := range l.Replaces {
		topic, name, err := segment.ParseKey(key)
		if err != nil || topic != by.Topic || name == by.Name || l.After.Compare(l.Through) >= 0 {
			continue // it says nothing that can be believed
		}
		cl[name] = append(cl[name], claim{l.After, l.Through, by})
	}
}

// checkClaims holds what by says of other segments of its day against the names of these, and against its own blocks. A merge puts all of the
// records of a stretch into what it makes: so that is of a later generation, begins no later and ends no earlier than what lies in the stretch, and
// has as many records there at least. Who claims anything else would have segments deleted that nothing replaces.
func checkClaims(by *Segment, l segment.Lineage, blocks []segment.BlockInfo, segments map[segment.Name]*Segment) error {
	for _, key := range l.Replaces {
		topic, name, err := segment.ParseKey(key)
		if err != nil || topic != by.Topic || segments[name] == nil || name.First.Compare(l.Through) > 0 || name.Last.Compare(l.After) <= 0 {
			continue
		}
		begins, ends := name.First.Compare(l.After) > 0, name.Last.Compare(l.Through) <= 0
		switch {
		case name.Generation >= by.Name.Generation:
			err = fmt.Errorf("is of generation %d", name.Generation)
		case begins && by.Name.First.Compare(name.First) > 0:
			err = errors.New("begins earlier")
		case ends && by.Name.Last.Compare(name.Last) < 0:
			err = errors.New("ends later")
		case begins && ends && segment.RecordsWithin(blocks, name.First, name.Last) < name.Records:
			err = errors.New("has more records than are here")
		}
		if err != nil {
			return fmt.Errorf("%w: it says that it holds the records of %s, which %w", segment.ErrCorrupt, key, err)
		}
	}
	return nil
}

// stretch is a range of IDs, both ends included.
type stretch struct{ from, to ulid.ULID }

// rest is the stretch of s from its first record to its last one that no claim which counts covers; false if they cover
// all of it. What is covered in between is part of it.
func (cl claims) rest(s *Segment, counts func(by *Segment) bool) (stretch, bool) {
	of := slices.Clone(cl[s.Name])
	slices.SortFunc(of, func(a, b claim) int { return a.after.Compare(b.after) })
	at := s.Name.First // what is before it is covered, or not in s
	var gap stretch
	open := false
	note := func(to ulid.ULID) {
		if !open {
			gap.from, open = at, true
		}
		gap.to = to
	}
	for _, c := range of {
		if !counts(c.by) || c.through.Compare(at) < 0 || c.after.Compare(s.Name.Last) >= 0 {
			continue
		}
		if c.after.Compare(at) >= 0 {
			note(c.after)
		}
		if c.through.Compare(s.Name.Last) >= 0 {
			return gap, open // there may be no ID behind it
		}
		at = segment.After(c.through)
	}
	note(s.Name.Last)
	return gap, open
}

// readable counts the claims of segments that can be read, as far as is known.
func readable(by *Segment) bool { return !by.damaged }

// claimants are the segments whose lineage is worth reading: those that may replace another one of the day, which then
// overlaps them and is of a lower generation.
func claimants(segments []*Segment) (found []*Segment) {
	for _, s := range segments {
		if s.Name.Generation == 0 || s.damaged {
			continue
		}
		for _, t := range segments {
			if t.Name.First.Compare(s.Name.Last) > 0 {
				break // ascending: none of the rest overlaps it
			}
			if t.Name.Generation < s.Name.Generation && t.Name.Last.Compare(s.Name.First) >= 0 {
				found = append(found, s)
				break
			}
		}
	}
	return found
}
