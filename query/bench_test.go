package query

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/dir"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// logFiles are the logs NAME.log in the folder named by CORPORA, or the sample that the project ships.
func logFiles() string {
	return filepath.Join(cmp.Or(os.Getenv("CORPORA"), "../testdata/sample"), "*.log")
}

// corpus stores logs as ingesters do, fresh segments of 64 MiB of text, in a folder bucket, and returns
// the texts, of which each
// is cut at most bytes.
func corpus(tb testing.TB, most int) (bucket objstore.Bucket, texts [][]byte) {
	tb.Helper()
	files, err := filepath.Glob(logFiles())
	if err != nil || len(files) == 0 {
		tb.Fatalf("there is no %s (%v): set CORPORA to a folder of NAME.log files", logFiles(), err)
	}
	return corpusOf(tb, files, most)
}

// corpusOf stores some logs as corpus does.
func corpusOf(tb testing.TB, files []string, most int) (bucket objstore.Bucket, texts [][]byte) {
	tb.Helper()
	b, err := dir.Open(tb.TempDir(), dir.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	d, err := segment.NewDays(segment.WriterConfig{Filter: true}, 64<<20, func(name segment.Name, data []byte) error {
		return b.Put(context.Background(), name.Key("bench"), bytes.NewReader(data), int64(len(data)))
	})
	if err != nil {
		tb.Fatal(err)
	}
	ms := uint64(querytest.Day0.UnixMilli())
	for i, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		if n := len(text); n > 0 && text[n-1] != '\n' {
			text = append(text, '\n')
		}
		text = text[:bytes.LastIndexByte(text[:min(len(text), most)], '\n')+1]
		texts = append(texts, text)
		m, err := segment.NewMinter(bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 64)), nil)
		if err != nil {
			tb.Fatal(err)
		}
		// A forwarder that reads 150 MB/s: a millisecond each 150 kB.
		for len(text) > 0 {
			n := min(len(text), 150_000)
			if i := bytes.LastIndexByte(text[:n], '\n'); i >= 0 {
				n = i + 1
			} else {
				n = bytes.IndexByte(text, '\n') + 1
			}
			r, err := m.Now(ms, uint32(bytes.Count(text[:n], []byte{'\n'})))
			if err != nil {
				tb.Fatal(err)
			}
			in := segment.Block{Sources: segment.Sources{m.Session(): {{Key: "file", Value: filepath.Base(f)}}}}
			in.AppendLines(r, text[:n])
			c := in.Cursor()
			if err := d.Take(&c, c.Left()); err != nil {
				tb.Fatal(err)
			}
			ms++
			text = text[n:]
		}
	}
	if err := d.Close(); err != nil {
		tb.Fatal(err)
	}
	return b, texts
}

func BenchmarkQuery(b *testing.B) {
	bucket, texts := corpus(b, math.MaxInt)
	var size int64
	for _, text := range texts {
		size += int64(len(text))
	}
	e := newEngine(b, Config{Bucket: bucket})
	all := Range{From: segment.AtTime(querytest.Day0), To: segment.AtTime(querytest.Day0.Add(24 * time.Hour))}
	rare := rareText(b, texts)
	for _, bench := range []struct {
		name    string
		pattern match.Pattern
		query   Query
	}{
		{"absent", match.Pattern{Texts: []string{"3f9c1be07ad2"}}, Query{}},
		{"absent ignoring case", match.Pattern{Texts: []string{"no such exception"}, IgnoreCase: true}, Query{}},
		{"common", match.Pattern{Texts: []string{"from"}}, Query{}},
		{"common with context", match.Pattern{Texts: []string{"from"}}, Query{Before: 2, After: 2}},
		{"everything with context", match.Pattern{}, Query{Before: 2, After: 2}},
		{"rare", match.Pattern{Texts: []string{rare}}, Query{}},
		{"rare with context", match.Pattern{Texts: []string{rare}}, Query{Before: 2, After: 2}},
		{"rare with context newest first", match.Pattern{Texts: []string{rare}}, Query{Before: 2, After: 2, Newest: true}},
		{"common counted", match.Pattern{Texts: []string{"from"}}, Query{CountOnly: true}},
		{"everything", match.Pattern{}, Query{}},
		{"everything newest first", match.Pattern{}, Query{Newest: true}},
		{"newest 100 common", match.Pattern{Texts: []string{"from"}}, Query{Newest: true, Limit: 100}},
		{"brute absent", match.Pattern{Texts: []string{"3f9c1be07ad2"}}, Query{Brute: true}},
		{"regex without a literal", match.Pattern{Texts: []string{`\b[0-9a-f]{8}\b`}, Regex: true}, Query{CountOnly: true}},
		{"regex", match.Pattern{Texts: []string{`port [0-9]{5}\b`}, Regex: true}, Query{}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m, err := match.Compile(bench.pattern)
			if err != nil {
				b.Fatal(err)
			}
			q := bench.query
			q.Topic, q.Range, q.Pattern = "bench", all, m
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				ans, err := e.Run(b.Context(), q, func(Record) error { return nil })
				if err != nil || ans.Partial() {
					b.Fatal(err, ans.Problems)
				}
				b.ReportMetric(float64(ans.Count), "records")
			}
		})
	}
}

// rareText is a piece of a line that is in few others.
func rareText(tb testing.TB, texts [][]byte) string {
	tb.Helper()
	text := slices.MaxFunc(texts, func(a, b []byte) int { return cmp.Compare(len(a), len(b)) })
	for at := len(text) / 3; at+16 < len(text); at += 1000 {
		piece := text[at : at+16]
		if bytes.IndexByte(piece, '\n') >= 0 {
			continue
		}
		n := 0
		for _, text := range texts {
			n += bytes.Count(text, piece)
		}
		if n <= 10 {
			return string(piece)
		}
	}
	tb.Fatal("no text is rare")
	return ""
}
