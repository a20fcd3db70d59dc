package query

import "time"

// Steps are what time is divided into: stretches of a length, which begin where the clocks of a zone show a multiple of it since 1970. Those of whole days
// begin at midnight, also where a day has 23 or 25 hours. Lengths that are no whole number of hours, and no part of one, know no zones.
type Steps struct {
	Length time.Duration  // whole milliseconds; 0: of the usual ones that with which a histogram has up to AutoBuckets
	Zone   *time.Location // nil: UTC
}

// Start is when the step begins in which t is.
func (s Steps) Start(t time.Time) time.Time { return time.UnixMilli(s.start(t.UnixMilli())).UTC() }

// start is Start of Unix milliseconds.
func (s Steps) start(ms int64) int64 {
	offset := s.offset(ms)
	over := (ms + offset) % s.Length.Milliseconds()
	if over < 0 {
		over += s.Length.Milliseconds()
	}
	at := ms - over
	if before := s.offset(at); s.Length > time.Hour && before != offset && at+offset-before <= ms {
		at += offset - before // clocks were changed since then
	}
	return at
}

// next is when the step behind the one that begins at ms does.
func (s Steps) next(ms int64) int64 {
	length := s.Length.Milliseconds()
	for t := ms + length; ; t += time.Hour.Milliseconds() {
		if at := s.start(t); at > ms {
			return at
		}
	}
}

// offset is by how much clocks are ahead of UTC, in milliseconds.
func (s Steps) offset(ms int64) int64 {
	if s.Zone == nil || s.Zone == time.UTC || s.Length%time.Hour != 0 && time.Hour%s.Length != 0 {
		return 0
	}
	_, seconds := time.UnixMilli(ms).In(s.Zone).Zone()
	return int64(seconds) * 1000
}

// niceSteps are those that people like to read, ascending.
var niceSteps = [...]time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// wider is the next of the usual steps.
func wider(step time.Duration) time.Duration {
	for _, nice := range niceSteps {
		if nice > step {
			return nice
		}
	}
	return 2 * step
}
