package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/objstore/open"
	"oklog/objstore/segment"
	"oklog/query"
)

const catCompact = "Compaction"

// compact, a job that is run now and then, any number at once:
//
//	buckets ──▶ retention ──▶ repair ──▶ merge ──▶ delete what is replaced ──▶ buckets
//	             └▶ trash
func compactCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "compact",
		Usage: "merge small segments into large ones, expire old ones, make missing copies",
		Description: "Does what is to be done in the buckets, and ends; with --every, it goes on. All that it knows is in the buckets: run it on a schedule, as many\n" +
			"at once as you like, and kill it whenever. What is replaced stays for --grace, what expires goes to the trash for --trash-for.\n\n" +
			"Examples:\n\n" +
			"   oklog compact --bucket file:///var/lib/oklog/bucket\n\n" +
			"   oklog compact --bucket \"$A\" --bucket \"$B\" --dry-run           what would be done\n\n" +
			"   oklog compact --bucket \"$A\" --bucket \"$B\" --every 10m --http 127.0.0.1:7652\n\n" +
			"   oklog compact --bucket \"$A\" --shard \"$JOB_COMPLETION_INDEX/4\"   one of four at work\n\n" +
			"Exit status: 0 all is well, 1 something was found that needs a look (it is told), 2 an error, 130 interrupted.",
		Flags: concat(flags.Buckets(), []cli.Flag{flags.WriteQuorum(flags.StoredAt)}, []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`", EnvVars: []string{"OKLOG_TOPIC"}, Category: catCompact},
			&cli.DurationFlag{Name: "older-than", Usage: "leave records that are younger than `TIME`: more may still come in between", Value: compact.DefaultOlderThan, EnvVars: []string{"OKLOG_OLDER_THAN"}, Category: catCompact},
			&cli.DurationFlag{Name: "grace", Usage: "keep a replaced segment for `TIME`: longer than the longest query", Value: compact.DefaultGrace, EnvVars: []string{"OKLOG_GRACE"}, Category: catCompact},
			&cli.DurationFlag{Name: "quiet", Usage: "tidy up a day that is over when nothing was added to it for `TIME`", Value: compact.DefaultQuiet, EnvVars: []string{"OKLOG_QUIET"}, Category: catCompact},
			&cli.StringFlag{Name: "retention", Usage: "keep topics for which oklog retention says nothing for `TIME`, such as 30d; for ever if empty", EnvVars: []string{"OKLOG_RETENTION"}, Category: catCompact},
			&cli.DurationFlag{Name: "trash-for", Usage: "keep what has expired in the trash for `TIME`", Value: compact.DefaultTrashFor, EnvVars: []string{"OKLOG_TRASH_FOR"}, Category: catCompact},
			&cli.BoolFlag{Name: "yes", Usage: "let retention take more than a quarter of a topic at once", Category: catCompact},
			flags.Size("target-size", "make segments of about `SIZE`", compact.DefaultTarget, catCompact),
			flags.Size("memory", "`SIZE` of memory to keep within", compact.DefaultMemory, catCompact),
			&cli.StringFlag{Name: "level", Usage: "compress best or fast", Value: "best", EnvVars: []string{"OKLOG_LEVEL"}, Category: catCompact},
			&cli.StringFlag{Name: "shard", Usage: "do part `I/N` of the work, I from 0: topics and days are shared out among N jobs", EnvVars: []string{"OKLOG_SHARD"}, Category: catCompact},
			&cli.BoolFlag{Name: "once", Usage: "end when there is nothing more to do now (the default)", Category: catCompact},
			&cli.DurationFlag{Name: "every", Usage: "do it every `TIME`, until stopped", EnvVars: []string{"OKLOG_EVERY"}, Category: catCompact},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be done, and do nothing", Category: catCompact},
			&cli.BoolFlag{Name: "json", Usage: "print the report (or the plan, with --dry-run) as JSON", Category: catCompact},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics, like 127.0.0.1:7652; none if empty", EnvVars: []string{"OKLOG_HTTP"}},
			&cli.StringFlag{Name: "push", Usage: "push the metrics to the Prometheus Pushgateway at `URL` when done", EnvVars: []string{"OKLOG_PUSH"}},
		}, flags.Log()),
		Action: func(c *cli.Context) error { return runCompact(c, std) },
	}
}

func runCompact(c *cli.Context, std streams) error {
	cfg, err := compactConfig(c)
	if err != nil {
		return err
	}
	every := c.Duration("every")
	switch {
	case every < 0 || c.IsSet("every") && every == 0:
		return fmt.Errorf("bad time %s: want more than 0, like 10m (--every)", every)
	case every > 0 && (c.Bool("once") || c.Bool("dry-run")):
		return errors.New("--every goes on for ever: leave it out with --once and --dry-run")
	}
	j, err := openJob(c, std, cfg)
	if err != nil {
		return err
	}
	defer j.close()
	_, stop, err := serveHTTP(c, j.reg, j.log)
	if err != nil {
		return err
	}
	defer stop()
	if every > 0 {
		compactEvery(c.Context, j.c, j.log, every)
		j.log.Info("stopped")
		return nil
	}
	err = j.runOnce(c)
	if url := c.String("push"); url != "" {
		if perr := push.New(url, "oklog_compact").Gatherer(j.reg).PushContext(context.WithoutCancel(c.Context)); perr != nil {
			j.log.Warn("the metrics could not be pushed (--push)", "cause", perr)
		}
	}
	return err
}

// compactConfig reads the flags of compact.
func compactConfig(c *cli.Context) (cfg compact.Config, err error) {
	cfg = compact.Config{
		Topic: c.String("topic"), OlderThan: atLeast(c.Duration("older-than")), Grace: atLeast(c.Duration("grace")), Quiet: atLeast(c.Duration("quiet")),
		TrashFor: atLeast(c.Duration("trash-for")), Yes: c.Bool("yes"), DryRun: c.Bool("dry-run"),
	}
	if s := c.String("retention"); s != "" {
		if cfg.Retention, err = query.ParseAge(s); err != nil || cfg.Retention <= 0 {
			return cfg, fmt.Errorf("bad time %q: want one like 12h, 30d or 8w (--retention)", s)
		}
	}
	if cfg.Target, err = flags.Bytes(c, "target-size"); err != nil {
		return cfg, err
	}
	if cfg.Target < 1 {
		return cfg, errors.New("segments of 0 bytes: want 1 at least (--target-size)")
	}
	switch level := c.String("level"); level {
	case "best":
		cfg.Level = segment.Best
	case "fast":
		cfg.Level = segment.Fast
	default:
		return cfg, fmt.Errorf("bad level %q: want best or fast (--level)", level)
	}
	cfg.Shard, cfg.Shards, err = shardOf(c)
	return cfg, err
}

// shardOf reads --shard.
func shardOf(c *cli.Context) (shard, shards int, err error) {
	s := c.String("shard")
	if s == "" {
		return 0, 1, nil
	}
	i, n, ok := strings.Cut(s, "/")
	if shard, err = strconv.Atoi(i); err == nil {
		shards, err = strconv.Atoi(n)
	}
	if !ok || err != nil || shards < 1 || shard < 0 || shard >= shards {
		return 0, 0, fmt.Errorf("bad shard %q: want I/N with I from 0 to N-1, such as 0/4 (--shard)", s)
	}
	return shard, shards, nil
}

// atLeast makes 0 the shortest time there is: 0 stands for the default in a Config.
func atLeast(d time.Duration) time.Duration {
	if d == 0 {
		return 1
	}
	return d
}

// job is a compactor with what it works on, and somebody who looks on.
type job struct {
	std   streams
	bar   *progressBar // nil: nobody
	log   *slog.Logger
	reg   *prometheus.Registry
	c     *compact.Compactor
	close func()
}

// openJob opens the buckets that the flags name for a compactor.
func openJob(c *cli.Context, std streams, cfg compact.Config) (j *job, err error) {
	if err := noArgs(c); err != nil {
		return nil, err
	}
	return openJobWithArgs(c, std, cfg)
}

// openJobWithArgs is openJob for a command that takes arguments.
func openJobWithArgs(c *cli.Context, std streams, cfg compact.Config) (j *job, err error) {
	j = &job{std: std, reg: newRegistry()}
	if file, ok := std.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		j.bar = &progressBar{file: file}
		j.std.err = j.bar
	}
	if j.log, err = flags.Logger(c, j.std.err); err != nil {
		return nil, err
	}
	if c.String("memory") != "" {
		if cfg.Memory, err = flags.Bytes(c, "memory"); err != nil {
			return nil, err
		}
		flags.LimitMemory(cfg.Memory)
	}
	b, err := openBuckets(c, j.log, j.reg, 0)
	if err != nil {
		return nil, err
	}
	j.close = func() { closing(j.log, "bucket", b.Close) }
	cfg.Quorum, cfg.Logger, cfg.Registerer = c.Int("write-quorum"), j.log, j.reg
	cfg.Copies = copiesOf(b)
	if j.c, err = compact.New(cfg); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// watch shows how far a run is until the function that it returns is called.
func (j *job) watch(what string) (stop func()) {
	if j.bar == nil {
		return func() {}
	}
	start := time.Now()
	return j.bar.draw(func() string {
		if time.Since(start) < time.Second {
			return ""
		}
		return compactLine(what, j.c.Progress(), time.Since(start))
	})
}

func compactLine(what string, p compact.Progress, took time.Duration) string {
	line := what
	if p.Topic != "" {
		line += " " + p.Topic
	}
	if p.Total > 0 {
		line += fmt.Sprintf("  %3.0f%%  %s of %s records", min(100*float64(p.Records)/float64(p.Total), 100), humanize.Comma(p.Records), humanize.Comma(p.Total))
		if rate := float64(p.Records) / took.Seconds(); rate > 0 && p.Total > p.Records {
			line += "  " + time.Duration(float64(p.Total-p.Records)/rate*float64(time.Second)).Round(time.Second).String() + " left"
		}
	} else if p.Objects > 0 {
		line += fmt.Sprintf("  %s objects, %s", humanize.Comma(p.Objects), humanize.Bytes(uint64(p.Bytes)))
	}
	return line + "  " + took.Round(time.Second).String()
}

func (j *job) runOnce(c *cli.Context) error {
	stop := j.watch("compacting")
	r, err := j.c.Run(c.Context)
	stop()
	if c.Context.Err() != nil {
		return errInterrupted
	}
	if c.Bool("json") {
		if err := printJSON(j.std.out, r); err != nil {
			return err
		}
	} else {
		printReport(j.std.out, r)
	}
	return verdict(j.std.err, r, err)
}

// compactEvery runs a compactor now and then until ctx is done.
func compactEvery(ctx context.Context, c *compact.Compactor, log *slog.Logger, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		r, err := c.Run(ctx)
		if ctx.Err() != nil {
			return // what was under way is begun anew by the next run
		}
		if err != nil {
			log.Error("compaction has failed; the next run goes on", "cause", flags.OneLine(err), "done", r.String())
		} else {
			log.Info("compaction is done for now", "what", r.String(), "segments", r.Segments, "backlog", r.Backlog, "waiting", r.Waiting, "took", r.Took.Round(time.Millisecond))
		}
		for _, why := range r.Refused {
			log.Error("compaction has refused something", "why", why)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// copiesOf are the buckets that were opened, one by one.
func copiesOf(b *open.Opened) (copies []compact.Copy) {
	buckets := b.Copies()
	if len(buckets) == 0 {
		buckets = append(buckets, b.Bucket)
	}
	for i, name := range b.Names() {
		copies = append(copies, compact.Copy{Name: name, Bucket: buckets[i]})
	}
	return copies
}

// verdict tells what needs a look, and turns it into an exit status.
func verdict(w io.Writer, r *compact.Report, err error) error {
	for _, why := range r.Refused {
		fmt.Fprintln(w, "oklog: refused: "+why)
	}
	for _, f := range r.Damaged {
		fmt.Fprintf(w, "oklog: damaged, and left alone: %s\n", oneLine(f))
	}
	for _, f := range r.Lost {
		fmt.Fprintf(w, "oklog: no sound copy: %s\n", oneLine(f))
	}
	if n := r.BadCopies; n > 0 {
		fmt.Fprintf(w, "oklog: %d damaged copies were found, of which others are sound: oklog repair --deep replaces them\n", n)
	}
	if r.Foreign > 0 {
		fmt.Fprintf(w, "oklog: %d objects belong to no segment: %s\n", r.Foreign, some(r.ForeignKeys, r.Foreign))
	}
	for i, s := range r.Skews {
		if i == 10 {
			fmt.Fprintf(w, "oklog: and %d more with absurd times\n", r.Skewed-i)
			break
		}
		fmt.Fprintf(w, "oklog: clock skew: %s has records from %s to %s; they are kept\n", s.Key, s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	switch {
	case err != nil && errors.Is(err, compact.ErrTooMuch) && len(r.Refused) > 0:
		return errFindings
	case err != nil:
		return err
	case !r.Sound():
		return errFindings
	}
	return nil
}

func oneLine(f compact.Finding) string { return flags.OneLine(errors.New(f.String())) }

// some names the first of n keys.
func some(keys []string, n int) string {
	shown := keys[:min(3, len(keys))]
	line := strings.Join(shown, " ")
	if n > len(shown) {
		line += fmt.Sprintf(" and %d more", n-len(shown))
	}
	return line
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

func bytesOf(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// printReport prints what was done, or the plan.
func printReport(w io.Writer, r *compact.Report) {
	if r.DryRun && len(r.Jobs) > 0 {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "TOPIC\tFROM\tTO\tSEGMENTS\tBYTES\tINTO ABOUT\tBYTES ABOUT\tLEVEL")
		for _, j := range r.Jobs {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%d\n", j.Topic, j.From.Format("2006-01-02 15:04:05"), j.To.Format("15:04:05"), j.Segments, bytesOf(j.Bytes),
				j.IntoAbout, bytesOf(j.BytesAbout), j.Level)
		}
		_ = tw.Flush() // what cannot be printed has nowhere to be told
	}
	would := ""
	if r.DryRun {
		would = "would be "
	}
	line := func(n int, format string, args ...any) {
		if n > 0 {
			fmt.Fprintf(w, format+"\n", args...)
		}
	}
	line(r.Merges, "%d segments of %s %smerged into %d of %s (%.0f %%), %s of text, in %d merges", r.MergedIn, bytesOf(r.BytesIn), would, r.MergedOut, bytesOf(r.BytesOut),
		100*float64(r.BytesOut)/float64(max(r.BytesIn, 1)), bytesOf(r.Text), r.Merges)
	line(r.Deleted, "%d replaced segments of %s %sdeleted", r.Deleted, bytesOf(r.DeletedBytes), would)
	line(r.Expired, "%d expired segments of %s %smoved to the trash", r.Expired, bytesOf(r.ExpiredBytes), would)
	line(r.Purged, "%d segments of %s %spurged from the trash", r.Purged, bytesOf(r.PurgedBytes), would)
	line(r.Copied, "%d copies of %s %smade, %d of them in the place of damaged ones", r.Copied, bytesOf(r.CopiedBytes), would, r.Replaced)
	line(r.MissingCopies, "%d copies of what was written are missing; the next run makes them", r.MissingCopies)
	if r.Merges+r.Deleted+r.Expired+r.Purged+r.Copied == 0 {
		fmt.Fprintln(w, "nothing to do")
	}
	fmt.Fprintf(w, "looked at %d segments of %s in %d topics, %s; %d replaced ones wait for their grace to end, %d small or overlapping ones are left\n",
		r.Segments, bytesOf(r.Bytes), r.Topics, r.Took.Round(time.Millisecond), r.Waiting, r.Backlog)
}
