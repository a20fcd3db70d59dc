package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore/metrics"
	"oklog/objstore/open"
)

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "oklog", Name: "build_info", Help: "The program's version."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	reg.MustRegister(info)
	return reg
}

// openBuckets opens the buckets named, with their metrics in reg.
func openBuckets(c *cli.Context, log *slog.Logger, reg *prometheus.Registry, detached int64) (*open.Opened, error) {
	meter, err := metrics.New(reg)
	if err != nil {
		return nil, err
	}
	return flags.Open(c.Context, c, log, meter, detached)
}

// openBucketsToRead is openBuckets for what writes nothing.
func openBucketsToRead(c *cli.Context, log *slog.Logger, reg *prometheus.Registry) (*open.Opened, error) {
	meter, err := metrics.New(reg)
	if err != nil {
		return nil, err
	}
	return flags.OpenToRead(c.Context, c, log, meter)
}

// check tells whether a part is ready to work.
type check struct {
	name string
	ok   func(context.Context) error
}

func natsCheck(s *stream.Stream) check {
	return check{"nats", func(context.Context) error {
		if !s.Connected() {
			return errors.New("not connected")
		}
		return nil
	}}
}

func bucketCheck(b *open.Opened) check { return check{"bucket", b.Check} }

// serveHTTP answers /healthz, /readyz, /metrics and /debug/pprof on the address of --http until stop is called, if there is one. It
// returns once it listens, with the URL.
func serveHTTP(c *cli.Context, reg *prometheus.Registry, log *slog.Logger, checks ...check) (url string, stop func(), err error) {
	address := c.String("http")
	if address == "" {
		return "", func() {}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("listen for HTTP on %s: %w: choose another address with --http", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		var report string
		status := http.StatusOK
		for _, c := range checks {
			if err := c.ok(ctx); err != nil {
				status = http.StatusServiceUnavailable
				report += fmt.Sprintf("%s: %v\n", c.name, err)
			} else {
				report += c.name + ": ok\n"
			}
		}
		w.WriteHeader(status)
		fmt.Fprint(w, report)
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP has ended", "cause", err)
		}
	}()
	return "http://" + l.Addr().String(), func() {
		if err := srv.Close(); err != nil {
			log.Debug("close HTTP", "cause", err)
		}
		<-served
	}, nil
}
