package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func newMan() *cli.App {
	return &cli.App{
		Name: "oklog-query man", Usage: "print the manual page",
		UsageText:   "oklog-query man | man -l -",
		Description: "Prints the manual page of oklog-query in roff: oklog-query man > /usr/local/share/man/man1/oklog-query.1 installs it.",
	}
}

func doMan(_ context.Context, _ *cli.Context, s streams) (int, error) {
	_, err := io.WriteString(s.stdout, manPage())
	return exitFound, err
}

// manPage is the manual page of all the commands.
func manPage() string {
	var b strings.Builder
	search := searching().app()
	finish(search, "")
	b.WriteString(".\\\" Made by oklog-query man.\n.TH OKLOG-QUERY 1\n.SH NAME\n")
	fmt.Fprintf(&b, "%s \\- %s\n.SH SYNOPSIS\n", roff(search.Name), roff(search.Usage))
	manLines(&b, search.UsageText)
	b.WriteString(".SH DESCRIPTION\n")
	manText(&b, search.Description)
	b.WriteString(".SH OPTIONS\n")
	manFlags(&b, search)
	b.WriteString(".SH COMMANDS\n")
	for _, cmd := range commands() {
		app := cmd.app()
		finish(app, cmd.name)
		fmt.Fprintf(&b, ".SS %s\n", roff(cmd.name))
		manLines(&b, app.UsageText)
		b.WriteString(".PP\n")
		manText(&b, app.Description)
		manFlags(&b, app)
	}
	return b.String()
}

// manFlags writes the flags by category. Those of all commands are told once.
func manFlags(b *strings.Builder, app *cli.App) {
	first := app.Name == searching().app().Name
	categories, docs := titled(app)
	for _, category := range categories {
		if !first && (category == catHelp || category == catNATS || category == catBuckets) {
			continue
		}
		fmt.Fprintf(b, ".PP\n.B %s\n", roff(category))
		for _, d := range docs[category] {
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(d.spelled()), roff(d.explained()))
		}
	}
}

// manText writes paragraphs, and what is indented as it is.
func manText(b *strings.Builder, text string) {
	asIs := false
	for line := range strings.SplitSeq(text, "\n") {
		indented := strings.HasPrefix(line, " ")
		switch {
		case indented && !asIs:
			b.WriteString(".PP\n.nf\n")
		case !indented && asIs:
			b.WriteString(".fi\n.PP\n")
		case line == "":
			b.WriteString(".PP\n")
		}
		asIs = indented
		if line != "" {
			b.WriteString(roff(line) + "\n")
		}
	}
	if asIs {
		b.WriteString(".fi\n")
	}
}

func manLines(b *strings.Builder, text string) {
	b.WriteString(".nf\n")
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(roff(strings.TrimSpace(line)) + "\n")
	}
	b.WriteString(".fi\n")
}

// roff keeps a line of text from being taken for requests.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`).Replace(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}
