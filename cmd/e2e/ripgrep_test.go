package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore/dir"
)

// invocation is what is asked of oklog-query, and what of ripgrep for the same. F stands for a word that is frequent in the log, R for one
// that is rare, U and V for these in upper case, C for a capitalized one.
type invocation struct {
	args string
	rg   string // "": the same
	tac  bool   // of the log's lines from the last to the first
}

// invocations are what people type. Classes such as \w are left out: in RE2 they are of ASCII.
func invocations() []invocation {
	return []invocation{
		{args: "F"}, {args: "R"}, {args: "-F F"}, {args: "-e F"}, {args: "-e F -e R"}, {args: "-e R -e R"}, {args: "--regexp R"},
		{args: "-i U"}, {args: "-i V"}, {args: "-i -e U -e V"}, {args: "-ic U"}, {args: "--ignore-case R"},
		{args: "-S F"}, {args: "-S U"}, {args: "-S C"}, {args: "--smart-case R"}, {args: "-i -s U"}, {args: "-s -i U"}, {args: "-S -i C"},
		{args: "-w F"}, {args: "-w R"}, {args: "-wi U"}, {args: "-cw F"}, {args: "-w -v F"}, {args: "-w -e F -e R"},
		{args: "-v F"}, {args: "-vi U"}, {args: "-v -e F -e R"}, {args: "-vc F"}, {args: "--invert-match R -m 20"},
		{args: "-c F"}, {args: "-c R"}, {args: "--count -e F -e R"}, {args: "-co F"}, {args: "-c -m 7 F"},
		{args: "-m 5 F"}, {args: "-m1 R"}, {args: "--max-count 3 F"}, {args: "-vm 4 R"}, {args: "F -m 2 -i"},
		{args: "-o F"}, {args: "-o R"}, {args: "-oi U"}, {args: "-ow F"}, {args: "-o -e F -e R"}, {args: "-om 3 F"}, {args: "-owi V"},
		{args: "-A 2 R"}, {args: "-B 2 R"}, {args: "-C 2 R"}, {args: "-A3 -B1 R"}, {args: "--context 5 R"}, {args: "-C1 F"},
		{args: "-A1 -i V"}, {args: "-B3 -w R"}, {args: "-A2 -e F -e R -m 3"}, {args: "-A2 -v F -m 9"}, {args: "-C3 -m 2 R"}, {args: "-o -A1 R"},
		{args: "--after-context=2 --before-context=3 R"},
		{args: `-E F|R`, rg: `F|R`}, {args: `-E ^.{0,40}F`, rg: `^.{0,40}F`}, {args: `-E R.*[0-9]$`, rg: `R.*[0-9]$`}, {args: `-E -i U.?[a-z]+`, rg: `-i U.?[a-z]+`},
		{args: `-oE [a-z]+F`, rg: `-o [a-z]+F`}, {args: `-oE [0-9]+`, rg: `-o [0-9]+`}, {args: `-c -E \d+\.\d+`, rg: `-c \d+\.\d+`},
		{args: `-wE [A-Z][a-z]+`, rg: `-w [A-Z][a-z]+`}, {args: `-vE [0-9]`, rg: `-v [0-9]`}, {args: `-ES F[^a-z]`, rg: `-S F[^a-z]`},
		{args: `-C2 -E R\b`, rg: `-C2 R\b`}, {args: `-oc -E [a-z]+`, rg: `-oc [a-z]+`},
		{args: "--newest R", rg: "R", tac: true}, {args: "--newest -m 5 F", rg: "-m 5 F", tac: true}, {args: "--newest -v -m 9 F", rg: "-v -m 9 F", tac: true},
		{args: "--newest -C 2 R", rg: "-C 2 R", tac: true}, {args: "--newest -B1 -A3 R", rg: "-A1 -B3 R", tac: true}, {args: "--newest -oi V", rg: "-oi V", tac: true},
		{args: "--newest -E -m 4 R|C", rg: "-m 4 R|C", tac: true}, {args: "--newest -c F", rg: "-c F", tac: true},
		{args: "qqqq-is-nowhere"}, {args: "-i qqqq-is-nowhere -C3"},
	}
}

