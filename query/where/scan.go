package where

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// value is a field's value as it stands in a record.
type value struct {
	kind valueKind
	raw  []byte // not of nested
}

type valueKind uint8

const (
	plain   valueKind = iota // raw is its text
	escaped                  // raw is its text, with escapes
	nested                   // an object or an array
)

// sink takes what a scan finds.
type sink interface {
	// found takes a value that the path at a place leads to; flat, under a key with dots, which only counts if there is no other. It
	// tells whether that is all that is wanted of the path.
	found(path int, flat bool, v value) (enough bool)
}

// scanner finds the fields of paths in a record, in one pass. It is lenient: what it does not understand ends the scan, or is no field.
type scanner struct {
	paths   []Path
	settled []bool // of each path: nothing more is wanted
	left    int    // paths that are not settled
	has     []bool // of each path: it led to something
	hasFlat []bool // of each path: a key with dots did
	active  []place
	key     []byte
	to      sink
}

// place is how far a path has led: to its step-th step, or to its end.
type place struct {
	path, step int
	flat       bool
}

func (s *scanner) init(paths []Path) {
	s.paths = paths
	s.settled, s.has, s.hasFlat = make([]bool, len(paths)), make([]bool, len(paths)), make([]bool, len(paths))
}

// scan tells to what the fields are in a record, and returns which of the paths led to something.
func (s *scanner) scan(record []byte, to sink) (has []bool) {
	clear(s.settled)
	clear(s.has)
	clear(s.hasFlat)
	s.left, s.to, s.active = len(s.paths), to, s.active[:0]
	i := skipSpace(record, 0)
	if i < len(record) && record[i] == '{' {
		for p := range s.paths {
			s.active = append(s.active, place{path: p})
		}
		s.object(record, i+1, 0, len(s.active))
	} else {
		s.logfmt(record, i)
	}
	s.to = nil
	return s.has
}

// take hands a value to the sink.
func (s *scanner) take(p place, v value) {
	if s.settled[p.path] {
		return
	}
	if p.flat {
		if s.has[p.path] || s.hasFlat[p.path] {
			return
		}
		s.hasFlat[p.path] = true
	} else {
		s.has[p.path] = true
	}
	if s.to.found(p.path, p.flat, v) {
		s.settled[p.path] = true
		s.left--
	}
}

// object reads an object from behind its brace on, for the places active[from:to], and returns where it ends. What ends early, or is no object, or
// does not matter any more, ends at the end of b.
func (s *scanner) object(b []byte, i, from, to int) int {
	for s.left > 0 {
		if i = skipSpace(b, i); i >= len(b) {
			break
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i++
			continue
		case '"':
		default:
			return len(b)
		}
		end := stringEnd(b, i+1)
		if end == len(b) {
			break
		}
		key := b[i+1 : end]
		if i = skipSpace(b, end+1); i >= len(b) || b[i] != ':' {
			break
		}
		if i = skipSpace(b, i+1); i >= len(b) {
			break
		}
		s.follow(key, from, to)
		i = s.value(b, i, to)
		s.active = s.active[:to]
	}
	return len(b)
}

// follow adds to active where the places active[from:to] lead under a key.
func (s *scanner) follow(key []byte, from, to int) {
	if bytes.IndexByte(key, '\\') >= 0 {
		s.key = unescape(s.key[:0], key)
		key = s.key
	}
	for k := from; k < to; k++ {
		at := s.active[k]
		p := &s.paths[at.path]
		if at.flat || at.step == len(p.steps) || s.settled[at.path] || p.steps[at.step].to != toKey {
			continue
		}
		switch {
		case p.steps[at.step].key == string(key):
			s.active = append(s.active, place{path: at.path, step: at.step + 1})
		case at.step+1 < len(p.steps) && p.rests[at.step] != "" && p.rests[at.step] == string(key):
			s.active = append(s.active, place{path: at.path, step: len(p.steps), flat: true})
		}
	}
}

// array reads an array, as object does.
func (s *scanner) array(b []byte, i, from, to int) int {
	for index := 0; s.left > 0; {
		if i = skipSpace(b, i); i >= len(b) {
			break
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i++
			continue
		}
		for k := from; k < to; k++ {
			at := s.active[k]
			steps := s.paths[at.path].steps
			if at.step == len(steps) || s.settled[at.path] {
				continue
			}
			if st := steps[at.step]; st.to == toAll || st.to == toIndex && st.index == index {
				s.active = append(s.active, place{path: at.path, step: at.step + 1})
			}
		}
		i = s.value(b, i, to)
		s.active = s.active[:to]
		index++
	}
	return len(b)
}

