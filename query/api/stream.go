package api

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"oklog/query/api/wire"
)

const (
	// Lines are written once there are so many bytes of them, ...
	flushSize = 32 << 10
	// ... or the first of them is so old; of the beginning of an answer later: what is known by then goes into its status.
	flushAge, firstAge = 50 * time.Millisecond, 150 * time.Millisecond
	// A reader that takes nothing for so long no longer has a slot.
	parkAfter = time.Second
)

// errReader says that nobody reads the answer.
var errReader = errors.New("the reader is gone, or has taken nothing for too long")

// encoder compresses what goes to a client.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoders are lent to answers: each takes memory that is worth keeping.
type encoders struct{ zstd, gzip sync.Pool }

// pick lends the encoder that suits a request best, with its name; nil: none does.
func (e *encoders) pick(accept string, w io.Writer) (enc encoder, name string, err error) {
	switch name = encoding(accept); name {
	case "zstd":
		if enc, ok := e.zstd.Get().(encoder); ok {
			enc.Reset(w)
			return enc, name, nil
		}
		enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, "", fmt.Errorf("make zstd encoder: %w", err)
		}
		return enc, name, nil
	case "gzip":
		if enc, ok := e.gzip.Get().(encoder); ok {
			enc.Reset(w)
			return enc, name, nil
		}
		enc, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return nil, "", fmt.Errorf("make gzip encoder: %w", err)
		}
		return enc, name, nil
	}
	return nil, "", nil
}

func (e *encoders) giveBack(enc encoder, name string) {
	enc.Reset(io.Discard) // it must not hold on to the connection
	if name == "zstd" {
		e.zstd.Put(enc)
	} else {
		e.gzip.Put(enc)
	}
}

// encoding is the content encoding for an Accept-Encoding: zstd before gzip, none if neither is asked for by name.
func encoding(accept string) string {
	found := map[string]bool{}
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		if weight, err := strconv.ParseFloat(q, 64); ok && (err != nil || weight <= 0) {
			continue
		}
		found[strings.ToLower(strings.TrimSpace(name))] = true
	}
	switch {
	case found["zstd"]:
		return "zstd"
	case found["gzip"], found["x-gzip"]:
		return "gzip"
	}
	return ""
}

// stream is an answer of lines that is written as it comes. What is in the buffer when it is time to write begins the answer, with its
// status: an answer that ends before that has one that tells all. emit and the timer take turns with mu.
type stream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc // ends the query: nobody reads
	w      http.ResponseWriter
	rc     *http.ResponseController
	slot   *slot
	wait   time.Duration // for a reader
	pool   *encoders
	accept string
	clock  *limitedTime

	mu     sync.Mutex
	buf    []byte
	begun  bool // the status is out
	closed bool
	err    error // of writing; the first one stays
	timer  *time.Timer
	enc    encoder
	coding string
}

func (s *stream) start() {
	s.timer = time.AfterFunc(time.Hour, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed && len(s.buf) > 0 {
			s.write()
		}
	})
	s.timer.Stop()
}

