package segment

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

// nasty are the texts that every path has to carry byte for byte.
var nasty = []string{
	"", "plain", "100% %s %d %!", "a\x00b\x00", "crlf\r", "\xff\xfe not UTF-8 \xc3", "two\nlines", "\n", "\n\n\n",
	"ends in a newline\n", strings.Repeat("x", MaxRecord), strings.Repeat("long\n", 1000), "\x28\xb5\x2f\xfd", "OKLOGSEG",
}

// rec is a record in a comparable form.
type rec struct {
	ID     ulid.ULID
	Source string
	Text   string
	Piece  Piece
}

func walk(b *Block) (recs []rec) {
	for c := b.Cursor(); c.Left() > 0; {
		r := c.Next()
		recs = append(recs, rec{r.ID, r.Source.String(), string(r.Text), r.Piece})
	}
	return recs
}

// block makes a block of records in the order given.
func block(recs ...rec) *Block {
	b := &Block{Sources: Sources{}}
	for _, r := range recs {
		_, session, _ := SplitID(r.ID)
		if r.Source != "" {
			b.Sources[session], _ = ParseSource(strings.Fields(r.Source))
		}
		b.Append(r.ID, []byte(r.Text), r.Piece)
	}
	return b
}

func read(tb testing.TB, data []byte) (*Segment, []rec) {
	tb.Helper()
	d, err := NewDecoder()
	if err != nil {
		tb.Fatal(err)
	}
	seg := open(tb, data)
	var recs []rec
	in := seg.Input(d, bytes.NewReader(data))
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			return seg, recs
		}
		if err != nil {
			tb.Fatal(err)
		}
		recs = append(recs, walk(b)...)
	}
}

// random draws records in order: of several sessions and times, some with newlines, some pieces.
func random(r *rand.Rand, n int) []rec {
	counters := map[uint64]uint32{}
	recs := make([]rec, n)
	ms := uint64(1_790_000_000_000) + r.Uint64N(1000)
	for i := range recs {
		session := r.Uint64N(4) + 7
		recs[i] = rec{MakeID(ms, session, counters[session]), fmt.Sprintf("s=%d", session), texts(r), 0}
		if r.IntN(20) == 0 {
			recs[i].Piece = Piece(1 + r.IntN(3))
		}
		counters[session]++
		if r.IntN(3) == 0 {
			ms += r.Uint64N(5)
		}
	}
	slices.SortFunc(recs, func(a, b rec) int { return a.ID.Compare(b.ID) })
	return recs
}

func texts(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return nasty[r.IntN(10)]
	}
	return strings.Repeat("word ", r.IntN(30))
}

func TestIDs(t *testing.T) {
	for _, ms := range []uint64{0, 1, 1_790_000_000_000, MaxTime} {
		for _, session := range []uint64{0, 1, 0x1234_5678_9abc, MaxSession} {
			for _, counter := range []uint32{0, 1, 1<<32 - 1} {
				id := MakeID(ms, session, counter)
				if a, b, c := SplitID(id); a != ms || b != session || c != counter {
					t.Errorf("SplitID(MakeID(%d, %d, %d)) = %d, %d, %d", ms, session, counter, a, b, c)
				}
				if id.Time() != ms {
					t.Errorf("the ULID %s has time %d, want %d", id, id.Time(), ms)
				}
				if back, err := ulid.ParseStrict(id.String()); err != nil || back != id {
					t.Errorf("ParseStrict(%s) = %s, %v", id, back, err)
				}
			}
		}
	}
}

// sameBare verifies that bare has the records of b, without their texts.
func sameBare(t *testing.T, b, bare *Block) {
	t.Helper()
	want, have := walk(b), walk(bare)
	for i := range want {
		want[i].Text = ""
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Fatalf("without text: %s", diff)
	}
}

