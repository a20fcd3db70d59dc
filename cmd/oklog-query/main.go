// Command oklog-query is what people type: it finds records in the segments of a bucket, and in what is
// not flushed yet, and prints them as grep does. Its other commands show what there is to search.
//
//	arguments ──┐
//	environment ┼─▶ options ──▶ backend ──▶ sink ──▶ standard output
//	profile ────┘    (query.Request)  │       │
//	                                  │       └─ records, counts, sources, bars
//	                                  ├─ local: query.Engine over buckets (--bucket) and a stream (--nats)
//	                                  └─ remote: query/client, and oklog serve behind it (--server)
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // --tz wants zones where the system has none, too

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
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

// streams is where a command prints.
type streams struct {
	stdout, stderr io.Writer
	log            *slog.Logger // warnings, which are printed at the end
}

// command is what the arguments name.
type command struct {
	name string
	app  func() *cli.App
	do   func(ctx context.Context, c *cli.Context, s streams) (int, error)
}

// commands are all but the search, which has no name.
func commands() []command {
	return []command{
		{"tail", newTail, doTail},
		{"topics", newTopics, doTopics},
		{"sources", newSources, doSources},
		{"stats", newStats, doStats},
		{"ls", newLs, doLs},
		{"cat", newCat, doCat},
		{"completion", newCompletion, doCompletion},
		{"man", newMan, doMan},
		{"help", newHelp, doHelp},
	}
}

func searching() command { return command{"", newSearch, doSearch} }

// commandOf finds a command by its name.
func commandOf(name string) (command, bool) {
	all := commands()
	if i := slices.IndexFunc(all, func(c command) bool { return c.name == name }); i >= 0 {
		return all[i], true
	}
	return searching(), false
}

// commandIn finds the command that the arguments name, and gives those of its own. The name stands first, or behind flags that say
// where records are: behind any other it is a text to search for.
func commandIn(args []string) (cmd command, own []string) {
	at := 1
	for at < len(args) && len(args[at]) > 1 && args[at][0] == '-' && args[at] != "--" {
		name, _, hasValue := strings.Cut(strings.TrimPrefix(args[at][1:], "-"), "=")
		alone := name == "help" || name == "h"
		if !alone && !hasFlag(sharedFlags(), name) {
			return searching(), args
		}
		if at++; !hasValue && !alone {
			at++
		}
	}
	if at < len(args) {
		if cmd, ok := commandOf(args[at]); ok {
			return cmd, slices.Concat(args[at:at+1], args[1:at], args[at+1:])
		}
	}
	return searching(), args
}

// sharedFlags are those that may stand in front of a command's name. All of them take a value.
func sharedFlags() []cli.Flag { return append(placeFlags(), profileFlags()...) }

// run is the program. args[0] is its name. Nothing is read from standard input.
func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	cmd, args := commandIn(args)
	warnings := &keptWarnings{}
	s := streams{stdout, stderr, slog.New(warningHandler(warnings.add))}
	code := exitFound
	app := cmd.app()
	finish(app, cmd.name)
	app.Writer, app.ErrWriter = stdout, stderr
	app.Action = func(c *cli.Context) (err error) {
		code = exitTrouble
		if err := checkAlone(app, args); err != nil {
			return err
		}
		if err := preferArguments(c, args); err != nil {
			return err
		}
		if err := applyProfile(c, args, s.log); err != nil {
			return err
		}
		if err := preferSaid(c, args); err != nil {
			return err
		}
		code, err = cmd.do(ctx, c, s)
		if err == nil && ctx.Err() == nil {
			warnings.print(stderr)
		}
		return err
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError(err, app, cmd.name, args) }
	args = flags.Last(flags.First(contextNumbers(args, app.Flags), app.Flags), app.Flags, exclusive()...)
	if text := informed(app, cmd, args, stdout); text != "" {
		if _, err := io.WriteString(stdout, text); err != nil {
			return exitTrouble
		}
		return exitFound
	}
	err := app.RunContext(ctx, args)
	switch {
	case ctx.Err() != nil:
		return exitInterrupt
	case err != nil:
		fmt.Fprintf(stderr, "oklog-query: %s\n", flags.OneLine(err))
		return exitTrouble
	}
	return code
}

// informed is what is printed if the arguments ask about the program, whatever else is among them.
func informed(app *cli.App, cmd command, args []string, stdout io.Writer) string {
	asked := func(name string) bool { return flags.Given(args, app.Flags, name) }
	switch {
	case asked("help"), asked("h") && cmd.name != "":
		return helpFor(app, stdout)
	case asked("h"):
		return shortHelp
	case asked("version"):
		return fmt.Sprintf("oklog-query %s\n", version)
	}
	return ""
}

// finish gives an app what all commands have.
func finish(app *cli.App, name string) {
	app.Version = version
	app.HideHelp, app.HideHelpCommand, app.HideVersion = true, true, true // the library's are not printed as ours are
	app.DisableSliceFlagSeparator = true
	app.ExitErrHandler = func(*cli.Context, error) {}
	const what = catHelp
	if hasFlag(app.Flags, "bucket") {
		app.Flags = append(app.Flags, profileFlags()...)
	}
	app.Flags = append(app.Flags,
		&cli.BoolFlag{Name: "h", Category: what, Usage: "print a short help"},
		&cli.BoolFlag{Name: "help", Category: what, Usage: "print all of the help"},
		&cli.BoolFlag{Name: "version", Category: what, Usage: "print the version"})
}

func profileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Category: catHelp, EnvVars: []string{"OKLOG_CONFIG"}, Usage: "the `FILE` with profiles", DefaultText: "~/.config/oklog/config"},
		&cli.StringFlag{Name: "profile", Category: catHelp, EnvVars: []string{"OKLOG_PROFILE"}, Usage: "take the settings of the section `NAME` of that file", DefaultText: "default"},
	}
}

// contextNumbers makes -C of grep's -5, where that is no flag's value.
func contextNumbers(args []string, all []cli.Flag) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		if len(a) > 1 && len(a) < 7 && a[0] == '-' && a != "-0" && strings.Trim(a[1:], "0123456789") == "" && (i == 0 || !flags.TakesNext(args[i-1], all)) {
			out[i] = "-C=" + a[1:]
		}
	}
	return out
}

// exclusive are the flags of which the last one counts.
func exclusive() [][]string {
	return [][]string{
		{"ignore-case", "i", "case-sensitive", "s", "smart-case", "S"},
		{"fixed-strings", "F", "regex", "E"},
		{"time", "no-time"},
	}
}

// instead are flags with values of which one says what the other does.
func instead() [][]string { return [][]string{{"from", "last"}, {"token", "token-file"}} }

// checkAlone refuses what says how records are printed beside what prints none. A profile may say it, for other searches.
func checkAlone(app *cli.App, args []string) error {
	given := func(name string) bool { return hasFlag(app.Flags, name) && flags.Given(args, app.Flags, name) }
	for _, counting := range []string{"top", "histogram"} {
		for _, name := range []string{"count", "list-sources", "only-matching", "after-context", "before-context", "context", "newest", "limit"} {
			if given(counting) && given(name) && (counting != "top" || name != "limit") {
				return fmt.Errorf("--%s prints no records, and --%s is about them: leave one of them out", counting, name)
			}
		}
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
