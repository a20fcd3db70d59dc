//go:build !linux

package query

// roomFor is memory for n bytes, empty.
func roomFor(n int) []byte { return make([]byte, 0, n) }
