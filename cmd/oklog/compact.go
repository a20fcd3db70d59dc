package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/objstore/segment"
	"oklog/query"
)

const catCompact = "Compaction"

// compact, a job that is run now and then, any number at once:
//
//	buckets ──▶ retention ──▶ repair ──▶ delete what was replaced ──▶ merge ──▶ buckets
//	             └▶ trash
func compactCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "compact",
		Usage: "merge small segments into large ones, expire old ones, make missing copies",
		Description: "Does what is to be done in the buckets, and ends; with --every, it goes on. All that it knows is in the buckets: run it on a schedule, as many\n" +
			"at once as you like, and kill it whenever. What is replaced stays for --grace, what expires goes to the trash for --trash-for.\n" +
			"Queries find the same records before, while and after it runs.\n\n" +
			"Examples:\n\n" +
			"   oklog compact --bucket file:///var/lib/oklog/bucket\n\n" +
			"   oklog compact --bucket \"$A\" --bucket \"$B\" --dry-run          # what would be done\n\n" +
			"   oklog compact --bucket \"$A\" --bucket \"$B\" --every 10m --http 127.0.0.1:7652\n\n" +
			"   oklog compact --bucket \"$A\" --shard \"$JOB_COMPLETION_INDEX/4\"   # one of four jobs\n\n" +
			"Exit status: 0 all is well, 1 something was found that needs a look (it is told), 2 an error, 130 interrupted. With --every, 0 when it is stopped.",
		Flags: concat(flags.Buckets(), []cli.Flag{flags.WriteQuorum(flags.StoredAt)}, []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`", Category: catCompact},
			flags.Age("older-than", "leave records that are younger than `TIME`: more may still come in between", age(compact.DefaultOlderThan), catCompact),
			flags.Age("grace", "keep a replaced segment for `TIME`: longer than the longest query", age(compact.DefaultGrace), catCompact),
			flags.Age("quiet", "tidy up a day that is over when nothing was added to it for `TIME`", age(compact.DefaultQuiet), catCompact),
			&cli.StringFlag{Name: "retention", Usage: "keep topics for which oklog retention says nothing for `TIME`, such as 30d; for ever if empty", EnvVars: []string{"OKLOG_RETENTION"}, Category: catCompact},
			flags.Age("trash-for", "keep what has expired in the trash for `TIME`", age(compact.DefaultTrashFor), catCompact),
			&cli.BoolFlag{Name: "yes", Usage: "let retention take more than a quarter of a topic at once", Category: catCompact},
			flags.Size("target-size", "make segments of about `SIZE`", compact.DefaultTarget, catCompact),
			flags.Size("memory", "`SIZE` of memory to keep within", compact.DefaultMemory, catCompact),
			&cli.StringFlag{Name: "level", Usage: "`LEVEL` of compression: best or fast", Value: "best", EnvVars: []string{"OKLOG_LEVEL"}, Category: catCompact},
			&cli.StringFlag{Name: "shard", Usage: "do part `I/N` of the work, I from 0: topics and days are shared out among N jobs", EnvVars: []string{"OKLOG_SHARD"}, Category: catCompact},
			&cli.BoolFlag{Name: "once", Usage: "end when there is nothing more to do now, as without --every; OKLOG_EVERY does not count then", Category: catCompact},
			flags.Age("every", "do it every `TIME`, until stopped", "", catCompact),
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be done, and do nothing", Category: catCompact},
			&cli.BoolFlag{Name: "json", Usage: "print the report (or the plan, with --dry-run) as JSON", Category: catCompact},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics, like 127.0.0.1:7652; none if empty", EnvVars: []string{"OKLOG_HTTP"}},
			&cli.StringFlag{Name: "push", Usage: "push the metrics to the Prometheus Pushgateway at `URL` after each run", EnvVars: []string{"OKLOG_PUSH"}},
		}, flags.Log()),
		Action: func(c *cli.Context) error { return runCompact(c, std) },
	}
}

func runCompact(c *cli.Context, std streams) error {
	cfg, err := compactConfig(c)
	if err != nil {
		return err
	}
	every, err := everyOf(c)
	if err != nil {
		return err
	}
	gateway, err := gatewayOf(c)
	if err != nil {
		return err
	}
	j, err := openJob(c, std, cfg)
	if err != nil {
		return err
	}
	defer j.close()
	url, stop, err := serveHTTP(c, j.reg, j.log, bucketCheck(j.bucket))
	if err != nil {
		return err
	}
	defer stop()
	if gateway != nil {
		j.pusher = gateway.Gatherer(j.reg)
	}
	if every > 0 {
		if url != "" {
			j.log.Info("serving metrics", "url", url+"/metrics")
		}
		compactEvery(c.Context, j.c, j.log, every, j.push)
		j.log.Info("stopped")
		return nil
	}
	return j.runOnce(c)
}

// everyOf reads --every; 0: once.
func everyOf(c *cli.Context) (time.Duration, error) {
	if c.String("every") == "" {
		return 0, nil
	}
	every, err := flags.AgeOf(c, "every")
	switch {
	case err != nil:
		return 0, err
	case every == 0:
		return 0, errors.New("bad time 0: want more than that, like 10m (--every)")
	case !c.Bool("once") && !c.Bool("dry-run"):
		return every, nil
	case os.Getenv("OKLOG_EVERY") != "":
		return 0, nil // that is for the compactor that runs on this machine
	}
	return 0, errors.New("--every goes on for ever: leave it out with --once and --dry-run")
}

// gatewayOf reads --push; nil: nothing is pushed. Shards have groups of their own: one would replace what another has pushed.
func gatewayOf(c *cli.Context) (*push.Pusher, error) {
	at := c.String("push")
	if at == "" || c.Bool("dry-run") {
		return nil, nil
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("bad URL %q: want one like http://HOST:9091 (--push)", at)
	}
	p := push.New(at, "oklog_compact").Client(&http.Client{Timeout: pushTimeout})
	if s := c.String("shard"); s != "" {
		p.Grouping("shard", strings.ReplaceAll(s, "/", "of"))
	}
	return p, nil
}

// pushTimeout is how long a Pushgateway is waited for.
const pushTimeout = 10 * time.Second

// compactConfig reads the flags of compact.
func compactConfig(c *cli.Context) (cfg compact.Config, err error) {
	cfg = compact.Config{Topic: c.String("topic"), Yes: c.Bool("yes"), DryRun: c.Bool("dry-run")}
	for _, f := range []struct {
		name string
		to   *time.Duration
	}{{"older-than", &cfg.OlderThan}, {"grace", &cfg.Grace}, {"quiet", &cfg.Quiet}, {"trash-for", &cfg.TrashFor}} {
		if *f.to, err = flags.AgeOf(c, f.name); err != nil {
			return cfg, err
		}
		*f.to = max(*f.to, 1) // 0 stands for the default in a Config
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

func (j *job) runOnce(c *cli.Context) error {
	stop := j.watch("compacting")
	r, err := j.c.Run(c.Context)
	stop()
	if c.Context.Err() != nil {
		return errGoesOn
	}
	slices.SortFunc(r.Jobs, func(a, b compact.JobReport) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), a.From.Compare(b.From))
	})
	if topic := c.String("topic"); topic != "" && r.Segments == 0 && err == nil {
		j.noteTopic(c.Context, topic)
	}
	if c.Bool("json") {
		if err := printJSON(j.std.out, r); err != nil {
			return err
		}
	} else {
		printReport(j.std.out, r, err)
	}
	j.push(c.Context)
	if err == nil && r.Sound() && !j.log.Enabled(c.Context, slog.LevelWarn) {
		return nil // what there is to tell is no error: absurd times, objects of somebody else
	}
	return verdict(j.std.err, r, err)
}

// errGoesOn tells of a command that was stopped and repeats nothing.
var errGoesOn = fmt.Errorf("%w: what was done stays, and the next run goes on from there", errInterrupted)

// compactEvery runs a compactor now and then until ctx is done. after is called after each run.
func compactEvery(ctx context.Context, c *compact.Compactor, log *slog.Logger, every time.Duration, after func(context.Context)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		r, err := c.Run(ctx)
		if ctx.Err() != nil {
			return // what was under way is begun anew by the next run
		}
		if failed := failures(r, err); len(failed) > 0 {
			log.Error("compaction has failed; the next run goes on", "cause", flags.OneLine(errors.Join(failed...)), "done", r.String())
		} else {
			log.Info("compaction is done for now", "what", r.String(), "segments", r.Segments, "backlog", r.Backlog, "waiting", r.Waiting, "took", r.Took.Round(time.Millisecond))
		}
		level := slog.LevelWarn
		if !r.Sound() {
			level = slog.LevelError
		}
		for _, what := range findings(r, err) {
			log.Log(ctx, level, "compaction has found what needs a look", "what", what)
		}
		after(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// push tells the Pushgateway, if there is one. The work is done, whether it is there or not.
func (j *job) push(ctx context.Context) {
	if j.pusher == nil {
		return
	}
	if err := j.pusher.PushContext(ctx); err != nil && ctx.Err() == nil {
		j.log.Warn("the metrics could not be pushed (--push)", "cause", err)
	}
}
