package dfa

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func BenchmarkUTF8(b *testing.B) {
	text := bytes.Repeat([]byte("2024-01-01 ошибка соединения с базой данных: превышено время ожидания ответа\n日本語のログメッセージ接続エラーが発生しました deadbeef1\nplain ascii line with é in it\n"), 20000)
	for _, e := range []string{`\b[0-9a-f]{8}\b`, `(?i)ОТВЕТ$`, `\pL+x`} {
		p := compile(b, e)
		b.Run(e, func(b *testing.B) {
			d := p.New()
			var f []Line
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				f, _ = d.Lines(f[:0], text)
			}
			b.ReportMetric(float64(len(f)), "lines")
		})
		b.Run("re/"+e, func(b *testing.B) {
			re := regexp.MustCompile(e)
			t := text[:len(text)/20]
			b.SetBytes(int64(len(t)))
			for b.Loop() {
				for l := range strings.Lines(string(t)) {
					re.MatchString(l[:len(l)-1])
				}
			}
		})
	}
}
