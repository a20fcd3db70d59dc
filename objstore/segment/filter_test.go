package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// ask tells which blocks of a segment may hold a needle, by the filter as it lies in data.
func ask(tb testing.TB, data []byte, seg *Segment, needle string) Set {
	tb.Helper()
	grams := AppendGrams(nil, []byte(needle))
	set := NewSet(len(seg.Blocks), true)
	sets, err := lookup(data, seg.Filter, grams)
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range sets {
		set.And(s)
	}
	return set
}

// lookup gives Blocks no more than Spans names.
func lookup(data []byte, f *Filter, grams []Gram) ([]Set, error) {
	spans := f.Spans(grams, 100)
	return f.Blocks(grams, func(s Span) ([]byte, error) {
		for _, have := range spans {
			if have.Off <= s.Off && s.Off+int64(s.Size) <= have.Off+int64(have.Size) {
				return data[s.Off:][:s.Size], nil
			}
		}
		return nil, fmt.Errorf("%v is not in %v", s, spans)
	})
}

func open(tb testing.TB, data []byte) *Segment {
	tb.Helper()
	d, err := NewDecoder()
	if err != nil {
		tb.Fatal(err)
	}
	seg, err := d.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return seg
}

// words makes text in which much is repeated and some is not.
func words(r *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		switch r.IntN(8) {
		case 0:
			fmt.Fprintf(&b, "%x", r.Uint64()>>r.IntN(60))
		case 1:
			b.WriteString([]string{"K\u212aelvin\u212a", "\u017fharp\u017f", "\xe2\x84", "\xc5", "\xff\x00", "Grüße", "\xaa\xbf"}[r.IntN(7)])
		case 2:
			b.WriteByte('\n')
		default:
			b.WriteString([]string{"Failed password for ", "Connection CLOSED by ", "session[", "]: ", "port ", "user=root "}[r.IntN(6)])
		}
	}
	return b.String()
}

// The filter never denies what is there: any part of any record, in any case.
func TestFilterFindsWhatIsThere(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		var recs []rec
		for i := range 1 + r.IntN(200) {
			recs = append(recs, rec{MakeID(1_790_000_000_000, 1, uint32(i)), "", words(r, r.IntN(300)), 0})
		}
		var out bytes.Buffer
		write(t, WriterConfig{Filter: true, BlockSize: 1 + r.IntN(20_000)}, &out, block(recs...))
		data := out.Bytes()
		seg := open(t, data)
		if seg.Filter == nil {
			t.Fatalf("no filter: %v", seg.FilterErr)
		}
		first := 0
		for i, b := range seg.Blocks {
			for _, rec := range recs[first : first+b.Records] {
				for range 4 {
					from := r.IntN(len(rec.Text) + 1)
					needle := rec.Text[from : from+r.IntN(min(40, len(rec.Text)-from)+1)]
					if r.IntN(2) == 0 {
						needle = otherCase(r, needle)
					}
					if !ask(t, data, seg, needle).Has(i) {
						t.Fatalf("seed %d: block %d holds %q in %q and the filter denies it", seed, i, needle, rec.Text)
					}
				}
			}
			first += b.Records
		}
	}
}

// otherCase changes letters to another of their cases, if that is ASCII's or comes from it.
func otherCase(r *rand.Rand, s string) string {
	var b []byte
	for i := 0; i < len(s); {
		c, n := rune(s[i]), 1
		for _, special := range []string{"\u212a", "\u017f"} {
			if strings.HasPrefix(s[i:], special) {
				c, n = []rune(special)[0], len(special)
			}
		}
		i += n
		if r.IntN(2) == 0 && (c < 0x80 || n > 1) {
			c = unicode.SimpleFold(c)
		}
		if c >= 0x80 && n == 1 && unicode.SimpleFold(c) != c {
			c = rune(s[i-1]) // a byte that is not a character
		}
		if c < 0x80 || n > 1 || c == 0x212a || c == 0x17f {
			b = append(b, string(c)...)
		} else {
			b = append(b, s[i-1])
		}
	}
	return string(b)
}

