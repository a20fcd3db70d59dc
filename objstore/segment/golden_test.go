package segment

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// smallest is a segment of two records, "hello" and "world", byte by byte. FORMAT.md explains it with
// the same figures.
var smallest = []struct{ hex, what string }{
	{"28b52ffd", "block 0: zstd frame"},
	{"24 0c", "frame header: single segment, checksum; content of 12 bytes"},
	{"610000", "one raw zstd block, the last, of 12 bytes"},
	{"68656c6c6f0a 776f726c640a", "hello\\n world\\n"},
	{"b50e8717", "the zstd frame's own checksum"},

	{"5b2a4d18 0f000000", "skippable frame of 15 bytes"},
	{"69 00", "kind i: the block's ID column; plain"},
	{"02 01 00 00", "2 records in 1 run; no marks of newlines, none of pieces"},
	{"80b083c59868", "run 0: time, 1790000000000 ms after the one before, zigzag"},
	{"00", "run 0: session 0 of the table"},
	{"00", "run 0: counter, 0 more than expected, zigzag"},
	{"01", "run 0: 1 record more than one"},

	{"5b2a4d18 36000000", "skippable frame of 54 bytes"},
	{"78 00", "kind x: index; plain"},
	{"19000000 17000000", "block 0: text of 25 bytes, ID column of 23"},
	{"0c000000 02000000", "12 bytes decoded, 2 records"},
	{"01a0c4506c00 000000000abc 00000000", "first ID: time, session, counter"},
	{"01a0c4506c00 000000000abc 00000001", "last ID"},
	{"1108546f", "CRC-32C of the 48 bytes of the block"},

	{"5b2a4d18 13000000", "skippable frame of 19 bytes"},
	{"73 00", "kind s: sources; plain"},
	{"01", "1 distinct source:"},
	{"01 04686f7374 0161", "1 attribute: host, a"},
	{"01 000000000abc", "1 session: its number"},
	{"00", "its source"},

	{"5b2a4d18 5a000000", "skippable frame of 90 bytes"},
	{"74 00", "kind t: trailer; always plain"},
	{"0100 00 00", "version 1, generation 0, reserved"},
	{"0000000000000000 00000000 00000000", "filter: none"},
	{"3000000000000000 3e000000 dabaf2ee", "index: at 48, 62 bytes, CRC-32C"},
	{"6e00000000000000 1b000000 7ad170bc", "sources: at 110, 27 bytes, CRC-32C"},
	{"0000000000000000 00000000 00000000", "lineage: none"},
	{"eb00000000000000", "the segment has 235 bytes"},
	{"8b8e8c8d", "CRC-32C of the trailer so far, from the version on"},
	{"4f4b4c4f47534547", "OKLOGSEG"},
}

func TestAnnotatedSegment(t *testing.T) {
	var want []byte
	for _, p := range smallest {
		b, err := hex.DecodeString(strings.ReplaceAll(p.hex, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", p.what, err)
		}
		want = append(want, b...)
	}
	const ms = 1_790_000_000_000
	recs := []rec{{MakeID(ms, 0xabc, 0), "host=a", "hello", 0}, {MakeID(ms, 0xabc, 1), "host=a", "world", 0}}
	var out bytes.Buffer
	write(t, WriterConfig{}, &out, block(recs...))
	got := out.Bytes()
	for _, p := range smallest {
		b, _ := hex.DecodeString(strings.ReplaceAll(p.hex, " ", ""))
		if !bytes.HasPrefix(got, b) {
			t.Fatalf("%s: want % x, got % x", p.what, b, got[:min(len(got), len(b))])
		}
		got = got[len(b):]
	}
	if len(got) > 0 {
		t.Errorf("%d bytes behind the trailer", len(got))
	}
	if _, back := read(t, want); len(back) != 2 || back[0] != recs[0] || back[1] != recs[1] {
		t.Errorf("the literal reads as %v, want %v", back, recs)
	}
}
