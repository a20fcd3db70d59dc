package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
)

func repairCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "repair",
		Usage: "make the copies that buckets lack, and replace damaged ones",
		Description: "Compares what the buckets hold, by key and size, and copies what one lacks from another. What is copied is held against the hash in\n" +
			"its name. With --deep everything is read, and damaged copies are replaced. A bucket that was lost is filled again.\n\n" +
			"Examples:\n\n" +
			"   oklog repair --bucket \"$A\" --bucket \"$B\" --dry-run\n\n" +
			"   oklog repair --bucket \"$A\" --bucket \"$B\" --deep\n\n" +
			"Exit status: 0 every object is in every bucket, 1 something has no sound copy (it is named), 2 an error, 130 interrupted.",
		Flags: concat(flags.Buckets(), []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`", EnvVars: []string{"OKLOG_TOPIC"}, Category: catCompact},
			&cli.BoolFlag{Name: "deep", Usage: "read everything, to find damaged copies", Category: catCompact},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be copied, and do nothing", Category: catCompact},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON", Category: catCompact},
			flags.Size("memory", "`SIZE` of memory to keep within", compact.DefaultMemory, catCompact),
		}, flags.Log()),
		Action: func(c *cli.Context) error { return runRepair(c, std) },
	}
}

func runRepair(c *cli.Context, std streams) error {
	j, err := openJob(c, std, compact.Config{Topic: c.String("topic"), DryRun: c.Bool("dry-run")})
	if err != nil {
		return err
	}
	defer j.close()
	stop := j.watch("comparing")
	r, err := j.c.Repair(c.Context, c.Bool("deep"))
	stop()
	if c.Context.Err() != nil {
		return errInterrupted
	}
	if c.Bool("json") {
		if err := printJSON(std.out, r); err != nil {
			return err
		}
		return verdict(j.std.err, r, err)
	}
	would := ""
	if r.DryRun {
		would = "would be "
		for _, key := range r.CopiedKeys {
			fmt.Fprintln(std.out, key)
		}
		if n := r.Copied - len(r.CopiedKeys); n > 0 {
			fmt.Fprintf(std.out, "and %d more\n", n)
		}
	}
	fmt.Fprintf(std.out, "%d objects of %s looked at in %s: %d copies of %s %smade, %d of them in the place of damaged ones; %d objects without a sound copy\n",
		r.Segments, bytesOf(r.Bytes), r.Took.Round(time.Millisecond), r.Copied, bytesOf(r.CopiedBytes), would, r.Replaced, len(r.Lost))
	return verdict(j.std.err, r, err)
}
