package forward

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"oklog/objstore/segment"
)

func TestParseTime(t *testing.T) {
	summer, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	berlin := time.FixedZone("CET", 3600)
	read := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		cfg  TimeConfig
		text string
		want string // RFC 3339 with ms in UTC; "": does not parse
	}{
		{TimeConfig{Format: "rfc3339"}, "2026-02-03T04:05:06.789Z hello", "2026-02-03T04:05:06.789Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06.000Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03 04:05:06 -0730 x", "2026-02-03T11:35:06.000Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03 04:05:06,7899 x", "2026-02-03T04:05:06.789Z"},
		{TimeConfig{Format: "rfc3339", Zone: berlin}, "2026-02-03 04:05:06", "2026-02-03T03:05:06.000Z"},
		{TimeConfig{Format: "rfc3339", Zone: berlin}, "2026-02-03 04:05:06Z", "2026-02-03T04:05:06.000Z"},
		{TimeConfig{Format: "rfc3339"}, `a-b - 12026-02-03 - [x] ts="2026-02-03t04:05:06.1z"`, "2026-02-03T04:05:06.100Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-30T04:05:06Z", ""},
		{TimeConfig{Format: "rfc3339"}, "2026-13-03T04:05:06Z", ""},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03T04:61:06Z", ""},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03T04:05", ""},
		{TimeConfig{Format: "rfc3339"}, "----", ""},
		{TimeConfig{Format: "rfc3339"}, "", ""},
		{TimeConfig{Format: "rfc3339"}, strings.Repeat("x", timeWindow) + " 2026-02-03T04:05:06Z", ""},
		{TimeConfig{Format: "rfc3339"}, "0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"},
		{TimeConfig{Format: "rfc3339"}, "9999-12-31T23:59:60Z", "10000-01-01T00:00:00.000Z"},
		{TimeConfig{Format: "unix"}, "1700000000 x", "2023-11-14T22:13:20.000Z"},
		{TimeConfig{Format: "unix"}, " [1700000000.1239] x", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Format: "unix"}, "1700000000.5", "2023-11-14T22:13:20.500Z"},
		{TimeConfig{Format: "unix"}, "-1.5", "1969-12-31T23:59:58.500Z"},
		{TimeConfig{Format: "unix"}, "x 1700000000", ""},
		{TimeConfig{Format: "unix"}, "", ""},
		{TimeConfig{Format: "unix-ms"}, "1700000000123", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Format: "unix-ms"}, "1700000000123.9", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Format: "unix-us"}, "1700000000123456", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Format: "unix-ns"}, "1700000000123456789", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Format: "unix-ns"}, "-1", "1969-12-31T23:59:59.999Z"},
		{TimeConfig{Format: "unix", Pattern: `ts=(\S+)`}, "a 12 ts=1700000000.25 b", "2023-11-14T22:13:20.250Z"},
		{TimeConfig{Format: "unix", Pattern: `ts=(\S+)`}, "a ts=12x", ""},
		{TimeConfig{Pattern: `t=(\S+)`}, "t=2026-02-03T04:05:06Z", "2026-02-03T04:05:06.000Z"},
		{TimeConfig{Pattern: `t=(\S+)`}, "t=1700000000123", "2023-11-14T22:13:20.123Z"},
		{TimeConfig{Pattern: `t=(\S+)`}, "t=1.7e9", "2023-11-14T22:13:20.000Z"},
		{TimeConfig{Pattern: `t=(\S+)`}, "t=NaN", ""},
		{TimeConfig{Pattern: `t=(\S+)`}, "u=1", ""},
		{TimeConfig{Format: time.Stamp, Pattern: `^\w{3} +\d+ [\d:]+`}, "Feb  3 04:05:06 host sshd", "2026-02-03T04:05:06.000Z"},
		{TimeConfig{Format: time.Stamp, Pattern: `^\w{3} +\d+ [\d:]+`}, "Mar  2 11:59:59 host", "2026-03-02T11:59:59.000Z"},
		{TimeConfig{Format: time.Stamp, Pattern: `^\w{3} +\d+ [\d:]+`}, "Mar  2 12:00:01 host", "2025-03-02T12:00:01.000Z"},
		{TimeConfig{Format: time.Stamp, Pattern: `^\w{3} +\d+ [\d:]+`}, "Feb 29 12:00:01 host", "2024-02-29T12:00:01.000Z"},
		{TimeConfig{Format: "Jan _2 15:04:05 MST", Pattern: ".*", Zone: berlin}, "Feb  3 10:00:00 CET", "2026-02-03T09:00:00.000Z"},
		{TimeConfig{Format: "Jan _2 15:04:05 MST", Pattern: ".*", Zone: summer}, "Jul  3 10:00:00 CEST", "2025-07-03T08:00:00.000Z"},
		{TimeConfig{Format: "Jan _2 15:04:05 MST", Pattern: ".*", Zone: berlin}, "Feb  3 10:00:00 GMT", "2026-02-03T10:00:00.000Z"},
		{TimeConfig{Format: "Jan _2 15:04:05 MST", Pattern: ".*"}, "Feb  3 10:00:00 UTC", "2026-02-03T10:00:00.000Z"},
		{TimeConfig{Format: "Jan _2 15:04:05 MST", Pattern: ".*"}, "Feb  3 10:00:00 CET", ""},
		{TimeConfig{Format: "Jan _2 15:04:05 -0700", Pattern: ".*", Zone: berlin}, "Feb  3 10:00:00 +0200", "2026-02-03T08:00:00.000Z"},
		{TimeConfig{Format: "2006-01-02 15:04:05 MST", Pattern: ".*"}, "2026-07-26 10:00:00 CEST", ""},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03 04:05:06 -10 degrees", "2026-02-03T04:05:06.000Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03 04:05:06 +12345 bytes", "2026-02-03T04:05:06.000Z"},
		{TimeConfig{Format: "rfc3339"}, "2026-02-03 04:05:06 +02:00 x", "2026-02-03T02:05:06.000Z"},
		{TimeConfig{Format: "02/Jan/2006:15:04:05 -0700", Pattern: `\[([^]]+)\]`}, `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET`, "2000-10-10T20:55:36.000Z"},
		{TimeConfig{Format: "02/Jan/2006:15:04:05 -0700", Pattern: `\[([^]]+)\]`}, `[nonsense]`, ""},
		{TimeConfig{JSONField: "time"}, `{"time":"2026-02-03T04:05:06Z"}`, "2026-02-03T04:05:06.000Z"},
		{TimeConfig{JSONField: "time"}, `{"time":1700000000123}`, "2023-11-14T22:13:20.123Z"},
		{TimeConfig{JSONField: "time"}, `{"time":1700000000}`, "2023-11-14T22:13:20.000Z"},
		{TimeConfig{JSONField: "time"}, `{"time":1700000000123456}`, "2023-11-14T22:13:20.123Z"},
		{TimeConfig{JSONField: "time"}, `{"time":1700000000123456789}`, "2023-11-14T22:13:20.123Z"},
		{TimeConfig{JSONField: "time"}, `{"time":true}`, ""},
		{TimeConfig{JSONField: "time"}, `{"tim":1}`, ""},
		{TimeConfig{JSONField: "time"}, `not JSON`, ""},
		{TimeConfig{JSONField: "a.b", Format: "unix-ms"}, `{"a":{"b":"1700000000123"}}`, "2023-11-14T22:13:20.123Z"},
		{TimeConfig{JSONField: "a.b", Format: "unix-ms"}, `{"a.b":1700000000123}`, "2023-11-14T22:13:20.123Z"},
		{TimeConfig{JSONField: "t", Format: time.DateTime, Zone: berlin}, `{"t":"2026-02-03 04:05:06"}`, "2026-02-03T03:05:06.000Z"},
		{TimeConfig{JSONField: "t", Pattern: `at (.*)`}, `{"t":"at 2026-02-03 04:05:06"}`, "2026-02-03T04:05:06.000Z"},
	} {
		p, err := newTimeParser(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		have := ""
		if ms, err := p.parse([]byte(c.text), read); err == nil {
			have = time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
		}
		if have != c.want {
			t.Errorf("%+v: %.60q is %q, want %q", c.cfg, c.text, have, c.want)
		}
	}
}

