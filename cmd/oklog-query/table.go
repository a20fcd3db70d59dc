package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
)

// column is one of a table.
type column struct {
	name  string
	width int // at least
	right bool
}

// table is columns of text, two spaces between them. The last one is not padded.
type table []column

func (t table) row(w *bufio.Writer, cells ...string) error {
	var line []byte
	for i, c := range t {
		if i > 0 {
			line = append(line, "  "...)
		}
		pad := strings.Repeat(" ", max(0, c.width-len(cells[i])))
		if c.right {
			line = append(line, pad...)
		}
		line = append(line, cells[i]...)
		if !c.right && i < len(t)-1 {
			line = append(line, pad...)
		}
	}
	_, err := w.Write(append(line, '\n'))
	return err
}

func (t table) header(w *bufio.Writer) error {
	names := make([]string, len(t))
	for i, c := range t {
		names[i] = c.name
	}
	return t.row(w, names...)
}

// sums is what some segments come to.
type sums struct {
	segments, records, text, stored               int64
	first, last                                   ulid.ULID
	lacking, overlapping, ahead, early, differing int64
}

// lsPrinter prints what ls has found. Its methods fail if the output cannot be written.
type lsPrinter struct {
	w     *bufio.Writer
	opts  *lsOptions
	json  *json.Encoder // nil: tables
	cols  table         // of segments
	any   bool          // something was found
	began bool          // the header is printed

	topic sums       // of the one at hand
	total sums       // of all
	rows  [][]string // of topics: how wide they are is known at the end

	foreigns int64
	keys     []string // of the first of these
}

// maxForeign is how many objects that are no segments are named.
const maxForeign = 10

func newLsPrinter(w *bufio.Writer, opts *lsOptions) *lsPrinter {
	p := &lsPrinter{w: w, opts: opts}
	if opts.json {
		p.json = json.NewEncoder(w)
		p.json.SetEscapeHTML(false)
	}
	const number, bytes, longBytes, seconds, milliseconds = 9, 8, 13, 9, 13
	size, clock := bytes, milliseconds
	if opts.long {
		size = longBytes
	}
	if opts.short {
		clock = seconds // a row is to fit: --long has the rest
	}
	// There may be a million segments, so the widths are those of most.
	p.cols = table{{"first", len("2006-01-02T") + clock, false}, {"last", clock, false}, {"records", number, true}, {"text", size, true}, {"stored", size, true}, {"ratio", 6, true}, {"level", 5, false}, {"copies", 6, false}}
	if opts.long {
		p.cols = append(p.cols, column{"modified", 20, false})
	}
	p.cols = append(p.cols, column{"notes", 8, false}, column{"key", 0, false})
	return p
}

// segments takes the next ones of a topic, in the order of time.
func (p *lsPrinter) segments(list []stored) error {
	p.any = true
	for _, s := range list {
		p.topic.add(s, p.opts.now)
		p.total.add(s, p.opts.now)
		if p.opts.topic == "" {
			continue
		}
		if err := p.segment(s); err != nil {
			return err
		}
	}
	if p.opts.topic == "" {
		return nil
	}
	return p.w.Flush() // the rest may take its time
}

func (t *sums) add(s stored, now time.Time) {
	if t.segments == 0 || s.name.First.Compare(t.first) < 0 {
		t.first = s.name.First
	}
	if s.name.Last.Compare(t.last) > 0 {
		t.last = s.name.Last
	}
	t.segments++
	t.records += s.name.Records
	t.text += s.name.RawBytes
	t.stored += s.size
	for _, c := range []struct {
		n  *int64
		is bool
	}{{&t.lacking, s.lacking()}, {&t.overlapping, s.overlaps}, {&t.ahead, s.ahead(now)}, {&t.early, s.early()}, {&t.differing, s.differ}} {
		if c.is {
			*c.n++
		}
	}
}

func (s stored) ahead(now time.Time) bool { return ulid.Time(s.name.Last.Time()).Sub(now) > maxAhead }
func (s stored) lacking() bool            { return s.copies < s.listed }
func (s stored) early() bool              { return ulid.Time(s.name.First.Time()).UTC().Year() < minYear }

// segmentLine is a segment in JSON.
type segmentLine struct {
	Key      string  `json:"key"`
	Topic    string  `json:"topic"`
	First    string  `json:"first"`
	Last     string  `json:"last"`
	Records  int64   `json:"records"`
	Text     int64   `json:"text_bytes"`
	Stored   int64   `json:"stored_bytes"`
	Ratio    float64 `json:"ratio"`
	Level    uint8   `json:"level"`
	Copies   int     `json:"copies"`
	Buckets  int     `json:"buckets"`
	Listed   int     `json:"buckets_listed"`
	Modified string  `json:"modified"`
	Ahead    bool    `json:"ahead,omitempty"`
	Early    bool    `json:"early,omitempty"`
	Overlaps bool    `json:"overlaps,omitempty"`
	Differ   bool    `json:"sizes_differ,omitempty"`
}

