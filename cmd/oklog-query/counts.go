package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"oklog/query"
	"oklog/query/where"
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
	steps := query.Steps{Length: opts.step, Zone: opts.look.zone}
	h, err := b.Histogram(ctx, question{Request: opts.request, query: opts.query, watch: watch}, steps)
	if err != nil {
		return h.Answer, err, nil
	}
	w := bufio.NewWriterSize(stdout, 64<<10)
	broken = writeHistogram(w, h.Buckets, h.Step, opts)
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

// top is what --top asks for.
type top struct {
	field  where.Path
	text   string // as it was given
	values int
}

// Values that are shown: unless it is said, and at most.
const (
	usualValues = 10
	maxValues   = 100_000
)

func (t *top) parse(c *cli.Context) (err error) {
	if t.text = c.String("top"); t.text == "" {
		return errors.New("--top is empty: name a field, such as --top status")
	}
	if t.field, err = where.ParsePath(t.text); err != nil {
		return fmt.Errorf("--top %s: %w", t.text, err)
	}
	n, err := number(c, "limit", 1)
	if err != nil {
		return err
	}
	if n > maxValues {
		return fmt.Errorf("--limit %d: want at most %d values (--top)", n, maxValues)
	}
	if t.values = int(n); n == 0 {
		t.values = usualValues
	}
	return nil
}

// mostFrequent counts the values of a field, and draws them.
func mostFrequent(ctx context.Context, b counter, opts options, watch func(func() query.Stats), s streams) (ans *query.Answer, err, broken error) {
	t, err := b.Top(ctx, question{Request: opts.request, query: opts.query, watch: watch}, opts.top.field, opts.top.values)
	if err != nil {
		return &t.Answer, err, nil
	}
	if t.Approximate {
		s.log.Warn(fmt.Sprintf("there are more values than are kept: counts are too small by %d at most", t.MaxError))
	}
	if t.Answer.Count > 0 && t.With == 0 {
		s.log.Warn("none of the records has a value there (an object or an array is none: name what is in it, or add [])", slog.Any("err", fmt.Errorf("%s: %d records were found", opts.top.text, t.Answer.Count)))
	}
	w := bufio.NewWriterSize(s.stdout, 64<<10)
	broken = writeTop(w, t, opts)
	if e := w.Flush(); broken == nil {
		broken = e
	}
	ans = &t.Answer
	if len(t.Values) == 0 {
		ans.Count = 0 // nothing is shown
	}
	return ans, nil, broken
}

func writeTop(w *bufio.Writer, t *query.TopAnswer, opts options) error {
	if opts.look.json {
		for _, v := range t.Values {
			if err := writeJSON(w, v); err != nil {
				return err
			}
		}
		return nil
	}
	// A bar keeps a third of the columns.
	most := max(20, opts.screen.width*2/3-20)
	rows := make([]barRow, len(t.Values))
	for i, v := range t.Values {
		label := shownValue(v.Value)
		if r := []rune(label); opts.screen.terminal && len(r) > most {
			label = string(r[:most-1]) + "…"
		}
		rows[i] = barRow{label: label, count: v.Count, share: fmt.Sprintf("%5.1f%%", 100*float64(v.Count)/float64(t.With))}
	}
	return drawBars(w, rows, opts.screen, opts.look.color)
}

// shownValue is a value as part of a line.
func shownValue(v string) string {
	if v == "" || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(v)
	}
	return v
}
