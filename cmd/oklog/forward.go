package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"oklog/cmd/internal/flags"
	"oklog/ingest/forward"
	"oklog/ingest/stream"
	"oklog/objstore/segment"
)

const (
	catTime  = "Time of records"
	catLimit = "Limits"
)

func forwardCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "forward",
		Usage:     "publish files or standard input",
		ArgsUsage: "[FILE...]",
		Description: "Reads the files named, or standard input where none is (- among files), line by line, and publishes the lines to a topic. It ends when every line is\n" +
			"durable in JetStream; with --follow it goes on as the files grow, through rotation and truncation, and picks up where it was after a restart.\n\n" +
			"Examples:\n\n" +
			"   journalctl -f -o cat | oklog forward --topic journal --source host=$(hostname)\n\n" +
			"   oklog forward --topic nginx --follow /var/log/nginx/access.log /var/log/nginx/error.log\n\n" +
			"   oklog forward --topic app --multiline '^\\d{4}-' --time rfc3339 app.log          # stack traces stay in one piece\n\n" +
			"   oklog forward --topic old --mode bulk --bucket file:///srv/logs --time rfc3339 archive.log   # backfill without NATS",
		Flags: concat([]cli.Flag{
			&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Usage: "`NAME` that the records are filed under: [a-z0-9][a-z0-9_.-]*", EnvVars: []string{"OKLOG_TOPIC"}},
			&cli.StringSliceFlag{Name: "source", Usage: "`KEY=VALUE` that the records share; several times for several"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on at the end of the files as they grow"},
			&cli.StringFlag{Name: "multiline", Usage: "`REGEX`: a line that matches starts a record, other lines belong to the one before"},
			&cli.StringFlag{Name: "mode", Usage: "`MODE`: fast (acks awaited at the end), durable (each batch acked before the next is read), bulk (segments straight into --bucket)", Value: "fast"},
			&cli.StringFlag{Name: "when-full", Usage: "`WHAT` to do when the pipeline is slower than the input: block, drop-oldest (counted) or spool (to disk, in --state)", Value: "block"},
			&cli.StringFlag{Name: "state", Usage: "`DIR` that remembers how far the files were read; default: one for each topic in the user's state folder, with --follow or spool", EnvVars: []string{"OKLOG_STATE"}},
			&cli.BoolFlag{Name: "wait", Usage: "keep trying when the NATS server cannot be reached at the start", EnvVars: []string{"OKLOG_WAIT"}},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress, no summary"},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics; none if empty", EnvVars: []string{"OKLOG_HTTP"}},

			&cli.StringFlag{Name: "time", Usage: "`FORMAT` of the time in a record: rfc3339, unix, unix-ms, unix-us, unix-ns, or a layout like 'Jan _2 15:04:05' (needs --time-regex or --time-json); default: the time of reading", Category: catTime},
			&cli.StringFlag{Name: "time-regex", Usage: "`REGEX` that finds it: the first group, or all of it", Category: catTime},
			&cli.StringFlag{Name: "time-json", Usage: "`FIELD` of a JSON record that holds it, a.b for b in a", Category: catTime},
			&cli.StringFlag{Name: "time-zone", Usage: "`ZONE` of times that name none, like Europe/Berlin or Local", Value: "UTC", Category: catTime},

			flags.Size("record-limit", "`SIZE` beyond which a record is cut into pieces", forward.DefaultRecord, catLimit),
			flags.Size("batch-size", "`SIZE` of a batch's text", segment.BlockSize, catLimit),
			&cli.DurationFlag{Name: "batch-age", Usage: "`TIME` that a line waits at most for others", Value: forward.DefaultBatchAge, Category: catLimit},
			flags.Size("spool-size", "`SIZE` of what spool keeps on disk", forward.DefaultSpool, catLimit),
			flags.Size("drop-size", "`SIZE` of what drop-oldest keeps in memory", forward.DefaultDropBytes, catLimit),
			flags.Size("flush-size", "`SIZE` of text in a segment of bulk mode", forward.DefaultFlush, catLimit),
			&cli.DurationFlag{Name: "stop-timeout", Usage: "`TIME` that a stop waits for acks", Value: forward.DefaultStop, Category: catLimit},
		}, flags.NATS("`URL` of the NATS server (default: "+stream.DefaultURL+")"), flags.NATSLimits(), flags.Buckets(), []cli.Flag{flags.WriteQuorum(flags.StoredAt)}, flags.Log()),
		Action: func(c *cli.Context) error { return runForward(c, std) },
	}
}