// The quick way to find a text's grams is exact.
func TestSignerFindsEveryGram(t *testing.T) {
	s := newSigner()
	check := func(text []byte) {
		t.Helper()
		clear(s.seen[:])
		clear(s.place[:])
		s.add(text)
		want := new([1 << (gramBits - 6)]uint64)
		for line := range bytes.SplitSeq(text, newline) {
			for p := 0; p+GramSize <= len(line); p++ {
				g := gramAt(load6(line, p))
				want[g>>6] |= 1 << (g & 63)
			}
		}
		if *want != *s.seen {
			t.Fatalf("the grams of %q are not those that were noted", text[:min(len(text), 300)])
		}
	}
	for _, text := range []string{"", "\n", "short\n", "sixsix\n", "no newline at the end", strings.Repeat("a", 1000) + "\n", strings.Repeat("abc", 300) + "\n", "abcdefgh\nabcdefgh\nxabcdefghi\n"} {
		check([]byte(text))
	}
	for seed := range uint64(50) {
		check([]byte(words(rand.New(rand.NewPCG(seed, 2)), 5000)))
	}
	for _, text := range corpora(t) {
		text = text[:min(len(text), BlockSize)]
		check(text[:bytes.LastIndexByte(text, '\n')+1])
	}
}

func TestClasses(t *testing.T) {
	for c := uint8(2); c <= maxClass; c++ {
		if classSlots(c) != 2*classSlots(c-2) {
			t.Errorf("class %d has %d slots, class %d %d", c, classSlots(c), c-2, classSlots(c-2))
		}
	}
	if n := classSlots(maxClass); n != 1<<gramBits {
		t.Errorf("the largest signature has %d slots", n)
	}
	for _, tt := range []struct {
		seen, stored int
		want         int
	}{
		{0, 0, 512}, {1, 0, 512}, {100, 0, 512}, {100_000, 0, 196608}, {1_000_000, 0, 2 << 20}, {1 << gramBits, 0, 1 << gramBits},
		{0, 1 << 20, 512}, {100_000, 250_000, 262144}, {100_000, 1 << 20, 393216}, // room for more
	} {
		if got := classSlots(classFor(tt.seen, tt.stored)); got != tt.want {
			t.Errorf("%d grams in %d bytes get %d slots, want %d", tt.seen, tt.stored, got, tt.want)
		}
	}
	// A slot of the half is the half of a slot: halved signatures still answer.
	for _, g := range []Gram{0, 1, 12345, 1<<gramBits - 1} {
		for c := uint8(2); c <= maxClass; c++ {
			if a, b := slotOf(g, classSlots(c))/2, slotOf(g, classSlots(c-2)); a != b {
				t.Errorf("gram %d: slot %d of class %d, halved, is not slot %d of class %d", g, a, c, b, c-2)
			}
		}
	}
}

// However much there is to sign, what is held stays within its bound, and still answers.
func TestSignaturesAreBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := &signatures{signer: newSigner()}
	text := make([]byte, 4<<20)
	for i := range text {
		text[i] = byte('0' + r.IntN(64))
	}
	text[len(text)-1] = '\n'
	sig := s.signer.sign(text, 0)
	if len(sig.slots)*64 != 1<<gramBits {
		t.Fatalf("text of random letters gets a signature of %d slots", len(sig.slots)*64)
	}
	for range 3 * maxSignatures / (len(sig.slots) * 8) {
		s.blocks = append(s.blocks, sig)
		s.size += len(sig.slots) * 8
		for s.size > maxSignatures {
			if !s.halve() {
				t.Fatal("cannot be made smaller")
			}
		}
		size := 0
		for _, b := range s.blocks {
			size += len(b.slots) * 8
		}
		if size != s.size {
			t.Fatalf("%d bytes are counted as %d", size, s.size)
		}
	}
	for _, b := range s.blocks {
		for _, g := range AppendGrams(nil, text[100:200]) {
			slot := b.slot(g)
			if b.slots[slot/64]>>(slot%64)&1 == 0 {
				t.Fatal("a halved signature has lost a gram")
			}
		}
	}
}

