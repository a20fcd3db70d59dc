package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"oklog/query"
)

// When the line of progress appears, and how often it is drawn anew.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress is a line on a terminal that tells how far a long query has come. It is erased before anything else is printed.
type progress struct {
	w     io.Writer // nil: nothing is shown
	width int
	found atomic.Int64 // records

	mu    sync.Mutex
	shown bool

	done chan struct{} // closed by stop; nil: not started
	all  sync.WaitGroup
}

func newProgress(stderr io.Writer, sc screen) *progress {
	p := &progress{width: sc.width}
	if sc.progress {
		p.w = stderr
	}
	return p
}

// start begins to show what a query has cost so far.
func (p *progress) start(cost func() query.Stats) {
	if p.w == nil || p.done != nil {
		return
	}
	p.done = make(chan struct{})
	began := time.Now()
	p.all.Go(func() {
		wait := time.NewTimer(progressAfter)
		defer wait.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-wait.C:
				p.draw(progressLine(cost(), p.found.Load(), time.Since(began), p.width))
				wait.Reset(progressEvery)
			}
		}
	})
}

// stop erases the line for good.
func (p *progress) stop() {
	if p.done != nil {
		close(p.done)
		p.all.Wait()
		p.done = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

const eraseLine = "\r\x1b[K"

func (p *progress) draw(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	_, _ = io.WriteString(p.w, eraseLine+line) // standard error: there is nowhere to tell
}

// erase is called with the lock held.
func (p *progress) erase() {
	if p.shown {
		p.shown = false
		_, _ = io.WriteString(p.w, eraseLine)
	}
}

// around is a writer before which the line is erased.
func (p *progress) around(w io.Writer) io.Writer {
	if p.w == nil {
		return w
	}
	return &erasing{p, w}
}

type erasing struct {
	p *progress
	w io.Writer
}

func (e *erasing) Write(b []byte) (int, error) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	e.p.erase()
	return e.w.Write(b)
}

// progressLine tells how far a query has come, in less than width columns.
func progressLine(s query.Stats, found int64, took time.Duration, width int) string {
	b := s.Blocks
	line := fmt.Sprintf("%d s: %s found, %d of %d blocks, %s read", int(took.Seconds()), count(found, "record", "records"),
		b.OutOfRange+b.Replaced+b.Pruned+b.Read, b.Total, size(s.Requests.Fetched+s.Requests.Cached))
	switch {
	case s == (query.Stats{}): // a server is asked
		line = fmt.Sprintf("%d s: %s found", int(took.Seconds()), count(found, "record", "records"))
	case b.Total == 0:
		line = fmt.Sprintf("%d s: listing, %s so far", int(took.Seconds()), count(int64(s.Segments.Listed), "segment", "segments"))
	}
	return line[:min(len(line), max(0, width-1))]
}
