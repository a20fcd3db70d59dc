package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// count is a number with what it counts: 1 segment, 1,234 segments. many is for words that do not just take an s.
func count[N int | int64](n N, one string, many ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(many) > 0:
		return humanize.Comma(int64(n)) + " " + many[0]
	}
	return humanize.Comma(int64(n)) + " " + one + "s"
}

func bytesOf(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// age is a time as people type it: 30d, 12h, 1h30m.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// utc is a time in a table whose head says UTC.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
