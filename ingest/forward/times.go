package forward

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"
)

// TimeConfig says where a record's time is in its text. The zero value: nowhere, it is the time of reading.
type TimeConfig struct {
	// Format of the time:
	//
	//	rfc3339                    also with a space for the T, a comma for the point, or without a zone
	//	unix unix-ms unix-us unix-ns   a number of seconds..., with or without a fraction
	//	any other                  a layout as package time has them ("Jan _2 15:04:05"), which needs Pattern or JSONField
	//
	// "" with Pattern or JSONField: rfc3339, or a Unix time whose unit its size tells.
	Format string
	// Pattern is a regular expression that finds the time in the first 4 KiB of the record: its first group, or all of
	// it if it has none. "": rfc3339 is looked for there, and a Unix time is what the record begins with, behind spaces and '['.
	Pattern string
	// JSONField is the field of a record that is a JSON object; a.b is field b of object a, unless there is a field "a.b".
	// Pattern then applies to the field's text.
	JSONField string
	// Zone holds for times that name none. nil: UTC.
	Zone *time.Location
}

// timeWindow is how much of a record is searched for its time.
const timeWindow = 4 << 10

var (
	errNoZone   = errors.New("the abbreviation of its zone is not known: name the zone (--time-zone)")
	errNoTime   = errors.New("no RFC 3339 time found")
	errNoNumber = errors.New("it does not begin with a number")
	errNoMatch  = errors.New("the pattern of times does not match (--time-regex)")
	errNotJSON  = errors.New("it is not JSON (--time-json)")
	errNoField  = errors.New("the field of times is missing (--time-json)")
	errNotText  = errors.New("the field of times is neither a string nor a number (--time-json)")
)

// unixUnit is how many of a Unix format's units are in a second; 0: it is not one.
func unixUnit(format string) (perSecond int64) {
	switch format {
	case "unix":
		return 1
	case "unix-ms":
		return 1e3
	case "unix-us":
		return 1e6
	case "unix-ns":
		return 1e9
	}
	return 0
}

// timeParser finds times. It is not safe for concurrent use.
type timeParser struct {
	cfg     TimeConfig
	pattern *regexp.Regexp
	path    []string
	unit    int64 // of a Unix time in a second; 0: not a Unix time
	named   bool  // the layout has a zone's abbreviation
	json    fastjson.Parser
}

// newTimeParser returns nil for the zero configuration.
func newTimeParser(cfg TimeConfig) (*timeParser, error) {
	if cfg.Format == "" && cfg.Pattern == "" && cfg.JSONField == "" {
		return nil, nil
	}
	p := &timeParser{cfg: cfg, unit: unixUnit(cfg.Format), named: strings.Contains(cfg.Format, "MST")}
	if p.cfg.Zone == nil {
		p.cfg.Zone = time.UTC
	}
	if cfg.Pattern != "" {
		var err error
		if p.pattern, err = regexp.Compile(cfg.Pattern); err != nil {
			return nil, bad("bad pattern of times: %w (--time-regex)", err)
		}
	}
	if cfg.JSONField != "" {
		p.path = strings.Split(cfg.JSONField, ".")
	}
	if p.layout() {
		// A layout with nothing of a date or time in it formats every time as itself.
		a := time.Date(2001, 2, 3, 4, 5, 6, 789e6, time.UTC).Format(cfg.Format)
		b := time.Date(2012, 11, 20, 19, 38, 47, 123e6, time.UTC).Format(cfg.Format)
		if a == b {
			return nil, bad("bad format of times %q: want rfc3339, unix, unix-ms, unix-us, unix-ns or a layout like %q (--time)", cfg.Format, time.StampMilli)
		}
		if date := time.Date(2001, 2, 3, 19, 38, 47, 123e6, time.UTC).Format(cfg.Format); date == b {
			return nil, bad("the layout %q has no date in it: add what stands for one, such as 2006-01-02 (--time)", cfg.Format)
		}
		if p.pattern == nil && p.path == nil {
			return nil, bad("the layout %q (--time) needs a pattern that finds the time in a record (--time-regex), or a JSON field (--time-json)", cfg.Format)
		}
	}
	return p, nil
}

// layout tells that the format is one of package time.
func (p *timeParser) layout() bool {
	return p.unit == 0 && p.cfg.Format != "" && p.cfg.Format != "rfc3339"
}

