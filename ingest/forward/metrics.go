package forward

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats counts what a Run did.
type Stats struct {
	Records   int64 // read; a piece of a cut record is one
	Bytes     int64 // of their text, with newlines
	Batches   int64 // made
	Published int64 // records handed to the publisher at least once; for Bulk, written into segments
	Acked     int64 // records that are durable
	Dropped   int64 // records given up under DropOldest
	Cut       int64 // records over the limit, each counted once
	Unparsed  int64 // records whose time did not parse
	Skewed    int64 // times outside of 1970 to 9999, clamped, and times that a clock was found far behind its own of before
	Missed    int64 // rotated files whose records, or some of them, may be missing
	Replayed  int64 // records of an earlier run that its journal held
}

// meters counts for Stats and for Prometheus at once.
type meters struct {
	read, bytes, batches, published, acked, dropped, cut, unparsed, skewed, missed, replayed meter
	inFlight                                                                                 prometheus.Gauge
}

type meter struct {
	n atomic.Int64
	c prometheus.Counter
}

func (m *meter) add(n int64) {
	m.n.Add(n)
	m.c.Add(float64(n))
}

// newMeters registers the metrics of a topic. Forwarders that share a registerer share the metrics.
func newMeters(reg prometheus.Registerer, topic string) (*meters, error) {
	m := new(meters)
	for _, c := range []struct {
		m          *meter
		name, help string
	}{
		{&m.read, "records_read_total", "Records read from the inputs."},
		{&m.bytes, "bytes_read_total", "Bytes of text read from the inputs."},
		{&m.batches, "batches_total", "Batches made."},
		{&m.published, "records_published_total", "Records handed to the publisher."},
		{&m.acked, "records_acked_total", "Records acked as durable."},
		{&m.dropped, "records_dropped_total", "Records dropped because the pipeline was full."},
		{&m.cut, "records_cut_total", "Records over the limit that were cut into pieces."},
		{&m.unparsed, "time_unparsed_total", "Records whose time did not parse; they have that of the record before."},
		{&m.skewed, "time_skewed_total", "Times outside of 1970 to 9999, clamped, and steps of the clock far back."},
		{&m.missed, "files_missed_total", "Rotated files that could not be found or read, or that may be unread ones: see the log."},
		{&m.replayed, "records_replayed_total", "Records of an earlier run found in its journal and published again."},
	} {
		vec, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "oklog", Subsystem: "forward", Name: c.name, Help: c.help,
		}, []string{"topic"}))
		if err != nil {
			return nil, err
		}
		c.m.c = vec.WithLabelValues(topic)
	}
	vec, err := register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "oklog", Subsystem: "forward", Name: "batches_in_flight", Help: "Batches published and not acked yet.",
	}, []string{"topic"}))
	if err != nil {
		return nil, err
	}
	m.inFlight = vec.WithLabelValues(topic)
	return m, nil
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if have, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := have.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}

func (m *meters) stats() Stats {
	return Stats{
		Records: m.read.n.Load(), Bytes: m.bytes.n.Load(), Batches: m.batches.n.Load(),
		Published: m.published.n.Load(), Acked: m.acked.n.Load(), Dropped: m.dropped.n.Load(),
		Cut: m.cut.n.Load(), Unparsed: m.unparsed.n.Load(), Skewed: m.skewed.n.Load(),
		Missed: m.missed.n.Load(), Replayed: m.replayed.n.Load(),
	}
}
