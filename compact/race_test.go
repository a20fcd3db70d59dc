//go:build race

package compact

// raced says that the race detector is at work, which makes tests that go through many bytes ten times as slow: they go through fewer.
const raced = true
