package forward

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// startWindow is how much of a line the start pattern of multi-line records sees, in bytes.
const startWindow = 4 << 10

// maxTime is the greatest time of a record, Unix ms: the end of the year 9999, as no bound of a query can name more.
const maxTime = 253_402_300_799_999

// lane is one stream of bytes with its own session of IDs.
type lane struct {
	name    string // of the input; "": standard input
	source  segment.Source
	minter  *segment.Minter
	last    ulid.ULID // of the last record; zero: there was none
	pos     int64     // where the next record begins, in the file
	tail    []byte    // some bytes before that, up to tailSize
	cutting bool      // the next bytes go on from the last record, a piece
}

// horizon is what is known about what comes behind the bytes at hand.
type horizon uint8

const (
	open  horizon = iota // more may come at any time
	quiet                // nothing came for a while: a multi-line record is complete, a line without newline is not
	final                // nothing will come: a line without newline is a record
)

// assembler makes records of bytes and collects them in a block. It is not safe for concurrent use.
type assembler struct {
	block   *segment.Block
	limit   int           // bytes of a record
	target  *atomic.Int64 // bytes of text in a block
	start   *regexp.Regexp
	times   *timeParser // nil: the time of reading
	clock   func() time.Time
	entropy io.Reader
	meters  *meters
	log     *slog.Logger

	unparsed, skewed notice

	lanes   []*lane
	sources segment.Sources // never changed in place: blocks on their way share it
}

// addLane starts a session for an input. last is the ID of the last record that an earlier lane made of it, if any: the
// session is another one all the same, since what that one's IDs say (its source, a time to hold) may no longer be so.
func (a *assembler) addLane(name string, source segment.Source, last ulid.ULID, cutting bool) (*lane, error) {
	l := &lane{name: name, source: source, last: last, cutting: cutting}
	drawn := func(session uint64) {
		a.sources = maps.Clone(a.sources)
		if a.sources == nil {
			a.sources = segment.Sources{}
		}
		a.sources[session] = source
	}
	var err error
	if l.minter, err = segment.NewMinter(a.entropy, drawn); err != nil {
		return nil, err
	}
	if last != (ulid.ULID{}) {
		l.minter.After(last.Time())
	}
	a.lanes = append(a.lanes, l)
	return l, nil
}

// dropLane forgets a lane. Its session stays known until the block in hand is taken.
func (a *assembler) dropLane(l *lane) {
	a.lanes = slices.DeleteFunc(a.lanes, func(x *lane) bool { return x == l })
}

// take gives up the block in hand, which holds records, for an empty one.
func (a *assembler) take(empty *segment.Block) *segment.Block {
	b := a.block
	b.Sources = a.sources
	a.block = empty
	a.block.Reset()
	if len(a.sources) > len(a.lanes) {
		a.sources = segment.Sources{}
		for _, l := range a.lanes {
			a.sources[l.minter.Session()] = l.source
		}
	}
	return b
}

// full tells that the block takes no more.
func (a *assembler) full() bool {
	return len(a.block.Text) >= int(a.target.Load()) || a.block.Len() >= segment.MaxBlockRecords
}

// add makes records of the front of data, read just now. It returns how many bytes it used; what is
// left wants more bytes behind it, unless the block is full: then add has to be
// called again with an empty one.
func (a *assembler) add(l *lane, data []byte, h horizon) (used int, full bool, err error) {
	now := uint64(max(0, min(a.clock().UnixMilli(), maxTime)))
	for used < len(data) {
		if a.block.Len() > 0 && a.full() {
			return used, true, nil
		}
		rest := data[used:]
		if !l.cutting && a.times == nil && a.start == nil {
			n, err := a.lines(l, rest, now)
			if err != nil {
				return used, false, err
			}
			if n > 0 {
				used += n
				continue
			}
		}
		text, n, continued := a.record(rest, h)
		if n == 0 {
			return used, false, nil
		}
		if err := a.append(l, text, continued, now); err != nil {
			return used, false, err
		}
		used += n
	}
	return used, a.block.Len() > 0 && a.full(), nil
}

// lines adds the lines at the front of data that end there and are within the limit, as many as fit. It
// works on many at once: nothing is done line by line.
func (a *assembler) lines(l *lane, data []byte, now uint64) (int, error) {
	// A block may end up longer than its target by one record.
	room := max(int(a.target.Load())-len(a.block.Text), a.limit+1)
	data = data[:wholeLines(data[:min(len(data), room)], a.limit)]
	n := bytes.Count(data, newline)
	for n > segment.MaxBlockRecords-a.block.Len() {
		data = data[:bytes.LastIndexByte(data[:len(data)/2], '\n')+1]
		n = bytes.Count(data, newline)
	}
	if n == 0 {
		return 0, nil
	}
	run, err := a.now(l, now, uint32(n))
	if err != nil {
		return 0, err
	}
	if int(run.N) < n { // a counter ran out
		data = data[:nthLine(data, int(run.N))]
	}
	a.block.AppendLines(run, data)
	l.last = run.Last()
	a.meters.read.add(int64(run.N))
	a.meters.bytes.add(int64(len(data)))
	return len(data), nil
}

