package client

import (
	"testing"
	"time"

	"oklog/query"
)

// A zone has a name that a server understands.
func TestZoneName(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "+05:30", "-03:00", "UTC", ""} {
		zone, err := query.ParseZone(name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := query.ParseZone(zoneName(zone))
		if err != nil || (zone == nil) != (again == nil) || zone != nil && zone.String() != again.String() {
			t.Errorf("%q is %v, named %q, which is %v: %v", name, zone, zoneName(zone), again, err)
		}
	}
	t.Setenv("TZ", "Asia/Tokyo")
	if have := zoneName(time.Local); have != "Asia/Tokyo" {
		t.Errorf("this machine's zone is called %s", have)
	}
}
