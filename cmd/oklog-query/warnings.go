package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"oklog/cmd/internal/flags"
)

// warningHandler makes a line of each warning and error: they are for people to see.
type warningHandler func(line string)

var _ slog.Handler = warningHandler(nil)

// Enabled implements slog.Handler.
func (warningHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h warningHandler) Handle(_ context.Context, r slog.Record) error {
	line := "oklog-query: warning: " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			line += ": " + flags.OneLine(err)
		}
		return true
	})
	h(line)
	return nil
}

// WithAttrs implements slog.Handler.
func (h warningHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h warningHandler) WithGroup(string) slog.Handler { return h }

// keptWarnings keeps warnings until the query has come to its end: one that fails says why in a single line.
type keptWarnings struct {
	mu    sync.Mutex
	lines []string
}

// maxWarnings is how many different ones are kept.
const maxWarnings = 10

func (k *keptWarnings) add(line string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.lines) < maxWarnings && !slices.Contains(k.lines, line) {
		k.lines = append(k.lines, line)
	}
}

func (k *keptWarnings) print(w io.Writer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, line := range k.lines {
		fmt.Fprintln(w, line)
	}
}

// promptWarnings prints warnings at once: a tail may go on for days. One that is the same as the one before is not printed again.
type promptWarnings struct {
	w io.Writer

	mu   sync.Mutex
	last string
}

func (p *promptWarnings) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if line != p.last {
		p.last = line
		fmt.Fprintln(p.w, line)
	}
}

// tell prints a line that is not a warning.
func (p *promptWarnings) tell(format string, v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = ""
	fmt.Fprintf(p.w, "oklog-query: "+format+"\n", v...)
}

// skipped tells that n records were left out of a tail, and why.
func (p *promptWarnings) skipped(n int64, why string) {
	p.tell("%d record%s skipped: %s", n, plural(int(min(n, 2))), why)
}

// recovered tells that n of these have come after all.
func (p *promptWarnings) recovered(n int64) {
	p.tell("%d skipped record%s came late: what matches of them follows", n, plural(int(min(n, 2))))
}

// notice tells what else a tail says.
func (p *promptWarnings) notice(text string) { p.tell("%s", text) }
