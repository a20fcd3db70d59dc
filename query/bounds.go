package query

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// Range is a stretch of IDs: From and what follows, up to but without To.
type Range struct {
	From, To ulid.ULID
}

// Empty tells that no ID is in the range.
func (r Range) Empty() bool { return r.From.Compare(r.To) >= 0 }

// Overlaps tells whether an ID from first to last, both included, is in the range.
func (r Range) Overlaps(first, last ulid.ULID) bool {
	return !r.Empty() && last.Compare(r.From) >= 0 && first.Compare(r.To) < 0
}

// covers tells whether all IDs from first to last are in the range.
func (r Range) covers(first, last ulid.ULID) bool {
	return first.Compare(r.From) >= 0 && last.Compare(r.To) < 0
}

// times are the first and the last millisecond with an ID in the range, which must not be empty.
func (r Range) times() (first, last time.Time) {
	return ulid.Time(r.From.Time()).UTC(), ulid.Time(segment.Before(r.To).Time()).UTC()
}

// ErrBound is what every error about a bound is.
var ErrBound = errors.New("bad bound")

// ErrEmptyRange is, besides, what the error is about two good bounds between which there is nothing.
var ErrEmptyRange = errors.New("the range is empty")

// Ahead is how far a range without an upper bound reaches beyond now: clocks of forwarders may be ahead.
const Ahead = 5 * time.Minute

// ParseRange makes a range of what was typed as lower and upper bound. A bound is one of
//
//	2026-11-22T17:10:49.5+01:00   RFC 3339; a space may stand for the T, seconds may be left out
//	2026-11-22T17:10              without a zone: UTC
//	2026-11-22                    the beginning of the day, UTC
//	90s, 5m, 1h30m, 2d, 1w        that long before now ("5m ago" is the same); 1mo is 30 days, 1y 365
//	now
//	1795367449, 1795367449500     Unix time in seconds (10 digits) or milliseconds (13)
//	01KAPV2P4X4Q8S3M6W1Z0N5R7T    a record's ULID
//	all, 0                        as lower bound: the first record there is
//
// A time as lower bound is included, as upper bound excluded. A ULID is excluded as either: the last one
// that a query showed, as the next query's lower bound (its upper bound, newest first),
// goes on where the first one ended and shows nothing twice. An upper bound of "" is Ahead after now.
//
// Errors are ErrBound, and a *ParamError, one line that names the flag: --from or --to.
func ParseRange(from, to string, now time.Time) (r Range, err error) {
	var isID bool
	if t := strings.TrimSpace(from); t != "all" && t != "0" {
		if r.From, isID, err = parseBound("--from", from, now); err != nil {
			return Range{}, err
		}
		if isID {
			r.From = segment.After(r.From)
		}
	}
	if to == "" {
		r.To = segment.AtTime(now.Add(Ahead))
	} else if r.To, isID, err = parseBound("--to", to, now); err != nil {
		return Range{}, err
	} else if !isID && strings.TrimSpace(to) == "now" {
		r.To = segment.AtTime(now.Add(time.Millisecond)) // what was logged this very instant is in
	}
	if r.Empty() && to == "" {
		return Range{}, paramError("from", "%w: --from %s is in the future: %w: begin earlier, or say with --to where to end", ErrBound, show(from), ErrEmptyRange)
	}
	if r.Empty() {
		return Range{}, paramError("from", "%w: --from %s is not before --to %s: %w: exchange or widen them", ErrBound, show(from), show(to), ErrEmptyRange)
	}
	return r, nil
}

// show quotes what was typed if that makes a difference, and not all of it if it is long.
func show(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	if q := strconv.Quote(s); s == "" || strings.ContainsAny(s, " \t") || q != `"`+s+`"` {
		return q
	}
	return s
}

var layouts = [...]string{
	time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", time.DateOnly,
}

// InZone gives a bound that names a time of day, or a day, and no zone as the same in a zone; others as they are.
func InZone(bound string, zone *time.Location) string {
	s := strings.TrimSpace(bound)
	if len(s) > 10 && s[4] == '-' && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	for _, layout := range layouts {
		if strings.HasSuffix(layout, "Z07:00") {
			continue
		}
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t.Format(time.RFC3339Nano)
		}
	}
	return bound
}

// parseBound gives the lowest ID of a time, or a ULID as it is.
func parseBound(flag, text string, now time.Time) (id ulid.ULID, isID bool, err error) {
	s := strings.TrimSpace(text)
	bad := func(why string) (ulid.ULID, bool, error) {
		return ulid.ULID{}, false, paramError(strings.TrimPrefix(flag, "--"), "%w: %s %s: %s: want a time (2026-11-22T17:10:49Z, 2026-11-22), how long ago (5m, 1h30m, 2d), now, or a ULID",
			ErrBound, flag, show(text), why)
	}
	if s == "" {
		return bad("it is empty")
	}
	if s == "now" {
		return segment.AtTime(now), false, nil
	}
	if len(s) == ulid.EncodedSize && !strings.ContainsAny(s, "-: ") {
		id, err := ulid.ParseStrict(strings.ToUpper(s))
		if err != nil {
			return bad("not a ULID")
		}
		return id, true, nil
	}
	if len(s) > 10 && s[4] == '-' && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	for _, layout := range layouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if t.Before(time.UnixMilli(0)) {
			return bad("it is before 1970")
		}
		return segment.AtTime(t), false, nil
	}
	if len(s) >= 8 && s[4] == '-' {
		return bad("not a time")
	}
	if t, ok := parseUnix(s); ok {
		return segment.AtTime(t), false, nil
	}
	ago, err := ParseAge(s)
	if err != nil {
		return bad(err.Error())
	}
	return segment.AtTime(now.Add(-ago)), false, nil
}

// parseUnix reads seconds or milliseconds since 1970, told apart by their digits: as many as they have from 2001 to 2286.
func parseUnix(s string) (t time.Time, ok bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	switch {
	case err == nil && len(s) == 10:
		return time.Unix(int64(n), 0), true
	case err == nil && len(s) == 13:
		return time.UnixMilli(int64(n)), true
	}
	return time.Time{}, false
}

var (
	errNotBound = errors.New("not understood")
	errTooLong  = errors.New("longer than can be counted")
)

// ParseAge reads a duration: time.ParseDuration's, and years (y, of 365 days), months (mo, of 30), weeks (w) and days (d) before that.
func ParseAge(s string) (time.Duration, error) {
	s = strings.TrimSpace(strings.TrimSuffix(s, "ago"))
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, errNotBound
	}
	var total time.Duration
	for _, unit := range []struct {
		letter string
		size   time.Duration
	}{{"y", 365 * 24 * time.Hour}, {"mo", 30 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, rest, ok := strings.Cut(s, unit.letter)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if errors.Is(err, strconv.ErrRange) {
			return 0, errTooLong
		}
		if err != nil {
			return 0, errNotBound
		}
		if n > uint64((1<<63-1-total)/unit.size) {
			return 0, errTooLong
		}
		total += time.Duration(n) * unit.size
		s = rest
	}
	if s == "" {
		return total, nil
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && strings.TrimLeft(s, "0123456789.") == "":
		return 0, errors.New("the unit is missing")
	case err != nil || d < 0:
		return 0, errNotBound
	case d > 1<<63-1-total:
		return 0, errTooLong
	}
	return total + d, nil
}
