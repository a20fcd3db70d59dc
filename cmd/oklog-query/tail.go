package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/client"
	"oklog/query/tail"
)

const tailDescription = `Prints the last records of a topic that hold PATTERN, and then each one as it is published, until Ctrl-C.

Examples:
   oklog-query tail -i -E 'error|warn'
   oklog-query tail -n 0 --source host=web1 --time "connection refused"
   oklog-query tail --json -m 1 "deploy finished"     waits for it
   oklog-query tail --nats nats://nats:4222 --bucket s3://minio:9000/logs?tls=false --topic web
   oklog-query tail --server https://logs:7651 --topic web

Records come from NATS as forwarders publish them. The last ones, and what was missed while NATS was away, are read from what is not flushed yet and from --bucket; without it, what is flushed already is not found. Each record is printed once. Records that were missed and not found are counted: "N records skipped" on standard error, as everything that is not a record. Whether they match is not known of them. Records are printed as they come, those of a source in their order. With --server, the server does all that; where it ends, or is away, it is asked again from the last record on.

Exit status: 0 -m was reached, or nobody reads any more, 2 an error, 130 interrupted.`

// tailOptions are the arguments of tail, checked.
type tailOptions struct {
	place
	server  *client.Config // nil: the stream itself
	stream  stream.Config
	request query.Request
	query   query.Query // the same, compiled
	lines   int
	look    look
}

func newTail() *cli.App {
	return &cli.App{
		Name: "oklog-query tail", Usage: "show records as they are published",
		UsageText:   "oklog-query tail --nats URL [--bucket URL...] --topic T [-n 10] [options] [PATTERN]",
		Description: tailDescription,
		Flags: slices.Concat(findFlags(), []cli.Flag{
			&cli.StringFlag{Name: "from", Category: catTime, Usage: "look for the first --lines from `TIME` on", DefaultText: query.DefaultFrom},
			zoneFlag(),
			&cli.StringFlag{Name: "lines", Aliases: []string{"n"}, Category: catOutput, Value: "10", Usage: "print the last `N` records that match, first; 0: none"},
			&cli.StringFlag{Name: "limit", Aliases: []string{"m", "max-count"}, Category: catOutput, Usage: "end after `N` records", DefaultText: "no limit"},
			&cli.StringFlag{Name: "color", Aliases: []string{"colour"}, Category: catOutput, Usage: "`WHEN` to use colours: auto (on a terminal, without NO_COLOR), always or never", DefaultText: "auto"},
			onlyFlag(),
		}, recordFlags(catOutput), placeFlags()),
	}
}

// parseTail checks everything that can be checked before anything is connected to.
func parseTail(c *cli.Context, sc screen, log *slog.Logger) (opts tailOptions, err error) {
	if opts.server, err = parseServer(c); err != nil {
		return opts, err
	}
	if opts.server == nil {
		if c.String("nats") == "" {
			return opts, errors.New("--nats is missing: new records come from there, such as --nats nats://127.0.0.1:4222, or set OKLOG_NATS; or name a --server")
		}
		if opts.stream, err = flags.Stream(c, log); err != nil {
			return opts, err
		}
		opts.stream.Name = "oklog-query"
		if len(c.StringSlice("bucket")) > 0 {
			if opts.place, err = parsePlace(c); err != nil {
				return opts, err
			}
		}
	}
	if opts.look, err = parseLook(c, sc); err != nil {
		return opts, err
	}
	if opts.request, err = parseRequest(c, opts.look.zone); err != nil {
		return opts, err
	}
	if opts.query, err = opts.request.Compile(time.Now()); err != nil {
		return opts, err
	}
	lines, err := number(c, "lines", 0)
	if err != nil {
		return opts, err
	}
	if lines > tail.MaxLines {
		return opts, fmt.Errorf("--lines %d: want 0 to %d; oklog-query --newest finds more", lines, tail.MaxLines)
	}
	opts.lines = int(lines)
	return opts, nil
}

