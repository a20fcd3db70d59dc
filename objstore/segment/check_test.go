package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

// older are the keys of two segments that others replace.
var older = []string{
	Name{MakeID(1_790_000_000_000, 1, 1), MakeID(1_790_000_000_001, 1, 2), 0, 2, 20, [8]byte{1}}.Key("web"),
	Name{MakeID(1_790_000_000_002, 1, 1), MakeID(1_790_090_000_000, 1, 2), 1, 2, 20, [8]byte{2}}.Key("web"),
}

// segmentOf writes a segment of the topic web.
func segmentOf(tb testing.TB, cfg WriterConfig, replaces []string, blocks ...*Block) (data []byte, key string) {
	tb.Helper()
	w, err := NewWriter(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	w.Reset(&out)
	w.Replace(Lineage{Through: MakeID(MaxTime, 0, 0), Replaces: replaces})
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
	return out.Bytes(), name.Key("web")
}

// parts is a segment taken apart, to be put together again with something wrong in it and all its checksums right.
type parts struct {
	blocks     []BlockInfo
	raw        [][]byte
	sections   [4][]byte // filter, index (written anew), sources, lineage
	order      []int     // of the sections
	gaps       [5][]byte // in front of the sections, in their order, and of the trailer
	generation uint8
	version    uint16
	reserved   byte
	index      []byte // instead of what the blocks make
}

const (
	filterPart = iota
	indexPart
	sourcesPart
	lineagePart
)

// takeApart does not mind wrong checksums.
func takeApart(data []byte) (*parts, error) {
	if len(data) < trailerSize {
		return nil, io.ErrUnexpectedEOF
	}
	d, err := NewDecoder()
	if err != nil {
		return nil, err
	}
	tail := slices.Clone(data[len(data)-trailerSize:])
	body := tail[frameHeader+2:]
	binary.LittleEndian.PutUint32(body[76:], crc32.Checksum(body[:76], castagnoli))
	t, err := decodeTrailer(tail, int64(len(data)))
	if err != nil {
		return nil, err
	}
	p := &parts{generation: t.generation, version: t.version, order: []int{0, 1, 2, 3}}
	end := int64(len(data) - trailerSize)
	for i, s := range t.sections() {
		if s.size > 0 {
			p.sections[i] = slices.Clone(data[s.off:][:s.size])
			end = min(end, s.off)
		}
	}
	index, err := d.frame(new([]byte), p.sections[indexPart], kindIndex, maxSection)
	if err != nil {
		return nil, err
	}
	if p.blocks, err = decodeIndex(index, end); err != nil {
		return nil, err
	}
	for _, b := range p.blocks {
		p.raw = append(p.raw, slices.Clone(data[b.Offset:][:b.Size()]))
	}
	return p, nil
}

// join also gives the key that the segment has to have.
func (p *parts) join() (data []byte, key string) {
	name := Name{First: p.blocks[0].First, Last: p.blocks[len(p.blocks)-1].Last, Generation: p.generation}
	for i := range p.blocks {
		b := &p.blocks[i]
		b.CRC = crc32.Checksum(p.raw[i], castagnoli)
		data = append(data, p.raw[i]...)
		name.Records += int64(b.Records)
		name.RawBytes += int64(b.RawSize)
	}
	index := p.index
	if index == nil {
		index = appendIndex(nil, p.blocks)
	}
	p.sections[indexPart] = frameOf(kindIndex, index)
	t := trailer{version: p.version, generation: p.generation}
	for place, i := range p.order {
		data = append(data, p.gaps[place]...)
		s := p.sections[i]
		if len(s) == 0 {
			continue
		}
		sum := s
		if i == filterPart && len(s) > len(p.blocks)+dirFooter {
			sum = s[len(s)-len(p.blocks)-dirFooter:]
			binary.LittleEndian.PutUint32(sum[len(sum)-4:], crc32.Checksum(sum[:len(sum)-4], castagnoli))
			for _, page := range p.pages() {
				rows := s[page.Off:][:page.Size-pageSum]
				binary.LittleEndian.PutUint32(s[page.Off:][len(rows):], crc32.Checksum(rows, castagnoli))
			}
		}
		*t.sections()[i] = section{int64(len(data)), len(s), crc32.Checksum(sum, castagnoli)}
		data = append(data, s...)
	}
	data = append(data, p.gaps[4]...)
	t.size = int64(len(data) + trailerSize)
	data = t.append(data)
	body := data[len(data)-trailerBody:]
	body[3] = p.reserved
	binary.LittleEndian.PutUint32(body[76:], crc32.Checksum(body[:76], castagnoli))
	sum := sha256.Sum256(data)
	copy(name.Hash[:], sum[:])
	return data, name.Key("web")
}

// frameOf is a section that is not compressed.
func frameOf(k kind, plain []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(2+len(plain)))
	return append(append(b, byte(k), encPlain), plain...)
}

