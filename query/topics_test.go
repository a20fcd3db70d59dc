package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
)

// named is a HotTopics of some names.
type named struct {
	topics []string
	err    error
}

func (n named) Topics(context.Context) ([]string, error) { return n.topics, n.err }

func collect(t *testing.T, all iter.Seq2[TopicInfo, error]) (topics []TopicInfo, err error) {
	t.Helper()
	for info, e := range all {
		if err != nil {
			t.Error("something comes after an error")
		}
		if e != nil {
			err = e
			continue
		}
		topics = append(topics, info)
	}
	return topics, err
}

// put stores an object that looks like a segment of a topic's day.
func put(t *testing.T, b objstore.Bucket, topic string, day time.Time) {
	t.Helper()
	id := segment.MakeID(uint64(day.UnixMilli()), 1, 1)
	replace(t, b, segment.Name{First: id, Last: id, Records: 1, RawBytes: 1}.Key(topic), []byte("x"))
}

// Topics come each once with the first and the last day that a look at all keys finds, whatever else is there.
func TestTopicsOracle(t *testing.T) {
	late := []time.Time{lateDay, time.UnixMilli(segment.MaxTime).UTC(), time.Date(10500, 2, 3, 4, 0, 0, 0, time.UTC)}
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 51))
		b := objstore.NewMemory("test", time.Now)
		names := []string{"web", "web-2", "web.x", "web0", "a", "z_z", "0", "web2", "nats"}
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		infos := map[string]*TopicInfo{}
		for _, name := range names[:rnd.IntN(len(names))] {
			var first, last time.Time
			for range 1 + rnd.IntN(20) {
				at := querytest.Day0.AddDate(0, 0, rnd.IntN(40)-35).Add(time.Duration(rnd.IntN(24)) * time.Hour)
				switch rnd.IntN(30) {
				case 0:
					at = time.UnixMilli(rnd.Int64N(1 << 41))
				case 1:
					at = late[rnd.IntN(len(late))]
				}
				put(t, b, name, at)
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			infos[name] = &TopicInfo{Name: name, FirstDay: segment.Day(first), LastDay: segment.Day(last)}
		}
		for _, foreign := range []string{"README", "web-file", "web.y", "_trash/20261122T171049Z/old/x", "Upper/2026-11-22/x", "empty/notes", "web2/zzz/x", "a/2026-11-99/y", "0/0"} {
			if rnd.IntN(3) == 0 {
				replace(t, b, foreign, []byte("x"))
			}
		}
		var hot named
		for _, name := range []string{"web", "fresh", "zz", "Bad name", "fresh", "empty"} {
			if rnd.IntN(3) == 0 {
				hot.topics = append(hot.topics, name)
				if segment.CheckTopic(name) == nil {
					if infos[name] == nil {
						infos[name] = &TopicInfo{Name: name}
					}
					infos[name].Hot = true
				}
			}
		}
		var want []TopicInfo
		for _, info := range infos {
			want = append(want, *info)
		}
		slices.SortFunc(want, func(a, b TopicInfo) int { return strings.Compare(a.Name+"/", b.Name+"/") })
		have, err := collect(t, Topics(t.Context(), b, querytest.Day0, hot))
		if diff := cmp.Diff(want, have); err != nil || diff != "" {
			t.Fatalf("seed %d: %v %s", seed, err, diff)
		}
	}
}

// A topic that is in use takes a few short listings, and one that is not some more.
func TestTopicsTakeFewListings(t *testing.T) {
	f := func(most int64, first, last int) {
		t.Helper()
		mem := objstore.NewMemory("test", time.Now)
		for d := first; d <= last; d++ {
			put(t, mem, "web", querytest.Day0.AddDate(0, 0, d))
		}
		var listings, keys atomic.Int64
		b := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			listings.Add(1)
			return func(yield func(objstore.Info, error) bool) {
				for info, err := range mem.List(ctx, prefix, after) {
					keys.Add(1)
					if !yield(info, err) {
						return
					}
				}
			}
		}}
		have, err := collect(t, Topics(t.Context(), b, querytest.Day0.Add(5*time.Hour)))
		if err != nil || len(have) != 1 || have[0].LastDay != segment.Day(querytest.Day0.AddDate(0, 0, last)) || listings.Load() > most || keys.Load() > most {
			t.Errorf("days %d to %d: %v, %v: %d listings of %d keys, want at most %d", first, last, have, err, listings.Load(), keys.Load(), most)
		}
	}
	f(5, -400, 0)
	f(5, -400, -1)
	f(7, -400, 1)
	f(5, 0, 0)
	f(15, -800, -100)
	f(15, -1, 30)
}

// What keeps topics from being told is told, with what could be.
func TestTopicsFail(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	for i := range 40 {
		put(t, mem, fmt.Sprintf("t%02d", i), querytest.Day0)
	}
	away := errors.New("away")
	if have, err := collect(t, Topics(t.Context(), mem, querytest.Day0, named{err: away})); !errors.Is(err, away) || !errors.Is(err, ErrIncomplete) || len(have) != 40 {
		t.Errorf("%v, %v", have, err)
	}
	broken := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
		if prefix == "t20/" {
			return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, away) }
		}
		return mem.List(ctx, prefix, after)
	}}
	if have, err := collect(t, Topics(t.Context(), broken, querytest.Day0)); !errors.Is(err, away) || len(have) != topicsAtOnce {
		t.Errorf("%v, %v", have, err)
	}
	lacking := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
		return func(yield func(objstore.Info, error) bool) {
			for info, err := range mem.List(ctx, prefix, after) {
				if !yield(info, err) {
					return
				}
			}
			yield(objstore.Info{}, objstore.ErrIncomplete)
		}
	}}
	have, err := collect(t, Topics(t.Context(), lacking, querytest.Day0, named{topics: []string{"zz"}}))
	if !errors.Is(err, objstore.ErrIncomplete) || len(have) != 41 || have[39].LastDay == "" || !have[40].Hot {
		t.Errorf("%d topics, %v", len(have), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if have, err := collect(t, Topics(ctx, mem, querytest.Day0)); !errors.Is(err, context.Canceled) || len(have) > 0 {
		t.Errorf("%v, %v", have, err)
	}
	n := 0
	for range Topics(t.Context(), mem, querytest.Day0) {
		if n++; n == 3 {
			break
		}
	}
}
