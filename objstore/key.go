package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a key, in bytes. S3 allows 1024 for a key and file systems 255 for a name.
const (
	MaxKey     = 1024
	MaxSegment = 255
)

// CheckKey returns nil for a key that every kind of bucket can hold, and otherwise an
// error that is ErrBadKey and says which rule the key breaks.
//
// A key is 1 to MaxKey bytes: segments of 1 to MaxSegment bytes out of A-Z a-z 0-9 . _ - =
// separated by single slashes. No segment begins or ends with a dot: that leaves out "."
// and "..", the hidden names that a folder bucket uses for itself, and the names that
// Windows shortens. A key must not be the folder of another key ("a" and "a/b"): the
// stores on file systems refuse the second one with ErrBadKey, so nothing may rely on it.
// Two keys that differ in case only are two keys, but are one on a file system that
// ignores case.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: it is empty", ErrBadKey)
	}
	if len(key) > MaxKey {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrBadKey, len(key), MaxKey)
	}
	for seg := range strings.SplitSeq(key, "/") {
		if err := checkSegment(seg); err != nil {
			return fmt.Errorf("%w %q: %s", ErrBadKey, key, err)
		}
	}
	return nil
}

// CanBegin tells whether there are keys that begin with prefix. Servers answer a listing of
// another prefix, such as "a/../", each in its own way, so it is not sent to them.
func CanBegin(prefix string) bool {
	if prefix == "" {
		return true
	}
	// What follows may be anything: a letter makes whole what is cut short.
	return CheckKey(prefix+"x") == nil || CheckKey(prefix) == nil
}

func checkSegment(seg string) error {
	switch {
	case seg == "":
		return errors.New("a part between slashes is empty")
	case len(seg) > MaxSegment:
		return fmt.Errorf("a part has %d bytes, more than %d", len(seg), MaxSegment)
	case seg[0] == '.' || seg[len(seg)-1] == '.':
		return errors.New("a part begins or ends with a dot")
	}
	for i := 0; i < len(seg); i++ {
		c := seg[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '-', c == '=':
		default:
			return fmt.Errorf("it has the byte %#x; letters, digits and . _ - = may be used", c)
		}
	}
	return nil
}

// ReaderAt returns the object key of b as an io.ReaderAt: each ReadAt is one Get under ctx.
// A read past the object's end gives io.EOF, as io.ReaderAt asks.
func ReaderAt(ctx context.Context, b Bucket, key string) io.ReaderAt {
	return objectReader{ctx: ctx, bucket: b, key: key}
}

// objectReader keeps a context because io.ReaderAt has no place for one; it lives no
// longer than the call that made it.
type objectReader struct {
	ctx    context.Context
	bucket Bucket
	key    string
}

func (r objectReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.bucket.Get(r.ctx, r.key, off, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return n, io.EOF
	}
	return n, err
}
