package spread

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
)

// drawID is an ID of few times, sessions and counters: many are equal, or neighbours.
func drawID(rnd *rand.Rand) ulid.ULID {
	return segment.MakeID(rnd.Uint64N(200), rnd.Uint64N(3), rnd.Uint32N(4))
}

func drawExtents(rnd *rand.Rand, n int, bytes int64) (all []query.Extent) {
	for i := range n {
		a, b := drawID(rnd), drawID(rnd)
		if a.Compare(b) > 0 {
			a, b = b, a
		}
		if rnd.IntN(3) > 0 { // most are short
			ms, _, _ := segment.SplitID(a)
			b = segment.MakeID(ms+rnd.Uint64N(3), 2, 9)
		}
		all = append(all, query.Extent{Key: fmt.Sprint(i), First: a, Last: b, Bytes: 1 + rnd.Int64N(bytes)})
	}
	return all
}

func TestCut(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		r := query.Range{From: drawID(rnd), To: drawID(rnd)}
		if rnd.IntN(3) == 0 {
			r = query.Range{To: segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)}
		}
		extents := slices.DeleteFunc(drawExtents(rnd, rnd.IntN(60), 100), func(e query.Extent) bool { return !r.Overlaps(e.First, e.Last) })
		hot := drawExtents(rnd, rnd.IntN(4), 10)
		size := 1 + rnd.Int64N(400)
		pieces := cut(r, extents, hot, size)
		if r.Empty() {
			if len(pieces) > 0 {
				t.Fatalf("seed %d: %d pieces of nothing", seed, len(pieces))
			}
			continue
		}
		var stored, found int64
		for _, e := range extents {
			stored += e.Bytes
		}
		at := r.From
		for i, p := range pieces {
			_, _, counter := segment.SplitID(p.From)
			switch {
			case p.From != at || p.Empty():
				t.Fatalf("seed %d: piece %d is %v, where the one before ends at %s", seed, i, p.Range, at)
			case i > 0 && counter != 0:
				t.Fatalf("seed %d: piece %d begins at %s: that may be within a record", seed, i, p.From)
			}
			for _, h := range hot {
				if p.Overlaps(h.First, h.Last) && r.Overlaps(h.First, h.Last) && !p.local {
					t.Fatalf("seed %d: piece %v is elsewhere, and %v is hot", seed, p.Range, h)
				}
			}
			at = p.To
			found += p.bytes
		}
		if at != r.To || found != stored {
			t.Fatalf("seed %d: the pieces end at %s and have %d bytes; the range ends at %s and has %d", seed, at, found, r.To, stored)
		}
		if most := 1 + stored/size + 2*int64(len(hot)); int64(len(pieces)) > most {
			t.Fatalf("seed %d: %d pieces of %d for %d bytes", seed, len(pieces), size, stored)
		}
	}
}

// Segments that do not overlap are cut between them, into pieces of about a size.
func TestCutEvenly(t *testing.T) {
	var extents []query.Extent
	for i := range uint64(1000) {
		extents = append(extents, query.Extent{Key: fmt.Sprint(i), First: segment.MakeID(10*i, 5, 7), Last: segment.MakeID(10*i+9, 5, 7), Bytes: 10})
	}
	r := query.Range{To: segment.MakeID(20_000, 0, 0)}
	pieces := cut(r, extents, []query.Extent{{First: segment.MakeID(9_955, 1, 1), Last: segment.MakeID(9_990, 1, 1), Bytes: 1}}, 100)
	here := 0
	for i, p := range pieces {
		if p.local {
			here++
		}
		if i < 98 && (p.bytes != 100 || p.local) {
			t.Errorf("piece %d has %d bytes, local %t", i, p.bytes, p.local)
		}
	}
	if here == 0 || here > 2 {
		t.Errorf("%d pieces of %d are hot", here, len(pieces))
	}
}

func TestPieceSize(t *testing.T) {
	const usual = 16 << 20
	for _, tt := range []struct{ stored, want int64 }{
		{0, usual / 4}, {64 << 20, usual / 4}, {256 << 20, 8 << 20}, {1 << 30, usual}, {10 << 40, 10 << 40 / mostPieces},
	} {
		if have := pieceSize(tt.stored, usual); have != tt.want {
			t.Errorf("%d bytes: pieces of %d, want %d", tt.stored, have, tt.want)
		}
	}
}

// When a member leaves, only its keys go to others.
func TestRendezvous(t *testing.T) {
	best := func(key string, members []string) string {
		return slices.MaxFunc(members, func(a, b string) int {
			if rendezvous(key, a) < rendezvous(key, b) {
				return -1
			}
			return 1
		})
	}
	members := []string{"a", "b", "c", "d"}
	count := map[string]int{}
	for i := range 4000 {
		key := fmt.Sprint("key ", i)
		m := best(key, members)
		count[m]++
		if after := best(key, members[:3]); m != "d" && after != m {
			t.Fatalf("%s goes from %s to %s since d has left", key, m, after)
		}
	}
	for m, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%s has %d of 4000 keys", m, n)
		}
	}
}
