package query

import (
	"reflect"
	"syscall"
)

const hugePage = 2 << 20

// roomFor is memory for n bytes, empty, which the kernel is asked to give in huge pages: a process that lives for one
// query spends half of the time of decoding its first blocks on page faults otherwise.
func roomFor(n int) []byte {
	p := make([]byte, 0, n+hugePage)
	// The collector does not move it.
	at := int(hugePage-reflect.ValueOf(p).Pointer()%hugePage) % hugePage
	p = p[at:at:cap(p)]
	_ = syscall.Madvise(p[:n], syscall.MADV_HUGEPAGE) // a hint: what it says no to goes on as before
	return p
}
