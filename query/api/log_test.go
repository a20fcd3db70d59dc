package api

import (
	"bytes"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"oklog/query/api/wire"
)

// lockedBuffer is written to by handlers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What is searched for may be a secret: it is in no log, also where it is wrong.
func TestNoPatternsInLogs(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 3)
	cfg := p.config()
	var log lockedBuffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := listen(t, newAPI(t, cfg))
	for _, params := range []string{"pattern=hunter2", "regex&pattern=hunter2(", "where=hunter2~~", "where=a~/hunter2(/", "source=hunter2", "source=a%3D~hunter2("} {
		if r := get(t, s.URL+wire.Query+"?topic=web&"+params); r.StatusCode != 200 && !strings.Contains(string(r.body), `"parameter"`) {
			t.Errorf("%s: %s", params, r.body)
		}
	}
	get(t, s.URL+wire.Top+"?topic=web&field="+url.QueryEscape("hunter2[")).failed(t, 400, "field", "bad expression")
	if have := log.String(); strings.Contains(have, "hunter2") || strings.Count(have, "msg=request") != 7 {
		t.Errorf("%s", have)
	}
}
