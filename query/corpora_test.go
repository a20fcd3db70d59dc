package query

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// found is an answer in short: how many records, and a hash of them all in their order.
type found struct {
	n   int64
	sum uint64
}

var seed = maphash.MakeSeed()

func (f *found) add(record []byte) {
	f.n++
	f.sum = f.sum*31 + maphash.Bytes(seed, record)
}

// On real logs, too, what is found is what package regexp finds line by line.
func TestRealLogs(t *testing.T) {
	bucket, texts := corpus(t, 8<<20)
	for _, p := range realPatterns(rand.New(rand.NewPCG(7, 8)), texts) {
		want := lineByLine(p, texts)
		if have, _ := look(t, bucket, p, false); have != want {
			t.Errorf("%+v: %d records, want %d (of these)", p, have.n, want.n)
		}
	}
}

// Filters change nothing but the cost.
func TestRealLogsBrute(t *testing.T) {
	bucket, texts := corpus(t, math.MaxInt)
	pruned := 0
	for _, p := range realPatterns(rand.New(rand.NewPCG(9, 10)), texts) {
		with, ans := look(t, bucket, p, false)
		without, brute := look(t, bucket, p, true)
		if with != without {
			t.Errorf("%+v: %d records with filters, %d without", p, with.n, without.n)
		}
		if brute.Stats.Blocks.Pruned > 0 {
			t.Errorf("%+v: a brute query prunes", p)
		}
		pruned += ans.Stats.Blocks.Pruned
	}
	if pruned == 0 {
		t.Error("no filter has pruned a block")
	}
}

func look(t *testing.T, bucket objstore.Bucket, p match.Pattern, brute bool) (f found, ans *Answer) {
	t.Helper()
	q := Query{Topic: "bench", Range: Range{From: segment.AtTime(querytest.Day0), To: segment.AtTime(querytest.Day0.Add(24 * time.Hour))}, Pattern: compile(t, p), Brute: brute}
	ans, err := newEngine(t, Config{Bucket: bucket}).Run(t.Context(), q, func(r Record) error {
		f.add(r.Text)
		return nil
	})
	if err != nil || ans.Partial() {
		t.Fatalf("%+v: %v %v", p, err, ans.Problems)
	}
	return f, ans
}

// realPatterns draws what people look for: pieces of lines, of which some are not there, and expressions around them.
func realPatterns(rnd *rand.Rand, texts [][]byte) (all []match.Pattern) {
	piece := func() string {
		for {
			text := texts[rnd.IntN(len(texts))]
			n := 4 + rnd.IntN(16)
			at := rnd.IntN(len(text) - n)
			if p := text[at : at+n]; bytes.IndexByte(p, '\n') < 0 && utf8.Valid(p) {
				return string(p)
			}
		}
	}
	for range 10 {
		a, b := piece(), piece()
		absent := fmt.Sprintf("%012x", rnd.Uint64()&(1<<48-1))
		all = append(all,
			match.Pattern{Texts: []string{a}},
			match.Pattern{Texts: []string{string(bytes.ToUpper([]byte(a)))}, IgnoreCase: true},
			match.Pattern{Texts: []string{a, b, absent}},
			match.Pattern{Texts: []string{absent}},
			match.Pattern{Texts: []string{regexp.QuoteMeta(a) + ".*[0-9]{3}"}, Regex: true},
			match.Pattern{Texts: []string{"(" + regexp.QuoteMeta(a) + "|" + regexp.QuoteMeta(b) + `)\b`}, Regex: true, IgnoreCase: true},
		)
	}
	return append(all, match.Pattern{Texts: []string{`\b[0-9a-f]{8}\b`}, Regex: true}, match.Pattern{Texts: []string{piece()}, Invert: true})
}

// lineByLine is the answer to p of somebody who looks at every line.
func lineByLine(p match.Pattern, texts [][]byte) (f found) {
	res := regexps(p)
	for _, text := range texts {
		for line := range bytes.Lines(text) {
			line = line[:len(line)-1]
			if slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.Match(line) }) != p.Invert {
				f.add(line)
			}
		}
	}
	return f
}
