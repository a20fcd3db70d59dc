package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	consumerName = "ingest"

	duplicates = 2 * time.Minute

	// Far above JetStream's default of 1000: every batch that waits in an ingester for
	// its flush counts, and at the limit nobody gets another one.
	maxAckPending    = 100_000
	minMaxAckPending = 10_000

	deadMaxBytes = 1 << 30
	deadMaxAge   = 30 * 24 * time.Hour

	// leastBytes is how far a default size is halved in search of one that the server has room for.
	leastBytes = 16 << 20
)

// Ensure makes the stream, its consumer and the stream of dead letters where they are
// absent, and checks them where they are present. Sizes, replicas and the like of an existing stream are the operator's:
// they stay as they are. A setting that breaks an invariant is ErrConfig, and the error
// names the field, what it is, what it must be and what mends it. Any number of processes may call it at once.
func (s *Stream) Ensure(ctx context.Context) error {
	if err := s.checkServer(ctx); err != nil {
		return err
	}
	if err := s.ensureStream(ctx, s.streamConfig(), s.cfg.MaxBytes == 0, s.checkStream); err != nil {
		return err
	}
	if err := s.ensureStream(ctx, s.deadConfig(), true, s.checkDead); err != nil {
		return err
	}
	_, err := s.ensureConsumer(ctx)
	return err
}

func (s *Stream) streamConfig() jetstream.StreamConfig {
	size := s.cfg.MaxBytes
	if size == 0 {
		size = DefaultMaxBytes
	}
	return jetstream.StreamConfig{
		Name:        s.cfg.Stream,
		Description: "batches of log records that are not in a segment yet",
		Subjects:    []string{s.prefix + ">"},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		MaxMsgs:     -1,
		MaxBytes:    size,
		Replicas:    s.cfg.Replicas,
		Duplicates:  duplicates,
		AllowDirect: true,
	}
}

func (s *Stream) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.cfg.Stream + "_DEAD",
		Description: "batches that no ingester could decode, with the reason in their headers",
		Subjects:    []string{s.deadPrefix() + ">"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		MaxMsgs:     -1,
		MaxBytes:    deadMaxBytes,
		MaxAge:      deadMaxAge,
		Replicas:    s.cfg.Replicas,
		Duplicates:  duplicates,
		AllowDirect: true,
	}
}

func (s *Stream) deadPrefix() string { return strings.TrimSuffix(s.prefix, ".") + "-dead." }

func (s *Stream) consumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       consumerName,
		Description:   "shared by all ingesters",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxAckPending,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
}

// ensureStream makes one stream, or checks it. With shrink, its size is halved until the server has room.
func (s *Stream) ensureStream(ctx context.Context, want jetstream.StreamConfig, shrink bool,
	check func(jetstream.StreamConfig) []fault) error {
	for {
		str, err := s.js.Stream(ctx, want.Name)
		if err == nil {
			have := str.CachedInfo().Config
			if faults := check(have); len(faults) > 0 {
				return configError("stream "+want.Name, faults)
			}
			return nil
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return s.requestError("look up stream "+want.Name, err)
		}
		_, err = s.js.CreateStream(ctx, want)
		switch code := apiCode(err); {
		case err == nil:
			s.log.Info("made the stream", "stream", want.Name, "max_bytes", want.MaxBytes, "replicas", want.Replicas)
			return nil
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			// Another process was faster: check what it made.
		case (code == codeStorageExceeded || code == codeInsufficient) && shrink && want.MaxBytes/2 >= leastBytes:
			want.MaxBytes /= 2
		default:
			hint := ""
			switch code {
			case codeStorageExceeded, codeInsufficient, codeAccountResources:
				hint = fmt.Sprintf(": the server has no room for %d bytes: give it more (max_file_store), or ask for less (--nats-max-bytes)", want.MaxBytes)
			case codeReplicasNoCluster:
				hint = fmt.Sprintf(": %d replicas need a cluster of as many servers (--nats-replicas 1)", want.Replicas)
			case codeSubjectOverlap:
				hint = fmt.Sprintf(": another stream takes the subjects %s: see `nats stream ls`, or choose another name with --nats-stream", want.Subjects[0])
			}
			return fmt.Errorf("%w%s", s.requestError("make stream "+want.Name, err), hint)
		}
	}
}

