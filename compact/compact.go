package compact

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"oklog/objstore/segment"
)

// Defaults of Config.
const (
	DefaultOlderThan = 10 * time.Minute
	DefaultGrace     = time.Hour
	DefaultQuiet     = time.Hour
	DefaultTrashFor  = 24 * time.Hour
	DefaultTarget    = 128 << 20
	DefaultMemory    = 256 << 20
)

// Config is what a compactor is told. Copies must be set.
type Config struct {
	Copies []Copy
	Quorum int    // how many of them must take a write; 0: all
	Topic  string // the only one; "": all of them

	// OlderThan is how old a record must be to be compacted: younger ones may still be on their way.
	OlderThan time.Duration
	// Grace is how long a segment stays that has been replaced. It must be longer than the longest query.
	Grace time.Duration
	// Quiet is how long nothing must have been added to a day that is over before what is left to do there is done.
	Quiet time.Duration
	// Retention is for topics that the policy in the bucket does not name; 0: they are kept for ever.
	Retention time.Duration
	// TrashFor is how long what has expired can be had back.
	TrashFor time.Duration
	Target   int64         // bytes of a segment
	Memory   int64         // bytes
	Level    segment.Level // of compression
	Workers  int           // days in work at once; 0: one for each core
	// Yes allows retention to take more than a quarter of a topic at once.
	Yes    bool
	DryRun bool // only plan
	// Of Shards compactors with the same work this is number Shard, from 0. 0: there is one.
	Shard, Shards int

	Now        func() time.Time      // time.Now, if nil
	Logger     *slog.Logger          // discards, if nil
	Registerer prometheus.Registerer // nil registers nothing
}

// Compactor does what is to be done in buckets. Its methods are not to be called at the same time.
type Compactor struct {
	cfg      Config
	memory   *semaphore.Weighted
	metrics  *metrics
	lineages lineages
	progress progress

	report *Report
	now    time.Time       // of the run: a clock that is set meanwhile makes nothing older
	policy Policy          // of retention; the zero Policy if it cannot be read
	ahead  []time.Duration // by how much the clocks of the copies are ahead of ours

	mu      sync.Mutex
	away    Set
	writers []*segment.Writer // not in use
}

