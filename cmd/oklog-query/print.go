package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/match"
)

// timeLayout is RFC 3339 with the milliseconds that a ULID has.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// printer writes records as lines.
type printer struct {
	w       *bufio.Writer
	opts    options
	paint   *match.Finder // of what is highlighted; nil: nothing
	painted [][2]int
	json    *json.Encoder
	prefix  []byte
	pending bool // the last line lacks its newline: the next piece of its record may follow
}

func newPrinter(w *bufio.Writer, opts options) *printer {
	p := &printer{w: w, opts: opts}
	if opts.color && opts.query.Pattern != nil {
		p.paint = opts.query.Pattern.Finder()
	}
	if opts.json {
		p.json = json.NewEncoder(w)
		p.json.SetEscapeHTML(false)
	}
	return p
}

// print writes one record.
func (p *printer) print(r query.Record) error {
	if p.json != nil {
		return p.printJSON(r)
	}
	// Pieces of a cut record come together again, as long as they come in their order.
	joined := r.Joined && !p.opts.query.Newest
	if p.pending && !joined {
		_ = p.w.WriteByte('\n') // bufio keeps its first error: the last call tells it
	}
	if !joined {
		p.prefix = p.appendPrefix(p.prefix[:0], r.Record)
		_, _ = p.w.Write(p.prefix)
	}
	if p.paint != nil {
		p.highlight(r.Text)
	} else {
		_, _ = p.w.Write(r.Text)
	}
	p.pending = r.Piece&segment.Continued != 0 && !p.opts.query.Newest
	if p.pending {
		return nil
	}
	return p.w.WriteByte('\n')
}

// finish writes what is still owed.
func (p *printer) finish(ans *query.Answer, failed error) error {
	if p.pending {
		p.pending = false
		if err := p.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	if p.opts.query.CountOnly && failed == nil {
		_, err := fmt.Fprintf(p.w, "%d\n", ans.Count)
		return err
	}
	return nil
}

func (p *printer) appendPrefix(dst []byte, r segment.Record) []byte {
	if p.opts.time {
		dst = append(ulid.Time(r.ID.Time()).UTC().AppendFormat(dst, timeLayout), ' ')
	}
	if p.opts.ulid {
		dst = append(append(dst, r.ID.String()...), ' ')
	}
	if p.opts.source {
		dst = append(append(append(dst, '{'), r.Source.String()...), "} "...)
	}
	return dst
}

func (p *printer) highlight(text []byte) {
	const on, off = "\x1b[1;31m", "\x1b[0m"
	at := 0
	p.painted = p.paint.Find(p.painted[:0], text)
	for _, m := range p.painted {
		_, _ = p.w.Write(text[at:m[0]])
		_, _ = p.w.WriteString(on)
		_, _ = p.w.Write(text[m[0]:m[1]])
		_, _ = p.w.WriteString(off)
		at = m[1]
	}
	_, _ = p.w.Write(text[at:])
}

// line is a record in JSON.
type line struct {
	ULID   string            `json:"ulid"`
	Time   string            `json:"time"`
	Source map[string]string `json:"source"`
	Text   *string           `json:"text,omitempty"`
	Base64 []byte            `json:"text_base64,omitempty"` // where it is not UTF-8
	// A record that was cut is an object for each piece: first, middle or last.
	Piece string `json:"piece,omitempty"`
}

func (p *printer) printJSON(r query.Record) error {
	l := line{
		ULID: r.ID.String(), Time: ulid.Time(r.ID.Time()).UTC().Format(timeLayout), Source: make(map[string]string, len(r.Source)),
		Piece: pieceName(r.Piece),
	}
	for _, a := range r.Source {
		l.Source[a.Key] = a.Value
	}
	if utf8.Valid(r.Text) {
		text := string(r.Text)
		l.Text = &text
	} else {
		l.Base64 = r.Text
	}
	return p.json.Encode(l)
}

// pieceName is "" for a whole record.
func pieceName(p segment.Piece) string {
	switch p & (segment.Continues | segment.Continued) {
	case segment.Continued:
		return "first"
	case segment.Continues | segment.Continued:
		return "middle"
	case segment.Continues:
		return "last"
	}
	return ""
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
	left := s.Blocks.Total - s.Blocks.OutOfRange - s.Blocks.Pruned - s.Blocks.Read
	row("blocks", "%d: %d out of range, %d pruned by filters, %d read (%d of them matched), %d not needed",
		s.Blocks.Total, s.Blocks.OutOfRange, s.Blocks.Pruned, s.Blocks.Read, s.Blocks.Matched, left)
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
	case opts.query.Pattern == nil:
		return "not asked: there is no pattern"
	case opts.query.Brute:
		return "not asked: --brute"
	case opts.pattern.Invert:
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
