package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"oklog/query/where"
)

// MaxTopBytes bounds the different values that Top keeps, in bytes, and perValue is what one takes besides its own, roughly.
const (
	MaxTopBytes = 64 << 20
	perValue    = 130
)

// ValueCount is in how many records a field has a value.
type ValueCount struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
	// MaxError is by how much the count may be too small.
	MaxError int64 `json:"max_error,omitempty"`
}

// TopAnswer is which values of a field are the most frequent among the records that a query finds.
type TopAnswer struct {
	// Values by their counts, the greatest first; equal counts by value.
	Values []ValueCount `json:"values"`
	// Distinct is how many values there are. Where the answer is approximate, it is how many were kept.
	Distinct int64 `json:"distinct"`
	// With and Lacking are how many records have the field, and have not: it is not there, or an object or an array. A
	// record that was cut into pieces counts once, by the one that is found first.
	With    int64 `json:"with"`
	Lacking int64 `json:"lacking"`
	// Approximate says that there were more values than may be kept in memory, and that those which were rare until then were dropped. No
	// count is too great; one may be too small by MaxError, and a value that is not there at all has been found at most so often.
	Approximate bool   `json:"approximate"`
	MaxError    int64  `json:"max_error"`
	Answer      Answer `json:"answer"`
}

// Top counts the records that a query finds by the value of a field, and tells the n most frequent values. With [] in its path a record may have several
// values: it counts once for each. With an error, the answer is what is known until there.
func Top(ctx context.Context, r Runner, q Query, path where.Path, n int) (*TopAnswer, error) {
	return TopWithin(ctx, r, q, path, n, MaxTopBytes)
}

// TopWithin is Top which keeps so many bytes of values at most.
func TopWithin(ctx context.Context, r Runner, q Query, path where.Path, n int, maxBytes int64) (*TopAnswer, error) {
	if n < 1 {
		return &TopAnswer{}, fmt.Errorf("query: the %d most frequent values: want at least 1", n)
	}
	q.CountOnly, q.IDsOnly, q.Before, q.After = false, false, 0, 0
	t := newTally(maxBytes)
	top := &TopAnswer{}
	reader := path.Reader()
	ans, err := r.Run(ctx, q, func(rec Record) error {
		t.record++
		switch {
		case rec.Joined:
		case reader.Values(rec.Text, t.add) > 0:
			top.With++
		default:
			top.Lacking++
		}
		return nil
	})
	if ans != nil {
		top.Answer = *ans
	}
	top.Values, top.Distinct = t.top(n), int64(len(t.counts))
	top.Approximate, top.MaxError = t.floor > 0, t.floor
	return top, err
}

// tally counts values: exactly, as long as they fit into its memory. When they do not, it drops the rarer ones down to a half of it, and
// remembers how frequent the most frequent of them may have been: a value that comes after that may have been one of them. (It is lossy
// counting, Manku and Motwani 2002, with bytes for the bound instead of a share.)
type tally struct {
	max, size int64
	counts    map[string]*counted
	floor     int64 // no value that is not in counts was found more often
	record    int64 // the number of the one whose values come
}

type counted struct {
	ValueCount
	record int64 // the one that it was found in last
}

func newTally(max int64) *tally { return &tally{max: max, counts: map[string]*counted{}} }

func (t *tally) add(value []byte) {
	if c, ok := t.counts[string(value)]; ok {
		if c.record != t.record {
			c.Count++
			c.record = t.record
		}
		return
	}
	c := &counted{ValueCount{Value: string(value), Count: 1, MaxError: t.floor}, t.record}
	t.counts[c.Value] = c
	if t.size += int64(len(value)) + perValue; t.size > t.max {
		t.drop()
	}
}

// drop halves what is kept.
func (t *tally) drop() {
	all := make([]*counted, 0, len(t.counts))
	for _, c := range t.counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *counted) int { return cmp.Compare(a.Count+a.MaxError, b.Count+b.MaxError) })
	for _, c := range all {
		if t.size <= t.max/2 {
			break
		}
		t.floor = max(t.floor, c.Count+c.MaxError)
		t.size -= int64(len(c.Value)) + perValue
		delete(t.counts, c.Value)
	}
}

// top are the n values with the greatest counts.
func (t *tally) top(n int) []ValueCount {
	all := make([]ValueCount, 0, len(t.counts))
	for _, c := range t.counts {
		all = append(all, c.ValueCount)
	}
	slices.SortFunc(all, func(a, b ValueCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	return slices.Clip(all[:min(n, len(all))])
}
