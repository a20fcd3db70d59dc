package where

import (
	"bytes"
	"fmt"
	"strings"
)

// maxSteps is how many steps a path has at most. A scan goes down as deep.
const maxSteps = 100

// Path leads to a field of a record. It does not change and may be shared.
type Path struct {
	text  string
	steps []step
	// rests are, for each step, the keys from it on as one key with dots; "" where one of them is no key.
	rests []string
	many  bool // it has a step to all elements
}

// step is one of a path: the member of an object, or elements of an array.
type step struct {
	to    stepKind
	key   string
	index int
}

type stepKind uint8

const (
	toKey   stepKind = iota
	toIndex          // one element
	toAll            // each element
)

// ParsePath parses a path such as user.id, items[0].price, items[].price or "a.b".c.
func ParsePath(text string) (Path, error) {
	if len(text) > MaxText {
		return Path{}, fmt.Errorf("%w: a field of %d bytes, at most %d", ErrExpr, len(text), MaxText)
	}
	p := parser{text: text}
	path, err := p.path("")
	if err == nil && p.at < len(text) {
		err = p.errorf(p.at, "want a field, such as user.id, items[].price or \"a.b\", have %s behind one", p.have(p.at))
	}
	return path, err
}

// String is the path as it was typed.
func (p Path) String() string { return p.text }

// newPath makes a path of its steps.
func newPath(text string, steps []step) Path {
	p := Path{text: text, steps: steps, rests: make([]string, len(steps))}
	for i := len(steps) - 1; i >= 0; i-- {
		p.many = p.many || steps[i].to == toAll
		switch last := i == len(steps)-1; {
		case steps[i].to != toKey || !last && p.rests[i+1] == "":
		case last:
			p.rests[i] = steps[i].key
		default:
			p.rests[i] = steps[i].key + "." + p.rests[i+1]
		}
	}
	return p
}

// id tells paths apart.
func (p Path) id() string {
	var b strings.Builder
	for _, s := range p.steps {
		fmt.Fprintf(&b, "%d %d %q ", s.to, s.index, s.key)
	}
	return b.String()
}

// Value is the text of the field in a record: the first one, if there are several. It is part of the record, or memory of its own. It
// is not ok where there is no such field, or where that is an object or an array.
func (p Path) Value(record []byte) (value []byte, ok bool) {
	return p.Reader().Value(record)
}

// Reader makes a reader of the field.
func (p Path) Reader() *Reader {
	r := &Reader{path: p}
	r.scan.init([]Path{p})
	return r
}

// Reader reads a field of one record after the other. It is one goroutine's.
type Reader struct {
	path   Path
	scan   scanner
	yield  func([]byte)
	nested int    // texts found where the path leads
	flat   []byte // the text found under a key with dots
	isFlat bool
	buf    []byte
}

// Value is as Path.Value, but that the value is valid until the next call.
func (r *Reader) Value(record []byte) (value []byte, ok bool) {
	n := r.Values(record, func(v []byte) {
		if !ok {
			value, ok = v, true
		}
	})
	return value, n > 0
}

// Values calls yield with the text of each field that the path leads to, and tells how many they are. The texts are valid until the next call.
func (r *Reader) Values(record []byte, yield func(value []byte)) int {
	r.yield, r.nested, r.flat, r.isFlat, r.buf = yield, 0, nil, false, r.buf[:0]
	found := r.scan.scan(record, r)
	if !found[0] && r.isFlat {
		r.nested++
		yield(r.flat)
	}
	r.yield = nil
	return r.nested
}

// found implements sink.
func (r *Reader) found(_ int, flat bool, v value) (enough bool) {
	if v.kind == nested {
		return !r.path.many && !flat
	}
	text := v.raw
	if v.kind == escaped && bytes.IndexByte(text, '\\') >= 0 {
		at := len(r.buf)
		r.buf = unescape(r.buf, text)
		text = r.buf[at:]
	}
	if flat {
		r.flat, r.isFlat = text, true
		return false
	}
	r.nested++
	r.yield(text)
	return !r.path.many
}