// way is how oklog-query comes to its answer.
type way struct {
	name string
	// prepare starts what it takes, and gives the arguments that lead there.
	prepare func(t *testing.T, bucket string) []string
}

func ways() []way {
	return []way{
		{"direct", func(_ *testing.T, bucket string) []string { return []string{"--bucket", bucket} }},
		{"server", func(t *testing.T, bucket string) []string {
			s := spawn(t, "oklog", "serve", "--bucket", bucket, "--listen", "127.0.0.1:0")
			s.awaitOutput("answering queries")
			url := regexp.MustCompile(`url=(http://[0-9.:]+)`).FindStringSubmatch(s.output())
			if url == nil {
				t.Fatalf("no address in %s", s.output())
			}
			return []string{"--server", url[1]}
		}},
		{"four queriers", fourQueriers},
	}
}

// What oklog-query prints of a log is what ripgrep prints of its lines, in the same order: on the shipped sample and on generated lines.
func TestAsRipgrep(t *testing.T) {
	wantRipgrep(t)
	var sample []byte
	paths, err := filepath.Glob("../../testdata/sample/*.log")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no sample logs: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sample = append(sample, text...)
	}
	asRipgrep(t, map[string][]byte{"sample": sample, "generated": generatedLines(rand.New(rand.NewPCG(17, 19)), 4000)})
}

// And of real logs.
func TestAsRipgrepOnCorpora(t *testing.T) {
	wantRipgrep(t)
	if os.Getenv("CORPORA") == "" {
		t.Skip("CORPORA is not set: real logs are left out; the sample and generated lines are in TestAsRipgrep")
	}
	const most = 4 << 20
	logs := map[string][]byte{}
	for _, l := range rawLogs(t) {
		text, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		text = text[:min(len(text), most)]
		logs[l.topic] = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	asRipgrep(t, logs)
}

func wantRipgrep(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rg"); err != nil {
		t.Skip("no ripgrep here: what oklog-query prints is not compared with it")
	}
}

