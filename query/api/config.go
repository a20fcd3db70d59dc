package api

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/query"
)

// Usual limits.
const (
	DefaultMaxWaiting = 256
	DefaultMaxWait    = 2 * time.Minute
	DefaultMaxTime    = 10 * time.Minute
	DefaultMaxTails   = 64
	DefaultReaderWait = time.Minute
)

// DefaultConcurrent is how many queries run at a time: a query uses all cores, and waits for the bucket for much of its time.
func DefaultConcurrent() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// Config is what the API works with, and its limits.
type Config struct {
	Runner query.Runner
	Parts  Parts
	Tokens *Tokens // nil: everybody may do everything
	// Local says that only programs of this machine are meant to ask, without tokens: a request that names another host, or comes from a page of
	// another site in a browser, is refused. A name of somebody else's that leads to 127.0.0.1 would have the browser hand its page all logs.
	Local bool

	MaxConcurrent int           // queries that run; 0: DefaultConcurrent. Half as many may be held besides by readers that take nothing
	MaxWaiting    int           // queries that wait, half of them of one client; 0: DefaultMaxWaiting
	MaxWait       time.Duration // that a query waits to run; 0: DefaultMaxWait
	MaxBytes      int64         // that one query may read from the bucket; 0: no bound
	MaxTopBytes   int64         // of values that the most frequent are found among, for each that runs; 0: query.MaxTopBytes
	MaxTime       time.Duration // that one query may run, without the time that its reader takes; 0: DefaultMaxTime
	MaxTails      int           // at a time; 0: DefaultMaxTails
	ReaderWait    time.Duration // for a reader that takes nothing; 0: DefaultReaderWait
	BodyTimeout   time.Duration // for a body to arrive; 0: 30 s

	Logger     *slog.Logger          // discards, if nil
	Registerer prometheus.Registerer // nil: metrics go nowhere
	Now        func() time.Time      // nil: time.Now
}

// check fills in what is left out, and refuses what cannot be.
func (cfg *Config) check() error {
	if cfg.Runner == nil {
		return errors.New("no Runner")
	}
	for _, n := range []struct {
		value *int
		usual int
		most  int
		name  string
	}{{&cfg.MaxConcurrent, DefaultConcurrent(), 4096, "MaxConcurrent"}, {&cfg.MaxWaiting, DefaultMaxWaiting, 1 << 20, "MaxWaiting"}, {&cfg.MaxTails, DefaultMaxTails, 1 << 16, "MaxTails"}} {
		if *n.value < 0 || *n.value > n.most {
			return fmt.Errorf("%s is %d: want 1 to %d, or 0 for %d", n.name, *n.value, n.most, n.usual)
		}
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
		name  string
	}{{&cfg.MaxWait, DefaultMaxWait, "MaxWait"}, {&cfg.MaxTime, DefaultMaxTime, "MaxTime"}, {&cfg.ReaderWait, DefaultReaderWait, "ReaderWait"}, {&cfg.BodyTimeout, 30 * time.Second, "BodyTimeout"}} {
		if *d.value < 0 {
			return fmt.Errorf("%s is %s: want more than 0, or 0 for %s", d.name, *d.value, d.usual)
		}
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if cfg.MaxBytes < 0 {
		return fmt.Errorf("MaxBytes is %d: want at least 1, or 0 for no bound", cfg.MaxBytes)
	}
	if cfg.MaxTopBytes < 0 {
		return fmt.Errorf("MaxTopBytes is %d: want at least 1, or 0 for %d", cfg.MaxTopBytes, query.MaxTopBytes)
	}
	if cfg.MaxTopBytes == 0 {
		cfg.MaxTopBytes = query.MaxTopBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

// UnavailableError is what a part fails with that is away for now: the request is refused, 503, and may be made again.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }
