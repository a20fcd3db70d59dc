package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/oklog/ulid/v2"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
)

func trashCommand(std streams) *cli.Command {
	some := func(verb string) []cli.Flag {
		return concat(flags.Buckets(), []cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`"},
			&cli.BoolFlag{Name: "all", Usage: verb + " everything that is there, of the topic if one is given"},
			flags.Size("memory", "`SIZE` of memory to keep within", compact.DefaultMemory, ""),
		}, flags.Log())
	}
	return &cli.Command{
		Name:  "trash",
		Usage: "see, take back or purge what has expired",
		Description: "What oklog compact expires lies in the trash for a day (--trash-for) before it is purged.\n\n" +
			"Examples:\n\n" +
			"   oklog trash ls --topic web\n" +
			"   oklog trash restore web/2026-10-22/01K7…-01K7…-g1-r31267-b3699935-8c0de59f31d2a7b4.zst\n" +
			"   oklog trash restore 8c0de59f31d2a7b4     # the hash at the end of a key will do\n" +
			"   oklog trash restore --topic web --all\n" +
			"   oklog trash purge --topic web --all\n\n" +
			"What is restored is found by queries again. It is kept for as long as its topic is, counted from now: set that first where it was wrong (oklog retention set).",
		HideHelpCommand: true,
		Action:          noSubcommand,
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list what is there", Flags: concat(flags.Buckets(), []cli.Flag{
				&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`"},
				&cli.BoolFlag{Name: "json", Usage: "as JSON, an object a line"}}, flags.Log()),
				Action: func(c *cli.Context) error { return listTrash(c, std) }},
			{Name: "restore", Usage: "put segments back", ArgsUsage: "KEY... | --all", Flags: some("restore"),
				Action: func(c *cli.Context) error {
					return changeTrash(c, std, "restored", (*compact.Compactor).Restore)
				}},
			{Name: "purge", Usage: "delete segments for good", ArgsUsage: "KEY... | --all", Flags: some("purge"),
				Action: func(c *cli.Context) error { return changeTrash(c, std, "purged", (*compact.Compactor).Purge) }},
		},
	}
}

func listTrash(c *cli.Context, std streams) error {
	j, err := openJob(c, std, compact.Config{DryRun: true, Topic: c.String("topic")})
	if err != nil {
		return err
	}
	defer j.close()
	tw := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	n, size := 0, int64(0)
	for t, err := range j.c.Trash(c.Context, c.String("topic")) {
		if err != nil {
			return err
		}
		n++
		size += t.Size
		first, last := ulid.Time(t.Name.First.Time()).UTC(), ulid.Time(t.Name.Last.Time()).UTC()
		if c.Bool("json") {
			if err := printLine(std.out, trashLine{t.Key(), t.At.UTC(), first, last, t.Name.Records, t.Size}); err != nil {
				return fmt.Errorf("print JSON: %w", err)
			}
			continue
		}
		if n == 1 {
			fmt.Fprintln(tw, "MOVED HERE (UTC)\tFROM\tTO\tRECORDS\tBYTES\tKEY")
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", utc(t.At), utc(first), utc(last), humanize.Comma(t.Name.Records), bytesOf(t.Size), t.Key())
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if names := j.c.Away(); len(names) > 0 {
		return fmt.Errorf("%s cannot be used: there may be more in the trash", strings.Join(names, ", "))
	}
	if n == 0 {
		fmt.Fprintln(j.std.err, "the trash is empty")
		return nil
	}
	fmt.Fprintf(j.std.err, "%s of %s\n", count(n, "segment"), bytesOf(size))
	return nil
}

// trashLine is a segment in the trash as JSON.
type trashLine struct {
	Key     string    `json:"key"`
	Moved   time.Time `json:"moved"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Records int64     `json:"records"`
	Bytes   int64     `json:"bytes"`
}

// changeTrash does something with the segments in the trash that the arguments name.
func changeTrash(c *cli.Context, std streams, done string, do func(*compact.Compactor, context.Context, compact.Trashed) error) error {
	keys := c.Args().Slice()
	if (len(keys) == 0) != c.Bool("all") {
		return errors.New("want the keys of segments as oklog trash ls prints them, or the hashes in them, or --all")
	}
	j, err := openJobWithArgs(c, std, compact.Config{Topic: c.String("topic")})
	if err != nil {
		return err
	}
	defer j.close()
	var chosen []compact.Trashed
	left := slices.Clone(keys)
	for t, err := range j.c.Trash(c.Context, c.String("topic")) {
		if err != nil {
			return err
		}
		names := func(k string) bool { return k == t.Key() || k == hex.EncodeToString(t.Name.Hash[:]) }
		if c.Bool("all") || slices.ContainsFunc(keys, names) {
			chosen = append(chosen, t)
			left = slices.DeleteFunc(left, names)
		}
	}
	if names := j.c.Away(); len(names) > 0 {
		return fmt.Errorf("%s cannot be used: there may be more in the trash, and nothing was %s", strings.Join(names, ", "), done)
	}
	if len(left) > 0 {
		return fmt.Errorf("%s is not in the trash: oklog trash ls shows what is", left[0])
	}
	var n, size atomic.Int64
	start := time.Now()
	stop := j.draw(func(took time.Duration) string {
		return fmt.Sprintf("%s of %s %s  %s", humanize.Comma(n.Load()), count(len(chosen), "segment"), done, took.Round(time.Second))
	})
	for _, t := range chosen {
		if err = do(j.c, c.Context, t); err != nil {
			break
		}
		n.Add(1)
		size.Add(t.Size)
	}
	stop()
	switch {
	case err != nil && c.Context.Err() != nil:
		return fmt.Errorf("%w: %d of %s %s", errInterrupted, n.Load(), count(len(chosen), "segment"), done)
	case err != nil:
		return fmt.Errorf("%w (%d of %s %s)", err, n.Load(), count(len(chosen), "segment"), done)
	case len(chosen) == 0:
		fmt.Fprintln(std.out, "the trash is empty")
	default:
		fmt.Fprintf(std.out, "%s of %s %s in %s\n", count(n.Load(), "segment"), bytesOf(size.Load()), done, time.Since(start).Round(time.Millisecond))
	}
	return nil
}
