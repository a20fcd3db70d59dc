package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/ingest"
	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/open"
)

func ingestCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "ingest",
		Usage: "store what is published as segments in buckets",
		Description: "Pulls batches from JetStream, gathers them by topic and day, writes a segment by size or age, and acks once it is durable in\n" +
			"as many buckets as --write-quorum asks for. Keeps nothing on disk; run as many as you like.\n\n" +
			"Examples:\n\n" +
			"   oklog ingest --nats nats://nats:4222 --bucket 's3://s3.eu-central-1.amazonaws.com/logs?region=eu-central-1'\n\n" +
			"   AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret oklog ingest --nats nats://127.0.0.1:4222 \\\n" +
			"      --bucket 's3://127.0.0.1:9000/logs?tls=false' --bucket 's3://127.0.0.1:9001/logs?tls=false' --write-quorum 1",
		Flags: concat(flags.NATS("`URL` of the NATS server: nats://HOST:PORT or tls://HOST:PORT"), flags.NATSLimits(), flags.Buckets(),
			[]cli.Flag{flags.WriteQuorum(flags.StoredAt)}, ingestFlags(),
			[]cli.Flag{
				&cli.BoolFlag{Name: "wait", Usage: "keep trying when the NATS server cannot be reached at the start", EnvVars: []string{"OKLOG_WAIT"}},
				&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics, like 127.0.0.1:7650; none if empty", EnvVars: []string{"OKLOG_HTTP"}},
			}, flags.Log()),
		Action: func(c *cli.Context) error { return runIngest(c, std) },
	}
}

func concat(lists ...[]cli.Flag) (all []cli.Flag) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

const catIngest = "Ingest"

func ingestFlags() []cli.Flag {
	return []cli.Flag{
		flags.Size("flush-size", "`SIZE` of a topic's text at which it is written as a segment", ingest.DefaultFlushSize, catIngest),
		&cli.DurationFlag{Name: "flush-age", Usage: "`TIME` after which it is written although it is smaller", Value: ingest.DefaultFlushAge, EnvVars: []string{"OKLOG_FLUSH_AGE"}, Category: catIngest},
		flags.Size("memory", "`SIZE` of memory to keep within", 256<<20, catIngest),
		&cli.DurationFlag{Name: "stop-timeout", Usage: "`TIME` that a stop may take to write what is in hand", Value: ingest.DefaultStopTimeout, EnvVars: []string{"OKLOG_STOP_TIMEOUT"}, Category: catIngest},
	}
}

func runIngest(c *cli.Context, std streams) error {
	p, err := ingestParts(c, std)
	if err != nil {
		return err
	}
	p.stream.WaitForServer = c.Bool("wait")
	if p.stream.URL == "" {
		return errors.New("no NATS server is named: add --nats nats://HOST:4222, or set OKLOG_NATS")
	}
	return p.run(c, func(http, _ string) {
		if http != "" {
			p.log.Info("serving metrics", "url", http+"/metrics")
		}
	})
}

// parts is an ingester's configuration, and what it is to be connected with.
//
//	stream ──▶ ingest ──▶ bucket        HTTP: health of both, metrics of all
//	                      │    ▲
//	                      ├────┘ compact, in oklog up
//	                      └─▶ serving, in oklog up
type parts struct {
	log     *slog.Logger
	ingest  ingest.Config
	stream  stream.Config
	compact compact.Config
	every   time.Duration // between runs of compact; 0: there are none
	serving *serving      // nil: queries are not answered
}

// ingestParts reads the flags that ingest and up share.
func ingestParts(c *cli.Context, std streams) (p parts, err error) {
	if err := noArgs(c); err != nil {
		return p, err
	}
	if p.log, err = flags.Logger(c, std.err); err != nil {
		return p, err
	}
	if p.ingest, err = ingestConfig(c, p.log); err != nil {
		return p, err
	}
	p.stream, err = flags.Stream(c, p.log)
	return p, err
}

