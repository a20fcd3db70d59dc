package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
)

// A page file is a head, which is wholly known to whoever asks for the page, and the page's bytes. Integers are little-endian.
//
//	 0   4  magic "okp1"
//	 4   4  CRC-32C of everything behind it
//	 8   8  size of the object
//	16   8  number of the page
//	24   4  size of pages
//	28   4  length of the page
//	32   4  length of the key
//	36      the key
//	        the page
//
// So nothing in a file has to be parsed: a reader computes the file's size and, from the bytes of the page, its head, and compares.
const (
	pageMagic = "okp1"
	pageHead  = 36 // and the key
)

// appendHead appends the head of the file that holds data as the page id.
func appendHead(dst []byte, id pageID, pageSize int64, data []byte) []byte {
	start := len(dst)
	dst = append(dst, pageMagic+"\x00\x00\x00\x00"...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.size))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.n))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(pageSize))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(id.key)))
	dst = append(dst, id.key...)
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(dst[start+8:], castagnoli), castagnoli, data)
	binary.LittleEndian.PutUint32(dst[start+4:], sum)
	return dst
}

// intact tells whether a file's head and the bytes behind it are the page id.
func intact(id pageID, pageSize int64, head, data []byte) bool {
	return bytes.Equal(head, appendHead(make([]byte, 0, len(head)), id, pageSize, data))
}

// fileSize is the size of the file that holds a page of n bytes.
func fileSize(id pageID, n int) int64 { return int64(pageHead + len(id.key) + n) }

// fileName is a hash that names a page's file. Its first byte is the set.
type fileName [16]byte

const nameLength = 2*len(fileName{}) - 2

func nameOf(id pageID, pageSize int64) (name fileName) {
	head := appendHead(make([]byte, 0, pageHead+len(id.key)), id, pageSize, nil)
	sum := sha256.Sum256(head)
	copy(name[:], sum[:])
	return name
}

func (name fileName) folder() string { return hex.EncodeToString(name[:1]) }

// path of the file, with slashes.
func (name fileName) path() string {
	h := hex.EncodeToString(name[:])
	return h[:2] + "/" + h[2:]
}

// parseName is the opposite of path.
func parseName(set uint8, base string) (name fileName, ok bool) {
	if len(base) != nameLength {
		return name, false
	}
	name[0] = set
	_, err := hex.Decode(name[1:], []byte(base))
	return name, err == nil && name.path()[3:] == base // hexadecimal of the one case
}