func runForward(c *cli.Context, std streams) error {
	var bar *progressBar
	if file, ok := std.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) && !c.Bool("quiet") {
		bar = &progressBar{file: file}
		std.err = bar
	}
	log, err := flags.Logger(c, std.err)
	if err != nil {
		return err
	}
	cfg, err := forwardConfig(c, std)
	if err != nil {
		return err
	}
	if err := cfg.Check(); err != nil {
		return err
	}
	reg := newRegistry()
	cfg.Logger, cfg.Registerer = log, reg
	var checks []check
	if cfg.Mode == forward.Bulk {
		b, err := openBuckets(c, log, reg, cfg.Limits.Flush)
		if err != nil {
			return err
		}
		defer closing(log, "bucket", b.Close)
		cfg.Putter, checks = b, append(checks, bucketCheck(b))
	} else {
		if c.IsSet("bucket") && os.Getenv("OKLOG_BUCKET") == "" {
			return errors.New("--bucket is for --mode bulk; in the other modes ingesters write to the buckets")
		}
		scfg, err := flags.Stream(c, log)
		if err != nil {
			return err
		}
		scfg.WaitForServer = c.Bool("wait")
		s, err := connect(c.Context, scfg, log)
		if cfg.Inputs.Follow && wasStopped(c.Context, err) {
			return nil // nothing was read
		}
		if err != nil {
			return err
		}
		defer closing(log, "connection to NATS", s.Close)
		cfg.Publisher, checks = forward.PublisherOf(s), append(checks, natsCheck(s))
		cfg.Permanent = func(err error) bool { return !stream.Retryable(err) }
	}
	f, err := forward.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		if err := f.Close(); err != nil {
			log.Warn("could not close cleanly", "cause", err)
		}
	}()
	_, stop, err := serveHTTP(c, reg, log, checks...)
	if err != nil {
		return err
	}
	defer stop()
	stopDrawing := func() {}
	if bar != nil {
		stopDrawing = bar.draw(func() string {
			if p := f.Progress(); p.Elapsed > time.Second {
				return progressLine(p)
			}
			return ""
		})
	}
	stats, err := f.Run(c.Context)
	stopDrawing()
	if !c.Bool("quiet") && (err == nil && c.Context.Err() == nil || stats.Records > 0) {
		fmt.Fprintln(std.err, summary(cfg.Topic, stats, f.Progress().Elapsed))
	}
	switch {
	case c.Context.Err() == nil || err != nil && !errors.Is(err, context.Canceled):
		return err
	case cfg.Inputs.Follow:
		return nil // asked to stop, and everything read is safe
	default:
		return fmt.Errorf("%w: what was read until then is safe, the rest of the input was not read%s", errInterrupted, again(cfg))
	}
}

