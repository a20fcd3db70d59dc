package dfa

import (
	"bytes"
	"fmt"
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
			for _, n := range []int{lanes, 1} {
				b.Run(fmt.Sprintf("%s/%s/lanes=%d", log[:4], bench.name, n), func(b *testing.B) {
					d := p.New()
					var found []Line
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						var ok bool
						if found, ok = d.lines(found[:0], text, n); !ok {
							b.Fatal("gave up")
						}
					}
					b.ReportMetric(float64(len(found)), "lines")
					b.ReportMetric(float64(len(d.keys)), "states")
				})
			}
			all := everyLine(nil, text)
			b.Run(log[:4]+"/"+bench.name+"/among", func(b *testing.B) {
				d := p.New()
				var found []Line
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					found, _ = d.Among(found[:0], text, all)
				}
				b.ReportMetric(float64(len(found)), "lines")
			})
			b.Run(log[:4]+"/"+bench.name+"/line", func(b *testing.B) {
				d := p.New()
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					for _, l := range all {
						d.Line(text, l.Start)
					}
				}
			})
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

// BenchmarkUTF8 walks text of which most is not ASCII.
func BenchmarkUTF8(b *testing.B) {
	text := bytes.Repeat([]byte("2024-01-01 ошибка соединения с базой данных: превышено время ожидания ответа\n"+
		"日本語のログメッセージ接続エラーが発生しました deadbeef1\nplain, with one é in it\n"), 20_000)
	for _, expr := range []string{`\b[0-9a-f]{8}\b`, `(?i)ОТВЕТ$`, `\pL+x`} {
		b.Run(expr, func(b *testing.B) {
			d := compile(b, expr).New()
			var found []Line
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var ok bool
				if found, ok = d.Lines(found[:0], text); !ok {
					b.Fatal("gave up")
				}
			}
			b.ReportMetric(float64(len(d.keys)), "states")
		})
	}
}
