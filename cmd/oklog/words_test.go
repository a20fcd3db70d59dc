package main

import (
	"bytes"
	"strings"
	"testing"
)

// What is misspelled is told from what there is.
func TestMisspelled(t *testing.T) {
	for args, want := range map[string]string{
		"serv":                  `oklog: there is no command "serv", but serve: see oklog --help`,
		"nonsense":              `oklog: there is no command "nonsense": see oklog --help`,
		"retention ste":         `oklog: there is no command "ste", but set: see oklog retention --help`,
		"forward --tpoic x":     "oklog: flag provided but not defined: -tpoic: it may be --topic: see oklog forward --help",
		"forward --nonsense x":  "oklog: flag provided but not defined: -nonsense: see oklog forward --help",
		"serve --max-concurent": "oklog: flag provided but not defined: -max-concurent: it may be --max-concurrent: see oklog serve --help",
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"oklog"}, strings.Fields(args)...), streams{strings.NewReader(""), &out, &errs})
		if have := errs.String(); have != want+"\n" || out.String() != "" || code != exitError {
			t.Errorf("%s: want %q, have %q %q %d", args, want, have, out.String(), code)
		}
	}
}