var newline = []byte{'\n'}

// wholeLines is the length of the longest front of data that consists of lines with their newlines, none of them
// with more than limit bytes before it.
func wholeLines(data []byte, limit int) (n int) {
	end := bytes.LastIndexByte(data, '\n') + 1
	for n < end {
		if end-n <= limit+1 {
			return end
		}
		// The last newline within reach of a line that starts at n: everything up to it is short enough.
		i := bytes.LastIndexByte(data[n:n+limit+1], '\n')
		if i < 0 {
			return n
		}
		n += i + 1
	}
	return n
}

// nthLine is where line n of data ends.
func nthLine(data []byte, n int) (end int) {
	for range n {
		end += bytes.IndexByte(data[end:], '\n') + 1
	}
	return end
}

// record finds the record, or the piece of one, at the front of data. It uses n bytes, none if more are
// wanted first.
func (a *assembler) record(data []byte, h horizon) (text []byte, n int, continued bool) {
	// Where the first line, or the rest of a line that was cut, ends does not depend on the start pattern; of
	// those behind it each is looked at.
	for begin := 0; ; {
		i := -1
		if begin <= a.limit {
			i = bytes.IndexByte(data[begin:min(len(data), a.limit+1)], '\n')
		}
		if i < 0 {
			switch {
			case len(data) > a.limit:
				return data[:a.limit], a.limit, true
			case h == final:
				return data, len(data), false
			case h == quiet && begin > 0:
				return data[:begin-1], begin, false
			}
			return nil, 0, false
		}
		end := begin + i
		if a.start == nil {
			return data[:end], end + 1, false
		}
		next := data[end+1:]
		line, _, ended := bytes.Cut(next[:min(len(next), startWindow)], newline)
		switch {
		case !ended && len(next) < startWindow && h == open:
			return nil, 0, false
		case len(next) == 0, !ended && len(next) < startWindow && h == quiet, a.start.Match(line):
			return data[:end], end + 1, false
		}
		begin = end + 1
	}
}

// append adds one record, or a piece of one.
func (a *assembler) append(l *lane, text []byte, continued bool, now uint64) error {
	ms, live := now, a.times == nil
	var piece segment.Piece
	switch {
	case l.cutting:
		piece = segment.Continues
		ms = min(l.last.Time(), maxTime)
		live = false
	case a.times != nil:
		ms = a.parse(l, text, now)
	}
	if continued {
		if !l.cutting {
			a.meters.cut.add(1)
		}
		piece |= segment.Continued
	}
	var run segment.Run
	var err error
	if live {
		run, err = a.now(l, ms, 1)
	} else {
		run, err = l.minter.At(ms, 1)
	}
	if err != nil {
		return err
	}
	a.block.Append(run.First(), text, piece)
	l.last, l.cutting = run.First(), continued
	a.meters.read.add(1)
	n := len(text)
	if !continued {
		n++
	}
	a.meters.bytes.add(int64(n))
	return nil
}

// now mints IDs of records read now.
func (a *assembler) now(l *lane, ms uint64, n uint32) (segment.Run, error) {
	if l.minter.Ahead(ms) {
		a.meters.skewed.add(1)
		a.log.Warn("the last record's time is far ahead of the clock, which was wrong then or is now: going on at the clock's time",
			"file", l.name, "clock", time.UnixMilli(int64(ms)).UTC(), "last", ulid.Time(l.last.Time()).UTC())
	}
	return l.minter.Now(ms, n)
}

// parse is the time that the record says, or else that of the record before.
func (a *assembler) parse(l *lane, text []byte, now uint64) uint64 {
	t, err := a.times.parse(text, a.clock())
	if err != nil {
		a.meters.unparsed.add(1)
		a.unparsed.add(a.log, l.name, text, err.Error)
		if l.last == (ulid.ULID{}) {
			return now
		}
		return min(l.last.Time(), maxTime)
	}
	if t < 0 || t > maxTime {
		a.meters.skewed.add(1)
		a.skewed.add(a.log, l.name, text, func() string {
			return fmt.Sprintf("a time before 1970 or behind the year 9999: %d ms since 1970", t)
		})
	}
	return uint64(max(0, min(t, maxTime)))
}

// tellRest logs what befell records and was not told yet.
func (a *assembler) tellRest() {
	a.unparsed.flush(a.log)
	a.skewed.flush(a.log)
}