// ensureConsumer makes the consumer, or checks it and raises its AckWait.
func (s *Stream) ensureConsumer(ctx context.Context) (jetstream.Consumer, error) {
	want := s.consumerConfig()
	for {
		cons, err := s.js.Consumer(ctx, s.cfg.Stream, want.Durable)
		if err == nil {
			return s.checkedConsumer(ctx, cons, want)
		}
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, s.requestError("look up consumer "+want.Durable, err)
		}
		cons, err = s.js.CreateConsumer(ctx, s.cfg.Stream, want)
		switch {
		case err == nil:
			s.log.Info("made the consumer", "stream", s.cfg.Stream, "consumer", want.Durable)
			s.ackWait.Store(int64(want.AckWait))
			return cons, nil
		case errors.Is(err, jetstream.ErrConsumerExists):
			// Another process was faster, and asked for other settings.
		default:
			return nil, s.requestError("make consumer "+want.Durable, err)
		}
	}
}

func (s *Stream) checkedConsumer(ctx context.Context, cons jetstream.Consumer, want jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	have := cons.CachedInfo().Config
	if faults := s.checkConsumer(have); len(faults) > 0 {
		return nil, configError("consumer "+want.Durable+" of stream "+s.cfg.Stream, faults)
	}
	if have.AckWait < want.AckWait {
		// Never lowered, so that processes with other settings do not take turns.
		was := have.AckWait
		have.AckWait = want.AckWait
		var err error
		if cons, err = s.js.UpdateConsumer(ctx, s.cfg.Stream, have); err != nil {
			return nil, fmt.Errorf("%w: AckWait is %s, must be at least %s: `nats consumer edit %s %s --wait=%s`",
				s.requestError("raise AckWait of consumer "+want.Durable, err), was, want.AckWait, s.cfg.Stream, want.Durable, want.AckWait)
		}
		s.log.Info("raised the consumer's ack wait", "from", was, "to", want.AckWait)
	}
	s.ackWait.Store(int64(have.AckWait))
	return cons, nil
}

// AckWait is after how much silence about a delivery the server repeats it, as it
// is in effect: perhaps longer than Config.AckWait.
func (s *Stream) AckWait() time.Duration {
	if d := s.ackWait.Load(); d > 0 {
		return time.Duration(d)
	}
	return s.cfg.AckWait
}

// fault is a setting that breaks an invariant.
type fault struct {
	field, have, want, mend string
}

func configError(what string, faults []fault) error {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = fmt.Sprintf("%s is %s, must be %s (%s)", f.field, f.have, f.want, f.mend)
	}
	return fmt.Errorf("%w: %s: %s", ErrConfig, what, strings.Join(texts, "; "))
}

// faultList collects what differs.
type faultList []fault

func (l *faultList) check(ok bool, field string, have, want any, mend string) {
	if !ok {
		*l = append(*l, fault{field, fmt.Sprint(have), fmt.Sprint(want), mend})
	}
}

// checkStream finds what would lose, hide or reject batches.
func (s *Stream) checkStream(have jetstream.StreamConfig) []fault {
	want := s.streamConfig()
	edit := "`nats stream edit " + want.Name + " "
	remake := "cannot be edited: let the ingesters drain it, `nats stream rm " + want.Name +
		"`, start again; or choose another with --nats-stream"
	var l faultList
	l.check(have.Retention == want.Retention, "Retention", have.Retention, want.Retention, remake)
	l.check(have.Storage == want.Storage, "Storage", have.Storage, want.Storage, remake)
	l.check(have.Mirror == nil, "Mirror", "set", "unset", remake)
	l.check(!have.Sealed, "Sealed", have.Sealed, false, remake)
	l.check(have.PersistMode == jetstream.DefaultPersistMode, "PersistMode", have.PersistMode, jetstream.DefaultPersistMode, remake)
	l.check(slices.Equal(have.Subjects, want.Subjects), "Subjects", have.Subjects, want.Subjects, edit+"--subjects='"+want.Subjects[0]+"'`")
	l.check(have.Discard == want.Discard, "Discard", have.Discard, want.Discard, edit+"--discard=new`")
	l.check(have.AllowDirect, "AllowDirect", have.AllowDirect, true, edit+"--allow-direct`")
	l.check(!have.NoAck, "NoAck", have.NoAck, false, edit+"--ack`")
	l.check(have.MaxAge == 0, "MaxAge", have.MaxAge, "0 (unlimited)", edit+"--max-age=0`")
	l.check(have.MaxMsgsPerSubject <= 0, "MaxMsgsPerSubject", have.MaxMsgsPerSubject, "-1 (unlimited)", edit+"--max-msgs-per-subject=-1`")
	l.check(have.MaxMsgSize <= 0, "MaxMsgSize", have.MaxMsgSize, "-1 (unlimited)", edit+"--max-msg-size=-1`")
	l.check(have.SubjectTransform == nil, "SubjectTransform", "set", "unset", "remove it with `nats stream edit "+want.Name+"`")
	return l
}

