package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestParseProfiles(t *testing.T) {
	text := "\ufeff# all\ntopic = web\n\n[default]\nbucket=s3://a/b?tls=false\n  bucket = file:///c # a comment\r\n[ night shift ]  # a comment\nfrom = \" 2d \"  # quoted\ntopic=\"a\\tb\"\nempty =\n"
	p, err := parseProfiles([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"default", "night shift"}; !slices.Equal(p.names, want) {
		t.Errorf("want %q, have %q", want, p.names)
	}
	for name, want := range map[string][]setting{
		"default":     {{"topic", "web", 2}, {"bucket", "s3://a/b?tls=false", 5}, {"bucket", "file:///c", 6}},
		"night shift": {{"from", " 2d ", 8}, {"topic", "a\tb", 9}, {"empty", "", 10}},
	} {
		if have, err := p.of(name); err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: want %v, have %v, %v", name, want, have, err)
		}
	}
	if _, err := p.of("day"); err == nil || err.Error() != `there is no profile "day": there are default, night shift` {
		t.Errorf("have %v", err)
	}
	for text, want := range map[string]string{
		"\n[x":               "line 2: want [NAME] to begin a profile",
		"[]":                 "line 1: want [NAME] to begin a profile",
		"[[x]]":              "line 1: want [NAME] to begin a profile",
		"[x] y":              "line 1: want [NAME] to begin a profile",
		"[x]\na=1\n[x]\n":    "line 3: there is a profile [x] above: put them together",
		"topic":              "line 1: want NAME = VALUE, [PROFILE] or # and a comment",
		"= web":              "line 1: want NAME = VALUE, [PROFILE] or # and a comment",
		"topic = \"web":      "line 1: topic: the closing quote is missing, or what is in quotes is not as in Go or JSON",
		"topic = \"web\" no": "line 1: topic: \"no\" stands behind the closing quote",
	} {
		if _, err := parseProfiles([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: want %s, have %v", text, want, err)
		}
	}
}

// Whatever stands in a file, it is read or refused; what was read can be written and is read as the same.
func FuzzProfiles(f *testing.F) {
	for _, s := range []string{"", "[a]\nb=c", "a = \"x\\ny\" # z", "[default]\nbucket = s3://h/b\nbucket = x\n[b]", "\ufeff#", "[x]]", "a=\"", "=\n[", "a = b = c", "\x00=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseProfiles([]byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("an error without its line: %v", err)
			}
			return
		}
		for _, name := range p.names {
			all, err := p.of(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				if s.name == "" || s.line < 1 || strings.ContainsAny(s.name, "=\n") {
					t.Errorf("%q: %+v", name, s)
				}
			}
		}
		if !strings.Contains(text, "\"") {
			again, err := parseProfiles([]byte(p.write()))
			if err != nil || again.write() != p.write() {
				t.Errorf("%q is written as %q: %v", text, p.write(), err)
			}
		}
	})
}

// write writes settings that need no quotes.
func (p profiles) write() string {
	var b strings.Builder
	for _, name := range append([]string{""}, p.names...) {
		if name != "" {
			b.WriteString("[" + name + "]\n")
		}
		for _, s := range p.sections[name] {
			b.WriteString(s.name + " = " + s.value + "\n")
		}
	}
	return b.String()
}

// A profile holds what is said every day; flags and the environment count before it.
func TestProfile(t *testing.T) {
	b, url := folder(t)
	store(t, b, "web", at, plain("Error one", "error two", "fine three"))
	store(t, b, "db", at, plain("error of the database", "a.b"))
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	path := filepath.Join(home, "oklog", "config")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "URL", url)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(args, want, wantErr string) {
		t.Helper()
		out, errs, code := call(t, strings.Fields(args)...)
		if out != want || strings.ReplaceAll(errs, path, "FILE") != wantErr || (code == exitTrouble) != (want == "" && !strings.Contains(wantErr, "has no segments")) {
			t.Errorf("%s:\nwant %q %q\nhave %q %q (%d)", args, want, wantErr, out, errs, code)
		}
	}
	write("bucket = URL\nfrom = 2026-11-22\nto = 2026-11-23\n[default]\ntopic = web\nignore-case = true\n[db]\ntopic=db\nregex=true\nlong = true\n")
	f("error", "Error one\nerror two\n", "")
	f("error -s", "error two\n", "")
	f("error -c", "2\n", "")
	f("error --topic db", "error of the database\n", "")
	f("--profile db a.a", "error of the database\n", "")
	f("--profile db -F a.b", "a.b\n", "")
	f("--profile=db --from 2026-11-22T17:10:50 error", "", "oklog-query: topic db has no segments between --from and --to; there are some of 2026-11-22 (what is not flushed yet is found with --nats)\n")
	f("cat --profile db -r2-", "", "oklog-query: there is no flag -r2-: see oklog-query cat --help\n")
	f("sources", "host=a job=test\n", "")
	f("--profile night error", "", "oklog-query: FILE: there is no profile \"night\": there are default, db\n")
	t.Setenv("OKLOG_TOPIC", "db")
	f("error", "error of the database\n", "")
	t.Setenv("OKLOG_PROFILE", "db")
	f("error.o", "error of the database\n", "")
	t.Setenv("OKLOG_PROFILE", "")
	t.Setenv("OKLOG_TOPIC", "")

	write("bucket = URL\ntopic = web # as a comment says\nfrom = all\t# everything\n")
	f("error -i", "Error one\nerror two\n", "")
	f("error --last 5m", "", "oklog-query: topic web has no segments between --from and --to; there are some of 2026-11-22 (what is not flushed yet is found with --nats)\n")
	write("bucket = URL\n\ntopik = web\n")
	f("error", "", "oklog-query: FILE:3: there is no setting \"topik\": they have the names of the flags, without dashes: see oklog-query --help\n")
	write("e = x\n")
	f("error", "", "oklog-query: FILE:1: e cannot be set in a profile\n")
	write("[default]\nignore-case = maybe\n")
	f("error", "", "oklog-query: FILE:2: ignore-case = maybe: want true or false\n")
	write("[default\n")
	f("error", "", "oklog-query: FILE: line 1: want [NAME] to begin a profile\n")
	write("bucket = URL\n[default]\ntopic = web\nfrom = 2026-11-22\nto=2026-11-23\nnats-token = s3cret\n")
	f("two", "error two\n", "")
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		f("two", "error two\n", "oklog-query: warning: FILE holds a password or a token, and others may read it: chmod 600 FILE\n")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f("--profile db x", "", "oklog-query: there is no profile \"db\": FILE has none, or is not there: write a section [db] into it\n")
	f("--config "+path+" x", "", "oklog-query: read profiles: open FILE: no such file or directory: correct --config, or OKLOG_CONFIG\n")
}
