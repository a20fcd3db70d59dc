package compact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// Copy is one of the buckets, each of which is to hold everything.
type Copy struct {
	Name string // in messages; without secrets
	objstore.Bucket
}

// MaxCopies is how many buckets there may be.
const MaxCopies = 64

// Set is a set of copies: bit i stands for the i-th.
type Set uint64

// Has tells whether copy i is in the set.
func (s Set) Has(i int) bool { return s>>i&1 != 0 }

// Len is how many copies are in the set.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// each yields the places of the set's copies.
func (s Set) each(yield func(int) bool) {
	for rest := s; rest != 0; rest &= rest - 1 {
		if !yield(bits.TrailingZeros64(uint64(rest))) {
			return
		}
	}
}

// Segment is a segment as the listings of the copies show it.
type Segment struct {
	Topic string
	Name  segment.Name
	Size  int64
	In    Set // the copies that hold it
	Odd   Set // the copies that hold it with another size

	// When the first and the last of the copies were written, by the compactor's clock.
	Stored, Settled time.Time

	damaged bool // no copy of it can be read
	expired bool
	late    bool // it came in late, or was restored: see expiry
}

// Key is where it lies.
func (s *Segment) Key() string { return s.Name.Key(s.Topic) }

func (s *Segment) last() time.Time { return ulid.Time(s.Name.Last.Time()).UTC() }

// day is what there is of one topic on one day of UTC.
type day struct {
	topic, date string
	segments    []*Segment // ascending by first record
	foreign     []string   // keys of objects that are no segments; the first of them
	foreigners  int        // how many there are
	complete    bool       // all the copies were listed
}

// maxNamed bounds what is kept of things that are named one by one.
const maxNamed = 100

func (d *day) addForeign(key string) {
	if d.foreigners++; len(d.foreign) < maxNamed {
		d.foreign = append(d.foreign, key)
	}
}

// end is the first instant after the day; the zero time if date is none.
func (d *day) end() time.Time {
	t, err := time.Parse(time.DateOnly, d.date)
	if err != nil {
		return time.Time{}
	}
	return t.AddDate(0, 0, 1)
}

// object is a key with the copies that hold it.
type object struct {
	key     string
	size    int64       // of the first copy
	written []time.Time // by copy; valid until the next object
	in      Set         // the copies that hold it with that size
	odd     Set         // the copies that hold it with another one
	listing Set         // the copies whose listings have not failed so far
}

// objects joins the listings of the copies: every key once, ascending. A copy whose listing fails is marked as away, and the
// others go on. With none left it yields an error, as the last pair.
func (c *Compactor) objects(ctx context.Context, prefix, after string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		// A bucket that has failed is not asked again in this run: without it nothing is complete, and each listing would wait for it.
		listing := c.there()
		var buckets []objstore.Bucket
		var places []int
		for i := range listing.each {
			buckets, places = append(buckets, c.cfg.Copies[i].Bucket), append(places, i)
		}
		last := errAway
		failed := func(k int, err error) {
			listing &^= 1 << places[k]
			last = err
			if ctx.Err() == nil {
				c.leave(places[k], err)
			}
		}
		written := make([]time.Time, len(c.cfg.Copies))
		for found, err := range objstore.ListCopies(ctx, buckets, prefix, after, failed) {
			if err != nil {
				yield(object{}, fmt.Errorf("list buckets: %w", err))
				return
			}
			o := object{key: found.Key, size: found.Size, written: written, listing: listing}
			for k, size := range found.Sizes {
				written[places[k]] = found.Written[k]
				switch {
				case size == found.Size:
					o.in |= 1 << places[k]
				case size >= 0:
					o.odd |= 1 << places[k]
				}
			}
			if !yield(o, nil) {
				return
			}
		}
		if listing == 0 {
			yield(object{}, fmt.Errorf("list buckets: none could be listed: %w", last))
		}
	}
}

var errAway = errors.New("all of them have failed before")

// segment makes a segment of an object.
func (c *Compactor) segment(topic string, n segment.Name, o object) *Segment {
	s := &Segment{Topic: topic, Name: n, Size: o.size, In: o.in, Odd: o.odd}
	for i := range o.in.each {
		at := o.written[i].Add(-c.ahead[i])
		if s.Stored.IsZero() || at.Before(s.Stored) {
			s.Stored = at
		}
		if at.After(s.Settled) {
			s.Settled = at
		}
	}
	return s
}

// days lists a topic, a day at a time.
func (c *Compactor) days(ctx context.Context, topic string) iter.Seq2[*day, error] {
	return func(yield func(*day, error) bool) {
		all := c.everyCopy()
		var d *day
		done := func() bool {
			slices.SortFunc(d.segments, byFirst)
			return yield(d, nil)
		}
		for o, err := range c.objects(ctx, topic+"/", "") {
			if err != nil {
				yield(nil, err)
				return
			}
			date, _, _ := strings.Cut(o.key[len(topic)+1:], "/")
			if d != nil && d.date != date {
				d.complete = d.complete && o.listing == all // a listing that failed since may have lacked some of the day
				if !done() {
					return
				}
				d = nil
			}
			if d == nil {
				d = &day{topic: topic, date: date, complete: true}
			}
			d.complete = d.complete && o.listing == all
			in, name, err := segment.ParseKey(o.key)
			if err != nil || in != topic {
				d.addForeign(o.key)
				continue
			}
			d.segments = append(d.segments, c.segment(topic, name, o))
		}
		if d != nil {
			d.complete = d.complete && c.there() == all
			done()
		}
	}
}

// byFirst orders segments as a merge meets them.
func byFirst(a, b *Segment) int {
	return cmp.Or(a.Name.First.Compare(b.Name.First), a.Name.Last.Compare(b.Name.Last), strings.Compare(a.Name.String(), b.Name.String()))
}

// topics finds the topics there are, with one short listing for each.
func (c *Compactor) topics(ctx context.Context) (topics []string, err error) {
	for after := ""; ; {
		key := ""
		for o, err := range c.objects(ctx, "", after) {
			if err != nil {
				return nil, err
			}
			key = o.key
			break
		}
		if key == "" {
			return topics, nil
		}
		next, _, folder := strings.Cut(key, "/")
		if after = key; !folder {
			continue // an object that belongs to nothing
		}
		if segment.CheckTopic(next) == nil {
			topics = append(topics, next)
		}
		after = next + "0" // behind everything in it: '0' follows '/'
	}
}
