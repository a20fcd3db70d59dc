package forward

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore/segment"
)

// ErrConfig is what every error of New about its configuration is.
var ErrConfig = errors.New("cannot forward")

// Ack is the broker's answer to one publish.
type Ack interface {
	// Done is closed when the answer is there.
	Done() <-chan struct{}
	// Err is nil when the broker holds the batch durably. It is asked after Done.
	Err() error
}

// Publisher sends batches to a broker.
type Publisher interface {
	// Publish sends a batch and returns before the answer; it may wait for room. Publishing the same id again is
	// harmless. body is not changed afterwards. Every error, here or of the Ack, is taken as one that passes, unless Config.Permanent
	// says otherwise.
	Publish(ctx context.Context, topic, id string, body []byte) (Ack, error)
	// MaxBatch is the greatest body that the broker takes now, in bytes.
	MaxBatch() int
}

// PublisherOf makes a Publisher of what returns acks of its own type.
func PublisherOf[A Ack](p interface {
	Publish(ctx context.Context, topic, id string, body []byte) (A, error)
	MaxBatch() int
}) Publisher {
	return publisherOf[A]{p.Publish, p.MaxBatch}
}

type publisherOf[A Ack] struct {
	publish  func(ctx context.Context, topic, id string, body []byte) (A, error)
	maxBatch func() int
}

func (p publisherOf[A]) MaxBatch() int { return p.maxBatch() }

func (p publisherOf[A]) Publish(ctx context.Context, topic, id string, body []byte) (Ack, error) {
	ack, err := p.publish(ctx, topic, id, body)
	if err != nil {
		return nil, err
	}
	return ack, nil
}

// Putter stores segments, for Bulk. Putting the same key with the same bytes again is harmless.
type Putter interface {
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error
}

// Mode says how batches go out.
type Mode uint8

const (
	Fast    Mode = iota // published without waiting; acks are awaited at the end and before the journal forgets a batch
	Durable             // each batch is acked before more is read
	Bulk                // no broker: segments straight into the bucket
)

var modes = []string{"fast", "durable", "bulk"}

// ParseMode reads fast, durable or bulk.
func ParseMode(s string) (Mode, error) {
	if i := slices.Index(modes, s); i >= 0 {
		return Mode(i), nil
	}
	return 0, fmt.Errorf("%w: bad mode %q: want fast, durable or bulk (--mode)", ErrConfig, s)
}

// String is what ParseMode reads.
func (m Mode) String() string { return modes[min(int(m), len(modes)-1)] }

// WhenFull says what happens when the pipeline is slower than the inputs.
type WhenFull uint8

const (
	Block      WhenFull = iota // stop reading
	DropOldest                 // drop the oldest batch that waits, and count its records
	Spool                      // keep up to Limits.Spool bytes in the state folder, then stop reading
)

var policies = []string{"block", "drop-oldest", "spool"}

// ParseWhenFull reads block, drop-oldest or spool.
func ParseWhenFull(s string) (WhenFull, error) {
	if i := slices.Index(policies, s); i >= 0 {
		return WhenFull(i), nil
	}
	return 0, fmt.Errorf("%w: bad policy %q: want block, drop-oldest or spool (--when-full)", ErrConfig, s)
}

// String is what ParseWhenFull reads.
func (w WhenFull) String() string { return policies[min(int(w), len(policies)-1)] }

// Inputs says what is read: the files in their order, then Stdin; all at once with Follow.
type Inputs struct {
	// Stdin is any stream; nil: none. Run may return while a Read of it still waits, which then ends with the stream.
	Stdin io.Reader
	// Files are paths. Each adds file=PATH to the source, unless that has a file already.
	Files []string
	// Follow goes on at the end of the files, through rotation and truncation. It needs StateDir. A file
	// that does not exist yet is waited for.
	Follow bool
	// StateDir is the folder that remembers positions and batches on their way. It is made when absent. Without Follow it
	// makes a second run go on where the first one ended.
	StateDir string
	// Multiline is a regular expression: a line that matches it (its first 4 KiB) starts a record, the others belong to
	// the record before. "": every line is a record.
	Multiline string
}

