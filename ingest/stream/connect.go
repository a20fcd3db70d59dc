package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

const (
	dialTimeout    = 5 * time.Second // for each address, and for the handshake after it
	requestTimeout = 5 * time.Second
	closeTimeout   = 5 * time.Second

	// A connection that died without a word is noticed after three of these.
	pingInterval = 15 * time.Second

	// A server that restarts is back within a second; its clients' clocks are spread by the jitter.
	reconnectWait   = 200 * time.Millisecond
	reconnectJitter = 200 * time.Millisecond

	// A sync subscription's channel is allocated whole for each batch of Unflushed, which never holds as
	// many messages.
	syncQueue = 2 * unflushedMessages

	// headroom is what a message may hold besides the batch: NATS counts headers in its limit.
	headroom = 4 << 10

	// assumedPayload is nats-server's default limit, for as long as no server has told its own.
	assumedPayload = 1 << 20
)

// Stream is a connection to one JetStream stream. Its methods may be called from any number of goroutines.
type Stream struct {
	cfg    Config
	log    *slog.Logger
	prefix string // of the subjects, "oklog."
	where  string // the server's URLs without passwords
	nc     *nats.Conn
	js     jetstream.JetStream
	room   *semaphore.Weighted // bytes of publishes in flight, see weight

	mu     sync.Mutex
	flight map[*nats.Msg]*Ack // publishes that the server has not answered
	closed bool

	ackWait   atomic.Int64 // in effect, nanoseconds; 0 until Ensure or Consume
	lastAsync atomic.Pointer[string]
	over      chan struct{} // closed when the connection is closed for good
}

// Connect connects, and verifies that the server has JetStream and is not too old. It
// gives up after some seconds, or when ctx is done; with Config.WaitForServer it returns at once and
// connects in the background. Its errors are ErrConnect or ErrOldServer, one line: where, what
// failed, and what to do.
func Connect(ctx context.Context, cfg Config) (*Stream, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	opts, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	s := &Stream{
		cfg:    cfg,
		log:    cfg.Logger.With("part", "stream"),
		prefix: strings.ToLower(cfg.Stream) + ".",
		where:  redact(cfg.URL),
		room:   semaphore.NewWeighted(cfg.MaxInFlight),
		flight: make(map[*nats.Msg]*Ack),
		over:   make(chan struct{}),
	}
	if cfg.InProcess != nil {
		s.where = "the server in this process"
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	d := &dialer{done: ctx.Done()}
	s.nc, err = nats.Connect(cfg.URL, append(opts, s.options(d)...)...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w at %s: %w", ErrConnect, s.where, context.Cause(ctx))
		}
		return nil, s.diagnose(err, d.lastError())
	}
	d.connected()
	s.js, err = jetstream.New(s.nc,
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) { s.answered(m, nil) }),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { s.answered(m, err) }),
		// The semaphore bounds the publishes in flight below this, so that the library's own wait,
		// which fails after 200 ms and knows no context, is never entered.
		jetstream.WithPublishAsyncMaxPending(int(cfg.MaxInFlight/minWeight)+2),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
		jetstream.WithDefaultTimeout(requestTimeout))
	if err == nil && !cfg.WaitForServer {
		err = s.checkServer(ctx)
	}
	if err != nil {
		s.nc.Close()
		<-s.over
		return nil, err
	}
	return s, nil
}

// options are those of the connection itself.
func (s *Stream) options(d *dialer) []nats.Option {
	state := func(connected bool) {
		if s.cfg.OnConnection != nil {
			s.cfg.OnConnection(connected)
		}
	}
	var attempts atomic.Uint64
	return []nats.Option{
		nats.Name(s.cfg.Name),
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // the dialer looks it up, with a bound
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.IgnoreAuthErrorAbort(),
		nats.RetryOnFailedConnect(s.cfg.WaitForServer),
		nats.SyncQueueLen(syncQueue),
		nats.ConnectHandler(func(nc *nats.Conn) {
			attempts.Store(0)
			s.warnOld(nc)
			s.log.Debug("connected to NATS", "url", nc.ConnectedUrlRedacted())
			state(true)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			attempts.Store(0)
			s.warnOld(nc)
			s.log.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
			state(true)
		}),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err == nil && nc.IsClosed() {
				return // Close was called
			}
			s.log.Warn("lost the connection to NATS, trying to get it back", "url", s.where, "cause", err)
			state(false)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			// The first failure is told, then every doubling, then about each minute.
			if n := attempts.Add(1); n&(n-1) == 0 && n < 256 || n%256 == 0 {
				s.log.Warn("still no connection to NATS", "attempts", n, "cause", s.diagnose(err, d.lastError()))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			text := err.Error()
			s.lastAsync.Store(&text)
			attrs := []any{"cause", err}
			if sub != nil {
				attrs = append(attrs, "subject", sub.Subject)
			}
			s.log.Warn("NATS reports an error", attrs...)
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(s.over) }),
	}
}