// add appends lines; it waits while the reader is behind.
func (s *stream) add(line func(dst []byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if len(s.buf) == 0 {
		age := flushAge
		if !s.begun {
			age = firstAge
		}
		s.timer.Reset(age)
	}
	s.buf = line(s.buf)
	if len(s.buf) >= flushSize {
		s.write()
	}
	return s.err
}

// write writes what is in the buffer, and sees to it that the client gets it.
func (s *stream) write() {
	s.timer.Stop()
	if s.err != nil {
		return
	}
	if !s.begun {
		s.w.Header().Set("Trailer", wire.Partial)
		s.begin(http.StatusOK)
		if s.err != nil {
			return
		}
	}
	s.clock.stop()
	defer s.clock.goOn()
	written := s.slot.parkLater()
	err := s.push()
	parked := written()
	switch {
	case parked && err == nil:
		if err = s.slot.resume(s.ctx); err != nil {
			s.slot = nil
		}
	case parked:
		s.slot.drop()
		s.slot = nil
	}
	s.buf = s.buf[:0]
	if err != nil {
		s.err = fmt.Errorf("%w: %w", errReader, err)
		s.cancel(s.err)
	}
}

// push writes the buffer.
func (s *stream) push() error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.wait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	defer patient(s.rc)
	if s.enc == nil {
		if _, err := s.w.Write(s.buf); err != nil {
			return err
		}
		return s.rc.Flush()
	}
	if _, err := s.enc.Write(s.buf); err != nil {
		return err
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	return s.rc.Flush()
}

// begin writes the header.
func (s *stream) begin(status int) {
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", wire.NDJSON)
	h.Add("Vary", "Accept-Encoding")
	if s.enc, s.coding, s.err = s.pool.pick(s.accept, s.w); s.err != nil {
		return
	}
	if s.coding != "" {
		h.Set("Content-Encoding", s.coding)
	}
	s.w.WriteHeader(status)
}

// end writes the last line. Of an answer that has not begun the status tells it, too. It reports whether it was.
func (s *stream) end(status int, partial bool, last []byte) (early bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	early = !s.begun
	if s.err != nil {
		return early
	}
	if partial {
		s.w.Header().Set(wire.Partial, "true") // a trailer, if the answer has begun
	}
	if early {
		s.begin(status)
	}
	s.buf = append(s.buf, last...)
	s.write()
	return early
}

// discard ends an answer of which nothing was written: another one takes its place. It reports whether nothing was.
func (s *stream) discard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return false
	}
	s.closed = true
	s.timer.Stop()
	return true
}

// release gives back what the stream was lent.
func (s *stream) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.timer.Stop()
	if s.slot != nil {
		s.slot.release()
		s.slot = nil
	}
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.wait)) // for the end of what is compressed, and of the body, which the server writes
	if s.enc != nil {
		if err := s.enc.Close(); err == nil && s.err == nil {
			_ = s.rc.Flush() // whoever does not get it misses the end
		}
		s.pool.giveBack(s.enc, s.coding)
		s.enc = nil
	}
}

// patient lets a connection be silent for as long as there is nothing to write: HTTP/2 ends a stream whose deadline passes, whether or not
// something is being written.
func patient(rc *http.ResponseController) { _ = rc.SetWriteDeadline(time.Time{}) } // what fails here shows with the next write

// inOne writes an answer that is all there, piece by piece: none takes longer than a reader may, nor all of them longer than a query. What
// is left in the server's hands when the handler returns has a deadline, too.
type inOne struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	wait time.Duration
	end  time.Time
}

func (a *API) inOne(w http.ResponseWriter) *inOne {
	return &inOne{w, http.NewResponseController(w), a.cfg.ReaderWait, time.Now().Add(a.cfg.MaxTime)}
}

// hurry sets the deadline for what is written next.
func (o *inOne) hurry() error {
	by := time.Now().Add(o.wait)
	if by.After(o.end) {
		by = o.end
	}
	if err := o.rc.SetWriteDeadline(by); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// Write implements io.Writer.
func (o *inOne) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if err := o.hurry(); err != nil {
			return n, err
		}
		k, err := o.w.Write(b[:min(len(b), flushSize)])
		if n += k; err != nil {
			return n, err
		}
		b = b[k:]
	}
	return n, nil
}

// limitedTime ends a query that has run for too long. The time that its reader takes does not count.
type limitedTime struct {
	timer *time.Timer
	left  time.Duration
	since time.Time
}

func limitTime(d time.Duration, end func()) *limitedTime {
	return &limitedTime{timer: time.AfterFunc(d, end), left: d, since: time.Now()}
}

// stop and goOn are called in turn.
func (l *limitedTime) stop() {
	if l.timer.Stop() {
		l.left -= time.Since(l.since)
	} else {
		l.left = -1 // it has run out
	}
}

func (l *limitedTime) goOn() {
	if l.left >= 0 {
		l.since = time.Now()
		l.timer.Reset(l.left)
	}
}
