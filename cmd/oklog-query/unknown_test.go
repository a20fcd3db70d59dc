package main

import (
	"strings"
	"testing"
)

// Who knows grep, or types in a hurry, is told what a flag is called here.
func TestUnknownFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--form 1d x":                    "there is no flag --form, but --from: see oklog-query --help; to search for a text that begins with -, write -e --form",
		"--lst=5m x":                     "there is no flag --lst, but --last: see",
		"--ignore-caes x":                "there is no flag --ignore-caes, but --ignore-case: see",
		"--tpoic web x":                  "there is no flag --tpoic, but --topic: see",
		"--hist x":                       "there is no flag --hist, but --histogram: see",
		"--hlep":                         "there is no flag --hlep, but --help: see",
		"--z x":                          "there is no flag --z: see",
		"-r x":                           "there is no flag -r: records are searched by topic, not by folder: leave it out: see",
		"-irE x":                         "there is no flag -irE: records are searched by topic, not by folder: leave it out: see",
		"--include *.log x":              "there is no flag --include: files are told apart by source, such as --source 'file=~.*[.]log': see",
		"-P x":                           "there is no flag -P: -E takes RE2, which has no lookaround and no back references: see",
		"--since 1d x":                   "there is no flag --since: it is --from here: see",
		"tail -f x":                      "there is no flag -f: tail goes on by itself: leave it out: see oklog-query tail --help",
		"tail -C3 x":                     "there is no flag -C3: it is one of a search, and tail has it not: see oklog-query tail --help",
		"ls --server URL":                "there is no flag --server: it is one of a search, and ls has it not: see oklog-query ls --help",
		"topics --sever URL":             "there is no flag --sever, but --server: see oklog-query topics --help",
		"cat --r":                        "there is no flag --r: see oklog-query cat --help",
		"--" + strings.Repeat("from", 9): "there is no flag --" + strings.Repeat("from", 9) + ": see",
	} {
		out, errs, code := call(t, strings.Fields(args)...)
		if out != "" || !strings.HasPrefix(errs, "oklog-query: "+want) || strings.Count(errs, "\n") != 1 || code != exitTrouble {
			t.Errorf("%s: want %q, have %q %q %d", args, want, out, errs, code)
		}
	}
	// What is called otherwise here must not be a flag.
	app := searching().app()
	finish(app, "")
	for what, names := range elsewhere() {
		for _, name := range names {
			if hasFlag(app.Flags, name) {
				t.Errorf("%s: there is a flag %s", what, name)
			}
		}
	}
}
