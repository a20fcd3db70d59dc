package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query/api"
)

// up, all in one process:
//
//	oklog forward ──TCP──▶ embedded NATS ──in process──▶ ingest ──▶ file://DIR/bucket ──▶ serve ──HTTP──▶ oklog-query
//	                       DIR/jetstream                            or --bucket
//	                       or --nats                                │    ▲
//	                                                                └────┘ compact
func upCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "up",
		Usage: "run all of it in one process",
		Description: "Starts a NATS server with JetStream in DIR/jetstream, an ingester that stores segments in the folder DIR/bucket, a compactor that\n" +
			"merges them, and a server that answers queries on this machine. What was published and acked survives a crash of the machine. --nats and --bucket take the place of the embedded parts.\n\n" +
			"Examples:\n\n" +
			"   oklog up --data /var/lib/oklog\n\n" +
			"   oklog up --data ./data --bucket 's3://minioadmin:minioadmin@127.0.0.1:9000/logs?tls=false'",
		Flags: concat([]cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` that holds everything; made when absent", EnvVars: []string{"OKLOG_DATA"}},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics; none if empty", Value: "127.0.0.1:7650", EnvVars: []string{"OKLOG_HTTP"}},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` of this machine to answer queries at, as oklog serve does; none if empty", Value: defaultServe, EnvVars: []string{"OKLOG_LISTEN"}, Category: catServe},
			&cli.StringFlag{Name: "nats-listen", Usage: "`ADDRESS` of the embedded NATS server", Value: "127.0.0.1:4222", EnvVars: []string{"OKLOG_NATS_LISTEN"}, Category: "NATS"},
			flags.Age("compact-every", "compact the buckets every `TIME`, as oklog compact does; 0: never", "10m", catCompact),
		}, flags.NATS("`URL` of a NATS server to use instead of the embedded one"), flags.NATSLimits(), flags.Buckets(), []cli.Flag{flags.WriteQuorum(flags.StoredAt)}, ingestFlags(), flags.Log()),
		Action: func(c *cli.Context) error { return runUp(c, std) },
	}
}

// What compaction makes of segments, and takes in memory besides --memory, in bytes: less than a compactor of its own. Likewise queries.
const upTarget, upMemory, upQueries = 32 << 20, 128 << 20, 256 << 20

func runUp(c *cli.Context, std streams) error {
	p, err := ingestParts(c, std)
	if err != nil {
		return err
	}
	if c.String("data") == "" && (p.stream.URL == "" || len(c.StringSlice("bucket")) == 0) {
		return fmt.Errorf("no folder is named: add --data DIR, or set OKLOG_DATA")
	}
	dir, err := filepath.Abs(c.String("data"))
	if err != nil {
		return fmt.Errorf("find the folder %s: %w (--data)", c.String("data"), err)
	}
	if p.every, err = flags.AgeOf(c, "compact-every"); err != nil {
		return err
	}
	memory, err := flags.Bytes(c, "memory")
	if err != nil {
		return err
	}
	if p.every > 0 {
		p.compact = compact.Config{Quorum: c.Int("write-quorum"), Level: segment.Best, Target: upTarget, Memory: upMemory}
		memory += upMemory
	}
	if listen := c.String("listen"); listen != "" {
		if p.serving, err = upServing(listen, p.log); err != nil {
			return err
		}
		memory += upQueries
	}
	flags.LimitMemory(memory)
	natsURL := p.stream.URL
	if natsURL == "" {
		server, err := embedded.Start(embedded.Config{
			Dir: filepath.Join(dir, "jetstream"), Listen: c.String("nats-listen"),
			User: p.stream.Auth.User, Password: p.stream.Auth.Password, Logger: p.log,
		})
		if err != nil {
			return err
		}
		defer server.Shutdown()
		p.stream.InProcess, natsURL = server, server.ClientURL()
	}
	if len(c.StringSlice("bucket")) == 0 {
		bucket := filepath.Join(dir, "bucket")
		if err := os.MkdirAll(bucket, 0o755); err != nil {
			return fmt.Errorf("make the bucket's folder: %w: choose another with --data", err)
		}
		if err := c.Set("bucket", fileURL(bucket)); err != nil {
			return err
		}
	}
	return p.run(c, func(http, queries string) {
		text := welcome(natsURL, http, queries, c.StringSlice("bucket"))
		if p.stream.URL != "" {
			text = "Using the NATS server that --nats or OKLOG_NATS names; none is embedded.\n" + text
		}
		fmt.Fprint(std.out, text)
	})
}

// upServing is what answers queries: a few at a time, and nobody's but this machine's.
func upServing(listen string, log *slog.Logger) (*serving, error) {
	s := &serving{
		log: log.With("part", "serve"), listen: listen, stopTimeout: 5 * time.Second, group: groupConfig{name: noGroup},
		api: api.Config{MaxConcurrent: 3},
	}
	s.api.Logger, s.cache.Logger = s.log, s.log
	if err := s.shareMemory(upQueries); err != nil {
		return nil, err
	}
	if err := s.checkListen(false); err != nil {
		return nil, fmt.Errorf("%w; for others, run oklog serve beside it", err)
	}
	return s, nil
}

// fileURL names a folder as a bucket.
func fileURL(dir string) string {
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(dir), "/")}).String()
}

// welcome is what to type next.
func welcome(nats, http, queries string, buckets []string) string {
	var text strings.Builder
	text.WriteString("oklog is up.")
	if http != "" {
		text.WriteString(" Health and metrics: " + http + "/readyz, /metrics")
	}
	forward, query := "oklog forward", "oklog-query"
	if nats != stream.DefaultURL {
		forward += " --nats " + nats
	}
	if queries != "" {
		query += " --server " + queries
	} else {
		query += " --nats " + nats
		for _, b := range buckets {
			query += " --bucket '" + open.Redact(b) + "'"
		}
	}
	text.WriteString("\n\nIn another terminal, send it some lines, and find them:\n\n")
	text.WriteString("  " + forward + " --topic demo FILE...\n")
	text.WriteString("  " + query + " --topic demo PATTERN\n\n")
	return text.String()
}
