package segment

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func decompressStream(r io.Reader) ([]byte, error) {
	z, err := zstd.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return io.ReadAll(z)
}

func seeds(f *testing.F) [][]byte {
	f.Helper()
	var all [][]byte
	for seed := range uint64(4) {
		var out bytes.Buffer
		write(f, WriterConfig{BlockSize: 500}, &out, block(random(rand.New(rand.NewPCG(seed, 5)), 30)...))
		all = append(all, out.Bytes())
	}
	var out bytes.Buffer
	write(f, WriterConfig{}, &out, goldenRecords())
	return append(all, out.Bytes())
}

// readAll decodes everything there is and fails the test only if what comes out breaks a promise.
func readAll(t *testing.T, data []byte) error {
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	seg, err := d.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		if !IsDamage(err) {
			t.Fatalf("an error that is not about damage: %v", err)
		}
		return err
	}
	var b, bare Block
	for _, info := range seg.Blocks {
		raw := data[info.Offset:][:info.Size()]
		bareErr := d.Bare(&bare, seg, info, raw)
		if bareErr != nil && !IsDamage(bareErr) {
			t.Fatalf("an error that is not about damage: %v", bareErr)
		}
		for c := bare.Cursor(); c.Left() > 0; {
			c.Next()
		}
		runs, alone := d.Runs(seg, info, raw[info.TextSize:])
		if alone != nil && !IsDamage(alone) {
			t.Fatalf("an error that is not about damage: %v", alone)
		}
		if err := d.Block(&b, seg, info, raw); err != nil {
			if !IsDamage(err) {
				t.Fatalf("an error that is not about damage: %v", err)
			}
			return err
		}
		if alone != nil || !slices.Equal(runs, b.Runs) {
			t.Fatalf("the IDs alone: %v, %v; with the text: %v", runs, alone, b.Runs)
		}
		n := 0
		for c := b.Cursor(); c.Left() > 0; n++ {
			c.Next()
		}
		if n != info.Records || !b.Sorted() {
			t.Fatalf("walked %d records of %d, sorted %v", n, info.Records, b.Sorted())
		}
		if bareErr != nil {
			t.Fatalf("without text, a sound block has error %v", bareErr)
		}
		sameBare(t, &b, &bare)
	}
	return nil
}

// FuzzSegment feeds any bytes to the reader.
func FuzzSegment(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) { _ = readAll(t, data) })
}

// FuzzColumns feeds any bytes to the decoders behind the checksums.
func FuzzColumns(f *testing.F) {
	b := goldenRecords()
	f.Add(appendIDs(nil, b, map[uint64]uint32{0xabc: 0, 0xdef: 1}), b.Text)
	f.Add(appendIndex(nil, []BlockInfo{{TextSize: 1, RawSize: 5, Records: 2}}), []byte("a\nb\n"))
	var tab tables
	tab.reset()
	tab.add(0xabc, b.Sources[0xabc])
	tab.add(0xdef, b.Sources[0xdef])
	f.Add(tab.append(nil), []byte("\n"))
	f.Add(Lineage{Through: goldenRecords().Last(), Replaces: []string{"a", "b"}}.append(nil), []byte("\n"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		_, _ = decodeIndex(data, int64(len(text)))
		_, _, _ = decodeSources(data)
		_, _ = decodeLineage(data)
		b := Block{Text: text}
		if decodeIDs(&b, data, []uint64{0xabc, 0xdef}) != nil || b.check() != nil {
			return
		}
		var back Block
		for c := b.Cursor(); c.Left() > 0; {
			c.AppendTo(&back, 1+len(text)%c.Left())
		}
		if !bytes.Equal(back.Text, text) || back.Len() != b.Len() {
			t.Fatal("a block that passed check does not copy whole")
		}
	})
}

// FuzzKey feeds any text to ParseKey.
func FuzzKey(f *testing.F) {
	f.Add("t/2026-11-22/10/01KAP3X7Z80000000000000000-01KAP3X7Z80000000000000000-g0-r1-b1-0000000000000000.zst")
	f.Fuzz(func(t *testing.T, key string) {
		if topic, n, err := ParseKey(key); err == nil && n.Key(topic) != key {
			t.Fatalf("ParseKey(%q) gives %q", key, n.Key(topic))
		}
	})
}

// Every single bit of a segment counts: flipped, it is noticed.
func TestFlippedBitsAreNoticed(t *testing.T) {
	var out bytes.Buffer
	write(t, WriterConfig{BlockSize: 300}, &out, block(random(rand.New(rand.NewPCG(9, 9)), 40)...))
	whole := out.Bytes()
	if err := readAll(t, whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			whole[i] ^= 1 << bit
			if readAll(t, whole) == nil {
				t.Errorf("bit %d of byte %d of %d was flipped and nothing noticed it", bit, i, len(whole))
			}
			whole[i] ^= 1 << bit
		}
	}
	for n := range whole {
		if readAll(t, whole[:n]) == nil {
			t.Errorf("cut to %d of %d bytes, and nothing noticed it", n, len(whole))
		}
	}
}