// A block decoded without its text has the same records, and runs lead to the same IDs.
func TestBare(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 77))
		var out bytes.Buffer
		write(t, WriterConfig{BlockSize: 1 + r.IntN(1000)}, &out, block(random(r, 1+r.IntN(300))...))
		if err := readAll(t, out.Bytes()); err != nil {
			t.Fatal(err)
		}
		d, err := NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		seg, err := d.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range seg.Blocks {
			var bare Block
			raw := slices.Clone(out.Bytes()[info.Offset:][:info.Size()])
			if err := d.Bare(&bare, seg, info, raw); err != nil {
				t.Fatal(err)
			}
			c := bare.Cursor()
			c.Skip(r.IntN(info.Records))
			n := r.IntN(c.Left()) + 1
			var have []ulid.ULID
			for run := range c.Runs(n) {
				for i := range run.N {
					have = append(have, run.ID(i))
				}
			}
			var want []ulid.ULID
			for range n {
				want = append(want, c.Next().ID)
			}
			if !slices.Equal(want, have) {
				t.Fatalf("runs of %d records: want %v, have %v", n, want, have)
			}
			raw[r.IntN(len(raw))] ^= 1
			if err := d.Bare(&bare, seg, info, raw); !errors.Is(err, ErrCorrupt) || bare.Len() > 0 {
				t.Fatalf("a flipped bit: %v, %d records", err, bare.Len())
			}
		}
	}
}

func TestMinter(t *testing.T) {
	entropy := bytes.NewReader([]byte{0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 4})
	var drawn []uint64
	m, err := NewMinter(entropy, func(s uint64) { drawn = append(drawn, s) })
	if err != nil {
		t.Fatal(err)
	}
	want := func(got Run, err error, want Run) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	r, err := m.Now(100, 5)
	want(r, err, Run{100, 9, 0, 5})
	r, err = m.Now(90, 1) // the clock stepped back
	want(r, err, Run{100, 9, 5, 1})
	r, err = m.At(50, 2) // a time parsed from the record is kept
	want(r, err, Run{50, 9, 6, 2})
	r, err = m.Now(1<<60, 1) // absurd
	want(r, err, Run{MaxTime, 9, 8, 1})

	// A counter that runs out: the run is cut, and the next session keeps the order.
	m, err = NewMinter(entropy, func(s uint64) { drawn = append(drawn, s) })
	if err != nil {
		t.Fatal(err)
	}
	r, err = m.Now(100, 1<<32-2)
	want(r, err, Run{100, 3, 0, 1<<32 - 2})
	r, err = m.Now(100, 5)
	want(r, err, Run{100, 3, 1<<32 - 2, 2})
	r, err = m.Now(100, 3)
	want(r, err, Run{101, 4, 0, 3})
	if diff := cmp.Diff([]uint64{9, 3, 4}, drawn); diff != "" {
		t.Errorf("sessions drawn (-want +got):\n%s", diff)
	}
	if _, err := m.Now(100, 1<<31); err != nil {
		t.Error(err)
	}
	if _, err := NewMinter(entropy, nil); !errors.Is(err, io.EOF) {
		t.Errorf("NewMinter without entropy: %v", err)
	}
}

