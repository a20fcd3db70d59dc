package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/cache"
	"oklog/query/client"
)

// place is where segments are.
type place struct {
	buckets []string
	quorum  int // of the writers; 0: all
}

// options are the arguments of a search, checked.
type options struct {
	place
	server *client.Config // nil: the buckets and the stream themselves
	stream *stream.Config // nil without --nats
	maxHot int64          // bytes
	cache  cache.Config   // of nothing, without --cache

	request  query.Request
	query    query.Query // the same, compiled
	explicit bool        // the pattern stands behind -e: it cannot be a command that was meant

	show   show
	step   time.Duration // of a histogram; 0: what fits
	top    top
	look   look
	stats  bool
	screen screen
}

// leastCache is the least size of the folder of --cache, in bytes: some pages for each of its parts.
const leastCache = 150_000_000

// Categories of flags, in the order of the help.
const (
	catFind   = "What to find"
	catTime   = "When"
	catOutput = "What to print"
	catCost   = "Cost"
	catHelp   = "Help and settings"
	// Of cmd/internal/flags.
	catBuckets = "Buckets"
	catNATS    = "NATS"
)

func newSearch() *cli.App {
	return &cli.App{
		Name: "oklog-query", Usage: "grep the logs in object storage",
		UsageText: `oklog-query [options] [PATTERN]
oklog-query COMMAND --help`,
		Description: searchDescription,
		Flags:       slices.Concat(findFlags(), timeFlags(), outputFlags(), recordFlags(catOutput), costFlags(), placeFlags()),
	}
}

// findFlags say which records are wanted.
func findFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Category: catFind, EnvVars: []string{"OKLOG_TOPIC"}, Usage: "the `TOPIC` to search"},
		&cli.StringSliceFlag{Name: "e", Aliases: []string{"regexp"}, Category: catFind, Usage: "a `PATTERN`: several times for any of several, or for one that begins with -"},
		&cli.BoolFlag{Name: "fixed-strings", Aliases: []string{"F"}, Category: catFind, Usage: "patterns are texts: so they are, unless a profile says --regex"},
		&cli.BoolFlag{Name: "regex", Aliases: []string{"E"}, Category: catFind, Usage: "patterns are regular expressions (RE2)"},
		&cli.BoolFlag{Name: "ignore-case", Aliases: []string{"i"}, Category: catFind, Usage: "upper and lower case are the same"},
		&cli.BoolFlag{Name: "smart-case", Aliases: []string{"S"}, Category: catFind, Usage: "as -i, unless a pattern has a letter in upper case"},
		&cli.BoolFlag{Name: "case-sensitive", Aliases: []string{"s"}, Category: catFind, Usage: "upper and lower case differ: so they do, unless a profile says otherwise"},
		&cli.BoolFlag{Name: "word-regexp", Aliases: []string{"w"}, Category: catFind, Usage: "what matches has to be whole words"},
		&cli.BoolFlag{Name: "invert-match", Aliases: []string{"v"}, Category: catFind, Usage: "the records that do not match"},
		&cli.StringSliceFlag{Name: "where", Category: catFind, Usage: "only records of which `EXPR` holds: level=error AND status>=500, see Fields; several times: all have to hold"},
		&cli.StringSliceFlag{Name: "source", Category: catFind, Usage: "only records of sources for which `COND` holds: host=web1, host!=web1, host=~web[0-9]+, host!~web.*; several times: all have to hold"},
	}
}

// timeFlags say of when.
func timeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "from", Category: catTime, Usage: "the `TIME` to begin at: 5m, 2d, 1w (ago), 2026-11-22T17:10, all", DefaultText: query.DefaultFrom},
		&cli.StringFlag{Name: "last", Category: catTime, Usage: "the same for a `DURATION` alone: the last 15m"},
		&cli.StringFlag{Name: "to", Category: catTime, Usage: "the `TIME` to end before", DefaultText: "now, and what clocks that are ahead have stamped"},
		zoneFlag(),
	}
}

func zoneFlag() cli.Flag {
	return &cli.StringFlag{Name: "tz", Category: catTime, EnvVars: []string{"OKLOG_TZ"}, Usage: "print times in `ZONE`, and read bounds without a zone as of there: utc, local, Europe/Berlin, +05:30", DefaultText: "utc"}
}

// outputFlags say what is printed of what is found.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "limit", Aliases: []string{"m", "n", "max-count"}, Category: catOutput, Usage: "stop after `N` records", DefaultText: "no limit"},
		&cli.BoolFlag{Name: "newest", Category: catOutput, Usage: "the newest record first (pieces of one that was cut on lines of their own)"},
		&cli.StringFlag{Name: "after-context", Aliases: []string{"A"}, Category: catOutput, Usage: "print `N` records of the same source behind each that matches"},
		&cli.StringFlag{Name: "before-context", Aliases: []string{"B"}, Category: catOutput, Usage: "print `N` records of the same source before each that matches"},
		&cli.StringFlag{Name: "context", Aliases: []string{"C"}, Category: catOutput, Usage: "print `N` records on either side; -5 is -C5"},
		&cli.BoolFlag{Name: "count", Aliases: []string{"c"}, Category: catOutput, Usage: "print only how many records there are; with -l by source, with -o how many matches"},
		&cli.BoolFlag{Name: "list-sources", Aliases: []string{"l", "files-with-matches"}, Category: catOutput, Usage: "print only the sources that have matches"},
		onlyFlag(),
		&flags.Optional{StringFlag: &cli.StringFlag{Name: "histogram", Category: catOutput, Usage: "draw how many records there are by time, a row for each `STEP` (10s, 5m, 1d, from midnight in --tz on), or for one that fits"}, Alone: automatic},
		&cli.StringFlag{Name: "top", Category: catOutput, Usage: "print the most frequent values of `FIELD` (user.id, items[].price), and how many records have them; -m is how many values", DefaultText: "10 of them"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Category: catOutput, Usage: "print nothing: the exit status tells"},
		&cli.StringFlag{Name: "color", Aliases: []string{"colour"}, Category: catOutput, Usage: "`WHEN` to use colours: auto (on a terminal, without NO_COLOR), always or never", DefaultText: "auto"},
	}
}

func onlyFlag() cli.Flag {
	return &cli.BoolFlag{Name: "only-matching", Aliases: []string{"o"}, Category: catOutput, Usage: "print what matches alone, each match on a line"}
}

// recordFlags say what is printed of a record.
func recordFlags(category string) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "time", Category: category, Usage: "print each record's time before it; on a terminal a search does"},
		&cli.BoolFlag{Name: "no-time", Category: category, Usage: "do not, on a terminal"},
		&cli.BoolFlag{Name: "show-source", Category: category, Usage: "print each record's source before it: {key=value ...}"},
		&cli.BoolFlag{Name: "ulid", Category: category, Usage: "print each record's ULID before it"},
		&cli.BoolFlag{Name: "json", Category: category, Usage: "print an object a line: ulid, time, source, and text, or text_base64 where it is not UTF-8; piece (first, middle or last) of one that was cut; context of one that does not match"},
		&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Category: category, Usage: "end lines with NUL: records may hold newlines"},
	}
}

// costFlags bound what a search costs, and tell it.
func costFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "stats", Category: catCost, Usage: "print what the query cost to standard error"},
		flags.Size("max-bytes", "fail, before blocks are read, if the query would read more than `SIZE` from the bucket; what --limit or --cache may save is not foreseen (0: no bound)", 0, catCost),
		flags.Size("max-unflushed", "hold at most `SIZE` of unflushed records in memory", 256<<20, catCost),
		&cli.StringFlag{Name: "cache", Category: catCost, EnvVars: []string{"OKLOG_CACHE"}, Usage: "keep what is read from buckets in the folder `DIR`, for the next queries"},
		flags.Size("cache-size", "let the folder of --cache take `SIZE`", 4<<30, catCost),
		&cli.BoolFlag{Name: "brute", Category: catCost, Usage: "read every block: do not ask filters which of them can match (the answer is the same)"},
	}
}

// placeFlags say where records are.
func placeFlags() []cli.Flag {
	return slices.Concat(flags.Buckets(), []cli.Flag{writeQuorum()}, serverFlags(),
		flags.NATS("`URL` of the NATS server: records that are not flushed yet are found, too"))
}

