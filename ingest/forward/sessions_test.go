package forward

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"oklog/objstore/segment"
)

// appendTo appends text to a file.
func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestNoSessionIsResumed changes the source between runs: each run has a session, which has one source.
func TestNoSessionIsResumed(t *testing.T) {
	name, state := writeFile(t, "0\n"), t.TempDir()
	p := newRecorder()
	for i := range 3 {
		run(t, Config{
			Inputs: Inputs{Files: []string{name}, StateDir: state}, Publisher: p,
			Source: segment.Source{{Key: "run", Value: fmt.Sprint(i)}},
		})
		appendTo(t, name, fmt.Sprint(i+1, "\n"))
	}
	records := p.records(t)
	equal(t, texts(t, records), []string{"0", "1", "2"}) // in their order, however soon one run follows another
	sessions := map[uint64]bool{}
	for _, r := range records {
		_, s, n := segment.SplitID(r.id)
		if sessions[s] || n != 0 || !strings.Contains(r.source, "run="+r.text) && !strings.Contains(r.source, `run="`+r.text) {
			t.Errorf("record %q has session %x, counter %d, source %s", r.text, s, n, r.source)
		}
		sessions[s] = true
	}
}

// TestClockOnceAhead has a clock that is years ahead in the first run, right in the second, some seconds back in the third.
func TestClockOnceAhead(t *testing.T) {
	name, state := writeFile(t, "wrong\n"), t.TempDir()
	p := newRecorder()
	right := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	var skewed int64
	for _, c := range []struct {
		clock time.Time
		text  string
	}{
		{time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), "right\n"},
		{right, "back\n"},
		{right.Add(-5 * time.Second), ""},
	} {
		skewed += run(t, Config{
			Inputs: Inputs{Files: []string{name}, StateDir: state}, Publisher: p, Clock: func() time.Time { return c.clock },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}).Skewed
		appendTo(t, name, c.text)
	}
	want := map[string]time.Time{"wrong": time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), "right": right, "back": right.Add(time.Millisecond)}
	for _, r := range p.records(t) {
		if have := time.UnixMilli(int64(r.id.Time())); !have.Equal(want[r.text]) {
			t.Errorf("%s has the time %s", r.text, have.UTC())
		}
		delete(want, r.text)
	}
	if len(want) > 0 || skewed != 1 || strings.Count(log.String(), "far ahead of the clock") != 1 {
		t.Errorf("missing %v, %d skewed, log:\n%s", want, skewed, &log)
	}
}

// TestClockStepsBackWithinARun goes on at the clock's time, in a new session.
func TestClockStepsBackWithinARun(t *testing.T) {
	clock := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	right := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	calls := 0
	p := newRecorder()
	lines := []string{"one.........", "two.........", "three.......", "four........"}
	s := run(t, Config{
		Inputs: Inputs{Stdin: strings.NewReader(strings.Join(lines, "\n"))}, Publisher: p, Limits: Limits{Record: 16, Batch: 1},
		Clock: func() time.Time {
			if calls++; calls > 2 { // it is asked for each batch, and a batch has room for one line
				return right
			}
			return clock
		},
	})
	have, sessions := map[int]int{}, map[uint64]int{}
	for _, r := range p.records(t) {
		have[time.UnixMilli(int64(r.id.Time())).UTC().Year()]++
		_, session, _ := segment.SplitID(r.id)
		sessions[session]++
	}
	if have[2031] != 2 || have[2026] != 2 || len(sessions) != 2 || s.Skewed != 1 {
		t.Errorf("years %v, sessions %v, %+v", have, sessions, s)
	}
}

// TestWildTimeThenLive parses a time far ahead, and then takes that of reading.
func TestWildTimeThenLive(t *testing.T) {
	name, state := writeFile(t, "2099-01-01T00:00:00Z wild\n"), t.TempDir()
	now := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	p := newRecorder()
	cfg := Config{
		Inputs: Inputs{Files: []string{name}, StateDir: state}, Publisher: p, Clock: func() time.Time { return now },
		Time: TimeConfig{Format: "rfc3339"},
	}
	run(t, cfg)
	appendTo(t, name, "unparsed\n")
	run(t, cfg)
	cfg.Time = TimeConfig{}
	appendTo(t, name, "live\n")
	if s := run(t, cfg); s.Skewed != 1 {
		t.Errorf("%+v", s)
	}
	for _, r := range p.records(t) {
		if have, want := time.UnixMilli(int64(r.id.Time())).UTC().Year(), 2099; (have == want) == (r.text == "live") {
			t.Errorf("%q has a time of %d", r.text, have)
		}
	}
}

// TestTroubleWithTimesIsTold names a record, once for all of them, and counts.
func TestTroubleWithTimesIsTold(t *testing.T) {
	var log bytes.Buffer
	long := "no time\x00 " + strings.Repeat("x", 200)
	text := "2026-11-22T18:00:00Z fine\n" + long + "\n" + strings.Repeat("again\n", 99)
	s := run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, text)}}, Publisher: newRecorder(),
		Time: TimeConfig{Format: "rfc3339"}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	lines := strings.Count(log.String(), "without a time that parses")
	if s.Unparsed != 100 || lines != 2 || !strings.Contains(log.String(), "records=1 ") || !strings.Contains(log.String(), "records=99 ") {
		t.Errorf("%+v, %d lines:\n%s", s, lines, &log)
	}
	if !strings.Contains(log.String(), "no RFC 3339 time found") || strings.Contains(log.String(), strings.Repeat("x", showText)) ||
		!strings.Contains(log.String(), `no time\x00 xxx`) {
		t.Errorf("the record is not shown as it should be:\n%s", &log)
	}
	log.Reset()
	p := newRecorder()
	s = run(t, Config{
		Inputs: Inputs{Stdin: strings.NewReader("999999999999999 far\n-1 early\n")}, Publisher: p,
		Time: TimeConfig{Format: "unix-ms"}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if s.Skewed != 2 || strings.Count(log.String(), "absurd time") != 2 || !strings.Contains(log.String(), "999999999999999 ms") {
		t.Errorf("%+v, log:\n%s", s, &log)
	}
	if last := p.records(t)[1].id.Time(); time.UnixMilli(int64(last)).UTC().Format(time.RFC3339Nano) != "9999-12-31T23:59:59.999Z" {
		t.Errorf("clamped to %d", last)
	}
}
