package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/objstore"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query"
)

const lsDescription = `Lists the topics in the buckets, or the segments of one topic in the order of time. Everything comes from listings alone: no object is read. What is not flushed yet is in no bucket, and not listed.

Examples:
   oklog-query ls
   oklog-query ls --bucket s3://a:9000/logs --bucket s3://b:9000/logs --topic web --from 2d
   oklog-query ls --topic web --from 2026-11-22T17:00 --to 2026-11-22T18:00
   oklog-query ls --topic web --json | jq -r 'select(.copies < .buckets).key'
   oklog-query ls --topic ""                   topics, though OKLOG_TOPIC is set
   oklog-query cat --topic web 8c0de59f31d2    what is in a segment: its key is the last column

Columns: first and last are the times of the first and the last record (UTC; the last one is of the same day, where the day is left out). text is bytes of text, stored the size of the object, one copy counted, and ratio the one by the other. A segment that compaction has replaced counts until it is deleted, an hour later: records can count twice here, never in queries. level is fresh as written by ingesters, else how often it was rewritten. copies is how many of the buckets have it: ? is a bucket that could not be listed. On a terminal, key is the part of it that cat needs; with --long all of it. notes are:

   ahead      the last record is more than 10 minutes ahead of now: a clock was wrong, or
              --time of the forwarder
   early      the first record is before the year 2000: likewise
   overlaps   another segment listed here begins before it ends, and ends after it begins:
              queries merge them
   lacking    a bucket has no copy of it
   sizes      its copies are not of the same size: all but one are damaged

In the table of topics, notes say of how many segments the same is true, but for overlaps.

Bounds are those of a search (oklog-query --help); everything is listed without them. A segment is listed if some of it is in the range.

Exit status: 0 something was listed, 1 nothing, 2 an error, also if segments may be lacking, 130 interrupted.`

// Segments whose records are from before the one, or so much later than now, have been given their times by a clock that
// was wrong.
const (
	maxAhead = 10 * time.Minute
	minYear  = 2000
)

// lsOptions are the arguments of ls, checked.
type lsOptions struct {
	place
	topic      string // "": all
	span       query.Range
	from, to   string // as they were given; "": no bound
	long, json bool
	short      bool // keys are shown by the part that tells them apart
	now        time.Time
}

func newLs() *cli.App {
	const what, how = "What to list", catOutput
	return &cli.App{
		Name: "oklog-query ls", Usage: "list the topics in object storage, or the segments of one",
		UsageText:   "oklog-query ls [--topic T] [--from A] [--to B] [--long] [--json]",
		Description: lsDescription,
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Category: what, EnvVars: []string{"OKLOG_TOPIC"}, Usage: "the `TOPIC` whose segments to list", DefaultText: "a table of the topics"},
			&cli.StringFlag{Name: "from", Category: what, Usage: "the `TIME` to begin at", DefaultText: "the first record"},
			&cli.StringFlag{Name: "to", Category: what, Usage: "the `TIME` to end before", DefaultText: "the last record"},
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Category: how, Usage: "print sizes in bytes, times in milliseconds, when a segment was stored, and on a terminal whole keys"},
			&cli.BoolFlag{Name: "json", Category: how, Usage: "print an object a line, for each topic or segment, and without a total; foreign is true of an object whose key is no segment's"},
		}, flags.Buckets(), []cli.Flag{writeQuorum()}),
	}
}

func doLs(ctx context.Context, c *cli.Context, s streams) (int, error) {
	opts, err := parseLs(c, time.Now())
	if err != nil {
		return exitTrouble, err
	}
	opts.short = isTerminal(s.stdout) && !opts.long
	return list(ctx, opts, s.log, s.stdout, s.stderr)
}

