package main

import (
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progressBar keeps a line at the bottom of a terminal, below whatever else is written there.
type progressBar struct {
	file *os.File
	mu   sync.Mutex
	line string // what stands there now
}

// Write writes above the line.
func (b *progressBar) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.line == "" {
		return b.file.Write(p)
	}
	if _, err := b.file.WriteString("\r\x1b[K"); err != nil {
		return 0, err
	}
	n, err := b.file.Write(p)
	if err == nil && n > 0 && p[n-1] == '\n' {
		_, err = b.file.WriteString(b.line)
	}
	return n, err
}

// set replaces the line.
func (b *progressBar) set(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if width, _, err := term.GetSize(int(b.file.Fd())); err == nil && len(line) >= width {
		line = line[:max(width-1, 0)] // a line that wraps cannot be taken back
	}
	if line == "" && b.line == "" {
		return
	}
	b.line = line
	_, _ = b.file.WriteString("\r\x1b[K" + line) // it is for looking at
}

// draw keeps the line up to date, as line tells it, until the function it returns is called.
func (b *progressBar) draw(line func() string) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.set(line())
			case <-quit:
				b.set("")
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}
