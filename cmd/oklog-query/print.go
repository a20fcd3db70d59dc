package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
)

const timeLayout = query.TimeLayout

// look is how records are printed.
type look struct {
	time, ulid, source, json bool // what is printed of a record besides its text
	only                     bool // the matches alone, a line each
	color                    bool
	zone                     *time.Location // nil: UTC
	end                      byte           // of a line
}

// Colours, as ripgrep's and grep's: what matches in bold red, the rest so that the text stands out.
const (
	colorMatch  = "\x1b[1;31m"
	colorTime   = "\x1b[2m"
	colorSource = "\x1b[36m"
	colorApart  = "\x1b[36m"
	colorBar    = "\x1b[32m"
	colorOff    = "\x1b[0m"
)

// finderOf finds what a program matches; nil where there is nothing to show.
func finderOf(p *match.Program) *match.Finder {
	if p == nil || p.Pattern().Invert {
		return nil
	}
	return p.Finder()
}

// printer writes records as lines.
type printer struct {
	w       *bufio.Writer
	look    look
	newest  bool
	find    *match.Finder // nil: what matches is not looked for
	json    query.LineEncoder
	line    []byte // in JSON
	prefix  []byte
	places  [][2]int
	pending bool // the last line lacks its newline: the next piece of its record may follow
}

func newPrinter(w *bufio.Writer, l look, q query.Query) *printer {
	p := &printer{w: w, look: l, newest: q.Newest}
	if (l.color || l.only) && !l.json {
		p.find = finderOf(q.Pattern)
	}
	return p
}

// print implements sink.
func (p *printer) print(r query.Record) error {
	if p.look.json {
		p.line = p.json.Append(p.line[:0], r)
		_, err := p.w.Write(p.line)
		return err
	}
	// Pieces of a cut record come together again, as long as they come in their order.
	joined := r.Joined && !p.newest
	if p.pending && !joined {
		p.endLine() // bufio keeps its first error: the last call tells it
	}
	p.pending = false
	if r.Apart {
		p.paint(colorApart, "--")
		p.endLine()
	}
	if p.look.only && p.find != nil && !r.Context {
		return p.printMatches(r)
	}
	if !joined {
		p.prefix = p.appendPrefix(p.prefix[:0], r.Record)
		_, _ = p.w.Write(p.prefix)
	}
	if p.find != nil && p.look.color && !r.Context {
		p.highlight(r.Text)
	} else {
		_, _ = p.w.Write(r.Text)
	}
	p.pending = r.Piece&segment.Continued != 0 && !p.newest
	if p.pending {
		return nil
	}
	return p.endLine()
}

// finish implements sink.
func (p *printer) finish(*query.Answer, error) error {
	if p.pending {
		p.pending = false
		return p.endLine()
	}
	return nil
}

func (p *printer) endLine() error { return p.w.WriteByte(p.look.end) }

func (p *printer) paint(color, text string) {
	if p.look.color {
		text = color + text + colorOff
	}
	_, _ = p.w.WriteString(text)
}

