package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"oklog/objstore/segment"
)

const (
	// One request of Unflushed asks for so many messages and bytes: the bytes are what waits in memory.
	unflushedMessages = 4 << 10
	unflushedBytes    = 8 << 20

	// So many requests in a row may bring nothing at all, not even the answer that there is nothing.
	unflushedTries = 3
	unflushedPause = 100 * time.Millisecond
)

// Unflushed yields the batches of a topic that are not acked by an ingester, oldest first: every one that was stored before the
// call and is still there when its turn comes. Batches that are acked meanwhile may or may not be among them. It is
// read without a consumer and takes nothing away. A body belongs to the receiver. An error is the last pair and means that
// what came before is incomplete: ErrNoStream, ErrUnavailable, ErrConfig, segment.ErrTopic or ctx's.
func (s *Stream) Unflushed(ctx context.Context, topic string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := segment.CheckTopic(topic); err != nil {
			yield(nil, fmt.Errorf("read unflushed batches: %w", err))
			return
		}
		stopped := false
		err := s.unflushed(ctx, s.prefix+topic, func(body []byte) bool {
			stopped = !yield(body, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(nil, fmt.Errorf("read unflushed batches of %s: %w", topic, err))
		}
	}
}

// unflushed calls yield for each message of the subject up to the last of the stream, until it returns false.
func (s *Stream) unflushed(ctx context.Context, subject string, yield func([]byte) bool) error {
	if !s.nc.IsConnected() {
		return fmt.Errorf("%w: no connection to %s", ErrUnavailable, s.where)
	}
	str, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return s.requestError("look up the stream", err)
	}
	info := str.CachedInfo()
	if !info.Config.AllowDirect {
		return configError("stream "+s.cfg.Stream, []fault{{"AllowDirect", "false", "true",
			"`nats stream edit " + s.cfg.Stream + " --allow-direct`"}})
	}
	last := info.State.LastSeq
	failed := 0
	for next := max(info.State.FirstSeq, 1); info.State.Msgs > 0 && next <= last; {
		b := s.getBatch(ctx, subject, next, last, yield)
		if b.stopped {
			return nil
		}
		if b.next > next {
			next, failed = b.next, 0
			continue
		}
		if errors.Is(b.err, jetstreamext.ErrNoMessages) {
			// Any replica may have said so, also one that lags behind. The leader has the last word.
			next, err = s.getFromLeader(ctx, subject, next, last, yield)
			if err != nil {
				return err
			}
			failed = 0
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if failed++; failed == unflushedTries {
			return s.requestError("get batch", errors.Join(ErrUnavailable, b.err))
		}
		select {
		case <-time.After(unflushedPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// batch is what one request brought.
type batch struct {
	next    uint64 // the sequence to go on from
	stopped bool   // yield returned false, or everything up to the last sequence was seen
	err     error
}

// getBatch reads messages with sequences from next to last in one request. A request that is cut short looks to
// the library like one that is complete, and so does one of which the middle was lost. So only what came in an
// unbroken chain counts, each message naming the one before, and only an explicit "none" is the end.
func (s *Stream) getBatch(ctx context.Context, subject string, next, last uint64, yield func([]byte) bool) batch {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	b := batch{next: next}
	msgs, err := jetstreamext.GetBatch(ctx, s.js, s.cfg.Stream, unflushedMessages,
		jetstreamext.GetBatchSeq(next), jetstreamext.GetBatchSubject(subject), jetstreamext.GetBatchMaxBytes(unflushedBytes))
	if err != nil {
		b.err = err
		return b
	}
	var before uint64
	for m, err := range msgs {
		if err != nil {
			b.err = err
			return b
		}
		if m.Sequence < b.next || m.Subject != subject {
			b.err = fmt.Errorf("the server answered with message %d of %s", m.Sequence, m.Subject)
			return b
		}
		if m.Header.Get(jetstream.LastSequenceHeader) != strconv.FormatUint(before, 10) {
			b.err = fmt.Errorf("the messages between %d and %d got lost on the way", before, m.Sequence)
			return b
		}
		if m.Sequence > last || !yield(m.Data) {
			b.stopped = true
			return b
		}
		before = m.Sequence
		b.next = m.Sequence + 1
	}
	return b
}

// getFromLeader reads at most one message, and returns the sequence to go on from: beyond last when there is none.
func (s *Stream) getFromLeader(ctx context.Context, subject string, next, last uint64, yield func([]byte) bool) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// Made by hand: where AllowDirect is on, the library asks any replica.
	req, err := json.Marshal(leaderGet{Seq: next, NextFor: subject})
	if err != nil {
		return 0, fmt.Errorf("encode request: %w", err)
	}
	answer, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.cfg.Stream, req)
	if err != nil {
		return 0, s.requestError("get message", err)
	}
	var got leaderGot
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return 0, s.requestError("decode message", err)
	}
	switch {
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return last + 1, nil
	case got.Error != nil:
		return 0, s.requestError("get message", got.Error)
	case got.Message == nil || got.Message.Seq < next || got.Message.Subject != subject:
		return 0, s.requestError("get message", fmt.Errorf("%w: the server answered with another one", ErrUnavailable))
	case got.Message.Seq > last || !yield(got.Message.Data):
		return last + 1, nil
	}
	return got.Message.Seq + 1, nil
}

// leaderGet asks for the first message of a subject from a sequence on.
type leaderGet struct {
	Seq     uint64 `json:"seq"`
	NextFor string `json:"next_by_subj"`
}

type leaderGot struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Subject string `json:"subject"`
		Seq     uint64 `json:"seq"`
		Data    []byte `json:"data"`
	} `json:"message"`
}