// parse is the time that a record says, in Unix ms; read is when it was read.
func (p *timeParser) parse(text []byte, read time.Time) (int64, error) {
	if p.path != nil {
		v, err := p.field(text)
		if err != nil {
			return 0, err
		}
		text = v
	}
	text = text[:min(len(text), timeWindow)]
	switch {
	case p.pattern != nil:
		m := p.pattern.FindSubmatchIndex(text)
		switch {
		case m == nil:
			return 0, errNoMatch
		case len(m) > 2 && m[2] >= 0:
			text = text[m[2]:m[3]]
		default:
			text = text[m[0]:m[1]]
		}
	case p.path != nil:
	case p.unit > 0:
		text = leadingNumber(text)
		if len(text) == 0 {
			return 0, errNoNumber
		}
	default:
		ms, _, ok := findRFC3339(text, p.cfg.Zone)
		if !ok {
			return 0, errNoTime
		}
		return ms, nil
	}
	return p.value(bytes.TrimSpace(text), read)
}

// field is the text of the JSON field.
func (p *timeParser) field(text []byte) ([]byte, error) {
	v, err := p.json.ParseBytes(text)
	if err != nil {
		return nil, errNotJSON
	}
	f := v.Get(p.cfg.JSONField)
	if f == nil {
		f = v.Get(p.path...)
	}
	if f == nil {
		return nil, errNoField
	}
	switch f.Type() {
	case fastjson.TypeString:
		return f.StringBytes()
	case fastjson.TypeNumber:
		return f.MarshalTo(nil), nil
	}
	return nil, errNotText
}

// value parses a text that is the time and nothing else.
func (p *timeParser) value(text []byte, read time.Time) (int64, error) {
	switch {
	case p.unit > 0:
		return parseUnix(text, p.unit)
	case p.layout():
		t, err := time.ParseInLocation(p.cfg.Format, string(text), p.cfg.Zone)
		if err != nil {
			return 0, fmt.Errorf("parse time: %w", err)
		}
		if t.Year() == 0 {
			t = withYear(t, read.In(p.cfg.Zone))
			if p.named { // in the year 0 a zone has the time of its meridian, whatever it is called
				t, err = time.ParseInLocation("2006 "+p.cfg.Format, fmt.Sprintf("%04d %s", t.Year(), text), p.cfg.Zone)
				if err != nil {
					return 0, fmt.Errorf("parse time: %w", err)
				}
			}
		}
		if p.named {
			// Package time takes an abbreviation that it does not know for UTC.
			if zone, offset := t.Zone(); offset == 0 && t.Location() != p.cfg.Zone && !slices.Contains([]string{"UTC", "GMT", "UT", "Z", "WET"}, zone) {
				return 0, errNoZone
			}
		}
		return t.UnixMilli(), nil
	case p.cfg.Format == "":
		if ms, err := parseUnix(text, 0); err == nil {
			return ms, nil
		}
	}
	if ms, n, ok := parseRFC3339(text, p.cfg.Zone); ok && n == len(text) {
		return ms, nil
	}
	return 0, errNoTime
}

// withYear gives t, which has none, the latest year with which it is no more than a day after now. A
// 29th of February goes back to a leap year.
func withYear(t, now time.Time) time.Time {
	limit := now.Add(24 * time.Hour)
	for year := now.Year() + 1; year > now.Year()-9; year-- {
		c := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
		if c.Month() == t.Month() && !c.After(limit) {
			return c
		}
	}
	return t
}

func leadingNumber(text []byte) []byte {
	text = bytes.TrimLeft(text, " \t[\"")
	n := 0
	for n < len(text) && (text[n] >= '0' && text[n] <= '9' || text[n] == '.' || text[n] == '-' && n == 0) {
		n++
	}
	return bytes.TrimSuffix(text[:n], []byte{'.'})
}

// parseUnix reads a decimal number of units since 1970 and returns Unix ms, rounded down. With perSecond 0 the number's
// size tells the unit: up to 1e11 is seconds (until the year 5138), and so on in steps of a thousand.
func parseUnix(text []byte, perSecond int64) (int64, error) {
	whole, frac, point := strings.Cut(string(text), ".")
	if point && (frac == "" || strings.Trim(frac, "0123456789") != "") {
		if f, err := strconv.ParseFloat(string(text), 64); err == nil { // 1.7e9
			return floatUnix(f, perSecond)
		}
		return 0, errNoTime
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(text), 64)
		if ferr != nil {
			return 0, fmt.Errorf("parse Unix time: %w", err)
		}
		return floatUnix(f, perSecond)
	}
	if perSecond == 0 {
		perSecond = guessUnit(math.Abs(float64(n)))
	}
	if perSecond > 1000 {
		return floorDiv(n, perSecond/1000), nil
	}
	scale := 1000 / perSecond
	if n > math.MaxInt64/scale-1 || n < math.MinInt64/scale+1 {
		if n < 0 { // absurd, and clamped as such
			return math.MinInt64, nil
		}
		return math.MaxInt64, nil
	}
	ms := n * scale
	if scale == 1000 && point {
		sub, _ := strconv.ParseInt((frac + "000")[:3], 10, 64)
		if whole[0] == '-' {
			sub = -sub
		}
		ms += sub
	}
	return ms, nil
}

