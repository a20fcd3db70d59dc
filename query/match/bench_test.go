package match

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// blocks gives blocks of at most 4 MiB of each log: the files NAME.log in the folder named by CORPORA, or the sample
// that the project ships. Of each no more than most bytes.
func blocks(tb testing.TB, most int) map[string][][]byte {
	tb.Helper()
	folder := cmp.Or(os.Getenv("CORPORA"), "../../testdata/sample")
	files, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no logs in %s (%v): set CORPORA to a folder of NAME.log files", folder, err)
	}
	logs := map[string][][]byte{}
	for _, f := range files {
		file, err := os.Open(f)
		if err != nil {
			tb.Fatal(err)
		}
		text, err := io.ReadAll(io.LimitReader(file, int64(most)))
		if err := cmp.Or(err, file.Close()); err != nil {
			tb.Fatal(err)
		}
		text = append(bytes.TrimSuffix(text, []byte("\n")), '\n')
		name := strings.TrimSuffix(filepath.Base(f), ".log")
		for len(text) > 0 {
			n := min(len(text), 4<<20)
			n = bytes.LastIndexByte(text[:n], '\n') + 1
			logs[name] = append(logs[name], text[:n])
			text = text[n:]
		}
	}
	return logs
}

// addresses are as people paste them: 500 of some networks.
func addresses() (texts []string) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range 500 {
		texts = append(texts, fmt.Sprintf("%d.%d.%d.%d", 10+i%7*30, rnd.IntN(4), rnd.IntN(256), rnd.IntN(256)))
	}
	return texts
}

func words(n int) (texts []string) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for range n {
		texts = append(texts, fmt.Sprintf("%08x-%04x", rnd.Uint32(), rnd.Uint32N(1<<16)))
	}
	return texts
}

type bench struct {
	name string
	p    Pattern
}

func benches() []bench {
	return []bench{
		{"absent", Pattern{Texts: []string{"3f9c1be07ad2"}}},
		{"word", Pattern{Texts: []string{"Failed password"}}},
		{"whole word", Pattern{Texts: []string{"Failed password"}, Word: true}},
		{"whole word everywhere", Pattern{Texts: []string{"from"}, Word: true}},
		{"16 whole words", Pattern{Texts: words(16), Word: true}},
		{"regex whole word", Pattern{Texts: []string{`(Failed|Invalid).*port 41[0-9]{2}`}, Regex: true, Word: true}},
		{"short", Pattern{Texts: []string{"ee"}}},
		{"digits", Pattern{Texts: []string{"0010"}}},
		{"everywhere", Pattern{Texts: []string{"e"}}},
		{"inverted", Pattern{Texts: []string{"Failed password"}, Invert: true}},
		{"folded", Pattern{Texts: []string{"allowusers"}, Regex: true, IgnoreCase: true}},
		{"folded s", Pattern{Texts: []string{"session"}, IgnoreCase: true}},
		{"3 words", Pattern{Texts: []string{"Failed password|Accepted publickey|Invalid user"}, Regex: true}},
		{"8 words", Pattern{Texts: words(8)}},
		{"16 words", Pattern{Texts: words(16)}},
		{"16 words folded", Pattern{Texts: words(16), IgnoreCase: true}},
		{"500 addresses", Pattern{Texts: addresses()}},
		{"10000 words", Pattern{Texts: words(10_000)}},
		{"regex port", Pattern{Texts: []string{`(Failed|Invalid).*port 41[0-9]{2}\b`}, Regex: true}},
		{"regex timeout", Pattern{Texts: []string{`(WARN|ERROR).*timeout`}, Regex: true}},
		{"regex hex", Pattern{Texts: []string{`\b[0-9a-f]{8}\b`}, Regex: true}},
		{"regex addresses", Pattern{Texts: []string{`\b(` + strings.ReplaceAll(strings.Join(addresses(), "|"), ".", `\.`) + `)\b`}, Regex: true}},
	}
}

func BenchmarkSearch(b *testing.B) {
	logs := blocks(b, 64<<20)
	for name, texts := range logs {
		size := 0
		for _, text := range texts {
			size += len(text)
		}
		for _, bench := range benches() {
			b.Run(strings.ReplaceAll(bench.name, " ", "_")+"/"+name, func(b *testing.B) {
				s := compile(b, bench.p).Searcher()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var lines []Line
				found := 0
				for b.Loop() {
					found = 0
					for _, text := range texts {
						lines = s.Lines(lines[:0], text)
						found += len(lines)
					}
				}
				b.ReportMetric(float64(found), "lines")
			})
		}
		b.Run("word_counted/"+name, func(b *testing.B) {
			s := compile(b, Pattern{Texts: []string{"Failed password"}}).Searcher()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, text := range texts {
					s.Count(text)
				}
			}
		})
	}
}