// segment prints one.
func (p *lsPrinter) segment(s stored) error {
	n := s.name
	first, last := ulid.Time(n.First.Time()).UTC(), ulid.Time(n.Last.Time()).UTC()
	if p.json != nil {
		return p.json.Encode(segmentLine{
			Key: s.key, Topic: p.opts.topic, First: first.Format(timeLayout), Last: last.Format(timeLayout),
			Records: n.Records, Text: n.RawBytes, Stored: s.size, Ratio: ratioOf(n.RawBytes, s.size), Level: n.Generation,
			Copies: s.copies, Buckets: len(p.opts.buckets), Listed: s.listed, Modified: s.modified.UTC().Format(timeLayout),
			Ahead: s.ahead(p.opts.now), Early: s.early(), Overlaps: s.overlaps, Differ: s.differ,
		})
	}
	if !p.began {
		p.began = true
		if err := p.cols.header(p.w); err != nil {
			return err
		}
	}
	// Milliseconds where they are a matter, and there is room. The day is that of the first one.
	layout := time.RFC3339
	if p.opts.long || !p.opts.short && last.Sub(first) < time.Minute {
		layout = timeLayout
	}
	level := "fresh"
	if n.Generation > 0 {
		level = strconv.Itoa(int(n.Generation))
	}
	copies := fmt.Sprintf("%d/%d", s.copies, len(p.opts.buckets))
	if s.listed < len(p.opts.buckets) {
		copies = fmt.Sprintf("%d/?", s.copies)
	}
	_, end, _ := strings.Cut(last.Format(layout), "T")
	cells := []string{first.Format(layout), end, strconv.FormatInt(n.Records, 10), p.size(n.RawBytes), p.size(s.size), ratio(n.RawBytes, s.size), level, copies}
	if p.opts.long {
		cells = append(cells, s.modified.UTC().Format(time.RFC3339))
	}
	key := s.key
	if p.opts.short {
		key = shortKey(key)
	}
	return p.cols.row(p.w, append(cells, p.notes(s), key)...)
}

// shortKey is the part of a key that tells it apart: the beginning of the hash at its end.
func shortKey(key string) string {
	const digits = 12
	hash := strings.TrimSuffix(key[strings.LastIndexByte(key, '-')+1:], ".zst")
	return hash[:min(digits, len(hash))]
}

// notes are words about a segment; - if there are none.
func (p *lsPrinter) notes(s stored) string {
	var words []string
	for _, n := range []struct {
		word string
		is   bool
	}{{"ahead", s.ahead(p.opts.now)}, {"early", s.early()}, {"overlaps", s.overlaps}, {"lacking", s.lacking()}, {"sizes", s.differ}} {
		if n.is {
			words = append(words, n.word)
		}
	}
	return orDash(words)
}

