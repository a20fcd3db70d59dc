package embedded

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger hands the server's messages to slog. The server is chatty when it starts: its notices are
// debug messages to us, the rest keeps its level. What it calls fatal is kept as well, since
// Start wants to return it.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = text
	}
}

// fatalText is the first fatal message, or "".
func (l *logger) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
