package query

import (
	"errors"
	"os"
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

// ZoneName names a zone for ParseZone, elsewhere perhaps. That of this machine is named by TZ or by what /etc/localtime leads to, or else by how far it is ahead now.
func ZoneName(zone *time.Location) string {
	if zone == nil {
		return "UTC"
	}
	candidates := []string{zone.String()}
	if zone == time.Local {
		path, _ := os.Readlink("/etc/localtime")
		_, link, _ := strings.Cut(path, "/zoneinfo/")
		candidates = []string{strings.TrimPrefix(os.Getenv("TZ"), ":"), link}
	}
	for _, name := range candidates {
		if named, err := ParseZone(name); err == nil && named != nil && name != "" {
			return name
		}
	}
	return time.Now().In(zone).Format("-07:00")
}
