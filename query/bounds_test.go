package query

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

func TestParseRange(t *testing.T) {
	now := time.Date(2026, 11, 22, 17, 10, 49, 500_600_000, time.UTC)
	const id = "01KAPV2P4X4Q8S3M6W1Z0N5R7T"
	ms := func(s string) ulid.ULID {
		tm, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return segment.MakeID(uint64(tm.UnixMilli()), 0, 0)
	}
	f := func(from, to string, wantFrom, wantTo ulid.ULID) {
		t.Helper()
		r, err := ParseRange(from, to, now)
		if err != nil {
			t.Errorf("%q %q: %v", from, to, err)
			return
		}
		if r.From != wantFrom || r.To != wantTo {
			t.Errorf("%q %q: want %s %s, have %s %s", from, to, wantFrom, wantTo, r.From, r.To)
		}
	}
	end := ms("2026-11-22T17:15:49.500Z")
	f("1h", "", ms("2026-11-22T16:10:49.500Z"), end)
	f("1h ago", "now", ms("2026-11-22T16:10:49.500Z"), ms("2026-11-22T17:10:49.501Z"))
	f(" 90s ", "5s", ms("2026-11-22T17:09:19.500Z"), ms("2026-11-22T17:10:44.500Z"))
	f("1h30m", "", ms("2026-11-22T15:40:49.500Z"), end)
	f("2d", "1d", ms("2026-11-20T17:10:49.500Z"), ms("2026-11-21T17:10:49.500Z"))
	f("1w1d2h", "", ms("2026-11-14T15:10:49.500Z"), end)
	f("0s", "", ms("2026-11-22T17:10:49.500Z"), end)
	f("now", "", ms("2026-11-22T17:10:49.500Z"), end)
	f("2026-11-22", "", ms("2026-11-22T00:00:00Z"), end)
	f("2026-11-21", "2026-11-22", ms("2026-11-21T00:00:00Z"), ms("2026-11-22T00:00:00Z"))
	f("2026-11-22T17", "2026-11-22T17:01", ms("2026-11-22T17:00:00Z"), ms("2026-11-22T17:01:00Z"))
	f("2026-11-22 17:00:01", "", ms("2026-11-22T17:00:01Z"), end)
	f("2026-11-22T17:00:00.1234+01:00", "", ms("2026-11-22T16:00:00.123Z"), end)
	f("2026-11-22T17:00Z", "", ms("2026-11-22T17:00:00Z"), end)
	f("1795367449", "1795367449500", ms("2026-11-22T17:10:49Z"), ms("2026-11-22T17:10:49.5Z"))
	f("1970-01-01", "", ulid.ULID{}, end)
	f("60w", "300d", ms("2025-09-28T17:10:49.5Z"), ms("2026-01-26T17:10:49.5Z"))
	f("9999w", "", ulid.ULID{}, end) // before 1970
	f("all", "", ulid.ULID{}, end)
	f(" 0 ", "1h", ulid.ULID{}, ms("2026-11-22T16:10:49.500Z"))
	f("1y", "2mo1w", ms("2025-11-22T17:10:49.500Z"), ms("2026-09-16T17:10:49.500Z"))
	f("1mo5m", "", ms("2026-10-23T17:05:49.500Z"), end)
	exact := ulid.MustParse(id)
	f(id, "", segment.After(exact), end)
	f(strings.ToLower(id), "", segment.After(exact), end)
	f("2020-01-01", id, ms("2020-01-01T00:00:00Z"), exact)
}

