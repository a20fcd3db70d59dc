package metrics

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore"
)

// Meter counts what buckets do in metrics of a registry.
type Meter struct {
	requests, errors, bytes     *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec
	retries, missing, fallbacks *prometheus.CounterVec
	detached                    *prometheus.GaugeVec // of one, which is there once it is used
}

var _ objstore.Meter = (*Meter)(nil)

// New makes a meter whose metrics are in reg. Several share those that are there already; a nil reg registers nothing.
func New(reg prometheus.Registerer) (*Meter, error) {
	m := &Meter{
		requests: counter("oklog_bucket_requests_total", "Calls on a bucket.", "bucket", "op"),
		errors:   counter("oklog_bucket_errors_total", "Calls on a bucket that failed, by reason.", "bucket", "op", "reason"),
		bytes:    counter("oklog_bucket_bytes_total", "Bytes of objects read from and written to a bucket.", "bucket", "direction"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "oklog_bucket_duration_seconds",
			Help:    "Time of a call on a bucket, with its retries.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100},
		}, []string{"bucket", "op"}),
		retries: counter("oklog_bucket_retries_total",
			"Attempts at S3 requests that failed and were made again, by reason.", "bucket", "reason"),
		missing: counter("oklog_bucket_missing_copies_total",
			"Objects that enough buckets have but this one lacks, since the copy failed; repair copies them.", "bucket"),
		fallbacks: counter("oklog_bucket_fallbacks_total",
			"Reads and listings that this bucket failed, or was left out of, and others had to answer.", "bucket", "op", "reason"),
		detached: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "oklog_bucket_detached_bytes",
			Help: "Bytes of objects whose copies go on after their write has returned.",
		}, nil),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []**prometheus.CounterVec{&m.requests, &m.errors, &m.bytes, &m.retries, &m.missing, &m.fallbacks} {
		if err := register(reg, c); err != nil {
			return nil, err
		}
	}
	if err := register(reg, &m.seconds); err != nil {
		return nil, err
	}
	if err := register(reg, &m.detached); err != nil {
		return nil, err
	}
	return m, nil
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// register registers *c, or puts the collector of the same description in its place that is registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	err := reg.Register(*c)
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := there.ExistingCollector.(C); ok {
			*c = old
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	return nil
}

// Retry implements objstore.Meter.
func (m *Meter) Retry(bucket, reason string) { m.retries.WithLabelValues(bucket, reason).Inc() }

// Missing implements objstore.Meter.
func (m *Meter) Missing(bucket string, n int) { m.missing.WithLabelValues(bucket).Add(float64(n)) }

// Fallback implements objstore.Meter.
func (m *Meter) Fallback(bucket, op, reason string) {
	m.fallbacks.WithLabelValues(bucket, op, reason).Inc()
}

// Detached implements objstore.Meter.
func (m *Meter) Detached(n int64) { m.detached.WithLabelValues().Add(float64(n)) }