// filterOf is the section of a filter in a segment's bytes.
func filterOf(t testing.TB, data []byte) section {
	t.Helper()
	tr, err := decodeTrailer(data[len(data)-trailerSize:], int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return tr.filter
}

// Every bit of a filter counts: flipped, it is noticed, if not by Open then when the pages are read; or it changes nothing.
func TestDamagedFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var recs []rec
	for i := range 40 {
		recs = append(recs, rec{MakeID(1_790_000_000_000, 1, uint32(i)), "", words(r, 300), 0})
	}
	var out bytes.Buffer
	write(t, WriterConfig{Filter: true, BlockSize: 2000}, &out, block(recs...))
	data := out.Bytes()
	sec := filterOf(t, data)
	var all []Gram // one of each slot, so that all pages are read
	for i := range Gram(1 << 10) {
		all = append(all, i<<(gramBits-10))
	}
	want, err := lookup(data, open(t, data).Filter, all)
	if err != nil {
		t.Fatal(err)
	}
	for i := sec.off + frameHeader + 2; i < sec.off+int64(sec.size); i++ {
		for bit := range 8 {
			data[i] ^= 1 << bit
			seg := open(t, data)
			switch {
			case seg.Filter == nil && !errors.Is(seg.FilterErr, ErrFilter):
				t.Fatalf("byte %d: no filter, and the reason is %v", i, seg.FilterErr)
			case seg.Filter != nil:
				if got, err := lookup(data, seg.Filter, all); err == nil {
					t.Fatalf("bit %d of byte %d is flipped and nothing notices (same answers: %v)", bit, i, slices.EqualFunc(want, got, slices.Equal))
				} else if !errors.Is(err, ErrFilter) {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
			data[i] ^= 1 << bit
		}
	}
}

// A segment of many blocks, whose sections do not fit into its tail, opens with its filter.
func TestFilterOfManyBlocks(t *testing.T) {
	for _, blocks := range []int{700, 1300, 2500, 5000} {
		var recs []rec
		for i := range blocks {
			recs = append(recs, rec{MakeID(1_790_000_000_000+uint64(i)*7919, uint64(i*i), uint32(i)), "", fmt.Sprintf("record-%06d", i), 0})
		}
		var out bytes.Buffer
		write(t, WriterConfig{Filter: true, BlockSize: 1}, &out, block(recs...))
		data := out.Bytes()
		seg := open(t, data)
		if seg.Filter == nil || len(seg.Blocks) != blocks {
			t.Fatalf("%d blocks, want %d; filter: %v", len(seg.Blocks), blocks, seg.FilterErr)
		}
		for i := 0; i < blocks; i += 97 {
			if set := ask(t, data, seg, fmt.Sprintf("record-%06d", i)); !set.Has(i) || set.count() > 1+blocks/20 {
				t.Errorf("record %d of %d: the filter leaves %d blocks, its own among them: %v", i, blocks, set.count(), set.Has(i))
			}
		}
	}
}

func (s Set) count() (n int) {
	for i := range len(s) * 64 {
		if s.Has(i) {
			n++
		}
	}
	return n
}

// FuzzDirectory feeds any bytes to what reads a filter behind its checksums.
func FuzzDirectory(f *testing.F) {
	f.Add([]byte{3, 0, 3}, 700, uint32(7))
	f.Fuzz(func(t *testing.T, classes []byte, size int, gram uint32) {
		if len(classes) == 0 || len(classes) > 1<<12 {
			return
		}
		dir := appendDirectory(nil, classes)
		sec := section{100, size, crc32.Checksum(dir, castagnoli)}
		flt, err := openFilter(dir, sec, len(classes))
		if err != nil {
			if !errors.Is(err, ErrFilter) {
				t.Fatal(err)
			}
			return
		}
		_, err = flt.Blocks([]Gram{Gram(gram % (1 << gramBits))}, func(s Span) ([]byte, error) {
			if s.Off < sec.off || s.Off+int64(s.Size) > sec.off+int64(sec.size) {
				t.Fatalf("%v lies outside of %v", s, sec)
			}
			page := bytes.Repeat([]byte{byte(gram)}, s.Size-pageSum)
			return binary.LittleEndian.AppendUint32(page, crc32.Checksum(page, castagnoli)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzGrams holds that a record with a needle has the needle's grams, whatever surrounds it.
func FuzzGrams(f *testing.F) {
	f.Add("before\xe2", "\x84\xaaneedle", "\xbfafter")
	f.Add("", "Kelvin \u212a \u017f", "\n")
	f.Add("x\xc5", "\xbf\xaa\xc5\xbf\xe2\x84", "\xaa\xaa")
	f.Fuzz(func(t *testing.T, before, needle, after string) {
		s := newSigner()
		s.add(asciiCases([]byte(before + needle + after + "\n")))
		for _, g := range AppendGrams(nil, []byte(needle)) {
			if s.seen[g>>6]>>(g&63)&1 == 0 {
				t.Fatalf("%q in %q: a gram is not there", needle, before+needle+after)
			}
		}
	})
}

// Pruning, mean over the logs: what share of the blocks is kept wrongly.
func TestFilterPrunes(t *testing.T) {
	kinds := []struct {
		name string
		most float64
		draw func(r *rand.Rand, text []byte) string
	}{
		{"12 hex digits", 0.003, func(r *rand.Rand, _ []byte) string { return fmt.Sprintf("%012x", r.Uint64()&(1<<48-1)) }},
		{"IPv4 address", 0.01, func(r *rand.Rand, _ []byte) string {
			return fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(223), r.IntN(256), r.IntN(256), r.IntN(256))
		}},
		{"rare identifier without its ends", 0.03, rareIdentifier},
		{"12 bytes of a line", 0.06, func(r *rand.Rand, text []byte) string {
			for {
				at := r.IntN(len(text) - 12)
				if s := text[at : at+12]; bytes.IndexByte(s, '\n') < 0 {
					return string(s)
				}
			}
		}},
	}
	logs := corpora(t)
	slack := 1.0
	if os.Getenv("CORPORA") == "" {
		slack = 4 // the sample's logs are a block each, and a small one: that is no mean of many
	}
	mean := make([]float64, len(kinds))
	for name, text := range logs {
		var out bytes.Buffer
		blocks := fillBlocks(text, BlockSize)
		write(t, WriterConfig{Filter: true}, &out, blocks...)
		data := out.Bytes()
		seg := open(t, data)
		line := fmt.Sprintf("%-24s filter %.2f %% of the text, %4.1f %% of the segment", name, 100*float64(seg.Filter.Size)/float64(len(text)), 100*float64(seg.Filter.Size)/float64(len(data)))
		r := rand.New(rand.NewPCG(1, 2))
		for k, kind := range kinds {
			wrong := 0
			const draws = 200
			for range draws {
				needle := kind.draw(r, text)
				for i, set := 0, ask(t, data, seg, needle); i < len(blocks); i++ {
					if set.Has(i) && !bytes.Contains(blocks[i].Text, []byte(needle)) {
						wrong++
					}
				}
			}
			share := float64(wrong) / float64(draws*len(blocks))
			mean[k] += share / float64(len(logs))
			line += fmt.Sprintf("; %s %.2f %%", kind.name, 100*share)
		}
		t.Log(line)
	}
	for k, kind := range kinds {
		t.Logf("%-34s %.2f %% of the blocks are kept wrongly", kind.name, 100*mean[k])
		if mean[k] > slack*kind.most {
			t.Errorf("%s: want at most %.2f %%", kind.name, 100*slack*kind.most)
		}
	}
}

// rareIdentifier draws a word of 10 to 40 letters and digits that is on one line only, and leaves out its ends.
func rareIdentifier(r *rand.Rand, text []byte) string {
	part := func(c byte) bool {
		return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-'
	}
	for try := 0; ; try++ {
		from := r.IntN(len(text))
		to := from
		for from > 0 && part(text[from-1]) {
			from--
		}
		for to < len(text) && part(text[to]) {
			to++
		}
		if n := to - from; n < 10 || n > 40 || !bytes.ContainsAny(text[from:to], "0123456789") {
			continue
		}
		if inner := text[from+1 : to-1]; bytes.Count(text, inner) == 1 || try > 5 {
			return string(inner)
		}
	}
}

// BenchmarkSign makes the signatures of blocks.
func BenchmarkSign(b *testing.B) {
	for name, text := range corpora(b) {
		b.Run(name, func(b *testing.B) {
			blocks := fillBlocks(text, BlockSize)
			s := newSigner()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				for _, blk := range blocks {
					s.sign(blk.Text, len(blk.Text)/20)
				}
			}
		})
	}
}

// BenchmarkLookup asks the filter of an open segment, in memory, for a needle of 12 bytes.
func BenchmarkLookup(b *testing.B) {
	for name, text := range corpora(b) {
		b.Run(name, func(b *testing.B) {
			var out bytes.Buffer
			write(b, WriterConfig{Filter: true}, &out, fillBlocks(text, BlockSize)...)
			data := out.Bytes()
			seg := open(b, data)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ask(b, data, seg, "3f9c1be07ad2")
			}
		})
	}
}
