package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// clockKey is an object that every run writes anew: when it was written tells what time it is by the bucket's clock, which dates
// the objects.
const clockKey = "_oklog/clock"

// begin forgets what the last run knew.
func (c *Compactor) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = 0
	c.report = &Report{DryRun: c.cfg.DryRun}
	c.now = c.cfg.Now()
	c.lineages.reset()
	c.progress.reset()
}

func (c *Compactor) everyCopy() Set { return 1<<len(c.cfg.Copies) - 1 }

// there is the copies that have not failed in this run.
func (c *Compactor) there() Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.everyCopy() &^ c.away
}

// leave takes down that a copy cannot be used. It is read last from then on, and nothing is deleted without it.
func (c *Compactor) leave(i int, err error) {
	c.mu.Lock()
	was := c.away.Has(i)
	c.away |= 1 << i
	c.mu.Unlock()
	if !was {
		c.cfg.Logger.Warn("a bucket cannot be used; going on with the others, deleting nothing", "bucket", c.cfg.Copies[i].Name, "cause", err)
	}
}

// Away are the names of the buckets that could not be used so far: without them nothing that was listed is complete.
func (c *Compactor) Away() (names []string) {
	for i := range (c.everyCopy() &^ c.there()).each {
		names = append(names, c.cfg.Copies[i].Name)
	}
	return names
}

// answers tells whether a copy can be read, though one of its objects cannot: its store has found that damaged, and breaks off.
func (c *Compactor) answers(ctx context.Context, i int) bool {
	_, err := c.cfg.Copies[i].Get(ctx, clockKey, 0, make([]byte, 1))
	return err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, io.ErrUnexpectedEOF)
}

// noteBadCopy takes down that a copy of a segment is damaged and another one is not.
func (c *Compactor) noteBadCopy(s *Segment, err error) {
	c.report.badCopy(s)
	c.cfg.Logger.Warn("a copy of a segment is damaged, and another one sound: repair --deep replaces it", "key", s.Key(), "cause", err)
}

// readClocks finds out by how much the copies' clocks are ahead.
func (c *Compactor) readClocks(ctx context.Context) error {
	if c.cfg.DryRun {
		return nil // which writes nothing
	}
	var all errgroup.Group
	for i, b := range c.cfg.Copies {
		all.Go(func() error {
			const body = "oklog\n"
			err := b.Put(ctx, clockKey, strings.NewReader(body), int64(len(body)))
			if err == nil {
				// A listing, as it dates the other objects: what Stat says may be cut to the second.
				err = errors.New("it does not list what was just put there: " + clockKey)
				for info, e := range b.List(ctx, clockKey, "") {
					if err = e; err == nil {
						// However long it took to write: so at most it is taken to be less ahead than it is, and what it dates for younger.
						c.ahead[i] = info.Modified.Sub(c.cfg.Now())
					}
					break
				}
			}
			if err != nil && ctx.Err() == nil {
				c.leave(i, err)
			}
			return err
		})
	}
	err := all.Wait()
	c.now = c.cfg.Now()
	if ctx.Err() != nil {
		return fmt.Errorf("compact: %w", ctx.Err())
	}
	if c.there().Len() < c.cfg.Quorum {
		return fmt.Errorf("%d of %d buckets can be written to, and the write quorum is %d: %w", c.there().Len(), len(c.cfg.Copies), c.cfg.Quorum, err)
	}
	return nil
}

// checkQuorum tells whether what is written can still count.
func (c *Compactor) checkQuorum() error {
	if n := c.there().Len(); n < c.cfg.Quorum {
		return fmt.Errorf("%d of %d buckets can be used, and the write quorum is %d: nothing more can be written", n, len(c.cfg.Copies), c.cfg.Quorum)
	}
	return nil
}

