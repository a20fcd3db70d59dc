package segment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Limits on a source's attributes. They are generous for what OpenTelemetry calls
// resource attributes, and small enough for a table of thousands.
const (
	MaxAttrs      = 64   // attributes of one source
	MaxAttrKey    = 128  // bytes of a key
	MaxAttrValue  = 1024 // bytes of a value
	maxSourceSize = MaxAttrs * (MaxAttrKey + MaxAttrValue + 4)
)

// Attr is one attribute of a source.
type Attr struct{ Key, Value string }

// Source is what a stream of records has in common (host, service, pod, file): its
// attributes, ascending by key, no key twice. The zero value has none.
type Source []Attr

// ParseSource makes a source of texts of the form key=value. The value may be empty and may contain '='.
func ParseSource(pairs []string) (Source, error) {
	var s Source
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("source attribute %q: want key=value", p)
		}
		s = append(s, Attr{k, v})
	}
	slices.SortFunc(s, func(a, b Attr) int { return cmp.Compare(a.Key, b.Key) })
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// With returns a copy that has key=value as well; it replaces an attribute of that key.
func (s Source) With(key, value string) Source {
	c := slices.Clone(s)
	i, ok := slices.BinarySearchFunc(c, key, func(a Attr, k string) int { return cmp.Compare(a.Key, k) })
	if ok {
		c[i].Value = value
		return c
	}
	return slices.Insert(c, i, Attr{key, value})
}

// Get returns the value of a key, "" if there is none.
func (s Source) Get(key string) string {
	if i, ok := slices.BinarySearchFunc(s, key, func(a Attr, k string) int { return cmp.Compare(a.Key, k) }); ok {
		return s[i].Value
	}
	return ""
}

// String is the attributes as key=value, separated by spaces.
func (s Source) String() string {
	var b strings.Builder
	for i, a := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Key)
		b.WriteByte('=')
		b.WriteString(a.Value)
	}
	return b.String()
}

func (s Source) check() error {
	if len(s) > MaxAttrs {
		return fmt.Errorf("source has %d attributes: at most %d", len(s), MaxAttrs)
	}
	for i, a := range s {
		switch {
		case a.Key == "" || len(a.Key) > MaxAttrKey:
			return fmt.Errorf("source attribute key %q: want 1 to %d bytes", a.Key, MaxAttrKey)
		case len(a.Value) > MaxAttrValue:
			return fmt.Errorf("source attribute %s: value of %d bytes: at most %d", a.Key, len(a.Value), MaxAttrValue)
		case i > 0 && s[i-1].Key == a.Key:
			return fmt.Errorf("source attribute %s is given twice", a.Key)
		case i > 0 && s[i-1].Key > a.Key:
			return fmt.Errorf("source attribute %s is out of order", a.Key)
		}
	}
	return nil
}

// append encodes s: the number of attributes, then each key and value with its length.
func (s Source) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	for _, a := range s {
		dst = binary.AppendUvarint(dst, uint64(len(a.Key)))
		dst = append(dst, a.Key...)
		dst = binary.AppendUvarint(dst, uint64(len(a.Value)))
		dst = append(dst, a.Value...)
	}
	return dst
}

func decodeSource(d *decoder) (Source, error) {
	n := d.uvarint(MaxAttrs)
	s := make(Source, 0, n)
	for range n {
		k := d.str(d.uvarint(MaxAttrKey))
		v := d.str(d.uvarint(MaxAttrValue))
		if d.err != nil {
			return nil, d.err
		}
		s = append(s, Attr{k, v})
	}
	if d.err != nil {
		return nil, d.err
	}
	return s, s.check()
}

// decoder reads numbers and byte strings from the front of b. The first thing that does not fit its
// bounds sets err; everything after that is zero.
type decoder struct {
	b    []byte
	text string // of b as it was at the beginning, for str
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
		d.b = nil
	}
}

// uvarint reads a number of at most limit.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("truncated number")
		return 0
	}
	if v > limit {
		d.fail(fmt.Sprintf("number %d is over its limit %d", v, limit))
		return 0
	}
	d.b = d.b[n:]
	return v
}

// varint reads a signed number in zigzag form.
func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("truncated number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("truncated bytes")
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

// str reads n bytes as a part of text.
func (d *decoder) str(n uint64) string {
	at := len(d.text) - len(d.b)
	p := d.bytes(n)
	if d.err != nil {
		return ""
	}
	return d.text[at:][:len(p)]
}

// end fails if anything is left.
func (d *decoder) end() {
	if d.err == nil && len(d.b) > 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.b)))
	}
}
