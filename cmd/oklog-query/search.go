package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore/segment"
	"oklog/query"
)

// sink takes what a query finds, and prints.
type sink interface {
	print(r query.Record) error
	// finish prints what is still owed. failed is why the query could not be done.
	finish(ans *query.Answer, failed error) error
}

func doSearch(ctx context.Context, c *cli.Context, s streams) (int, error) {
	opts, err := parseOptions(c, screenOf(s), time.Now(), s.log)
	if err != nil {
		return exitTrouble, err
	}
	return search(ctx, opts, s)
}

// search runs one query and prints the answer.
func search(ctx context.Context, opts options, s streams) (int, error) {
	b, closing, err := openBackend(ctx, opts, s)
	if err != nil {
		return exitTrouble, err
	}
	defer closing()
	ans, err, broken := ask(ctx, b, opts, s)
	if ctx.Err() != nil {
		fmt.Fprintln(s.stderr, "oklog-query: interrupted: the answer is not complete")
		if opts.stats {
			printStats(s.stderr, opts, ans)
		}
		return exitInterrupt, nil
	}
	if code, ended, err := early(err, broken); ended {
		return code, err
	}
	if opts.stats {
		printStats(s.stderr, opts, ans)
	}
	if opts.show == showNothing && ans.Count > 0 {
		return exitFound, nil // what else there may be is not asked
	}
	warnMended(s.stderr, ans)
	if n := ans.Stats.Records.Pieces; n > 0 && (opts.query.Pattern != nil || opts.query.Where != nil) {
		fmt.Fprintf(s.stderr, "oklog-query: warning: %d of what was found are pieces of records that were cut at the size limit: each was matched by itself\n", n)
	}
	if ans.Partial() {
		warnPartial(s.stderr, ans)
		return exitTrouble, nil
	}
	if ans.Count > 0 {
		return exitFound, nil
	}
	if opts.show != showNothing {
		hint(ctx, s.stderr, b, opts, ans)
	}
	return exitNone, nil
}

// openBackend opens what the options name.
func openBackend(ctx context.Context, opts options, s streams) (b backend, closing func(), err error) {
	if opts.server != nil {
		r, err := openRemote(*opts.server)
		if err != nil {
			return nil, nil, err
		}
		return r, r.c.Close, nil
	}
	l, err := openLocal(ctx, opts, s.log)
	if err != nil {
		return nil, nil, err
	}
	return l, func() { l.Close(ctx) }, nil
}

// hint says what may be the reason that nothing was found.
func hint(ctx context.Context, w io.Writer, b backend, opts options, ans *query.Answer) {
	tell := func(format string, v ...any) { fmt.Fprintf(w, "oklog-query: "+format+"\n", v...) }
	usual := opts.request.From == "" && opts.request.To == ""
	if ans.Stats.Segments.InRange == 0 && ans.Stats.Segments.Hot == 0 {
		if text := b.Hint(ctx, question{Request: opts.request, query: opts.query}); text != "" {
			if usual && strings.Contains(text, "between --from and --to") {
				text += "; without --from, what is searched is the last hour"
			}
			tell("%s", text)
		}
	} else if text := hintSources(ctx, b, opts); text != "" {
		tell("%s", text)
	} else if usual && opts.screen.progress {
		tell("nothing found in the last hour: --from 1d looks further back") // a person is there to read it
	}
	for _, expr := range opts.request.Where {
		if m := almostField.FindStringSubmatch(expr); m != nil {
			tell("--where %s looked for this text in whole records: a field is compared with =, as in %s=%s", expr, m[1], m[2])
		}
	}
	if len(opts.request.Patterns) != 1 || opts.explicit {
		return
	}
	typed := opts.request.Patterns[0]
	if _, ok := commandOf(typed); ok {
		tell("%q was searched as a text: the command %s has to be the first argument: oklog-query %s ...", typed, typed, typed)
	} else if name := flags.Nearest(typed, longCommands()); name != "" {
		tell("%q was searched as a text: there is a command %s", typed, name)
	}
}

// hintSources says where a field was looked for in the text that is an attribute of sources, or the other way round; "" if it was not.
func hintSources(ctx context.Context, b backend, opts options) string {
	var fields, attrs []string
	for _, expr := range append(slices.Clone(opts.request.Where), opts.top.text+"=") {
		for _, m := range comparedField.FindAllStringSubmatch(expr, -1) {
			fields = append(fields, m[1])
		}
	}
	for _, cond := range opts.request.Sources {
		attrs = append(attrs, cond[:strings.IndexAny(cond, "=!")])
	}
	if len(fields)+len(attrs) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	q := question{Request: opts.request, query: opts.query}
	q.Request.Sources, q.query.Sources = nil, nil
	sources, ans, err := b.Sources(ctx, q)
	if err != nil || ans.Partial() {
		return ""
	}
	known := map[string]bool{}
	for _, s := range sources {
		for _, a := range s.Source {
			known[a.Key] = true
		}
	}
	for _, name := range attrs {
		if !known[name] {
			return fmt.Sprintf("no source has %s; what sources have there: %s (oklog-query sources)", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	for _, name := range fields {
		if known[name] {
			return fmt.Sprintf("%s is of sources, and may be no field of the records: --source %s=... asks for it, -lc counts by it", name, name)
		}
	}
	return ""
}

// comparedField is a field with what it is compared by.
var comparedField = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.]*)\s*[=!<>]`)

// almostField is an expression that others would take for the comparison of a field.
var almostField = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)[:~]([^\s:~/"=]+)$`)

