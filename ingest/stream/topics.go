package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// maxTopics bounds how many subjects Topics asks for: each is a hundred bytes or so in memory.
const maxTopics = 100_000

// Topics are the topics of which the stream holds batches that are not acked by an ingester, ascending. A foreign publisher's may break
// segment.CheckTopic. The errors are those of Unflushed.
func (s *Stream) Topics(ctx context.Context) ([]string, error) {
	fail := func(err error) ([]string, error) { return nil, fmt.Errorf("read topics of the stream: %w", err) }
	if !s.nc.IsConnected() {
		return fail(fmt.Errorf("%w: no connection to %s", ErrUnavailable, s.where))
	}
	str, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return fail(s.requestError("look up the stream", err))
	}
	if n := str.CachedInfo().State.NumSubjects; n > maxTopics {
		return fail(fmt.Errorf("%w: stream %s holds batches of %d topics, and %d can be listed: see who publishes them", ErrConfig, s.cfg.Stream, n, maxTopics))
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(s.prefix+">"))
	if err != nil {
		return fail(s.requestError("list subjects", err))
	}
	topics := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		topics = append(topics, strings.TrimPrefix(subject, s.prefix))
	}
	slices.Sort(topics)
	return topics, nil
}
