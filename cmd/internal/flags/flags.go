// Package flags has what the commands' flags share: how a NATS server and buckets are named, sizes, and
// how a program says what went wrong.
package flags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"oklog/ingest/stream"
	"oklog/objstore"
	"oklog/objstore/open"
	"oklog/objstore/s3"
	"oklog/query"
)

const (
	catNATS   = "NATS"
	catBucket = "Buckets"
	catOutput = "Messages"
)

// NATS is how a server is named, and who connects.
func NATS(usage string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "nats", Usage: usage, EnvVars: []string{"OKLOG_NATS"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-creds", Usage: "credentials `FILE` (JWT and seed)", EnvVars: []string{"OKLOG_NATS_CREDS"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-nkey", Usage: "NKey seed `FILE`", EnvVars: []string{"OKLOG_NATS_NKEY"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-user", Usage: "user `NAME`", EnvVars: []string{"OKLOG_NATS_USER"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-password", Usage: "`PASSWORD`", EnvVars: []string{"OKLOG_NATS_PASSWORD"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-token", Usage: "`TOKEN`", EnvVars: []string{"OKLOG_NATS_TOKEN"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-ca", Usage: "`FILE` with the authorities that vouch for the server; switches TLS on", EnvVars: []string{"OKLOG_NATS_CA"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-cert", Usage: "client certificate `FILE`", EnvVars: []string{"OKLOG_NATS_CERT"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-key", Usage: "client key `FILE`", EnvVars: []string{"OKLOG_NATS_KEY"}, Category: catNATS},
		&cli.StringFlag{Name: "nats-stream", Usage: "`NAME` of the JetStream stream; in lower case it begins the subjects", Value: stream.DefaultStream, EnvVars: []string{"OKLOG_NATS_STREAM"}, Category: catNATS},
	}
}

// NATSLimits is what a stream is made with, by who makes it.
func NATSLimits() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "nats-replicas", Usage: "`COPIES` of a stream that is made: 1, 3 or 5", Value: 1, EnvVars: []string{"OKLOG_NATS_REPLICAS"}, Category: catNATS},
		Size("nats-max-bytes", "`SIZE` at which a stream that is made is full, and pushes back on forwarders", stream.DefaultMaxBytes, catNATS),
		&cli.DurationFlag{Name: "ack-wait", Usage: "`TIME` of silence after which a batch is delivered again; at least three times --flush-age", Value: stream.DefaultAckWait, EnvVars: []string{"OKLOG_ACK_WAIT"}, Category: catNATS},
	}
}

// Stream is the configuration that the flags of NATS, and of NATSLimits where the command has them, ask for.
func Stream(c *cli.Context, log *slog.Logger) (stream.Config, error) {
	cfg := stream.Config{
		URL:      c.String("nats"),
		Auth:     stream.Auth{CredentialsFile: c.String("nats-creds"), NKeyFile: c.String("nats-nkey"), User: c.String("nats-user"), Password: c.String("nats-password"), Token: c.String("nats-token")},
		TLS:      stream.TLS{CA: c.String("nats-ca"), Cert: c.String("nats-cert"), Key: c.String("nats-key")},
		Name:     c.App.Name,
		Stream:   c.String("nats-stream"),
		Replicas: c.Int("nats-replicas"),
		AckWait:  c.Duration("ack-wait"),
		Logger:   log,
	}
	if c.String("nats-max-bytes") != "" {
		n, err := Bytes(c, "nats-max-bytes")
		if err != nil {
			return cfg, err
		}
		cfg.MaxBytes = n
	}
	return cfg, nil
}

// Buckets is how buckets are named.
func Buckets() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "bucket", Usage: "`URL` of a bucket; several times for several copies: s3://HOST[:PORT]/BUCKET[/PREFIX]?region=R&tls=false or file:///PATH", EnvVars: []string{"OKLOG_BUCKET"}, Category: catBucket},
	}
}

// WriteQuorum is how many copies count.
func WriteQuorum(usage string) cli.Flag {
	return &cli.IntFlag{Name: "write-quorum", Usage: usage, EnvVars: []string{"OKLOG_WRITE_QUORUM"}, Category: catBucket}
}

// StoredAt is the usage of WriteQuorum for commands that write.
const StoredAt = "how `MANY` of the buckets must have a segment before it counts as stored; 0: all"

