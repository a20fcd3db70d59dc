package api

import (
	"context"
	"net/http"
	"sync"
)

// Bodies that are being read, and what is made of them, are there before a query has its turn: they have bounds of their own.
const (
	allBodies  = 64 << 20      // bytes, of all clients
	yourBodies = allBodies / 4 // of one
	smallBody  = 16 << 10      // a body that does not count
)

// bodies counts the bytes of those that are being read or compiled.
type bodies struct {
	mu   sync.Mutex
	all  int64
	of   map[string]int64 // clients
	hard chan struct{}    // patterns and expressions are compiled in so many requests at a time
}

func newBodies(compile int) *bodies {
	return &bodies{of: map[string]int64{}, hard: make(chan struct{}, compile)}
}

// take makes room for the body of a request until free is called.
func (b *bodies) take(r *http.Request, client string) (free func(), err error) {
	n := r.ContentLength
	if n < 0 || n > maxBody {
		n = maxBody // so much is read at most
	}
	if n <= smallBody {
		return func() {}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.of[client]+n > yourBodies:
		return nil, errYours
	case b.all+n > allBodies:
		return nil, errBusy
	}
	b.all += n
	b.of[client] += n
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all -= n
		if b.of[client] -= n; b.of[client] == 0 {
			delete(b.of, client)
		}
	}), nil
}

// turn waits until a request may compile what it asks for.
func (b *bodies) turn(ctx context.Context) (done func(), err error) {
	select {
	case b.hard <- struct{}{}:
		return func() { <-b.hard }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
