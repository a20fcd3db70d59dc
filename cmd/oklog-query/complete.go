package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func newCompletion() *cli.App {
	return &cli.App{
		Name: "oklog-query completion", Usage: "print a script with which a shell completes arguments",
		UsageText: "oklog-query completion bash|zsh|fish",
		Description: `Prints a script that completes commands, flags and the names of topics, which it asks oklog-query topics for, for two seconds at most.

   source <(oklog-query completion bash)         in ~/.bashrc
   source <(oklog-query completion zsh)          in ~/.zshrc, behind compinit
   oklog-query completion fish > ~/.config/fish/completions/oklog-query.fish`,
	}
}

func doCompletion(_ context.Context, c *cli.Context, s streams) (int, error) {
	var script string
	switch shell := c.Args().First(); shell {
	case "bash":
		script = bashScript()
	case "zsh":
		// zsh runs the script of bash.
		script = "autoload -U +X bashcompinit && bashcompinit\n" + bashScript()
	case "fish":
		script = fishScript()
	case "":
		return exitTrouble, errors.New("which shell? Name it: oklog-query completion bash, zsh or fish")
	default:
		return exitTrouble, fmt.Errorf("there is no script for %q: want bash, zsh or fish", shell)
	}
	_, err := io.WriteString(s.stdout, script)
	return exitFound, err
}

// completed are the commands with their flags, the search first.
func completed() (apps []*cli.App, names []string) {
	for _, cmd := range append([]command{searching()}, commands()...) {
		app := cmd.app()
		finish(app, cmd.name)
		apps, names = append(apps, app), append(names, cmd.name)
	}
	return apps, names
}

func bashScript() string {
	apps, names := completed()
	var b strings.Builder
	fmt.Fprintf(&b, `# Completes the arguments of oklog-query.
_oklog_query_topics() {
	if command -v timeout >/dev/null 2>&1; then timeout 2 oklog-query topics 2>/dev/null; fi
}
_oklog_query_profiles() {
	local file="${OKLOG_CONFIG:-${XDG_CONFIG_HOME:-$HOME/.config}/oklog/config}"
	if [[ -r "$file" ]]; then sed -n 's/^[[:space:]]*\[[[:space:]]*\([A-Za-z0-9_.-]*\)[[:space:]]*\].*/\1/p' "$file"; fi
}
_oklog_query() {
	local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words at=1
	COMPREPLY=()
	case "$prev" in
	--topic|-t) COMPREPLY=($(compgen -W "$(_oklog_query_topics)" -- "$cur")); return ;;
	--profile) COMPREPLY=($(compgen -W "$(_oklog_query_profiles)" -- "$cur")); return ;;
	--color|--colour) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
	--tz) COMPREPLY=($(compgen -W "utc local" -- "$cur")); return ;;
	--cache) COMPREPLY=($(compgen -d -- "$cur")); return ;;
	--config|--*-ca|--*-cert|--*-key|--*-creds|--*-nkey|--*-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	esac
	while ((at < COMP_CWORD)); do # a command's name stands behind these, too
		case "${COMP_WORDS[at]}" in
		%s) ((at += 2)) ;;
		*) break ;;
		esac
	done
	case "${COMP_WORDS[at]}" in
`, strings.Join(longNames(&cli.App{Flags: sharedFlags()}), "|"))
	for i, app := range apps {
		if i > 0 {
			fmt.Fprintf(&b, "\t%s) words=%q ;;\n", names[i], strings.Join(longNames(app), " "))
		}
	}
	fmt.Fprintf(&b, "\t*) words=%q ;;\n\tesac\n", strings.Join(longNames(apps[0]), " "))
	fmt.Fprintf(&b, `	if [[ "$cur" == -* ]]; then
		COMPREPLY=($(compgen -W "$words" -- "$cur"))
	elif ((COMP_CWORD == at)); then
		COMPREPLY=($(compgen -W %q -- "$cur"))
	elif ((COMP_CWORD == at + 1)); then
		case "$prev" in
		completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
		help) COMPREPLY=($(compgen -W %q -- "$cur")) ;;
		esac
	fi
}
complete -F _oklog_query oklog-query
`, strings.Join(names[1:], " "), strings.Join(names[1:], " "))
	return b.String()
}

func longNames(app *cli.App) (all []string) {
	for _, f := range app.Flags {
		if d, ok := docOf(f); ok {
			for _, name := range d.names {
				if strings.HasPrefix(name, "--") {
					all = append(all, name)
				}
			}
		}
	}
	return all
}

func fishScript() string {
	apps, names := completed()
	var b strings.Builder
	b.WriteString("# Completes the arguments of oklog-query.\ncomplete -c oklog-query -f\n")
	one := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	all := strings.Join(names[1:], " ")
	for i, app := range apps {
		when := fmt.Sprintf("not __fish_seen_subcommand_from %s", all)
		if i > 0 {
			when = "__fish_seen_subcommand_from " + names[i]
			fmt.Fprintf(&b, "complete -c oklog-query -n 'test (count (commandline -opc)) -eq 1' -a %s -d %s\n", names[i], one(app.Usage))
		}
		for _, f := range app.Flags {
			d, ok := docOf(f)
			if !ok {
				continue
			}
			fmt.Fprintf(&b, "complete -c oklog-query -n %s", one(when))
			for _, name := range d.names {
				if long, ok := strings.CutPrefix(name, "--"); ok {
					b.WriteString(" -l " + long)
				} else {
					b.WriteString(" -s " + name[1:])
				}
			}
			switch {
			case slices.Contains(d.names, "--topic"):
				b.WriteString(" -x -a '(timeout 2 oklog-query topics 2>/dev/null)'")
			case slices.Contains(d.names, "--color"):
				b.WriteString(" -x -a 'auto always never'")
			case d.value == "FILE" || d.value == "DIR":
				b.WriteString(" -r -F")
			case d.value != "" && !d.optional:
				b.WriteString(" -x")
			}
			usage, _, _ := strings.Cut(d.usage, ":")
			fmt.Fprintf(&b, " -d %s\n", one(usage))
		}
	}
	b.WriteString("complete -c oklog-query -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n")
	return b.String()
}
