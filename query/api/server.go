package api

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerConfig is how an API is served.
type ServerConfig struct {
	Handler     http.Handler
	HeaderTime  time.Duration // for a request's headers to arrive; 0: 10 s
	IdleTime    time.Duration // that a connection without a request stays; 0: 60 s
	Connections int           // at a time; 0: 4096
	Logger      *slog.Logger  // discards, if nil
}

// Server serves HTTP to whoever comes.
type Server struct {
	srv    *http.Server
	conns  *connections
	cancel context.CancelCauseFunc // ends all requests
}

// maxHeader bounds a request's line and headers, in bytes.
const maxHeader = 64 << 10

// NewServer makes a server.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("make API server: no Handler")
	}
	if cfg.HeaderTime < 0 || cfg.IdleTime < 0 || cfg.Connections < 0 {
		return nil, fmt.Errorf("make API server: HeaderTime %s, IdleTime %s, Connections %d: want none below 0", cfg.HeaderTime, cfg.IdleTime, cfg.Connections)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{cancel: cancel, conns: newConnections(cmp.Or(cfg.Connections, 4096))}
	s.srv = &http.Server{
		Handler:           cfg.Handler,
		ReadHeaderTimeout: cmp.Or(cfg.HeaderTime, 10*time.Second),
		IdleTimeout:       cmp.Or(cfg.IdleTime, time.Minute),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(&debugWriter{cfg.Logger}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.conns.changed,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
	return s, nil
}

// debugWriter has the server's own complaints, which are about clients, among the messages that nobody sees unless asked for.
type debugWriter struct{ log *slog.Logger }

func (w *debugWriter) Write(b []byte) (int, error) {
	w.log.Debug("HTTP", "cause", string(b))
	return len(b), nil
}

// Serve answers what comes to a listener until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown takes no more requests, and waits for those under way until ctx is done; then it ends them, which they tell their clients.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	s.cancel(errStopping)
	if err != nil {
		// What a request says at its end still goes out.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if s.srv.Shutdown(ctx) != nil {
			_ = s.srv.Close() // the error at hand is the one to tell
		}
	}
	return err
}

// lastWords is how long requests that are ended may take to say so.
const lastWords = 2 * time.Second

// connections bounds how many there are: beyond that, the one that has been without a request for longest is closed, or else the newest.
type connections struct {
	most int

	mu   sync.Mutex
	n    int
	idle list.List // of net.Conn, the longest idle first
	of   map[net.Conn]*list.Element
}

func newConnections(most int) *connections {
	return &connections{most: most, of: map[net.Conn]*list.Element{}}
}

// changed is called by the server.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, isIdle := c.of[conn]
	if isIdle {
		c.idle.Remove(e)
		delete(c.of, conn)
	}
	switch state {
	case http.StateNew, http.StateIdle:
		if state == http.StateNew {
			c.n++
		}
		c.of[conn] = c.idle.PushBack(conn)
		if c.n > c.most {
			first := c.idle.Front()
			victim := first.Value.(net.Conn)
			c.idle.Remove(first)
			delete(c.of, victim)
			if t, ok := victim.(*tls.Conn); ok {
				victim = t.NetConn() // TLS would say goodbye, and wait for a client that reads nothing, with everybody else
			}
			_ = victim.Close() // its own goroutine sees that, and counts it
		}
	case http.StateClosed, http.StateHijacked:
		c.n--
	}
}
