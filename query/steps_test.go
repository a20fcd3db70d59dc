package query

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSteps(t *testing.T) {
	f := func(zone string, length time.Duration, at, want, next string) {
		t.Helper()
		s := Steps{Length: length}
		var err error
		if s.Zone, err = ParseZone(zone); err != nil {
			t.Fatal(err)
		}
		parse := func(text string) time.Time {
			tm, err := time.Parse("2006-01-02T15:04:05Z07:00", text)
			if err != nil {
				t.Fatal(err)
			}
			return tm
		}
		start := s.Start(parse(at))
		if !start.Equal(parse(want)) {
			t.Errorf("%s, %s: %s is in the step from %s on, want %s", zone, length, at, start, want)
		}
		if have := time.UnixMilli(s.next(start.UnixMilli())); !have.Equal(parse(next)) {
			t.Errorf("%s, %s: the next step begins at %s, want %s", zone, length, have.UTC(), next)
		}
	}
	const day = 24 * time.Hour
	f("", day, "2026-11-22T17:10:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")
	f("", day, "1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z")
	f("Asia/Tokyo", day, "2026-11-22T17:10:00Z", "2026-11-23T00:00:00+09:00", "2026-11-24T00:00:00+09:00")
	f("+05:30", 6*time.Hour, "2026-11-22T17:10:00Z", "2026-11-22T18:00:00+05:30", "2026-11-23T00:00:00+05:30")
	f("Asia/Kathmandu", 30*time.Minute, "2026-11-22T17:10:00+05:45", "2026-11-22T17:00:00+05:45", "2026-11-22T17:30:00+05:45")
	f("Asia/Kathmandu", 7*time.Minute, "1970-01-01T00:08:00Z", "1970-01-01T00:07:00Z", "1970-01-01T00:14:00Z")
	// A day of 23 hours, and one of 25.
	f("Europe/Berlin", day, "2026-03-29T00:30:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00")
	f("Europe/Berlin", day, "2026-03-29T23:30:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00")
	f("Europe/Berlin", day, "2026-10-25T00:30:00+02:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00")
	f("Europe/Berlin", day, "2026-10-25T23:30:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00")
	f("Europe/Berlin", 3*time.Hour, "2026-03-29T03:30:00+02:00", "2026-03-29T03:00:00+02:00", "2026-03-29T06:00:00+02:00")
	f("Europe/Berlin", 6*time.Hour, "2026-10-25T05:30:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-25T06:00:00+01:00")
	f("Europe/Berlin", time.Hour, "2026-10-25T02:30:00+01:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00")
	f("Europe/Berlin", 7*day, "2026-10-28T02:30:00+01:00", "2026-10-22T00:00:00+02:00", "2026-10-29T00:00:00+01:00")
}

// Every instant is in one step, whatever a zone has been through, and steps follow each other.
func TestStepsFollow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "+13:45"} {
		zone, err := ParseZone(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []time.Duration{time.Second, 7 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 5 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
			s := Steps{Length: length, Zone: zone}
			for range 300 {
				// Since 1996 clocks have been changed by whole half hours only.
				ms := time.Date(1996, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + rnd.Int64N(40*365*24*3600*1000)
				start := s.start(ms)
				if start > ms || s.start(start) != start {
					t.Fatalf("%s, %s: %d is in the step from %d on, and that in the one from %d on", name, length, ms, start, s.start(start))
				}
				next := s.next(start)
				if next <= ms && (time.Hour%length == 0 || 24*time.Hour%length == 0 || length%(24*time.Hour) == 0) && name != "Australia/Lord_Howe" {
					t.Fatalf("%s, %s: %d is in the step from %d on, and the next begins at %d", name, length, ms, start, next)
				}
			}
		}
	}
}

func TestParseZone(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "+05:30", "-03:00", "UTC", ""} {
		if _, err := ParseZone(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"local", "Local", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "+25:99", "x"} {
		if zone, err := ParseZone(name); err == nil {
			t.Errorf("%q is %v", name, zone)
		}
	}
}