// patch overwrites a stretch of a section's content or of a block's ID column.
func (p *parts) patch(tb testing.TB, part, at uint, patch []byte) {
	d, err := NewDecoder()
	if err != nil {
		tb.Fatal(err)
	}
	over := func(b []byte) { copy(b[at%uint(len(b)):], patch) }
	content := func(frame []byte, k kind) []byte {
		plain, err := d.frame(new([]byte), frame, k, maxIDs)
		if err != nil {
			tb.Fatal(err)
		}
		plain = slices.Clone(plain)
		over(plain)
		return frameOf(k, plain)
	}
	if part < 4 && len(p.sections[part]) == 0 {
		return
	}
	switch part {
	case filterPart:
		over(p.sections[part])
	case indexPart:
		p.index = appendIndex(nil, p.blocks)
		over(p.index)
	case sourcesPart:
		p.sections[part] = content(p.sections[part], kindSources)
	case lineagePart:
		p.sections[part] = content(p.sections[part], kindLineage)
	default:
		i := int((part - 4) % uint(len(p.blocks)))
		text := p.blocks[i].TextSize
		p.raw[i] = append(p.raw[i][:text:text], content(p.raw[i][text:], kindIDs)...)
		p.blocks[i].IDsSize = len(p.raw[i]) - text
	}
}

// pages are those of the filter, by their places in its section.
func (p *parts) pages() (pages []Span) {
	s := p.sections[filterPart]
	dir := s[len(s)-len(p.blocks)-dirFooter:]
	f, err := openFilter(dir, section{0, len(s), crc32.Checksum(dir, castagnoli)}, len(p.blocks))
	if err != nil {
		return nil
	}
	for _, m := range f.groups {
		for n := range m.pages() {
			off, size := m.page(n)
			pages = append(pages, Span{m.off + off, size})
		}
	}
	return pages
}