// Limits bounds sizes and times. Zero values mean the defaults.
type Limits struct {
	Record   int           // bytes of a record before it is cut; default 256 KiB
	Batch    int           // bytes of text in a batch; default segment.BlockSize
	BatchAge time.Duration // how long a record waits for others; default 100 ms
	Spool    int64         // bytes that DropOldest keeps in memory (default 64 MiB), Spool on disk (default 1 GiB)
	Flush    int64         // Bulk: bytes of text that are sorted together and make a segment; default 64 MiB
	Stop     time.Duration // how long a cancelled Run waits for acks; default 10 s
}

// Config says what is forwarded, and where to.
type Config struct {
	Topic  string
	Source segment.Source
	Inputs Inputs
	Time   TimeConfig
	Mode   Mode

	WhenFull  WhenFull
	Limits    Limits
	Publisher Publisher // for Fast and Durable
	Putter    Putter    // for Bulk
	// Permanent tells whether an error of Publish, an ack or Put is one that repeating does not mend; it ends
	// the Run. nil: none is.
	Permanent func(error) bool

	Clock      func() time.Time // default time.Now
	Entropy    io.Reader        // for session numbers; default crypto/rand.Reader
	Logger     *slog.Logger     // default: none
	Registerer prometheus.Registerer
}

// Defaults and bounds of Limits.
const (
	DefaultRecord    = 256 << 10
	DefaultBatchAge  = 100 * time.Millisecond
	DefaultDropBytes = 64 << 20
	DefaultSpool     = 1 << 30
	DefaultFlush     = 64 << 20
	DefaultStop      = 10 * time.Second

	minRecord = 16
	maxBatch  = 8 << 20
	// maxBulkBatches is how many batches a segment is collected from: memory for two segments of them is there from the beginning.
	maxBulkBatches = 1 << 16
	maxFiles       = 1000
)

func bad(format string, v ...any) error {
	return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, v...))
}

// Check tells what New would refuse, as far as that does not need a Publisher or a Putter: so that
// a slip in a flag shows before anything is connected to.
func (cfg Config) Check() error {
	cfg, err := cfg.withDefaults()
	if err == nil {
		_, err = newTimeParser(cfg.Time)
	}
	return err
}

