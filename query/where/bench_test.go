package where

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/valyala/fastjson"
)

// records are lines of JSON: NAME.log of the folder named by CORPORA, or else events as they are in the tests.
func records(b *testing.B, name string) (lines [][]byte, size int64) {
	text := bytes.Repeat([]byte(short+"\n"), 1000)
	if folder := os.Getenv("CORPORA"); folder != "" {
		var err error
		if text, err = os.ReadFile(filepath.Join(folder, name+".log")); err != nil {
			b.Fatal(err)
		}
		text = text[:min(len(text), 8<<20)]
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	for line := range bytes.Lines(text) {
		lines = append(lines, line[:len(line)-1])
	}
	return lines, int64(len(text))
}

// short is a record in place of real ones.
const short = `{"id":"2489368070","type":"PushEvent","EventID":10,"actor":{"id":9152315,"login":"someone"},"payload":{"size":1,"commits":[{"message":"Altered\n\nFixed","distinct":true}]},"public":true}`

// BenchmarkMatch is the speed of one goroutine that looks at every record.
func BenchmarkMatch(b *testing.B) {
	for _, q := range []struct{ log, text string }{
		{"github_events_json", `type=PushEvent`},
		{"github_events_json", `payload.size>3 type!=WatchEvent`},
		{"github_events_json", `payload.commits[].message=~/fix/i`},
		{"github_events_json", `exists(absent)`},
		{"windows_events_json", `EventID=4658`},
		{"windows_events_json", `Image=~/powershell/ and port>1`},
		{"sshd_auth", `port>1`},
	} {
		b.Run(q.text, func(b *testing.B) {
			lines, size := records(b, q.log)
			e, err := Parse(q.text)
			if err != nil {
				b.Fatal(err)
			}
			m := e.Matcher()
			b.SetBytes(size)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				for _, line := range lines {
					if m.Match(line) {
						n++
					}
				}
			}
			b.ReportMetric(float64(n)/float64(len(lines)), "share")
		})
	}
}

// BenchmarkFastJSON is what a parser takes that makes a value of all of a record, to be compared with.
func BenchmarkFastJSON(b *testing.B) {
	for _, log := range []string{"github_events_json", "windows_events_json"} {
		b.Run(log, func(b *testing.B) {
			lines, size := records(b, log)
			var p fastjson.Parser
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				for _, line := range lines {
					if v, err := p.ParseBytes(line); err == nil {
						v.GetInt("EventID")
					}
				}
			}
		})
	}
}

// BenchmarkParse is what an expression costs before a query begins.
func BenchmarkParse(b *testing.B) {
	const text = `level=error AND (user.name="somebody" OR exists(trace_id)) AND NOT path=~/^\/api\/v[12]/ status>=500`
	b.ReportAllocs()
	for b.Loop() {
		e, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		e.Required()
		e.Program()
		e.Matcher()
	}
}
