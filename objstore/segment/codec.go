package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrCorrupt is what every error about bytes that are not a segment, or no longer, is.
var ErrCorrupt = errors.New("corrupt segment")

// ErrVersion says that a segment is of a later format than this program reads.
var ErrVersion = errors.New("segment format is newer than this program: upgrade it")

// Level chooses between the speed of writing and the size.
type Level uint8

const (
	Fast Level = iota // for fresh segments: 500 to 750 MB/s a core
	Best              // for segments that are kept: a fifth smaller, at 70 to 100 MB/s
)

// Every section that is not text is a zstd skippable frame: zstd -dc passes over it.
//
//	4 bytes  0x184D2A5B, little-endian
//	4 bytes  length of what follows
//	1 byte   kind
//	1 byte   encoding: 0 plain, 1 zstd
//	         content; behind a uvarint of its plain length if it is compressed
const (
	frameMagic  = 0x184D2A5B
	frameHeader = 8
)

type kind byte

const (
	kindIDs     kind = 'i'
	kindFilter  kind = 'f'
	kindIndex   kind = 'x'
	kindSources kind = 's'
	kindLineage kind = 'l'
	kindTrailer kind = 't'
)

const (
	encPlain = 0
	encZstd  = 1
)

// Plain sizes beyond these are refused before anything is allocated.
const (
	maxIDs     = 32 << 20 // an ID column
	maxSection = 4 << 20  // index, sources, lineage
)

// Limits of a segment's tables: what is opened takes no more than some 16 MiB of memory, whoever wrote it.
// A Writer refuses what is over them, and Days begins another segment.
const (
	MaxBlocks   = 1 << 16 // 52 bytes each in the index
	MaxSources  = 1 << 16
	MaxSessions = 1 << 16
	MaxReplaced = 1 << 14
	maxAttrs    = 1 << 17 // of all the sources together

	// Of the sources' attributes, encoded: the rest of the section is left to the sessions, 9 bytes each.
	maxSourcesSize = maxSection - 9*MaxSessions - 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encoder compresses texts and sections. It is not safe for concurrent use.
type encoder struct {
	text  *zstd.Encoder
	small *zstd.Encoder // for columns and tables
	tmp   []byte
}

func newEncoder(level Level) (*encoder, error) {
	speed := zstd.SpeedFastest
	if level == Best {
		speed = zstd.SpeedBestCompression
	}
	text, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
		zstd.WithSingleSegment(true)) // so that even a small frame tells its size
	if err != nil {
		return nil, fmt.Errorf("make text encoder: %w", err)
	}
	small, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("make column encoder: %w", err)
	}
	return &encoder{text: text, small: small}, nil
}

// appendFrame adds a section with the plain content, compressed where that makes it shorter.
func (e *encoder) appendFrame(dst []byte, k kind, plain []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic)
	dst = append(dst, 0, 0, 0, 0, byte(k), encPlain)
	const worthwhile = 48 // a zstd frame's own overhead eats up what is shorter
	if len(plain) >= worthwhile {
		e.tmp = e.small.EncodeAll(plain, e.tmp[:0])
		if len(e.tmp)+binary.MaxVarintLen32 < len(plain) {
			dst[len(dst)-1] = encZstd
			dst = binary.AppendUvarint(dst, uint64(len(plain)))
			plain = e.tmp
		}
	}
	dst = append(dst, plain...)
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(dst)-start-frameHeader))
	return dst
}

// Decoder decompresses blocks and sections, into memory that it reuses. It is not safe for concurrent use.
type Decoder struct {
	z       *zstd.Decoder
	columns []byte
	strict  bool // a zstd frame has to be one, with nothing behind it, and its own checksum right
}

// NewDecoder makes a decoder.
func NewDecoder() (*Decoder, error) {
	// zstd's own checksum is for zstd -dc: here the CRC-32C of what is compressed has been checked before.
	return newDecoder(false)
}

func newDecoder(strict bool) (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(!strict), zstd.WithDecoderMaxMemory(maxIDs))
	if err != nil {
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	return &Decoder{z: z, strict: strict}, nil
}

