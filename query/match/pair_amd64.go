package match

// What indexPair costs, in nanoseconds a byte.
const costPair = 0.05

// indexPair is the first i with t[i]|fold == a and t[i+d]|fold == b, -1 if there is none. d is not negative. fold is caseBit or 0.
//
// Two bytes that are not rare are seldom found together, so it does not slow down where
// bytes.IndexByte does, which starts again behind each byte that it finds.
func indexPair(t []byte, a, b byte, d int, fold byte) int {
	n := max(0, len(t)-d) &^ (pairStep - 1)
	if n > 0 {
		if i := pairIn(&t[0], n, d, a, b, fold); i >= 0 {
			return i
		}
	}
	if i := pairInWords(t[n:], a, b, d, fold); i >= 0 {
		return n + i
	}
	return -1
}

// pairStep is how many places pairIn looks at together.
const pairStep = 32

// pairIn is indexPair for the n bytes at p, a multiple of pairStep, and the n bytes that are d behind them.
//
//go:noescape
func pairIn(p *byte, n, d int, a, b, fold byte) int
