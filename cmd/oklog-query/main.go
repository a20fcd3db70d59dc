// Command oklog-query is what people type: it finds records in the segments of a bucket, and in what is
// not flushed yet, and prints them as grep does. Its commands ls and cat show what is in a bucket.
//
//	arguments ──▶ options ──▶ query.Engine ──▶ printer ──▶ standard output
//	                            │       └─ stream (--nats): unflushed batches, first
//	                            └─ objstore/open (--bucket): segments
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/cache"
)

// version is set by the linker: -ldflags "-X main.version=...".
var version = "devel"

// Exit statuses, as grep's.
const (
	exitFound     = 0
	exitNone      = 1
	exitTrouble   = 2
	exitInterrupt = 130
)

// memory is what the garbage collector tries to keep within, in bytes; blocks and results in hand take a part of it.
const memory = 256 << 20

func main() {
	flags.LimitMemory(memory)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(800) // within that limit: a query is short, and most of what it allocates it uses again
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second one ends the process, whatever it is doing.
	context.AfterFunc(ctx, func() {
		stop()
		// Somebody may have stopped reading what is printed: a write waits for ever then.
		time.AfterFunc(time.Second, func() { os.Exit(exitInterrupt) })
	})
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. args[0] is its name. Nothing is read from standard input.
func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	code := exitFound
	warnings := &lineHandler{}
	log := slog.New(warnings)
	action := func(do func(*cli.Context) (int, error)) cli.ActionFunc {
		return func(c *cli.Context) (err error) {
			code, err = do(c)
			if err == nil && ctx.Err() == nil {
				warnings.print(stderr)
			}
			return err
		}
	}
	command := ""
	if len(args) > 1 {
		command = args[1]
	}
	var app *cli.App
	switch command {
	case "ls":
		args = args[1:]
		app = newLs(stdout, stderr, action(func(c *cli.Context) (int, error) {
			opts, err := parseLs(c, time.Now())
			if err != nil {
				return exitTrouble, err
			}
			return list(ctx, opts, log, stdout, stderr)
		}))
	case "cat":
		args = args[1:]
		app = newCat(stdout, stderr, action(func(c *cli.Context) (int, error) {
			opts, err := parseCat(c)
			if err != nil {
				return exitTrouble, err
			}
			return cat(ctx, opts, log, stdout, stderr)
		}))
	default:
		app = newApp(stdout, stderr, action(func(c *cli.Context) (int, error) {
			opts, err := parseOptions(c, isTerminal(stdout), log)
			if err != nil {
				return exitTrouble, err
			}
			return search(ctx, opts, log, stdout, stderr)
		}))
	}
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

// search runs one query and prints the answer.
func search(ctx context.Context, opts options, logger *slog.Logger, stdout, stderr io.Writer) (int, error) {
	bucket, err := openPlace(ctx, opts.place, logger)
	if err != nil {
		return exitTrouble, err
	}
	defer func() { _ = bucket.Close(ctx) }() // nothing was written
	cfg := query.Config{Bucket: bucket, Copies: bucket.Copies(), MaxHotBytes: opts.maxHot}
	if c := openCache(opts, logger); c != nil {
		defer func() { _ = c.Close() }() // what is not written yet is read again
		cfg.Cache = c
	}
	if opts.stream != nil {
		s, err := stream.Connect(ctx, *opts.stream)
		if err != nil {
			return exitTrouble, err
		}
		defer func() { _ = s.Close(ctx) }()
		cfg.Hot = hot{s, logger}
	}
	engine, err := query.New(cfg)
	if err != nil {
		return exitTrouble, err
	}
	q := opts.query
	ans, err, broken := ask(ctx, engine, q, newPrinter(bufio.NewWriterSize(stdout, 64<<10), opts))
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "oklog-query: interrupted: the answer is not complete")
		if opts.stats {
			printStats(stderr, opts, ans)
		}
		return exitInterrupt, nil
	}
	if code, ended, err := early(err, broken); ended {
		return code, err
	}
	if opts.stats {
		printStats(stderr, opts, ans)
	}
	warnMended(stderr, ans)
	if n := ans.Stats.Records.Pieces; n > 0 && q.Pattern != nil {
		fmt.Fprintf(stderr, "oklog-query: warning: %d of what was found are pieces of records that were cut at the size limit: each was matched by itself\n", n)
	}
	if ans.Partial() {
		warnPartial(stderr, ans)
		return exitTrouble, nil
	}
	if ans.Count > 0 {
		return exitFound, nil
	}
	if ans.Stats.Segments.InRange == 0 && ans.Stats.Segments.Hot == 0 {
		hintTopics(ctx, stderr, bucket, q)
	}
	return exitNone, nil
}

// openPlace opens buckets to read from.
func openPlace(ctx context.Context, p place, logger *slog.Logger) (*open.Opened, error) {
	return open.Bucket(ctx, p.buckets, open.Config{
		ReadOnly: true, WriteQuorum: p.quorum, Logger: logger,
		// Of several buckets it is good to know which are there, before one is waited for. Of a single one the
		// first request tells, a round trip earlier.
		NoCheck: len(p.buckets) == 1,
	})
}

// ask runs a query and prints what it finds. An error of the query is told from one of the output.
func ask(ctx context.Context, engine *query.Engine, q query.Query, p *printer) (ans *query.Answer, err, broken error) {
	q.Idle = func() {
		if err := p.w.Flush(); err != nil && broken == nil {
			broken = err
		}
	}
	ans, err = engine.Run(ctx, q, func(r query.Record) error {
		if broken == nil {
			broken = p.print(r)
		}
		if broken != nil {
			return segment.ErrStop
		}
		return nil
	})
	if broken == nil {
		broken = p.finish(ans, err)
	}
	if e := p.w.Flush(); broken == nil {
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
	case broken != nil:
		return exitTrouble, true, fmt.Errorf("write output: %w", broken)
	}
	return exitFound, false, nil
}