func newChecker(tb testing.TB) *Checker {
	tb.Helper()
	c, err := NewChecker()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func check(tb testing.TB, c *Checker, data []byte, key string) Report {
	tb.Helper()
	rep, err := c.Check(bytes.NewReader(data), int64(len(data)), key)
	if err != nil {
		tb.Fatal(err)
	}
	if rep.Sum != sha256.Sum256(data) {
		tb.Errorf("the sum is not that of the bytes")
	}
	for _, f := range rep.Found {
		if !IsDamage(f) && !errors.Is(f, ErrFilter) && !errors.Is(f, ErrMisnamed) {
			tb.Errorf("a finding of no kind: %v", f)
		}
	}
	return rep
}

// Whatever a writer writes is sound.
func TestCheckFindsNothingInWhatIsSound(t *testing.T) {
	c := newChecker(t)
	f := func(name string, cfg WriterConfig, replaces []string, blocks ...*Block) {
		t.Helper()
		data, key := segmentOf(t, cfg, replaces, blocks...)
		for _, k := range []string{key, ""} {
			rep := check(t, c, data, k)
			if len(rep.Found) > 0 || rep.More > 0 || rep.Name.Key("web") != key {
				t.Errorf("%s: found %v and %d more in %s, called %s", name, rep.Found, rep.More, rep.Name, key)
			}
		}
	}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		cfg := WriterConfig{BlockSize: 1 + r.IntN(5000), Level: Level(r.IntN(2)), Generation: uint8(r.IntN(3)), Filter: r.IntN(4) > 0}
		f(fmt.Sprintf("seed %d", seed), cfg, older[:cfg.Generation], block(random(r, 1+r.IntN(300))...))
	}
	var recs []rec
	for i, s := range nasty {
		recs = append(recs, rec{MakeID(1000, 7, uint32(i)), "host=a", s, Piece(i % 4)})
	}
	f("nasty", WriterConfig{Filter: true}, nil, block(recs...))
	f("nasty, a block each", WriterConfig{Filter: true, BlockSize: 1}, nil, block(recs...))
	f("smallest", WriterConfig{Filter: true}, nil, block(rec{}))
	f("last", WriterConfig{Filter: true}, nil, block(rec{ID: MakeID(MaxTime, MaxSession, 1<<32-1)}))
	var many []rec
	for i := range 3000 {
		many = append(many, rec{MakeID(1_790_000_000_000+uint64(i), 1, uint32(i)), "", fmt.Sprintf("Kelvin \u212a record-%06d", i), 0})
	}
	f("many blocks", WriterConfig{Filter: true, BlockSize: 1}, older, block(many...))
	const n = MaxBlockRecords + 10
	empty := &Block{}
	empty.AppendLines(Run{Time: 1000, Session: 1, N: n}, bytes.Repeat([]byte{'\n'}, n))
	f("empty lines", WriterConfig{Filter: true, BlockSize: n}, nil, empty)
	for name, text := range corpora(t) {
		f(name, WriterConfig{Filter: true, BlockSize: 1 << 20}, nil, fillBlocks(text[:min(len(text), 8<<20)], 1<<20)...)
	}
	// A batch may span days, and has no key.
	data, _ := segmentOf(t, WriterConfig{}, nil, block(rec{ID: MakeID(1000, 1, 1)}, rec{ID: MakeID(1<<40, 1, 1)}))
	if rep := check(t, c, data, ""); len(rep.Found) > 0 {
		t.Errorf("batch: %v", rep.Found)
	}
}

func TestCheckGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/golden-*.zst")
	if err != nil || len(files) < 2*Version {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if rep := check(t, newChecker(t), data, ""); len(rep.Found) > 0 {
			t.Errorf("%s: %v", f, rep.Found)
		}
	}
}

// sample is a segment of four blocks with everything that there is in one.
func sample(tb testing.TB) (data []byte, key string) {
	tb.Helper()
	r := rand.New(rand.NewPCG(21, 22))
	var blocks []*Block
	for i := range 4 {
		var recs []rec
		for k := range 20 {
			recs = append(recs, rec{MakeID(1_790_000_000_000+uint64(i), 7, uint32(k)), "s=7", words(r, 60), 0})
		}
		if i == 3 {
			recs[11].Text += `\u0041`
		}
		blocks = append(blocks, block(recs...))
	}
	return segmentOf(tb, WriterConfig{BlockSize: 1700, Generation: 2, Filter: true}, older, blocks...)
}