func writeQuorum() cli.Flag {
	return flags.WriteQuorum("how `MANY` copies ingesters wait for (their --write-quorum; 0: all): with fewer than all, an answer without one of the buckets may be partial")
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
		if !hasFlag(c.App.Flags, "server") && os.Getenv("OKLOG_SERVER") != "" {
			return p, fmt.Errorf("--bucket is missing: %s reads buckets itself, and asks no server: say where the segments are, such as --bucket s3://HOST/BUCKET", strings.TrimPrefix(c.App.Name, "oklog-query "))
		}
		return p, errors.New("--bucket is missing: say where the segments are, such as --bucket file:///var/lib/oklog/bucket or --bucket s3://HOST/BUCKET, set OKLOG_BUCKET, or write it into a profile (--help)")
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
func parseOptions(c *cli.Context, sc screen, now time.Time, log *slog.Logger) (opts options, err error) {
	if opts, err = parsePlaces(c, log); err != nil {
		return opts, err
	}
	opts.screen, opts.stats = sc, c.Bool("stats")
	if opts.look, err = parseLook(c, sc); err != nil {
		return opts, err
	}
	if err := opts.parseShow(c); err != nil {
		return opts, err
	}
	if opts.request, err = parseRequest(c, opts.look.zone); err != nil {
		return opts, err
	}
	opts.explicit = len(c.StringSlice("e")) > 0
	r := &opts.request
	r.CountOnly = opts.show == showCount || opts.show == showNothing
	r.IDsOnly = opts.show == showSources || opts.show == showSourceCounts
	switch opts.show {
	case showNothing:
		r.Limit = 1 // that there is one is enough
	case showTop:
		r.Limit = 0 // that is of the values
	}
	if opts.show != showRecords {
		r.Before, r.After = 0, 0
	}
	if opts.query, err = r.Compile(now); err != nil {
		return opts, err
	}
	return opts, opts.parseCost(c)
}

// parsePlaces reads where records are.
func parsePlaces(c *cli.Context, log *slog.Logger) (opts options, err error) {
	if opts.server, err = parseServer(c); opts.server != nil || err != nil {
		return opts, err
	}
	if opts.place, err = parsePlace(c); err != nil {
		return opts, err
	}
	if c.String("nats") != "" {
		cfg, err := flags.Stream(c, log)
		if err != nil {
			return opts, err
		}
		cfg.Name = "oklog-query" // whatever the command
		opts.stream = &cfg
	}
	return opts, nil
}

// parseRequest reads what is asked.
func parseRequest(c *cli.Context, zone *time.Location) (r query.Request, err error) {
	r = query.Request{
		Topic: c.String("topic"), From: c.String("from"), To: c.String("to"),
		Regex: c.Bool("regex") && !c.Bool("fixed-strings"), Word: c.Bool("word-regexp"), Invert: c.Bool("invert-match"),
		IgnoreCase: c.Bool("ignore-case"), SmartCase: c.Bool("smart-case"),
		Where: c.StringSlice("where"), Sources: c.StringSlice("source"), Newest: c.Bool("newest"), Brute: c.Bool("brute"),
	}
	if last := c.String("last"); last != "" {
		if r.From != "" {
			return r, fmt.Errorf("--last %s stands beside --from %s: give one of them", last, r.From)
		}
		if _, err := query.ParseAge(last); err != nil {
			return r, fmt.Errorf("--last %s: %w: want a duration like 15m, 1h30m, 2d or 1w; other bounds are for --from", last, err)
		}
		r.From = last
	}
	if zone != nil {
		r.From, r.To = query.InZone(r.From, zone), query.InZone(r.To, zone)
	}
	for _, text := range r.Sources {
		if !strings.ContainsAny(text, "=!") {
			return r, fmt.Errorf("--source %s: want KEY=VALUE, KEY!=VALUE, KEY=~REGEX or KEY!~REGEX: to print sources use --show-source", text)
		}
	}
	if r.Limit, err = number(c, "limit", 1); err != nil {
		return r, err
	}
	if r.Before, r.After, err = parseContext(c); err != nil {
		return r, err
	}
	if c.String("max-bytes") != "" {
		if r.MaxBytes, err = flags.Bytes(c, "max-bytes"); err != nil {
			return r, err
		}
	}
	if r.Topic == "" {
		return r, errors.New("--topic is missing: say which topic to search, such as --topic web, or set OKLOG_TOPIC; oklog-query topics lists them")
	}
	r.Patterns = c.StringSlice("e")
	args := c.Args().Slice()
	switch {
	case len(r.Patterns) > 0 && len(args) > 0:
		return r, fmt.Errorf("the pattern %q stands beside -e: give it with -e, too", args[0])
	case len(args) > 1:
		return r, patternsError(c, args)
	}
	r.Patterns = append(r.Patterns, args...)
	return r, nil
}

// patternsError says what to do about arguments behind the pattern.
func patternsError(c *cli.Context, args []string) error {
	text := fmt.Sprintf("%d patterns (%q, %q): want one: put it in quotes if it holds spaces, or give several with -e", len(args), args[0], args[1])
	_, step := query.ParseAge(args[0])
	switch _, named := commandOf(args[0]); {
	case c.String("histogram") == automatic && step == nil:
		text = fmt.Sprintf("the step of a histogram stands behind a =: --histogram=%s", args[0])
	case named:
		text += fmt.Sprintf("; the command %s has to be the first argument: oklog-query %s ...", args[0], args[0])
	case strings.ContainsAny(args[1], "./*"):
		text += "; no files are searched, but a topic (--topic), and its sources (--source)"
	}
	return errors.New(text)
}

// number reads a flag that counts; 0 where it is not given.
func number(c *cli.Context, name string, least int64) (int64, error) {
	text := c.String(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil && name == "limit":
		return 0, fmt.Errorf("--limit %s: want a number of records, at least 1 (-n is the same: records have no line numbers)", text)
	case err != nil:
		return 0, fmt.Errorf("--%s %s: want a number", name, text)
	case n < least:
		return 0, fmt.Errorf("--%s %d: want at least %d", name, n, least)
	}
	return n, nil
}

// parseContext reads -A, -B and -C: as in grep, the single sides count before both.
func parseContext(c *cli.Context) (before, after int, err error) {
	for _, side := range []struct {
		name string
		to   []*int
	}{{"context", []*int{&before, &after}}, {"before-context", []*int{&before}}, {"after-context", []*int{&after}}} {
		n, err := number(c, side.name, 0)
		if err != nil {
			return 0, 0, err
		}
		if n > query.MaxContext {
			return 0, 0, fmt.Errorf("--%s %d: want 0 to %d", side.name, n, query.MaxContext)
		}
		if c.String(side.name) != "" {
			for _, to := range side.to {
				*to = int(n)
			}
		}
	}
	return before, after, nil
}

// parseShow says what is printed.
func (opts *options) parseShow(c *cli.Context) error {
	list, counts, only := c.Bool("list-sources"), c.Bool("count"), opts.look.only
	switch {
	case c.String("histogram") != "" && c.String("top") != "":
		return errors.New("--histogram and --top are different questions: ask one after the other")
	case c.IsSet("top"):
		opts.show = showTop
		return opts.top.parse(c)
	case c.String("histogram") != "":
		opts.show = showHistogram
		var err error
		opts.step, err = parseStep(c.String("histogram"))
		return err
	case c.Bool("quiet"):
		opts.show = showNothing
	case list && counts:
		opts.show = showSourceCounts
	case list:
		opts.show = showSources
	case counts && only:
		opts.show = showMatches
	case counts:
		opts.show = showCount
	}
	return nil
}

// parseLook says how records are printed.
func parseLook(c *cli.Context, sc screen) (l look, err error) {
	l = look{ulid: c.Bool("ulid"), source: c.Bool("show-source"), json: c.Bool("json"), end: '\n'}
	l.only = c.Bool("only-matching") && !c.Bool("invert-match")
	if l.only && l.json && !c.Bool("count") {
		return l, errors.New("-o prints matches, and --json whole records: leave one of them out")
	}
	l.time = c.Bool("time") || sc.terminal && !c.Bool("no-time") && !c.Bool("only-matching")
	if c.Bool("null") {
		l.end = 0
	}
	if l.zone, err = parseZone(c); err != nil {
		return l, err
	}
	switch when := c.String("color"); when {
	case "", "auto":
		l.color = sc.terminal && !sc.plain
	case "always":
		l.color = true
	case "never":
	default:
		return l, fmt.Errorf("--color %s: want auto, always or never", when)
	}
	return l, nil
}

// parseZone is nil for UTC.
func parseZone(c *cli.Context) (*time.Location, error) {
	if strings.EqualFold(c.String("tz"), "local") {
		return time.Local, nil
	}
	zone, err := query.ParseZone(c.String("tz"))
	if err != nil {
		return nil, fmt.Errorf("--tz %s: %w", c.String("tz"), err)
	}
	return zone, nil
}

// parseCost reads what bounds a search.
func (opts *options) parseCost(c *cli.Context) (err error) {
	if opts.maxHot, err = flags.Bytes(c, "max-unflushed"); err != nil {
		return err
	}
	if opts.maxHot == 0 {
		return errors.New("--max-unflushed 0: want at least a byte, or leave out --nats to search what is flushed")
	}
	if !hasFlag(c.App.Flags, "cache") {
		return nil
	}
	opts.cache.Dir = c.String("cache")
	if opts.cache.Disk, err = flags.Bytes(c, "cache-size"); err != nil {
		return err
	}
	switch {
	case opts.cache.Dir == "" && c.IsSet("cache-size"):
		return errors.New("--cache-size is given without --cache: say which folder, too")
	case opts.cache.Dir == "":
		opts.cache.Disk = 0
	case opts.cache.Disk < leastCache:
		return fmt.Errorf("--cache-size %s: want at least %s", c.String("cache-size"), size(leastCache))
	}
	return nil
}
