package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	queries                   *prometheus.CounterVec   // by endpoint and outcome
	seconds                   *prometheus.HistogramVec // by endpoint
	wait                      prometheus.Histogram
	scanned, fetched, records prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, q *queue, tails *tails) (*metrics, error) {
	const namespace, subsystem = "oklog", "api"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, value)
	}
	seconds := []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100, 300, 1000}
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "requests_total",
			Help: "Requests, by how they ended: ok, partial, refused, failed, or gone where the client was."}, []string{"endpoint", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "request_seconds",
			Help: "How long requests took, with the time they waited.", Buckets: seconds}, []string{"endpoint"}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "wait_seconds",
			Help: "How long queries waited for others.", Buckets: seconds}),
		scanned: counter("scanned_bytes_total", "Bytes of text that queries went through."),
		fetched: counter("fetched_bytes_total", "Bytes that queries read from buckets."),
		records: counter("records_total", "Records that queries found."),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.queries, m.seconds, m.wait, m.scanned, m.fetched, m.records,
		gauge("running", "Queries that run.", func() float64 { n, _, _ := q.counts(); return float64(n) }),
		gauge("waiting", "Queries that wait for others.", func() float64 { _, n, _ := q.counts(); return float64(n) }),
		gauge("aside", "Queries whose readers take nothing.", func() float64 { _, _, n := q.counts(); return float64(n) }),
		gauge("tails", "Tails that are followed.", func() float64 { return float64(tails.count()) }),
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) asked(endpoint string, x *exchange, took time.Duration) {
	m.queries.WithLabelValues(endpoint, x.told.outcome).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(took.Seconds())
	if ans := x.told.answer; ans != nil {
		m.scanned.Add(float64(ans.Stats.Requests.Decoded))
		m.fetched.Add(float64(ans.Stats.Requests.Fetched))
		m.records.Add(float64(ans.Count))
	}
}
