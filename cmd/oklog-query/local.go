package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/cache"
)

// local answers with an engine of its own, over buckets and a stream.
type local struct {
	bucket *open.Opened
	cache  *cache.Cache   // nil: none
	stream *stream.Stream // nil: only what is in the buckets
	engine *query.Engine
}

var _ backend = (*local)(nil)

// openLocal connects to what the options name.
func openLocal(ctx context.Context, opts options, logger *slog.Logger) (_ *local, err error) {
	l := &local{}
	defer func() {
		if err != nil {
			l.Close(ctx)
		}
	}()
	if l.bucket, err = openPlace(ctx, opts.place, logger); err != nil {
		return nil, err
	}
	cfg := query.Config{Bucket: l.bucket, Copies: l.bucket.Copies(), MaxHotBytes: opts.maxHot}
	if l.cache = openCache(opts, logger); l.cache != nil {
		cfg.Cache = l.cache
	}
	if opts.stream != nil {
		if l.stream, err = stream.Connect(ctx, *opts.stream); err != nil {
			return nil, err
		}
		cfg.Hot = hot{l.stream, logger}
	}
	if l.engine, err = query.New(cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// Close implements backend. Nothing was written but to the cache, and what is not in that is read again.
func (l *local) Close(ctx context.Context) {
	if l.stream != nil {
		_ = l.stream.Close(ctx)
	}
	if l.cache != nil {
		_ = l.cache.Close()
	}
	if l.bucket != nil {
		_ = l.bucket.Close(ctx)
	}
}

// Search implements backend.
func (l *local) Search(ctx context.Context, q question, emit func(query.Record) error) (*query.Answer, error) {
	q.query.Idle, q.query.Watch = q.idle, q.watch
	return l.engine.Run(ctx, q.query, emit)
}

// Hint implements backend.
func (l *local) Hint(ctx context.Context, q question) string {
	return hintTopics(ctx, l.bucket, q.query.Topic, q.query.Range, l.stream != nil)
}

// openPlace opens buckets to read from.
func openPlace(ctx context.Context, p place, logger *slog.Logger) (*open.Opened, error) {
	return open.Bucket(ctx, p.buckets, open.Config{
		ReadOnly: true, WriteQuorum: p.quorum, Logger: logger,
		// Of several buckets it is good to know which are there, before one is waited for. Of a single one the
		// first request tells, a round trip earlier.
		NoCheck: len(p.buckets) == 1,
	})
}

// openCache makes the cache that the options ask for; nil: none, or one that cannot be used, which is no reason to fail.
func openCache(opts options, logger *slog.Logger) *cache.Cache {
	if opts.request.MaxBytes > 0 {
		opts.cache.Memory = 32 << 20 // tails and filters are read before it is known what the query would read
	}
	if opts.cache.Dir == "" && opts.cache.Memory == 0 {
		return nil
	}
	opts.cache.Logger = logger
	c, err := cache.New(opts.cache)
	if err != nil {
		logger.Warn("the folder of --cache cannot be used; going on without", slog.Any("err", err))
		opts.cache.Dir, opts.cache.Disk = "", 0
		if c, err = cache.New(opts.cache); err != nil {
			return nil
		}
	}
	return c
}

// hot is the stream as a query sees it.
type hot struct {
	s   *stream.Stream
	log *slog.Logger
}

var _ query.Hot = hot{}

// Unflushed implements query.Hot. Where no stream has been made nothing was published.
func (h hot) Unflushed(ctx context.Context, topic string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for body, err := range h.s.Unflushed(ctx, topic) {
			if errors.Is(err, stream.ErrNoStream) {
				h.log.Warn("nothing is unflushed", slog.Any("err", err))
				return
			}
			if !yield(body, err) {
				return
			}
		}
	}
}

// hintTime is how long a hint may take.
const hintTime = 2 * time.Second

// hintTopics says where there is something, if nothing is in the range: in a line.
func hintTopics(ctx context.Context, b objstore.Bucket, topic string, span query.Range, nats bool) string {
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	d := days{b, topic}
	if first, _ := d.after(ctx, ""); first != "" {
		hint := "from " + first + " on"
		if last, ok := d.last(ctx, first); ok {
			hint = "from " + first + " to " + last
		}
		end := segment.Day(ulid.Time(span.To.Time()))
		if later, _ := d.after(ctx, end+"/~"); later != "" && first <= end {
			hint += ", the next of them on " + later
		}
		return fmt.Sprintf("topic %s has no segments between --from and --to; there are some %s", topic, hint)
	}
	unflushed := ""
	if !nats {
		unflushed = " (what is not flushed yet is found with --nats)"
	}
	topics := topicsOf(ctx, b)
	if len(topics) == 0 {
		return "there are no segments at all in this bucket" + unflushed
	}
	return fmt.Sprintf("there is no topic %s%s; topics here: %s", topic, unflushed, strings.Join(topics, " "))
}

// days finds days with objects of a topic, with a short listing for each question.
type days struct {
	b     objstore.Bucket
	topic string
}

// after is the day of the first object behind a place; "" if there is none. It is not ok if that is not known.
func (d days) after(ctx context.Context, place string) (day string, ok bool) {
	start := ""
	if place != "" {
		start = d.topic + "/" + place
	}
	for info, err := range d.b.List(ctx, d.topic+"/", start) {
		if err != nil {
			return "", false
		}
		if parts := strings.Split(info.Key, "/"); len(parts) > 2 {
			return parts[1], true
		}
	}
	return "", ctx.Err() == nil
}

// last is the last day, found by halves from the first one on: some fifteen listings.
func (d days) last(ctx context.Context, first string) (day string, ok bool) {
	start, err := time.Parse(time.DateOnly, first)
	if err != nil {
		return "", false
	}
	at := func(n int) string { return segment.Day(start.AddDate(0, 0, n)) }
	for from, to := 0, 1<<15; ; {
		if from == to {
			return at(from), true
		}
		middle := (from + to) / 2
		next, ok := d.after(ctx, at(middle)+"/~")
		if !ok {
			return "", false
		}
		t, err := time.Parse(time.DateOnly, next)
		if n := int(t.Sub(start) / (24 * time.Hour)); err == nil && n > middle && n <= to {
			from = n
		} else {
			to = middle
		}
	}
}

// topicsOf finds topics with one short listing for each.
func topicsOf(ctx context.Context, b objstore.Bucket) (topics []string) {
	const most = 20
	for after := ""; len(topics) < most; {
		next := ""
		for info, err := range b.List(ctx, "", after) {
			if err != nil {
				return topics
			}
			next, _, _ = strings.Cut(info.Key, "/")
			break
		}
		if next == "" {
			break
		}
		if segment.CheckTopic(next) == nil {
			topics = append(topics, next)
		}
		after = next + "0" // behind everything in it: '0' follows '/'
	}
	return topics
}
