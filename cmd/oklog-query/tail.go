package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
	"oklog/query/tail"
)

const tailDescription = `Prints the last records of a topic that hold PATTERN, and then each one as it is published, until Ctrl-C.

Examples:
   oklog-query tail --nats nats://nats:4222 --bucket s3://minio:9000/logs?tls=false --topic web
   oklog-query tail --topic web -i -E 'error|warn'       (OKLOG_NATS, OKLOG_BUCKET from the environment)
   oklog-query tail --topic web -n 0 --source host=web1 --time "connection refused"
   oklog-query tail --topic web --json -m 1 "deploy finished"     (waits for it)

Records come from NATS as forwarders publish them. The last ones, and what was missed while NATS was away, are read from what is not
flushed yet and from --bucket; without it, what is flushed already is not found. Each record is printed once. Records that
were missed and not found are counted: "N records skipped" on standard error, as everything that is not a record. Whether they match
is not known of them. Records are printed as they come, those of a source in their order.

Exit status: 0 -m was reached, or nobody reads any more, 2 an error, 130 interrupted.`

// tailOptions are the arguments of tail, checked.
type tailOptions struct {
	options
	lines int
}

func newTail(stdout, stderr io.Writer, action cli.ActionFunc) *cli.App {
	const what, how = "Search", "Output"
	app := bareApp("oklog-query tail", stdout, stderr)
	app.Usage = "show records as they are published"
	app.UsageText = "oklog-query tail --nats URL [--bucket URL...] --topic T [-n 10] [options] [PATTERN]"
	app.Description = tailDescription
	app.Action = action
	app.Flags = slices.Concat(flags.Buckets(), flags.NATS("`URL` of the NATS server, that records come from"), []cli.Flag{
		writeQuorum(),
		&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Category: what, EnvVars: []string{"OKLOG_TOPIC"}, Usage: "the `TOPIC` to follow"},
		&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Category: what, Value: 10, Usage: "print the last `N` records that match, first; 0: none"},
		&cli.StringFlag{Name: "from", Category: what, Value: query.DefaultFrom, Usage: "look for these from `TIME` on"},
		&cli.StringSliceFlag{Name: "e", Category: what, Usage: "a `PATTERN`: several times for any of several, or for one that begins with -"},
		&cli.BoolFlag{Name: "regex", Aliases: []string{"E"}, Category: what, Usage: "patterns are regular expressions (RE2)"},
		&cli.BoolFlag{Name: "ignore-case", Aliases: []string{"i"}, Category: what, Usage: "upper and lower case are the same"},
		&cli.BoolFlag{Name: "smart-case", Aliases: []string{"S"}, Category: what, Usage: "upper and lower case are the same, unless a pattern has a letter in upper case"},
		&cli.BoolFlag{Name: "word-regexp", Aliases: []string{"w"}, Category: what, Usage: "what matches has to be whole words"},
		&cli.BoolFlag{Name: "invert-match", Aliases: []string{"v"}, Category: what, Usage: "the records that do not match"},
		&cli.StringSliceFlag{Name: "where", Category: what, Usage: "only records of which `EXPR` holds: level=error AND status>=500; several times: all have to hold"},
		&cli.StringSliceFlag{Name: "source", Category: what, Usage: "only of sources with `KEY=VALUE`, KEY!=VALUE, KEY=~REGEX or KEY!~REGEX; several times: all have to hold"},
		&cli.Int64Flag{Name: "max-count", Aliases: []string{"m"}, Category: what, Usage: "end after `N` records", DefaultText: "no limit"},

		&cli.BoolFlag{Name: "time", Category: how, Usage: "print each record's time (UTC) before it"},
		&cli.BoolFlag{Name: "ulid", Category: how, Usage: "print each record's ULID before it"},
		&cli.BoolFlag{Name: "show-source", Category: how, Usage: "print each record's source before it: {key=value ...}"},
		&cli.BoolFlag{Name: "json", Category: how, Usage: "print an object a line, as a search does"},
		&cli.StringFlag{Name: "color", Category: how, Value: "auto", Usage: "highlight what matches: `WHEN` is auto (on a terminal), always or never"},
	})
	return app
}

