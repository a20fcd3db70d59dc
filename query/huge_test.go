package query

import "testing"

func TestRoomFor(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 1<<19 - 1, 1 << 19, 1 << 20, 2<<20 - 1, 2 << 20, 3<<20 - 1, 3 << 20, 4 << 20, 5<<20 + 7} {
		p := roomFor(n)
		if len(p) != 0 || cap(p) < n || cap(p) > n+4<<20 {
			t.Errorf("%d bytes: have %d of %d", n, len(p), cap(p))
		}
		p = p[:n]
		for i := range p {
			if p[i] != 0 {
				t.Fatalf("%d bytes: byte %d is %d", n, i, p[i])
			}
			p[i] = 1
		}
	}
}
