package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"oklog/objstore/segment"
)

// Headers of a dead letter.
const (
	HeaderReason   = "Oklog-Reason"   // why the batch was given up
	HeaderSubject  = "Oklog-Subject"  // where it was published
	HeaderSequence = "Oklog-Sequence" // its number in the stream
	HeaderStored   = "Oklog-Stored"   // when the stream got it, RFC 3339
	HeaderPart     = "Oklog-Part"     // "2/3": the second of three pieces, of a batch over the server's limit
)

// maxReason bounds a reason, in bytes, so that a dead letter's headers fit into what Publish leaves free.
const maxReason = 512

// Message is one delivery of a batch. It is to be acked, returned with Nak, or given to DeadLetter; until then the
// server repeats the delivery, perhaps to another ingester, after each AckWait without InProgress.
type Message struct {
	Topic     string // as it was published; a foreign publisher's may break segment.CheckTopic
	Body      []byte // belongs to the receiver
	Sequence  uint64 // in the stream
	Delivered int    // times, this one included
	Stored    time.Time

	msg jetstream.Msg
}

func (s *Stream) newMessage(m jetstream.Msg) (*Message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read a delivery on %s: %w", m.Subject(), err)
	}
	return &Message{
		Topic:     strings.TrimPrefix(m.Subject(), s.prefix),
		Body:      m.Data(),
		Sequence:  meta.Sequence.Stream,
		Delivered: int(min(meta.NumDelivered, 1<<30)),
		Stored:    meta.Timestamp,
		msg:       m,
	}, nil
}

// Ack tells the server that the batch is durable, which removes it from the stream. It does not wait for the
// server: when the ack gets lost, the batch is delivered again. The error is ErrClosed when it can no longer be
// sent. Acking twice is not an error.
func (m *Message) Ack() error { return m.tell("ack", m.msg.Ack) }

// InProgress asks the server for another AckWait.
func (m *Message) InProgress() error { return m.tell("extend", m.msg.InProgress) }

// Nak returns the batch, to be delivered again after the delay, to anyone.
func (m *Message) Nak(delay time.Duration) error {
	if delay <= 0 {
		return m.tell("return", m.msg.Nak)
	}
	return m.tell("return", func() error { return m.msg.NakWithDelay(delay) })
}

func (m *Message) tell(verb string, send func() error) error {
	err := send()
	if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		return nil
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return fmt.Errorf("%s batch %d of %.*s: %w", verb, m.Sequence, segment.MaxTopic, m.Topic, err)
}

// DeadLetter moves a batch that cannot be used to the stream of dead letters, with the reason, and
// removes it from its own once it is stored there. When it fails, the batch stays where it
// is and is delivered again. A batch over MaxBatch is stored in pieces. A topic too long to be one is told by HeaderSubject alone, as far as
// that goes: its subject might be more than the server takes, which would end the connection.
func (s *Stream) DeadLetter(ctx context.Context, m *Message, reason string) error {
	limit := s.MaxBatch()
	if limit == 0 {
		return fmt.Errorf("dead-letter batch %d of %.*s: %w: the server takes no messages", m.Sequence, segment.MaxTopic, m.Topic, ErrTooLarge)
	}
	subject := s.deadPrefix() + m.Topic
	if len(m.Topic) > segment.MaxTopic {
		subject = s.deadPrefix() + "LONG" // no topic is called so
	}
	parts := max((len(m.Body)+limit-1)/limit, 1)
	for i := range parts {
		body := m.Body[i*limit : min((i+1)*limit, len(m.Body))]
		// The ID makes a repetition after a lost ack invisible. The time tells it from one of a stream that was made anew.
		id := fmt.Sprintf("%s-%d-%d-%d", s.cfg.Stream, m.Sequence, m.Stored.UnixNano(), i)
		h := nats.Header{
			jetstream.MsgIDHeader: []string{id},
			HeaderReason:          []string{headerText(reason)},
			HeaderSubject:         []string{headerText(m.msg.Subject())},
			HeaderSequence:        []string{strconv.FormatUint(m.Sequence, 10)},
			HeaderStored:          []string{m.Stored.UTC().Format(time.RFC3339Nano)},
		}
		if parts > 1 {
			h[HeaderPart] = []string{fmt.Sprintf("%d/%d", i+1, parts)}
		}
		_, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: h, Data: body})
		if err != nil {
			return fmt.Errorf("dead-letter batch %d of %.*s: %w", m.Sequence, segment.MaxTopic, m.Topic, s.publishError(subject, err))
		}
	}
	return m.tell("terminate", func() error { return m.msg.TermWithReason("dead letter") })
}

// headerText makes a text fit for a header: printable, one line, at most maxReason bytes.
func headerText(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