// store puts an object into all the copies, and tells which have it; an error if they are fewer than the quorum.
func (c *Compactor) store(ctx context.Context, key string, body io.ReaderAt, size int64) (in Set, err error) {
	errs := make([]error, len(c.cfg.Copies))
	var all sync.WaitGroup
	there := c.there()
	for i := range there.each {
		all.Go(func() { errs[i] = c.cfg.Copies[i].Put(ctx, key, body, size) })
	}
	all.Wait()
	for i := range there.each {
		if errs[i] == nil {
			in |= 1 << i
		} else if ctx.Err() == nil {
			c.leave(i, errs[i])
		}
	}
	if ctx.Err() != nil {
		return in, fmt.Errorf("put %s: %w", key, ctx.Err())
	}
	if in.Len() < c.cfg.Quorum {
		for i := range (c.everyCopy() &^ there).each {
			errs[i] = fmt.Errorf("%s could not be used before", c.cfg.Copies[i].Name) // another day's work has found that, and told why
		}
		return in, fmt.Errorf("%d of the %d buckets that are needed have taken %s: %w", in.Len(), c.cfg.Quorum, key, errors.Join(errs...))
	}
	if missing := len(c.cfg.Copies) - in.Len(); missing > 0 {
		c.report.missing(missing)
		c.cfg.Logger.Warn("a segment lacks copies; a later run makes them", slog.String("key", key), slog.Int("missing", missing))
	}
	return in, nil
}

// inMemory is the size up to which an object that is copied is held in memory, in bytes.
const inMemory = 16 << 20

// copyObject copies an object from one of the copies to a key of one of them. It reads it in large pieces, whatever pieces the
// writer asks for. check, if set, has to approve of the bytes of what is held in memory whole.
func (c *Compactor) copyObject(ctx context.Context, from int, key string, size int64, to int, newKey string, check func([]byte) error) error {
	if err := c.memory.Acquire(ctx, min(size, inMemory)+1); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer c.memory.Release(min(size, inMemory) + 1)
	src := c.cfg.Copies[from]
	var body io.ReaderAt
	if size <= inMemory {
		b := make([]byte, size)
		if err := readFull(ctx, src, key, 0, b); err != nil {
			return err
		}
		if check != nil {
			if err := check(b); err != nil {
				return err
			}
		}
		body = bytes.NewReader(b)
	} else {
		body = &pieces{at: objstore.ReaderAt(ctx, src, key), size: size}
	}
	return c.cfg.Copies[to].Put(ctx, newKey, body, size)
}

// copySound is copyObject of what o is: what arrives is sound, or is not there.
func (c *Compactor) copySound(ctx context.Context, from int, key string, size int64, to int, newKey string, o found) error {
	err := c.copyObject(ctx, from, key, size, to, newKey, o.check)
	if err != nil || size <= inMemory {
		return err
	}
	err = c.checkCopy(ctx, to, found{key: newKey, name: o.name, size: size, in: 1 << to})
	if segment.IsDamage(err) { // with the right size, nobody would miss what is sound
		err = errors.Join(err, c.deleteKey(ctx, newKey, 1<<to))
	}
	return err
}

// pieces reads an object in pieces of inMemory/2, and keeps the last one.
type pieces struct {
	at   io.ReaderAt
	size int64

	mu  sync.Mutex
	off int64
	b   []byte
}

// ReadAt implements io.ReaderAt.
func (p *pieces) ReadAt(dst []byte, off int64) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(dst) {
		at := off + int64(n)
		if at >= p.size {
			return n, io.EOF
		}
		if at < p.off || at >= p.off+int64(len(p.b)) {
			p.off = at / (inMemory / 2) * (inMemory / 2)
			size := min(inMemory/2, p.size-p.off)
			if int64(cap(p.b)) < size {
				p.b = make([]byte, inMemory/2)
			}
			p.b = p.b[:size]
			if _, err := p.at.ReadAt(p.b, p.off); err != nil {
				p.b = p.b[:0]
				return n, err
			}
		}
		n += copy(dst[n:], p.b[at-p.off:])
	}
	return n, nil
}

// lineages keeps those that were read in a run: objects do not change.
type lineages struct {
	mu   sync.Mutex
	kept map[string]segment.Lineage
}

func (l *lineages) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = map[string]segment.Lineage{}
}

func (l *lineages) get(key string) (segment.Lineage, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.kept[key]
	return found, ok
}

func (l *lineages) put(key string, v segment.Lineage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[key] = v
}
