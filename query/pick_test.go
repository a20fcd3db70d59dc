package query

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// A record of several lines is found by what is in two of them wherever it lies in its block.
func TestLinesOfARecordAreFoundTogether(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	pad := strings.Repeat("x", 1000)
	var all []querytest.Entry
	for i := range 3 * stretch / len(pad) {
		text := fmt.Sprintf("panic: n%d %s\n\tgoroutine g%dz", i, pad, i)
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli()), 7, uint32(i)), Text: text})
	}
	querytest.Store(t, b, "web", 0, 0, all)
	e := newEngine(t, Config{Bucket: b})
	for i, want := range all {
		if at := i * len(all[0].Text) % stretch; at > 4*len(pad) && at < stretch-4*len(pad) {
			continue // far from where the text is cut
		}
		for _, q := range []Query{
			{Pattern: compile(t, match.Pattern{Texts: []string{fmt.Sprintf(`(?s)panic: n%d .*goroutine g%dz`, i, i)}, Regex: true})},
			{Pattern: compile(t, match.Pattern{Texts: []string{fmt.Sprintf("xxxxx\n\tgoroutine g%dz", i)}})},
			{Where: parseWhere(t, fmt.Sprintf(`"xxxxx\n\tgoroutine g%dz"`, i))},
			{Where: parseWhere(t, fmt.Sprintf(`"panic: n%d " "g%dz"`, i, i))},
		} {
			q.Topic, q.Range, q.Brute = "web", everything(), i%2 == 0
			have, _ := ask(t, e, q)
			same(t, []querytest.Entry{want}, have)
		}
	}
}
