package flags

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

func TestFirst(t *testing.T) {
	known := []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}}, &cli.StringFlag{Name: "topic", Aliases: []string{"t"}}}
	f := func(args, want string) {
		t.Helper()
		if have := strings.Join(First(strings.Fields(args), known), " "); have != want {
			t.Errorf("of %q: want %q, have %q", args, want, have)
		}
	}
	f("", "")
	f("cmd", "cmd --")
	f("cmd web 30d --all", "cmd --all -- web 30d")
	f("cmd key --topic t", "cmd --topic t -- key")
	f("cmd key --topic=t other", "cmd --topic=t -- key other")
	f("cmd key -at t", "cmd --all --topic t -- key")
	f("cmd key -att", "cmd --all --topic=t -- key")
	f("cmd key --topic", "cmd --topic") // what is wrong is for the library to say
	f("cmd key --wat", "cmd --wat -- key")
	f("cmd - key", "cmd -- - key")
	f("cmd key -- --all", "cmd -- key --all")
}

// A value may be left out where the flag says so, and what was given last counts.
func TestOptionalAndLast(t *testing.T) {
	known := []cli.Flag{
		&Optional{StringFlag: &cli.StringFlag{Name: "steps"}, Alone: "auto"}, &cli.StringFlag{Name: "e"},
		&cli.BoolFlag{Name: "ignore-case", Aliases: []string{"i"}}, &cli.BoolFlag{Name: "smart-case", Aliases: []string{"S"}},
	}
	f := func(args, want string) {
		t.Helper()
		args = strings.Join(Last(First(strings.Fields(args), known), known, []string{"ignore-case", "i", "smart-case", "S"}), " ")
		if args != want {
			t.Errorf("want %q, have %q", want, args)
		}
	}
	f("cmd --steps 5m", "cmd --steps=auto -- 5m")
	f("cmd --steps=5m x", "cmd --steps=5m -- x")
	f("cmd x -steps", "cmd --steps=auto -- x")
	f("cmd -iS x", "cmd --smart-case -- x")
	f("cmd -S x --ignore-case", "cmd --ignore-case -- x")
	f("cmd -S -i -S -i", "cmd --ignore-case --")
	f("cmd -i -e -S", "cmd --ignore-case -e -S --") // that is a pattern
	f("cmd -i -e=-S -- -S", "cmd --ignore-case -e=-S -- -S")

	for args, want := range map[string]bool{"cmd -i": true, "cmd x -Si": true, "cmd -e -i": false, "cmd -- -i": false, "cmd -S": false} {
		if have := Given(First(strings.Fields(args), known), known, "i"); have != want {
			t.Errorf("%s: have %v", args, have)
		}
	}

	var have string
	app := &cli.App{Name: "x", Flags: known, Action: func(c *cli.Context) error {
		have = c.String("steps")
		return nil
	}}
	if err := app.RunContext(context.Background(), First([]string{"x", "--steps", "y"}, known)); err != nil || have != "auto" {
		t.Errorf("have %q, %v", have, err)
	}
}

func TestAge(t *testing.T) {
	f := func(want time.Duration, bad string, args ...string) {
		t.Helper()
		var have time.Duration
		app := &cli.App{Name: "x", Flags: []cli.Flag{Age("grace", "keep for `TIME`", "1h", "")}, Action: func(c *cli.Context) (err error) {
			have, err = AgeOf(c, "grace")
			return err
		}}
		err := app.RunContext(context.Background(), append([]string{"x"}, args...))
		if bad == "" && (err != nil || have != want) {
			t.Errorf("%q: want %s, have %s: %v", args, want, have, err)
		}
		if bad != "" && (err == nil || err.Error() != bad) {
			t.Errorf("%q: want the error\n%s\nhave\n%v", args, bad, err)
		}
	}
	f(time.Hour, "")
	f(0, "", "--grace", "0")
	f(90*time.Second, "", "--grace", "1m30s")
	f(7*24*time.Hour, "", "--grace", "7d")
	f(8*24*time.Hour+time.Hour, "", "--grace", "1w1d1h")
	f(0, `bad time "-1s": want one like 90s, 12h or 7d (--grace)`, "--grace", "-1s")
	f(0, `bad time "5": want one like 90s, 12h or 7d (--grace)`, "--grace", "5")
	f(0, `bad time "": want one like 90s, 12h or 7d (--grace)`, "--grace", "")
	f(0, `bad time "9999999w": want one like 90s, 12h or 7d (--grace)`, "--grace", "9999999w")
	t.Setenv("OKLOG_GRACE", "2d")
	f(48*time.Hour, "")
}