// run connects the parts and ingests until c's context is done. ready is told the addresses of health and of queries, or "", when all is
// connected.
func (p parts) run(c *cli.Context, ready func(http, queries string)) error {
	reg := newRegistry()
	b, err := openBuckets(c, p.log, reg, p.ingest.HeldBytes/2)
	if err != nil {
		return err
	}
	defer closing(p.log, "bucket", b.Close)
	s, err := connect(c.Context, p.stream, p.log)
	if wasStopped(c.Context, err) {
		return nil // as it is later
	}
	if err != nil {
		return err
	}
	defer closing(p.log, "connection to NATS", s.Close)
	http, stop, err := serveHTTP(c, reg, p.log, natsCheck(s), bucketCheck(b))
	if err != nil {
		return err
	}
	defer stop()
	queries := ""
	if p.serving != nil {
		url, stop, err := p.serving.start(c.Context, b, s, reg)
		if err != nil {
			return err
		}
		defer stop()
		queries = url
	}
	ready(http, queries)
	if p.every > 0 {
		stop, err := p.startCompactor(c.Context, b, reg)
		if err != nil {
			return err
		}
		defer stop()
	}
	return ingestFrom(c.Context, p.ingest, s, b, reg)
}

// startCompactor has the buckets compacted until the function that it returns is called.
func (p parts) startCompactor(ctx context.Context, b *open.Opened, reg prometheus.Registerer) (stop func(), err error) {
	p.compact.Copies, p.compact.Logger, p.compact.Registerer = copiesOf(b), p.log.With("part", "compact"), reg
	c, err := compact.New(p.compact)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		compactEvery(ctx, c, p.compact.Logger, p.every, func(context.Context) {})
	}()
	return func() { cancel(); <-ended }, nil
}

// ingestFrom runs an ingester until ctx is done.
func ingestFrom(ctx context.Context, cfg ingest.Config, s *stream.Stream, b objstore.Bucket, reg prometheus.Registerer) error {
	cfg.Stream, cfg.Bucket, cfg.Registerer = s, b, reg
	in, err := ingest.New(cfg)
	if err != nil {
		return err
	}
	cfg.Logger.Info("ingesting", "flush size", cfg.FlushSize, "flush age", cfg.FlushAge)
	if err := in.Run(ctx); err != nil {
		return err
	}
	cfg.Logger.Info("stopped: everything in hand is stored or back in the stream")
	return nil
}

func ingestConfig(c *cli.Context, log *slog.Logger) (cfg ingest.Config, err error) {
	if err := flags.Positive(c, "flush-age", "stop-timeout", "ack-wait"); err != nil {
		return cfg, err
	}
	if age, wait := c.Duration("flush-age"), c.Duration("ack-wait"); 3*age > wait {
		return cfg, fmt.Errorf("a flush age of %s is over a third of the ack wait, %s: batches would be delivered again while they wait; lower --flush-age or raise --ack-wait", age, wait)
	}
	cfg.FlushAge, cfg.StopTimeout, cfg.Logger = c.Duration("flush-age"), c.Duration("stop-timeout"), log
	if cfg.FlushSize, err = flags.Bytes(c, "flush-size"); err != nil {
		return cfg, err
	}
	memory, err := flags.Bytes(c, "memory")
	if err != nil {
		return cfg, err
	}
	if memory < 32<<20 {
		return cfg, fmt.Errorf("%d bytes of memory are too few: want 32MiB at least (--memory)", memory)
	}
	// Three sixteenths each for batches that wait and for merges, and half of that for copies that are late (see run). The rest is
	// for encoders, the program's own needs and what the garbage collector has not taken back yet.
	cfg.HeldBytes, cfg.MergeBytes = memory*3/16, memory*3/16
	flags.LimitMemory(memory)
	return cfg, nil
}

// wasStopped tells that err is nothing but the end of ctx.
func wasStopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// connect connects and makes sure of the stream. With WaitForServer it keeps trying.
func connect(ctx context.Context, cfg stream.Config, log *slog.Logger) (*stream.Stream, error) {
	s, err := stream.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for {
		err := s.Ensure(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil { // it was told to stop: nothing is wrong
			err = fmt.Errorf("connect to NATS: %w", context.Cause(ctx))
		}
		if !cfg.WaitForServer || !stream.Retryable(err) || ctx.Err() != nil {
			return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
		log.Warn("the stream is not there yet; trying again", "cause", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// closing closes a part at the end of a run, and waits for what it does in the background.
func closing(log *slog.Logger, what string, closeIt func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := closeIt(ctx); err != nil {
		log.Warn("could not close cleanly", "what", what, "cause", err)
	}
}
