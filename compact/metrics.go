package compact

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	merges, segmentsIn, segmentsOut, bytesIn, bytesOut, text, seconds *prometheus.CounterVec // by topic
	expired                                                           *prometheus.CounterVec
	deleted, copied, damaged                                          prometheus.Counter
	backlog, waiting, lastRun, lastSeconds, ok                        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	byTopic := func(name, help string) *prometheus.CounterVec {
		m := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "oklog", Subsystem: "compact", Name: name, Help: help}, []string{"topic"})
		all = append(all, m)
		return m
	}
	counter := func(name, help string) prometheus.Counter {
		m := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "oklog", Subsystem: "compact", Name: name, Help: help})
		all = append(all, m)
		return m
	}
	gauge := func(name, help string) prometheus.Gauge {
		m := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "oklog", Subsystem: "compact", Name: name, Help: help})
		all = append(all, m)
		return m
	}
	m := &metrics{
		merges:      byTopic("merges_total", "Merges done."),
		segmentsIn:  byTopic("segments_in_total", "Segments that were merged."),
		segmentsOut: byTopic("segments_out_total", "Segments that merges made."),
		bytesIn:     byTopic("bytes_in_total", "Bytes of the segments that were merged."),
		bytesOut:    byTopic("bytes_out_total", "Bytes of the segments that merges made."),
		text:        byTopic("text_bytes_total", "Bytes of text that went through merges."),
		seconds:     byTopic("merge_seconds_total", "Time that merges took."),
		expired:     byTopic("expired_segments_total", "Segments that retention moved to the trash."),
		deleted:     counter("deleted_segments_total", "Segments deleted since others have replaced them."),
		copied:      counter("copies_made_total", "Missing or damaged copies that were made."),
		damaged:     counter("damaged_segments_total", "Segments left alone since no copy of them is sound."),
		backlog:     gauge("backlog_segments", "Small or overlapping segments that the last run has left."),
		waiting:     gauge("waiting_segments", "Replaced segments that the last run has left for the grace to end."),
		lastRun:     gauge("last_run_timestamp_seconds", "When the last run ended, Unix time."),
		lastSeconds: gauge("last_run_seconds", "How long the last run took."),
		ok:          gauge("last_run_ok", "1 if the last run did all that it was to do."),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) merged(j *Job, made []*Segment, took time.Duration) {
	m.merges.WithLabelValues(j.Topic).Inc()
	m.segmentsIn.WithLabelValues(j.Topic).Add(float64(len(j.Inputs)))
	m.segmentsOut.WithLabelValues(j.Topic).Add(float64(len(made)))
	m.bytesIn.WithLabelValues(j.Topic).Add(float64(j.Size))
	m.text.WithLabelValues(j.Topic).Add(float64(j.Text))
	m.seconds.WithLabelValues(j.Topic).Add(took.Seconds())
	for _, s := range made {
		m.bytesOut.WithLabelValues(j.Topic).Add(float64(s.Size))
	}
}

func (m *metrics) ran(r *Report, err error) {
	m.backlog.Set(float64(r.Backlog))
	m.waiting.Set(float64(r.Waiting))
	m.lastRun.SetToCurrentTime()
	m.lastSeconds.Set(r.Took.Seconds())
	ok := 0.0
	if err == nil && r.Sound() {
		ok = 1
	}
	m.ok.Set(ok)
}

// progress is what is shown while a run goes on.
type progress struct {
	records, total, objects, bytes atomic.Int64
	topic                          atomic.Pointer[string]
}

func (p *progress) reset() {
	p.records.Store(0)
	p.total.Store(0)
	p.objects.Store(0)
	p.bytes.Store(0)
	p.topic.Store(nil)
}

func (p *progress) merged(records int) { p.records.Add(int64(records)) }

func (p *progress) looked(bytes int64) {
	p.objects.Add(1)
	p.bytes.Add(bytes)
}

func (p *progress) planned(records int64) { p.total.Add(records) }
func (p *progress) begin(topic string)    { p.topic.Store(&topic) }

// Progress is how far a run is.
type Progress struct {
	Topic          string // of the merge begun last
	Records, Total int64  // merged, and of the merges planned so far
	Objects, Bytes int64  // looked at, by a repair
}

// Progress tells how far the run is. It may be called while one goes on.
func (c *Compactor) Progress() Progress {
	p := Progress{Records: c.progress.records.Load(), Total: c.progress.total.Load(), Objects: c.progress.objects.Load(), Bytes: c.progress.bytes.Load()}
	if t := c.progress.topic.Load(); t != nil {
		p.Topic = *t
	}
	return p
}
