package match

import "bytes"

// Costs in nanoseconds, measured on a server of 2026; only how they relate counts.
const (
	costByte   = 0.017 // bytes.IndexByte, for each byte
	costFound  = 10    // for each byte that it finds: it starts again, and a branch was mispredicted
	costLetter = 20    // for each letter found: it has several forms
	costSet    = 1.3   // a set, for each place that it looks at
	costLine   = 1.3   // the DFA on lines that were picked, for each byte of them
	costLines  = 1.1   // the DFA on all lines
	costRegexp = 30.0  // package regexp
)

// maxForms is the greatest number of forms of a letter.
const maxForms = 6

// cursor finds a needle in a text, from left to right. It looks for one byte of the needle, the rarest in the text, with
// the vectorised search; or for the two rarest at once if that one is not rare; and compares the rest only there.
type cursor struct {
	*needle
	next int // where the needle stands next, as far as is known: behind that nothing was looked at

	pair          bool // looks for two bytes at once
	anchor        int  // byte of needle.text, or letter, that is looked for: the first of a pair
	first, second byte // of text; of a pair of letters with caseBit set
	distance      int  // from the first to the second
	cost          float64

	at [maxForms]int // where each form of the anchor stands next, of letters without a pair
}

// begin makes the cursor ready for a text.
func (c *cursor) begin() {
	c.next = -1
	c.at = [maxForms]int{-1, -1, -1, -1, -1, -1}
}

// aim chooses what to look for in a text with the frequencies f.
func (c *cursor) aim(f *frequencies) {
	if c.text != nil {
		c.aimText(f)
	} else {
		c.aimLetters(f)
	}
}

// maxCompared bounds the bytes that are compared for each byte of the text, as if no comparison ended early.
const maxCompared = 64

// aimed is how many bytes or letters of a needle are considered: a rare one is among them.
const aimed = 128

func (c *cursor) aimText(f *frequencies) {
	text := c.text[:min(len(c.text), aimed)]
	i, k := 0, 0 // the rarest, and the rarest of the others
	for at := 1; at < len(text); at++ {
		switch p := f[text[at]]; {
		case p < f[text[i]]:
			i, k = at, i
		case k == i || p < f[text[k]]:
			k = at
		}
	}
	p, q := float64(f[text[i]]), float64(f[text[k]])
	c.pair, c.cost = false, costByte+costFound*p
	if both := costPair + costFound*pairShare(p, q); i != k && both < c.cost {
		c.pair, c.cost = true, both
		i, k = min(i, k), max(i, k)
	}
	c.anchor, c.distance = i, k-i
	c.first, c.second = text[i], text[k]
}

// pairShare estimates how often two bytes of a needle stand at their distance: more often than chance has it.
func pairShare(p, q float64) float64 { return min(p, q, 8*p*q) }

func (c *cursor) aimLetters(f *frequencies) {
	letters := c.letters[:min(len(c.letters), aimed)]
	c.pair, c.anchor = false, 0
	for i := range letters {
		if f.letter(&letters[i]) < f.letter(&letters[c.anchor]) {
			c.anchor = i
		}
	}
	l := &letters[c.anchor]
	c.cost = float64(l.forms())*costByte + costLetter*float64(f.letter(l))

	// A pair has its distance only where all between is of one byte: of each such run, the two rarest letters.
	for run := 0; run < len(letters); run++ {
		i, k := -1, -1
		for ; run < len(letters) && letters[run].narrow && len(letters[run].wide) == 0; run++ {
			p := f.letter(&letters[run])
			switch {
			case !letters[run].cased():
			case i < 0 || p < f.letter(&letters[i]):
				i, k = run, i
			case k < 0 || p < f.letter(&letters[k]):
				k = run
			}
		}
		if k < 0 {
			continue
		}
		share := pairShare(float64(f.letter(&letters[i])), float64(f.letter(&letters[k])))
		if both := costPair + costLetter*share; both < c.cost {
			c.pair, c.cost = true, both
			i, k = min(i, k), max(i, k)
			c.anchor, c.distance = i, k-i
			c.first, c.second = letters[i].lower|caseBit, letters[k].lower|caseBit
		}
	}
}

// seek finds the first needle at or behind from and gives the place of one of its bytes, len(text) if there is none. From one call to
// the next, from does not decrease.
func (c *cursor) seek(text []byte, from int) int {
	switch {
	case c.text != nil:
		return c.seekText(text, from)
	case c.pair:
		return c.seekPair(text, from)
	default:
		return c.seekForms(text, from)
	}
}

func (c *cursor) seekText(text []byte, from int) int {
	end := len(text) - (len(c.text) - 1 - c.anchor) // an anchor is before it
	compared := 0
	for at := from + c.anchor; at < end; at++ {
		var i int
		if c.pair {
			i = indexPair(text[at:end+c.distance], c.first, c.second, c.distance, 0)
		} else {
			i = bytes.IndexByte(text[at:end], c.first)
		}
		if i < 0 {
			break
		}
		at += i
		if start := at - c.anchor; text[at+c.distance] == c.second && string(text[start:start+len(c.text)]) == string(c.text) {
			return start
		}
		// A long needle that repeats itself, in a text that does: bytes.Index takes linear time.
		if compared += len(c.text); compared > maxCompared*(at-from+1024) {
			from = at + 1 - c.anchor
			if i := bytes.Index(text[from:], c.text); i >= 0 {
				return from + i
			}
			break
		}
	}
	return len(text)
}

func (c *cursor) seekPair(text []byte, from int) int {
	for at := from; at < len(text); at++ {
		i := indexPair(text[at:], c.first, c.second, c.distance, caseBit)
		if i < 0 {
			break
		}
		at += i
		if c.around(text, at, c.anchor) {
			return at
		}
	}
	return len(text)
}

func (c *cursor) seekForms(text []byte, from int) int {
	l := &c.letters[c.anchor]
	for {
		at, k, size := len(text), 0, 0
		for i := range l.forms() {
			form := l.form(i)
			if c.at[i] < from {
				c.at[i] = form.index(text, from)
			}
			if c.at[i] < at {
				at, k, size = c.at[i], i, form.size()
			}
		}
		if at == len(text) || c.around(text, at, c.anchor) {
			return at
		}
		c.at[k] = l.form(k).index(text, at+size)
	}
}

// form is a form of a letter: a byte, or more.
type form struct {
	b    byte
	wide string
}

func (l *letter) form(i int) form {
	if l.narrow {
		if i == 0 {
			return form{b: l.lower}
		}
		i--
		if l.upper != l.lower {
			if i == 0 {
				return form{b: l.upper}
			}
			i--
		}
	}
	return form{wide: l.wide[i]}
}

func (f form) size() int { return max(1, len(f.wide)) }

// index is where the form stands at or behind from, len(text) if nowhere.
func (f form) index(text []byte, from int) int {
	c := f.b
	if f.wide != "" {
		c = f.wide[0]
	}
	for at := from; at < len(text); at++ {
		i := bytes.IndexByte(text[at:], c)
		if i < 0 {
			break
		}
		at += i
		if f.wide == "" || len(text)-at >= len(f.wide) && string(text[at:at+len(f.wide)]) == f.wide {
			return at
		}
	}
	return len(text)
}