// TestParsedTimes checks the order and the counts: the records of a batch are sorted by the time that they say.
func TestParsedTimes(t *testing.T) {
	now := time.UnixMilli(1_790_000_000_000)
	text := strings.Join([]string{
		"none yet", "3 c", "1 a", "goes on", "2 b", "1 a again", "-5 before 1970", fmt.Sprint(uint64(1)<<60, " far"), "x" + strings.Repeat("y", 30), "4 " + strings.Repeat("z", 30),
	}, "\n")
	p := newRecorder()
	s := run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, text)}}, Time: TimeConfig{Format: "unix-ms"}, Publisher: p,
		Limits: Limits{Record: 16}, Clock: func() time.Time { return now },
	})
	var have []string
	for _, r := range p.records(t) {
		ms, _, _ := segment.SplitID(r.id)
		have = append(have, fmt.Sprint(ms, " ", r.text))
	}
	far := fmt.Sprint(uint64(maxTime))
	equal(t, have, []string{
		"0 -5 before 1970", "1 1 a", "1 goes on", "1 1 a again", "2 2 b", "3 3 c",
		"4 4 zzzzzzzzzzzzzz", "4 zzzzzzzzzzzzzzzz", "1790000000000 none yet",
		far + " 1152921504606846", far + " 976 far",
		far + " xyyyyyyyyyyyyyyy", far + " yyyyyyyyyyyyyyy",
	})
	if s.Unparsed != 3 || s.Skewed != 2 || s.Cut != 3 {
		t.Errorf("%+v", s)
	}
}

