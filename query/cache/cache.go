package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// ErrClosed says that the cache was closed before, or while, it was read.
var ErrClosed = errors.New("cache is closed")

const (
	usualPageSize = 128 << 10
	minPageSize   = 512
	maxPageSize   = 16 << 20
	// maxKey bounds the keys; S3 allows 1024 bytes.
	maxKey = 4096
)

// Config is what a cache is made with. The zero Config keeps nothing, and still lets readers share what they fetch.
type Config struct {
	// Memory is how many bytes the pages in memory may take, with what they cost beyond their content. 0: none is kept.
	Memory int64
	// Dir is the folder of the second level, made if it is not there. "": there is none.
	Dir string
	// Disk is how many bytes the files in Dir may take, at least 1024 pages.
	Disk int64
	// PageSize in bytes, 512 to 16 MiB; 0: 128 KiB. Files of another page size are not found, and go in time.
	PageSize int

	Now    func() time.Time // for the files' time of last use; nil: time.Now
	Logger *slog.Logger     // discards, if nil

	pace time.Duration // between looks at two sets; 0: usualPace
}

// Load fetches len(p) bytes at off of an object into p, from where the object really is, or fails. It must use the ctx that it is given
// and no other: it is called in another goroutine than the Read that it was passed to, may go on after that has returned, for others, and
// what it brings, or its error, goes to them, too. It must not touch p once it has returned.
type Load func(ctx context.Context, off int64, p []byte) error

// Outcome is what a Read has cost. The sums over all Reads are what all together have cost: a load that
// several waited for is counted by the one that began it.
type Outcome struct {
	Hits       int   // pages that cost no load: in memory, on disk, or on their way for another Read
	Misses     int   // pages that had to be loaded
	FromMemory int64 // bytes of those asked for
	FromDisk   int64 // bytes of those asked for
	Shared     int64 // bytes of those asked for, which loads of other Reads have brought
	Fetched    int64 // bytes that the loads brought: whole pages
	Loads      int   // calls of Load
}

// Level is what a level holds.
type Level struct {
	Pages int64
	Bytes int64 // with what the pages cost beyond their content
}

// Stats is what a cache holds, and what has gone wrong on disk since it was made.
type Stats struct {
	Memory Level
	// Disk is what is known of the folder. The cache looks through it in the background, within some seconds of its start.
	Disk     Level
	Fetching int64 // bytes of pages on their way

	Dropped int64 // pages that were not written to disk: they came faster than it takes them
	Damaged int64 // files that were not what their names say, and were removed
	Failed  int64 // pages that could not be read from disk, or written, for another reason
}

// pageID tells a page from all others.
type pageID struct {
	key  string
	size int64 // of the object
	n    int64
}

// Cache keeps pages of objects. Its methods may be called from any number of goroutines.
type Cache struct {
	pageSize int64
	disk     *disk     // nil: none
	buffers  sync.Pool // of *[]byte, for loads of several pages
	quit     chan struct{}
	running  sync.WaitGroup // fetches

	mu       sync.Mutex // held before disk.mu
	closed   bool
	memory   memory
	flights  map[pageID]*wait
	fetching int64 // bytes of the pages of all fetches
}

