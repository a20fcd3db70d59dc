package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// MaxTopics is how many topics Topics and TopicNames yield at most.
const MaxTopics = 100_000

// ErrManyTopics says that there are more than MaxTopics.
var ErrManyTopics = errors.New("too many topics")

// ErrIncomplete is objstore.ErrIncomplete, for those who have nothing to do with buckets.
var ErrIncomplete = objstore.ErrIncomplete

// HotTopics tells which topics have something that is published and may not be in a segment yet.
type HotTopics interface {
	// Topics are their names, in any order.
	Topics(ctx context.Context) ([]string, error)
}

// TopicInfo is a topic.
type TopicInfo struct {
	Name string `json:"name"`
	// FirstDay and LastDay are the days of UTC of its oldest and newest segments, as 2026-11-22; "" if it has none yet.
	FirstDay string `json:"first_day,omitempty"`
	LastDay  string `json:"last_day,omitempty"`
	Hot      bool   `json:"hot,omitempty"` // there are unflushed batches
}

// TopicNames yields the topics that have something in a bucket, in the order of their keys, with one short listing each. An error is the last
// pair.
func TopicNames(ctx context.Context, b objstore.Bucket) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		folders := 0
		for after, more := "", true; more; {
			more = false
			for info, err := range b.List(ctx, "", after) {
				if err != nil {
					yield("", fmt.Errorf("list topics: %w", err))
					return
				}
				folder, _, in := strings.Cut(info.Key, "/")
				if !in {
					continue // it lies beside the topics
				}
				if folders++; folders > MaxTopics {
					yield("", fmt.Errorf("list topics: %w: over %d folders", ErrManyTopics, MaxTopics))
					return
				}
				if segment.CheckTopic(folder) == nil && !yield(folder, nil) {
					return
				}
				after, more = folder+"0", true // behind everything in it: '0' follows '/'
				break
			}
		}
	}
}

// topicsAtOnce is of how many topics the days are looked for at once.
const topicsAtOnce = 16

// Topics yields the topics that have segments in a bucket or are told by hot, in the order of their keys, each once, with its days. That takes
// about four short listings for each that is in use, and some more the longer nothing was written to it. An error is
// the last pair, and means that topics may be lacking: after ErrIncomplete these and days of the others, and all else was told.
func Topics(ctx context.Context, b objstore.Bucket, now time.Time, hot ...HotTopics) iter.Seq2[TopicInfo, error] {
	return func(yield func(TopicInfo, error) bool) {
		var fresh []string
		var lacks error // objstore.ErrIncomplete: what else there is counts
		for _, h := range hot {
			names, err := h.Topics(ctx)
			if err != nil && ctx.Err() != nil {
				yield(TopicInfo{}, err)
				return
			}
			if err != nil {
				lacks = fmt.Errorf("%w: %w", objstore.ErrIncomplete, err)
			}
			for _, name := range names {
				if segment.CheckTopic(name) == nil {
					fresh = append(fresh, name)
				}
			}
		}
		slices.SortFunc(fresh, byKey)
		fresh = slices.Compact(fresh)

		var group []TopicInfo
		// show yields what was gathered.
		show := func() error {
			var all errgroup.Group
			errs := make([]error, len(group))
			for i := range group {
				all.Go(func() error {
					group[i].FirstDay, group[i].LastDay, errs[i] = days(ctx, b, group[i].Name, now)
					if errors.Is(errs[i], objstore.ErrIncomplete) {
						return nil
					}
					return errs[i]
				})
			}
			if err := all.Wait(); err != nil {
				return err
			}
			lacks = cmp.Or(append(errs, lacks)...)
			for _, info := range group {
				if (info.FirstDay != "" || info.Hot) && !yield(info, nil) {
					return errStopped
				}
			}
			group = group[:0]
			return nil
		}
		add := func(info TopicInfo) error {
			if group = append(group, info); len(group) < topicsAtOnce {
				return nil
			}
			return show()
		}
		err := func() error {
			for name, err := range TopicNames(ctx, b) {
				if errors.Is(err, objstore.ErrIncomplete) {
					lacks = err
					break
				}
				if err != nil {
					return cmp.Or(show(), err)
				}
				for len(fresh) > 0 && byKey(fresh[0], name) < 0 {
					if err := add(TopicInfo{Name: fresh[0], Hot: true}); err != nil {
						return err
					}
					fresh = fresh[1:]
				}
				info := TopicInfo{Name: name}
				if len(fresh) > 0 && fresh[0] == name {
					info.Hot, fresh = true, fresh[1:]
				}
				if err := add(info); err != nil {
					return err
				}
			}
			for _, name := range fresh {
				if err := add(TopicInfo{Name: name, Hot: true}); err != nil {
					return err
				}
			}
			if err := show(); err != nil {
				return err
			}
			return lacks
		}()
		if err != nil && !errors.Is(err, errStopped) {
			yield(TopicInfo{}, err)
		}
	}
}

