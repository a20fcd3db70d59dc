package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Help fits a terminal, and names no flag that is not there.
func TestHelpFits(t *testing.T) {
	texts := map[string]string{"-h": shortHelp}
	var known []string
	for _, cmd := range append(commands(), searching()) {
		app := cmd.app()
		finish(app, cmd.name)
		texts[app.Name] = longHelp(app, helpWidth)
		for line := range strings.Lines(longHelp(app, leastHelp)) {
			own := line[0] != ' ' || strings.HasPrefix(line, strings.Repeat(" ", 32)) // examples are as they are
			if n := utf8.RuneCountInString(line) - 1; n > leastHelp && own && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: %d columns of %d: %s", app.Name, n, leastHelp, line)
			}
		}
		for _, f := range app.Flags {
			known = append(known, f.Names()...)
			if d, ok := docOf(f); !ok || d.usage == "" || d.category == "" {
				t.Errorf("%s: %q: no usage or no category", app.Name, f.Names())
			}
		}
	}
	known = append(known, "flush-age", "time-zone") // of oklog
	for line := range strings.Lines(shortHelp) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > defaultWidth {
			t.Errorf("-h: %d columns: %s", n, line)
		}
	}
	for name, text := range texts {
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		for _, m := range regexp.MustCompile(`(?:^|[\s(])--?([a-z][a-z-]+)`).FindAllStringSubmatch(text, -1) {
			letters := strings.Trim(m[0], " \n(")
			if !slices.Contains(known, m[1]) && strings.HasPrefix(letters, "--") {
				t.Errorf("%s: there is no flag %s", name, letters)
			}
		}
	}
}

func TestManPage(t *testing.T) {
	const path = "oklog-query.1"
	want := manPage()
	have, err := os.ReadFile(path)
	if err != nil || string(have) != want {
		t.Errorf("%s is not what the program prints (%v): go run ./cmd/oklog-query man > cmd/oklog-query/%s", path, err, path)
	}
	if out, errs, code := call(t, "man"); out != want || errs != "" || code != 0 {
		t.Errorf("%d bytes, %s (%d)", len(out), errs, code)
	}
	for i, line := range strings.Split(want, "\n") {
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !regexp.MustCompile(`^\.(\\"|TH|SH|SS|PP|TP|B|nf|fi)( |$)`).MatchString(line) {
			t.Errorf("line %d is taken for a request: %s", i+1, line)
		}
	}
}

// The scripts are such that their shells take them; where a shell is not installed that is not seen.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script, errs, code := call(t, "completion", shell)
		if code != 0 || errs != "" || !strings.Contains(script, "oklog-query topics") || !strings.Contains(script, "ignore-case") {
			t.Fatalf("%s: %s%s(%d)", shell, script, errs, code)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: its script is not run", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if _, errs, code := call(t, "completion"); code != exitTrouble || errs != "oklog-query: which shell? Name it: oklog-query completion bash, zsh or fish\n" {
		t.Errorf("have %s(%d)", errs, code)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Log("no bash here: what it completes is not seen")
		return
	}
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("topic = web\n[default]\ntopic = [x]\n  [ prod ] # night\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OKLOG_CONFIG", config)
	complete := func(words ...string) string {
		t.Helper()
		script := bashScript() + `
oklog-query() { echo web; echo db; }; timeout() { shift; "$@"; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _oklog_query; echo "${COMPREPLY[@]}"`
		var errs bytes.Buffer
		cmd := exec.Command(bash, append([]string{"-c", script, "bash"}, words...)...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil || errs.Len() > 0 {
			t.Errorf("%q: %v %s", words, err, errs.String())
		}
		return strings.TrimSpace(string(out))
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"oklog-query", "to"}, "topics"},
		{[]string{"oklog-query", "--topic", ""}, "web db"},
		{[]string{"oklog-query", "ls", "-t", "d"}, "db"},
		{[]string{"oklog-query", "--ign"}, "--ignore-case"},
		{[]string{"oklog-query", "ls", "--ign"}, ""},
		{[]string{"oklog-query", "ls", "--lo"}, "--long"},
		{[]string{"oklog-query", "completion", "b"}, "bash"},
		{[]string{"oklog-query", "help", "so"}, "sources"},
		{[]string{"oklog-query", "--color", "n"}, "never"},
		{[]string{"oklog-query", "--profile", ""}, "default prod"},
		{[]string{"oklog-query", "--profile", "prod", "--server", "URL", "to"}, "topics"},
		{[]string{"oklog-query", "--profile", "prod", "ls", "--lo"}, "--long"},
		{[]string{"oklog-query", "--profile", "prod", "--ign"}, "--ignore-case"},
		{[]string{"oklog-query", "-i", "to"}, ""},
		{[]string{"oklog-query", "topics", "--profile", "p"}, "prod"},
	} {
		if have := complete(c.words...); have != c.want {
			t.Errorf("%q: want %q, have %q", c.words, c.want, have)
		}
	}
}