func orDash(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

// topicLine is a topic in JSON.
type topicLine struct {
	Topic       string  `json:"topic"`
	Segments    int64   `json:"segments"`
	Records     int64   `json:"records"`
	Text        int64   `json:"text_bytes"`
	Stored      int64   `json:"stored_bytes"`
	Ratio       float64 `json:"ratio"`
	First       string  `json:"first"`
	Last        string  `json:"last"`
	Lacking     int64   `json:"lacking_copies"`
	Overlapping int64   `json:"overlapping"`
	Ahead       int64   `json:"ahead"`
	Early       int64   `json:"early"`
	Differing   int64   `json:"sizes_differ"`
}

// endTopic is called when all of a topic's segments were taken.
func (p *lsPrinter) endTopic(topic string) error {
	t := p.topic
	p.topic = sums{}
	if p.opts.topic != "" || t.segments == 0 {
		return nil
	}
	first, last := ulid.Time(t.first.Time()).UTC(), ulid.Time(t.last.Time()).UTC()
	if p.json != nil {
		err := p.json.Encode(topicLine{
			Topic: topic, Segments: t.segments, Records: t.records, Text: t.text, Stored: t.stored, Ratio: ratioOf(t.text, t.stored),
			First: first.Format(timeLayout), Last: last.Format(timeLayout),
			Lacking: t.lacking, Overlapping: t.overlapping, Ahead: t.ahead, Early: t.early, Differing: t.differing,
		})
		if err != nil {
			return err
		}
		return p.w.Flush()
	}
	layout := time.RFC3339
	if p.opts.long {
		layout = timeLayout
	}
	var words []string
	for _, n := range []struct {
		word string
		n    int64
	}{{"lacking", t.lacking}, {"ahead", t.ahead}, {"early", t.early}, {"sizes", t.differing}} {
		if n.n > 0 {
			words = append(words, fmt.Sprintf("%s=%d", n.word, n.n))
		}
	}
	p.rows = append(p.rows, []string{topic, strconv.FormatInt(t.segments, 10), strconv.FormatInt(t.records, 10), p.size(t.text), p.size(t.stored),
		ratio(t.text, t.stored), first.Format(layout), last.Format(layout), orDash(words)})
	return nil
}

// foreignLine is an object that is no segment, in JSON.
type foreignLine struct {
	Key     string `json:"key"`
	Stored  int64  `json:"stored_bytes"`
	Foreign bool   `json:"foreign"`
}

// foreign takes an object that is no segment.
func (p *lsPrinter) foreign(info objstore.Info) error {
	p.any = true
	p.foreigns++
	if p.json != nil {
		return p.json.Encode(foreignLine{info.Key, info.Size, true})
	}
	if len(p.keys) < maxForeign {
		p.keys = append(p.keys, info.Key)
	}
	return nil
}

// end prints what is said of all; some copies may not be known.
func (p *lsPrinter) end(unknown bool) error {
	if p.json != nil || !p.any {
		return nil
	}
	if err := p.topics(); err != nil {
		return err
	}
	// bufio keeps its first error: Flush tells it.
	if t := &p.total; t.segments > 0 {
		topics := ""
		if p.opts.topic == "" {
			topics = count(int64(len(p.rows)), "topic", "topics") + ", "
		}
		where := ""
		if unknown {
			where = " in the buckets that could be listed"
		}
		fmt.Fprintf(p.w, "total: %s%s, %s, %s of text stored in %s, ratio %s",
			topics, count(t.segments, "segment", "segments"), count(t.records, "record", "records"), p.amount(t.text), p.amount(t.stored), ratio(t.text, t.stored))
		between := "; "
		if n := t.lacking; n > 0 || unknown || !p.opts.short { // a line is to fit
			fmt.Fprintf(p.w, "%s%s copies%s", between, count(n, "lacks", "lack"), where)
			between = ", "
		}
		if n := t.overlapping; n > 0 || !p.opts.short {
			fmt.Fprintf(p.w, "%s%s another", between, count(n, "overlaps", "overlap"))
			between = ", "
		}
		if t.ahead > 0 {
			fmt.Fprintf(p.w, "%s%s ahead of now", between, count(t.ahead, "is", "are"))
			between = ", "
		}
		if t.early > 0 {
			fmt.Fprintf(p.w, "%s%s from before %d", between, count(t.early, "is", "are"), minYear)
			between = ", "
		}
		if t.differing > 0 {
			fmt.Fprintf(p.w, "%s%s copies of different sizes", between, count(t.differing, "has", "have"))
		}
		fmt.Fprintln(p.w)
	}
	if n := p.foreigns; n > 0 {
		fmt.Fprintf(p.w, "foreign: %s no segment's:\n", count(n, "object whose key is", "objects whose keys are"))
		for _, key := range p.keys {
			fmt.Fprintf(p.w, "  %s\n", key)
		}
		if more := n - int64(len(p.keys)); more > 0 {
			fmt.Fprintf(p.w, "  and %d more\n", more)
		}
	}
	return p.w.Flush()
}

// topics prints the table of topics.
func (p *lsPrinter) topics() error {
	if len(p.rows) == 0 {
		return nil
	}
	t := table{{"topic", 0, false}, {"segments", 0, true}, {"records", 0, true}, {"text", 0, true}, {"stored", 0, true}, {"ratio", 0, true},
		{"first", 0, false}, {"last", 0, false}, {"notes", 0, false}}
	for i := range t {
		t[i].width = len(t[i].name)
		for _, r := range p.rows {
			t[i].width = max(t[i].width, len(r[i]))
		}
	}
	if err := t.header(p.w); err != nil {
		return err
	}
	for _, r := range p.rows {
		if err := t.row(p.w, r...); err != nil {
			return err
		}
	}
	return nil
}

// size is a number of bytes, without a space in it.
func (p *lsPrinter) size(n int64) string {
	if p.opts.long {
		return strconv.FormatInt(n, 10)
	}
	return strings.Replace(size(n), " ", "", 1)
}

// amount is a number of bytes in a sentence.
func (p *lsPrinter) amount(n int64) string {
	if p.opts.long {
		return fmt.Sprintf("%d B", n)
	}
	return size(n)
}

// count says how many do something that one does.
func count(n int64, does, do string) string {
	if n == 1 {
		do = does
	}
	return fmt.Sprintf("%d %s", n, do)
}

// ratioOf is text by stored, to two digits.
func ratioOf(text, stored int64) float64 {
	if stored == 0 {
		return 0
	}
	return math.Round(float64(text)/float64(stored)*100) / 100
}

func ratio(text, stored int64) string {
	if stored == 0 {
		return "-"
	}
	return strconv.FormatFloat(ratioOf(text, stored), 'f', 2, 64)
}
