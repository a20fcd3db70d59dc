package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
)

// The filter tells which blocks may hold a needle. It is all the blocks' signatures, bit-sliced: a row for each slot, with a bit for
// each block. Blocks whose signatures are of the same size form a group with a matrix of its own. The
// rows of a group lie in pages, each with a checksum, so that a query reads a few of them and not the filter.
const (
	pageSize = 4 << 10 // bytes of rows in a page, at most, unless a single row is longer
	pageSum  = 4       // the CRC-32C behind them
	// Signatures of a segment together, in bytes: what a Writer holds until it has come to the end of the blocks.
	maxSignatures = 32 << 20
	// The whole section: besides the signatures some checksums and the directory.
	maxFilter = maxSignatures + 1<<20
	dirFooter = 8
	plainBit  = 0x80 // in the directory, besides a class
	// What a directory takes at most.
	maxDirectory = MaxBlocks + dirFooter
)

// ErrFilter says that a segment's filter is damaged: its blocks have to be scanned.
var ErrFilter = errors.New("damaged filter")

// signatures collects those of a segment that is being written.
type signatures struct {
	signer *signer
	blocks []signature
	size   int // bytes
}

func (s *signatures) reset() { s.blocks, s.size = s.blocks[:0], 0 }

func (s *signatures) add(text []byte, stored int) {
	sig := s.signer.sign(text, stored)
	s.blocks = append(s.blocks, sig)
	s.size += len(sig.slots) * 8
	for s.size > maxSignatures && s.halve() {
	}
}

// halve makes the largest signatures smaller, and worse.
func (s *signatures) halve() bool {
	largest := uint8(0)
	for _, b := range s.blocks {
		largest = max(largest, b.class)
	}
	if largest < 2 {
		return false // 65,536 blocks of the least size are 4 MiB
	}
	for i, b := range s.blocks {
		if b.class >= largest-1 {
			s.blocks[i] = b.half()
			s.size -= len(b.slots) * 4
		}
	}
	return true
}

// matrix is where a group lies.
type matrix struct {
	class  uint8
	blocks []uint32 // its columns
	off    int64    // of its first page
}

func (m *matrix) slots() int { return classSlots(m.class) }

// perPage is how many rows a page holds.
func (m *matrix) perPage() int { return max(1, pageSize*8/len(m.blocks)) }

func (m *matrix) pages() int { return (m.slots() + m.perPage() - 1) / m.perPage() }

// page tells where page n lies, from the group's first, its checksum included.
func (m *matrix) page(n int) (off int64, size int) {
	full := (m.perPage()*len(m.blocks)+7)/8 + pageSum
	rows := min(m.perPage(), m.slots()-n*m.perPage())
	return int64(n) * int64(full), (rows*len(m.blocks)+7)/8 + pageSum
}

func (m *matrix) size() int64 {
	off, size := m.page(m.pages() - 1)
	return off + int64(size)
}

// matrices groups blocks by the classes of their signatures. Pages begin at off. end is where they end.
func matrices(classes []byte, off int64) (groups []matrix, end int64) {
	var blocks [maxClass + 1][]uint32
	for i, c := range classes {
		blocks[c] = append(blocks[c], uint32(i))
	}
	for c, b := range blocks {
		if len(b) > 0 {
			m := matrix{uint8(c), b, off}
			groups = append(groups, m)
			off += m.size()
		}
	}
	return groups, off
}

// write puts the section out, piece by piece, and returns where it lies.
func (s *signatures) write(off int64, put func([]byte) error) (section, error) {
	classes := make([]byte, len(s.blocks))
	for i, b := range s.blocks {
		classes[i] = b.class
	}
	const head = frameHeader + 2
	groups, end := matrices(classes, off+head)
	for i, b := range s.blocks {
		if b.plain {
			classes[i] |= plainBit
		}
	}
	dir := appendDirectory(nil, classes)
	sec := section{off, int(end-off) + len(dir), crc32.Checksum(dir, castagnoli)}
	h := binary.LittleEndian.AppendUint32(nil, frameMagic)
	h = binary.LittleEndian.AppendUint32(h, uint32(sec.size-frameHeader))
	if err := put(append(h, byte(kindFilter), encPlain)); err != nil {
		return sec, err
	}
	var page []byte
	for _, m := range groups {
		for n := range m.pages() {
			page = s.appendPage(page[:0], &m, n)
			if err := put(page); err != nil {
				return sec, err
			}
		}
	}
	return sec, put(dir)
}

