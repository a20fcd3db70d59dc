package query

import (
	"errors"
	"strings"
	"time"
)

// ParseZone reads the name of a time zone: utc, a name of the IANA database such as Europe/Berlin, or an offset such as +05:30. It is nil for UTC.
func ParseZone(name string) (*time.Location, error) {
	switch strings.ToLower(name) {
	case "", "utc", "z":
		return nil, nil
	case "local": // whose?
		return nil, errors.New("want utc, a name like Europe/Berlin, or an offset like +05:30")
	}
	if t, err := time.Parse("-07:00", name); err == nil {
		_, seconds := t.Zone()
		return time.FixedZone(name, seconds), nil // t's own may be this machine's
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("there is no such zone: want utc, a name like Europe/Berlin, or an offset like +05:30")
	}
	return zone, nil
}
