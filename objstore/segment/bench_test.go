package segment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// corpora are the logs that benchmarks measure on: the files NAME.log in the folder named by CORPORA,
// or the sample that the project ships.
func corpora(tb testing.TB) map[string][]byte {
	tb.Helper()
	pattern := "../../testdata/sample/*.log"
	if dir := os.Getenv("CORPORA"); dir != "" {
		pattern = filepath.Join(dir, "*.log")
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no logs in %s (%v): set CORPORA to a folder of NAME.log files", pattern, err)
	}
	logs := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		logs[filepath.Base(f)] = b[:min(len(b), 64<<20)]
	}
	return logs
}

// fillBlocks cuts text into blocks of whole lines as a forwarder that reads 150 MB/s does: a millisecond each 150 kB.
func fillBlocks(text []byte, size int) []*Block {
	src := rand.New(rand.NewPCG(1, 2))
	m, _ := NewMinter(randReader{src}, nil)
	sources := Sources{m.Session(): {{"host", "a"}}}
	ms := uint64(1_790_000_000_000)
	var blocks []*Block
	b := &Block{Sources: sources}
	for len(text) > 0 {
		n := min(len(text), 150_000)
		if i := bytes.LastIndexByte(text[:n], '\n'); i >= 0 {
			n = i + 1
		} else if i := bytes.IndexByte(text, '\n'); i >= 0 {
			n = i + 1
		} else {
			break
		}
		if len(b.Text)+n > size && b.Len() > 0 {
			blocks = append(blocks, b)
			b = &Block{Sources: sources}
		}
		r, _ := m.Now(ms, uint32(bytes.Count(text[:n], newline)))
		b.AppendLines(r, text[:n])
		ms++
		text = text[n:]
	}
	return append(blocks, b)
}

type randReader struct{ *rand.Rand }

func (r randReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func write(tb testing.TB, cfg WriterConfig, out *bytes.Buffer, blocks ...*Block) Name {
	tb.Helper()
	w, err := NewWriter(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	w.Reset(out)
	for _, b := range blocks {
		c := b.Cursor()
		if err := w.Take(&c, b.Len()); err != nil {
			tb.Fatal(err)
		}
	}
	name, err := w.Finish()
	if err != nil {
		tb.Fatal(err)
	}
	return name
}

// BenchmarkWrite writes each corpus (its first 64 MiB) as one segment, and reports its size in percent of the text.
func BenchmarkWrite(b *testing.B) {
	for name, text := range corpora(b) {
		for _, size := range []int{1 << 20, 2 << 20, 4 << 20} {
			b.Run(fmt.Sprintf("%s/block=%dMiB", name, size>>20), func(b *testing.B) {
				blocks := fillBlocks(text, size)
				w, err := NewWriter(WriterConfig{BlockSize: size})
				if err != nil {
					b.Fatal(err)
				}
				var out bytes.Buffer
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					out.Reset()
					w.Reset(&out)
					for _, blk := range blocks {
						c := blk.Cursor()
						if err := w.Take(&c, blk.Len()); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := w.Finish(); err != nil {
						b.Fatal(err)
					}
				}
				ids := 0
				for _, i := range w.index {
					ids += i.IDsSize
				}
				b.ReportMetric(100*float64(out.Len())/float64(len(text)), "%text")
				b.ReportMetric(100*float64(ids)/float64(out.Len()), "%ids")
			})
		}
	}
}

// BenchmarkRead decodes a segment: its text alone, and with its IDs.
func BenchmarkRead(b *testing.B) {
	for name, text := range corpora(b) {
		var out bytes.Buffer
		write(b, WriterConfig{}, &out, fillBlocks(text, BlockSize)...)
		d, err := NewDecoder()
		if err != nil {
			b.Fatal(err)
		}
		seg, err := d.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			b.Fatal(err)
		}
		for _, ids := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/ids=%v", name, ids), func(b *testing.B) {
				var blk Block
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					for _, info := range seg.Blocks {
						raw := out.Bytes()[info.Offset:][:info.Size()]
						if err := d.Text(&blk, info, raw); err != nil {
							b.Fatal(err)
						}
						if ids {
							if err := d.IDs(&blk, seg, info, raw); err != nil {
								b.Fatal(err)
							}
						}
					}
				}
			})
		}
	}
}

// BenchmarkMerge merges batches of one source (they follow each other) and of 64 (their records alternate).
func BenchmarkMerge(b *testing.B) {
	for name, text := range corpora(b) {
		for _, ways := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/ways=%d", name, ways), func(b *testing.B) {
				var segs []*bytes.Buffer
				part := len(text) / ways
				for i := range ways {
					for _, blk := range fillBlocks(text[i*part:(i+1)*part], BlockSize) {
						if blk.Len() == 0 {
							continue
						}
						for k := range blk.Runs {
							blk.Runs[k].Session = uint64(i)
						}
						blk.Sources = Sources{uint64(i): nil}
						var out bytes.Buffer
						write(b, WriterConfig{}, &out, blk)
						segs = append(segs, &out)
					}
				}
				w, _ := NewWriter(WriterConfig{})
				var out bytes.Buffer
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					d, _ := NewDecoder()
					var ins []Input
					for _, s := range segs {
						seg, err := d.Open(bytes.NewReader(s.Bytes()), int64(s.Len()))
						if err != nil {
							b.Fatal(err)
						}
						ins = append(ins, seg.Input(d, bytes.NewReader(s.Bytes())))
					}
					out.Reset()
					w.Reset(&out)
					if err := Merge(ins, false, w.Take); err != nil {
						b.Fatal(err)
					}
					if _, err := w.Finish(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