// checkServer verifies what every use of the stream relies on.
func (s *Stream) checkServer(ctx context.Context) error {
	if !s.nc.IsConnected() {
		return fmt.Errorf("%w: %w: no connection to %s", ErrConnect, ErrUnavailable, s.where)
	}
	if v := s.nc.ConnectedServerVersion(); !recent(v) {
		return s.oldServer(v)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.js.AccountInfo(ctx)
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		hint = "JetStream is not enabled on this server: start it as `nats-server --jetstream`, or name another one with --nats"
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		hint = "JetStream is not enabled for this account: enable it in the server's configuration, or use other credentials (--nats-creds)"
	default:
		err = fmt.Errorf("%w: %w", ErrUnavailable, err) // it may have been killed a moment ago: who waits for it goes on
		hint = "JetStream does not answer: does its cluster have a leader, and may this user publish to $JS.API.>?"
		if last := s.lastAsync.Load(); last != nil {
			hint += " The server said: " + *last
		}
	}
	return fmt.Errorf("%w at %s: %w: %s", ErrConnect, s.where, err, hint)
}

func (s *Stream) oldServer(version string) error {
	return fmt.Errorf("%w: %s has version %s: want %s or newer, which does not lose writes that it has acked",
		ErrOldServer, s.where, version, minVersion)
}

// warnOld tells of an old server that was met in the background.
func (s *Stream) warnOld(nc *nats.Conn) {
	if v := nc.ConnectedServerVersion(); v != "" && !recent(v) {
		s.log.Error("this NATS server may lose batches", "cause", s.oldServer(v))
	}
}

// minVersion is the first release with the fix of nats-server pull request 7594.
const minVersion = "2.12.3"

// recent reports whether the version, "2.12.3" or "v2.13.0-RC.1", is at least minVersion.
func recent(version string) bool {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	have, want := strings.Split(version, "."), strings.Split(minVersion, ".")
	for i, w := range want {
		if i >= len(have) {
			return false
		}
		h, err := strconv.ParseUint(have[i], 10, 32)
		if err != nil {
			return false
		}
		if least, _ := strconv.ParseUint(w, 10, 32); h != least {
			return h > least
		}
	}
	return true
}

// Connected reports whether there is a connection right now.
func (s *Stream) Connected() bool { return s.nc.IsConnected() }

// MaxBatch is the largest body that Publish takes, in bytes: the server's limit on
// messages less room for headers. Before the first connection it is what a server allows by default.
func (s *Stream) MaxBatch() int {
	limit := int(s.nc.MaxPayload())
	if limit <= 0 {
		limit = assumedPayload
	}
	return max(limit-headroom, 0)
}

// Close waits for the answers to what was published, sends the acks that are still on their way, and
// closes the connection: all of it until ctx is done and for at most some seconds. What was not
// answered by then fails with ErrClosed. Consumers are to be stopped before. An error means that acks of deliveries may not have
// been sent, so that those come again.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	waiting := make([]*Ack, 0, len(s.flight))
	for _, a := range s.flight {
		waiting = append(waiting, a)
	}
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var err error
	if s.nc.IsConnected() {
		for _, a := range waiting {
			select {
			case <-a.done:
			case <-ctx.Done():
			}
		}
		err = s.nc.FlushWithContext(ctx)
	}
	s.nc.Close()
	<-s.over

	s.mu.Lock()
	left := s.flight
	s.flight = nil
	s.mu.Unlock()
	for m, a := range left {
		s.resolve(m, a, ErrClosed)
	}
	if err != nil {
		return fmt.Errorf("send the last acks to NATS at %s: %w", s.where, err)
	}
	return nil
}

// diagnose turns what nats.go says about a failed connection into one line that says what to do. dial is
// the last failure of dialing, which nats.go keeps to itself.
func (s *Stream) diagnose(err, dial error) error {
	if dial != nil && (errors.Is(err, nats.ErrNoServers) || errors.Is(err, dial)) {
		err = dial
	}
	text := err.Error()
	hint := ""
	_, dns := errors.AsType[*net.DNSError](err)
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case dns:
		hint = "check the host's name in --nats"
	case strings.Contains(text, "refused"):
		hint = "nothing listens there: start nats-server --jetstream, or correct --nats"
	case isNet && netErr.Timeout(), errors.Is(err, nats.ErrTimeout):
		hint = "no answer in " + dialTimeout.String() + ": check host, port and firewalls (--nats)"
	case errors.Is(err, nats.ErrAuthorization), strings.Contains(text, "uthorization"),
		errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrNkeysNotSupported):
		hint = "the server refuses the credentials: correct user:password@ in --nats, --nats-creds or --nats-nkey"
	case errors.Is(err, nats.ErrSecureConnWanted):
		hint = "the server has no TLS: use nats:// in --nats and no --nats-ca"
	case strings.Contains(text, "unknown authority"):
		hint = "name the authority that signed the server's certificate with --nats-ca FILE"
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), errors.Is(err, nats.ErrSecureConnRequired):
		hint = "TLS failed: check tls:// and the host's name in --nats, --nats-ca, --nats-cert and --nats-key"
	case errors.Is(err, nats.ErrNoInfoReceived):
		hint = "something other than NATS listens there: correct --nats"
	default:
		hint = "check --nats"
	}
	return fmt.Errorf("%w at %s: %w: %s", ErrConnect, s.where, err, hint)
}

// dialer remembers why dialing failed, and gives up with the context of Connect until there was a connection.
type dialer struct {
	mu   sync.Mutex
	done <-chan struct{} // nil after the first connection
	last error
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	done := d.done
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	finished := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-done:
			cancel()
		case <-finished:
		}
	})
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	close(finished)
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
	return conn, err
}

func (d *dialer) connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = nil
}

func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}
