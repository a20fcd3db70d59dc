package segment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
)

// A text is escaped where a character is that stands for itself in what encoders write, in any spelling.
func TestEscaped(t *testing.T) {
	for c := range rune(1 << 16) {
		if c >= 0x2200 && c%101 != 0 {
			continue // nothing is there
		}
		encoded, err := json.Marshal(string(c))
		if err != nil {
			t.Fatal(err)
		}
		// As encoding/json does it, and as others do.
		want := c >= ' ' && c < 0x7f && !bytes.Contains(encoded, []byte(`\`)) && !strings.ContainsRune("/'", c)
		for _, special := range "ks" {
			for other := unicode.SimpleFold(special); other != special; other = unicode.SimpleFold(other) {
				want = want || c == other
			}
		}
		for _, format := range []string{`\u%04x`, `\u%04X`, `\U%04X`, `\\u%04x`, `\n\u%04x`} {
			text := fmt.Sprintf(format, c)
			for _, text := range []string{text, "before" + text + "after", `\u` + text + `\u00`, `\u\u005\u00e9` + text} {
				if have := Escaped([]byte(text)); have != want {
					t.Fatalf("%s: %v, want %v", text, have, want)
				}
			}
		}
	}
	for _, text := range []string{"", `\`, `\u`, `\u0`, `\u004`, `\u004x`, `u0041`, `\u 0041`, `\x41`, `\u{41}`, `C:\Users\update00\u`, "\\u00\n41", "\\u004\n1"} {
		if Escaped([]byte(text)) {
			t.Errorf("%q is escaped", text)
		}
	}
}

// What a filter calls plain is the blocks without escapes, also when signatures are halved.
func TestPlainBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var blocks []*Block
		n := 0
		for range 1 + r.IntN(100) {
			var recs []rec
			for range 1 + r.IntN(5) {
				text := words(r, 10+r.IntN(50))
				if r.IntN(10) == 0 {
					text += fmt.Sprintf(`\u%04x`, r.IntN(0x80))
				}
				recs = append(recs, rec{MakeID(1_790_000_000_000, 1, uint32(n)), "", text, 0})
				n++
			}
			blocks = append(blocks, block(recs...))
		}
		data, _ := segmentOf(t, WriterConfig{Filter: true, BlockSize: 200}, nil, blocks...)
		seg := open(t, data)
		d, err := NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		for i, info := range seg.Blocks {
			var b Block
			if err := d.Block(&b, seg, info, data[info.Offset:][:info.Size()]); err != nil {
				t.Fatal(err)
			}
			if seg.Filter.Plain.Has(i) == Escaped(b.Text) {
				t.Errorf("block %d is plain: %v: %q", i, seg.Filter.Plain.Has(i), b.Text)
			}
		}
	}
	if s := (signature{class: 7, plain: true, slots: make([]uint64, classSlots(7)/64)}).half(); !s.plain {
		t.Error("half a signature is not plain any more")
	}
}
