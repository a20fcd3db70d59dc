package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
)

// usageError says what to do about arguments that the flags' library does not take.
func usageError(err error, app *cli.App, name string, args []string) error {
	if flag, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		dashed := "-" + flag
		for _, a := range args {
			if name, _, _ := strings.Cut(a, "="); strings.TrimLeft(name, "-") == flag {
				dashed = name // as it was typed
				break
			}
		}
		text := "there is no flag " + dashed + meantBy(dashed, app, name)
		if text += ": see " + app.Name + " --help"; name == "" {
			text += "; to search for a text that begins with -, write -e " + dashed
		}
		return errors.New(text)
	}
	if err.Error() == "flag needs an argument: -source" {
		return errors.New("--source needs a condition, such as --source host=web1: to print sources use --show-source")
	}
	return fmt.Errorf("%w: see %s --help", err, app.Name)
}

// elsewhere are flags of grep, ripgrep and others of their kind that are none here, by what to do instead.
func elsewhere() map[string][]string {
	return map[string][]string{
		"records are searched by topic, not by folder: leave it out":                     {"r", "R", "recursive", "dereference-recursive", "hidden", "no-ignore", "u"},
		"files are told apart by source, such as --source 'file=~.*[.]log'":              {"include", "exclude", "include-dir", "exclude-dir", "g", "glob", "iglob", "files"},
		"--show-source prints where a record is from":                                    {"H", "with-filename"},
		"sources are printed only with --show-source: leave it out":                      {"no-filename", "I"},
		"-E takes RE2, which has no lookaround and no back references":                   {"P", "perl-regexp", "pcre2", "G", "basic-regexp", "extended-regexp"},
		"whole records match with -E '^PATTERN$'":                                        {"x", "line-regexp"},
		"oklog-query sources lists all, and -l those that have matches":                  {"L", "files-without-match"},
		"patterns stand among the arguments: -e, several times":                          {"f", "file"},
		"records of any bytes are searched: leave it out":                                {"a", "text", "binary"},
		"records have no line numbers: --time and --ulid tell them apart":                {"line-number", "N", "b", "byte-offset", "column"},
		"records come in the order of time, and with --newest in reverse":                {"sort", "sortr"},
		"it is --color never here":                                                       {"no-color", "nocolor"},
		"it is --version here":                                                           {"V"},
		"it is -oc here":                                                                 {"count-matches"},
		"records of several lines are searched as they are; (?s) lets . match a newline": {"U", "multiline", "multiline-dotall"},
		"it is oklog-query tail -n N here":                                               {"tail"},
		"it is --from here":                                                              {"since", "start", "begin", "after"},
		"it is --to here":                                                                {"until", "end", "before"},
		"new records are shown by oklog-query tail":                                      {"follow"},
	}
}

// meantBy goes on where an error says that there is no such flag: what may have been meant; "" if nothing is like it.
func meantBy(dashed string, app *cli.App, command string) string {
	flag := strings.TrimLeft(dashed, "-")
	if !strings.HasPrefix(dashed, "--") {
		// Of letters in a row it is the first that is unknown.
		for _, letter := range flag {
			if flag = string(letter); !hasFlag(app.Flags, flag) {
				break
			}
		}
	}
	if command == "tail" && (flag == "f" || flag == "follow") {
		return ": tail goes on by itself: leave it out"
	}
	for what, names := range elsewhere() {
		if command == "" && slices.Contains(names, flag) {
			return ": " + what
		}
	}
	if strings.HasPrefix(dashed, "--") {
		var names []string
		for _, name := range longNames(app) {
			names = append(names, strings.TrimPrefix(name, "--"))
		}
		if near := flags.Nearest(flag, names); near != "" {
			return ", but --" + near
		}
	}
	if command == "" {
		return ""
	}
	search := searching().app()
	finish(search, "")
	if hasFlag(search.Flags, flag) {
		return ": it is one of a search, and " + command + " has it not"
	}
	return ""
}