// warnMended says that copies are damaged, though nothing is lacking.
func warnMended(w io.Writer, ans *query.Answer) {
	if n := ans.Stats.Segments.Mended; n > 0 {
		fmt.Fprintf(w, "oklog-query: warning: %d read%s brought damaged bytes from one bucket, and sound ones from another: the answer is whole\n", n, plural(n))
	}
}

// openCache makes the cache that the options ask for; nil: none, or one that cannot be used, which is no reason to fail.
func openCache(opts options, logger *slog.Logger) *cache.Cache {
	if opts.query.MaxBytes > 0 {
		opts.cache.Memory = 32 << 20 // tails and filters are read before it is known what the query would read
	}
	if opts.cache.Dir == "" && opts.cache.Memory == 0 {
		return nil
	}
	opts.cache.Logger = logger
	c, err := cache.New(opts.cache)
	if err != nil {
		logger.Warn("the folder of --cache cannot be used; going on without", slog.Any("err", err))
		opts.cache.Dir, opts.cache.Disk = "", 0
		if c, err = cache.New(opts.cache); err != nil {
			return nil
		}
	}
	return c
}

// explain adds what to do next to errors that do not say it.
func explain(err error) error {
	if e, ok := errors.AsType[*query.TooMuchError](err); ok {
		return fmt.Errorf("the query would read %s or more (%d segments are in the range), and --max-bytes is %s: raise it, or ask for less with --from, --to and a longer pattern", size(e.Bytes), e.Segments, size(e.Max))
	}
	if errors.Is(err, stream.ErrUnavailable) {
		return fmt.Errorf("%w: repeat it, or leave out --nats to search what is flushed", err)
	}
	return err
}

// hot is the stream as a query sees it.
type hot struct {
	s   *stream.Stream
	log *slog.Logger
}

var _ query.Hot = hot{}

// Unflushed implements query.Hot. Where no stream has been made nothing was published.
func (h hot) Unflushed(ctx context.Context, topic string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for body, err := range h.s.Unflushed(ctx, topic) {
			if errors.Is(err, stream.ErrNoStream) {
				h.log.Warn("nothing is unflushed", slog.Any("err", err))
				return
			}
			if !yield(body, err) {
				return
			}
		}
	}
}

// lineHandler keeps warnings until the query has come to its end: one that fails says why in a single line.
type lineHandler struct {
	mu    sync.Mutex
	lines []string
}

// maxWarnings is how many different ones are kept.
const maxWarnings = 10

// Enabled implements slog.Handler: warnings and errors are for people to see.
func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	line := "oklog-query: warning: " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			line += ": " + flags.OneLine(err)
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lines) < maxWarnings && !slices.Contains(h.lines, line) {
		h.lines = append(h.lines, line)
	}
	return nil
}

func (h *lineHandler) print(w io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.lines {
		fmt.Fprintln(w, line)
	}
}

// WithAttrs implements slog.Handler.
func (h *lineHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(string) slog.Handler { return h }

// warnPartial says what is lacking.
func warnPartial(w io.Writer, ans *query.Answer) {
	const show = 10
	n := len(ans.Problems) + ans.Unlisted
	fmt.Fprintf(w, "oklog-query: the answer is partial: records may be missing, %d thing%s could not be read:\n", n, plural(n))
	for _, p := range ans.Problems[:min(show, len(ans.Problems))] {
		hint := ""
		if errors.Is(p.Err, query.ErrHotTooLarge) {
			hint = ": raise --max-unflushed, or see whether ingesters are behind"
		}
		fmt.Fprintf(w, "  %s%s\n", strings.ReplaceAll(p.String(), "\n", " "), hint)
	}
	if n > show {
		fmt.Fprintf(w, "  and %d more\n", n-show)
	}
}

// hintTopics says where there is something, if nothing is in the range.
func hintTopics(ctx context.Context, w io.Writer, b objstore.Bucket, q query.Query) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// The day of the first object of a topic behind a key; "" if there is none.
	day := func(after string) string {
		for info, err := range b.List(ctx, q.Topic+"/", after) {
			if err != nil {
				return ""
			}
			if parts := strings.Split(info.Key, "/"); len(parts) > 2 {
				return parts[1]
			}
		}
		return ""
	}
	if first := day(""); first != "" {
		hint := ""
		end := segment.Day(ulid.Time(q.Range.To.Time()))
		if later := day(q.Topic + "/" + end + "/~"); later != "" && later != first {
			hint = ", and from " + later + " on"
		}
		fmt.Fprintf(w, "oklog-query: topic %s has no segments between --from and --to; there are some from %s on%s\n", q.Topic, first, hint)
		return
	}
	topics := topicsOf(ctx, b)
	if len(topics) == 0 {
		fmt.Fprintln(w, "oklog-query: there are no segments at all in this bucket")
		return
	}
	fmt.Fprintf(w, "oklog-query: there is no topic %s; topics here: %s\n", q.Topic, strings.Join(topics, " "))
}

// topicsOf names some of the topics that there are.
func topicsOf(ctx context.Context, b objstore.Bucket) (topics []string) {
	const most = 20
	for name, err := range query.TopicNames(ctx, b) {
		if err != nil {
			break
		}
		if topics = append(topics, name); len(topics) == most {
			break
		}
	}
	return topics
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// isTerminal tells whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