// longCommands are those whose names are like few words that people search for.
func longCommands() (names []string) {
	for _, cmd := range commands() {
		if len(cmd.name) > 5 {
			names = append(names, cmd.name)
		}
	}
	return names
}

// ask runs a query and prints what it finds. An error of the query is told from one of the output.
func ask(ctx context.Context, b backend, opts options, s streams) (ans *query.Answer, err, broken error) {
	bar := newProgress(s.stderr, opts.screen)
	defer bar.stop()
	switch opts.show {
	case showHistogram:
		return histogram(ctx, b, opts, bar.start, bar.around(s.stdout))
	case showTop:
		return mostFrequent(ctx, b, opts, bar.start, streams{bar.around(s.stdout), s.stderr, s.log})
	}
	w := bufio.NewWriterSize(bar.around(s.stdout), 64<<10)
	ans, err, broken = feed(ctx, b, question{Request: opts.request, query: opts.query, watch: bar.start}, newSink(w, opts, bar), w)
	return ans, err, broken
}

// feed runs a query into a sink.
func feed(ctx context.Context, b searcher, q question, to sink, w *bufio.Writer) (ans *query.Answer, err, broken error) {
	q.idle = func() {
		if err := w.Flush(); err != nil && broken == nil {
			broken = err
		}
	}
	ans, err = b.Search(ctx, q, func(r query.Record) error {
		if broken == nil {
			broken = to.print(r)
		}
		if broken != nil {
			return segment.ErrStop
		}
		return nil
	})
	if broken == nil {
		broken = to.finish(ans, err)
	}
	if e := w.Flush(); broken == nil {
		broken = e
	}
	return ans, err, broken
}

// early tells how the program ends if its work, or what it prints, has ended early.
func early(err, broken error) (code int, ended bool, _ error) {
	switch {
	case err != nil:
		return exitTrouble, true, explain(err)
	case errors.Is(broken, syscall.EPIPE) || errors.Is(broken, io.ErrClosedPipe):
		return exitFound, true, nil // whoever reads has seen enough
	case errors.Is(broken, errSources):
		return exitTrouble, true, broken
	case broken != nil:
		return exitTrouble, true, fmt.Errorf("write output: %w", broken)
	}
	return exitFound, false, nil
}

// explain adds what to do next to errors that do not say it.
func explain(err error) error {
	if e, ok := errors.AsType[*query.TooMuchError](err); ok {
		return fmt.Errorf("the query would read %s or more (%d segments are in the range), and --max-bytes is %s: raise it, or ask for less with --from, --to and a longer pattern", size(e.Bytes), e.Segments, size(e.Max))
	}
	if p, ok := errors.AsType[*query.ParamError](err); ok && p.Param == "step" { // it has another name here
		if rest, direct := strings.CutPrefix(err.Error(), "--step "); direct {
			return errors.New("--histogram=" + rest)
		}
		return fmt.Errorf("%w (--histogram)", err)
	}
	if errors.Is(err, stream.ErrUnavailable) {
		return fmt.Errorf("%w: repeat it, or leave out --nats (or say --nats '') to search what is flushed", err)
	}
	return explainServer(err)
}

// warnMended says that copies are damaged, though nothing is lacking.
func warnMended(w io.Writer, ans *query.Answer) {
	if n := ans.Stats.Segments.Mended; n > 0 {
		fmt.Fprintf(w, "oklog-query: warning: %d read%s brought damaged bytes from one bucket, and sound ones from another: the answer is whole\n", n, plural(n))
	}
}

// warnPartial says what is lacking.
func warnPartial(w io.Writer, ans *query.Answer) {
	const show = 10
	n := len(ans.Problems) + ans.Unlisted
	fmt.Fprintf(w, "oklog-query: the answer is partial: records may be missing, %d thing%s could not be read:\n", n, plural(n))
	for _, p := range ans.Problems[:min(show, len(ans.Problems))] {
		hint := ""
		if errors.Is(p.Err, query.ErrHotTooLarge) {
			hint = ": ask again in a moment, raise --max-unflushed (with --server it does not count), or see whether ingesters are behind"
		}
		fmt.Fprintf(w, "  %s%s\n", strings.ReplaceAll(p.String(), "\n", " "), hint)
	}
	if n > show {
		fmt.Fprintf(w, "  and %d more\n", n-show)
	}
}
