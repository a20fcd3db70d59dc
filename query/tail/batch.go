package tail

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"oklog/objstore/segment"
)

// Bounds on one batch, whose bytes come from anywhere: decoded it is in memory.
const (
	maxBatchText = 64 << 20
	recordCost   = 96 // bytes that a record takes besides its text, about
)

// errBatch is what the error about a batch is that is over the bounds.
var errBatch = errors.New("the batch is over the limits")

// batch is the records of a message, decoded once for all readers. It does not change.
type batch struct {
	blocks   []*segment.Block
	sessions map[uint64]spans // which records are in it
	size     int64            // bytes it takes, about
}

// decodeBatch reads a small segment.
func decodeBatch(dec *segment.Decoder, body []byte) (*batch, error) {
	seg, err := dec.Open(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, fmt.Errorf("decode batch: %w", err)
	}
	var text, records int64
	for _, b := range seg.Blocks {
		text += int64(b.RawSize)
		records += int64(b.Records)
	}
	if text > maxBatchText || records > segment.MaxBlockRecords {
		return nil, fmt.Errorf("decode batch: %w: %d bytes of text, %d records", errBatch, text, records)
	}
	b := &batch{}
	raw := make([]byte, 0)
	for _, info := range seg.Blocks {
		if size := info.Size(); cap(raw) < size {
			raw = make([]byte, size)
		}
		raw = raw[:info.Size()]
		if _, err := bytes.NewReader(body).ReadAt(raw, info.Offset); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("decode batch: %w", err)
		}
		block := &segment.Block{}
		if err := dec.Block(block, seg, info, raw); err != nil {
			return nil, fmt.Errorf("decode batch: %w", err)
		}
		b.blocks = append(b.blocks, block)
		b.size += int64(cap(block.Text)) + 32*int64(len(block.Runs))
	}
	b.sessions = sessionsOf(b.blocks)
	for _, s := range b.sessions {
		b.size += 64 + 32*int64(len(s))
	}
	return b, nil
}

// sessionsOf tells which records are in blocks.
func sessionsOf(blocks []*segment.Block) map[uint64]spans {
	all := map[uint64]spans{}
	for _, b := range blocks {
		for _, r := range b.Runs {
			x := span{lo: uint64(r.Counter), hi: uint64(r.Counter) + uint64(r.N), first: r.Time, last: r.Time}
			s := all[r.Session]
			if n := len(s); n > 0 && s[n-1].hi == x.lo {
				s[n-1].hi, s[n-1].last = x.hi, x.last
				continue
			}
			all[r.Session] = append(s, x)
		}
	}
	for session, s := range all {
		all[session] = tidy(s)
	}
	return all
}

// tidy makes spans of what is in any order.
func tidy(s spans) spans {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	out := s[:0]
	for _, x := range s {
		if n := len(out); n > 0 && x.lo <= out[n-1].hi {
			if x.hi > out[n-1].hi {
				out[n-1].hi, out[n-1].last = x.hi, x.last
			}
			continue
		}
		out = append(out, x)
	}
	return out
}
