package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics account for every record by topic: received = acked + returned + dead-lettered + still held, and acked =
// stored + duplicates once all is flushed.
type metrics struct {
	received, acked, stored, duplicates, skewed *prometheus.CounterVec // records
	deadBatches, segments                       *prometheus.CounterVec
	storedText, storedBytes                     *prometheus.CounterVec
	putRetries                                  prometheus.Counter
	heldBytes                                   prometheus.Gauge
	heldBatches                                 prometheus.Gauge
	flushSeconds                                prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	byTopic := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "oklog", Subsystem: "ingest", Name: name, Help: help}, []string{"topic"})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "oklog", Subsystem: "ingest", Name: name, Help: help})
	}
	m := &metrics{
		received:    byTopic("records_received_total", "Records in batches that the stream delivered, repetitions included."),
		acked:       byTopic("records_acked_total", "Records in batches that were acked, after they were durable."),
		stored:      byTopic("records_stored_total", "Records in segments that are durable."),
		duplicates:  byTopic("records_duplicate_total", "Records delivered more than once and stored once within one flush."),
		skewed:      byTopic("records_skewed_total", "Records whose time lies in the future: a clock is wrong. They are stored."),
		deadBatches: byTopic("batches_dead_lettered_total", "Batches that could not be decoded and went to the dead letters."),
		segments:    byTopic("segments_stored_total", "Segments that are durable."),
		storedText:  byTopic("text_bytes_stored_total", "Bytes of text in segments that are durable, before compression."),
		storedBytes: byTopic("segment_bytes_stored_total", "Bytes of segments that are durable, one copy counted."),
		putRetries: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "oklog", Subsystem: "ingest", Name: "put_retries_total",
			Help: "Attempts to store a segment that failed and were repeated."}),
		heldBytes:   gauge("held_bytes", "Bytes of batches delivered and not yet durable."),
		heldBatches: gauge("held_batches", "Batches delivered and not yet durable."),
		flushSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "oklog", Subsystem: "ingest", Name: "flush_seconds",
			Help: "Time from the start of a flush until it was durable and acked.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 14)}),
	}
	for _, c := range []prometheus.Collector{m.received, m.acked, m.stored, m.duplicates, m.skewed, m.deadBatches, m.segments, m.storedText,
		m.storedBytes, m.putRetries, m.heldBytes, m.heldBatches, m.flushSeconds} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
