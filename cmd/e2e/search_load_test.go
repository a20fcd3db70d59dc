package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// searchDay is when the logs are read: all on one day, a forwarder that reads 150 MB/s.
var searchDay = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// chunkSize is what is read in one millisecond.
const chunkSize = 150_000

// rawLog is a log as it lies in a folder, with what it is compared with.
type rawLog struct {
	topic  string
	path   string
	packed string // by zstd -3
	size   int64
	lines  int64
}

// rawLogs are the logs of the folder named by CORPORA, or else of the sample.
func rawLogs(tb testing.TB) (logs []rawLog) {
	tb.Helper()
	folder := os.Getenv("CORPORA")
	if folder == "" {
		_, here, _, _ := runtime.Caller(0)
		folder = filepath.Join(filepath.Dir(here), "../../testdata/sample")
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no logs in %s (%v): set CORPORA to a folder of NAME.log files", folder, err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			tb.Fatal(err)
		}
		topic := topicOf(strings.TrimSuffix(filepath.Base(path), ".log"))
		if err := segment.CheckTopic(topic); err != nil {
			tb.Fatalf("%s: %v: rename it", path, err)
		}
		if topic == topicAll || topic == topicMany || slices.ContainsFunc(logs, func(l rawLog) bool { return l.topic == topic }) {
			tb.Fatalf("%s: there is a topic %s already: rename it", path, topic)
		}
		logs = append(logs, rawLog{topic: topic, path: path, size: info.Size()})
	}
	return logs
}

// topicOf makes a topic's name of a file's.
func topicOf(name string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(name), "_"), "_-")
}

// pack has zstd compress a log, and counts its lines.
func (l *rawLog) pack(ctx context.Context, folder string) error {
	l.packed = filepath.Join(folder, l.topic+".zst")
	cmd := exec.CommandContext(ctx, "zstd", "-3", "-q", "-f", "-o", l.packed, l.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compress %s: %w: %s", l.path, err, out)
	}
	return l.chunks(func(text []byte) error {
		l.lines += int64(bytes.Count(text, []byte{'\n'}))
		return nil
	})
}

// chunks reads the log in pieces of whole lines.
func (l *rawLog) chunks(do func(text []byte) error) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachChunk(f, do)
}

// eachChunk reads whole lines, some chunkSize bytes at a time; a last line that has no newline gets one.
func eachChunk(r io.Reader, do func(text []byte) error) error {
	buf := make([]byte, 0, segment.MaxRecord+chunkSize+2)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)-1])
		buf = buf[:len(buf)+n]
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		if end && len(buf) > 0 && buf[len(buf)-1] != '\n' {
			buf = append(buf, '\n')
		}
		rest := buf
		for len(rest) > 0 {
			n := bytes.LastIndexByte(rest[:min(len(rest), chunkSize)], '\n') + 1
			if n == 0 {
				n = bytes.IndexByte(rest, '\n') + 1
			}
			if n == 0 {
				break
			}
			if n > chunkSize && n-1 > segment.MaxRecord {
				return fmt.Errorf("a line of %d bytes, the limit of a record is %d", n-1, segment.MaxRecord)
			}
			if err := do(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if end {
			return nil
		}
		if len(rest) > segment.MaxRecord {
			return fmt.Errorf("a line of more than %d bytes, the limit of a record", segment.MaxRecord)
		}
		buf = buf[:copy(buf, rest)]
	}
}

// stamper gives the lines of a log their IDs, as a forwarder does.
type stamper struct {
	minter *segment.Minter
	source segment.Source
	block  segment.Block
}

func newStamper(file string, session byte) (*stamper, error) {
	m, err := segment.NewMinter(bytes.NewReader(bytes.Repeat([]byte{session}, 64)), nil)
	if err != nil {
		return nil, err
	}
	return &stamper{minter: m, source: segment.Source{{Key: "file", Value: file}}}, nil
}

// stamp returns lines that were read at ms as records. They hold until the next call.
func (s *stamper) stamp(ms uint64, lines []byte) (segment.Cursor, error) {
	n := uint32(bytes.Count(lines, []byte{'\n'}))
	run, err := s.minter.Now(ms, n)
	if err != nil {
		return segment.Cursor{}, err
	}
	if run.N != n {
		return segment.Cursor{}, fmt.Errorf("%d IDs for %d lines", run.N, n)
	}
	s.block.Reset()
	s.block.Sources = segment.Sources{s.minter.Session(): s.source}
	s.block.AppendLines(run, lines)
	return s.block.Cursor(), nil
}

// stored adds up the segments of a topic.
type stored struct {
	segments int
	bytes    int64
}

func (s *stored) put(ctx context.Context, b objstore.Bucket, key string, data []byte) error {
	s.segments++
	s.bytes += int64(len(data))
	return b.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
}

// load stores the logs as one topic, one behind the other: as compaction leaves them, or as ingesters do.
func load(ctx context.Context, b objstore.Bucket, topic string, logs []rawLog, fresh bool) (s stored, err error) {
	cfg, size := segment.WriterConfig{Level: segment.Best, Generation: 1, Filter: true}, int64(1<<30)
	if fresh {
		cfg, size = segment.WriterConfig{Filter: true}, 64<<20
	}
	d, err := segment.NewDays(cfg, size, func(name segment.Name, data []byte) error {
		return s.put(ctx, b, name.Key(topic), data)
	})
	if err != nil {
		return s, err
	}
	ms := uint64(searchDay.UnixMilli())
	for i, l := range logs {
		in, err := newStamper(filepath.Base(l.path), byte(i+1))
		if err != nil {
			return s, err
		}
		err = l.chunks(func(text []byte) error {
			c, err := in.stamp(ms, text)
			if err != nil {
				return err
			}
			ms++
			return d.Take(&c, c.Left())
		})
		if err != nil {
			return s, fmt.Errorf("store %s: %w", l.path, err)
		}
	}
	return s, d.Close()
}