// TestClockStepsBack keeps the records of a session in the order in which they were read.
func TestClockStepsBack(t *testing.T) {
	ms := int64(1_790_000_000_000)
	p := newRecorder()
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprint(i))
	}
	run(t, Config{
		Inputs: Inputs{Files: []string{writeFile(t, strings.Join(lines, "\n"))}}, Publisher: p, Limits: Limits{Record: 16, Batch: 16},
		Clock: func() time.Time { ms -= 1000; return time.UnixMilli(ms) },
	})
	equal(t, texts(t, p.records(t)), lines)
}

func TestMultiline(t *testing.T) {
	text := strings.Join([]string{
		"before the first", "INFO one", "WARN two", "  at a.b.c", "", "  at d.e.f\r", "INFO three", "INFO " + strings.Repeat("long\n", 20) + "end", "last",
	}, "\n")
	want := []string{
		"before the first", "INFO one", "WARN two\n  at a.b.c\n\n  at d.e.f\r", "INFO three", "INFO " + strings.Repeat("long\n", 20) + "end\nlast",
	}
	for seed := range uint64(20) {
		for _, end := range []string{"", "\n"} {
			p := newRecorder()
			s := run(t, Config{
				Inputs: Inputs{Stdin: newChopper(text+end, seed), Multiline: "^(INFO|WARN)"}, Publisher: p, Limits: Limits{Record: 40, Batch: 100},
			})
			equal(t, texts(t, p.records(t)), want)
			if s.Cut != 1 {
				t.Errorf("%+v", s)
			}
			p = newRecorder()
			run(t, Config{
				Inputs: Inputs{Files: []string{writeFile(t, text+end)}, Multiline: "^(INFO|WARN)"}, Publisher: p, Limits: Limits{Record: 40, Batch: 100},
			})
			equal(t, texts(t, p.records(t)), want)
		}
	}
}

// FuzzMultiline compares with a naive joiner.
func FuzzMultiline(f *testing.F) {
	f.Add("a\nSb\nc\nS\n\n", uint64(1), uint8(0))
	f.Add("S\n\n\nS"+strings.Repeat("\nx", 40), uint64(2), uint8(1))
	f.Fuzz(func(t *testing.T, text string, seed uint64, limit uint8) {
		var want []string
		for _, line := range split(text) {
			if len(want) == 0 || strings.HasPrefix(line, "S") {
				want = append(want, line)
			} else {
				want[len(want)-1] += "\n" + line
			}
		}
		p := newRecorder()
		run(t, Config{
			Inputs: Inputs{Stdin: newChopper(text, seed), Multiline: "^S"}, Publisher: p, Limits: Limits{Record: minRecord + int(limit), Batch: 50},
		})
		equal(t, texts(t, p.records(t)), want)
	})
}

// FuzzTime looks for panics, and for times that differ between the ways to find them.
func FuzzTime(f *testing.F) {
	f.Add("2026-02-03T04:05:06.789+01:00", "1700000000.5")
	f.Add("x 2026-02-03 04:05:06,7 -0100", "-1e400")
	f.Fuzz(func(t *testing.T, text, number string) {
		p := &timeParser{cfg: TimeConfig{Zone: time.UTC}}
		p.parse([]byte(text), time.Unix(0, 0))
		for _, unit := range []int64{0, 1, 1e3, 1e6, 1e9} {
			if _, err := parseUnix([]byte(number), unit); err == nil && number == "" {
				t.Error("nothing is a time")
			}
		}
		if want, err := time.Parse(time.RFC3339Nano, text); err == nil && want.Year() > 0 {
			have, n, ok := parseRFC3339([]byte(text), time.UTC)
			// Package time takes more than one digit fewer in the hour, and a comma.
			if ok && n == len(text) && have != want.UnixMilli() {
				t.Errorf("%q is %d, want %d", text, have, want.UnixMilli())
			}
		}
	})
}

// TestLayoutWithoutDate: all records would be of the first of January.
func TestLayoutWithoutDate(t *testing.T) {
	_, err := newTimeParser(TimeConfig{Format: "15:04:05.000", Pattern: ".*"})
	if err == nil || !strings.Contains(err.Error(), "no date") || !strings.Contains(err.Error(), "--time") {
		t.Errorf("have error %v", err)
	}
}

// TestAbsurdUnixTimes: what is far in the future stays there.
func TestAbsurdUnixTimes(t *testing.T) {
	p, err := newTimeParser(TimeConfig{Format: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"1764145600000000000 ns as s": true, "-1764145600000000000 x": false} {
		if ms, err := p.parse([]byte(text), time.Now()); err != nil || ms > 0 != want {
			t.Errorf("%s: have %d, %v", text, ms, err)
		}
	}
}
