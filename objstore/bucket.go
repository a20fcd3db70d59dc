package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors that every Bucket reports by identity (errors.Is).
var (
	// ErrNotFound says that no object has the key.
	ErrNotFound = errors.New("object not found")
	// ErrExists says that Create found an object under the key.
	ErrExists = errors.New("object exists already")
	// ErrNoBucket says that the bucket (or its folder) is not there.
	ErrNoBucket = errors.New("bucket does not exist")
	// ErrDenied says that the store refused the credentials, or what they may do.
	ErrDenied = errors.New("access denied")
	// ErrIncomplete says that what a listing has yielded may lack objects, because buckets that may be
	// the only ones to have them could not be listed.
	ErrIncomplete = errors.New("listing may lack objects")
	// ErrBadKey says that a key breaks the rules of CheckKey.
	ErrBadKey = errors.New("bad object key")
)

// Info is what a listing or Stat tells of an object.
type Info struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // as the store's clock has it
}

// Bucket is a flat, ordered space of immutable objects. Every implementation passes
// the contract suite in package buckettest, and all of this holds:
//
//   - Methods may be called from any number of goroutines.
//   - An object is visible whole or not at all, also after a crash at any instant, and
//     is durable once Put or Create has returned nil. A listing that starts after that
//     shows it (read after write).
//   - Keys obey CheckKey; another key is ErrBadKey, before anything is sent. An object whose
//     key is the folder of another object's, or below one, may be refused with ErrBadKey.
//   - A method returns soon after its ctx is done, with an error for which
//     errors.Is(err, ctx.Err()) holds. A Put that was cut off may or may not have
//     happened; repeating it is safe.
//   - Errors are wrapped as "put KEY: cause" and name the bucket; identity is kept for
//     the sentinels above.
type Bucket interface {
	// Put stores size bytes of body under key, replacing what was there. It reads body
	// with ReadAt only, perhaps several times (retries) and from several goroutines
	// (copies); body must not change until Put has returned, and not until Close for a
	// bucket that finishes copies in the background.
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error

	// Create is Put for a key that must not exist: exactly one of any number of
	// concurrent Creates succeeds and the others get ErrExists.
	Create(ctx context.Context, key string, body io.ReaderAt, size int64) error

	// Get fills p with the object's bytes from off. It is one request. If the object ends
	// before p is full it returns the count and io.ErrUnexpectedEOF; ErrNotFound
	// if there is no object. off must not be negative. An empty p is full: it tells whether
	// there is an object.
	Get(ctx context.Context, key string, off int64, p []byte) (int, error)

	// Stat tells an object's size without reading it, or ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose keys begin with prefix and are greater than after,
	// in ascending byte order of their keys. An empty prefix lists everything; what somebody
	// else has put there under a key that CheckKey refuses is left out. After an error,
	// which is the last pair yielded, the listing is incomplete. Breaking out of
	// the loop ends the requests.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes an object. That there is none is not an error.
	Delete(ctx context.Context, key string) error
}
