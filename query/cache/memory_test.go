package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// checkMemory sees that the books are right, and the bound is kept.
func checkMemory(t testing.TB, m *memory) {
	t.Helper()
	var pages int
	for _, q := range []*queue{&m.small, &m.main} {
		var sum int64
		var prev *page
		for p := q.oldest; p != nil; p = p.next {
			if p.in != q || p.prev != prev || m.pages[p.id] != p {
				t.Fatalf("page %v is not where it should be", p.id)
			}
			sum += p.cost
			prev = p
			pages++
		}
		if sum != q.bytes || q.newest != prev {
			t.Fatalf("a queue of %d bytes says %d", sum, q.bytes)
		}
	}
	if pages != len(m.pages) {
		t.Fatalf("%d pages in the queues, %d in the map", pages, len(m.pages))
	}
	if m.bytes() > m.max {
		t.Fatalf("%d bytes of at most %d", m.bytes(), m.max)
	}
	if len(m.ghosts.set) > len(m.ghosts.order) {
		t.Fatalf("%d ghosts in %d places", len(m.ghosts.set), len(m.ghosts.order))
	}
}

func TestMemoryBound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int64{0, 1, cost(testPage, 0), 20000, 1 << 20} {
		m := newMemory(limit)
		for i := range 20000 {
			id := pageID{key: fmt.Sprint("key ", rnd.IntN(20)), size: 1 << 30, n: int64(rnd.ExpFloat64() * 100)}
			switch {
			case rnd.IntN(50) == 0:
				m.remove(id)
			case m.get(id) == nil:
				m.add(id, make([]byte, rnd.IntN(2*testPage)))
			}
			if i%500 == 0 {
				checkMemory(t, &m)
			}
		}
		checkMemory(t, &m)
		if limit >= 20000 && m.bytes() < limit/2 {
			t.Errorf("%d bytes of %d are used", m.bytes(), limit)
		}
	}
}

// TestMemoryIsWhatItSays holds the cost of pages against the heap.
func TestMemoryIsWhatItSays(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	for _, size := range []int{100, 5000, 33 << 10, 128 << 10} {
		const limit = 4 << 20
		before := heap()
		m := newMemory(limit)
		for i := range 2 * limit / size {
			m.add(pageID{key: fmt.Sprintf("some/topic/2026-01-01/%0100d", i), size: 1 << 30}, make([]byte, size))
		}
		have := heap() - before
		if have > limit*102/100 || have < limit/2 {
			t.Errorf("pages of %d: %d bytes of heap for %d of at most %d", size, have, m.bytes(), limit)
		}
		runtime.KeepAlive(&m)
	}
}

// TestScanResistance: what every query uses outlives scans of many times the memory, and is not used during them.
func TestScanResistance(t *testing.T) {
	const room = 200
	c := newCache(t, Config{Memory: room * cost(testPage, 8)})
	var tails []*object
	for i := range room / 4 {
		tails = append(tails, newObject(fmt.Sprintf("tail%d", i), testPage))
	}
	query := func() (sum Outcome) {
		for _, o := range tails {
			sum = sum.plus(readAll(t, c, o))
		}
		return sum
	}
	segment := newObject("segment", 20*room*testPage)
	// scan reads blocks one by one: neighbours touch the page that they share.
	scan := func(block int) (sum Outcome) {
		for off := 0; off+block <= len(segment.data); off += block {
			sum = sum.plus(read(t, c, segment, off, block))
		}
		return sum
	}
	for range 3 {
		query()
	}
	for i, block := range []int{testPage, testPage * 3 / 2, testPage * 5, testPage * 5 / 7} {
		if out := scan(block); out.Fetched < int64(len(segment.data))/2 {
			t.Fatalf("scan %d: %+v", i, out)
		}
		if out := query(); out.Misses > 0 {
			t.Errorf("after scan %d, in blocks of %d: %d of %d tails were driven out", i, block, out.Misses, len(tails))
		}
	}
	checkMemory(t, &c.memory)
}

// TestWorkingSetChanges: what was used often and is not any more makes room for what is.
func TestWorkingSetChanges(t *testing.T) {
	const room = 100
	c := newCache(t, Config{Memory: room * cost(testPage, 8)})
	old, young := newObject("old", room*testPage*9/10), newObject("young", room*testPage*8/10)
	for range 10 {
		readAll(t, c, old)
	}
	for range 4 {
		readAll(t, c, young)
	}
	if out := readAll(t, c, young); out.Misses > room/20 {
		t.Errorf("%d misses of %d pages that fit", out.Misses, out.Hits+out.Misses)
	}
}