func parseLs(c *cli.Context, now time.Time) (lsOptions, error) {
	o := lsOptions{from: c.String("from"), to: c.String("to"), long: c.Bool("long"), json: c.Bool("json"), now: now}
	var err error
	if o.place, err = parsePlace(c); err != nil {
		return o, err
	}
	if o.topic, err = parseTopic(c); err != nil {
		return o, err
	}
	if c.Args().Present() {
		return o, fmt.Errorf("ls takes no argument such as %q: name a topic with --topic; to search for the text ls, write oklog-query -e ls", c.Args().First())
	}
	// All that there is, where no bound is given: also what is far ahead of now.
	o.span, err = query.ParseRange(cmp.Or(o.from, "all"), cmp.Or(o.to, endOfTime().String()), now)
	return o, err
}

// endOfTime is the greatest ULID.
func endOfTime() ulid.ULID { return segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1) }

// seek tells where a listing that has come to key may go on, since nothing is wanted up to there. If that is not behind key,
// key is wanted. A pure function.
func (o *lsOptions) seek(key string) string {
	if key[0] == '_' {
		return "_zzzz" // what others keep here, such as what was thrown away
	}
	topic, rest, ok := strings.Cut(key, "/")
	if !ok {
		return ""
	}
	first, last := segment.Day(ulid.Time(o.span.From.Time())), segment.Day(ulid.Time(o.span.To.Time()))
	// Years of five digits begin with 10, and sort before all others.
	endless := o.to == "" || len(last) > len(time.DateOnly)
	switch {
	case o.from != "" && rest < first && (!endless || rest >= "11"):
		return topic + "/" + first
	case !endless && rest >= last+"0": // '0' follows '/'
		return topic + "0"
	}
	return ""
}

// stored is a segment as listings tell of it.
type stored struct {
	key      string
	name     segment.Name
	size     int64     // bytes
	modified time.Time // in the first bucket that has it
	copies   int
	listed   int  // how many buckets could be listed
	differ   bool // the sizes of the copies
	overlaps bool // another segment
}

// list is the command ls.
func list(ctx context.Context, opts lsOptions, logger *slog.Logger, stdout, stderr io.Writer) (int, error) {
	// Whether the buckets are there is what their listings tell.
	bucket, err := open.Bucket(ctx, opts.buckets, open.Config{ReadOnly: true, WriteQuorum: opts.quorum, Logger: logger, NoCheck: true})
	if err != nil {
		return exitTrouble, err
	}
	defer func() { _ = bucket.Close(ctx) }() // nothing was written
	out := bufio.NewWriterSize(stdout, 64<<10)
	l := &lister{opts: &opts, buckets: bucket.Copies(), failed: map[int]error{}, log: logger, show: newLsPrinter(out, &opts)}
	if len(l.buckets) == 0 {
		l.buckets = []objstore.Bucket{bucket.Bucket}
	}
	err = l.run(ctx)
	broken := out.Flush() // bufio keeps its first error
	if broken != nil {
		err = nil // it follows from that
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "oklog-query: interrupted: the list is not complete")
		return exitInterrupt, nil
	}
	if code, ended, err := early(err, broken); ended {
		return code, err
	}
	if quorum := cmp.Or(opts.quorum, len(l.buckets)); len(l.failed) >= quorum {
		fmt.Fprintf(stderr, "oklog-query: the list is partial: %d of %d buckets could not be listed, and with --write-quorum %d there may be segments that only they have\n",
			len(l.failed), len(l.buckets), quorum)
		return exitTrouble, nil
	}
	if l.show.any {
		return exitFound, nil
	}
	if opts.topic != "" {
		fmt.Fprintf(stderr, "oklog-query: %s\n", hintTopics(ctx, bucket, opts.topic, opts.span, nil))
	} else if topics := topicsOf(ctx, bucket); len(topics) > 0 {
		fmt.Fprintf(stderr, "oklog-query: no topic has segments between --from and --to; topics here: %s\n", strings.Join(topics, " "))
	} else {
		fmt.Fprintln(stderr, "oklog-query: there are no segments at all in this bucket")
	}
	return exitNone, nil
}