// Open opens the buckets named. Copies that are still being written when enough are done hold up to detached bytes.
func Open(ctx context.Context, c *cli.Context, log *slog.Logger, meter objstore.Meter, detached int64) (*open.Opened, error) {
	urls := c.StringSlice("bucket")
	if len(urls) == 0 {
		return nil, errNoBucket
	}
	return open.Bucket(ctx, urls, open.Config{WriteQuorum: c.Int("write-quorum"), Logger: log, Meter: meter,
		Replicated: objstore.ReplicatedConfig{DetachedBytes: detached}})
}

// OpenToRead opens the buckets named for a command that writes nothing, and needs no right to. Which of several is away is for the command to tell.
func OpenToRead(ctx context.Context, c *cli.Context, log *slog.Logger, meter objstore.Meter) (*open.Opened, error) {
	urls := c.StringSlice("bucket")
	if len(urls) == 0 {
		return nil, errNoBucket
	}
	b, err := open.Bucket(ctx, urls, open.Config{WriteQuorum: c.Int("write-quorum"), Logger: log, Meter: meter, ReadOnly: true, NoCheck: true,
		S3: s3.Config{Attempts: s3.DefaultAttempts, AttemptTimeout: s3.DefaultAttemptTimeout}}) // each bucket counts: none is given up early
	if err != nil {
		return nil, err
	}
	for _, err := range b.List(ctx, "", "") {
		if err != nil && len(urls) == 1 {
			_ = b.Close(ctx) // the error at hand is the one to tell
			return nil, err
		}
		break
	}
	return b, nil
}

var errNoBucket = errors.New("no bucket is named: add --bucket s3://HOST/BUCKET or --bucket file:///PATH, or set OKLOG_BUCKET")

// Size is a flag that takes a number of bytes: 64MiB, 1.5GB, 1000. Bytes reads it.
func Size(name, usage string, value int64, category string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Usage: usage, Value: strings.ReplaceAll(humanize.IBytes(uint64(value)), " ", ""), Category: category,
		EnvVars: []string{"OKLOG_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}}
}

// Bytes reads a flag made with Size.
func Bytes(c *cli.Context, name string) (int64, error) {
	n, err := humanize.ParseBytes(c.String(name))
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("bad size %q: want a number of bytes like 64MiB or 1.5GB (--%s)", c.String(name), name)
	}
	return int64(n), nil
}

// Age is a flag that takes a time of hours, days or weeks: 90s, 12h, 7d, 1w. AgeOf reads it.
func Age(name, usage, value, category string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Usage: usage, Value: value, DefaultText: value, Category: category,
		EnvVars: []string{"OKLOG_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}}
}

// AgeOf reads a flag made with Age.
func AgeOf(c *cli.Context, name string) (time.Duration, error) {
	d, err := query.ParseAge(c.String(name))
	if err != nil {
		return 0, fmt.Errorf("bad time %q: want one like 90s, 12h or 7d (--%s)", c.String(name), name)
	}
	return d, nil
}

// Positive refuses durations that are not.
func Positive(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.Duration(name) <= 0 {
			return fmt.Errorf("bad time %s: want more than 0, like 500ms or 10s (--%s)", c.Duration(name), name)
		}
	}
	return nil
}

// Log says what a program tells of its work.
func Log() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-level", Usage: "`LEVEL` of messages on standard error: debug, info, warn or error", Value: "info", EnvVars: []string{"OKLOG_LOG_LEVEL"}, Category: catOutput},
		&cli.BoolFlag{Name: "log-json", Usage: "messages as JSON", EnvVars: []string{"OKLOG_LOG_JSON"}, Category: catOutput},
	}
}

// Logger makes the logger that the flags of Log ask for.
func Logger(c *cli.Context, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, fmt.Errorf("bad level %q: want debug, info, warn or error (--log-level)", c.String("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Bool("log-json") {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	format := time.TimeOnly
	if file, ok := w.(*os.File); ok && !term.IsTerminal(int(file.Fd())) {
		format = time.RFC3339 // who reads a file wants to know of which day it is
	}
	opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			a.Value = slog.StringValue(a.Value.Time().Format(format))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// LimitMemory has the garbage collector work harder before the process takes more than n bytes, unless the user
// has said something about that.
func LimitMemory(n int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(n)
	}
}

// OneLine is an error as one line.
func OneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
}
