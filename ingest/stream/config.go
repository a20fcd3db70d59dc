package stream

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Defaults of Config.
const (
	DefaultURL         = "nats://127.0.0.1:4222"
	DefaultStream      = "OKLOG"
	DefaultMaxBytes    = 10 << 30
	DefaultAckWait     = time.Minute
	DefaultMaxInFlight = 32 << 20
)

// minAckWait keeps deliveries from being repeated while an ingester is merely busy.
const minAckWait = time.Second

// InProcess connects to a server in the same process without the network.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Auth says who the client is. At most one way besides the user:password@ of a URL is given.
type Auth struct {
	CredentialsFile string // user JWT and seed, as nsc writes them
	NKeyFile        string // seed
	User, Password  string
	Token           string
}

// TLS says how a server is verified (CA) and who the client is (Cert and Key): PEM files. With CA set, TLS is
// required whatever the URL's scheme.
type TLS struct {
	CA, Cert, Key string
}

// Config says which stream, where, and how to get there.
type Config struct {
	// URL is nats://HOST:PORT, tls://HOST:PORT or several with commas between, as nats.go takes them;
	// user:password@ is allowed. Default DefaultURL. Not used with InProcess.
	URL  string
	Auth Auth
	TLS  TLS
	// Name is what the server's monitoring calls this client. Default "oklog".
	Name string
	// Stream is the stream's name, 1 to 64 of A-Z a-z 0-9 _ -. In lower case it begins the subjects. Default
	// DefaultStream.
	Stream string
	// Replicas of a stream that Ensure makes: 1, 3 or 5. Default 1.
	Replicas int
	// MaxBytes of a stream that Ensure makes. Default DefaultMaxBytes, halved until the server has room for it.
	MaxBytes int64
	// AckWait is after how much silence about a delivery (no ack, no InProgress) the server repeats it; at
	// least three flushes. Ensure raises a smaller one that it finds. Default DefaultAckWait.
	AckWait time.Duration
	// MaxInFlight bounds the bytes of publishes that are not acked yet; more wait in Publish. Default
	// DefaultMaxInFlight.
	MaxInFlight int64
	// WaitForServer makes Connect succeed while no server can be reached, and go on trying in the
	// background: the logger says so and Connected tells.
	WaitForServer bool
	// InProcess, when set, is the server to use.
	InProcess InProcess
	// OnConnection, when set, is called with true at each connection and false at each loss of
	// one, in order, from one goroutine. It must return soon.
	OnConnection func(connected bool)
	// Logger gets losses of the connection and what was mended. Default: none.
	Logger *slog.Logger
}

// isStreamName tells whether s can name a stream. It is no regular expression: those are compiled at each start.
func isStreamName(s string) bool {
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, chars) == ""
}

// withDefaults checks the configuration and fills it.
func (cfg Config) withDefaults() (Config, error) {
	bad := func(format string, v ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s", ErrConnect, fmt.Sprintf(format, v...))
	}
	if cfg.URL == "" {
		cfg.URL = DefaultURL
	}
	if cfg.Name == "" {
		cfg.Name = "oklog"
	}
	if cfg.Stream == "" {
		cfg.Stream = DefaultStream
	}
	if !isStreamName(cfg.Stream) {
		return bad("bad stream name %q: want 1 to 64 of A-Z a-z 0-9 _ - (--nats-stream)", cfg.Stream)
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Replicas != 1 && cfg.Replicas != 3 && cfg.Replicas != 5 {
		return bad("bad number of replicas %d: want 1, 3 or 5 (--nats-replicas)", cfg.Replicas)
	}
	if cfg.MaxBytes < 0 || cfg.MaxBytes > 0 && cfg.MaxBytes < 1<<20 {
		return bad("bad size of the stream, %d bytes: want at least 1 MiB (--nats-max-bytes)", cfg.MaxBytes)
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = DefaultAckWait
	}
	if cfg.AckWait < minAckWait {
		return bad("bad ack wait %s: want at least %s", cfg.AckWait, minAckWait)
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	if cfg.MaxInFlight < 0 || cfg.MaxInFlight > 1<<30 {
		return bad("bad bound of %d bytes on publishes in flight: want 1 byte to 1 GiB", cfg.MaxInFlight)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.InProcess == nil {
		if err := checkURLs(cfg.URL); err != nil {
			return Config{}, err
		}
	}
	return cfg, nil
}

// checkURLs finds what nats.go would report without saying where it comes from.
func checkURLs(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		full := text
		if !strings.Contains(full, "://") {
			full = "nats://" + full
		}
		u, err := url.Parse(full)
		why := ""
		switch {
		case err != nil:
			// The error of url.Parse quotes the URL, which may hold a password.
			return fmt.Errorf("%w: bad URL: want nats://HOST:PORT or tls://HOST:PORT, and %%XX for special characters in a password (--nats)", ErrConnect)
		case u.Hostname() == "":
			why = "it names no host"
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			why = "unknown scheme " + u.Scheme
		}
		if why != "" {
			return fmt.Errorf("%w: bad URL %q: %s: want nats://HOST:PORT or tls://HOST:PORT (--nats)", ErrConnect, u.Redacted(), why)
		}
	}
	return nil
}

// redact is the list of URLs without passwords.
func redact(list string) string {
	parts := strings.Split(list, ",")
	for i, text := range parts {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		if u, err := url.Parse(text); err == nil {
			text = u.Redacted()
		}
		parts[i] = text
	}
	return strings.Join(parts, ",")
}

// credentials turns Auth and TLS into options, and reads what files they name: a missing file is
// an error here and now, with the flag that names it.
func (cfg Config) credentials() ([]nats.Option, error) {
	var opts []nats.Option
	ways := 0
	readable := func(file, flag string) error {
		if _, err := os.ReadFile(file); err != nil {
			return fmt.Errorf("%w: read the file of %s: %w", ErrConnect, flag, err)
		}
		return nil
	}
	if a := cfg.Auth; a.CredentialsFile != "" {
		if err := readable(a.CredentialsFile, "--nats-creds"); err != nil {
			return nil, err
		}
		ways++
		opts = append(opts, nats.UserCredentials(a.CredentialsFile))
	}
	if f := cfg.Auth.NKeyFile; f != "" {
		if err := readable(f, "--nats-nkey"); err != nil {
			return nil, err
		}
		opt, err := nats.NkeyOptionFromSeed(f)
		if err != nil {
			return nil, fmt.Errorf("%w: read the seed in %s: %w (--nats-nkey)", ErrConnect, f, err)
		}
		ways++
		opts = append(opts, opt)
	}
	if a := cfg.Auth; a.User != "" || a.Password != "" {
		ways++
		opts = append(opts, nats.UserInfo(a.User, a.Password))
	}
	if t := cfg.Auth.Token; t != "" {
		ways++
		opts = append(opts, nats.Token(t))
	}
	if ways > 1 {
		return nil, fmt.Errorf("%w: give one of --nats-creds, --nats-nkey, user with password, and token, not several", ErrConnect)
	}
	if ca := cfg.TLS.CA; ca != "" {
		if err := readable(ca, "--nats-ca"); err != nil {
			return nil, err
		}
		opts = append(opts, nats.RootCAs(ca))
	}
	if t := cfg.TLS; (t.Cert == "") != (t.Key == "") {
		return nil, fmt.Errorf("%w: --nats-cert goes with --nats-key", ErrConnect)
	} else if t.Cert != "" {
		opts = append(opts, nats.ClientCert(t.Cert, t.Key))
	}
	return opts, nil
}
