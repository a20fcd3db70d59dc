package query

import (
	"reflect"
	"syscall"
)

const hugePage = 2 << 20

// roomFor is memory for n bytes, empty, which the kernel is asked to give in huge pages where they fill a quarter of one: a process that
// lives for one query spends half of the time of reading and decoding its first blocks on page faults otherwise.
func roomFor(n int) []byte {
	huge := (n + hugePage/4*3) &^ (hugePage - 1)
	if huge == 0 {
		return make([]byte, 0, n)
	}
	p := make([]byte, 0, max(n, huge)+hugePage)
	// The collector does not move it.
	at := int(hugePage-reflect.ValueOf(p).Pointer()%hugePage) % hugePage
	p = p[at:at:cap(p)]
	_ = syscall.Madvise(p[:huge], syscall.MADV_HUGEPAGE) // a hint: what it says no to goes on as before
	return p
}
