package cache

import "hash/maphash"

const (
	// pageOverhead is what a page in memory costs beyond its bytes and its key, at most: the structure (112 bytes), its place in
	// the map (up to 100, just after that has grown) and a ghost (up to 100).
	pageOverhead = 384
	// smallShare is the part of the memory, one in so many, that new pages take turns in once it is full.
	smallShare = 10
	// moveUses is how often a page must be used in the small queue to move on to the main one.
	moveUses = 2
	maxUses  = 3
	// oneUse is how many page reads must lie between two uses of a page that count as two: the neighbouring blocks of a scan are in the
	// same page (the correlated reference period of LRU-K: O'Neil, O'Neil, Weikum, SIGMOD 1993).
	oneUse = 32
	// minGhosts is how many pages are remembered however few are held.
	minGhosts = 64
)

// cost is what a page of n bytes takes in memory. The runtime rounds: small things to classes that are at most an eighth
// too large, large ones to 8 KiB.
func cost(n int64, key int) int64 {
	const small, unit = 32 << 10, 8 << 10
	if n > small {
		n = (n + unit - 1) / unit * unit
	} else {
		n += n / 8
	}
	return n + int64(key) + int64(key)/8 + pageOverhead
}

// memory is the first level: S3-FIFO by bytes, as the package's comment explains. It is not safe for concurrent use.
type memory struct {
	max         int64
	pages       map[pageID]*page
	small, main queue
	ghosts      ghosts
	clock       int64 // counts the page reads
}

// page is one that is held. Its data does not change.
type page struct {
	id         pageID
	data       []byte
	cost       int64
	in         *queue
	prev, next *page
	used       int64 // by the clock, when a use was last counted
	uses       uint8
}

func newMemory(limit int64) memory {
	return memory{max: limit, pages: make(map[pageID]*page), ghosts: ghosts{seed: maphash.MakeSeed(), set: make(map[uint64]struct{})}}
}

func (m *memory) bytes() int64 { return m.small.bytes + m.main.bytes }

// get uses a page: nil if it is not held.
func (m *memory) get(id pageID) []byte {
	m.clock++
	p := m.pages[id]
	if p == nil {
		return nil
	}
	if m.clock-p.used > oneUse {
		p.used, p.uses = m.clock, min(p.uses+1, maxUses)
	}
	return p.data
}

// add holds data, which must not change any more.
func (m *memory) add(id pageID, data []byte) {
	p := &page{id: id, data: data, cost: cost(int64(len(data)), len(id.key)), used: m.clock}
	if p.cost > m.max {
		return
	}
	m.remove(id)
	into := &m.small
	if m.ghosts.take(id) {
		into = &m.main
	}
	for m.bytes()+p.cost > m.max {
		m.evict()
	}
	m.pages[id] = p
	into.push(p)
}

// evict takes a step towards more room: it drops a page, or moves one on.
func (m *memory) evict() {
	if m.main.oldest == nil || m.small.bytes > m.max/smallShare {
		p := m.small.oldest
		m.small.remove(p)
		if p.uses >= moveUses {
			p.uses = 0
			m.main.push(p)
			return
		}
		delete(m.pages, p.id)
		m.ghosts.add(p.id, max(minGhosts, len(m.pages)))
		return
	}
	p := m.main.oldest
	m.main.remove(p)
	if p.uses > 0 {
		p.uses--
		m.main.push(p)
		return
	}
	delete(m.pages, p.id)
}

func (m *memory) remove(id pageID) {
	if p := m.pages[id]; p != nil {
		p.in.remove(p)
		delete(m.pages, id)
	}
}

// queue is a list of pages, first in, first out.
type queue struct {
	oldest, newest *page
	bytes          int64
}

func (q *queue) push(p *page) {
	p.in, p.prev, p.next = q, q.newest, nil
	if q.newest == nil {
		q.oldest = p
	} else {
		q.newest.next = p
	}
	q.newest = p
	q.bytes += p.cost
}

func (q *queue) remove(p *page) {
	if p.prev == nil {
		q.oldest = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		q.newest = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.in, p.prev, p.next = nil, nil, nil
	q.bytes -= p.cost
}

// ghosts remembers the hashes of the pages that were dropped last. Two pages with one hash, or a ghost that was taken and
// comes again, put a page into the wrong queue, no more.
type ghosts struct {
	seed  maphash.Seed
	order []uint64 // the oldest first; taken ones, too
	set   map[uint64]struct{}
}

func (g *ghosts) add(id pageID, limit int) {
	h := maphash.Comparable(g.seed, id)
	g.order = append(g.order, h)
	g.set[h] = struct{}{}
	for len(g.order) > limit {
		delete(g.set, g.order[0])
		g.order = g.order[1:]
	}
}

// take tells whether there is a ghost, and ends it.
func (g *ghosts) take(id pageID) bool {
	h := maphash.Comparable(g.seed, id)
	_, ok := g.set[h]
	delete(g.set, h)
	return ok
}
