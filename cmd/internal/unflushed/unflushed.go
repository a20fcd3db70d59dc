// Package unflushed is the stream as queries see it: what is published and not in a segment yet. Where no stream has been made, nothing
// was published.
package unflushed

import (
	"context"
	"errors"
	"iter"

	"oklog/ingest/stream"
	"oklog/query"
)

// Records are those of a stream.
type Records struct {
	Stream *stream.Stream
	// NoStream is told that there is no stream when records are asked for; nil: nobody is.
	NoStream func(error)
	// Unavailable makes an error of one of the stream, stream.ErrUnavailable; nil: it stays as it is.
	Unavailable func(error) error
}

var (
	_ query.Hot       = Records{}
	_ query.HotTopics = Records{}
)

// Unflushed implements query.Hot.
func (r Records) Unflushed(ctx context.Context, topic string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for body, err := range r.Stream.Unflushed(ctx, topic) {
			if errors.Is(err, stream.ErrNoStream) {
				if r.NoStream != nil {
					r.NoStream(err)
				}
				return
			}
			if !yield(body, r.told(err)) {
				return
			}
		}
	}
}

// Topics implements query.HotTopics.
func (r Records) Topics(ctx context.Context) ([]string, error) {
	topics, err := r.Stream.Topics(ctx)
	if errors.Is(err, stream.ErrNoStream) {
		return nil, nil
	}
	return topics, r.told(err)
}

func (r Records) told(err error) error {
	if r.Unavailable != nil && errors.Is(err, stream.ErrUnavailable) {
		return r.Unavailable(err)
	}
	return err
}