// appendPage turns a stretch of slots of the group's blocks into rows.
func (s *signatures) appendPage(dst []byte, m *matrix, n int) []byte {
	_, size := m.page(n)
	dst = append(dst, make([]byte, size-pageSum)...)
	first := n * m.perPage()
	end := min(first+m.perPage(), m.slots())
	for col, block := range m.blocks {
		slots := s.blocks[block].slots
		for i := first / 64; i*64 < end; i++ {
			for w := slots[i]; w != 0; w &= w - 1 {
				slot := i*64 + bits.TrailingZeros64(w)
				if slot >= first && slot < end {
					at := (slot-first)*len(m.blocks) + col
					dst[at/8] |= 1 << (at % 8)
				}
			}
		}
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// The directory is the end of the section: the class of each block, with plainBit if its text is not Escaped, then
//
//	0  1 byte   GramSize
//	1  1 byte   gramBits
//	2  2 bytes  0
//	4  4 bytes  CRC-32C of the directory up to here
func appendDirectory(dst, classes []byte) []byte {
	dst = append(append(dst, classes...), GramSize, gramBits, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// Filter is where the filter of a segment lies, for queries that read parts of it.
type Filter struct {
	Size   int64 // bytes in the segment
	Plain  Set   // the blocks whose text is known not to be Escaped
	blocks int
	groups []matrix
}

// openFilter reads the directory dir of a filter that is the section s of a segment of some blocks.
func openFilter(dir []byte, s section, blocks int) (*Filter, error) {
	classes, foot := slices.Clone(dir[:blocks]), dir[blocks:]
	if crc32.Checksum(dir[:len(dir)-4], castagnoli) != binary.LittleEndian.Uint32(foot[4:]) || crc32.Checksum(dir, castagnoli) != s.crc {
		return nil, fmt.Errorf("%w: its directory", ErrFilter)
	}
	plain := NewSet(blocks, false)
	for i, c := range classes {
		if c&plainBit != 0 {
			plain.Add(i)
			classes[i] = c &^ plainBit
		}
	}
	if foot[0] != GramSize || foot[1] != gramBits || slices.Max(classes) > maxClass {
		return nil, fmt.Errorf("%w: it is of another kind", ErrFilter)
	}
	groups, end := matrices(classes, s.off+frameHeader+2)
	if end+int64(len(dir)) != s.off+int64(s.size) {
		return nil, fmt.Errorf("%w: its pages end at %d", ErrFilter, end)
	}
	return &Filter{int64(s.size), plain, blocks, groups}, nil
}

// Memory is what the open filter takes, in bytes.
func (f *Filter) Memory() int64 { return 96 + 64*int64(len(f.groups)) + 5*int64(f.blocks) }

// Set is a set of blocks of a segment: bit i%64 of word i/64 stands for block i.
type Set []uint64

// NewSet makes a set for n blocks, of all of them or of none.
func NewSet(n int, all bool) Set {
	s := make(Set, (n+63)/64)
	for i := 0; all && i < n; i++ {
		s[i/64] |= 1 << (i % 64)
	}
	return s
}

// Has tells whether block i is in the set.
func (s Set) Has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

// Add puts block i into the set.
func (s Set) Add(i int) { s[i/64] |= 1 << (i % 64) }

// Empty tells that no block is in the set.
func (s Set) Empty() bool { return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 }) }

// None is an empty set for as many blocks as s is for.
func (s Set) None() Set { return make(Set, len(s)) }

// Sub leaves in s what is not in t.
func (s Set) Sub(t Set) {
	for i := range s {
		s[i] &^= t[i]
	}
}

// And leaves in s what is in t, too.
func (s Set) And(t Set) {
	for i := range s {
		s[i] &= t[i]
	}
}

// Or adds what is in t.
func (s Set) Or(t Set) {
	for i := range s {
		s[i] |= t[i]
	}
}

// Span is a stretch of a segment's bytes.
type Span struct {
	Off  int64
	Size int
}

// Spans tells what Blocks will read for some grams: ascending, and as one where the gap between
// them is at most gap bytes.
func (f *Filter) Spans(grams []Gram, gap int) []Span {
	var all []Span
	for i := range f.groups {
		m := &f.groups[i]
		for _, g := range grams {
			off, size := m.page(int(slotOf(g, m.slots())) / m.perPage())
			all = append(all, Span{m.off + off, size})
		}
	}
	slices.SortFunc(all, func(a, b Span) int { return cmp.Compare(a.Off, b.Off) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && s.Off-merged[n-1].Off-int64(merged[n-1].Size) <= int64(gap) {
			last := &merged[n-1]
			last.Size = max(last.Size, int(s.Off-last.Off)+s.Size)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// Blocks tells which blocks may hold each of the grams: a set for each, in their order. page gives the bytes of a
// stretch of the segment, all of them parts of Spans. Errors are ErrFilter, or page's.
func (f *Filter) Blocks(grams []Gram, page func(Span) ([]byte, error)) ([]Set, error) {
	sets := make([]Set, len(grams))
	for i := range sets {
		sets[i] = NewSet(f.blocks, false)
	}
	for i := range f.groups {
		m := &f.groups[i]
		checked := map[int][]byte{}
		for k, g := range grams {
			slot := int(slotOf(g, m.slots()))
			n := slot / m.perPage()
			p, ok := checked[n]
			if !ok {
				off, size := m.page(n)
				var err error
				if p, err = page(Span{m.off + off, size}); err != nil {
					return nil, err
				}
				rows := p[:size-pageSum]
				if crc32.Checksum(rows, castagnoli) != binary.LittleEndian.Uint32(p[size-pageSum:]) {
					return nil, fmt.Errorf("%w: page at offset %d", ErrFilter, m.off+off)
				}
				checked[n] = p
			}
			at := (slot - n*m.perPage()) * len(m.blocks)
			for col, block := range m.blocks {
				if bit := at + col; p[bit/8]>>(bit%8)&1 != 0 {
					sets[k].Add(int(block))
				}
			}
		}
	}
	return sets, nil
}
