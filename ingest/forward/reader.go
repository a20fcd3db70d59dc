package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

const (
	readSize   = 1 << 20   // bytes of a file read at once, beside an unfinished record
	chunkSize  = 256 << 10 // bytes of a stream read at once
	keepStates = 256       // positions kept of files that are not among the inputs now
)

// reader reads the inputs and fills blocks.
type reader struct {
	*Forwarder
	asm   *assembler
	out   chan<- *batch
	buf   []byte
	born  time.Time // when the block in hand got its first record
	noAge bool
	stop  <-chan struct{} // closed when reading is to stop
	quit  chan struct{}   // closed when it has

	hungUp <-chan struct{} // closed when no more acks come; nil: never

	paths   []*path     // followed
	files   []*file     // open
	idle    []fileState // remembered, of files that are not open
	rotated []*rotated  // followed, rotated away and read to their ends; oldest first
	streams int         // that have not ended
	chunks  chan chunk
}

func (f *Forwarder) newReader() (*reader, error) {
	r := &reader{
		Forwarder: f,
		asm: &assembler{
			block: <-f.free, limit: f.cfg.Limits.Record, target: &f.target, start: f.start,
			times: f.times, clock: f.cfg.Clock, entropy: f.cfg.Entropy, meters: f.meters, log: f.cfg.Logger,
			unparsed: notice{what: "records without a time that parses have that of the record before"},
			skewed:   notice{what: "records with an absurd time have the nearest that an ID can hold"},
		},
		buf:    make([]byte, readSize+f.cfg.Limits.Record+startWindow+2),
		noAge:  f.cfg.Mode == Bulk,
		chunks: make(chan chunk),
	}
	if f.journal == nil {
		return r, nil
	}
	named := map[string]bool{}
	for _, p := range f.cfg.Inputs.Files {
		named[p] = true
	}
	others, of := 0, map[string]int{}
	for _, s := range slices.Backward(f.journal.positions()) { // the newest last
		if !named[s.Path] {
			if others++; others > keepStates {
				continue
			}
		}
		if of[s.Path]++; of[s.Path] > maxRotated+maxGone+1 || s.Done && time.Since(time.UnixMilli(s.Gone)) > f.wait.keep {
			continue
		}
		r.idle = append(r.idle, s)
	}
	slices.Reverse(r.idle)
	return r, nil
}

// run reads until the inputs end or stop is closed. It gives up with ctx.
func (r *reader) run(ctx context.Context, stop <-chan struct{}) error {
	r.stop, r.quit = stop, make(chan struct{})
	defer close(r.quit)
	defer func() {
		for _, fl := range r.files {
			fl.f.Close() // read only: nothing can be lost
		}
	}()
	read := r.readInTurn
	if r.cfg.Inputs.Follow {
		read = r.follow
	}
	err := read(ctx)
	r.asm.tellRest()
	return errors.Join(err, r.emit(ctx))
}

// stopped tells that reading is to stop.
func (r *reader) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// readInTurn reads the inputs one after another, to their ends.
func (r *reader) readInTurn(ctx context.Context) error {
	for _, name := range r.cfg.Inputs.Files {
		if r.stopped() {
			return nil
		}
		if err := r.readFile(ctx, name); err != nil {
			return err
		}
	}
	if r.cfg.Inputs.Stdin != nil && !r.stopped() {
		return r.readStream(ctx, "", func() (io.Reader, error) { return r.cfg.Inputs.Stdin, nil })
	}
	return nil
}

func (r *reader) readFile(ctx context.Context, name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	if !info.Mode().IsRegular() {
		return r.readStream(ctx, name, func() (io.Reader, error) { return os.Open(name) })
	}
	fl, err := r.open(name, nil)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	for !r.stopped() {
		n, err := fl.f.ReadAt(r.buf, fl.pos)
		h := open
		if errors.Is(err, io.EOF) {
			h = final
		} else if err != nil {
			return fmt.Errorf("read input: %w", err)
		}
		fl.refreshPrint()
		if _, err := r.feed(ctx, fl.lane, r.buf[:n], h); err != nil {
			return err
		}
		if h == final {
			break
		}
		if err := r.emitAged(ctx); err != nil {
			return err
		}
	}
	r.retire(fl)
	return nil
}

// retire closes a file and remembers its position.
func (r *reader) retire(fl *file) {
	if r.journal != nil {
		r.idle = append(r.idle, fl.state())
	}
	r.drop(fl)
}

// drop closes a file and forgets it.
func (r *reader) drop(fl *file) {
	fl.f.Close() // read only: nothing can be lost
	r.asm.dropLane(fl.lane)
	r.files = slices.DeleteFunc(r.files, func(x *file) bool { return x == fl })
}

// feed makes records of data, and batches of what is full. It returns how many bytes it used.
func (r *reader) feed(ctx context.Context, l *lane, data []byte, h horizon) (used int, err error) {
	for {
		n, full, err := r.asm.add(l, data[used:], h)
		used += n
		l.pos += int64(n)
		l.tail = append(l.tail, data[max(used-n, used-tailSize):used]...)
		l.tail = append(l.tail[:0], l.tail[max(0, len(l.tail)-tailSize):]...)
		if err != nil {
			return used, err
		}
		if r.born.IsZero() && r.asm.block.Len() > 0 {
			r.born = time.Now()
		}
		if !full {
			return used, nil
		}
		if err := r.emit(ctx); err != nil {
			return used, err
		}
	}
}

