package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/oklog/ulid/v2"
)

// BlockInfo is what the index knows of a block.
type BlockInfo struct {
	Offset   int64 // in the segment
	TextSize int   // bytes of the compressed text
	IDsSize  int   // bytes of the ID column behind it
	RawSize  int   // bytes of the text, decoded
	Records  int
	First    ulid.ULID
	Last     ulid.ULID
	CRC      uint32 // CRC-32C of text and ID column, compressed
}

// Size is the bytes that the block takes in the segment.
func (b BlockInfo) Size() int { return b.TextSize + b.IDsSize }

const indexEntry = 4*4 + 16 + 16 + 4

func appendIndex(dst []byte, blocks []BlockInfo) []byte {
	for _, b := range blocks {
		for _, n := range []int{b.TextSize, b.IDsSize, b.RawSize, b.Records} {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
		}
		dst = append(dst, b.First[:]...)
		dst = append(dst, b.Last[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, b.CRC)
	}
	return dst
}

// decodeIndex reads the entries of blocks that fill the segment up to end exactly.
func decodeIndex(p []byte, end int64) ([]BlockInfo, error) {
	if len(p) == 0 || len(p)%indexEntry != 0 || len(p)/indexEntry > MaxBlocks {
		return nil, fmt.Errorf("%w: index of %d bytes", ErrCorrupt, len(p))
	}
	blocks := make([]BlockInfo, len(p)/indexEntry)
	var off int64
	for i := range blocks {
		e := p[i*indexEntry:]
		u32 := func(at int) int { return int(binary.LittleEndian.Uint32(e[at:])) }
		b := &blocks[i]
		*b = BlockInfo{Offset: off, TextSize: u32(0), IDsSize: u32(4), RawSize: u32(8), Records: u32(12), CRC: uint32(u32(48))}
		copy(b.First[:], e[16:32])
		copy(b.Last[:], e[32:48])
		off += int64(b.TextSize) + int64(b.IDsSize)
		switch {
		case b.RawSize == 0 || b.RawSize > MaxBlockText:
			return nil, fmt.Errorf("%w: block %d has %d bytes of text", ErrCorrupt, i, b.RawSize)
		case b.TextSize > MaxBlockText+MaxBlockText/64 || b.IDsSize > maxIDs+frameHeader+16:
			return nil, fmt.Errorf("%w: block %d takes %d bytes", ErrCorrupt, i, b.Size())
		case b.Records == 0 || b.Records > min(MaxBlockRecords, b.RawSize):
			return nil, fmt.Errorf("%w: block %d has %d records", ErrCorrupt, i, b.Records)
		case b.First.Compare(b.Last) > 0 || i > 0 && blocks[i-1].Last.Compare(b.First) >= 0:
			return nil, fmt.Errorf("%w: block %d is out of order", ErrCorrupt, i)
		}
	}
	if off != end {
		return nil, fmt.Errorf("%w: blocks end at %d instead of %d", ErrCorrupt, off, end)
	}
	return blocks, nil
}

// tables gathers what the sources section holds: the distinct sources, then the sessions in the order of their
// numbers, each with its source.
type tables struct {
	sessions []uint64
	number   map[uint64]uint32 // a session's place in sessions
	of       []uint32          // a session's source
	place    map[string]uint32 // an encoded source's place
	encoded  []byte            // the distinct sources
	attrs    int
	tmp      []byte
}

func (t *tables) reset() {
	*t = tables{sessions: t.sessions[:0], of: t.of[:0], encoded: t.encoded[:0], tmp: t.tmp,
		number: map[uint64]uint32{}, place: map[string]uint32{}}
}

// add puts a session in, unless it is there; false if there is no room for it.
func (t *tables) add(session uint64, source Source) bool {
	if _, ok := t.number[session]; ok {
		return true
	}
	t.tmp = source.append(t.tmp[:0])
	place, ok := t.place[string(t.tmp)]
	if len(t.sessions) == MaxSessions ||
		!ok && (len(t.place) == MaxSources || len(t.encoded)+len(t.tmp) > maxSourcesSize || t.attrs+len(source) > maxAttrs) {
		return false
	}
	if !ok {
		place = uint32(len(t.place))
		t.place[string(t.tmp)] = place
		t.encoded = append(t.encoded, t.tmp...)
		t.attrs += len(source)
	}
	t.number[session] = uint32(len(t.sessions))
	t.sessions = append(t.sessions, session)
	t.of = append(t.of, place)
	return true
}

func (t *tables) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.place)))
	dst = append(dst, t.encoded...)
	dst = binary.AppendUvarint(dst, uint64(len(t.sessions)))
	for _, s := range t.sessions {
		dst = append(dst, byte(s>>40), byte(s>>32), byte(s>>24), byte(s>>16), byte(s>>8), byte(s))
	}
	for _, n := range t.of {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func decodeSources(p []byte) ([]uint64, Sources, error) {
	// All keys and values are parts of one string: a table of many costs one allocation.
	d := decoder{b: p, text: string(p)}
	distinct := make([]Source, d.uvarint(min(MaxSources, uint64(len(p))))) // a source takes a byte at least
	attrs := 0
	for i := range distinct {
		s, err := decodeSource(&d)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: source %d: %w", ErrCorrupt, i, err)
		}
		if attrs += len(s); attrs > maxAttrs {
			return nil, nil, fmt.Errorf("%w: more than %d attributes", ErrCorrupt, maxAttrs)
		}
		distinct[i] = s
	}
	n := d.uvarint(min(MaxSessions, uint64(len(d.b))/7))
	sessions := make([]uint64, n)
	for i := range sessions {
		var b [8]byte
		copy(b[2:], d.bytes(6))
		sessions[i] = binary.BigEndian.Uint64(b[:])
	}
	of := make(Sources, n)
	for _, s := range sessions {
		k := d.uvarint(1<<32 - 1)
		if k >= uint64(len(distinct)) {
			d.fail("session without a source")
			break
		}
		of[s] = distinct[k]
	}
	d.end()
	if d.err == nil && len(of) != len(sessions) {
		d.fail("session is listed twice")
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("sources table: %w", d.err)
	}
	return sessions, of, nil
}

