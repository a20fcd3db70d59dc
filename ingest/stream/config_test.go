package stream

import (
	"strings"
	"testing"
)

func TestStreamNames(t *testing.T) {
	for name, want := range map[string]bool{
		"OKLOG": true, "a": true, "A-b_9": true, "0": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "A.B": false, ".": false, "A ": false, "A\n": false, "Ä": false, "a>": false, "*": false,
	} {
		if isStreamName(name) != want {
			t.Errorf("%q: have %v, want %v", name, !want, want)
		}
	}
}