// emit hands on the block in hand, if there is anything in it.
func (r *reader) emit(ctx context.Context) error {
	r.born = time.Time{}
	if r.asm.block.Len() == 0 {
		return nil
	}
	var empty *segment.Block
	select {
	case empty = <-r.free:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	b := &batch{block: r.asm.take(empty), files: r.positions()}
	if r.cfg.Mode == Durable {
		b.done = make(chan struct{})
	}
	if err := send(ctx, r.out, b); err != nil {
		return err
	}
	if b.done != nil {
		select {
		case <-b.done:
		case <-r.hungUp: // the journal has it
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// emitAged hands on the block in hand if its records have waited long enough.
func (r *reader) emitAged(ctx context.Context) error {
	if r.born.IsZero() || r.noAge || time.Since(r.born) < r.cfg.Limits.BatchAge {
		return nil
	}
	return r.emit(ctx)
}

// untilAged is how long the block in hand may wait, at most d.
func (r *reader) untilAged(d time.Duration) time.Duration {
	if r.born.IsZero() || r.noAge {
		return d
	}
	return max(0, min(d, r.cfg.Limits.BatchAge-time.Since(r.born)))
}

// source is that of an input.
func (r *reader) source(name string) segment.Source {
	if name == "" || r.cfg.Source.Get("file") != "" {
		return r.cfg.Source
	}
	return r.cfg.Source.With("file", name)
}

// stream is an input that cannot be read again: standard input, a pipe.
type stream struct {
	*lane
	name    string
	pending []byte // read, and not yet a record
	grown   time.Time
	settled bool // pending holds nothing that silence completes
	free    chan []byte
}

// chunk is what was read of a stream.
type chunk struct {
	from *stream
	b    []byte
	err  error // io.EOF at the end
}

// addStream starts to read a stream into r.chunks.
func (r *reader) addStream(name string, in func() (io.Reader, error)) (*stream, error) {
	l, err := r.asm.addLane(name, r.source(name), ulid.ULID{}, false)
	if err != nil {
		return nil, err
	}
	s := &stream{lane: l, name: name, free: make(chan []byte, 2), settled: true}
	for range cap(s.free) {
		s.free <- make([]byte, chunkSize)
	}
	r.streams++
	// Nobody waits for this goroutine: a Read may last for ever, and standard input cannot be closed under it.
	go s.pump(in, r.chunks, r.quit)
	return s, nil
}

func (s *stream) pump(open func() (io.Reader, error), out chan<- chunk, stop <-chan struct{}) {
	in, err := open()
	opened := err == nil
	if c, ok := in.(io.Closer); ok && opened && s.name != "" {
		defer c.Close()
	}
	for err == nil {
		var b []byte
		select {
		case b = <-s.free:
		case <-stop:
			return
		}
		var n int
		n, err = in.Read(b)
		select {
		case out <- chunk{s, b[:n], err}:
		case <-stop:
			return
		}
	}
	if !opened {
		select {
		case out <- chunk{s, nil, err}:
		case <-stop:
		}
	}
}

// take makes records of a chunk.
func (r *reader) take(ctx context.Context, c chunk) error {
	s, h := c.from, open
	if c.err != nil {
		h = final
		r.streams--
	}
	data := c.b
	if len(s.pending) > 0 {
		s.pending = append(s.pending, c.b...)
		data = s.pending
	}
	used, err := r.feed(ctx, s.lane, data, h)
	s.pending = append(s.pending[:0], data[used:]...)
	s.grown, s.settled = time.Now(), false
	if cap(c.b) > 0 {
		s.free <- c.b[:cap(c.b)]
	}
	switch {
	case err != nil:
		return err
	case c.err == nil:
		return nil
	}
	r.asm.dropLane(s.lane)
	if errors.Is(c.err, io.EOF) {
		return nil
	}
	if s.name == "" {
		return fmt.Errorf("read standard input: %w", c.err)
	}
	return fmt.Errorf("read input: %w", c.err)
}

// settleStream completes a multi-line record after a silence.
func (r *reader) settleStream(ctx context.Context, s *stream, h horizon) error {
	if h == quiet && (r.start == nil || s.settled || time.Since(s.grown) < r.wait.settle) {
		return nil
	}
	s.settled = true
	used, err := r.feed(ctx, s.lane, s.pending, h)
	s.pending = append(s.pending[:0], s.pending[used:]...)
	return err
}

// readStream reads a stream to its end. What was read when it is told to stop becomes records, finished or not.
func (r *reader) readStream(ctx context.Context, name string, in func() (io.Reader, error)) error {
	s, err := r.addStream(name, in)
	if err != nil {
		return err
	}
	for r.streams > 0 {
		if r.stopped() { // a chunk may be ready as well, each time
			return r.endStreams(ctx, s)
		}
		t := time.NewTimer(r.untilAged(r.wait.poll))
		select {
		case c := <-r.chunks:
			err = r.take(ctx, c)
		case <-t.C:
			err = r.settleStream(ctx, s, quiet)
		case <-r.stop:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		t.Stop()
		if err := errors.Join(err, r.emitAged(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// endStreams takes what was read of streams and does not wait for more. That is a chunk of each: one that is always ready is read no further.
func (r *reader) endStreams(ctx context.Context, streams ...*stream) error {
	for range streams {
		select {
		case c := <-r.chunks:
			if err := r.take(ctx, c); err != nil {
				return err
			}
		default:
		}
	}
	for _, s := range streams {
		if err := r.settleStream(ctx, s, final); err != nil {
			return err
		}
	}
	return nil
}