// generatedLines are lines in which words are rare, frequent, part of others, and of any case; some are empty, some not ASCII.
func generatedLines(rng *rand.Rand, n int) []byte {
	words := strings.Fields("error Error ERROR errors terror timeout Timeout time-out request requests re-request connection reset by peer " +
		"GET POST 10.0.0.1 10.0.0.12 status=200 status=500 user_error errorlevel naïve Größe übertimeout timeouté (error) [timeout] a_b foo.bar $x ^y \\d")
	var b bytes.Buffer
	for range n {
		for range rng.IntN(9) {
			word := words[min(rng.IntN(len(words)), rng.IntN(len(words)))]
			if rng.IntN(400) == 0 {
				word = "Rarely"
			}
			b.WriteString(word)
			b.WriteString([]string{" ", " ", " ", ", ", "", "\t"}[rng.IntN(6)])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func asRipgrep(t *testing.T, logs map[string][]byte) {
	folder := t.TempDir()
	bucket, err := dir.Open(folder, dir.Config{Make: true})
	if err != nil {
		t.Fatal(err)
	}
	paths := t.TempDir()
	for topic, text := range logs {
		path := filepath.Join(paths, topic+".log")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte{'\n'})
		slices.Reverse(lines)
		if err := os.WriteFile(path+".tac", bytes.Join(lines, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		// Segments of all sizes: a large one, and small ones.
		half := bytes.IndexByte(text[len(text)/2:], '\n') + len(text)/2 + 1
		if _, err := loadMany(t.Context(), bucket, topic, slices.Concat([][]byte{text[:half]}, cutLines(text[half:], max(8<<10, len(text)/100)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := bucket.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			base := w.prepare(t, "file://"+folder)
			for topic, text := range logs {
				t.Run(topic, func(t *testing.T) {
					words := typedWords(text)
					t.Logf("words: %q", words)
					for _, i := range invocations() {
						i.compare(t, base, topic, filepath.Join(paths, topic+".log"), words)
					}
				})
			}
		})
	}
}

// compare runs both.
func (i invocation) compare(t *testing.T, base []string, topic, path string, words map[string]string) {
	t.Helper()
	fill := func(args string) (out []string) {
		for arg := range strings.FieldsSeq(args) {
			if !strings.HasPrefix(arg, "-") {
				arg = placeholder.ReplaceAllStringFunc(arg, func(s string) string { return words[s] })
			}
			out = append(out, arg)
		}
		return out
	}
	args := fill(i.args)
	rgArgs, fixed := args, []string{"-F"}
	if i.rg != "" {
		rgArgs = fill(i.rg)
	}
	if regexFlag.MatchString(i.args) {
		fixed = nil
	}
	if i.tac {
		path += ".tac"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rg := exec.CommandContext(ctx, "rg", slices.Concat([]string{"--no-config", "-a", "-N", "-I", "-j1", "--color=never"}, fixed, rgArgs, []string{path})...)
	want, err := rg.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("%s: %v", rg, err)
	}
	if len(want) == 0 && slices.ContainsFunc(rgArgs, func(s string) bool {
		return strings.HasPrefix(s, "-") && strings.Contains(s, "c") && !strings.HasPrefix(s, "--")
	}) {
		want = []byte("0\n") // of which ripgrep says nothing
	}
	all := slices.Concat(base, []string{"--topic", topic, "--from", searchDay.Format(time.RFC3339), "--to", searchDay.Add(2 * time.Hour).Format(time.RFC3339)}, args)
	have, code := query(t, all...)
	if none := len(want) == 0 || string(want) == "0\n"; !bytes.Equal(have, want) || (code == 1) != none {
		t.Errorf("oklog-query %s: %d bytes, status %d; rg %s: %d bytes\n%s", strings.Join(args, " "), len(have), code, strings.Join(rgArgs, " "), len(want), firstDifference(want, have))
	}
}

// regexFlag is -E, also among other letters.
var regexFlag = regexp.MustCompile(`(^| )-[a-z]*E`)

// placeholder is a letter that stands for a word.
var placeholder = regexp.MustCompile(`\b[FRUVC]\b`)

// typedWords chooses what is looked for in a text.
func typedWords(text []byte) map[string]string {
	counts := map[string]int{}
	for _, w := range regexp.MustCompile(`[A-Za-z][a-z]{4,}`).FindAll(text, -1) {
		counts[string(w)]++
	}
	order := make([]string, 0, len(counts))
	for w := range counts {
		order = append(order, w)
	}
	slices.SortFunc(order, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	words := map[string]string{}
	for _, w := range order {
		lower := w == strings.ToLower(w)
		switch {
		case lower && words["F"] == "":
			words["F"], words["U"] = w, strings.ToUpper(w)
		case lower && (words["R"] == "" || counts[w] > 5):
			words["R"], words["V"] = w, strings.ToUpper(w)
		case !lower && words["C"] == "":
			words["C"] = w
		}
	}
	if words["C"] == "" {
		words["C"] = strings.ToUpper(words["R"][:1]) + words["R"][1:]
	}
	return words
}

// firstDifference shows where two outputs part.
func firstDifference(want, have []byte) string {
	w, h := bytes.SplitAfter(want, []byte{'\n'}), bytes.SplitAfter(have, []byte{'\n'})
	for i := range max(len(w), len(h)) {
		var a, b []byte
		if i < len(w) {
			a = w[i]
		}
		if i < len(h) {
			b = h[i]
		}
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("line %d: want %.200q\nhave %.200q", i+1, a, b)
		}
	}
	return ""
}
