package match

import (
	"oklog/query/dfa"
)

// worker searches for a part, in one goroutine.
type worker struct {
	*part
	hunt  *hunt   // for the needles of the part
	hunts []*hunt // or for its sets of required ones
	words *Finder // what tells whether needles stand as words; nil: they need not
	dfa   *dfa.DFA

	candidates []Line // lines that hold a required needle
}

func newWorker(p *part, prior *frequencies) worker {
	w := worker{part: p}
	if p.needles != nil {
		w.hunt = p.needles.hunt(prior)
		if p.words != nil {
			w.words = newFinder(p.words, true)
		}
	}
	for _, q := range p.sets {
		w.hunts = append(w.hunts, q.hunt(prior))
	}
	if p.dfa != nil {
		w.dfa = p.dfa.New()
	}
	return w
}

func (w *worker) aim(f *frequencies) {
	if w.hunt != nil {
		w.hunt.aim(f)
	}
	for _, h := range w.hunts {
		h.aim(f)
	}
}

func (w *worker) match(record []byte) bool {
	if w.hunt != nil {
		return w.hunt.in(record) && (w.words == nil || w.words.any(record))
	}
	// The rarest needles first, if they are few: that is faster than the DFA.
	if len(w.hunts) > 0 && len(w.hunts[0].cursors)+len(w.hunts[0].sets) <= 2 && !w.hunts[0].in(record) {
		return false
	}
	if w.dfa != nil {
		if matched, ok := w.dfa.Match(record); ok {
			return matched
		}
	}
	return w.regexp(record)
}

func (w *worker) absent(text []byte) bool {
	if w.hunt != nil {
		return !w.hunt.in(text)
	}
	for _, h := range w.hunts {
		if !h.in(text) {
			return true
		}
	}
	return false
}

func (w *worker) lines(dst []Line, text []byte) []Line {
	if w.hunt == nil {
		return w.regexLines(dst, text)
	}
	w.hunt.begin(text)
	for start, end := w.hunt.line(text, 0); start < len(text); start, end = w.hunt.line(text, end+1) {
		if w.words == nil || w.words.any(text[start:end]) {
			dst = append(dst, Line{Start: start, End: end})
		}
	}
	return dst
}

// count counts the lines that hold a needle. It does not look for where they begin.
func (w *worker) count(text []byte) int {
	w.hunt.begin(text)
	n := 0
	for at := w.hunt.find(text, 0); at < len(text); at = w.hunt.find(text, lineEnd(text, at)+1) {
		n++
	}
	return n
}

const (
	// stretch is how much text is searched one way before others are weighed again, and glance how
	// much of it the weighing looks at.
	stretch = 512 << 10
	glance  = 16 << 10
)

// regexLines searches stretch by stretch: for the rarest set of required needles, with the DFA on the
// lines that hold one; or with the DFA on all lines, where that costs less.
func (w *worker) regexLines(dst []Line, text []byte) []Line {
	for begin := 0; begin < len(text); {
		end := behindLine(text, begin+stretch)
		before := len(dst)
		if h := w.choose(text[begin:end]); h != nil {
			dst = w.filter(dst, text[begin:end], h)
		} else {
			dst = w.scan(dst, text[begin:end])
		}
		for i := range dst[before:] {
			dst[before+i].Start += begin
			dst[before+i].End += begin
		}
		begin = end
	}
	return dst
}

// choose weighs what to search text for, by what there is at its beginning. It is nil where every line is to be matched.
func (w *worker) choose(text []byte) *hunt {
	line, lowest := costLine, costLines
	if w.dfa == nil {
		line, lowest = costRegexp, costRegexp
	}
	var best *hunt
	glanced := text[:behindLine(text, glance)]
	for _, h := range w.hunts {
		if h.cost >= lowest {
			continue
		}
		candidates := 0
		h.begin(glanced)
		for start, end := h.line(glanced, 0); start < len(glanced); start, end = h.line(glanced, end+1) {
			candidates += end + 1 - start
		}
		if cost := h.cost + line*float64(candidates)/float64(len(glanced)); cost < lowest {
			best, lowest = h, cost
		}
	}
	return best
}

// filter matches the lines that hold a needle.
func (w *worker) filter(dst []Line, text []byte, h *hunt) []Line {
	w.candidates = w.candidates[:0]
	h.begin(text)
	for start, end := h.line(text, 0); start < len(text); start, end = h.line(text, end+1) {
		w.candidates = append(w.candidates, Line{Start: start, End: end})
	}
	if w.dfa != nil {
		if lines, ok := w.dfa.Among(dst, text, w.candidates); ok {
			return lines
		}
	}
	for _, l := range w.candidates {
		if w.regexp(text[l.Start:l.End]) {
			dst = append(dst, l)
		}
	}
	return dst
}

// scan matches all lines.
func (w *worker) scan(dst []Line, text []byte) []Line {
	if w.dfa != nil {
		if lines, ok := w.dfa.Lines(dst, text); ok {
			return lines
		}
	}
	for start := 0; start < len(text); {
		end := lineEnd(text, start)
		if w.regexp(text[start:end]) {
			dst = append(dst, Line{Start: start, End: end})
		}
		start = end + 1
	}
	return dst
}

// regexp asks package regexp, where the DFA gave up: it rests for a while then, and is asked again.
func (w *worker) regexp(record []byte) bool {
	for _, re := range w.regexps {
		if re.Match(record) {
			return true
		}
	}
	return false
}

// behindLine is behind the newline of the line that holds the byte at i, or the end of the text.
func behindLine(text []byte, i int) int {
	if i >= len(text) {
		return len(text)
	}
	return min(lineEnd(text, i)+1, len(text))
}
