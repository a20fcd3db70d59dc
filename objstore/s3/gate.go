package s3

import (
	"errors"
	"io"
	"sync"
)

// gate is a body that can be shut: once shut has returned, nobody reads the body any more,
// though the HTTP transport may still hold the gate.
type gate struct {
	body io.ReaderAt

	use    sync.RWMutex // held for reading while the body is read
	closed bool

	mu  sync.Mutex
	err error // the first error of the body itself
}

var errGateShut = errors.New("the attempt is over")

// ReadAt implements io.ReaderAt.
func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	g.use.RLock()
	defer g.use.RUnlock()
	if g.closed {
		return 0, errGateShut
	}
	n, err := g.body.ReadAt(p, off)
	if n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		g.mu.Lock()
		if g.err == nil {
			g.err = err
		}
		g.mu.Unlock()
	}
	return n, err
}

// failure returns the body's own error, if it has had one.
func (g *gate) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *gate) shut() {
	g.use.Lock()
	g.closed = true
	g.use.Unlock()
}
