package metrics

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore"
)

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

// instrumented is a bucket whose calls are counted.
type instrumented struct {
	next     objstore.Bucket
	name     string
	requests [opCount]prometheus.Counter
	seconds  [opCount]prometheus.Observer
	read     prometheus.Counter
	written  prometheus.Counter
	errors   *prometheus.CounterVec
}

var _ objstore.Bucket = (*instrumented)(nil)

// Wrap implements objstore.Meter: the name is the label bucket of the metrics.
func (m *Meter) Wrap(b objstore.Bucket, name string) objstore.Bucket {
	in := &instrumented{
		next: b, name: name, errors: m.errors,
		read:    m.bytes.WithLabelValues(name, "read"),
		written: m.bytes.WithLabelValues(name, "written"),
	}
	for op := range opCount {
		in.requests[op] = m.requests.WithLabelValues(name, opName(op))
		in.seconds[op] = m.seconds.WithLabelValues(name, opName(op))
	}
	return in
}

// Unwrap returns the bucket without its metrics.
func (in *instrumented) Unwrap() objstore.Bucket { return in.next }

func (in *instrumented) done(op int, start time.Time, err error) {
	in.seconds[op].Observe(time.Since(start).Seconds())
	if err != nil {
		in.errors.WithLabelValues(in.name, opName(op), objstore.Reason(err)).Inc()
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

func (in *instrumented) Stat(ctx context.Context, key string) (objstore.Info, error) {
	in.requests[opStat].Inc()
	start := time.Now()
	info, err := in.next.Stat(ctx, key)
	in.done(opStat, start, err)
	return info, err
}

func (in *instrumented) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
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
