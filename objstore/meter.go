package objstore

import (
	"context"
	"errors"
	"io"
)

// Meter counts what buckets do; package metrics has one for Prometheus. Its methods may be called from any number of
// goroutines, and do not wait. Where a Meter may be given, nil counts nothing. Buckets are named without secrets.
type Meter interface {
	// Wrap returns b with its calls counted under name.
	Wrap(b Bucket, name string) Bucket
	// Retry counts an attempt at a request that failed and is made again.
	Retry(bucket, reason string)
	// Missing counts n copies that enough other buckets have and this one lacks; 0 says that some may be lacking one day.
	Missing(bucket string, n int)
	// Fallback counts a read or listing that the bucket failed, or was left out of, and others had to answer.
	Fallback(bucket, op, reason string)
	// Detached adds n, which may be negative, to the bytes of objects whose copies go on after their write has returned.
	Detached(n int64)
}

// noMeter counts nothing.
type noMeter struct{}

var _ Meter = noMeter{}

func (noMeter) Wrap(b Bucket, _ string) Bucket { return b }
func (noMeter) Retry(_, _ string)              {}
func (noMeter) Missing(string, int)            {}
func (noMeter) Fallback(_, _, _ string)        {}
func (noMeter) Detached(int64)                 {}

// Reason sorts an error of a bucket into one of a few words, for the label of a metric.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrExists):
		return "exists"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "short"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	case errors.Is(err, ErrDenied):
		return "denied"
	case errors.Is(err, ErrNoBucket):
		return "no_bucket"
	case errors.Is(err, ErrBadKey):
		return "bad_key"
	default:
		return "other"
	}
}