// decompress appends the content of one zstd frame, which must be of exactly size bytes, to dst.
func (d *Decoder) decompress(dst, frame []byte, size int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if size < 0 || h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(size) {
		return dst, fmt.Errorf("%w: zstd frame is not of %d bytes", ErrCorrupt, size)
	}
	if d.strict && frameEnd(&h, frame) != len(frame) {
		return dst, fmt.Errorf("%w: %d bytes are not one zstd frame", ErrCorrupt, len(frame))
	}
	start := len(dst)
	if cap(dst)-start < size {
		// A frame cannot grow by more than this: a lie about the size costs no memory.
		if most := uint64(len(frame)) << 17; uint64(size) > most {
			return dst, fmt.Errorf("%w: %d bytes cannot hold %d", ErrCorrupt, len(frame), size)
		}
		dst = append(make([]byte, 0, start+size), dst...)
	}
	dst, err := d.z.DecodeAll(frame, dst)
	if err != nil {
		return dst[:start], fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(dst)-start != size {
		return dst[:start], fmt.Errorf("%w: zstd frame holds %d bytes instead of %d", ErrCorrupt, len(dst)-start, size)
	}
	return dst, nil
}

// frameEnd is where the zstd frame ends that b begins with, going by its header h and those of its blocks; -1 if b ends before.
func frameEnd(h *zstd.Header, b []byte) int {
	at := h.HeaderSize
	for last := false; !last; {
		if len(b)-at < 3 {
			return -1
		}
		v := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		last = v&1 != 0
		size := v >> 3
		if v>>1&3 == 1 {
			size = 1 // one byte, to be repeated
		}
		at += 3 + size
	}
	if h.HasCheckSum {
		at += 4
	}
	return at
}

// frame opens a section: b must be exactly one frame of kind k, with a plain content of at most
// limit bytes. What it returns aliases b, or tmp, whose memory it uses and grows.
func (d *Decoder) frame(tmp *[]byte, b []byte, k kind, limit int) ([]byte, error) {
	if len(b) < frameHeader+2 || binary.LittleEndian.Uint32(b) != frameMagic ||
		uint64(binary.LittleEndian.Uint32(b[4:])) != uint64(len(b)-frameHeader) || kind(b[8]) != k {
		return nil, fmt.Errorf("%w: no section %q", ErrCorrupt, k)
	}
	content := b[frameHeader+2:]
	switch b[9] {
	case encPlain:
		if len(content) > limit {
			return nil, fmt.Errorf("%w: section %q of %d bytes", ErrCorrupt, k, len(content))
		}
		return content, nil
	case encZstd:
		in := decoder{b: content}
		size := in.uvarint(uint64(limit))
		if in.err != nil {
			return nil, in.err
		}
		var err error
		*tmp, err = d.decompress((*tmp)[:0], in.b, int(size))
		return *tmp, err
	default:
		return nil, fmt.Errorf("%w: section %q has encoding %d", ErrCorrupt, k, b[9])
	}
}

// appendIDs encodes the IDs and marks of b as columns. number gives a session's place in the segment's table.
func appendIDs(dst []byte, b *Block, number map[uint64]uint32) []byte {
	for _, n := range []int{int(b.records), len(b.Runs), len(b.newlines), len(b.pieces)} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	var t uint64
	for _, r := range b.Runs {
		dst = binary.AppendVarint(dst, int64(r.Time)-int64(t))
		t = r.Time
	}
	for _, r := range b.Runs {
		dst = binary.AppendUvarint(dst, uint64(number[r.Session]))
	}
	next := map[uint64]uint32{}
	for _, r := range b.Runs {
		// Modulo 2^32: a counter is always within half a turn of the expected one, or
		// any difference does.
		dst = binary.AppendVarint(dst, int64(int32(r.Counter-next[r.Session])))
		next[r.Session] = r.Counter + r.N
	}
	for _, r := range b.Runs {
		dst = binary.AppendUvarint(dst, uint64(r.N-1))
	}
	for _, marks := range [][]mark{b.newlines, b.pieces} {
		var prev uint32
		for _, m := range marks {
			dst = binary.AppendUvarint(dst, uint64(m.index-prev))
			prev = m.index
		}
		for _, m := range marks {
			dst = binary.AppendUvarint(dst, uint64(m.value))
		}
	}
	return dst
}

// decodeIDs fills in everything of b but its text, from columns that appendIDs made.
// sessions is the segment's table.
func decodeIDs(b *Block, columns []byte, sessions []uint64) error {
	d := decoder{b: columns}
	b.records = uint32(d.uvarint(MaxBlockRecords))
	runs := d.uvarint(uint64(b.records))
	newlines := d.uvarint(uint64(b.records))
	pieces := d.uvarint(uint64(b.records))
	// Each run and mark takes at least one byte in each of its columns.
	if d.err == nil && 4*runs+2*newlines+2*pieces > uint64(len(d.b)) {
		d.fail("columns are too short")
	}
	if d.err != nil {
		return d.err
	}
	b.Runs = grow(b.Runs, runs)
	var t int64
	for i := range b.Runs {
		t += d.varint()
		if t < 0 || t > MaxTime {
			d.fail("time out of range")
			break
		}
		b.Runs[i].Time = uint64(t)
	}
	for i := range b.Runs {
		n := d.uvarint(1<<32 - 1)
		if n >= uint64(len(sessions)) {
			d.fail("unknown session")
			break
		}
		b.Runs[i].Session = sessions[n]
	}
	if d.err != nil {
		return d.err
	}
	for i := range b.Runs {
		b.Runs[i].Counter = uint32(d.varint())
	}
	next := map[uint64]uint32{}
	for i := range b.Runs {
		r := &b.Runs[i]
		r.N = uint32(d.uvarint(MaxBlockRecords-1)) + 1
		r.Counter += next[r.Session]
		next[r.Session] = r.Counter + r.N
		if uint64(r.Counter)+uint64(r.N) > 1<<32 {
			d.fail("counter overflows")
		}
	}
	b.newlines = decodeMarks(&d, b.newlines, newlines, b.records, MaxBlockText)
	b.pieces = decodeMarks(&d, b.pieces, pieces, b.records, uint64(Continues|Continued))
	d.end()
	return d.err
}

func decodeMarks(d *decoder, marks []mark, n uint64, records uint32, limit uint64) []mark {
	marks = grow(marks, n)
	var at uint64
	for i := range marks {
		delta := d.uvarint(uint64(records))
		at += delta
		if at >= uint64(records) || i > 0 && delta == 0 {
			d.fail("mark out of range")
			break
		}
		marks[i].index = uint32(at)
	}
	for i := range marks {
		marks[i].value = uint32(d.uvarint(limit))
	}
	if d.err != nil {
		return marks[:0]
	}
	return marks
}

// grow returns s with n elements, in its own memory if that is enough.
func grow[T any](s []T, n uint64) []T {
	if uint64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}

// readFull reads len(p) bytes at off, all or an error.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