// parseTail checks everything that can be checked before anything is connected to.
func parseTail(c *cli.Context, terminal bool, log *slog.Logger) (opts tailOptions, err error) {
	opts.time, opts.ulid, opts.source, opts.json = c.Bool("time"), c.Bool("ulid"), c.Bool("show-source"), c.Bool("json")
	if c.String("nats") == "" {
		return opts, errors.New("--nats is missing: new records come from there, such as --nats nats://127.0.0.1:4222, or set OKLOG_NATS")
	}
	cfg, err := flags.Stream(c, log)
	if err != nil {
		return opts, err
	}
	opts.stream = &cfg
	if len(c.StringSlice("bucket")) > 0 {
		if opts.place, err = parsePlace(c); err != nil {
			return opts, err
		}
	}
	texts, args := c.StringSlice("e"), c.Args().Slice()
	switch {
	case len(texts) > 0 && len(args) > 0:
		return opts, fmt.Errorf("the pattern %q stands beside -e: give it with -e, too", args[0])
	case len(args) > 1:
		return opts, fmt.Errorf("%d patterns (%q, %q): want one: put it in quotes if it holds spaces, or give several with -e", len(args), args[0], args[1])
	}
	req := query.Request{
		Topic: c.String("topic"), From: c.String("from"), Patterns: append(texts, args...), Regex: c.Bool("regex"),
		IgnoreCase: c.Bool("ignore-case"), SmartCase: c.Bool("smart-case"), Word: c.Bool("word-regexp"), Invert: c.Bool("invert-match"),
		Where: c.StringSlice("where"), Sources: c.StringSlice("source"),
	}
	if opts.query, err = req.Compile(time.Now()); err != nil {
		return opts, err
	}
	opts.pattern = match.Pattern{Texts: req.Patterns}
	if opts.query.Pattern != nil {
		opts.pattern = opts.query.Pattern.Pattern()
	}
	opts.query.Limit = c.Int64("max-count")
	if opts.query.Limit < 0 || c.IsSet("max-count") && opts.query.Limit == 0 {
		return opts, fmt.Errorf("--max-count %d: want at least 1", opts.query.Limit)
	}
	if opts.lines = c.Int("lines"); opts.lines < 0 || opts.lines > tail.MaxLines {
		return opts, fmt.Errorf("--lines %d: want 0 to %d; oklog-query --newest finds more", opts.lines, tail.MaxLines)
	}
	switch when := c.String("color"); when {
	case "auto":
		opts.color = terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	case "always":
		opts.color = true
	case "never":
	default:
		return opts, fmt.Errorf("--color %s: want auto, always or never", when)
	}
	return opts, nil
}

// runTail is the command tail.
func runTail(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code := exitFound
	app := newTail(stdout, stderr, func(c *cli.Context) (err error) {
		told := &promptHandler{w: stderr}
		log := slog.New(told)
		opts, err := parseTail(c, isTerminal(stdout), log)
		if err == nil {
			code, err = follow(ctx, opts, log, stdout, told)
		}
		return err
	})
	err := app.RunContext(ctx, flags.First(args, app.Flags))
	switch {
	case ctx.Err() != nil:
		return exitInterrupt
	case err != nil:
		fmt.Fprintf(stderr, "oklog-query: %s\n", flags.OneLine(err))
		return exitTrouble
	}
	return code
}

// follow prints records until ctx is done, or nobody reads them.
func follow(ctx context.Context, opts tailOptions, log *slog.Logger, stdout io.Writer, told *promptHandler) (int, error) {
	s, err := stream.Connect(ctx, *opts.stream)
	if err != nil {
		return exitTrouble, err
	}
	defer func() { _ = s.Close(ctx) }() // nothing was published
	cfg := query.Config{Bucket: objstore.NewMemory("none", time.Now), Hot: hot{s, log}}
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
	defer cancel()
	p := newPrinter(bufio.NewWriterSize(stdout, 64<<10), opts.options)
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
			told.tell("oklog-query: %d record%s skipped: %s", e.N, plural(int(min(e.N, 2))), e.Text)
		case tail.Recovered:
			flush()
			told.tell("oklog-query: %d skipped record%s came late: what matches of them follows", e.N, plural(int(min(e.N, 2))))
		case tail.Notice:
			flush()
			told.tell("oklog-query: %s", e.Text)
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

// promptHandler prints warnings at once: a tail may go on for days. One that is the same as the one before is not printed again.
type promptHandler struct {
	w io.Writer

	mu   sync.Mutex
	last string
}

// Enabled implements slog.Handler: warnings and errors are for people to see.
func (h *promptHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *promptHandler) Handle(_ context.Context, r slog.Record) error {
	line := "oklog-query: warning: " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			line += ": " + flags.OneLine(err)
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if line == h.last {
		return nil
	}
	h.last = line
	_, err := fmt.Fprintln(h.w, line)
	return err
}

// tell prints a line that is not a warning.
func (h *promptHandler) tell(format string, v ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = ""
	fmt.Fprintf(h.w, format+"\n", v...)
}

// WithAttrs implements slog.Handler.
func (h *promptHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *promptHandler) WithGroup(string) slog.Handler { return h }