// withDefaults checks the configuration, but for its target, and fills it.
func (cfg Config) withDefaults() (Config, error) {
	l := &cfg.Limits
	setDefault(&l.Record, DefaultRecord)
	setDefault(&l.Batch, segment.BlockSize)
	setDefault(&l.BatchAge, DefaultBatchAge)
	setDefault(&l.Flush, DefaultFlush)
	setDefault(&l.Stop, DefaultStop)
	if cfg.WhenFull == Spool {
		setDefault(&l.Spool, DefaultSpool)
	}
	setDefault(&l.Spool, DefaultDropBytes)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Entropy == nil {
		cfg.Entropy = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Permanent == nil {
		cfg.Permanent = func(error) bool { return false }
	}
	if err := segment.CheckTopic(cfg.Topic); err != nil {
		return cfg, bad("%w (--topic)", err)
	}
	if err := cfg.checkLimits(); err != nil {
		return cfg, err
	}
	if err := cfg.checkModes(); err != nil {
		return cfg, err
	}
	return cfg, cfg.checkInputs()
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (cfg *Config) checkLimits() error {
	l := cfg.Limits
	switch {
	case l.Record < minRecord || l.Record > segment.MaxRecord:
		return bad("record limit of %d bytes: want %d to %d (--record-limit)", l.Record, minRecord, segment.MaxRecord)
	case l.Batch < 1 || l.Batch > maxBatch:
		return bad("batch of %d bytes: want 1 to %d (--batch-size)", l.Batch, maxBatch)
	case l.BatchAge < 0:
		return bad("batch age %s: want more than 0 (--batch-age)", l.BatchAge)
	case l.Spool < 1:
		return bad("spool of %d bytes: want at least 1 (--spool-size, --drop-size)", l.Spool)
	case l.Flush < 1 || l.Flush > 1<<30:
		return bad("segments of %d bytes: want 1 to %d (--flush-size)", l.Flush, 1<<30)
	case l.Stop < 0:
		return bad("stop timeout %s: want more than 0 (--stop-timeout)", l.Stop)
	}
	return nil
}

func (cfg *Config) checkModes() error {
	if int(cfg.Mode) >= len(modes) || int(cfg.WhenFull) >= len(policies) {
		return bad("unknown mode or policy (--mode, --when-full)")
	}
	if cfg.Mode == Bulk {
		switch {
		case cfg.Limits.Flush/int64(cfg.Limits.Batch) > maxBulkBatches:
			return bad("segments of %d bytes out of batches of %d: at most %d in each: raise --batch-size, or lower --flush-size", cfg.Limits.Flush, cfg.Limits.Batch, maxBulkBatches)
		case cfg.WhenFull != Block:
			return bad("mode bulk has nothing to be full: drop --when-full %s", cfg.WhenFull)
		case cfg.Inputs.Follow:
			return bad("mode bulk is for inputs that end: drop --follow, or use --mode fast or durable")
		case cfg.Inputs.StateDir != "":
			return bad("mode bulk keeps no state: drop --state")
		}
		return nil
	}
	if cfg.Inputs.StateDir == "" {
		if cfg.Inputs.Follow {
			return bad("following files needs a folder that remembers positions (--state)")
		}
		if cfg.WhenFull == Spool {
			return bad("a spool needs a folder to lie in (--state)")
		}
	}
	return nil
}

// checkTarget verifies that there is somewhere to send records to, which takes them.
func (cfg *Config) checkTarget() error {
	if cfg.Mode == Bulk {
		if cfg.Putter == nil {
			return bad("mode bulk writes to a bucket and none is given (--bucket)")
		}
		return nil
	}
	if cfg.Publisher == nil {
		return bad("mode %s publishes to NATS and no server is given (--nats)", cfg.Mode)
	}
	if need, have := maxEncoded(cfg.Limits.Record, cfg.Source), cfg.Publisher.MaxBatch(); need > have {
		return bad("a record of %d bytes may need a message of %d, and the server takes %d: lower --record-limit, or raise the server's max_payload",
			cfg.Limits.Record, need, have)
	}
	return nil
}

// maxEncoded bounds the size of a batch with one record that does not compress.
func maxEncoded(record int, source segment.Source) int {
	const sections = 1024 // frames, columns, index and trailer of one record
	size := record + record/256 + sections
	for _, a := range source {
		size += len(a.Key) + len(a.Value) + 4
	}
	return size + segment.MaxAttrValue // the file's path
}

func (cfg *Config) checkInputs() error {
	in := cfg.Inputs
	if in.Stdin == nil && len(in.Files) == 0 {
		return bad("nothing to read: name a FILE, or give standard input")
	}
	if len(in.Files) > maxFiles {
		return bad("%d files: at most %d", len(in.Files), maxFiles)
	}
	seen := map[string]bool{}
	for _, path := range in.Files {
		if seen[path] {
			return bad("file %s is named twice", path)
		}
		seen[path] = true
		if len(path) > segment.MaxAttrValue {
			return bad("the path of file %.40s... has %d bytes: at most %d", path, len(path), segment.MaxAttrValue)
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist) && in.Follow:
		case errors.Is(err, os.ErrNotExist):
			return bad("%w: check the path (with --follow, a file that does not exist yet is waited for)", err)
		case err != nil:
			return bad("%w", err)
		case info.IsDir():
			return bad("%s is a folder: name the files in it", path)
		}
	}
	if in.Multiline != "" {
		if _, err := regexp.Compile(in.Multiline); err != nil {
			return bad("bad start pattern: %w (--multiline)", err)
		}
	}
	if len(cfg.Source) == segment.MaxAttrs && cfg.Source.Get("file") == "" && len(in.Files) > 0 {
		return bad("the source has %d attributes and file= would be one more (--source)", segment.MaxAttrs)
	}
	return nil
}

// totalSize is the bytes of inputs that end; -1: they do not tell.
func totalSize(in Inputs) int64 {
	if in.Follow || in.Stdin != nil {
		return -1
	}
	var total int64
	for _, name := range in.Files {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		total += info.Size()
	}
	return total
}
