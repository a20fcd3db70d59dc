package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
)

func repairCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "repair",
		Usage: "make the copies that buckets lack, and replace damaged ones",
		Description: "Compares what the buckets hold, by key and size, and copies what one lacks from another. What is copied is held against the hash in\n" +
			"its name. With --deep everything is read, and damaged copies are replaced. A bucket that was lost is filled again.\n" +
			"It needs all the buckets: make an empty one in the place of one that was lost.\n\n" +
			"Examples:\n\n" +
			"   oklog repair --bucket \"$A\" --bucket \"$B\" --dry-run\n\n" +
			"   oklog repair --bucket \"$A\" --bucket \"$B\" --deep\n\n" +
			"Exit status: 0 every object is in every bucket, 1 something has no sound copy (it is named), or with --dry-run lacks one, 2 an error, 130 interrupted.",
		Flags: concat(flags.Buckets(), []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`", Category: catCompact},
			&cli.BoolFlag{Name: "deep", Usage: "read everything, to find damaged copies", Category: catCompact},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be copied, and do nothing", Category: catCompact},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON", Category: catCompact},
			flags.Size("memory", "`SIZE` of memory to keep within", compact.DefaultMemory, catCompact),
		}, flags.Log()),
		Action: func(c *cli.Context) error { return runRepair(c, std) },
	}
}

func runRepair(c *cli.Context, std streams) error {
	if list := c.StringSlice("bucket"); len(list) == 1 && !c.Bool("deep") {
		return errors.New("there is one bucket, and nothing to compare it with: add a --bucket, or --deep to look for damage")
	}
	j, err := openJob(c, std, compact.Config{Topic: c.String("topic"), DryRun: c.Bool("dry-run")})
	if err != nil {
		return err
	}
	defer j.close()
	stop := j.watch("comparing")
	r, err := j.c.Repair(c.Context, c.Bool("deep"))
	stop()
	if c.Context.Err() != nil {
		return errGoesOn
	}
	if c.Bool("json") {
		if err := printJSON(std.out, r); err != nil {
			return err
		}
	} else {
		printRepair(std.out, r, c.Bool("deep"), err)
	}
	if err := verdict(j.std.err, r, err); err != nil {
		return err
	}
	if r.DryRun && r.Copied > 0 {
		return errFindings
	}
	return nil
}

// printRepair prints what was copied, or would be.
func printRepair(w io.Writer, r *compact.Report, deep bool, err error) {
	would := ""
	if r.DryRun {
		would = "would be "
		for _, key := range r.CopiedKeys {
			fmt.Fprintln(w, key)
		}
		if n := r.Copied - len(r.CopiedKeys); n > 0 {
			fmt.Fprintf(w, "and %s more\n", humanize.Comma(int64(n)))
		}
	}
	done := "no copy is missing"
	switch {
	case r.Copied > 0:
		done = fmt.Sprintf("%s of %s %smade%s", count(r.Copied, "copy", "copies"), bytesOf(r.CopiedBytes), would, overDamaged(r))
	case err != nil || r.LostObjects > 0:
		done = "nothing was copied"
	case deep:
		done = "no copy is missing or damaged"
	}
	if n := r.LostObjects; n > 0 {
		done += fmt.Sprintf("; %s no sound copy", count(n, "object has", "objects have"))
	}
	fmt.Fprintf(w, "looked at %s of %s in %s: %s\n", count(r.Segments, "object"), bytesOf(r.Bytes), r.Took.Round(time.Millisecond), done)
}