// printMatches writes a line for each match.
func (p *printer) printMatches(r query.Record) error {
	p.places = p.find.Find(p.places[:0], r.Text)
	p.prefix = p.appendPrefix(p.prefix[:0], r.Record)
	for _, m := range p.places {
		_, _ = p.w.Write(p.prefix)
		p.paint(colorMatch, string(r.Text[m[0]:m[1]]))
		if err := p.endLine(); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) appendPrefix(dst []byte, r segment.Record) []byte {
	paint := func(color string, add func(dst []byte) []byte) {
		if p.look.color {
			dst = append(dst, color...)
		}
		dst = add(dst)
		if p.look.color {
			dst = append(dst, colorOff...)
		}
		dst = append(dst, ' ')
	}
	if p.look.time {
		paint(colorTime, func(dst []byte) []byte { return p.look.at(r.ID).AppendFormat(dst, timeLayout) })
	}
	if p.look.ulid {
		paint(colorTime, func(dst []byte) []byte { return append(dst, r.ID.String()...) })
	}
	if p.look.source {
		paint(colorSource, func(dst []byte) []byte { return append(append(append(dst, '{'), r.Source.String()...), '}') })
	}
	return dst
}

// at is a record's time in the zone that is shown.
func (l look) at(id ulid.ULID) time.Time { return l.in(ulid.Time(id.Time())) }

func (l look) in(t time.Time) time.Time {
	if l.zone == nil {
		return t.UTC()
	}
	return t.In(l.zone)
}

func (p *printer) highlight(text []byte) {
	p.places = p.find.Find(p.places[:0], text)
	at := 0
	for _, m := range p.places {
		_, _ = p.w.Write(text[at:m[0]])
		_, _ = p.w.WriteString(colorMatch)
		_, _ = p.w.Write(text[m[0]:m[1]])
		_, _ = p.w.WriteString(colorOff)
		at = m[1]
	}
	_, _ = p.w.Write(text[at:])
}

// printStats writes a table of what a query cost.
func printStats(w io.Writer, opts options, ans *query.Answer) {
	s := &ans.Stats
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, v ...any) { fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, v...)) }
	ms := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	row("segments", "%d listed, %d in range, %d opened", s.Segments.Listed, s.Segments.InRange, s.Segments.Opened)
	row("unflushed", "%d batches of %s, %d in range", s.Segments.Hot, size(s.Requests.Hot), s.Segments.HotUsed)
	row("filters", "%s", filters(opts, ans))
	left := max(0, s.Blocks.Total-s.Blocks.OutOfRange-s.Blocks.Replaced-s.Blocks.Pruned-s.Blocks.Read) // for context, blocks are read again
	row("blocks", "%d: %d out of range, %d replaced by compacted ones, %d pruned by filters, %d read (%d of them matched), %d not needed",
		s.Blocks.Total, s.Blocks.OutOfRange, s.Blocks.Replaced, s.Blocks.Pruned, s.Blocks.Read, s.Blocks.Matched, left)
	row("records", "%d scanned, %d found, %d duplicates removed, %d pieces", s.Records.Scanned, s.Records.Found, s.Records.Duplicates, s.Records.Pieces)
	row("bytes", "%s fetched, %s from the cache; %s of text decoded", size(s.Requests.Fetched), size(s.Requests.Cached), size(s.Requests.Decoded))
	row("requests", "%d range reads, %d pages of listings", s.Requests.Gets, s.Requests.Lists)
	row("time", "%s, the first record after %s, %s/s of text", ms(s.Time.Total), firstAfter(s.Time.First), size(perSecond(s.Requests.Decoded, s.Time.Total)))
	row("", "unflushed %s, list %s; sums over all requests and cores: open %s, prune %s, fetch %s, decode %s, match %s",
		ms(s.Time.Hot), ms(s.Time.List), ms(s.Time.Open), ms(s.Time.Prune), ms(s.Time.Fetch), ms(s.Time.Decode), ms(s.Time.Match))
	row("problems", "%d", len(ans.Problems)+ans.Unlisted)
	_ = tw.Flush() // standard error: there is nowhere to tell
}

func firstAfter(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(100 * time.Microsecond).String()
}

// filters says what filters were asked, or why they were not.
func filters(opts options, ans *query.Answer) string {
	s := &ans.Stats.Segments
	switch {
	case s.Sifted+s.Bare+s.Damaged > 0:
		return fmt.Sprintf("%d asked, %d missing, %d damaged; a record must hold %s", s.Sifted, s.Bare, s.Damaged, required(ans))
	case opts.query.Pattern == nil && opts.query.Where == nil:
		return "not asked: there is no pattern"
	case opts.query.Brute:
		return "not asked: --brute"
	case opts.request.Invert:
		return "not asked: with -v any block may match"
	case s.Opened == 0:
		return "not asked: no segment was opened"
	case !ans.Sieved:
		return fmt.Sprintf("not asked: the pattern needs no six bytes in a row; a record must hold %s", required(ans))
	}
	return fmt.Sprintf("not asked: the blocks cost no more; a record must hold %s", required(ans))
}

// required is what records must hold, as far as it fits into a line.
func required(ans *query.Answer) string {
	const most = 300
	text := ans.Required
	if text == "any" {
		return "anything"
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

func perSecond(n int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(float64(n) / d.Seconds())
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
