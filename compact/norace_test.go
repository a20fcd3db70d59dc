//go:build !race

package compact

// raced says that the race detector is at work.
const raced = false
