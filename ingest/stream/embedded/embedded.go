package embedded

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// readyTimeout bounds the wait for a started server to accept connections. The recovery of
// what the folder holds is over by then.
const readyTimeout = 20 * time.Second

// Defaults of Config.
const (
	DefaultListen     = "127.0.0.1:4222"
	DefaultMaxPayload = 1 << 20
	maxMaxPayload     = 64 << 20 // what nats-server supports
)

// ErrStart is what every error of Start is.
var ErrStart = errors.New("start the embedded NATS server")

// Config says how to run the server.
type Config struct {
	// Dir is the folder that holds the streams. It is made when absent. Two servers must not
	// share one.
	Dir string
	// Listen is HOST:PORT; port 0 takes any free one. Default DefaultListen.
	Listen string
	// MaxPayload bounds a message, in bytes, headers included. Default DefaultMaxPayload.
	MaxPayload int
	// MaxStore bounds the bytes in Dir that all streams together may reserve. Default: three
	// quarters of the free disk.
	MaxStore int64
	// User and Password, when set, are asked of every client.
	User, Password string
	// TLS, when set, is asked of every client that comes over the network.
	TLS *tls.Config
	// Logger gets the server's messages. Default: none.
	Logger *slog.Logger
}

// Server is a running nats-server.
type Server struct {
	ns   *server.Server
	lock *flock.Flock // of the folder
}

// Start runs a server and returns when it accepts connections. Its errors are one
// line, are ErrStart, and name the flag to change.
func Start(cfg Config) (*Server, error) {
	return start(cfg, true)
}

// start is Start; a server without JetStream is what a test of a client's diagnosis wants.
func start(cfg Config, jetStream bool) (*Server, error) {
	opts, err := cfg.options(jetStream)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrStart, err), lock.Unlock())
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	lg := &logger{log: log.With("part", "nats-server")}
	ns.SetLoggerV2(lg, false, false, false)
	ns.Start()
	if text := lg.fatalText(); text != "" || !ns.ReadyForConnections(readyTimeout) {
		ns.Shutdown()
		ns.WaitForShutdown()
		if err := lock.Unlock(); err != nil {
			log.Warn("could not unlock", "dir", cfg.Dir, "cause", err)
		}
		if text == "" {
			text = "it did not accept connections within " + readyTimeout.String()
		}
		return nil, fmt.Errorf("%w on %s in %s: %s", ErrStart, cfg.Listen, cfg.Dir, text)
	}
	return &Server{ns: ns, lock: lock}, nil
}

// lockDir makes the folder and keeps other servers out of it, which nats-server itself does not. The system
// frees the lock when the process ends, however it ends.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("%w: make its folder: %w: choose another with --data", ErrStart, err)
	}
	lock := flock.New(filepath.Join(dir, "oklog.lock"))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("%w: lock its folder: %w: choose another with --data", ErrStart, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: another process uses the folder %s: stop it, or choose another folder with --data", ErrStart, dir)
	}
	return lock, nil
}

// options checks the configuration and turns it into nats-server's.
func (cfg *Config) options(jetStream bool) (*server.Options, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("%w: no folder given (--data)", ErrStart)
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = DefaultMaxPayload
	}
	if cfg.MaxPayload < 64<<10 || cfg.MaxPayload > maxMaxPayload {
		return nil, fmt.Errorf("%w: payload limit of %d bytes: want 64 KiB to 64 MiB", ErrStart, cfg.MaxPayload)
	}
	if cfg.MaxStore < 0 {
		return nil, fmt.Errorf("%w: negative store limit %d", ErrStart, cfg.MaxStore)
	}
	if (cfg.User == "") != (cfg.Password == "") {
		return nil, fmt.Errorf("%w: a user goes with a password", ErrStart)
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	return &server.Options{
		Host: host, Port: port,
		NoSigs:            true,
		JetStream:         jetStream,
		StoreDir:          cfg.Dir,
		SyncAlways:        true,
		JetStreamMaxStore: cfg.MaxStore,
		MaxPayload:        int32(cfg.MaxPayload),
		Username:          cfg.User, Password: cfg.Password,
		TLSConfig: cfg.TLS, TLS: cfg.TLS != nil, TLSTimeout: 5,
	}, nil
}

// splitListen parses HOST:PORT and tries to listen there: nats-server itself reports a
// port in use as a fatal error without saying what to do about it.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("%w: bad address %q: %w (--nats-listen HOST:PORT)", ErrStart, listen, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%w: bad port in %q (--nats-listen HOST:PORT, port 0 takes any)", ErrStart, listen)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", 0, fmt.Errorf("%w: cannot listen on %s: %w: choose another address with --nats-listen, "+
			"or use the server that runs there with --nats nats://%s", ErrStart, listen, err, listen)
	}
	if err := l.Close(); err != nil {
		return "", 0, fmt.Errorf("%w: probe %s: %w", ErrStart, listen, err)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// ClientURL is the address for clients, nats://HOST:PORT, with the port that was taken.
func (s *Server) ClientURL() string { return s.ns.ClientURL() }

// InProcessConn connects a client of this process without the network. It makes
// the server a stream.InProcess.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// Shutdown stops the server and waits until it has written everything and let go of its folder.
func (s *Server) Shutdown() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.lock.Unlock() // the end of the process does it at the latest
}