// lister goes through the buckets' listings. It holds a day of a topic at a time: keys lie in the order of time but within
// a day, where the hours' folders and the segments beside them are mixed.
type lister struct {
	opts    *lsOptions
	buckets []objstore.Bucket
	failed  map[int]error // of the buckets that could not be listed
	log     *slog.Logger
	show    *lsPrinter

	topic, day string
	held       []stored // of that day
	late       []stored // of the topic's years of five digits, which are listed first
}

// run lists all that is wanted.
func (l *lister) run(ctx context.Context) error {
	prefix := ""
	if l.opts.topic != "" {
		prefix = l.opts.topic + "/"
	}
	for after, more := "", true; more; {
		var err error
		if after, more, err = l.stretch(ctx, prefix, after); err != nil {
			return err
		}
	}
	if err := l.turn("", ""); err != nil {
		return err
	}
	return l.show.end(len(l.failed) > 0)
}

// stretch lists up to where something can be passed over: more tells that the listing goes on behind next.
func (l *lister) stretch(ctx context.Context, prefix, after string) (next string, more bool, err error) {
	var live []objstore.Bucket
	var place []int
	for i, b := range l.buckets {
		if l.failed[i] == nil {
			live, place = append(live, b), append(place, i)
		}
	}
	failed := func(i int, err error) {
		l.failed[place[i]] = err
		l.log.Warn("a bucket could not be listed, and its copies are not known", slog.Any("err", err))
	}
	for c, err := range objstore.ListCopies(ctx, live, prefix, after, failed) {
		if err != nil {
			return "", false, err
		}
		if next = l.opts.seek(c.Key); next > c.Key {
			return next, true, nil
		}
		if err := l.take(c); err != nil {
			return "", false, err
		}
	}
	if len(l.failed) < len(l.buckets) {
		return "", false, nil
	}
	var all []error
	for i := range l.buckets {
		all = append(all, l.failed[i])
	}
	return "", false, errors.Join(all...)
}

// take deals with one object.
func (l *lister) take(c objstore.Copies) error {
	if c.Key[0] == '_' {
		return nil
	}
	topic, name, err := segment.ParseKey(c.Key)
	if err != nil {
		return l.show.foreign(c.Info)
	}
	if !l.opts.span.Overlaps(name.First, name.Last) {
		return nil
	}
	day := segment.Day(ulid.Time(name.First.Time()))
	if topic != l.topic || day != l.day {
		if err := l.turn(topic, day); err != nil {
			return err
		}
	}
	s := stored{key: c.Key, name: name, size: c.Size, modified: c.Modified, copies: c.Count(), listed: len(l.buckets) - len(l.failed), differ: c.Differ()}
	if len(day) > len(time.DateOnly) {
		l.late = append(l.late, s)
	} else {
		l.held = append(l.held, s)
	}
	return nil
}

// turn shows what is held and begins another day.
func (l *lister) turn(topic, day string) error {
	if err := l.put(l.held); err != nil {
		return err
	}
	l.held = l.held[:0]
	if topic != l.topic {
		if err := l.put(l.late); err != nil {
			return err
		}
		l.late = nil
		if err := l.show.endTopic(l.topic); err != nil {
			return err
		}
	}
	l.topic, l.day = topic, day
	return nil
}

func (l *lister) put(segments []stored) error {
	if len(segments) == 0 {
		return nil
	}
	slices.SortFunc(segments, func(a, b stored) int {
		return cmp.Or(a.name.First.Compare(b.name.First), strings.Compare(a.key, b.key))
	})
	markOverlaps(segments)
	return l.show.segments(segments)
}

// markOverlaps finds the segments that overlap another one. They are in the order of their first records.
func markOverlaps(segments []stored) {
	// Of those before, the one that ends last. If any of them overlaps the next, this does, and the others
	// that do overlap this.
	top := 0
	for i := 1; i < len(segments); i++ {
		if segments[i].name.First.Compare(segments[top].name.Last) <= 0 {
			segments[i].overlaps, segments[top].overlaps = true, true
		}
		if segments[i].name.Last.Compare(segments[top].name.Last) > 0 {
			top = i
		}
	}
}