// checkDead finds what would keep dead letters from being stored. Their limits are the operator's.
func (s *Stream) checkDead(have jetstream.StreamConfig) []fault {
	want := s.deadConfig()
	edit := "`nats stream edit " + want.Name + " "
	var l faultList
	l.check(slices.Equal(have.Subjects, want.Subjects), "Subjects", have.Subjects, want.Subjects, edit+"--subjects='"+want.Subjects[0]+"'`")
	l.check(have.Discard == want.Discard, "Discard", have.Discard, want.Discard, edit+"--discard=old`")
	l.check(!have.NoAck, "NoAck", have.NoAck, false, edit+"--ack`")
	return l
}

// checkConsumer finds what would skip batches, drop them after some tries, or stall. Removing
// the consumer loses nothing, since what is not acked stays in the stream.
func (s *Stream) checkConsumer(have jetstream.ConsumerConfig) []fault {
	want := s.consumerConfig()
	mend := "`nats consumer rm " + s.cfg.Stream + " " + want.Durable + "` and start again: nothing is lost, what is not acked stays in the stream"
	var l faultList
	l.check(have.AckPolicy == want.AckPolicy, "AckPolicy", have.AckPolicy, want.AckPolicy, mend)
	l.check(have.DeliverPolicy == want.DeliverPolicy, "DeliverPolicy", have.DeliverPolicy, want.DeliverPolicy, mend)
	l.check(have.DeliverSubject == "", "DeliverSubject", have.DeliverSubject, "unset", mend)
	l.check(have.FilterSubject == "" && len(have.FilterSubjects) == 0, "FilterSubject",
		strings.Join(append(have.FilterSubjects, have.FilterSubject), " "), "unset", mend)
	l.check(have.MaxDeliver <= 0, "MaxDeliver", have.MaxDeliver, "-1 (unlimited)", mend)
	l.check(len(have.BackOff) == 0, "BackOff", have.BackOff, "unset", mend)
	l.check(have.MaxAckPending >= minMaxAckPending || have.MaxAckPending < 0, "MaxAckPending", have.MaxAckPending,
		fmt.Sprintf("at least %d", minMaxAckPending), mend)
	l.check(!have.HeadersOnly, "HeadersOnly", have.HeadersOnly, false, mend)
	l.check(have.ReplayPolicy == want.ReplayPolicy, "ReplayPolicy", have.ReplayPolicy, want.ReplayPolicy, mend)
	l.check(have.RateLimit == 0, "RateLimit", have.RateLimit, "0 (unlimited)", mend)
	l.check(have.InactiveThreshold == 0, "InactiveThreshold", have.InactiveThreshold, "0 (kept for ever)", mend)
	l.check(have.MaxRequestMaxBytes == 0, "MaxRequestMaxBytes", have.MaxRequestMaxBytes, "0 (unlimited)", mend)
	l.check(have.MaxRequestBatch == 0, "MaxRequestBatch", have.MaxRequestBatch, "0 (unlimited)", mend)
	l.check(have.MaxRequestExpires == 0, "MaxRequestExpires", have.MaxRequestExpires, "0 (unlimited)", mend)
	l.check(have.PriorityPolicy == jetstream.PriorityPolicyNone, "PriorityPolicy", have.PriorityPolicy, jetstream.PriorityPolicyNone, mend)
	return l
}

// Pending is how far the ingesters are behind.
type Pending struct {
	Messages   uint64 // batches in the stream: waiting, or delivered and not acked
	Bytes      uint64 // of Messages, with their headers
	AckPending uint64 // delivered and not acked
	MaxBytes   int64  // the stream's limit; 0 is none
}

// Pending asks the server how much is not in a segment yet. The error is ErrNoStream when there is no stream.
func (s *Stream) Pending(ctx context.Context) (Pending, error) {
	str, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return Pending{}, s.requestError("count what is pending", err)
	}
	info := str.CachedInfo()
	p := Pending{Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: max(info.Config.MaxBytes, 0)}
	cons, err := str.Consumer(ctx, consumerName)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // then nothing has been delivered
	case err != nil:
		return Pending{}, s.requestError("count what is pending", err)
	default:
		p.AckPending = uint64(max(cons.CachedInfo().NumAckPending, 0))
	}
	return p, nil
}
