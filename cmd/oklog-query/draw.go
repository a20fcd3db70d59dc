package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"oklog/query"
)

// stepLayout is how the beginnings of a histogram's buckets are written: all alike, and no finer than they are.
func stepLayout(step time.Duration) string {
	switch {
	case step%time.Second != 0:
		return query.TimeLayout
	case step%time.Minute != 0:
		return time.RFC3339
	default:
		return "2006-01-02T15:04Z07:00"
	}
}

// barRow is a row with a bar.
type barRow struct {
	label string
	count int64
	share string // "" for none
}

// drawBars writes rows, with bars that fill the width.
func drawBars(w *bufio.Writer, rows []barRow, sc screen, color bool) error {
	var most int64
	labels, counts := 0, 0
	for _, r := range rows {
		most = max(most, r.count)
		labels = max(labels, utf8.RuneCountInString(r.label))
		counts = max(counts, len(fmt.Sprint(r.count)))
	}
	for _, r := range rows {
		head := fmt.Sprintf("%s%s  %*d", r.label, strings.Repeat(" ", labels-utf8.RuneCountInString(r.label)), counts, r.count)
		if r.share != "" {
			head += "  " + r.share
		}
		room := sc.width - 1 - utf8.RuneCountInString(head) - 2
		if !sc.terminal {
			room = max(room, 10) // nothing wraps there, however long the labels are
		}
		if b := bar(r.count, most, room, sc.ascii); b != "" {
			if color {
				b = colorBar + b + colorOff
			}
			head += "  " + b
		}
		if _, err := w.WriteString(head + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// bar is n of most, as a part of width columns: to an eighth of one. What is more than nothing is seen.
func bar(n, most int64, width int, ascii bool) string {
	if n <= 0 || most <= 0 || width <= 0 {
		return ""
	}
	part := float64(n) / float64(most) * float64(width)
	if ascii {
		return strings.Repeat("#", max(1, int(part+.5)))
	}
	eighths := max(1, int(part*8+.5))
	return strings.Repeat("█", eighths/8) + strings.TrimSpace(string([]rune(" ▏▎▍▌▋▊▉")[eighths%8]))
}
