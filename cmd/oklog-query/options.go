package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/cache"
	"oklog/query/match"
)

// place is where segments are.
type place struct {
	buckets []string
	quorum  int // of the writers; 0: all
}

// options are the arguments, checked.
type options struct {
	place
	stream  *stream.Config // nil without --nats
	query   query.Query
	pattern match.Pattern
	maxHot  int64        // bytes
	cache   cache.Config // of nothing, without --cache

	time, ulid, source, json bool // what is printed of a record besides its text
	color                    bool
	stats                    bool
}

// leastCache is the least size of the folder of --cache, in bytes: some pages for each of its parts.
const leastCache = 150_000_000

const description = `Prints the records of a topic that hold PATTERN, in the order of their times; all of them without one.

Examples:
   oklog-query --bucket file:///var/lib/oklog/bucket --topic web --from 1h "connection refused"
   oklog-query --bucket s3://minio:9000/logs?tls=false --nats nats://nats:4222 --topic web --from 5m 10.1.2.3
   export OKLOG_BUCKET=s3://minio:9000/logs?tls=false     (OKLOG_NATS, OKLOG_TOPIC as well)
   oklog-query --topic web --from 2026-11-22T17:00 --to 2026-11-22T18:00 -c "status=500"
   oklog-query --topic web --from 2d --regex -i '(error|warn).*timeout'
   oklog-query --topic web --from 7d --newest --limit 100 --time --source panic
   oklog-query --topic web --from 01KAPV2P4X4Q8S3M6W1Z0N5R7T --limit 1000 --ulid     (the next page)
   oklog-query --topic web --from 30d --cache ~/.cache/oklog --max-bytes 2GB --stats 9f8e7d6c5b4a

Bounds (--from is included, --to is not):
   2026-11-22T17:10:49Z, 2026-11-22T17:10 and 2026-11-22 (UTC unless a zone is given), now,
   how long ago (90s, 5m, 1h30m, 2d, 1w), Unix time in seconds or milliseconds (10 or 13 digits),
   or the ULID of a record, which is itself left out.

What a pattern must hold (a substring of six bytes or more, the literals of a regular expression, in any case) is
looked up in the filters of the segments, and only blocks of some 4 MiB of text that may hold it are read. --stats
tells what was looked up and read. Shorter patterns read everything: add what stands beside them, sshd[4259] for 4259.

Regular expressions see a whole record: one of several lines needs (?m) for ^ and $ at its lines, and (?s) for . to
go on behind a line. -c counts records, not lines.

A record over the size limit was cut into pieces when it was read. Each piece is searched by itself: what lies
across a cut is not found, and with -v the pieces that do not match are. Pieces that are found and follow each
other are printed as one line; with --newest and --json each is a line of its own. A warning on standard
error tells when pieces were found with a pattern.

ls and cat are commands where they come first of all: a search for the text ls is oklog-query -e ls, or oklog-query -- ls.

Exit status: 0 records were found, 1 none, 2 an error, also if the answer is only partial, 130 interrupted.`