// New makes a compactor.
func New(cfg Config) (*Compactor, error) {
	if len(cfg.Copies) == 0 || len(cfg.Copies) > MaxCopies {
		return nil, fmt.Errorf("make compactor: %d buckets: want 1 to %d (--bucket)", len(cfg.Copies), MaxCopies)
	}
	if cfg.Quorum == 0 {
		cfg.Quorum = len(cfg.Copies)
	}
	if cfg.Quorum < 1 || cfg.Quorum > len(cfg.Copies) {
		return nil, fmt.Errorf("make compactor: a write quorum of %d cannot be had from %d buckets (--write-quorum)", cfg.Quorum, len(cfg.Copies))
	}
	if cfg.Topic != "" {
		if err := segment.CheckTopic(cfg.Topic); err != nil {
			return nil, fmt.Errorf("make compactor: %w (--topic)", err)
		}
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
		flag  string
	}{
		{&cfg.OlderThan, DefaultOlderThan, "older-than"}, {&cfg.Grace, DefaultGrace, "grace"}, {&cfg.Quiet, DefaultQuiet, "quiet"},
		{&cfg.TrashFor, DefaultTrashFor, "trash-for"}, {&cfg.Retention, 0, "retention"},
	} {
		if *d.value < 0 {
			return nil, fmt.Errorf("make compactor: bad time %s: it is negative (--%s)", *d.value, d.flag)
		}
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if cfg.Target == 0 {
		cfg.Target = DefaultTarget
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Target < 1 {
		return nil, fmt.Errorf("make compactor: segments of %d bytes: want 1 at least (--target-size)", cfg.Target)
	}
	if least := int64(mergeOverhead + 4*(chunkSize+blockMemory) + cfg.Target/4); cfg.Memory < least {
		size := func(n int64) string { return humanize.IBytes(uint64(n)) }
		return nil, fmt.Errorf("make compactor: %s of memory are too few for segments of %s: want %s at least (--memory), or smaller ones (--target-size)",
			size(cfg.Memory), size(cfg.Target), size(least+1<<20))
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Workers < 1 {
		return nil, fmt.Errorf("make compactor: %d workers: want 1 at least", cfg.Workers)
	}
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	if cfg.Shard < 0 || cfg.Shard >= cfg.Shards {
		return nil, fmt.Errorf("make compactor: shard %d of %d: want 0 to %d (--shard)", cfg.Shard, cfg.Shards, cfg.Shards-1)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &Compactor{cfg: cfg, metrics: m, memory: semaphore.NewWeighted(cfg.Memory), report: &Report{}, now: cfg.Now(), ahead: make([]time.Duration, len(cfg.Copies))}, nil
}

// rules are those of a day.
func (c *Compactor) rules(d *day) rules {
	now := c.now
	return rules{
		target:  c.cfg.Target,
		memory:  c.cfg.Memory - mergeOverhead,
		cutoff:  segment.Before(segment.AtTime(now.Add(-c.cfg.OlderThan))),
		settled: d.isSettled(now, c.cfg.OlderThan, c.cfg.Quiet),
	}
}

// writer lends a writer: the tables of its encoder take long to make.
func (c *Compactor) writer() (*segment.Writer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.writers); n > 0 {
		w := c.writers[n-1]
		c.writers = c.writers[:n-1]
		return w, nil
	}
	return segment.NewWriter(segment.WriterConfig{Level: c.cfg.Level, Filter: true})
}

// giveBack takes back a writer that is not used any more.
func (c *Compactor) giveBack(w *segment.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writers = append(c.writers, w)
}

// Run does all that is to be done now: expired segments go to the trash, and what has been there for long enough is
// deleted; missing copies are made; segments that were replaced long enough ago are deleted; small and overlapping ones
// are merged. It goes on with the rest when a part fails; the error is then of all that failed.
func (c *Compactor) Run(ctx context.Context) (*Report, error) {
	c.begin()
	start := c.cfg.Now()
	err := c.run(ctx)
	c.report.Took = c.cfg.Now().Sub(start)
	c.report.Away = c.Away()
	c.metrics.ran(c.report, err)
	return c.report, err
}

func (c *Compactor) run(ctx context.Context) error {
	if err := c.readClocks(ctx); err != nil {
		return err
	}
	topics := []string{c.cfg.Topic}
	if c.cfg.Topic == "" {
		var err error
		if topics, err = c.topics(ctx); err != nil {
			return err
		}
	}
	c.report.Topics = len(topics)
	var failed failures
	failed.add(c.retention(ctx, topics))
	var work errgroup.Group
	work.SetLimit(c.cfg.Workers)
	for _, topic := range topics {
		for d, err := range c.days(ctx, topic) {
			if err != nil {
				failed.add(err)
				break
			}
			if c.mine(topic, d.date) {
				work.Go(func() error {
					failed.add(c.runDay(ctx, d))
					return nil
				})
			}
		}
	}
	_ = work.Wait() // failed has what failed
	if failed.err() == nil {
		failed.add(c.checkQuorum())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return failed.err()
}

// mergeTime is how long a run may take, from the listing of a day to its last merge, without keeping what expires meanwhile for longer.
const mergeTime = time.Hour

func (c *Compactor) runDay(ctx context.Context, d *day) error {
	c.report.day(d, c.now)
	if keep, _ := c.keep(d.topic); keep > 0 {
		// What expires, or will while it is being merged, is on its way out. Written anew, it would look as if it had come in late.
		soon := c.earliest().Add(min(mergeTime, time.Duration(keep)/10))
		for _, s := range d.segments {
			s.expired, s.late = !expiry(s, keep).After(soon), isLate(s, keep)
		}
	}
	if err := c.repairDay(ctx, d); err != nil {
		return err
	}
	// What is merged now stays for the grace: there is more room for it when what was replaced before has gone.
	if err := c.deleteReplaced(ctx, d); err != nil {
		return err
	}
	if err := c.compactDay(ctx, d); err != nil {
		return err
	}
	cl, err := c.readClaims(ctx, d)
	if err == nil {
		c.report.left(d, cl, c.cfg.Target/smallPart)
	}
	return err
}

// mine tells whether a part of the work is this compactor's.
func (c *Compactor) mine(parts ...string) bool {
	if c.cfg.Shards == 1 {
		return true
	}
	h := fnv.New32a()
	for _, p := range parts {
		_, _ = io.WriteString(h, p+"/") // a hash takes everything
	}
	return int(h.Sum32()%uint32(c.cfg.Shards)) == c.cfg.Shard
}

// failures collects what failed.
type failures struct {
	mu   sync.Mutex
	errs []error
	more int
}

func (f *failures) add(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	const most = 5
	if len(f.errs) >= most && !errors.Is(err, ErrTooMuch) { // of these, each is told in the report
		f.more++
		return
	}
	if !slices.ContainsFunc(f.errs, func(e error) bool { return e.Error() == err.Error() }) {
		f.errs = append(f.errs, err)
	}
}

func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := slices.Clone(f.errs)
	if f.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", f.more))
	}
	return errors.Join(errs...)
}