// TestMinterHoldsSmallStepsOnly lets clocks be wrong.
func TestMinterHoldsSmallStepsOnly(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(m *Minter)
		now   uint64
		ahead bool
		want  Run
	}{
		{"held", func(m *Minter) { m.Now(50_000, 1) }, 40_000, false, Run{50_000, 1, 1, 1}},
		{"too far", func(m *Minter) { m.Now(50_000, 1) }, 39_999, true, Run{39_999, 2, 0, 1}},
		{"parsed before", func(m *Minter) { m.At(1<<40, 1) }, 40_000, true, Run{40_000, 2, 0, 1}},
		{"once the greatest", func(m *Minter) { m.Now(1<<63, 1) }, 40_000, true, Run{40_000, 2, 0, 1}},
		{"after", func(m *Minter) { m.After(40_000) }, 40_000, false, Run{40_001, 1, 0, 1}},
		{"after, held", func(m *Minter) { m.After(40_000) }, 30_001, false, Run{40_001, 1, 0, 1}},
		{"after, too far", func(m *Minter) { m.After(40_000) }, 30_000, true, Run{30_000, 1, 0, 1}}, // nothing was minted in session 1
		{"after the greatest", func(m *Minter) { m.After(MaxTime) }, MaxTime, false, Run{MaxTime, 1, 0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := NewMinter(bytes.NewReader([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2}), nil)
			if err != nil {
				t.Fatal(err)
			}
			c.first(m)
			if m.Ahead(c.now) != c.ahead {
				t.Errorf("Ahead is %v", !c.ahead)
			}
			if r, err := m.Now(c.now, 1); err != nil || r != c.want {
				t.Errorf("have %v, %v, want %v", r, err, c.want)
			}
			if m.Ahead(c.now) {
				t.Error("still ahead")
			}
			next := c.want
			next.Counter++
			if r, err := m.Now(c.now, 1); err != nil || r != next {
				t.Errorf("then %v, %v, want %v", r, err, next)
			}
		})
	}
}

func TestNastyRecordsSurvive(t *testing.T) {
	for _, size := range []int{1, 100, BlockSize} {
		var recs []rec
		for i, s := range nasty {
			recs = append(recs, rec{MakeID(1000, 7, uint32(i)), "host=a", s, Piece(i % 4)})
		}
		var out bytes.Buffer
		name := write(t, WriterConfig{BlockSize: size}, &out, block(recs...))
		seg, got := read(t, out.Bytes())
		if diff := cmp.Diff(recs, got); diff != "" {
			t.Errorf("block size %d (-want +got):\n%.2000s", size, diff)
		}
		if name.Records != int64(len(recs)) || seg.Records() != name.Records || seg.First() != name.First || seg.Last() != name.Last {
			t.Errorf("block size %d: name %v does not fit the segment", size, name)
		}
	}
}

// Whatever way records come in and whatever the block size, they come out again.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		want := random(r, 1+r.IntN(300))
		w, err := NewWriter(WriterConfig{BlockSize: 1 + r.IntN(5000), Level: Level(r.IntN(2)), Generation: uint8(r.IntN(3))})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		lineage := Lineage{After: MakeID(1, 2, 3), Through: MakeID(MaxTime, MaxSession, 5), Replaces: []string{"replaced/a", "replaced/b"}}
		w.Reset(&out)
		w.Replace(lineage)
		for rest := want; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			b := block(rest[:n]...)
			for c := b.Cursor(); c.Left() > 0; {
				if err := w.Take(&c, 1+r.IntN(c.Left())); err != nil {
					t.Fatal(err)
				}
			}
			rest = rest[n:]
		}
		name, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		seg, got := read(t, out.Bytes())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		if diff := cmp.Diff(lineage, seg.Lineage); diff != "" {
			t.Errorf("lineage (-want +got):\n%s", diff)
		}
		var text int64
		for _, r := range want {
			text += int64(len(r.Text)) + 1
		}
		if name.RawBytes != text || seg.Generation != name.Generation {
			t.Errorf("seed %d: name says %d bytes, generation %d; want %d, %d", seed, name.RawBytes, name.Generation, text, seg.Generation)
		}
	}
}

// A block of empty lines has more records than text allows for elsewhere.
func TestBlocksKeepTheRecordLimit(t *testing.T) {
	const n = MaxBlockRecords + 10
	b := &Block{}
	b.AppendLines(Run{Time: 1000, Session: 1, N: n}, bytes.Repeat([]byte{'\n'}, n))
	var out bytes.Buffer
	write(t, WriterConfig{BlockSize: n}, &out, b)
	if seg, got := read(t, out.Bytes()); len(got) != n || len(seg.Blocks) != 2 {
		t.Errorf("%d records in %d blocks, want %d in 2", len(got), len(seg.Blocks), n)
	}
}