// RecordsWithin is how many records the blocks of a segment have at most from one ID to another, both included.
func RecordsWithin(blocks []BlockInfo, first, last ulid.ULID) (n int64) {
	at, _ := slices.BinarySearchFunc(blocks, first, func(b BlockInfo, id ulid.ULID) int { return b.Last.Compare(id) })
	for _, b := range blocks[at:] {
		if b.First.Compare(last) > 0 {
			break
		}
		n += int64(b.Records)
	}
	return n
}

// Lineage tells what a segment replaces: of each of the segments named, the records with IDs above After, up to Through, are
// in this one. What is above or below may be in others that were written with it.
type Lineage struct {
	After, Through ulid.ULID
	Replaces       []string // keys, of the same topic and day
}

func (l Lineage) append(dst []byte) []byte {
	dst = append(append(dst, l.After[:]...), l.Through[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(l.Replaces)))
	for _, k := range l.Replaces {
		dst = binary.AppendUvarint(dst, uint64(len(k)))
		dst = append(dst, k...)
	}
	return dst
}

func decodeLineage(p []byte) (l Lineage, err error) {
	d := decoder{b: p}
	copy(l.After[:], d.bytes(16))
	copy(l.Through[:], d.bytes(16))
	l.Replaces = make([]string, 0, d.uvarint(min(MaxReplaced, uint64(len(p)))))
	for range cap(l.Replaces) {
		l.Replaces = append(l.Replaces, string(d.bytes(d.uvarint(MaxKey))))
	}
	d.end()
	if d.err != nil {
		return Lineage{}, d.err
	}
	return l, nil
}

// Version is the version of the format that this package writes, the highest that it reads.
const Version = 1

// The trailer is the last section. Its size never changes, whatever the version.
//
//	 0  2 bytes   version
//	 2  1 byte    generation: 0 fresh from ingest
//	 3  1 byte    0
//	 4  4 x 16    filter, index, sources, lineage: offset (8), size (4), CRC-32C (4); size 0: absent
//	68  8         size of the segment, this section included
//	76  4         CRC-32C of the 76 bytes before
//	80  8 bytes   "OKLOGSEG"
const (
	trailerBody = 88
	trailerSize = frameHeader + 2 + trailerBody
	magic       = "OKLOGSEG"
)

// section is where a section lies: its whole frame.
type section struct {
	off  int64
	size int
	crc  uint32
}

type trailer struct {
	version                         uint16
	generation                      uint8
	filter, index, sources, lineage section
	size                            int64
}

func (t *trailer) sections() []*section {
	return []*section{&t.filter, &t.index, &t.sources, &t.lineage}
}

func (t *trailer) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic)
	dst = binary.LittleEndian.AppendUint32(dst, trailerBody+2)
	dst = append(dst, byte(kindTrailer), encPlain)
	start := len(dst)
	dst = binary.LittleEndian.AppendUint16(dst, t.version)
	dst = append(dst, t.generation, 0)
	for _, s := range t.sections() {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(s.off))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.size))
		dst = binary.LittleEndian.AppendUint32(dst, s.crc)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.size))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, magic...)
}

// decodeTrailer reads the last trailerSize bytes of a segment of the given size.
func decodeTrailer(p []byte, size int64) (t trailer, err error) {
	body := p[frameHeader+2:]
	if string(body[80:]) != magic {
		return t, fmt.Errorf("%w: it does not end like a segment (foreign or truncated)", ErrCorrupt)
	}
	if binary.LittleEndian.Uint32(body[76:]) != crc32.Checksum(body[:76], castagnoli) ||
		binary.LittleEndian.Uint32(p) != frameMagic || binary.LittleEndian.Uint32(p[4:]) != trailerBody+2 ||
		kind(p[8]) != kindTrailer || p[9] != encPlain {
		return t, fmt.Errorf("%w: trailer is damaged", ErrCorrupt)
	}
	t.version, t.generation = binary.LittleEndian.Uint16(body), body[2]
	if t.version == 0 || t.version > Version {
		return t, fmt.Errorf("%w (its version is %d, this program reads up to %d)", ErrVersion, t.version, Version)
	}
	end := uint64(size - trailerSize)
	for i, s := range t.sections() {
		e := body[4+16*i:]
		off, n := binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint32(e[8:])
		limit := uint32(maxSection)
		if s == &t.filter {
			limit = maxFilter
		}
		if off > end || uint64(n) > end-off || n > limit {
			return t, fmt.Errorf("%w: a section lies outside", ErrCorrupt)
		}
		*s = section{int64(off), int(n), binary.LittleEndian.Uint32(e[12:])}
	}
	t.size = int64(binary.LittleEndian.Uint64(body[68:]))
	if t.size != size {
		return t, fmt.Errorf("%w: it has %d bytes where %d were written", ErrCorrupt, size, t.size)
	}
	return t, nil
}
