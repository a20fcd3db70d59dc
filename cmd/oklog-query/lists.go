package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/query"
)

// longFlags are those of commands that list.
func longFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Category: catOutput, Usage: "print a table, as on a terminal"},
		&cli.BoolFlag{Name: "json", Category: catOutput, Usage: "print an object a line"},
	}
}

func newTopics() *cli.App {
	return &cli.App{
		Name: "oklog-query topics", Usage: "list the topics there are",
		UsageText: "oklog-query topics [--long] [--json]",
		Description: `Prints the names of the topics, a line each; on a terminal and with --long the days of their oldest and newest segments (UTC), too. With --nats, topics of which everything is still unflushed are listed.

Exit status: 0 there are some, 1 none, 2 an error, also if some may be lacking, 130 interrupted.`,
		Flags: slices.Concat(longFlags(), placeFlags()),
	}
}

func doTopics(ctx context.Context, c *cli.Context, s streams) (int, error) {
	opts, err := parsePlaces(c, s.log)
	if err != nil {
		return exitTrouble, err
	}
	if c.Args().Present() {
		return exitTrouble, fmt.Errorf("topics takes no argument such as %q; to search for the text topics, write oklog-query -e topics", c.Args().First())
	}
	b, closing, err := openBackend(ctx, opts, s)
	if err != nil {
		return exitTrouble, err
	}
	defer closing()
	w := bufio.NewWriter(s.stdout)
	long, found := c.Bool("long") || isTerminal(s.stdout), 0
	var rows [][]string
	var lacks error // there may be more
	for info, err := range b.Topics(ctx) {
		if errors.Is(err, query.ErrIncomplete) {
			lacks = err
			break
		}
		if err != nil {
			_ = w.Flush()
			return exitTrouble, explain(err)
		}
		found++
		switch {
		case c.Bool("json"):
			err = writeJSON(w, info)
		case long:
			first, last := info.FirstDay, info.LastDay
			if first == "" {
				first, last = "unflushed", "-"
			}
			rows = append(rows, []string{info.Name, first, last})
		default:
			_, err = w.WriteString(info.Name + "\n")
		}
		if err != nil {
			break
		}
	}
	code, err := listed(w, []string{"topic", "first", "last"}, rows, found)
	if err == nil && lacks != nil {
		return exitTrouble, explain(lacks)
	}
	return code, err
}

// listed prints a table, if there are rows, and tells how the command ends.
func listed(w *bufio.Writer, names []string, rows [][]string, found int) (int, error) {
	if len(rows) > 0 {
		t := make(table, len(names))
		for i, name := range names {
			t[i] = column{name: name, width: len(name)}
			for _, r := range rows {
				t[i].width = max(t[i].width, len(r[i]))
			}
		}
		rows = slices.Insert(rows, 0, names)
		for _, r := range rows {
			if t.row(w, r...) != nil {
				break // Flush tells it
			}
		}
	}
	if code, ended, err := early(nil, w.Flush()); ended {
		return code, err
	}
	if found == 0 {
		return exitNone, nil
	}
	return exitFound, nil
}

func newSources() *cli.App {
	return &cli.App{
		Name: "oklog-query sources", Usage: "list the sources that have written to a topic",
		UsageText: "oklog-query sources [--topic T] [--from A] [--to B] [--source COND] [--long] [--json]",
		Description: `Prints the sources of a topic that are in the range, key=value with spaces between, a line each. They are told by the tables of segments: no record is read. On a terminal and with --long, first and last are the times of the first and last segments in which a source was seen, which hold records of others, too.

   oklog-query sources --from 2d
   oklog-query -lc timeout               sources by what is found: how many records each

Exit status: 0 there are some, 1 none, 2 an error, also if some may be lacking, 130 interrupted.`,
		Flags: slices.Concat([]cli.Flag{
			flagNamed(findFlags(), "topic"), flagNamed(findFlags(), "source"),
		}, timeFlags(), longFlags(), []cli.Flag{
			flags.Size("max-unflushed", "hold at most `SIZE` of unflushed records in memory", 256<<20, catCost),
		}, placeFlags()),
	}
}

// sourceInfoLine is a source of a topic in JSON.
type sourceInfoLine struct {
	Source   map[string]string `json:"source"`
	First    time.Time         `json:"first"`
	Last     time.Time         `json:"last"`
	Sessions int               `json:"sessions"`
	Segments int               `json:"segments"`
}

// openAsked reads the arguments of a search and opens what they name.
func openAsked(ctx context.Context, c *cli.Context, s streams) (opts options, b backend, closing func(), err error) {
	if opts, err = parseOptions(c, screenOf(s), time.Now(), s.log); err != nil {
		return opts, nil, nil, err
	}
	b, closing, err = openBackend(ctx, opts, s)
	return opts, b, closing, err
}