func TestParseRangeErrors(t *testing.T) {
	now := time.Date(2026, 11, 22, 17, 10, 49, 0, time.UTC)
	const id = "01KAPV2P4X4Q8S3M6W1Z0N5R7T"
	const want = ": want a time (2026-11-22T17:10:49Z, 2026-11-22), how long ago (5m, 1h30m, 2d), now, or a ULID"
	for _, c := range []struct{ from, to, want string }{
		{"", "", `--from "": it is empty` + want},
		{"yesterday", "", "--from yesterday: not understood" + want},
		{"5", "", "--from 5: the unit is missing" + want},
		{"1d5", "", "--from 1d5: the unit is missing" + want},
		{"-5m", "", "--from -5m: not understood" + want},
		{"1d-5m", "", "--from 1d-5m: not understood" + want},
		{"5 m", "", `--from "5 m": not understood` + want},
		{"99999999999999999999d", "", "--from 99999999999999999999d: longer than can be counted" + want},
		{"999999999d", "", "--from 999999999d: longer than can be counted" + want},
		{"1h", "2026-13-01", "--to 2026-13-01: not a time" + want},
		{"2026-11-22T25:00", "", "--from 2026-11-22T25:00: not a time" + want},
		{"1h", "1969-12-31", "--to 1969-12-31: it is before 1970" + want},
		{"01KAPV2P4X4Q8S3M6W1Z0N5R7U", "", "--from 01KAPV2P4X4Q8S3M6W1Z0N5R7U: not a ULID" + want},
		{"8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "", "--from 8ZZZZZZZZZZZZZZZZZZZZZZZZZ: not a ULID" + want},
		{strings.Repeat("x", 200), "", "--from " + strings.Repeat("x", 60) + "...: not understood" + want},
		{"1h", "all", "--to all: not understood" + want},
		{"1w1y", "", "--from 1w1y: not understood" + want},
		{"a\nb", "", `--from "a\nb": not understood` + want},
		{"5m", "1h", "--from 5m is not before --to 1h: the range is empty: exchange or widen them"},
		{"5m", "5m", "--from 5m is not before --to 5m: the range is empty: exchange or widen them"},
		{id, id, "--from " + id + " is not before --to " + id + ": the range is empty: exchange or widen them"},
		{"2030-01-01", "", "--from 2030-01-01 is in the future: the range is empty: begin earlier, or say with --to where to end"},
	} {
		_, err := ParseRange(c.from, c.to, now)
		if !errors.Is(err, ErrBound) || err.Error() != "bad bound: "+c.want {
			t.Errorf("%q %q: want %q, have %v", c.from, c.to, c.want, err)
		}
	}
}

func TestInZone(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for bound, want := range map[string]string{
		"2026-11-22":                "2026-11-22T00:00:00+01:00",
		"2026-11-22 17:10":          "2026-11-22T17:10:00+01:00",
		"2026-11-22T17":             "2026-11-22T17:00:00+01:00",
		"2026-11-22T17:10:49.5":     "2026-11-22T17:10:49.5+01:00",
		"2026-11-22T17:10Z":         "2026-11-22T17:10Z",
		"2026-11-22T17:10:49+02:00": "2026-11-22T17:10:49+02:00",
		"5m":                        "5m",
		"1795367449":                "1795367449",
		"":                          "",
		"all":                       "all",
	} {
		if have := InZone(bound, zone); have != want {
			t.Errorf("%q: want %s, have %s", bound, want, have)
		}
	}
}

func TestNeighbours(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"00000000000000000000000000", "00000000000000000000000001"},
		{"0000000000000000000000000Z", "00000000000000000000000010"},
		{"01KAPV2P4X4Q8S3M6W1Z0N5R7T", "01KAPV2P4X4Q8S3M6W1Z0N5R7V"},
		{"0ZZZZZZZZZZZZZZZZZZZZZZZZZ", "10000000000000000000000000"},
	} {
		a, b := ulid.MustParse(c.a), ulid.MustParse(c.b)
		if segment.After(a) != b || segment.Before(b) != a {
			t.Errorf("%s %s: have after %s, before %s", a, b, segment.After(a), segment.Before(b))
		}
	}
	top := ulid.MustParse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
	if segment.After(top) != top || segment.Before(ulid.ULID{}) != (ulid.ULID{}) {
		t.Error("the ends have neighbours")
	}
}
