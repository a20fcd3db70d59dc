package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"oklog/query"
)

// automatic is the step of --histogram without one.
const automatic = "auto"

// bucketLine is a bucket of a histogram in JSON.
type bucketLine struct {
	Start string `json:"start"`
	Count int64  `json:"count"`
}

// histogram counts by time, and draws it.
func histogram(ctx context.Context, b counter, opts options, watch func(func() query.Stats), stdout io.Writer) (ans *query.Answer, err, broken error) {
	step := opts.step
	if step == 0 {
		// Finer than can be shown: how far the records lie apart is known when they are counted.
		step = query.NiceStep(opts.query.Range, query.MaxBuckets-1)
	}
	h, err := b.Histogram(ctx, question{Request: opts.request, query: opts.query, watch: watch}, step)
	if err != nil {
		return h.Answer, err, nil
	}
	buckets := h.Buckets
	if opts.step == 0 {
		buckets, step = coarsen(buckets, step, maxRows)
	}
	w := bufio.NewWriterSize(stdout, 64<<10)
	broken = writeHistogram(w, buckets, step, opts)
	if e := w.Flush(); broken == nil {
		broken = e
	}
	return h.Answer, nil, broken
}

func writeHistogram(w *bufio.Writer, buckets []query.Bucket, step time.Duration, opts options) error {
	rows := make([]barRow, len(buckets))
	for i, b := range buckets {
		label := opts.look.in(b.Start).Format(stepLayout(step))
		rows[i] = barRow{label: label, count: b.Count}
		if opts.look.json {
			if err := writeJSON(w, bucketLine{label, b.Count}); err != nil {
				return err
			}
		}
	}
	if opts.look.json {
		return nil
	}
	return drawBars(w, rows, opts.screen, opts.look.color)
}

// parseStep reads the value of --histogram; 0 is to be found out.
func parseStep(text string) (time.Duration, error) {
	if text == automatic {
		return 0, nil
	}
	step, err := query.ParseAge(text)
	if err != nil || step < time.Millisecond {
		return 0, fmt.Errorf("--histogram=%s: want a step like 10s, 5m or 1d, or none", text)
	}
	return step, nil
}