func forwardConfig(c *cli.Context, std streams) (cfg forward.Config, err error) {
	if c.String("topic") == "" {
		return cfg, errors.New("no topic is named: add --topic NAME")
	}
	cfg.Topic = c.String("topic")
	if cfg.Source, err = segment.ParseSource(c.StringSlice("source")); err != nil {
		return cfg, fmt.Errorf("%w (--source)", err)
	}
	if cfg.Mode, err = forward.ParseMode(c.String("mode")); err != nil {
		return cfg, err
	}
	if cfg.WhenFull, err = forward.ParseWhenFull(c.String("when-full")); err != nil {
		return cfg, err
	}
	zone, err := time.LoadLocation(c.String("time-zone"))
	if err != nil {
		return cfg, fmt.Errorf("%w: want a name like UTC, Local or Europe/Berlin (--time-zone)", err)
	}
	cfg.Time = forward.TimeConfig{Format: c.String("time"), Pattern: c.String("time-regex"), JSONField: c.String("time-json"), Zone: zone}
	if err := flags.Positive(c, "batch-age", "stop-timeout"); err != nil {
		return cfg, err
	}
	cfg.Limits.BatchAge, cfg.Limits.Stop = c.Duration("batch-age"), c.Duration("stop-timeout")
	var record, batch int64
	spool := "spool-size"
	if cfg.WhenFull == forward.DropOldest {
		spool = "drop-size"
	}
	for _, s := range []struct {
		name string
		to   *int64
	}{{"record-limit", &record}, {"batch-size", &batch}, {spool, &cfg.Limits.Spool}, {"flush-size", &cfg.Limits.Flush}} {
		if *s.to, err = flags.Bytes(c, s.name); err != nil {
			return cfg, err
		}
		if *s.to < 1 || *s.to > 1<<40 {
			return cfg, fmt.Errorf("bad size %q: want more than 0 (--%s)", c.String(s.name), s.name)
		}
	}
	cfg.Limits.Record, cfg.Limits.Batch = int(record), int(batch)
	cfg.Inputs = forward.Inputs{Follow: c.Bool("follow"), Multiline: c.String("multiline"), StateDir: c.String("state")}
	for _, path := range c.Args().Slice() {
		if path == "-" {
			cfg.Inputs.Stdin = std.in
		} else {
			cfg.Inputs.Files = append(cfg.Inputs.Files, path)
		}
	}
	if !c.Args().Present() {
		cfg.Inputs.Stdin = std.in
	}
	if cfg.Inputs.StateDir == "" && (cfg.Inputs.Follow || cfg.WhenFull == forward.Spool) {
		if cfg.Inputs.StateDir, err = defaultState(cfg.Topic); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// defaultState is where a forwarder of the topic remembers how far it was, unless it is told.
func defaultState(topic string) (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for the state: %w: name one with --state", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "oklog", "forward", topic), nil
}

// again says how to go on after an interruption.
func again(cfg forward.Config) string {
	if cfg.Inputs.StateDir != "" {
		return "; the same command goes on where it was"
	}
	return "; --state DIR would have the next run go on where this one was"
}

// progressLine is at most 80 columns wide.
func progressLine(p forward.Progress) string {
	size := func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
	line := size(p.Read)
	if p.Total > 0 {
		line = fmt.Sprintf("%3.0f%%  %s of %s", min(100*float64(p.Read)/float64(p.Total), 100), size(p.Read), size(p.Total))
	}
	line += fmt.Sprintf("  %s/s  %s read, %s acked", size(int64(p.Rate)), humanize.Comma(p.Records), humanize.Comma(p.Acked))
	if left := p.Total - p.Read; p.Total > 0 && left > 0 && p.Rate > 0 {
		line += "  " + time.Duration(float64(left)/p.Rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return line
}

// summary is one line on what was done, with whatever went other than it should.
func summary(topic string, s forward.Stats, took time.Duration) string {
	if s.Records == 0 && s.Replayed == 0 {
		return "nothing new to forward to " + topic
	}
	plural := "s"
	if s.Acked == 1 {
		plural = ""
	}
	line := fmt.Sprintf("forwarded %s record%s (%s) to %s in %s", humanize.Comma(s.Acked), plural, humanize.Bytes(uint64(s.Bytes)), topic, took.Round(time.Millisecond))
	var odd []string
	for _, o := range []struct {
		n    int64
		what string
	}{
		{s.Dropped, "dropped"}, {s.Cut, "cut into pieces"}, {s.Unparsed, "without a time that parses"}, {s.Skewed, "with an absurd time"},
		{s.Replayed, "sent again from an earlier run"}, {max(s.Records-s.Acked-s.Dropped, 0), "not acked"},
	} {
		if o.n > 0 {
			odd = append(odd, humanize.Comma(o.n)+" "+o.what)
		}
	}
	if s.Missed > 0 {
		odd = append(odd, humanize.Comma(s.Missed)+" rotated files that could not be read")
	}
	if len(odd) > 0 {
		line += "; " + strings.Join(odd, ", ")
	}
	return line
}