// New makes a cache. It fails for sizes that cannot be, and for a folder that cannot be used.
func New(cfg Config) (*Cache, error) {
	if cfg.PageSize == 0 {
		cfg.PageSize = usualPageSize
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.pace == 0 {
		cfg.pace = usualPace
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	c := &Cache{
		pageSize: int64(cfg.PageSize),
		quit:     make(chan struct{}),
		memory:   newMemory(cfg.Memory),
		flights:  make(map[pageID]*wait),
	}
	if cfg.Dir != "" {
		d, err := openDisk(cfg)
		if err != nil {
			return nil, fmt.Errorf("make cache: %w", err)
		}
		c.disk = d
	}
	return c, nil
}

func (cfg *Config) check() error {
	if cfg.PageSize < minPageSize || cfg.PageSize > maxPageSize {
		return fmt.Errorf("setting PageSize is %d: want %d to %d, or 0 for %d", cfg.PageSize, minPageSize, maxPageSize, usualPageSize)
	}
	if least := cost(int64(cfg.PageSize), maxKey); cfg.Memory != 0 && cfg.Memory < least {
		return fmt.Errorf("setting Memory is %d: want at least %d, which a page of %d may take, or 0 to keep none", cfg.Memory, least, cfg.PageSize)
	}
	if cfg.Dir == "" && cfg.Disk != 0 {
		return fmt.Errorf("setting Disk is %d, and there is no folder: set Dir, or leave Disk at 0", cfg.Disk)
	}
	if least := leastDisk(cfg.PageSize); cfg.Dir != "" && cfg.Disk < least {
		return fmt.Errorf("setting Disk is %d: want at least %d for pages of %d, or an empty Dir to keep none on disk", cfg.Disk, least, cfg.PageSize)
	}
	return nil
}

// Read fills p with the object's bytes from off; size is the object's. Pages that are in neither level are fetched with load, neighbours
// with one call. A range beyond the object's end is io.ErrUnexpectedEOF, without a load. Read returns soon after ctx is done, with its
// error; otherwise an error is load's, unchanged, or that of the Read whose load it waited for, or ErrClosed.
// The Outcome holds, as far as it came, with an error, too.
func (c *Cache) Read(ctx context.Context, key string, size, off int64, p []byte, load Load) (Outcome, error) {
	if err := checkRange(key, size, off, int64(len(p))); err != nil {
		return Outcome{}, fmt.Errorf("read %.100q through cache: %w", key, err)
	}
	if err := ctx.Err(); err != nil {
		return Outcome{}, fmt.Errorf("read %s through cache: %w", key, err)
	}
	if len(p) == 0 {
		return Outcome{}, nil
	}
	var few [8]part // without an allocation
	parts, err := c.begin(ctx, pageID{key: key, size: size}, off, int64(len(p)), load, few[:0])
	if err != nil {
		return Outcome{}, fmt.Errorf("read %s through cache: %w", key, err)
	}
	var out Outcome
	err = c.collect(ctx, parts, off, p, &out)
	c.leave(parts, &out)
	return out, err
}

func checkRange(key string, size, off, n int64) error {
	switch {
	case len(key) > maxKey:
		return fmt.Errorf("a key of %d bytes: want at most %d", len(key), maxKey)
	case size < 0 || off < 0:
		return fmt.Errorf("negative size %d or offset %d", size, off)
	case off > size || n > size-off:
		return fmt.Errorf("%d bytes at %d of an object of %d: %w", n, off, size, io.ErrUnexpectedEOF)
	}
	return nil
}

// part is a page that a Read wants.
type part struct {
	data []byte // in memory, or
	wait *wait  // on its way
	own  bool   // for this Read: it began the fetch
}

// begin finds the pages of n bytes at off, in memory or on their way, and begins to fetch the others.
func (c *Cache) begin(ctx context.Context, id pageID, off, n int64, load Load, parts []part) ([]part, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	var run []*wait // missing neighbours
	start := func() {
		if len(run) > 0 {
			c.start(ctx, run, load)
			run = nil
		}
	}
	last := (off + n - 1) / c.pageSize
	for id.n = off / c.pageSize; id.n <= last; id.n++ {
		if data := c.memory.get(id); data != nil {
			parts = append(parts, part{data: data})
			start()
		} else if w := c.flights[id]; w != nil {
			w.fetch.holds++
			parts = append(parts, part{wait: w})
			start()
		} else {
			w := newWait(id, run)
			run = append(run, w)
			parts = append(parts, part{wait: w, own: true})
		}
	}
	start()
	return parts, nil
}

// collect copies the pages to p as they come.
func (c *Cache) collect(ctx context.Context, parts []part, off int64, p []byte, out *Outcome) error {
	skip := off % c.pageSize
	for _, part := range parts {
		data := part.data
		if w := part.wait; w != nil {
			if err := c.await(ctx, w); err != nil {
				return err
			}
			data = w.data
		}
		k := copy(p, data[skip:])
		p, skip = p[k:], 0
		out.count(part, int64(k))
	}
	return nil
}

func (c *Cache) await(ctx context.Context, w *wait) error {
	select {
	case <-w.done:
	case <-ctx.Done():
		return fmt.Errorf("read %s through cache: %w", w.id.key, ctx.Err())
	case <-c.quit:
	}
	select {
	case <-c.quit: // an error may be of no interest: that the fetch was canceled
		return fmt.Errorf("read %s through cache: %w", w.id.key, ErrClosed)
	default:
		return w.err
	}
}

func (out *Outcome) count(part part, k int64) {
	switch {
	case part.wait == nil:
		out.Hits++
		out.FromMemory += k
	case part.wait.fromDisk:
		out.Hits++
		out.FromDisk += k
	case part.own:
		out.Misses++
	default:
		out.Hits++
		out.Shared += k
	}
}

// length of a page's content.
func (c *Cache) length(id pageID) int64 { return min(c.pageSize, id.size-id.n*c.pageSize) }

// Forget drops the object's pages from both levels: they turned out damaged. What is being fetched
// of it goes to those who wait and is not kept.
func (c *Cache) Forget(key string, size int64) {
	id := pageID{key: key, size: size}
	c.drop(id)
	if c.disk != nil {
		for last := (size - 1) / c.pageSize; id.n <= last; id.n++ {
			c.disk.forget(id)
		}
		c.drop(id) // what was read from a file before it was removed
	}
}

// drop forgets all pages of id's object that are in memory or on their way.
func (c *Cache) drop(id pageID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.flights {
		if other.key == id.key && other.size == id.size {
			delete(c.flights, other)
		}
	}
	for other := range c.memory.pages {
		if other.key == id.key && other.size == id.size {
			c.memory.remove(other)
		}
	}
}

// Stats tells what the cache holds.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	s := Stats{Fetching: c.fetching, Memory: Level{int64(len(c.memory.pages)), c.memory.bytes()}}
	c.mu.Unlock()
	if c.disk != nil {
		c.disk.stats(&s)
	}
	return s
}

// Close cancels what is being fetched, writes what is on its way to the disk, and returns when nothing runs any more.
// Reads that wait get ErrClosed. A second call does nothing.
func (c *Cache) Close() error {
	c.mu.Lock()
	first := !c.closed
	if first {
		c.closed = true
		close(c.quit) // all who wait leave, and with that cancel the fetches
	}
	c.mu.Unlock()
	c.running.Wait()
	if c.disk == nil || !first {
		return nil
	}
	if err := c.disk.close(); err != nil {
		return fmt.Errorf("close cache: %w", err)
	}
	return nil
}