var errStopped = errors.New("no more is wanted")

// byKey orders topics as their keys: the slash that ends the name counts.
func byKey(a, b string) int { return strings.Compare(a+"/", b+"/") }

const oneDay = 24 * time.Hour

// lateDay is the first of those that have years of five digits: their keys sort before the others.
var lateDay = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

// isLate tells that a day is one of those.
func isLate(d time.Time) bool { return !d.Before(lateDay) }

// days finds the first and the last day of a topic; "" if it has no segments. With objstore.ErrIncomplete they are what is known.
func days(ctx context.Context, b objstore.Bucket, topic string, now time.Time) (first, last string, err error) {
	var lacks error
	from := func(d time.Time) (time.Time, bool, error) {
		found, ok, err := dayFrom(ctx, b, topic, d)
		if errors.Is(err, objstore.ErrIncomplete) {
			lacks, err = err, nil
		}
		return found, ok, err
	}
	at, ok, err := from(lateDay)
	if err != nil || !ok {
		return "", "", cmp.Or(err, lacks)
	}
	late, end := isLate(at), lateDay
	first = segment.Day(at)
	if late {
		end = time.UnixMilli(segment.MaxTime).UTC().Truncate(oneDay).Add(oneDay)
		usual, ok, err := from(time.UnixMilli(0))
		if err != nil {
			return "", "", err
		}
		if ok {
			first = segment.Day(usual)
		}
	}
	// There is something on the day at, and nothing from end on. Most topics are in use: today and yesterday are asked for first.
	today := now.UTC().Truncate(oneDay)
	known := late // end was asked for, or there is no later day
	for step := oneDay; at.Add(oneDay).Before(end); {
		probe := at.Add(end.Sub(at) / 2).Truncate(oneDay)
		switch {
		case known && end.Equal(today):
			probe = today.Add(-oneDay)
		case known:
		case at.Before(today):
			probe = today
		case at.Add(step).Before(end): // a clock was ahead
			probe = at.Add(step)
			step = min(2*step, 1000*oneDay)
		}
		found, ok, err := from(probe)
		switch {
		case err != nil:
			return "", "", err
		case ok && isLate(found) == late:
			at = found
		default:
			end, known = probe, true
		}
	}
	return first, segment.Day(at), lacks
}

// dayFrom finds the first day from one on of which a topic has segments, in the order of keys.
func dayFrom(ctx context.Context, b objstore.Bucket, topic string, from time.Time) (day time.Time, ok bool, err error) {
	left := 1000 // objects that are none of ours
	for info, err := range b.List(ctx, topic+"/", topic+"/"+segment.Day(from)) {
		if err != nil {
			return day, false, err
		}
		if _, name, err := segment.ParseKey(info.Key); err == nil {
			return ulid.Time(name.First.Time()).UTC().Truncate(oneDay), true, nil
		}
		if left--; left == 0 {
			break
		}
	}
	return day, false, ctx.Err()
}
