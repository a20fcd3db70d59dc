package cache

import (
	"context"
	"strings"
	"sync"
)

// wait is a page on its way.
type wait struct {
	id    pageID
	fetch *fetch
	done  chan struct{} // closed when what follows is set
	data  []byte
	err   error
	// fromDisk says that it was there.
	fromDisk bool
}

// fetch brings neighbouring pages.
type fetch struct {
	cancel context.CancelFunc
	load   Load
	pages  []*wait

	// Guarded by Cache.mu.
	holds   int   // Reads that want one of the pages, for each page
	left    int   // pages that are not there yet
	loads   int   // calls of load
	fetched int64 // bytes that they brought
	counted bool  // in the Outcome of the Read that began it
}

// newWait makes the wait for a page that comes after those of run. The caller's key may be a piece of something large.
func newWait(id pageID, run []*wait) *wait {
	if len(run) > 0 {
		id.key = run[0].id.key
	} else {
		id.key = strings.Clone(id.key)
	}
	return &wait{id: id, done: make(chan struct{})}
}

// start begins to fetch pages, for whoever of ctx wants them all. It is called with the lock held.
func (c *Cache) start(ctx context.Context, pages []*wait, load Load) {
	f := &fetch{load: load, pages: pages, holds: len(pages), left: len(pages)}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, w := range pages {
		w.fetch = f
		c.flights[w.id] = w
		c.fetching += c.length(w.id)
	}
	c.running.Go(func() {
		defer f.cancel()
		c.run(ctx, f)
	})
}

// run takes the pages from the disk, and loads those that are not there.
func (c *Cache) run(ctx context.Context, f *fetch) {
	missing := f.pages
	if c.disk != nil {
		missing = nil
		for _, w := range f.pages {
			if w.data = c.disk.read(ctx, w.id, int(c.length(w.id))); w.data == nil {
				missing = append(missing, w)
				continue
			}
			w.fromDisk = true
			c.finish(f, w)
		}
	}
	var loads sync.WaitGroup
	defer loads.Wait()
	for len(missing) > 0 {
		n := 1
		for n < len(missing) && missing[n].id.n == missing[n-1].id.n+1 {
			n++
		}
		run := missing[:n]
		if missing = missing[n:]; len(missing) == 0 {
			c.loadRun(ctx, f, run)
		} else {
			loads.Go(func() { c.loadRun(ctx, f, run) })
		}
	}
}

// loadRun loads neighbouring pages with one call.
func (c *Cache) loadRun(ctx context.Context, f *fetch, run []*wait) {
	err := ctx.Err()
	if err == nil {
		err = c.callLoad(ctx, f, run)
	}
	for _, w := range run {
		if w.err = err; err != nil {
			w.data = nil
		}
	}
	c.finish(f, run...)
}

func (c *Cache) callLoad(ctx context.Context, f *fetch, run []*wait) error {
	var size int64
	for _, w := range run {
		size += c.length(w.id)
	}
	// A page that is kept has its own bytes: as a piece of a larger whole it would hold on to all of it.
	cut := len(run) > 1 && (c.memory.max > 0 || c.disk != nil)
	var buf []byte
	if cut {
		lent := c.buffer(size)
		defer c.buffers.Put(lent)
		buf = *lent
	} else {
		buf = make([]byte, size)
	}
	err := f.load(ctx, run[0].id.n*c.pageSize, buf)
	c.mu.Lock()
	f.loads++
	if err == nil {
		f.fetched += size
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for _, w := range run {
		n := c.length(w.id)
		w.data, buf = buf[:n:n], buf[n:]
		if cut {
			data := make([]byte, n)
			copy(data, w.data)
			w.data = data
		}
	}
	return nil
}

// buffer lends n bytes.
func (c *Cache) buffer(n int64) *[]byte {
	if p, ok := c.buffers.Get().(*[]byte); ok && int64(cap(*p)) >= n {
		*p = (*p)[:n]
		return p
	}
	p := make([]byte, n)
	return &p
}

// finish hands out pages of f, and keeps them unless they were forgotten or given up meanwhile.
func (c *Cache) finish(f *fetch, pages ...*wait) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range pages {
		if c.flights[w.id] == w {
			delete(c.flights, w.id)
			if w.err == nil {
				c.memory.add(w.id, w.data)
			}
			if w.err == nil && c.disk != nil && !w.fromDisk {
				c.disk.enqueue(w.id, w.data)
			}
		}
		f.left--
		c.fetching -= c.length(w.id)
		close(w.done)
	}
}

// leave ends a Read's interest in what it waited for, and takes what the fetches that it began have cost. A fetch that nobody
// waits for any more is canceled, and nobody joins it.
func (c *Cache) leave(parts []part, out *Outcome) {
	locked := false
	for _, part := range parts {
		if part.wait == nil {
			continue
		}
		if !locked {
			c.mu.Lock()
			defer c.mu.Unlock()
			locked = true
		}
		f := part.wait.fetch
		if part.own && !f.counted {
			f.counted = true
			out.Loads += f.loads
			out.Fetched += f.fetched
		}
		if f.holds--; f.holds == 0 && f.left > 0 {
			f.cancel()
			for _, w := range f.pages {
				if c.flights[w.id] == w {
					delete(c.flights, w.id)
				}
			}
		}
	}
}
