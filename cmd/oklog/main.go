// Command oklog runs the parts of a log system on object storage: forwarders, ingesters, compactors, or all of it
// in one process.
//
//	forward ──▶ NATS JetStream ──▶ ingest ──▶ buckets ──▶ oklog-query
//	                                          ▲     │
//	                                          └─────┘ compact, repair, verify; retention, trash
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // --time-zone and the zones of histograms are wanted where the system has none, too

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
)

// version is set when the program is linked.
var version = "devel"

// Exit statuses.
const (
	exitOK        = 0
	exitFindings  = 1
	exitError     = 2
	exitInterrupt = 130
)

// errInterrupted says that a command was stopped before it had done what it was told to.
var errInterrupted = errors.New("interrupted")

// errFindings says that a command has done its work, and found what somebody should look at. It has told what.
var errFindings = errors.New("there are findings")

// errTold says that a command has failed, and has told why.
var errTold = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(run(ctx, os.Args, streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is the program.
func run(ctx context.Context, args []string, std streams) int {
	app := &cli.App{
		Name:    "oklog",
		Usage:   "grep for all your logs, on object storage",
		Version: version,
		Description: "Logs go from forwarders through NATS JetStream to ingesters, which store them as segments in buckets.\n" +
			"oklog-query finds them there.\n\n" +
			"Try it on this machine:\n\n" +
			"   oklog up --data /tmp/oklog &\n" +
			"   oklog forward --topic demo /var/log/dpkg.log\n" +
			"   oklog-query --nats nats://127.0.0.1:4222 --bucket file:///tmp/oklog/bucket --topic demo upgrade",
		Commands: []*cli.Command{upCommand(std), forwardCommand(std), ingestCommand(std), compactCommand(std), repairCommand(std), verifyCommand(std), serveCommand(std),
			retentionCommand(std), trashCommand(std)},
		Reader:          std.in,
		Writer:          std.out,
		ErrWriter:       std.err,
		ExitErrHandler:  func(*cli.Context, error) {},
		HideHelpCommand: true,
		Suggest:         true,
		CommandNotFound: func(*cli.Context, string) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand(c.Args().First(), c.App.Commands, "oklog")
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError: usageError,
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
		for _, sub := range c.Subcommands {
			sub.OnUsageError = usageError
		}
	}
	err := app.RunContext(ctx, flagsFirst(app, args))
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	switch {
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.Is(err, errTold):
		return exitError
	}
	fmt.Fprintln(std.err, "oklog: "+flags.OneLine(err))
	if errors.Is(err, errInterrupted) {
		return exitInterrupt
	}
	return exitError
}

// flagsFirst puts the flags of a command in front of its arguments.
func flagsFirst(app *cli.App, args []string) []string {
	commands := app.Commands
	for i := 1; i < len(args); i++ {
		n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[i]) })
		if n < 0 {
			break
		}
		c := commands[n]
		if len(c.Subcommands) == 0 {
			return append(slices.Clone(args[:i]), flags.First(args[i:], c.Flags)...)
		}
		commands = c.Subcommands
	}
	return args
}

// noSubcommand is the action of a command that only has others.
func noSubcommand(c *cli.Context) error {
	if c.Args().Present() {
		return noCommand(c.Args().First(), c.Command.Subcommands, c.Command.HelpName)
	}
	return cli.ShowSubcommandHelp(c)
}

// noCommand says which command may have been meant by what is none.
func noCommand(name string, commands []*cli.Command, of string) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	if near := flags.Nearest(name, names); near != "" {
		return fmt.Errorf("there is no command %q, but %s: see %s --help", name, near, of)
	}
	return fmt.Errorf("there is no command %q: see %s --help", name, of)
}

// usageError keeps the library from printing all of the help where one line says what is wrong.
func usageError(c *cli.Context, err error, _ bool) error {
	if flag, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		var names []string
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()[0])
		}
		if near := flags.Nearest(flag, names); near != "" {
			return fmt.Errorf("%w: it may be --%s: see %s --help", err, near, c.Command.HelpName)
		}
	}
	return fmt.Errorf("%w: see %s --help", err, c.Command.HelpName)
}

// noArgs refuses arguments where a command takes none.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("unexpected argument %q: see %s --help", c.Args().First(), c.Command.HelpName)
	}
	return nil
}
