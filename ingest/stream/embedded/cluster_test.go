package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"oklog/ingest/stream"
)

// startCluster runs three servers that replicate among each other. The package itself offers no clusters, but its
// users' servers are some, and only one shows what a lagging replica does to a reader.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var routes []*url.URL
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		defer l.Close()
	}
	var servers []*server.Server
	for i, r := range routes {
		cfg := Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
		opts, err := cfg.options(true)
		if err != nil {
			t.Fatal(err)
		}
		addr, err := net.ResolveTCPAddr("tcp", r.Host)
		if err != nil {
			t.Fatal(err)
		}
		opts.ServerName = fmt.Sprint("s", i)
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: addr.Port}
		opts.Routes = routes
		opts.SyncAlways = false // three fsyncs for each of many small messages are not what is tested
		ns, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		ns.SetLoggerV2(&logger{log: slog.New(slog.DiscardHandler)}, false, false, false)
		servers = append(servers, ns)
	}
	return servers
}

func poll(t *testing.T, ctx context.Context, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// On a replicated stream, a batch is seen by Unflushed as soon as its publisher has the ack, whichever replica
// answers; and with one server of three gone everything goes on.
func TestReplicatedStream(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	servers := startCluster(t)
	var urls []string
	for _, ns := range servers {
		ns.Start()
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		urls = append(urls, ns.ClientURL())
	}
	var streams []*stream.Stream
	for _, u := range urls {
		// Its own server first, the others when that one is gone.
		cfg := stream.Config{URL: u, Replicas: 3, MaxBytes: 64 << 20, AckWait: 2 * time.Second, WaitForServer: true}
		streams = append(streams, connect(t, cfg))
	}
	for _, s := range streams {
		poll(t, ctx, "ensure", func() error {
			try, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return s.Ensure(try)
		})
	}

	const n = 300
	for i := range n {
		publisher, reader := streams[i%3], streams[(i/3)%3]
		body := fmt.Sprint("body", i)
		a, err := publisher.Publish(ctx, "t", fmt.Sprint("id", i), []byte(body))
		if err == nil {
			err = a.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		last, count := "", 0
		for b, err := range reader.Unflushed(ctx, "t") {
			if err != nil {
				t.Fatal(err)
			}
			last = string(b)
			count++
		}
		if last != body || count != i+1 {
			t.Fatalf("after batch %d: %d batches, the last is %q", i, count, last)
		}
	}

	c, err := streams[0].Consume(ctx, stream.ConsumeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	servers[2].Shutdown()
	servers[2].WaitForShutdown()
	poll(t, ctx, "publish after a server is gone", func() error {
		a, err := streams[1].Publish(ctx, "t", "after", []byte("after"))
		if err == nil {
			err = a.Wait(ctx)
		}
		if err != nil && !stream.Retryable(err) {
			t.Fatal(err)
		}
		return err
	})
	seen := map[string]bool{}
	for len(seen) < n+1 {
		m, err := c.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d batches: %v", len(seen), n+1, err)
		}
		if !strings.HasPrefix(string(m.Body), "body") && string(m.Body) != "after" {
			t.Errorf("batch %q", m.Body)
		}
		seen[string(m.Body)] = true
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	}
	if _, err := streams[0].Pending(ctx); err != nil && !errors.Is(err, stream.ErrUnavailable) {
		t.Error(err)
	}
}
