package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers c with reg, or returns the collector of the same description that is
// registered already: several buckets share their metrics, told apart by a label. A nil
// reg registers nothing.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if err == nil {
		return c, nil
	}
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if old, ok := there.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, fmt.Errorf("register metric: %w", err)
}

// The operations that metrics tell apart.
const (
	opPut = iota
	opCreate
	opGet
	opStat
	opList
	opDelete
	opCount
)

func opName(op int) string {
	return [opCount]string{"put", "create", "get", "stat", "list", "delete"}[op]
}

type instrumented struct {
	next     Bucket
	name     string
	requests [opCount]prometheus.Counter
	seconds  [opCount]prometheus.Observer
	read     prometheus.Counter
	written  prometheus.Counter
	errors   *prometheus.CounterVec
}

var _ Bucket = (*instrumented)(nil)

// Instrument returns b with metrics in reg, under the label bucket=name; name must hold no
// secrets. Any number of buckets may share reg.
//
//	oklog_bucket_requests_total{bucket,op}           calls
//	oklog_bucket_errors_total{bucket,op,reason}      calls that failed: not_found, exists,
//	                                                 short (a read past the end), canceled,
//	                                                 denied, no_bucket, bad_key or other
//	oklog_bucket_bytes_total{bucket,direction}       bytes of objects, read or written
//	oklog_bucket_duration_seconds{bucket,op}         time of a call, with its retries;
//	                                                 of a listing, without its consumer
func Instrument(b Bucket, name string, reg prometheus.Registerer) (Bucket, error) {
	requests, err := Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oklog_bucket_requests_total", Help: "Calls on a bucket.",
	}, []string{"bucket", "op"}))
	if err != nil {
		return nil, err
	}
	failures, err := Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oklog_bucket_errors_total", Help: "Calls on a bucket that failed, by reason.",
	}, []string{"bucket", "op", "reason"}))
	if err != nil {
		return nil, err
	}
	volume, err := Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "oklog_bucket_bytes_total", Help: "Bytes of objects read from and written to a bucket.",
	}, []string{"bucket", "direction"}))
	if err != nil {
		return nil, err
	}
	seconds, err := Register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "oklog_bucket_duration_seconds",
		Help:    "Time of a call on a bucket, with its retries.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100},
	}, []string{"bucket", "op"}))
	if err != nil {
		return nil, err
	}
	in := &instrumented{
		next: b, name: name, errors: failures,
		read:    volume.WithLabelValues(name, "read"),
		written: volume.WithLabelValues(name, "written"),
	}
	for op := range opCount {
		in.requests[op] = requests.WithLabelValues(name, opName(op))
		in.seconds[op] = seconds.WithLabelValues(name, opName(op))
	}
	return in, nil
}

// Unwrap returns the bucket without its metrics.
func (in *instrumented) Unwrap() Bucket { return in.next }

func (in *instrumented) done(op int, start time.Time, err error) {
	in.seconds[op].Observe(time.Since(start).Seconds())
	if err != nil {
		in.errors.WithLabelValues(in.name, opName(op), Reason(err)).Inc()
	}
}

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

func (in *instrumented) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	in.requests[opPut].Inc()
	start := time.Now()
	err := in.next.Put(ctx, key, body, size)
	in.done(opPut, start, err)
	if err == nil {
		in.written.Add(float64(size))
	}
	return err
}

func (in *instrumented) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	in.requests[opCreate].Inc()
	start := time.Now()
	err := in.next.Create(ctx, key, body, size)
	in.done(opCreate, start, err)
	if err == nil {
		in.written.Add(float64(size))
	}
	return err
}

func (in *instrumented) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	in.requests[opGet].Inc()
	start := time.Now()
	n, err := in.next.Get(ctx, key, off, p)
	in.done(opGet, start, err)
	in.read.Add(float64(n))
	return n, err
}

func (in *instrumented) Stat(ctx context.Context, key string) (Info, error) {
	in.requests[opStat].Inc()
	start := time.Now()
	info, err := in.next.Stat(ctx, key)
	in.done(opStat, start, err)
	return info, err
}

func (in *instrumented) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		in.requests[opList].Inc()
		var failed error
		var consumer time.Duration
		start := time.Now()
		for info, err := range in.next.List(ctx, prefix, after) {
			if err != nil {
				failed = err
			}
			handed := time.Now()
			more := yield(info, err)
			consumer += time.Since(handed)
			if !more {
				break
			}
		}
		in.done(opList, start.Add(consumer), failed)
	}
}

func (in *instrumented) Delete(ctx context.Context, key string) error {
	in.requests[opDelete].Inc()
	start := time.Now()
	err := in.next.Delete(ctx, key)
	in.done(opDelete, start, err)
	return err
}