func newApp(stdout, stderr io.Writer, action cli.ActionFunc) *cli.App {
	const what, how = "Search", "Output"
	app := bareApp("oklog-query", stdout, stderr)
	app.Usage = "grep the logs in object storage"
	app.UsageText = `oklog-query --bucket URL... [--nats URL] --topic T [--from 1h] [--to now] [options] [PATTERN]
oklog-query ls --bucket URL... [--topic T]                what is in the buckets: see oklog-query ls --help
oklog-query cat --bucket URL... [options] KEY...          the records of a segment: see oklog-query cat --help`
	app.Description = description
	app.Action = func(c *cli.Context) error {
		if c.Bool("version") {
			_, err := fmt.Fprintf(stdout, "oklog-query %s\n", version)
			return err
		}
		return action(c)
	}
	app.Flags = slices.Concat(flags.Buckets(), flags.NATS("`URL` of the NATS server: records that are not flushed yet are found, too"),
		[]cli.Flag{
			writeQuorum(),
			&cli.StringFlag{Name: "topic", Category: what, EnvVars: []string{"OKLOG_TOPIC"}, Usage: "the `TOPIC` to search"},

			&cli.StringFlag{Name: "from", Category: what, Value: "1h", Usage: "the `TIME` to begin at"},
			&cli.StringFlag{Name: "to", Category: what, Usage: "the `TIME` to end before", DefaultText: "now, and what clocks that are ahead have stamped"},
			&cli.StringSliceFlag{Name: "e", Category: what, Usage: "a `PATTERN`: several times for any of several, or for one that begins with -"},
			&cli.BoolFlag{Name: "regex", Aliases: []string{"E"}, Category: what, Usage: "patterns are regular expressions (RE2)"},
			&cli.BoolFlag{Name: "ignore-case", Aliases: []string{"i"}, Category: what, Usage: "upper and lower case are the same"},
			&cli.BoolFlag{Name: "invert-match", Aliases: []string{"v"}, Category: what, Usage: "the records that do not match"},
			&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, Category: what, Usage: "stop after `N` records", DefaultText: "no limit"},
			&cli.BoolFlag{Name: "newest", Category: what, Usage: "the newest record first (pieces of one that was cut on lines of their own)"},

			&cli.BoolFlag{Name: "count", Aliases: []string{"c"}, Category: how, Usage: "print only how many records there are"},
		}, recordFlags(how), []cli.Flag{
			&cli.StringFlag{Name: "color", Category: how, Value: "auto", Usage: "highlight what matches: `WHEN` is auto (on a terminal), always or never"},
			&cli.BoolFlag{Name: "stats", Category: how, Usage: "print what the query cost to standard error"},
			flags.Size("max-unflushed", "hold at most `SIZE` of unflushed records in memory", 256<<20, what),
			flags.Size("max-bytes", "fail, before blocks are read, if the query would read more than `SIZE` from the bucket; what --limit or --cache may save is not foreseen (0: no bound)", 0, what),
			&cli.BoolFlag{Name: "brute", Category: what, Usage: "read every block: do not ask filters which of them can match (the answer is the same)"},
			&cli.StringFlag{Name: "cache", Category: what, EnvVars: []string{"OKLOG_CACHE"}, Usage: "keep what is read from buckets in the folder `DIR`, for the next queries"},
			flags.Size("cache-size", "let the folder of --cache take `SIZE`", 4<<30, what),

			&cli.BoolFlag{Name: "version", Usage: "print the version"},
		})
	return app
}

// bareApp is what all commands have in common.
func bareApp(name string, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                      name,
		Version:                   version,
		HideHelpCommand:           true,
		HideVersion:               true, // its -v means something else here
		DisableSliceFlagSeparator: true,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fmt.Errorf("%w: see %s --help", err, name)
		},
	}
}

func writeQuorum() cli.Flag {
	return flags.WriteQuorum("how `MANY` copies ingesters wait for (their --write-quorum; 0: all): with fewer than all, an answer without one of the buckets may be partial")
}

// recordFlags say what is printed of a record.
func recordFlags(category string) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "time", Category: category, Usage: "print each record's time (UTC) before it"},
		&cli.BoolFlag{Name: "ulid", Category: category, Usage: "print each record's ULID before it"},
		&cli.BoolFlag{Name: "source", Category: category, Usage: "print each record's source before it: {key=value ...}"},
		&cli.BoolFlag{Name: "json", Category: category, Usage: "print an object a line: ulid, time, source, and text, or text_base64 where it is not UTF-8; piece (first, middle or last) of one that was cut"},
	}
}

// parsePlace says where the segments are, and how many copies of them writers wait for.
func parsePlace(c *cli.Context) (p place, err error) {
	for _, list := range c.StringSlice("bucket") {
		for u := range strings.SplitSeq(list, ",") {
			if u = strings.TrimSpace(u); u != "" {
				if strings.HasPrefix(u, "mem:") {
					return p, fmt.Errorf("--bucket %s: it lives within one process, so there is nothing in it here: give s3://HOST/BUCKET or file:///PATH", u)
				}
				p.buckets = append(p.buckets, u)
			}
		}
	}
	p.quorum = c.Int("write-quorum")
	if len(p.buckets) == 0 {
		return p, errors.New("--bucket is missing: say where the segments are, such as --bucket file:///var/lib/oklog/bucket or --bucket s3://HOST/BUCKET, or set OKLOG_BUCKET")
	}
	return p, nil
}