// Many small segments, each half a minute after the one before.
const (
	manySegments = 200
	manySize     = 4 << 20
	manyApart    = 30 * time.Second
)

// pieces cuts a text in many pieces of whole lines. A text that is too short for that begins anew; one
// that is much too short is cut in smaller ones.
func pieces(text []byte) (all [][]byte) {
	size := min(manySize, len(text)/(manySegments/4))
	for at := 0; len(all) < manySegments; {
		n := min(size, len(text)-at)
		n = max(bytes.LastIndexByte(text[at:at+n], '\n'), bytes.IndexByte(text[at:], '\n')) + 1
		if n == 0 { // the rest has no newline, or there is none
			if at == 0 {
				return nil
			}
			at = 0
			continue
		}
		all = append(all, text[at:at+n])
		at += n
	}
	return all
}

// loadMany stores pieces as a fresh segment each.
func loadMany(ctx context.Context, b objstore.Bucket, topic string, all [][]byte) (s stored, err error) {
	w, err := segment.NewWriter(segment.WriterConfig{Filter: true})
	if err != nil {
		return s, err
	}
	in, err := newStamper("many", 1)
	if err != nil {
		return s, err
	}
	var out bytes.Buffer
	for i, piece := range all {
		ms := uint64(searchDay.Add(time.Duration(i) * manyApart).UnixMilli())
		out = bytes.Buffer{}
		w.Reset(&out)
		err := eachChunk(bytes.NewReader(piece), func(text []byte) error {
			c, err := in.stamp(ms, text)
			if err != nil {
				return err
			}
			ms++
			return w.Take(&c, c.Left())
		})
		if err != nil {
			return s, err
		}
		name, err := w.Finish()
		if err != nil {
			return s, err
		}
		if err := s.put(ctx, b, name.Key(topic), out.Bytes()); err != nil {
			return s, err
		}
	}
	return s, nil
}

// newestOf is the newest lines with a needle, the newest first, as they are printed.
func newestOf(all [][]byte, needle string, most int) (out []byte) {
	for _, piece := range slices.Backward(all) {
		var found [][]byte
		for line := range bytes.Lines(piece) {
			if bytes.Contains(line, []byte(needle)) {
				found = append(found, line)
			}
		}
		for _, line := range slices.Backward(found) {
			if most == 0 {
				return out
			}
			out, most = append(out, line...), most-1
		}
	}
	return out
}

// loads runs what loads, as much of it at once as there are processors.
func loads(ctx context.Context, all ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range all {
		g.Go(func() error { return f(ctx) })
	}
	return g.Wait()
}

func TestChunks(t *testing.T) {
	long := strings.Repeat("x", segment.MaxRecord)
	for _, text := range []string{
		"", "a\n", "a", "\n\n", "a\n\nb", long + "\n", long, long + "\n" + long + "\nb",
		strings.Repeat("0123456789\n", 300_000), strings.Repeat(long[:chunkSize]+"\n", 20),
	} {
		var have []byte
		err := eachChunk(strings.NewReader(text), func(b []byte) error {
			if len(b) == 0 || b[len(b)-1] != '\n' || len(b) > chunkSize && bytes.Count(b, []byte{'\n'}) > 1 {
				t.Errorf("a chunk of %d bytes", len(b))
			}
			have = append(have, b...)
			return nil
		})
		want := text
		if text != "" && !strings.HasSuffix(text, "\n") {
			want += "\n"
		}
		if err != nil || string(have) != want {
			t.Errorf("%d bytes of %d: %v", len(have), len(want), err)
		}
	}
	for _, text := range []string{long + "x", long + "x\n", "a\n" + long + long + long} {
		if err := eachChunk(strings.NewReader(text), func([]byte) error { return nil }); err == nil {
			t.Errorf("%d bytes without a newline pass", len(text))
		}
	}
}

func TestPieces(t *testing.T) {
	for _, lines := range []int{1, 10, 199, 1000, 100_000} {
		var text []byte
		for i := range lines {
			text = fmt.Appendf(text, "line %d\n", i)
		}
		all := pieces(text)
		if len(all) != manySegments {
			t.Fatalf("%d lines in %d pieces", lines, len(all))
		}
		whole := bytes.Join(all, nil)
		for again := text; len(whole) > 0; whole = whole[min(len(again), len(whole)):] {
			if !bytes.HasPrefix(again, whole) && !bytes.HasPrefix(whole, again) {
				t.Fatalf("%d lines: the pieces are not the text", lines)
			}
		}
	}
	if all := pieces([]byte("no newline")); all != nil {
		t.Errorf("%d pieces of nothing", len(all))
	}
	have := newestOf([][]byte{[]byte("a1\nb\n"), []byte("a2\na3\nb\n")}, "a", 3)
	if want := "a3\na2\na1\n"; string(have) != want {
		t.Errorf("want %q, have %q", want, have)
	}
}