// Each kind of damage is found, named, and nothing else.
func TestCheckNamesDamage(t *testing.T) {
	whole, key := sample(t)
	seg := open(t, whole)
	if len(seg.Blocks) < 4 || seg.Filter == nil || len(seg.Lineage.Replaces) != 2 {
		t.Fatalf("a sample of %d blocks, filter %v", len(seg.Blocks), seg.FilterErr)
	}
	tr, err := decodeTrailer(whole[len(whole)-trailerSize:], int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	second := seg.Blocks[1]
	c := newChecker(t)
	expect := func(name string, data []byte, key string, want ...string) {
		t.Helper()
		rep := check(t, c, data, key)
		ok := len(rep.Found) == len(want) && rep.More == 0
		for i := range want {
			ok = ok && strings.Contains(rep.Found[i].Error(), want[i])
		}
		if !ok {
			t.Errorf("%s: found %q and %d more, want %q", name, rep.Found, rep.More, want)
		}
		if rep := check(t, c, whole, ""); len(rep.Found) > 0 {
			t.Errorf("%s: thereafter a sound segment has %q", name, rep.Found)
		}
	}
	const hash = "hash is "

	// As a disk or a network does it: checksums are wrong.
	flip := func(name string, at int64, want ...string) {
		t.Helper()
		data := slices.Clone(whole)
		data[at] ^= 4
		expect(name, data, key, append(want, hash)...)
		expect(name+", without a key", data, "", want...)
	}
	flip("bit in a text", second.Offset+20, fmt.Sprintf("block 1: corrupt segment: block at offset %d is damaged", second.Offset))
	flip("bit in an ID column", second.Offset+int64(second.Size())-1, fmt.Sprintf("block 1: corrupt segment: block at offset %d is damaged", second.Offset))
	flip("bit in the filter's header", tr.filter.off+8, fmt.Sprintf("damaged filter: no section 'f' at offset %d", tr.filter.off))
	flip("bit in a page", tr.filter.off+100, fmt.Sprintf("damaged filter: page at offset %d", tr.filter.off+frameHeader+2))
	flip("bit in the directory", tr.filter.off+int64(tr.filter.size)-9, "damaged filter: its directory")
	flip("bit in the index", tr.index.off+30, fmt.Sprintf("section 'x' at offset %d is damaged", tr.index.off))
	flip("bit in the sources", tr.sources.off+12, fmt.Sprintf("section 's' at offset %d is damaged", tr.sources.off))
	flip("bit in the lineage", tr.lineage.off+12, fmt.Sprintf("section 'l' at offset %d is damaged", tr.lineage.off))
	flip("bit in the trailer", int64(len(whole)-50), "trailer is damaged")
	flip("bit at the end", int64(len(whole)-1), "does not end like a segment")
	for _, n := range []int{0, 1, trailerSize - 1, trailerSize, 1000, len(whole) - 1} {
		expect(fmt.Sprintf("cut to %d", n), whole[:n], key, "truncated", hash)
	}
	expect("byte behind", append(slices.Clone(whole), 0), key, "does not end like a segment", hash)
	expect("byte in front", append([]byte{0}, whole...), key, "where", hash)

	// As a mistaken copy or a mistaken program does it.
	name := func(f func(n *Name)) string {
		_, n, err := ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		f(&n)
		return n.Key("web")
	}
	expect("key: hash", whole, name(func(n *Name) { n.Hash[7]++ }), hash)
	expect("key: records", whole, name(func(n *Name) { n.Records++ }), "number of records is ")
	expect("key: text", whole, name(func(n *Name) { n.RawBytes-- }), "size of the text is ")
	expect("key: generation", whole, name(func(n *Name) { n.Generation++ }), "generation is 3 in the key, and 2 in the segment")
	expect("key: first", whole, name(func(n *Name) { n.First[15]++ }), "first record is ")
	expect("key: last", whole, name(func(n *Name) { n.Last[15]++ }), "last record is ")
	expect("key: day", whole, name(func(n *Name) { n.First[2] -= 4 }), "first record is ", "day of the first record is 2026-09-20 in the key, and ", "day of the last record")
	expect("no key", whole, "web/x", `key "web/x" is not a segment's`)

	// As only a program does it: all checksums are right.
	mend := func(name string, change func(p *parts), want ...string) {
		t.Helper()
		p, err := takeApart(whole)
		if err != nil {
			t.Fatal(err)
		}
		change(p)
		data, key := p.join()
		expect(name, data, key, want...)
	}
	mend("nothing", func(*parts) {})
	mend("blocks out of order", func(p *parts) {
		p.blocks[1], p.blocks[2] = p.blocks[2], p.blocks[1]
		p.raw[1], p.raw[2] = p.raw[2], p.raw[1]
		p.sections[filterPart] = nil
	}, "block 2 is out of order")
	mend("blocks out of order, and the index hides it", func(p *parts) {
		a, b := p.blocks[1], p.blocks[2]
		p.blocks[1], p.blocks[2] = b, a
		p.blocks[1].First, p.blocks[1].Last, p.blocks[2].First, p.blocks[2].Last = a.First, a.Last, b.First, b.Last
		p.raw[1], p.raw[2] = p.raw[2], p.raw[1]
		p.sections[filterPart] = nil
	}, "block 1: block at offset", "block 2: block at offset")
	mend("records of the index", func(p *parts) { p.blocks[1].Records-- }, fmt.Sprintf("block 1: block at offset %d: corrupt segment: IDs are not those of the index", second.Offset))
	mend("first of the index", func(p *parts) { p.blocks[1].First[15]++ }, "IDs are not those of the index")
	mend("text of the index", func(p *parts) { p.blocks[1].RawSize++ }, "zstd frame is not of")
	mend("zstd's checksum", func(p *parts) { p.raw[1][second.TextSize-1] ^= 1 }, fmt.Sprintf("block 1: block at offset %d: corrupt segment: CRC check failed", second.Offset))
	mend("something between text and IDs", func(p *parts) {
		p.raw[1] = slices.Insert(p.raw[1], second.TextSize, []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc")...)
		p.blocks[1].TextSize += 11
	}, "are not one zstd frame")
	mend("something behind the IDs", func(p *parts) {
		p.raw[1] = append(p.raw[1], 0)
		p.blocks[1].IDsSize++
	}, "block 1: block at offset")
	mend("one bit that the filter lacks", func(p *parts) {
		page := p.pages()[0]
		at := page.Off + 30
		for p.sections[filterPart][at] == 0 {
			at++
		}
		b := &p.sections[filterPart][at]
		*b &= *b - 1
	}, "damaged filter: it denies what is in block")
	mend("a block that is not called plain", func(p *parts) {
		s := p.sections[filterPart]
		s[len(s)-dirFooter-2] &^= plainBit
	})
	mend("a block that is called plain", func(p *parts) {
		s := p.sections[filterPart]
		s[len(s)-dirFooter-1] |= plainBit
	}, "damaged filter: it denies that there is an escape in block 3 at offset")
	mend("one bit more in the filter", func(p *parts) {
		b := &p.sections[filterPart][p.pages()[0].Off+30]
		*b |= *b + 1
	})
	mend("no filter", func(p *parts) { p.sections[filterPart] = nil })
	mend("another filter's gram", func(p *parts) {
		s := p.sections[filterPart]
		s[len(s)-dirFooter]++
	}, "it is of another kind")
	mend("what has no meaning in the directory", func(p *parts) {
		s := p.sections[filterPart]
		s[len(s)-5] = 1
	}, "behind the classes at offset")
	mend("what has no meaning in the trailer", func(p *parts) { p.reserved = 1 }, "byte 13 of the trailer")
	mend("a later version", func(p *parts) { p.version++ }, ErrVersion.Error())
	mend("sections out of order", func(p *parts) { p.order = []int{0, 1, 3, 2} }, "section 's' begins at", "section 'l' begins at", "the sections end at")
	for place, want := range [][]string{{"blocks end at"}, {"damaged filter: it is not where it should be", "section 'x' begins at"}, {"section 's' begins at"}, {"section 'l' begins at"}, {"the sections end at"}} {
		mend(fmt.Sprintf("gap %d", place), func(p *parts) { p.gaps[place] = []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc") }, want...)
	}
	mend("no lineage", func(p *parts) { p.sections[lineagePart] = nil })
	mend("sources of nobody", func(p *parts) { p.sections[sourcesPart] = frameOf(kindSources, []byte{1, 0, 0}) },
		"block 0: block at offset 0: corrupt segment: unknown session", "unknown session", "unknown session", "unknown session")

	// What a writer takes and nobody gives it.
	odd := block(rec{ID: MakeID(1000, 1, 1)}, rec{ID: MakeID(1000, 1, 2), Text: strings.Repeat("x", MaxRecord)})
	odd.pieces = []mark{{1, 0}}
	data, oddKey := segmentOf(t, WriterConfig{}, nil, odd)
	expect("piece that is none", data, oddKey, "block 0: corrupt segment: block at offset 0: record 1 is marked as a piece")
	data, oddKey = segmentOf(t, WriterConfig{}, nil, block(rec{ID: MakeID(1000, 1, 1)}, rec{ID: MakeID(1000, 1, 2), Text: strings.Repeat("x\n", MaxRecord/2) + "x"}))
	expect("long record", data, oddKey, "record 1 has more than 1048576 bytes")
	data, oddKey = segmentOf(t, WriterConfig{Generation: 1}, []string{older[0], "web/x"}, block(rec{ID: MakeID(1000, 1, 1)}))
	expect("lineage without a key", data, oddKey, `lineage: segment 1: key "web/x" is not a segment's`)
	data, oddKey = segmentOf(t, WriterConfig{Generation: 1}, []string{"x" + older[0]}, block(rec{ID: MakeID(1000, 1, 1)}))
	expect("lineage of another topic", data, oddKey, "lineage: segment 0 is of another topic")
	const day = uint64(24 * time.Hour / time.Millisecond)
	data, oddKey = segmentOf(t, WriterConfig{}, nil, block(rec{ID: MakeID(day-1, 1, 1)}, rec{ID: MakeID(day, 1, 2)}))
	expect("two days", data, oddKey, "day of the last record is 1970-01-01 in the key, and 1970-01-02 in the segment")
}

// A filter that denies a gram is named with the block, whichever bit it is that is missing.
func TestCheckNamesTheBlockThatIsDenied(t *testing.T) {
	whole, _ := sample(t)
	c := newChecker(t)
	p, err := takeApart(whole)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 9))
	tried := map[uint32]bool{}
	f := open(t, whole).Filter
	start := filterOf(t, whole).off
	for range 200 {
		m := f.groups[r.IntN(len(f.groups))]
		slot := r.IntN(m.slots())
		off, _ := m.page(slot / m.perPage())
		col := r.IntN(len(m.blocks))
		bit := slot%m.perPage()*len(m.blocks) + col
		b := &p.sections[filterPart][m.off+off-start+int64(bit/8)]
		if *b>>(bit%8)&1 == 0 {
			continue
		}
		*b ^= 1 << (bit % 8)
		data, key := p.join()
		*b ^= 1 << (bit % 8)
		block := m.blocks[col]
		tried[block] = true
		want := fmt.Sprintf("block %d at offset %d: slots not set: 1", block, p.blocks[block].Offset)
		if rep := check(t, c, data, key); len(rep.Found) != 1 || !errors.Is(rep.Found[0], ErrFilter) || !strings.Contains(rep.Found[0].Error(), want) {
			t.Errorf("found %v, want %s", rep.Found, want)
		}
	}
	if len(tried) != len(p.blocks) {
		t.Errorf("bits of %d blocks were tried, want all %d", len(tried), len(p.blocks))
	}
}

// Every bit is found if it is flipped, with a key and without. This takes some thousands of them.
func TestCheckFindsFlippedBits(t *testing.T) {
	data, key := sample(t)
	c := newChecker(t)
	r := rand.New(rand.NewPCG(5, 5))
	for range 3000 {
		at, bit := r.IntN(len(data)), r.IntN(8)
		data[at] ^= 1 << bit
		for _, k := range []string{key, ""} {
			if rep := check(t, c, data, k); len(rep.Found) == 0 {
				t.Errorf("key %q: bit %d of byte %d of %d is flipped and nothing was found", k, bit, at, len(data))
			}
		}
		data[at] ^= 1 << bit
	}
	if rep := check(t, c, data, key); len(rep.Found) > 0 {
		t.Errorf("mended, it has %v", rep.Found)
	}
}

func TestCheckBoundsWhatItLists(t *testing.T) {
	var recs []rec
	for i := range 100 {
		recs = append(recs, rec{MakeID(1000, 1, uint32(i)), "", "some text that is long enough", 0})
	}
	data, key := segmentOf(t, WriterConfig{BlockSize: 1}, nil, block(recs...))
	for _, b := range open(t, data).Blocks {
		data[b.Offset+10]++
	}
	if rep := check(t, newChecker(t), data, key); len(rep.Found) != MaxFound || rep.More != 81 {
		t.Errorf("%d found and %d more, want %d and 81", len(rep.Found), rep.More, MaxFound)
	}
}

// limited counts what is read, and fails at a read.
type limited struct {
	io.ReaderAt
	left  int // reads until it fails
	reads int
	bytes int64
}

var errNetwork = errors.New("network is down")

func (l *limited) ReadAt(p []byte, off int64) (int, error) {
	if l.left--; l.left < 0 {
		return 0, errNetwork
	}
	l.reads++
	l.bytes += int64(len(p))
	return l.ReaderAt.ReadAt(p, off)
}

// An object is read once, in large pieces, and what goes wrong with that is no damage.
func TestCheckReads(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	b := &Block{}
	line := make([]byte, 1000)
	for i := range 12_000 {
		for k := range line {
			line[k] = byte('0' + r.IntN(64))
		}
		line[len(line)-1] = '\n'
		b.AppendLines(Run{1000, 1, uint32(i), 1}, line)
	}
	large, largeKey := segmentOf(t, WriterConfig{Filter: true, BlockSize: 1 << 20}, nil, b)
	small, smallKey := sample(t)
	c := newChecker(t)
	f := func(data []byte, key string, reads int, extra int64) {
		t.Helper()
		size := int64(len(data))
		l := &limited{ReaderAt: bytes.NewReader(data), left: 1000}
		rep, err := c.Check(l, size, key)
		if err != nil || len(rep.Found) > 0 {
			t.Fatalf("%v, %v", rep.Found, err)
		}
		if l.reads != reads || l.bytes > size+extra {
			t.Errorf("%d bytes were read with %d reads of %d in all, want %d", size, l.reads, l.bytes, reads)
		}
		for n := range reads {
			rep, err := c.Check(&limited{ReaderAt: bytes.NewReader(data), left: n}, size, key)
			if !errors.Is(err, errNetwork) || IsDamage(err) || len(rep.Found) > 0 {
				t.Errorf("read %d fails: %v, %v", n, rep.Found, err)
			}
		}
		// An object that is shorter than the listing said, somewhere.
		for _, n := range []int64{0, 1, size / 2, size - 1} {
			rep, err := c.Check(bytes.NewReader(data[:n]), size, key)
			if !errors.Is(err, io.ErrUnexpectedEOF) || IsDamage(err) || len(rep.Found) > 0 {
				t.Errorf("%d of %d bytes are there: %v, %v", n, size, rep.Found, err)
			}
		}
	}
	f(large, largeKey, 1+(len(large)+checkChunk-1)/checkChunk, TailSize)
	f(small, smallKey, 1, 0)
	// What does not open is hashed to its end.
	large[len(large)-1]++
	if rep := check(t, c, large, largeKey); len(rep.Found) != 2 || !errors.Is(rep.Found[0], ErrCorrupt) || !errors.Is(rep.Found[1], ErrMisnamed) {
		t.Errorf("a damaged trailer: %v", rep.Found)
	}
}

// More signatures than a writer may make are still read, within what Open allows.
func TestCheckFindsLargeSignatures(t *testing.T) {
	var recs []rec
	sigs := &signatures{}
	s := newSigner()
	for i := range 1 + maxSignatures/(1<<gramBits/8) {
		recs = append(recs, rec{MakeID(1000, 1, uint32(i)), "", "some text that is long enough", 0})
		sig := newSignature(maxClass)
		s.find([]byte(recs[i].Text + "\n"))
		s.fill(sig)
		sigs.blocks = append(sigs.blocks, sig)
	}
	data, _ := segmentOf(t, WriterConfig{BlockSize: 1}, nil, block(recs...))
	p, err := takeApart(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sigs.write(0, func(b []byte) error {
		p.sections[filterPart] = append(p.sections[filterPart], b...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	data, key := p.join()
	if rep := check(t, newChecker(t), data, key); len(rep.Found) != 1 || !errors.Is(rep.Found[0], ErrFilter) || !strings.Contains(rep.Found[0].Error(), "over the limit") {
		t.Errorf("found %v", rep.Found)
	}
}

// FuzzCheck feeds Check any bytes, and sound segments whose sections, as they are before compression, have some bytes changed and whose
// checksums are right all the same. Where it finds nothing, all must be as it has to be.
func FuzzCheck(f *testing.F) {
	sound := seeds(f)
	for _, s := range sound {
		f.Add(s, uint(0), uint(0), []byte{})
	}
	s, _ := sample(f)
	sound = append(sound, s)
	s, _ = segmentOf(f, WriterConfig{Filter: true, BlockSize: 20}, older, goldenRecords())
	sound = append(sound, s)
	for n := range sound {
		for part := range uint(6) {
			f.Add(make([]byte, n), part, uint(n), []byte{1, 2})
		}
	}
	c := newChecker(f)
	f.Fuzz(func(t *testing.T, data []byte, part, at uint, patch []byte) {
		key := ""
		if len(patch) > 0 {
			p, err := takeApart(sound[len(data)%len(sound)])
			if err != nil {
				t.Fatal(err)
			}
			p.patch(t, part, at, patch)
			data, key = p.join()
		}
		rep := check(t, c, data, key)
		if len(rep.Found) > 0 {
			return
		}
		if err := readAll(t, data); err != nil {
			t.Fatal(err)
		}
		seg := open(t, data)
		if key != "" && rep.Name.Key("web") != key {
			t.Fatalf("called %s, has to be %s", key, rep.Name)
		}
		if seg.Filter == nil {
			return
		}
		d, err := NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		var last ulid.ULID
		for i, info := range seg.Blocks {
			var b Block
			if err := d.Block(&b, seg, info, data[info.Offset:][:info.Size()]); err != nil {
				t.Fatal(err)
			}
			if i > 0 && last.Compare(b.First()) >= 0 {
				t.Fatalf("block %d is out of order", i)
			}
			last = b.Last()
			if seg.Filter.Plain.Has(i) && Escaped(b.Text) {
				t.Fatalf("the filter denies that there is an escape in block %d", i)
			}
			sets, err := lookup(data, seg.Filter, AppendGrams(nil, b.Text))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sets {
				if !s.Has(i) {
					t.Fatalf("the filter denies what is in block %d", i)
				}
			}
		}
	})
}

// BenchmarkCheck checks a segment in memory; what it takes is told in bytes of text.
func BenchmarkCheck(b *testing.B) {
	for name, text := range corpora(b) {
		for _, filter := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/filter=%v", name, filter), func(b *testing.B) {
				data, key := segmentOf(b, WriterConfig{Filter: filter}, nil, fillBlocks(text, BlockSize)...)
				c := newChecker(b)
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					if rep := check(b, c, data, key); len(rep.Found) > 0 {
						b.Fatal(rep.Found)
					}
				}
			})
		}
	}
}

// What a segment says that it replaces has to be within its own records.
func TestCheckLineageStretch(t *testing.T) {
	b := goldenRecords()
	for _, tt := range []struct {
		lineage Lineage
		sound   bool
	}{
		{Lineage{After: Before(b.First()), Through: b.Last(), Replaces: older[:1]}, true},
		{Lineage{After: b.First(), Through: b.Last(), Replaces: older[:1]}, false},
		{Lineage{Through: Before(b.Last()), Replaces: older[:1]}, false},
	} {
		w, err := NewWriter(WriterConfig{Generation: 1})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w.Reset(&out)
		w.Replace(tt.lineage)
		c := b.Cursor()
		if err := w.Take(&c, b.Len()); err != nil {
			t.Fatal(err)
		}
		name, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		checker, err := NewChecker()
		if err != nil {
			t.Fatal(err)
		}
		rep, err := checker.Check(bytes.NewReader(out.Bytes()), int64(out.Len()), name.Key("web"))
		if err != nil || (len(rep.Found) == 0) != tt.sound {
			t.Errorf("%v: found %v, %v", tt.lineage, rep.Found, err)
		}
	}
}