func TestSameRecordsSameBytes(t *testing.T) {
	recs := random(rand.New(rand.NewPCG(1, 1)), 500)
	var a, b bytes.Buffer
	na := write(t, WriterConfig{BlockSize: 2000}, &a, block(recs...))
	nb := write(t, WriterConfig{BlockSize: 2000}, &b, block(recs[:200]...), block(recs[200:]...))
	if !bytes.Equal(a.Bytes(), b.Bytes()) || na != nb {
		t.Errorf("the same records, handed over differently, are %s and %s", na, nb)
	}
}

func TestSort(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		want := random(r, 1+r.IntN(100))
		mixed := slices.Clone(want)
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		b := block(mixed...)
		b.Sort()
		if diff := cmp.Diff(want, walk(b)); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w.Reset(io.Discard)
	if _, err := w.Finish(); err == nil {
		t.Error("a segment without records was written")
	}
	w.Reset(io.Discard)
	b := block(rec{ID: MakeID(5, 1, 1)}, rec{ID: MakeID(5, 1, 2)})
	for range 2 {
		c := b.Cursor()
		err = w.Take(&c, 2)
	}
	if err == nil {
		t.Error("the same records were written twice into one segment")
	}
	if _, err := NewWriter(WriterConfig{BlockSize: MaxBlockText + 1}); err == nil {
		t.Error("a block size over the limit was taken")
	}
	fail := errors.New("disk full")
	w.Reset(failing{fail})
	c := b.Cursor()
	if err := w.Take(&c, 2); err == nil {
		_, err = w.Finish()
		if !errors.Is(err, fail) {
			t.Errorf("got %v, want the writer's error", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestDays(t *testing.T) {
	const day = uint64(24 * time.Hour / time.Millisecond)
	var recs []rec
	for _, ms := range []uint64{0, day - 1, day, day + 1, 5 * day, 20000*day - 1, 20000 * day, MaxTime - 1, MaxTime} {
		for c := range uint32(3) {
			recs = append(recs, rec{MakeID(ms, 3, 10*c), "", fmt.Sprint(ms, c), 0})
		}
	}
	f := func(maxText int64, wantSegments int) {
		t.Helper()
		var got []rec
		segments := 0
		d, err := NewDays(WriterConfig{}, maxText, func(n Name, data []byte) error {
			segments++
			_, r := read(t, data)
			if a, b := r[0].ID.Time()/day, r[len(r)-1].ID.Time()/day; a != b {
				t.Errorf("a segment spans the days %d to %d", a, b)
			}
			got = append(got, r...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c := block(recs...).Cursor()
		if err := d.Take(&c, len(recs)); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(recs, got); diff != "" {
			t.Errorf("max %d (-want +got):\n%s", maxText, diff)
		}
		if segments != wantSegments {
			t.Errorf("max %d: %d segments, want %d", maxText, segments, wantSegments)
		}
	}
	f(1<<20, 6)
	if _, err := NewDays(WriterConfig{}, 0, nil); err == nil {
		t.Error("segments of no size were accepted")
	}
}

func TestDaysCutsBySize(t *testing.T) {
	b := &Block{}
	line := []byte(strings.Repeat("x", 999) + "\n")
	for i := range 1000 {
		b.AppendLines(Run{1_790_000_000_000, 1, uint32(i), 1}, line)
	}
	var sizes []int64
	d, err := NewDays(WriterConfig{BlockSize: 10_000}, 100_000, func(n Name, _ []byte) error {
		sizes = append(sizes, n.RawBytes)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := b.Cursor()
	if err := errors.Join(d.Take(&c, 1000), d.Close()); err != nil {
		t.Fatal(err)
	}
	if want := slices.Repeat([]int64{100_000}, 10); !slices.Equal(sizes, want) {
		t.Errorf("segments of %v bytes, want %v", sizes, want)
	}
}

// Tables that are full end a segment: what is written can be read, whatever the number and the size of the sources.
func TestDaysCutsByTables(t *testing.T) {
	f := func(name string, records int, source func(i int) Source) {
		t.Helper()
		b := &Block{Sources: Sources{}}
		for i := range records {
			b.Append(MakeID(1000, uint64(i), 0), []byte("x"), 0)
			b.Sources[uint64(i)] = source(i)
		}
		n, segments := 0, 0
		d, err := NewDays(WriterConfig{}, 1<<30, func(_ Name, data []byte) error {
			segments++
			seg, recs := read(t, data)
			for _, r := range recs {
				if want := source(n).String(); r.Source != want {
					t.Fatalf("%s: record %d has source %.100q, want %.100q", name, n, r.Source, want)
				}
				n++
			}
			if m := seg.Memory(); m < int64(64*len(seg.sessions)) || m > 64<<20 {
				t.Errorf("%s: %d bytes for %d sessions", name, m, len(seg.sessions))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c := b.Cursor()
		if err := errors.Join(d.Take(&c, records), d.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n != records || segments < 2 {
			t.Errorf("%s: %d records in %d segments, want %d in several", name, n, segments, records)
		}
	}
	f("sessions", MaxSessions+5, func(int) Source { return nil })
	f("sources", MaxSources+5, func(i int) Source { return Source{{"n", fmt.Sprint(i)}} })
	f("large sources", 5000, func(i int) Source { return Source{{"n", fmt.Sprint(i)}, {"v", strings.Repeat("v", MaxAttrValue)}} })
	f("attributes", 4000, func(i int) Source {
		s := Source{{"n", fmt.Sprint(i)}}
		for k := range 40 {
			s = s.With(fmt.Sprintf("a%02d", k), "")
		}
		return s
	})
	w, err := NewWriter(WriterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w.Reset(io.Discard)
	b := &Block{}
	for i := range MaxSessions + 1 {
		b.Append(MakeID(1000, uint64(i), 0), nil, 0)
	}
	c := b.Cursor()
	if err := w.Take(&c, b.Len()); !errors.Is(err, errFull) {
		t.Errorf("a writer took %d sessions: %v", b.Len(), err)
	}
}

func TestKeys(t *testing.T) {
	at := func(s string) ulid.ULID {
		tm, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return MakeID(uint64(tm.UnixMilli()), 1, 2)
	}
	f := func(first, last string, generation uint8, dir string) {
		t.Helper()
		n := Name{at(first), at(last), generation, 12, 345, [8]byte{0xab, 7: 1}}
		key := n.Key("web.front-end")
		if want := fmt.Sprintf("%s%s-%s-g%d-r12-b345-ab00000000000001.zst", dir, n.First, n.Last, generation); key != want {
			t.Errorf("key %s, want %s", key, want)
		}
		topic, back, err := ParseKey(key)
		if err != nil || topic != "web.front-end" || back != n {
			t.Errorf("ParseKey(%s) = %q, %v, %v", key, topic, back, err)
		}
	}
	f("2026-11-22T10:00:00Z", "2026-11-22T10:59:59Z", 0, "web.front-end/2026-11-22/10/")
	f("2026-11-22T10:59:59Z", "2026-11-22T11:00:00Z", 0, "web.front-end/2026-11-22/")
	f("2026-11-22T10:00:00Z", "2026-11-22T10:00:01Z", 1, "web.front-end/2026-11-22/")
	f("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0, "web.front-end/1970-01-01/00/")

	good := Name{at("2026-11-22T10:00:00Z"), at("2026-11-22T10:00:01Z"), 0, 12, 345, [8]byte{}}.Key("t")
	for _, bad := range []string{
		"", "x", "t/x", good + "x", "t/" + good, strings.ToUpper(good), strings.Replace(good, "/10/", "/11/", 1),
		strings.Replace(good, "/10/", "/", 1), strings.Replace(good, "2026-11-22", "2026-11-23", 1),
		strings.Replace(good, "-r12-", "-r012-", 1), strings.Replace(good, "-r12-", "-r-12-", 1), strings.Replace(good, "-g0-", "-g256-", 1),
		strings.Replace(good, "t/", "T/", 1), strings.Replace(good, "-b345", "", 1), strings.Replace(good, "0000.zst", "000.zst", 1),
		strings.Replace(good, "01", "81", 1), strings.Repeat("a", 5000),
	} {
		if topic, n, err := ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%.200q) = %q, %v, want an error", bad, topic, n)
		}
	}
}

func TestCheckTopic(t *testing.T) {
	for _, ok := range []string{"a", "0", "web", "web.front-end_2", strings.Repeat("a", MaxTopic)} {
		if err := CheckTopic(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", ".a", "a.", "a..b", "-a", "_a", "A", "a b", "a/b", "a*", "a>", "ä", "a\x00", strings.Repeat("a", MaxTopic+1)} {
		if err := CheckTopic(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("CheckTopic(%q) = %v, want ErrTopic", bad, err)
		}
	}
}

func TestParseSource(t *testing.T) {
	s, err := ParseSource([]string{"pod=x-1", "host=a=b", "empty="})
	if err != nil || s.String() != "empty= host=a=b pod=x-1" || s.Get("host") != "a=b" || s.Get("none") != "" {
		t.Errorf("got %q, %v", s, err)
	}
	if got := s.With("host", "c").With("a", "1").String(); got != "a=1 empty= host=c pod=x-1" {
		t.Errorf("With: got %q", got)
	}
	for _, bad := range [][]string{{"x"}, {"=x"}, {"a=1", "a=2"}, {strings.Repeat("k", MaxAttrKey+1) + "="}, {"k=" + strings.Repeat("v", MaxAttrValue+1)}} {
		if s, err := ParseSource(bad); err == nil {
			t.Errorf("ParseSource(%.40q) = %v, want an error", bad, s)
		}
	}
}

// Any tool that knows zstd gets the lines back.
func TestPlainTextInside(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Log("no zstd command here: reading with the library's stream decoder instead")
	}
	recs := random(rand.New(rand.NewPCG(3, 3)), 1000)
	var want strings.Builder
	for _, r := range recs {
		want.WriteString(r.Text + "\n")
	}
	var out bytes.Buffer
	write(t, WriterConfig{BlockSize: 3000}, &out, block(recs...))
	var got []byte
	if zstd != "" {
		cmd := exec.Command(zstd, "-dc")
		cmd.Stdin = &out
		got, err = cmd.Output()
	} else {
		got, err = decompressStream(&out)
	}
	if err != nil || string(got) != want.String() {
		t.Errorf("zstd -dc printed %d bytes, %v, want the %d of the text", len(got), err, want.Len())
	}
}

var update = flag.Bool("update", false, "write the golden file of the current version if it is not there yet")

// goldenRecords are what the golden files hold; they never change.
func goldenRecords() *Block {
	const ms = 1_790_000_000_000
	return block(
		rec{MakeID(ms, 0xabc, 0), "app=web host=a", "first", 0},
		rec{MakeID(ms, 0xabc, 1), "app=web host=a", "", 0},
		rec{MakeID(ms+1, 0xabc, 2), "app=web host=a", "two\nlines", 0},
		rec{MakeID(ms+1, 0xdef, 0), "", "cut in", Continued},
		rec{MakeID(ms+1, 0xdef, 1), "", " two", Continues},
	)
}

// Files written by every version ever released must be read for ever, with and without a filter.
func TestGoldenFiles(t *testing.T) {
	path := func(version int, filter bool) string {
		if filter {
			return filepath.Join("testdata", fmt.Sprintf("golden-v%d-filter.zst", version))
		}
		return filepath.Join("testdata", fmt.Sprintf("golden-v%d.zst", version))
	}
	for _, filter := range []bool{false, true} {
		current := path(Version, filter)
		if _, err := os.Stat(current); *update && os.IsNotExist(err) {
			var out bytes.Buffer
			write(t, WriterConfig{Filter: filter}, &out, goldenRecords())
			if err := os.WriteFile(current, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for v := 1; v <= Version; v++ {
			data, err := os.ReadFile(path(v, filter))
			if err != nil {
				t.Fatalf("version %d has no golden file: %v", v, err)
			}
			seg, got := read(t, data)
			if !cmp.Equal(walk(goldenRecords()), got) {
				t.Errorf("version %d (-want +got):\n%s", v, cmp.Diff(walk(goldenRecords()), got))
			}
			if (seg.Filter != nil) != filter {
				t.Errorf("version %d: has a filter: %v (%v), want %v", v, seg.Filter != nil, seg.FilterErr, filter)
			} else if filter && (!ask(t, data, seg, "CUT IN").Has(0) || ask(t, data, seg, "cut out").Has(0)) {
				t.Errorf("version %d: the filter does not answer as it did", v)
			}
		}
	}
}

// A packed block gives its records back in the order that they had: also the opposite one.
func TestPack(t *testing.T) {
	p, err := NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 7))
		want := random(r, 1+r.IntN(3000))
		if seed%2 == 1 {
			slices.Reverse(want)
		}
		if seed%10 == 0 {
			want = append(want, rec{MakeID(MaxTime, 7, 9), "s=7", strings.Repeat("long", packSize), Continued})
		}
		packed := p.Pack(block(want...))
		var got []rec
		var b Block
		for {
			first, ok := packed.Next()
			if !ok {
				break
			}
			if err := packed.Unpack(d, &b); err != nil {
				t.Fatal(err)
			}
			part := walk(&b)
			if part[0].ID != first {
				t.Errorf("a part begins with %s, announced was %s", part[0].ID, first)
			}
			got = append(got, part...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%.2000s", seed, diff)
		}
		if packed.Size() != 0 {
			t.Errorf("%d bytes are left", packed.Size())
		}
	}
}

// Segments that end by their compressed size, as a rewrite makes them, tell what they replace stretch by stretch.
func TestDaysTellLineage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var b Block
	b.Sources = Sources{}
	text := make([]byte, 900)
	for i := range 500 {
		for j := range text {
			text[j] = byte(r.Uint32()%200) + 32
		}
		b.Append(MakeID(1_790_000_000_000+uint64(i), 7, uint32(i)), text, 0)
	}
	w, err := NewWriter(WriterConfig{BlockSize: 10_000, Level: Best, Generation: 1, Filter: true})
	if err != nil {
		t.Fatal(err)
	}
	var after ulid.ULID
	end := MakeID(MaxTime, 0, 0)
	var segs []*Segment
	d, err := w.Days(DaysConfig{MaxSize: 100_000, Room: 10, Lineage: func(last ulid.ULID, final bool) Lineage {
		l := Lineage{After: after, Through: last, Replaces: []string{"x"}}
		if final {
			l.Through = end
		}
		after = l.Through
		return l
	}, Emit: func(_ Name, data []byte) error {
		seg, _ := read(t, data)
		segs = append(segs, seg)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := b.Cursor()
	if err := d.Take(&c, c.Left()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if len(segs) < 3 || len(segs) > 6 {
		t.Fatalf("%d segments of 450 kB at 100 kB each", len(segs))
	}
	var at ulid.ULID
	for i, s := range segs {
		last := i == len(segs)-1
		if s.Lineage.After != at || !last && s.Lineage.Through != s.Last() || last && s.Lineage.Through != end {
			t.Errorf("segment %d from %s to %s: lineage from %s through %s", i, s.First(), s.Last(), s.Lineage.After, s.Lineage.Through)
		}
		at = s.Lineage.Through
	}
	if _, err := w.Days(DaysConfig{}); err == nil {
		t.Error("Days without a bound")
	}
}
