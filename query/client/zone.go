package client

import (
	"os"
	"strings"
	"time"

	"oklog/query"
)

// zoneName names a zone for query.ParseZone, elsewhere perhaps. That of this machine is named by TZ or by what /etc/localtime leads to, or else by how far it is ahead now.
func zoneName(zone *time.Location) string {
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
		if named, err := query.ParseZone(name); err == nil && named != nil && name != "" {
			return name
		}
	}
	return time.Now().In(zone).Format("-07:00")
}
