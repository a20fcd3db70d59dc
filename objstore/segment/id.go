package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"
)

// A record's ID is a ULID whose 80 bits below the time are not random record by
// record but structured, so that the IDs of a block shrink to almost nothing:
//
//	 48 bits            48 bits           32 bits
//	┌──────────────────┬─────────────────┬──────────────────┐
//	│ Unix time in ms  │ session number  │ counter          │
//	└──────────────────┴─────────────────┴──────────────────┘
//
// The session number is drawn at random whenever a forwarder starts to read a source, and is never
// taken up again; the counter grows by one with every record of the session. To everybody else it
// is an ordinary ULID: it sorts by time, and it is unique.

// MaxSession is the greatest session number (48 bits).
const MaxSession = 1<<48 - 1

// MaxTime is the greatest time of a ULID, Unix milliseconds.
const MaxTime = 1<<48 - 1

// MakeID puts an ID together. Bits of ms and session above the 48th are cut off.
func MakeID(ms, session uint64, counter uint32) (id ulid.ULID) {
	binary.BigEndian.PutUint64(id[0:8], ms<<16|session>>32&0xffff)
	binary.BigEndian.PutUint64(id[8:16], session<<32|uint64(counter))
	return id
}

// SplitID takes an ID apart.
func SplitID(id ulid.ULID) (ms, session uint64, counter uint32) {
	hi, lo := binary.BigEndian.Uint64(id[0:8]), binary.BigEndian.Uint64(id[8:16])
	return hi >> 16, hi&0xffff<<32 | lo>>32, uint32(lo)
}

// After is the ID that follows id; the greatest has none and stays.
func After(id ulid.ULID) ulid.ULID {
	next := id
	for i := len(next) - 1; i >= 0; i-- {
		next[i]++
		if next[i] != 0 {
			return next
		}
	}
	return id
}

// Before is the ID that precedes id; the lowest has none and stays.
func Before(id ulid.ULID) ulid.ULID {
	prev := id
	for i := len(prev) - 1; i >= 0; i-- {
		prev[i]--
		if prev[i] != 0xff {
			return prev
		}
	}
	return id
}

// AtTime is the lowest ID of t's millisecond; times that no ULID has are brought to the nearest that one has.
func AtTime(t time.Time) ulid.ULID {
	return MakeID(uint64(min(max(t.UnixMilli(), 0), MaxTime)), 0, 0)
}

// Run is a stretch of records that follow each other in one session, all of the same
// millisecond: their IDs differ only in the counter, which counts up by one.
type Run struct {
	Time    uint64 // Unix ms, at most MaxTime
	Session uint64 // at most MaxSession
	Counter uint32 // of the first record; Counter+N-1 does not overflow
	N       uint32 // records, at least 1
}

// First is the ID of the run's first record.
func (r Run) First() ulid.ULID { return MakeID(r.Time, r.Session, r.Counter) }

// Last is the ID of the run's last record.
func (r Run) Last() ulid.ULID { return MakeID(r.Time, r.Session, r.Counter+r.N-1) }

// ID is the ID of record i of the run.
func (r Run) ID(i uint32) ulid.ULID { return MakeID(r.Time, r.Session, r.Counter+i) }

// countBelow tells how many of the run's records have IDs lower than bound.
func (r Run) countBelow(bound ulid.ULID) uint32 {
	ms, session, counter := SplitID(bound)
	switch {
	case r.Time != ms:
		if r.Time < ms {
			return r.N
		}
		return 0
	case r.Session != session:
		if r.Session < session {
			return r.N
		}
		return 0
	case counter <= r.Counter:
		return 0
	default:
		return min(r.N, counter-r.Counter)
	}
}

// MaxHold is how far a Minter's clock may step back, in ms, and be held: as far as clocks are
// corrected in passing. What is more than that is a clock that was wrong, or is.
const MaxHold = 10_000

// Minter gives the records of one source their IDs. It is not safe for concurrent use.
type Minter struct {
	entropy io.Reader
	session uint64
	next    uint32 // the next counter
	started bool   // a record has been minted in this session
	last    uint64 // the time that Now holds, ms: the greatest minted since it was given up
	onDraw  func(session uint64)
}

// NewMinter draws a session number from entropy (crypto/rand.Reader). Every session that the minter
// draws, now or when a counter runs out after four thousand million records, is told to onDraw first
// (it may be nil), so that the session's source can be put on record.
func NewMinter(entropy io.Reader, onDraw func(session uint64)) (*Minter, error) {
	m := &Minter{entropy: entropy, onDraw: onDraw}
	if err := m.draw(); err != nil {
		return nil, err
	}
	return m, nil
}

// After has the records minted by Now come behind the Unix millisecond ms, as those of a session before
// this one ended there. Should the clock be more than MaxHold before it, that is as if it stepped back so far.
func (m *Minter) After(ms uint64) { m.last = max(m.last, min(ms, MaxTime-1)+1) }

func (m *Minter) draw() error {
	var b [8]byte
	if _, err := io.ReadFull(m.entropy, b[2:]); err != nil {
		return fmt.Errorf("draw session number: %w", err)
	}
	m.session, m.next, m.started = binary.BigEndian.Uint64(b[:]), 0, false
	if m.onDraw != nil {
		m.onDraw(m.session)
	}
	return nil
}

// Session is the current session number.
func (m *Minter) Session() uint64 { return m.session }

// Ahead tells that the last time minted, by Now or At, is more than MaxHold ahead of the Unix millisecond ms: that Now will not
// hold it.
func (m *Minter) Ahead(ms uint64) bool { return m.last > min(ms, MaxTime)+MaxHold }

// Now mints up to n records read at the Unix millisecond ms. A clock that steps back by up to MaxHold is
// held at the last time minted, so the IDs of a source read live ascend. When it steps back further, a new session goes
// on at the clock's time. The run may be shorter than n, where a counter runs out: then call again for the rest.
func (m *Minter) Now(ms uint64, n uint32) (Run, error) {
	switch {
	case m.Ahead(ms):
		if m.started {
			if err := m.draw(); err != nil {
				return Run{}, err
			}
		}
		m.last = 0
	case m.spent():
		// A new session's number may be lower than the old one's: a new millisecond
		// keeps the records in order across the change.
		m.last++
	}
	return m.At(max(ms, m.last), n)
}

// At mints up to n records of the Unix millisecond ms, whatever was minted before: for times parsed
// from the records, which need not ascend. The counter makes the IDs unique all the same.
func (m *Minter) At(ms uint64, n uint32) (Run, error) {
	if n == 0 {
		return Run{}, errors.New("mint IDs: no records")
	}
	if m.spent() {
		if err := m.draw(); err != nil {
			return Run{}, err
		}
	}
	n = uint32(min(uint64(n), 1<<32-uint64(m.next)))
	r := Run{Time: min(ms, MaxTime), Session: m.session, Counter: m.next, N: n}
	m.next += n
	m.started = true
	m.last = max(m.last, r.Time)
	return r, nil
}

// spent tells that the session's counter ran out: it has minted 2^32 records.
func (m *Minter) spent() bool { return m.started && m.next == 0 }
