package compact

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// logs are those of the folder CORPORA, or the shipped sample's.
func logs(tb testing.TB) []string {
	tb.Helper()
	dir := os.Getenv("CORPORA")
	if dir == "" {
		dir = "../testdata/sample"
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no logs, NAME.log, in %s (%v)", dir, err)
	}
	return paths
}

// storeLog stores up to most bytes of a log as ingesters do, a thousand lines a second, by turns in five segments of a fifth of five
// seconds each, which overlap.
func storeLog(tb testing.TB, b objstore.Bucket, path string, most int) (text int64) {
	tb.Helper()
	all, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if len(all) > most {
		all = all[:bytes.LastIndexByte(all[:most], '\n')+1]
	}
	text = int64(len(all))
	w, err := segment.NewWriter(segment.WriterConfig{Filter: true})
	if err != nil {
		tb.Fatal(err)
	}
	const ingesters, span = 3, 5000
	source, _ := segment.ParseSource([]string{"host=a"})
	at := uint64(day0.UnixMilli())
	for n := uint64(0); len(all) > 0; {
		var blocks [ingesters]segment.Block
		for range span {
			if len(all) == 0 {
				break
			}
			end := bytes.IndexByte(all, '\n') + 1
			if end == 0 {
				end = len(all)
			}
			k := n / 100 % ingesters // a batch is of some hundred lines
			if blocks[k].Sources == nil {
				blocks[k].Sources = segment.Sources{7: source}
			}
			blocks[k].Append(segment.MakeID(at+n, 7, uint32(n)), bytes.TrimSuffix(all[:end], []byte{'\n'}), 0)
			all = all[end:]
			n++
		}
		for i := range blocks {
			if blocks[i].Len() == 0 {
				continue
			}
			days, err := w.Days(segment.DaysConfig{MaxText: 1 << 30, Emit: func(n segment.Name, data []byte) error {
				return b.Put(context.Background(), n.Key("web"), bytes.NewReader(data), int64(len(data)))
			}})
			if err != nil {
				tb.Fatal(err)
			}
			c := blocks[i].Cursor()
			if err := days.Take(&c, c.Left()); err != nil {
				tb.Fatal(err)
			}
			if err := days.Close(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return text
}

// BenchmarkMerge merges the fresh segments of three ingesters, five seconds of a thousand lines each, of up to 64 MiB of each log, in
// memory: reading, decoding, merging, compressing, signing, hashing. MB/s are of text, on one core with -cpu 1.
func BenchmarkMerge(b *testing.B) {
	for _, level := range []struct {
		name  string
		level segment.Level
	}{{"best", segment.Best}, {"fast", segment.Fast}} {
		for _, path := range logs(b) {
			b.Run(level.name+"/"+strings.TrimSuffix(filepath.Base(path), ".log"), func(b *testing.B) {
				mem := objstore.NewMemory("bench", time.Now)
				b.SetBytes(storeLog(b, mem, path, 64<<20))
				c, err := New(Config{Copies: []Copy{{"bench", mem}}, Level: level.level, DryRun: true, Now: func() time.Time { return day0.Add(48 * time.Hour) }})
				if err != nil {
					b.Fatal(err)
				}
				var d *day
				for found, err := range c.days(b.Context(), "web") {
					if err != nil || d != nil {
						b.Fatal(err, "or more than one day")
					}
					d = found
				}
				jobs := makePlan(d, claims{}, c.rules(d))
				if len(jobs) != 1 {
					b.Fatalf("%d jobs", len(jobs))
				}
				b.ReportAllocs()
				for b.Loop() {
					made, err := c.merge(b.Context(), jobs[0])
					if err != nil {
						b.Fatal(err)
					}
					var out int64
					for _, s := range made {
						out += s.Size
					}
					b.ReportMetric(float64(out)/float64(jobs[0].Size), "size-ratio")
					b.ReportMetric(float64(len(jobs[0].Inputs)), "inputs")
				}
			})
		}
	}
}
