package segment

import (
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"
)

// packSize is how much text a part of a packed block holds, in bytes: what is in memory of it while it is read.
const packSize = 64 << 10

// Packer makes blocks small that have to wait in memory. It is not safe for concurrent use.
type Packer struct {
	enc  *encoder
	buf  []byte
	cols []byte
	part Block
}

// NewPacker makes a packer.
func NewPacker() (*Packer, error) {
	enc, err := newEncoder(Fast)
	if err != nil {
		return nil, fmt.Errorf("make packer: %w", err)
	}
	return &Packer{enc: enc}, nil
}

// Packed is a block in parts, each of them compressed. It is read once, from its beginning to its end.
type Packed struct {
	parts    []part
	sessions []uint64
	sources  Sources
	size     int64
}

// part is encoded like a segment's block.
type part struct {
	first     ulid.ULID
	text, raw int // bytes of the compressed text, which comes first, and of the text
	data      []byte
}

// Pack returns the records of b, in their order, whatever that is. It keeps nothing of b but the sources.
func (p *Packer) Pack(b *Block) *Packed {
	out := &Packed{sources: b.Sources}
	number := map[uint64]uint32{}
	for _, r := range b.Runs {
		if _, ok := number[r.Session]; !ok {
			number[r.Session] = uint32(len(out.sessions))
			out.sessions = append(out.sessions, r.Session)
		}
	}
	for c := b.Cursor(); c.Left() > 0; {
		p.part.Reset()
		c.AppendTo(&p.part, max(1, c.fit(min(c.Left(), MaxBlockRecords), packSize)))
		p.buf = p.enc.text.EncodeAll(p.part.Text, p.buf[:0])
		n := len(p.buf)
		p.cols = appendIDs(p.cols[:0], &p.part, number)
		p.buf = p.enc.appendFrame(p.buf, kindIDs, p.cols)
		data := slices.Clone(p.buf) // to the byte: an encoder's buffer has room for what does not compress
		out.parts = append(out.parts, part{p.part.First(), n, len(p.part.Text), data})
		out.size += int64(cap(data))
	}
	return out
}

// Size is the memory that is taken, in bytes.
func (p *Packed) Size() int64 { return p.size }

// Next is the ID of the next record; false if there is none.
func (p *Packed) Next() (ulid.ULID, bool) {
	if len(p.parts) == 0 {
		return ulid.ULID{}, false
	}
	return p.parts[0].first, true
}

// Unpack decodes the next part into b, in b's memory where that is large enough, and lets go of it. There must be one.
func (p *Packed) Unpack(d *Decoder, b *Block) error {
	next := p.parts[0]
	p.parts[0] = part{}
	p.parts = p.parts[1:]
	p.size -= int64(cap(next.data))
	b.Reset()
	text, err := d.decompress(b.Text, next.data[:next.text], next.raw)
	if err != nil {
		return err
	}
	b.Text = text
	columns, err := d.frame(&d.columns, next.data[next.text:], kindIDs, maxIDs)
	if err == nil {
		err = decodeIDs(b, columns, p.sessions)
	}
	b.Sources = p.sources
	return err
}
