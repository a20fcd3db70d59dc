package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors by identity (errors.Is).
var (
	// ErrConnect says that no server could be used: refused, unknown host, credentials, TLS, no JetStream.
	ErrConnect = errors.New("connect to NATS")
	// ErrOldServer says that the server's version is one that may lose writes.
	ErrOldServer = errors.New("the NATS server is too old")
	// ErrConfig says that the stream or its consumer exists with settings that break an invariant.
	ErrConfig = errors.New("the stream is set up otherwise")
	// ErrNoStream says that the stream has not been made yet.
	ErrNoStream = errors.New("the stream does not exist")
	// ErrFull says that the stream has no room: back-pressure. Repeat later with the same ID.
	ErrFull = errors.New("the stream is full")
	// ErrTooLarge says that a batch is over MaxBatch. Repeating does not help.
	ErrTooLarge = errors.New("the batch is too large")
	// ErrUnavailable says that the server is away, or did not answer in time. Whether it stored the
	// batch is unknown. Repeat later with the same ID.
	ErrUnavailable = errors.New("NATS is not available")
	// ErrClosed says that Close or Stop was called.
	ErrClosed = errors.New("closed")
)

// Retryable reports whether the same Publish, with the same ID, may succeed later: ErrFull, ErrUnavailable or ErrNoStream.
func Retryable(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNoStream)
}

// Error codes of JetStream that nats.go has no names for.
const (
	codeAccountResources  jetstream.ErrorCode = 10002 // the account's limits are reached
	codeInsufficient      jetstream.ErrorCode = 10023
	codeStorageExceeded   jetstream.ErrorCode = 10047 // the server's disk limit is reached
	codeSubjectOverlap    jetstream.ErrorCode = 10065
	codeStoreFailed       jetstream.ErrorCode = 10077 // a full stream, or a disk that fails
	codeReplicasNoCluster jetstream.ErrorCode = 10074
)

// apiCode is the error code that JetStream gave, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}

// publishError gives the failure of a publish its identity.
func (s *Stream) publishError(subject string, err error) error {
	code := apiCode(err)
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, nats.ErrConnectionClosed):
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, nats.ErrMaxPayload), code == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		err = fmt.Errorf("%w, or its server is starting: %w: %s", ErrNoStream, err, s.makeHint())
	case code == codeStoreFailed && strings.Contains(err.Error(), "maximum"),
		code == codeAccountResources, code == codeInsufficient, code == codeStorageExceeded:
		err = fmt.Errorf("%w: %w: ingesters are behind or away; raise the limit with --nats-max-bytes or `nats stream edit %s --max-bytes=...`",
			ErrFull, err, s.cfg.Stream)
	default:
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("publish to %s: %w", subject, err)
}

// requestError gives the failure of a request to JetStream's API its identity.
func (s *Stream) requestError(verb string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%s: %w: %s on %s: %s", verb, ErrNoStream, s.cfg.Stream, s.where, s.makeHint())
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%s: %w: %w", verb, ErrClosed, err)
	case apiCode(err) != 0:
		return fmt.Errorf("%s: %w", verb, err)
	case errors.Is(err, ErrClosed), errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%s: %w", verb, err)
	}
	return fmt.Errorf("%s: %w (%s): %w", verb, ErrUnavailable, s.where, err)
}

func (s *Stream) makeHint() string {
	return "start an ingester, which makes it (oklog ingest --nats " + s.where + ")"
}