// parseTopic is "" if none is named.
func parseTopic(c *cli.Context) (string, error) {
	topic := c.String("topic")
	if topic == "" {
		return "", nil
	}
	if err := segment.CheckTopic(topic); err != nil {
		return "", fmt.Errorf("--topic: %w", err)
	}
	return topic, nil
}

// parseOptions checks everything that can be checked before anything is connected to.
func parseOptions(c *cli.Context, terminal bool, log *slog.Logger) (options, error) {
	opts := options{
		time: c.Bool("time"), ulid: c.Bool("ulid"), source: c.Bool("source"), json: c.Bool("json"), stats: c.Bool("stats"),
	}
	var err error
	if opts.place, err = parsePlace(c); err != nil {
		return opts, err
	}
	q := &opts.query
	q.Newest, q.Limit, q.CountOnly = c.Bool("newest"), c.Int64("limit"), c.Bool("count")
	if q.Topic, err = parseTopic(c); err != nil {
		return opts, err
	}
	if q.Topic == "" {
		return opts, errors.New("--topic is missing: say which topic to search, such as --topic web, or set OKLOG_TOPIC")
	}
	if q.Limit < 0 || c.IsSet("limit") && q.Limit == 0 {
		return opts, fmt.Errorf("--limit %d: want at least 1", q.Limit)
	}
	if q.Range, err = query.ParseRange(c.String("from"), c.String("to"), time.Now()); err != nil {
		if errors.Is(err, query.ErrEmptyRange) && !c.IsSet("from") {
			err = fmt.Errorf("%w (--from was not given, and is %s then)", err, c.String("from"))
		}
		return opts, err
	}
	if err := opts.parsePattern(c); err != nil {
		return opts, err
	}
	if opts.maxHot, err = flags.Bytes(c, "max-unflushed"); err != nil {
		return opts, err
	}
	if opts.maxHot == 0 {
		return opts, errors.New("--max-unflushed 0: want at least a byte, or leave out --nats to search what is flushed")
	}
	q.Brute = c.Bool("brute")
	if q.MaxBytes, err = flags.Bytes(c, "max-bytes"); err != nil {
		return opts, err
	}
	opts.cache.Dir = c.String("cache")
	if opts.cache.Disk, err = flags.Bytes(c, "cache-size"); err != nil {
		return opts, err
	}
	switch {
	case opts.cache.Dir == "" && c.IsSet("cache-size"):
		return opts, errors.New("--cache-size is given without --cache: say which folder, too")
	case opts.cache.Dir == "":
		opts.cache.Disk = 0
	case opts.cache.Disk < leastCache:
		return opts, fmt.Errorf("--cache-size %s: want at least %s", c.String("cache-size"), size(leastCache))
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
	if c.String("nats") != "" {
		cfg, err := flags.Stream(c, log)
		if err != nil {
			return opts, err
		}
		opts.stream = &cfg
	}
	return opts, nil
}

func (opts *options) parsePattern(c *cli.Context) error {
	texts := c.StringSlice("e")
	args := c.Args().Slice()
	switch {
	case len(texts) > 0 && len(args) > 0:
		return fmt.Errorf("the pattern %q stands beside -e: give it with -e, too", args[0])
	case len(args) > 1:
		return fmt.Errorf("%d patterns (%q, %q): want one: put it in quotes if it holds spaces, or give several with -e", len(args), args[0], args[1])
	}
	opts.pattern = match.Pattern{
		Texts: append(texts, args...), Regex: c.Bool("regex"), IgnoreCase: c.Bool("ignore-case"), Invert: c.Bool("invert-match"),
	}
	p, err := match.Compile(opts.pattern)
	if err != nil {
		if opts.pattern.Regex {
			err = fmt.Errorf("%w: mend it, or leave out --regex to search for the text as it is", err)
		}
		return err
	}
	if !p.All() {
		opts.query.Pattern = p
	}
	return nil
}
