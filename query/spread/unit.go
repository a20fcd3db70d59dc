package spread

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
)

const (
	// A unit of records is sent when it has so much text, in bytes, or as much of sources.
	unitText = 512 << 10
	// Beyond these, in bytes, a unit is refused: encoded, and its text decoded.
	maxUnit     = 8 << 20
	maxUnitText = 4 << 20
)

// packer makes units of records: segments, in the format of those in buckets. Records that come in descending order are turned round.
type packer struct {
	newest bool
	writer *segment.Writer
	block  segment.Block // ascending
	size   int           // of text, and of sources
	n      int           // records
	out    bytes.Buffer

	// Of what comes in descending order, until it is turned round:
	text    []byte // of the records, one behind the other
	records []packed
	known   map[uint64]bool // sessions in the unit
}

// packed is a record whose text ends at a place.
type packed struct {
	id    ulid.ULID
	piece segment.Piece
	end   int
}

func newPacker() (*packer, error) {
	// A unit is a block that the writer takes as it is.
	w, err := segment.NewWriter(segment.WriterConfig{BlockSize: unitText})
	if err != nil {
		return nil, err
	}
	return &packer{writer: w, known: map[uint64]bool{}}, nil
}

// reset forgets what was added.
func (p *packer) reset(newest bool) {
	clear(p.known)
	p.newest = newest
	p.block.Reset()
	p.block.Sources = segment.Sources{}
	p.text, p.records, p.size, p.n = p.text[:0], p.records[:0], 0, 0
	p.out.Reset()
}

// add takes a record, and tells whether the unit is full.
func (p *packer) add(r query.Record) (full bool) {
	_, session, _ := segment.SplitID(r.ID)
	if !p.known[session] {
		p.known[session] = true
		p.block.Sources[session] = r.Source
		for _, a := range r.Source {
			p.size += len(a.Key) + len(a.Value)
		}
		p.size += 64
	}
	if p.newest {
		p.text = append(p.text, r.Text...)
		p.records = append(p.records, packed{r.ID, r.Piece, len(p.text)})
	} else {
		p.block.Append(r.ID, r.Text, r.Piece)
	}
	p.n++
	p.size += len(r.Text) + 16
	return p.size >= unitText
}

// unit is what was added since the last one, encoded; nil if there is nothing.
func (p *packer) unit() ([]byte, error) {
	if p.n == 0 {
		return nil, nil
	}
	for i := range p.records {
		i = len(p.records) - 1 - i
		r, start := p.records[i], 0
		if i > 0 {
			start = p.records[i-1].end
		}
		p.block.Append(r.id, p.text[start:r.end], r.piece)
	}
	p.writer.Reset(&p.out)
	c := p.block.Cursor()
	if err := p.writer.Take(&c, c.Left()); err != nil {
		return nil, err
	}
	if _, err := p.writer.Finish(); err != nil {
		return nil, err
	}
	unit := bytes.Clone(p.out.Bytes())
	p.reset(p.newest)
	return unit, nil
}

// unpacker reads units.
type unpacker struct {
	newest  bool
	decoder *segment.Decoder
	block   segment.Block
	records []segment.Record
}

func newUnpacker(newest bool) (*unpacker, error) {
	d, err := segment.NewDecoder()
	return &unpacker{newest: newest, decoder: d}, err
}

// badUnitError says that a unit does not decode.
type badUnitError struct{ error }

// each calls f with the records of a unit, in the order of the query. A record is valid until f returns. Errors are a badUnitError, or f's.
func (u *unpacker) each(raw []byte, f func(segment.Record) error) error {
	bad := func(err error) error { return badUnitError{fmt.Errorf("%w: %w", errMessage, err)} }
	if len(raw) > maxUnit {
		return bad(fmt.Errorf("a unit of %d bytes", len(raw)))
	}
	seg, err := u.decoder.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return bad(err)
	}
	text := 0
	for _, b := range seg.Blocks {
		if text += b.RawSize; text > maxUnitText {
			return bad(fmt.Errorf("a unit of over %d bytes of text", maxUnitText))
		}
	}
	for i := range seg.Blocks {
		if u.newest {
			i = len(seg.Blocks) - 1 - i
		}
		b := seg.Blocks[i]
		if b.Offset < 0 || b.Offset > int64(len(raw)-b.Size()) {
			return bad(segment.ErrCorrupt)
		}
		if err := u.decoder.Block(&u.block, seg, b, raw[b.Offset:][:b.Size()]); err != nil {
			return bad(err)
		}
		u.records = u.records[:0]
		for c := u.block.Cursor(); c.Left() > 0; {
			u.records = append(u.records, c.Next())
		}
		if u.newest {
			slices.Reverse(u.records)
		}
		for _, r := range u.records {
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}