// doTail is the command tail.
func doTail(ctx context.Context, c *cli.Context, s streams) (int, error) {
	told := &promptWarnings{w: s.stderr}
	log := slog.New(warningHandler(told.add))
	opts, err := parseTail(c, screenOf(s), log)
	if err != nil {
		return exitTrouble, err
	}
	var code int
	if opts.server != nil {
		code, err = followServer(ctx, opts, s.stdout, told)
	} else {
		code, err = follow(ctx, opts, log, s.stdout, told)
	}
	if ctx.Err() != nil && isTerminal(s.stderr) {
		fmt.Fprintln(s.stderr) // behind the ^C that it shows
	}
	return code, err
}

// follow prints records until ctx is done, or nobody reads them.
func follow(ctx context.Context, opts tailOptions, log *slog.Logger, stdout io.Writer, told *promptWarnings) (int, error) {
	s, err := stream.Connect(ctx, opts.stream)
	if err != nil {
		return exitTrouble, err
	}
	defer func() { _ = s.Close(ctx) }() // nothing was published
	cfg := query.Config{Bucket: objstore.NewMemory("none", time.Now), Hot: hot(s, log)}
	if len(opts.buckets) > 0 {
		bucket, err := openPlace(ctx, opts.place, log)
		if err != nil {
			return exitTrouble, err
		}
		defer func() { _ = bucket.Close(ctx) }() // nothing was written
		cfg.Bucket, cfg.Copies = bucket, bucket.Copies()
	}
	engine, err := query.New(cfg)
	if err != nil {
		return exitTrouble, err
	}
	t, err := tail.New(tail.Config{Live: s, Runner: engine, Logger: log})
	if err != nil {
		return exitTrouble, err
	}
	var broken error
	running, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	if len(opts.buckets) > 0 { // what is flushed is nowhere else
		asking.Go(func() {
			warnNoTopic(running, query.Topics(running, cfg.Bucket, time.Now(), hot(s, log)), opts.request.Topic, told)
		})
	}
	p := newPrinter(bufio.NewWriterSize(stdout, 64<<10), opts.look, opts.query)
	flush := func() {
		if err := p.w.Flush(); err != nil && broken == nil {
			broken = err
			cancel() // it may be long until there is something to print
		}
	}
	opts.query.Idle = flush
	err = t.Run(running, opts.query, opts.lines, func(e tail.Event) error {
		switch e.Kind {
		case tail.Match:
			if err := p.print(e.Record); err != nil && broken == nil {
				broken = err
			}
		case tail.Skipped:
			flush() // in its place among the records
			told.skipped(e.N, e.Text)
		case tail.Recovered:
			flush()
			told.recovered(e.N)
		case tail.Notice:
			flush()
			told.notice(e.Text)
		}
		if broken != nil {
			return segment.ErrStop
		}
		return nil
	})
	if broken == nil {
		broken = p.finish(&query.Answer{}, err)
	}
	flush()
	if broken != nil {
		err = nil // it is the consequence
	}
	if ctx.Err() != nil {
		return exitInterrupt, nil
	}
	code, _, err := early(err, broken)
	return code, err
}

// warnNoTopic tells if there is no such topic: one that is misspelled is silent for ever. What cannot be found out is not told.
func warnNoTopic(ctx context.Context, all iter.Seq2[query.TopicInfo, error], topic string, told *promptWarnings) {
	var names []string
	for info, err := range all {
		if err != nil || info.Name == topic {
			return
		}
		if len(names) < maxHinted {
			names = append(names, info.Name)
		}
	}
	if ctx.Err() != nil {
		return
	}
	text := "there are no topics yet"
	if len(names) > 0 {
		text = "topics here: " + strings.Join(names, " ")
	}
	told.tell("there is no topic %s yet; %s; waiting for its first record", topic, text)
}