// value reads the value at b[i], to which active[from:] leads, and returns where it ends.
func (s *scanner) value(b []byte, i, from int) int {
	to := len(s.active)
	switch b[i] {
	case ',', ':', '}', ']':
		return len(b) // there is none
	}
	if from == to {
		return skipValue(b, i)
	}
	var v value
	end := 0
	switch b[i] {
	case '{', '[':
		deeper := false
		for k := from; k < to; k++ {
			at := s.active[k]
			steps := s.paths[at.path].steps
			if at.step == len(steps) {
				s.take(at, value{kind: nested})
			} else if (steps[at.step].to == toKey) == (b[i] == '{') {
				deeper = true
			}
		}
		switch {
		case !deeper:
			return skipValue(b, i)
		case b[i] == '{':
			return s.object(b, i+1, from, to)
		default:
			return s.array(b, i+1, from, to)
		}
	case '"':
		if end = stringEnd(b, i+1); end == len(b) {
			return end
		}
		v = value{kind: escaped, raw: b[i+1 : end]}
		end++
	default:
		end = skipValue(b, i)
		if v.raw = b[i:end]; !isScalar(v.raw) {
			return end // NaN, say, or None: what is behind it may be sound
		}
	}
	for _, at := range s.active[from:to] {
		if at.step == len(s.paths[at.path].steps) {
			s.take(at, v)
		}
	}
	return end
}

// isScalar tells whether a text is a number, about, or a word of JSON.
func isScalar(b []byte) bool {
	switch b[0] {
	case 't':
		return string(b) == "true"
	case 'f':
		return string(b) == "false"
	case 'n':
		return string(b) == "null"
	}
	return b[0] == '-' || '0' <= b[0] && b[0] <= '9'
}

// skipValue returns where the value at b[i] ends. It goes at least one byte on.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return min(stringEnd(b, i+1)+1, len(b))
	case '{', '[':
		return skipNested(b, i)
	}
	for i++; i < len(b); i++ {
		switch b[i] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return i
}

// skipNested returns where the object or array at b[i] ends.
func skipNested(b []byte, i int) int {
	for depth := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i+1)
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

// stringEnd returns where the quote is that ends a string whose text begins at b[i]; len(b) if there is none.
func stringEnd(b []byte, i int) int {
	for start := i; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			break
		}
		i += n
		k := i
		for k > start && b[k-1] == '\\' {
			k--
		}
		if (i-k)%2 == 0 {
			return i
		}
		start = i + 1
	}
	return len(b)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// endsKey tells which bytes are not part of a key of logfmt.
var endsKey = func() (ends [256]bool) {
	for c := range ' ' + 1 {
		ends[c] = true
	}
	ends['='], ends['"'] = true, true
	return ends
}()

// logfmt reads key=value, key="value" and keys by themselves from b[i] on.
func (s *scanner) logfmt(b []byte, i int) {
	for i < len(b) && s.left > 0 {
		start := i
		for i < len(b) && !endsKey[b[i]] {
			i++
		}
		if i == start {
			i++
			continue
		}
		key, v := b[start:i], value{}
		if i < len(b) && b[i] == '=' {
			i++
			switch {
			case i < len(b) && b[i] == '"':
				end := stringEnd(b, i+1)
				v = value{kind: escaped, raw: b[i+1 : end]} // also if it does not end
				i = end + 1
			default:
				from := i
				for i < len(b) && b[i] > ' ' {
					i++
				}
				v.raw = b[from:i]
			}
		}
		for p := range s.paths {
			if rest := s.paths[p].rests[0]; rest == string(key) && rest != "" && !s.settled[p] {
				s.has[p] = true
				s.to.found(p, false, v)
				s.settled[p] = true // the first one counts
				s.left--
			}
		}
	}
}

// unescape appends the text of a string with escapes to dst. What is no escape of JSON stays as it is.
func unescape(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 == len(raw) {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		rest := raw[i+2:]
		switch c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(rest)
			if !ok {
				dst = append(dst, '\\', 'u')
				break
			}
			rest = rest[4:]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
					low, _ = hex4(rest[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					rest = rest[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, '\\', c)
		}
		raw = rest
	}
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return -1, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
