package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
)

// helpWidth is how wide the help is at most, and leastHelp at least where a terminal is narrower, in columns.
const (
	helpWidth = 100
	leastHelp = 80
)

// shortHelp is what -h prints: what is needed at first.
const shortHelp = `oklog-query finds records in the logs of object storage, as grep does in files.

   oklog-query timeout          the last hour, with a profile (see below)
   oklog-query --server https://HOST:7651 --topic web --from 2d timeout

   -E            a regular expression            -c    count
   -i  -S        any case, if all is lower       -l    sources, -lc with counts
   -v  -w        not matching, whole words       -o    what matches, alone
   --from 2d     begin: 2d, 2026-11-22T17:10     -m N  at most N records
   --to          end, the same                   -C N  records around (-A, -B)
   --last 15m    the last quarter of an hour     -q    exit status only
   --newest      newest first                    --json      an object a line
   --source host=web1                            --histogram when
   --where 'level=error AND status>=500'         --top FIELD which values

   oklog-query tail             records as they come
   oklog-query topics, sources  what topics there are; who writes to one
   oklog-query stats, ls, cat   what a search would cost; what is stored

Settings of every day go into ~/.config/oklog/config, under [default]:

   topic = web
   bucket = s3://HOST/BUCKET
   # or server = https://HOST:7651

Exit status: 0 found, 1 nothing, 2 error, or partial. More: oklog-query --help
`

const searchDescription = `Prints the records of a topic that hold PATTERN, in the order of their times; all of them without one.

Daily use, with the buckets and the topic in a profile:
   oklog-query timeout                          the last hour
   oklog-query --last 15m -i error              any case
   oklog-query -C3 'connection reset'           with three records of the same source on either side
   oklog-query --from 2d -E '(error|warn).*timeout'
   oklog-query --newest -m 100 panic            the newest first, no more than a hundred
   oklog-query --from 7d -c -w 500              how many
   oklog-query -l OOM                           which sources; -lc: how many each
   oklog-query --histogram -i error             when: a bar for each stretch of time
   oklog-query --top path --where 'status>=500' where: the values that a field has most often
   oklog-query -o -E 'user=\w+' | sort | uniq -c
   oklog-query --source host=~web.* --show-source -v GET

Without one, from a server, or from buckets and NATS themselves:
   oklog-query --server https://logs:7651 --token-file ~/.oklog-token --topic web timeout
   oklog-query --bucket file:///var/lib/oklog/bucket --topic web --from 1h "connection refused"
   oklog-query --bucket s3://minio:9000/logs?tls=false --nats nats://nats:4222 --topic web 10.1.2.3
   export OKLOG_BUCKET=s3://minio:9000/logs?tls=false     (OKLOG_NATS, OKLOG_TOPIC as well)

Times and pages:
   oklog-query --from 2026-11-22T17:00 --to 2026-11-22T18:00 "status=500"
   oklog-query --tz Europe/Berlin --from "2026-11-22 17:00" panic
   oklog-query --from 01KAPV2P4X4Q8S3M6W1Z0N5R7T --limit 1000 --ulid     the page behind that record

Bounds (--from is included, --to is not) are 2026-11-22T17:10:49Z, 2026-11-22T17:10 and 2026-11-22 (UTC unless a zone or --tz is given), now, how long ago (90s, 5m, 1h30m, 2d, 1w, 1mo, 1y), Unix time in seconds or milliseconds (10 or 13 digits), or the ULID of a record, which is itself left out. --from all is the first record.

Fields: --where looks into records that are JSON, or key=value with spaces between (logfmt):
   oklog-query --where 'level=error AND status>=500'
   oklog-query --where 'user.id=17 OR path=~/^\/admin/' timeout
   oklog-query --where 'exists(trace_id) AND NOT items[].price<100'
A field is compared as a number with a number that stands without quotes, as a text with anything else. "word", 'a text' and /regex/i are looked for in the whole record.

What a pattern must hold (a substring of six bytes or more, the literals of a regular expression, in any case) is looked up in the filters of the segments, and only blocks of some 4 MiB of text that may hold it are read. --stats tells what was looked up and read. Shorter patterns read everything: add what stands beside them, sshd[4259] for 4259.

Regular expressions see a whole record: one of several lines needs (?m) for ^ and $ at its lines, and (?s) for . to go on behind a line. -c counts records, not lines.

A record over the size limit was cut into pieces when it was read. Each piece is searched by itself: what lies across a cut is not found, and with -v the pieces that do not match are. Pieces that are found and follow each other are printed as one line; with --newest and --json each is a line of its own. A warning on standard error tells when pieces were found with a pattern.

Profiles are sections of the file ~/.config/oklog/config (or $XDG_CONFIG_HOME/oklog/config, OKLOG_CONFIG, --config). A line is NAME = VALUE, with the name of a flag; a flag that can be given several times has a line for each. What stands above the first section holds for all.
   topic = web
   [default]
   bucket = s3://a:9000/logs
   bucket = s3://b:9000/logs
   [staging]                                    oklog-query --profile staging, or OKLOG_PROFILE
   bucket = s3://staging:9000/logs
Flags count before the environment, that before the profile.

Of flags that exclude each other (-i -s -S, -E -F) the last one counts. A command's name is one where it comes first of all, or behind flags that say where records are, such as --profile and --server: a search for the text ls is oklog-query -e ls, or oklog-query -- ls.

The manual page is oklog-query man | man -l -, and oklog-query completion bash has a shell complete flags and topics.

Exit status: 0 records were found, 1 none, 2 an error, also if the answer is only partial, 130 interrupted.`