func doSources(ctx context.Context, c *cli.Context, s streams) (int, error) {
	if c.Args().Present() {
		return exitTrouble, fmt.Errorf("sources takes no pattern such as %q: oklog-query -l %q lists the sources that have matches", c.Args().First(), c.Args().First())
	}
	opts, b, closing, err := openAsked(ctx, c, s)
	if err != nil {
		return exitTrouble, err
	}
	defer closing()
	all, ans, err := b.Sources(ctx, question{Request: opts.request, query: opts.query})
	if err != nil {
		return exitTrouble, explain(err)
	}
	w := bufio.NewWriter(s.stdout)
	var rows [][]string
	for _, i := range all {
		switch {
		case opts.look.json:
			err = writeJSON(w, sourceInfoLine{sourceMap(i.Source), i.First, i.Last, i.Sessions, i.Segments})
		case c.Bool("long") || opts.screen.terminal:
			at := func(t time.Time) string { return opts.look.in(t).Format(time.RFC3339) }
			rows = append(rows, []string{at(i.First), at(i.Last), strconv.Itoa(i.Segments), i.Source.String()})
		default:
			_, err = w.WriteString(i.Source.String() + "\n")
		}
		if err != nil {
			break // Flush tells it
		}
	}
	code, err := listed(w, []string{"first", "last", "segments", "source"}, rows, len(all))
	switch {
	case err != nil:
		return code, err
	case ans.Partial():
		warnPartial(s.stderr, ans)
		return exitTrouble, nil
	case len(all) == 0:
		hint(ctx, s.stderr, b, opts, ans)
	}
	return code, nil
}

func newStats() *cli.App {
	app := newSearch()
	app.Name, app.Usage = "oklog-query stats", "tell what a search would read, without reading it"
	app.UsageText = "oklog-query stats [options of a search] [PATTERN]"
	app.Description = `Prints how many segments, blocks and bytes a search with the same arguments would read. Ends of segments and filters are read for that, no blocks. What a limit may save is not foreseen.

   oklog-query stats --from 30d 9f8e7d6c5b4a

Exit status: 0 there is something to read, 1 nothing, 2 an error, also if something could not be read, 130 interrupted.`
	return app
}

func doStats(ctx context.Context, c *cli.Context, s streams) (int, error) {
	opts, b, closing, err := openAsked(ctx, c, s)
	if err != nil {
		return exitTrouble, err
	}
	defer closing()
	est, err := b.Estimate(ctx, question{Request: opts.request, query: opts.query})
	if err != nil {
		return exitTrouble, explain(err)
	}
	w := bufio.NewWriter(s.stdout)
	if opts.look.json {
		err = writeJSON(w, est)
	} else {
		err = writeEstimate(w, opts, est)
	}
	if e := w.Flush(); err == nil {
		err = e
	}
	if code, ended, err := early(nil, err); ended {
		return code, err
	}
	switch {
	case est.Answer != nil && est.Answer.Partial():
		warnPartial(s.stderr, est.Answer)
		return exitTrouble, nil
	case est.Blocks == 0:
		hint(ctx, s.stderr, b, opts, cmp.Or(est.Answer, &query.Answer{}))
		return exitNone, nil
	}
	return exitFound, nil
}

// writeEstimate prints a table. A server tells sums alone.
func writeEstimate(w io.Writer, opts options, est query.Estimate) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if est.Answer == nil || opts.server != nil {
		fmt.Fprintf(tw, "segments\t%d\nblocks\t%d\nbytes\t%s\n", est.Segments, est.Blocks, size(est.Bytes))
		return tw.Flush()
	}
	st := &est.Answer.Stats
	fmt.Fprintf(tw, "segments\t%d of %d in the range\n", est.Segments, st.Segments.InRange+st.Segments.HotUsed)
	fmt.Fprintf(tw, "filters\t%s\n", filters(opts, est.Answer))
	fmt.Fprintf(tw, "blocks\t%d of %d: %d are out of the range, %d cannot match\n", est.Blocks, st.Blocks.Total, st.Blocks.OutOfRange, st.Blocks.Pruned)
	fmt.Fprintf(tw, "bytes\t%s in %d range reads: %d records, %s of text\n", size(est.Bytes), est.Reads, est.Records, size(est.Text))
	fmt.Fprintf(tw, "to tell\t%s in %d range reads and %d pages of listings, %s from the cache\n", size(st.Requests.Fetched), st.Requests.Gets, st.Requests.Lists, size(st.Requests.Cached))
	return tw.Flush()
}
