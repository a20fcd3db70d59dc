package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/query"
)

func retentionCommand(std streams) *cli.Command {
	buckets := func() []cli.Flag { return concat(flags.Buckets(), flags.Log()) }
	return &cli.Command{
		Name:  "retention",
		Usage: "say how long topics are kept",
		Description: "The policy is a small object in the buckets, which oklog compact goes by: a segment expires when its last record is older than its topic is kept\n" +
			"(what comes in later than that is kept for as long from then on),\n" +
			"and then spends a day in the trash (see oklog trash). Without a policy everything is kept.\n\n" +
			"Examples:\n\n" +
			"   export OKLOG_BUCKET='s3://minio:9000/logs?tls=false'\n" +
			"   oklog retention set web 30d\n" +
			"   oklog retention set --all 90d            # topics that are not named\n" +
			"   oklog retention set audit forever\n" +
			"   oklog retention set web default          # as the topics that are not named\n" +
			"   oklog retention show\n" +
			"   oklog compact --dry-run                  # what would expire\n\n" +
			"It needs all the buckets: one that is away may hold a later policy. What has expired of a topic all at once, more than a quarter of it, is\n" +
			"refused: oklog compact --yes takes it, once.",
		HideHelpCommand: true,
		Action:          noSubcommand,
		Subcommands: []*cli.Command{
			{
				Name: "set", Usage: "set it for a topic, or for all that are not named", ArgsUsage: "TOPIC TIME | --all TIME",
				Description: "TIME is one like 12h, 30d or 8w, forever, or default: as the topics that are not named.",
				Flags:       append(buckets(), &cli.BoolFlag{Name: "all", Usage: "for the topics that are not named"}),
				Action:      func(c *cli.Context) error { return setRetention(c, std) },
			},
			{
				Name: "show", Usage: "show it", Flags: append(buckets(), &cli.BoolFlag{Name: "json", Usage: "as JSON"}),
				Action: func(c *cli.Context) error { return showRetention(c, std) },
			},
		},
	}
}

// keepOf reads how long something is kept; nil for "default".
func keepOf(s string) (*compact.Keep, error) {
	var keep compact.Keep
	switch s {
	case "default":
		return nil, nil
	case "forever":
		return &keep, nil
	}
	d, err := query.ParseAge(s)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf("bad time %q: want one like 12h, 30d or 8w, or forever, or default", s)
	}
	keep = compact.Keep(d)
	return &keep, nil
}

func setRetention(c *cli.Context, std streams) error {
	args := c.Args().Slice()
	want := 2
	if c.Bool("all") {
		want = 1
	}
	if len(args) != want {
		return errors.New("want a topic and a time, such as oklog retention set web 30d, or --all and a time: oklog retention set --all 90d")
	}
	keep, err := keepOf(args[len(args)-1])
	if err != nil {
		return err
	}
	j, err := openJobWithArgs(c, std, compact.Config{})
	if err != nil {
		return err
	}
	defer j.close()
	p, err := j.c.ChangePolicy(c.Context, func(p *compact.Policy) {
		switch {
		case c.Bool("all"):
			p.All = keep
		case keep == nil:
			delete(p.Topics, args[0])
		default:
			p.Topics[args[0]] = *keep
		}
	})
	if err != nil {
		return err
	}
	if !c.Bool("all") && keep != nil {
		j.noteTopic(c.Context, args[0])
	}
	return printPolicy(std, p)
}

func showRetention(c *cli.Context, std streams) error {
	j, err := openJob(c, std, compact.Config{DryRun: true})
	if err != nil {
		return err
	}
	defer j.close()
	p, err := j.c.ReadPolicy(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, p)
	}
	if err := printPolicy(std, p); err != nil {
		return err
	}
	if !p.Since.IsZero() {
		fmt.Fprintf(std.out, "set at %s\n", p.Since.UTC().Format(time.RFC3339))
	}
	return nil
}

func printPolicy(std streams, p compact.Policy) error {
	tw := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "TOPIC\tKEPT")
	for _, topic := range slices.Sorted(maps.Keys(p.Topics)) {
		fmt.Fprintf(tw, "%s\t%s\n", topic, kept(p.Topics[topic]))
	}
	others := "forever, unless oklog compact is told --retention"
	if p.All != nil {
		others = kept(*p.All)
	}
	fmt.Fprintf(tw, "(others)\t%s\n", others)
	return tw.Flush()
}

func kept(k compact.Keep) string {
	if k == 0 {
		return "forever"
	}
	return age(time.Duration(k))
}
