package dfa

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"testing"
)

func benchPatterns() []struct{ name, expr string } {
	return []struct{ name, expr string }{
		{"hex8", `\b[0-9a-f]{8}\b`},
		{"warn-timeout", `(WARN|ERROR).*timeout`},
		{"exception-fold", `(?i)exception`},
		{"ip-port", `\b(\d{1,3}\.){3}\d{1,3}:\d{1,5}\b`},
		{"alternates", `kernel|sshd|authd`},
		{"words-timeout", `(\w+\s?)+timeout$`},
	}
}

// sample is the beginning of a log, whole lines: NAME.log of the folder named by CORPORA, or the longest log of the sample.
func sample(b *testing.B, name string, n int) []byte {
	b.Helper()
	folder := os.Getenv("CORPORA")
	if folder == "" {
		folder, name = "../../testdata/sample", "nats.log"
	}
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		b.Fatal(err)
	}
	text = text[:min(len(text), n)]
	return text[:bytes.LastIndexByte(text, '\n')+1]
}

func BenchmarkLines(b *testing.B) {
	for _, log := range []string{"sshd_auth.log", "iotdb_java.log"} {
		text := sample(b, log, 8<<20)
		for _, bench := range benchPatterns() {
			re, err := syntax.Parse(bench.expr, syntax.Perl)
			if err != nil {
				b.Fatal(err)
			}
			p, err := Compile(re)
			if err != nil {
				b.Fatal(err)
			}
			for _, walk := range []struct {
				name  string
				lanes int
			}{{"4", lanes}, {"1", 1}} {
				b.Run(cmp.Or(log[:4])+"/"+bench.name+"/lanes="+walk.name, func(b *testing.B) {
					d := p.New()
					var found []Line
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						var ok bool
						if found, ok = d.lines(found[:0], text, walk.lanes); !ok {
							b.Fatal("gave up")
						}
					}
					b.ReportMetric(float64(len(found)), "lines")
					b.ReportMetric(float64(len(d.keys)), "states")
				})
			}
			b.Run(log[:4]+"/"+bench.name+"/regexp", func(b *testing.B) {
				re := regexp.MustCompile(bench.expr)
				text := text[:1<<20]
				text = text[:bytes.LastIndexByte(text, '\n')+1]
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					for at := 0; at < len(text); {
						end := at + bytes.IndexByte(text[at:], '\n')
						re.Match(text[at:end])
						at = end + 1
					}
				}
			})
		}
	}
}

// BenchmarkStates makes states all the time: what a byte costs that needs one, beside package regexp.
func BenchmarkStates(b *testing.B) {
	expr, text := manyStates()
	for _, expr := range []string{expr, `(x|a|b|\w+c){50}d`, `(\pL+\s?){20}[a-c]{1,400}x`} {
		p := compile(b, expr)
		b.Run(expr+"/dfa", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				d := p.New()
				d.pace = 0
				if _, ok := d.Lines(nil, text); !ok {
					b.Fatal("gave up")
				}
				b.ReportMetric(float64(len(d.keys)), "states")
			}
		})
		b.Run(expr+"/regexp", func(b *testing.B) {
			re := regexp.MustCompile(expr)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				for line := range bytes.Lines(text) {
					re.Match(line[:len(line)-1])
				}
			}
		})
	}
}
