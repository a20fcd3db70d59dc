package spread

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/oklog/ulid/v2"

	"oklog/query"
)

// Version is that of the messages. Members of different versions do not work for each other.
const Version = 2

// A message:
//
//	1 byte   Version
//	1 byte   kind
//	8 bytes  attempt, big-endian: drawn at random, names a piece that is being worked on
//	4 bytes  seq
//	4 bytes  CRC-32C of all the others
//	         body
//
//	kind     to            seq                     body
//	run      the member                            an order, as JSON
//	credit   the member    units that may be sent
//	stop     the member                            (it answers with what it knows so far)
//	cancel   the member                            (it answers nothing)
//	busy     the coordinator                       (no slot is free)
//	beat     the coordinator  parts sent so far
//	part     the coordinator  of the parts, from 0  flags, and a part of a unit
//
// A unit is a small segment with records, counts by time, or the answer as JSON. It is cut into parts that fit into messages.
type message struct {
	kind    kind
	attempt uint64
	seq     uint32
	body    []byte
}

type kind byte

const (
	kindRun kind = 1 + iota
	kindCredit
	kindStop
	kindCancel
	kindBusy
	kindBeat
	kindPart
)

// Flags of a part.
const (
	flagMore   = 1 << iota // the unit goes on in the next part
	flagAnswer             // the unit is the answer
)

const (
	headerSize = 18
	crcAt      = 14
)

var errMessage = errors.New("bad message")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode makes the bytes of a message. Its body may be in two parts.
func (m message) encode(more ...byte) []byte {
	b := make([]byte, headerSize, headerSize+len(m.body)+len(more))
	b[0], b[1] = Version, byte(m.kind)
	binary.BigEndian.PutUint64(b[2:], m.attempt)
	binary.BigEndian.PutUint32(b[10:], m.seq)
	b = append(append(b, m.body...), more...)
	binary.BigEndian.PutUint32(b[crcAt:], checksum(b))
	return b
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, b[headerSize:])
}

// decode reads a message. Its body is a part of b.
func decode(b []byte) (message, error) {
	switch {
	case len(b) < headerSize:
		return message{}, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	case b[0] != Version:
		return message{}, fmt.Errorf("%w: its version is %d", errMessage, b[0])
	case b[1] < byte(kindRun) || b[1] > byte(kindPart):
		return message{}, fmt.Errorf("%w: kind %d", errMessage, b[1])
	case binary.BigEndian.Uint32(b[crcAt:]) != checksum(b):
		return message{}, fmt.Errorf("%w: it is damaged", errMessage)
	}
	m := message{kind(b[1]), binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint32(b[10:]), b[headerSize:]}
	if m.kind == kindPart && (len(m.body) == 0 || m.body[0]&^(flagMore|flagAnswer) != 0) {
		return message{}, fmt.Errorf("%w: a part without flags", errMessage)
	}
	return m, nil
}

// token is the attempt as the last part of an address to answer to.
func token(attempt uint64) string { return fmt.Sprintf("%016x", attempt) }

// maxOrder bounds an order, in bytes.
const maxOrder = 1 << 20

// order is what a member is told to do.
type order struct {
	Query json.RawMessage `json:"query"`
	// After, if set, is a record put out already: records up to it, in the query's order, are not sent.
	After *ulid.ULID `json:"after,omitempty"`
	// Times tells that records are to be counted by their times: what is sent are units of these.
	Times bool `json:"times,omitempty"`
}

func encodeOrder(q query.Query, after *ulid.ULID, times bool) ([]byte, error) {
	raw, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode query: %w", err)
	}
	b, err := json.Marshal(order{raw, after, times})
	if err != nil {
		return nil, fmt.Errorf("encode order: %w", err)
	}
	if len(b) > maxOrder {
		return nil, fmt.Errorf("encode order: %d bytes: at most %d", len(b), maxOrder)
	}
	return b, nil
}

// decodeOrder reads an order. It refuses a query of which it does not understand everything: a field that is left out would be a wrong
// answer.
func decodeOrder(b []byte) (q query.Query, after *ulid.ULID, times bool, err error) {
	if len(b) > maxOrder {
		return q, nil, false, fmt.Errorf("%w: an order of %d bytes", errMessage, len(b))
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return q, nil, false, fmt.Errorf("%w: %w", errMessage, err)
	}
	if err := json.Unmarshal(o.Query, &q); err != nil {
		return q, nil, false, fmt.Errorf("%w: %w", errMessage, err)
	}
	again, err := json.Marshal(q)
	if err != nil || !bytes.Equal(again, o.Query) {
		return q, nil, false, fmt.Errorf("%w: the query means something that is not known here: are the queriers of one version?", errMessage)
	}
	return q, o.After, o.Times, nil
}

// maxReason is how much of why there is no answer is kept, in bytes.
const maxReason = 2000

// report is a member's answer.
type report struct {
	Answer *query.Answer `json:"answer"`
	Error  string        `json:"error,omitempty"` // why there is none
}

func decodeReport(b []byte) (*query.Answer, error) {
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	if r.Error != "" {
		return nil, errors.New(strings.ToValidUTF8(r.Error[:min(len(r.Error), maxReason)], "\ufffd"))
	}
	if r.Answer == nil || r.Answer.Count < 0 || r.Answer.Unlisted < 0 || r.Answer.Unlisted > 0 && !r.Answer.Partial() || len(r.Answer.Problems) > query.MaxProblems {
		return nil, fmt.Errorf("%w: no answer", errMessage)
	}
	return r.Answer, nil
}
