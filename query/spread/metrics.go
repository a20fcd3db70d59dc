package spread

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The roles of a querier that a piece is counted by.
const (
	roleGiven = "given" // to another member, for a query that was asked here
	roleOwn   = "own"   // begun here, for a query that was asked here
	roleOther = "other" // brought to its end here, for a query that another member was asked
)

type metrics struct {
	queries, repeats  prometheus.Counter
	given, own, other prometheus.Counter // pieces
}

func newMetrics(reg prometheus.Registerer, members func() int) (*metrics, error) {
	const namespace, subsystem = "oklog", "spread"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	pieces := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "pieces_total",
		Help: "Pieces of queries: of those asked here, given to other queriers, or begun here as its own; and done here for others."}, []string{"role"})
	m := &metrics{
		queries: counter("queries_total", "Queries that were cut into pieces."),
		repeats: counter("repeats_total", "Pieces that another querier did not bring to their end, and that were done again."),
		given:   pieces.WithLabelValues(roleGiven), own: pieces.WithLabelValues(roleOwn), other: pieces.WithLabelValues(roleOther),
	}
	if reg == nil {
		return m, nil
	}
	known := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "members",
		Help: "Queriers of the group that are known, this one among them."}, func() float64 { return float64(members()) })
	var errs []error
	for _, c := range []prometheus.Collector{m.queries, m.repeats, pieces, known} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}
