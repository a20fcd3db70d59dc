package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// listing is one listing to make: the keys with a prefix that are greater than after, but no more than most of them, if that is not 0.
type listing struct {
	prefix, after string
	most          int
}

// keysOfPage is how many keys a request brings.
const keysOfPage = 1000

const (
	// From this many touched hours of a day on, the day is listed whole.
	mostHours = 18
	// Beyond this many days months are listed, and beyond this many months the topic.
	mostDays, mostMonths = 60, 60
)

// listings tells where the segments of a topic that overlap a range may lie:
//
//	topic/DAY/HH/      fresh segments, each within one hour: the hours that the range touches
//	topic/DAY/01KAP    the others of the day, and nothing from under the hours
//
// The second is a prefix since names begin with the first record's ULID, and all ULIDs of a day begin
// with what the ULIDs of its first and its last instant have in common. (Once in some months that is as little as
// "01", and an hour comes with it: keys are told apart afterwards.) A segment never spans two days, so nothing
// else can overlap. Days of which most hours are touched are listed whole, long ranges by months, and
// very long ones are a listing of the whole topic.
func listings(topic string, r Range) []listing {
	if r.Empty() {
		return nil
	}
	first, last := r.times()
	// Years after 9999 have five digits and sort before the others, so they have to be listed whole.
	fourDigits := last.Year() <= 9999
	day := first.Truncate(24 * time.Hour)
	days := int(last.Sub(day)/(24*time.Hour)) + 1
	months := (last.Year()-first.Year())*12 + int(last.Month()) - int(first.Month()) + 1
	var all []listing
	switch {
	case months > mostMonths || !fourDigits && days > mostDays:
		l := listing{prefix: topic + "/"}
		if fourDigits {
			l.after = topic + "/" + segment.Day(first)
		}
		return []listing{l}
	case days > mostDays:
		m := time.Date(first.Year(), first.Month(), 1, 0, 0, 0, 0, time.UTC)
		for i := range months {
			l := listing{prefix: topic + "/" + m.AddDate(0, i, 0).Format("2006-01-")}
			if i == 0 {
				l.after = topic + "/" + segment.Day(first)
			}
			all = append(all, l)
		}
		return all
	}
	for range days {
		all = appendDay(all, topic, day, first, last)
		day = day.AddDate(0, 0, 1)
	}
	return all
}

// A listing of a page costs a request, and so does one of nothing. Where there are more than a few to make, a first one shows whether a page holds them all:
// mostly it does.
const fewListings = 2

// opening is one listing of all that is in several, which stand in the order of time, and of what lies between.
func opening(all []listing) listing {
	first := listing{prefix: all[0].prefix, most: keysOfPage}
	least := all[0].prefix
	for _, l := range all {
		first.prefix = commonPrefix(first.prefix, l.prefix)
		least = min(least, max(l.prefix, l.after))
	}
	if least != first.prefix {
		first.after = least // a key is longer than what it begins with
	}
	return first
}

// remaining are those listings, or parts of them, that lie behind a key.
func remaining(all []listing, key string) (rest []listing) {
	for _, l := range all {
		if l.prefix < key && !strings.HasPrefix(key, l.prefix) {
			continue
		}
		if l.prefix < key {
			l.after = max(l.after, key)
		}
		rest = append(rest, l)
	}
	return rest
}

// within tells whether a key is in one of the listings.
func within(all []listing, key string) bool {
	return slices.ContainsFunc(all, func(l listing) bool { return strings.HasPrefix(key, l.prefix) && key > l.after })
}

// appendDay adds the listings of one day for the instants from first to last, both included.
func appendDay(all []listing, topic string, day, first, last time.Time) []listing {
	from, to := 0, 23
	if first.After(day) {
		from = first.Hour()
	}
	if last.Before(day.AddDate(0, 0, 1)) {
		to = last.Hour()
	}
	prefix := topic + "/" + segment.Day(day) + "/"
	if to-from+1 >= mostHours {
		return append(all, listing{prefix: prefix})
	}
	for h := from; h <= to; h++ {
		all = append(all, listing{prefix: fmt.Sprintf("%s%02d/", prefix, h)})
	}
	lo := segment.AtTime(day)
	hi := segment.Before(segment.AtTime(day.AddDate(0, 0, 1)))
	return append(all, listing{prefix: prefix + commonPrefix(lo.String(), hi.String())})
}

func commonPrefix(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[:i]
		}
	}
	return a[:min(len(a), len(b))]
}

// candidate is a segment that may hold records of the range.
type candidate struct {
	key  string
	size int64
	name segment.Name
}

// plan is what a listing comes to.
type plan struct {
	listed     int // objects in the listing
	candidates []candidate
	foreign    []Problem
}

// makePlan selects what to read from a listing: the segments that overlap the range, each key once, in the order
// in which a merge needs them; descending, from the last to the first. It is a pure function.
func makePlan(listed []objstore.Info, topic string, r Range, descending bool) plan {
	p := plan{}
	seen := make(map[string]bool, len(listed))
	for _, info := range listed {
		if seen[info.Key] {
			continue
		}
		seen[info.Key] = true
		p.listed++
		in, name, err := segment.ParseKey(info.Key)
		if err == nil && in != topic {
			err = fmt.Errorf("key %q is of topic %s", info.Key, in)
		}
		if err != nil {
			p.foreign = append(p.foreign, Problem{Key: info.Key, Err: fmt.Errorf("%w: %w", ErrForeign, err)})
			continue
		}
		if r.Overlaps(name.First, name.Last) {
			p.candidates = append(p.candidates, candidate{info.Key, info.Size, name})
		}
	}
	slices.SortFunc(p.candidates, func(a, b candidate) int {
		return cmp.Or(order(a.name.First, a.name.Last, b.name.First, b.name.Last, descending),
			int(b.name.Generation)-int(a.name.Generation), // what replaces others before these
			strings.Compare(a.key, b.key))
	})
	slices.SortFunc(p.foreign, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
	return p
}

// order compares two stretches of IDs by where a merge meets them first.
func order(aFirst, aLast, bFirst, bLast ulid.ULID, descending bool) int {
	if descending {
		return bLast.Compare(aLast)
	}
	return aFirst.Compare(bFirst)
}
