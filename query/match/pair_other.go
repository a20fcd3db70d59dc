//go:build !amd64

package match

// What indexPair costs, in nanoseconds a byte.
const costPair = 0.13

// indexPair is the first i with t[i]|fold == a and t[i+d]|fold == b, -1 if there is none. d is not negative. fold is caseBit or 0.
func indexPair(t []byte, a, b byte, d int, fold byte) int { return pairInWords(t, a, b, d, fold) }
