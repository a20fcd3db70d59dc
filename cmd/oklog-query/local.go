package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/cmd/internal/unflushed"
	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/cache"
	"oklog/query/where"
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
		cfg.Cache, cfg.CacheSpace = l.cache, open.Fingerprint(opts.place.buckets)
	}
	if opts.stream != nil {
		if l.stream, err = stream.Connect(ctx, *opts.stream); err != nil {
			return nil, err
		}
		cfg.Hot, cfg.HotMayFail = hot(l.stream, logger), true
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
	return l.engine.Run(ctx, l.watched(q), emit)
}

func (l *local) watched(q question) query.Query {
	q.query.Idle, q.query.Watch = q.idle, q.watch
	return q.query
}

// Hint implements backend.
func (l *local) Hint(ctx context.Context, q question) string {
	text := hintTopics(ctx, l.bucket, q.query.Topic, q.query.Range, l.hotTopics())
	if l.stream == nil {
		text += " (what is not flushed yet is found with --nats)"
	}
	return text
}

// hotTopics is nil without a stream.
func (l *local) hotTopics() query.HotTopics {
	if l.stream == nil {
		return nil
	}
	return unflushed.Records{Stream: l.stream}
}

// Histogram implements backend.
func (l *local) Histogram(ctx context.Context, q question, steps query.Steps) (*query.HistogramAnswer, error) {
	return query.Histogram(ctx, l.engine, l.watched(q), steps)
}

// Top implements backend.
func (l *local) Top(ctx context.Context, q question, field where.Path, n int) (*query.TopAnswer, error) {
	return query.Top(ctx, l.engine, l.watched(q), field, n)
}

// Sources implements backend.
func (l *local) Sources(ctx context.Context, q question) ([]query.SourceInfo, *query.Answer, error) {
	return l.engine.SourcesOf(ctx, q.query)
}

// Estimate implements backend.
func (l *local) Estimate(ctx context.Context, q question) (query.Estimate, error) {
	return l.engine.Estimate(ctx, q.query)
}

// Topics implements backend.
func (l *local) Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error] {
	var hot []query.HotTopics
	if h := l.hotTopics(); h != nil {
		hot = append(hot, h)
	}
	return query.Topics(ctx, l.bucket, time.Now(), hot...)
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

// hot is the stream as queries see it.
func hot(s *stream.Stream, logger *slog.Logger) unflushed.Records {
	return unflushed.Records{Stream: s, NoStream: func(err error) { logger.Warn("nothing is unflushed", slog.Any("err", err)) }}
}

// hintTime is how long a hint may take.
const hintTime = 2 * time.Second

// hintTopics says where there is something, if nothing is in the range: in a line.
func hintTopics(ctx context.Context, b objstore.Bucket, topic string, span query.Range, hot query.HotTopics) string {
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	one := &oneTopic{b, topic}
	for info, err := range query.Topics(ctx, one, time.Now()) {
		if err != nil || info.FirstDay == "" {
			break
		}
		hint := "from " + info.FirstDay + " to " + info.LastDay
		if info.FirstDay == info.LastDay {
			hint = "of " + info.FirstDay
		}
		if later := dayBehind(ctx, b, topic, span.To); later > info.FirstDay {
			hint += ", the next of them of " + later
		}
		return fmt.Sprintf("topic %s has no segments between --from and --to; there are some %s", topic, hint)
	}
	if hot != nil {
		if names, err := hot.Topics(ctx); err == nil && slices.Contains(names, topic) {
			return fmt.Sprintf("topic %s has nothing between --from and --to, and nothing in the buckets yet", topic)
		}
	}
	topics := topicsOf(ctx, b)
	if len(topics) == 0 {
		return "there are no segments at all in this bucket"
	}
	return fmt.Sprintf("there is no topic %s; topics here: %s", topic, strings.Join(topics, " "))
}

// oneTopic is a bucket of which listings show one topic.
type oneTopic struct {
	objstore.Bucket
	topic string
}

// List implements objstore.Bucket.
func (b *oneTopic) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if own := b.topic + "/"; !strings.HasPrefix(prefix, own) {
		prefix = own
	}
	return b.Bucket.List(ctx, prefix, after)
}

// dayBehind is the day of a topic's first segment of a later day than a bound's; "" if there is none, or it is not known.
func dayBehind(ctx context.Context, b objstore.Bucket, topic string, bound ulid.ULID) string {
	for info, err := range b.List(ctx, topic+"/", topic+"/"+segment.Day(ulid.Time(bound.Time()))+"/~") {
		if _, name, bad := segment.ParseKey(info.Key); err == nil && bad == nil {
			return segment.Day(ulid.Time(name.First.Time()))
		}
		break
	}
	return ""
}

// maxHinted is how many topics are named.
const maxHinted = 20

// topicsOf names topics.
func topicsOf(ctx context.Context, b objstore.Bucket) (topics []string) {
	for name, err := range query.TopicNames(ctx, b) {
		if err != nil || len(topics) == maxHinted {
			break
		}
		topics = append(topics, name)
	}
	return topics
}
