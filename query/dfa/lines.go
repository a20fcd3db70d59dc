package dfa

import (
	"bytes"
	"slices"
)

// Line is where a line stands in a text: text[Start:End], with its newline at End.
type Line struct{ Start, End int }

// minSteal is the shortest rest of a lane of which another lane takes half, in bytes.
const minSteal = 2 << 10

// piece says where the lines of a part of the text are: lane.lines[from:to].
type piece struct{ begin, lane, from, to int }

// Lines appends the lines of text that match, in order. The last line may lack its newline: End is then the
// length of text. It is not ok where the matcher gave up, and then dst is as it was.
func (d *DFA) Lines(dst []Line, text []byte) ([]Line, bool) {
	return d.lines(dst, text, lanes)
}

func (d *DFA) lines(dst []Line, text []byte, n int) ([]Line, bool) {
	if d.p.every {
		return everyLine(dst, text), true
	}
	if d.resting(len(text)) {
		return dst, false
	}
	d.clearLanes()
	whole := bytes.LastIndexByte(text, '\n') + 1
	d.lane[0].take(0, whole)
	ok := true
	for ok && n == lanes && d.share(text) {
		ok = d.abreast(text)
	}
	if !ok || !d.finishLanes(text) {
		return dst, false
	}
	matched, ok := d.unended(text, whole)
	if !ok {
		return dst, false
	}
	for i := range d.lane {
		d.retire(i)
	}
	slices.SortFunc(d.pieces, func(a, b piece) int { return a.begin - b.begin })
	for _, p := range d.pieces {
		dst = append(dst, d.lane[p.lane].lines[p.from:p.to]...)
	}
	if matched {
		dst = append(dst, Line{whole, len(text)})
	}
	return dst, true
}

// Among appends those of the candidates that match: lines of text, in order. It is not ok where the matcher gave up, and
// then dst is as it was. It is for lines that something faster has picked: four at once, where Line takes one.
func (d *DFA) Among(dst []Line, text []byte, candidates []Line) ([]Line, bool) {
	n := len(candidates)
	if d.p.every || n == 0 {
		return append(dst, candidates...), true
	}
	if d.resting(candidates[n-1].End - candidates[0].Start) {
		return dst, false
	}
	whole := len(text)
	if candidates[n-1].End == len(text) {
		whole = candidates[n-1].Start
		candidates = candidates[:n-1]
	}
	d.clearLanes()
	ok := true
	for ok && len(candidates) > 0 {
		for i := range d.lane {
			if l := &d.lane[i]; l.idle() && len(candidates) > 0 {
				l.take(candidates[0].Start, candidates[0].End+1)
				candidates = candidates[1:]
			}
		}
		ok = d.abreast(text)
	}
	if !ok || !d.finishLanes(text) {
		return dst, false
	}
	matched, ok := d.unended(text, whole)
	if !ok {
		return dst, false
	}
	dst = d.merge(dst)
	if matched {
		dst = append(dst, Line{whole, len(text)})
	}
	return dst, true
}

// unended tells whether the line matches that begins at start and that ends with the text, if there is one.
func (d *DFA) unended(text []byte, start int) (matched, ok bool) {
	if start == len(text) {
		return false, true
	}
	return d.match(text[start:], &d.p.line)
}

// clearLanes has all lanes at the beginning, with nothing to do.
func (d *DFA) clearLanes() {
	d.pieces = d.pieces[:0]
	for i := range d.lane {
		d.lane[i] = lane{lines: d.lane[i].lines[:0]}
	}
}

// share gives each lane that has nothing left half of what the one has that has the most. It tells whether all have
// something to do.
func (d *DFA) share(text []byte) bool {
	for i := range d.lane {
		if !d.lane[i].idle() {
			continue
		}
		most := &d.lane[0]
		for j := range d.lane {
			if l := &d.lane[j]; l.end-l.at > most.end-most.at {
				most = l
			}
		}
		left := most.end - most.at
		if left < d.steal {
			return false
		}
		middle := most.at + left/2
		middle += bytes.IndexByte(text[middle:most.end], '\n') + 1
		if middle == most.end {
			return false
		}
		d.retire(i)
		d.lane[i].take(middle, most.end)
		most.end = middle
	}
	return true
}

// retire notes the piece that a lane is done with.
func (d *DFA) retire(i int) {
	if l := &d.lane[i]; l.from < len(l.lines) {
		d.pieces = append(d.pieces, piece{l.lines[l.from].Start, i, l.from, len(l.lines)})
	}
}

// finishLanes walks what is left of each lane. It is not ok where it gave up.
func (d *DFA) finishLanes(text []byte) bool {
	for i := range d.lane {
		if !d.alone(&d.lane[i], text) {
			return false
		}
	}
	return true
}

// merge appends the lines of all lanes, in order. Those of each are.
func (d *DFA) merge(dst []Line) []Line {
	var left [lanes][]Line
	for i := range d.lane {
		left[i] = d.lane[i].lines
	}
	for {
		first := -1
		for i, l := range left {
			if len(l) > 0 && (first < 0 || l[0].Start < left[first][0].Start) {
				first = i
			}
		}
		if first < 0 {
			return dst
		}
		dst = append(dst, left[first][0])
		left[first] = left[first][1:]
	}
}

func everyLine(dst []Line, text []byte) []Line {
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		dst = append(dst, Line{at, end})
		at = end + 1
	}
	return dst
}

// lineEnd is where the newline of the line is that holds the place at, or the end of text.
func lineEnd(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(text)
}
