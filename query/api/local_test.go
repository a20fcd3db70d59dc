package api

import (
	"net/http"
	"testing"

	"oklog/query/api/wire"
)

// Where the machine alone keeps others out, a page in a browser on it gets nothing: neither by a name of its own that leads here, nor from its
// own site.
func TestLocalRefusesForeignPages(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 3)
	cfg := p.config()
	cfg.Local = true
	s := listen(t, newAPI(t, cfg))
	open := p.config()
	everybody := listen(t, newAPI(t, open))
	f := func(base, host, site string, want int) {
		t.Helper()
		for _, path := range []string{wire.Query + "?topic=web", wire.Topics, wire.Sources + "?topic=web"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if host != "" {
				r.Host = host
			}
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
			if have := do(t, r); have.StatusCode != want {
				t.Errorf("%s, host %q, site %q: want %d, have %d: %s", path, host, site, want, have.StatusCode, have.body)
			}
		}
	}
	for _, host := range []string{"", "localhost", "LocalHost:7651", "localhost.:7651", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:7651", "::1", "[fe80::1%eth0]:7651"} {
		f(s.URL, host, "", 200)
	}
	for _, host := range []string{"evil.example", "evil.example:7651", "localhost.evil.example", "127.0.0.1.evil.example:7651", "127.1", "localhost:80:80", "xn--localhost"} {
		f(s.URL, host, "", 403)
		f(everybody.URL, host, "", 200)
	}
	f(s.URL, "", "none", 200)
	f(s.URL, "", "same-origin", 200)
	f(s.URL, "", "cross-site", 403)
	f(s.URL, "localhost", "same-site", 403)
	f(everybody.URL, "", "cross-site", 200)
}