func floatUnix(f float64, perSecond int64) (int64, error) {
	if math.IsNaN(f) {
		return 0, errNoTime
	}
	if perSecond == 0 {
		perSecond = guessUnit(math.Abs(f))
	}
	f = math.Floor(f * 1000 / float64(perSecond))
	return int64(max(-math.MaxInt64, min(f, math.MaxInt64/2))), nil
}

func guessUnit(n float64) int64 {
	switch {
	case n < 1e11:
		return 1
	case n < 1e14:
		return 1e3
	case n < 1e17:
		return 1e6
	}
	return 1e9
}

func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// findRFC3339 finds the first time in a text.
func findRFC3339(text []byte, zone *time.Location) (ms int64, at int, ok bool) {
	for at = 0; ; at++ {
		// The first '-' stands behind the year.
		i := bytes.IndexByte(text[at:], '-')
		if i < 0 {
			return 0, 0, false
		}
		at += i
		if at < 4 || at >= 5 && digit(text[at-5]) {
			continue
		}
		if ms, _, ok := parseRFC3339(text[at-4:], zone); ok {
			return ms, at - 4, true
		}
	}
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// parseRFC3339 reads a time at the front of text: YYYY-MM-DD, T, t or a space, hh:mm:ss, a fraction behind a point or a
// comma, and Z or an offset, hh:mm or hhmm. It uses n bytes.
func parseRFC3339(text []byte, zone *time.Location) (ms int64, n int, ok bool) {
	const shape = "dddd-dd-ddTdd:dd:dd"
	if len(text) < len(shape) {
		return 0, 0, false
	}
	for i := range len(shape) {
		c := text[i]
		switch shape[i] {
		case 'd':
			ok = digit(c)
		case 'T':
			ok = c == 'T' || c == 't' || c == ' ' || c == '_'
		default:
			ok = c == shape[i]
		}
		if !ok {
			return 0, 0, false
		}
	}
	two := func(i int) int { return int(text[i]-'0')*10 + int(text[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, sec := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || sec > 60 {
		return 0, 0, false
	}
	n = len(shape)
	milli := 0
	if n+1 < len(text) && (text[n] == '.' || text[n] == ',') && digit(text[n+1]) {
		n++
		for unit := 100; n < len(text) && digit(text[n]); n++ {
			milli += int(text[n]-'0') * unit
			unit /= 10
		}
	}
	rest := text[n:]
	if offset, k, ok := parseOffset(rest); ok {
		n += k
		zone = time.UTC
		sec -= offset
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, milli*1e6, zone)
	if text := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC); text.Day() != day {
		return 0, 0, false // the 31st of April
	}
	return t.UnixMilli(), n, true
}

// parseOffset reads Z or an offset in seconds, which may stand behind one space as in Ruby's and Git's times.
func parseOffset(text []byte) (seconds, n int, ok bool) {
	if len(text) > 0 && (text[0] == 'Z' || text[0] == 'z') {
		return 0, 1, true
	}
	if len(text) > 1 && text[0] == ' ' && (text[1] == '+' || text[1] == '-') {
		seconds, n, ok = parseOffset(text[1:])
		if whole := len("+hhmm"); n < whole || len(text) > n+1 && digit(text[n+1]) {
			return 0, 0, false // a number
		}
		return seconds, n + 1, ok
	}
	if len(text) < 3 || text[0] != '+' && text[0] != '-' || !digit(text[1]) || !digit(text[2]) {
		return 0, 0, false
	}
	hours, minutes := int(text[1]-'0')*10+int(text[2]-'0'), 0
	n = 3
	rest := text[3:]
	if len(rest) > 0 && rest[0] == ':' {
		rest = rest[1:]
	}
	if len(rest) >= 2 && digit(rest[0]) && digit(rest[1]) {
		minutes = int(rest[0]-'0')*10 + int(rest[1]-'0')
		n = len(text) - len(rest) + 2
	}
	if hours > 23 || minutes > 59 {
		return 0, 0, false
	}
	seconds = hours*3600 + minutes*60
	if text[0] == '-' {
		seconds = -seconds
	}
	return seconds, n, true
}
