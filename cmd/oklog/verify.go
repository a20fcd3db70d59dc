package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/objstore/segment"
	"oklog/query"
)

func verifyCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read segments and tell whatever is wrong with them",
		Description: "Reads every copy of every segment of the range: structure, checksums, order, the key against the content, the filter against the text, the\n" +
			"copies against each other. What is wrong is printed, a line each. It changes nothing: oklog repair --deep replaces damaged copies.\n\n" +
			"Examples:\n\n" +
			"   oklog verify --bucket \"$A\" --bucket \"$B\"\n\n" +
			"   oklog verify --bucket \"$A\" --topic web --from 2d --to 1d\n\n" +
			"Exit status: 0 all is sound, 1 something is not, 2 an error: not everything could be read, 130 interrupted.",
		Flags: concat(flags.Buckets(), []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`", Category: catCompact},
			&cli.StringFlag{Name: "from", Usage: "only segments with records from `TIME` on: RFC 3339, 2d ago, or a ULID; all if empty", Category: catCompact},
			&cli.StringFlag{Name: "to", Usage: "only segments with records before `TIME`", Category: catCompact},
			&cli.StringFlag{Name: "shard", Usage: "do part `I/N` of the work, I from 0", EnvVars: []string{"OKLOG_SHARD"}, Category: catCompact},
			&cli.BoolFlag{Name: "json", Usage: "print findings as JSON, an object a line", Category: catCompact},
		}, flags.Log()),
		Action: func(c *cli.Context) error { return runVerify(c, std) },
	}
}

func runVerify(c *cli.Context, std streams) error {
	cfg := compact.Config{Topic: c.String("topic"), DryRun: true}
	var err error
	if cfg.Shard, cfg.Shards, err = shardOf(c); err != nil {
		return err
	}
	from, to := segment.MakeID(0, 0, 0), segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)
	if c.String("from") != "" || c.String("to") != "" {
		since, until := c.String("from"), c.String("to")
		if since == "" {
			since = "1970-01-01"
		}
		if until == "" {
			until = "9999-12-31"
		}
		r, err := query.ParseRange(since, until, time.Now())
		if err != nil {
			return err
		}
		from, to = r.From, segment.Before(r.To)
	}
	j, err := openJob(c, std, cfg)
	if err != nil {
		return err
	}
	defer j.close()
	stop := j.watch("verifying")
	v, err := j.c.Verify(c.Context, from, to, func(where string, err error) {
		if c.Bool("json") {
			_ = printLine(j.std.out, map[string]string{"object": where, "problem": err.Error()}) // there is the exit status
			return
		}
		fmt.Fprintf(j.std.out, "%s: %s\n", where, flags.OneLine(err))
	})
	stop()
	if c.Context.Err() != nil {
		return errInterrupted
	}
	if topic := c.String("topic"); topic != "" && v.Segments == 0 && err == nil {
		j.noteTopic(c.Context, topic)
	}
	verdict := "all is well"
	switch {
	case v.Findings > 0:
		verdict = count(v.Findings, "thing is", "things are") + " wrong"
	case err != nil:
		verdict = "not everything could be read"
	case v.Segments == 0:
		verdict = "there is nothing here to verify"
	}
	fmt.Fprintf(j.std.err, "looked at %s, %s of %s, %s of text, in %s: %s\n", count(v.Segments, "segment"), count(v.Copies, "copy", "copies"), bytesOf(v.Bytes), bytesOf(v.Text),
		v.Took.Round(time.Millisecond), verdict)
	switch {
	case err != nil:
		return tell(j.std.err, causes(err), nil)
	case v.Findings > 0:
		return errFindings
	}
	return nil
}
