package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"oklog/ingest/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustStart(t *testing.T, cfg Config) *Server {
	t.Helper()
	srv, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	return srv
}

func connect(t *testing.T, cfg stream.Config) *stream.Stream {
	t.Helper()
	s, err := stream.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// What was acked is there after a restart in the same folder, through the network and within the process.
func TestRestartKeepsWhatWasAcked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	const n = 20
	for round := range 3 {
		srv := mustStart(t, Config{Dir: dir, Listen: "127.0.0.1:0"})
		if !strings.HasPrefix(srv.ClientURL(), "nats://127.0.0.1:") || strings.HasSuffix(srv.ClientURL(), ":0") {
			t.Errorf("client URL %s", srv.ClientURL())
		}
		cfg := stream.Config{URL: srv.ClientURL()}
		if round == 1 {
			cfg.InProcess = srv
		}
		s := connect(t, cfg)
		if err := s.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			a, err := s.Publish(t.Context(), "t", fmt.Sprint(round, "-", i), []byte(fmt.Sprint(round, i)))
			if err == nil {
				err = a.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		have := 0
		for _, err := range s.Unflushed(t.Context(), "t") {
			if err != nil {
				t.Fatal(err)
			}
			have++
		}
		if have != (round+1)*n {
			t.Errorf("round %d: %d batches", round, have)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		srv.Shutdown()
	}
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"port in use":   {Config{Dir: t.TempDir(), Listen: taken.Addr().String()}, "--nats-listen"},
		"no port":       {Config{Dir: t.TempDir(), Listen: "127.0.0.1"}, "--nats-listen"},
		"bad port":      {Config{Dir: t.TempDir(), Listen: "127.0.0.1:http"}, "--nats-listen"},
		"not a folder":  {Config{Dir: file, Listen: "127.0.0.1:0"}, file},
		"no folder":     {Config{Listen: "127.0.0.1:0"}, "--data"},
		"payload":       {Config{Dir: t.TempDir(), MaxPayload: 10}, "payload"},
		"store":         {Config{Dir: t.TempDir(), MaxStore: -1}, "store limit"},
		"user, no pass": {Config{Dir: t.TempDir(), User: "u"}, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, err := Start(c.cfg)
			if err == nil {
				srv.Shutdown()
				t.Fatal("it started")
			}
			if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("want %q in: %v", c.want, err)
			}
		})
	}
}

func TestMaxPayload(t *testing.T) {
	srv := mustStart(t, Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxPayload: 256 << 10})
	if n := connect(t, stream.Config{URL: srv.ClientURL()}).MaxBatch(); n > 256<<10 || n < 200<<10 {
		t.Errorf("batches of %d", n)
	}
}

func TestServerWithoutJetStreamIsRefused(t *testing.T) {
	srv, err := start(Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	_, err = stream.Connect(t.Context(), stream.Config{URL: srv.ClientURL()})
	if !errors.Is(err, stream.ErrConnect) || !strings.Contains(err.Error(), "JetStream is not enabled") || !strings.Contains(err.Error(), "--jetstream") {
		t.Error(err)
	}
}