// flagDoc is what is known of a flag.
type flagDoc struct {
	names    []string // with their dashes, the long one first
	value    string   // "" if it takes none
	optional bool     // the value may be left out
	usage    string
	standard string // what holds without it
	env      []string
	category string
}

// documented is what the library's flags tell of themselves.
type documented interface {
	cli.DocGenerationFlag
	cli.CategorizableFlag
}

func docOf(f cli.Flag) (d flagDoc, ok bool) {
	doc, ok := f.(documented)
	if !ok {
		return d, false
	}
	for _, name := range f.Names() {
		if len(name) == 1 {
			d.names = append(d.names, "-"+name)
		} else {
			d.names = append(d.names, "--"+name)
		}
	}
	d.usage, d.env, d.category = doc.GetUsage(), doc.GetEnvVars(), doc.GetCategory()
	if before, rest, found := strings.Cut(d.usage, "`"); found {
		if value, after, found := strings.Cut(rest, "`"); found {
			d.value, d.usage = value, before+value+after
		}
	}
	if doc.TakesValue() {
		if d.value == "" {
			d.value = "VALUE"
		}
		d.standard = strings.Trim(doc.GetDefaultText(), `"`)
		if d.standard == "" {
			d.standard = doc.GetValue()
		}
	}
	_, d.optional = f.(*flags.Optional)
	return d, true
}

// titled are all flags by category, in the order in which the categories are met first.
func titled(app *cli.App) (categories []string, docs map[string][]flagDoc) {
	docs = map[string][]flagDoc{}
	for _, f := range app.Flags {
		if d, ok := docOf(f); ok {
			if !slices.Contains(categories, d.category) {
				categories = append(categories, d.category)
			}
			docs[d.category] = append(docs[d.category], d)
		}
	}
	return categories, docs
}

// helpFor is all that there is to say of a command, as wide as fits what it is printed on.
func helpFor(app *cli.App, stdout io.Writer) string {
	width := helpWidth
	if isTerminal(stdout) {
		width = min(helpWidth, max(leastHelp, screenOf(streams{stdout: stdout, stderr: io.Discard}).width))
	}
	return longHelp(app, width)
}

// longHelp is the help in lines of so many columns; examples stay as they are.
func longHelp(app *cli.App, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %s\n\nUsage:\n", app.Name, app.Usage)
	for line := range strings.Lines(app.UsageText) {
		fmt.Fprintf(&b, "   %s\n", strings.TrimSpace(line))
	}
	if app.Name == searching().app().Name {
		b.WriteString("\nCommands:\n")
		for _, cmd := range commands() {
			other := cmd.app()
			fmt.Fprintf(&b, "   %-12s%s\n", cmd.name, other.Usage)
		}
	}
	b.WriteString("\n" + wrapText(app.Description, width) + "\n")
	categories, docs := titled(app)
	for _, category := range categories {
		fmt.Fprintf(&b, "\n%s:\n", category)
		for _, d := range docs[category] {
			b.WriteString(d.help(width))
		}
	}
	return b.String()
}

// spelled is the flag as it is written.
func (d flagDoc) spelled() string {
	text := strings.Join(d.names, ", ")
	switch {
	case d.optional:
		text += "[=" + d.value + "]"
	case d.value != "":
		text += " " + d.value
	}
	return text
}

// explained is what it does, and what holds without it.
func (d flagDoc) explained() string {
	text := d.usage
	if d.standard != "" {
		text += " (default: " + d.standard + ")"
	}
	if len(d.env) > 0 {
		text += " [$" + strings.Join(d.env, ", $") + "]"
	}
	return text
}

func (d flagDoc) help(width int) string {
	const column = 32
	head := "   " + d.spelled()
	body := wrapWords(d.explained(), width-column)
	var b strings.Builder
	if len(head) > column-2 {
		b.WriteString(head + "\n")
		head = ""
	}
	for i, line := range body {
		if i > 0 {
			head = ""
		}
		fmt.Fprintf(&b, "%-*s%s\n", column, head, line)
	}
	return b.String()
}

// wrapText breaks paragraphs into lines; what is indented stays as it is.
func wrapText(text string, width int) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == ' ' {
			out = append(out, line)
			continue
		}
		out = append(out, wrapWords(line, width)...)
	}
	return strings.Join(out, "\n")
}

func wrapWords(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func newHelp() *cli.App {
	return &cli.App{
		Name: "oklog-query help", Usage: "tell of a command, or of all",
		UsageText:   "oklog-query help [COMMAND]",
		Description: "Prints what oklog-query --help does, or oklog-query COMMAND --help.",
	}
}

func doHelp(_ context.Context, c *cli.Context, s streams) (int, error) {
	cmd := searching()
	if name := c.Args().First(); name != "" {
		var ok bool
		if cmd, ok = commandOf(name); !ok {
			return exitTrouble, fmt.Errorf("there is no command %q: there are %s", name, commandNames())
		}
	}
	app := cmd.app()
	finish(app, cmd.name)
	_, err := io.WriteString(s.stdout, helpFor(app, s.stdout))
	return exitFound, err
}

func commandNames() string {
	var names []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
	}
	return strings.Join(names, ", ")
}
