package dir

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"oklog/objstore"
)

// List implements objstore.Bucket. It reads the folders that may hold such keys, one at a
// time, and holds the names of those from the root to where it is.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if !objstore.CanBegin(prefix) {
			return
		}
		if err := b.here(); err != nil {
			yield(objstore.Info{}, objstore.Wrap("list", prefix, b.name, err))
			return
		}
		w := &walk{bucket: b, ctx: ctx, prefix: prefix, after: after, yield: yield}
		// All keys with the prefix are in the folder that it names up to its last slash.
		folder := "."
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			folder = prefix[:i]
		}
		if err := w.folder(folder); err != nil && !errors.Is(err, errStop) {
			yield(objstore.Info{}, objstore.Wrap("list", prefix, b.name, err))
		}
	}
}

// errStop says that the consumer has had enough.
var errStop = errors.New("stop")

type walk struct {
	bucket *Bucket
	ctx    context.Context // of the List that the walk is
	prefix string
	after  string
	yield  func(objstore.Info, error) bool
}

// entry is a name in a folder; key is the whole key, which ends with a slash for a folder: so
// sorted, the entries and what is below them come in the order of the keys.
type entry struct {
	key  string
	file fs.DirEntry
}

func (w *walk) folder(folder string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := w.read(folder)
	if err != nil {
		return err
	}
	for i, e := range entries {
		entries[i] = entry{} // let go of the names that are done
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if below, ok := strings.CutSuffix(e.key, "/"); ok {
			if err := w.folder(below); err != nil {
				return err
			}
			continue
		}
		info, err := e.file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return cause(err)
		}
		if !w.yield(objstore.Info{Key: e.key, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return errStop
		}
	}
	return nil
}

// read returns those entries of the folder that are, or may hold, keys of the listing.
func (w *walk) read(folder string) ([]entry, error) {
	d, err := w.bucket.root().Open(folder)
	if err == nil {
		defer d.Close()
		var info fs.FileInfo
		if info, err = d.Stat(); err == nil && !info.IsDir() {
			return nil, nil
		}
	}
	if err = w.bucket.absent(err); errors.Is(err, objstore.ErrNotFound) {
		return nil, nil // there are no keys in a folder that is not there
	}
	if err != nil {
		return nil, err
	}
	files, err := d.ReadDir(-1)
	if errors.Is(err, fs.ErrNotExist) { // removed while it is open
		if err = w.bucket.absent(err); errors.Is(err, objstore.ErrNotFound) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, cause(err)
	}
	if len(files) == 0 && folder == "." {
		if err := w.bucket.missing(fs.ErrNotExist); errors.Is(err, objstore.ErrNoBucket) {
			return nil, err
		}
	}
	var entries []entry
	for _, f := range files {
		key := path.Join(folder, f.Name())
		switch {
		case objstore.CheckKey(key) != nil:
		case f.IsDir():
			key += "/"
			if w.mayHold(key) {
				entries = append(entries, entry{key, nil})
			}
		case f.Type().IsRegular():
			if strings.HasPrefix(key, w.prefix) && key > w.after {
				entries = append(entries, entry{key, f})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// mayHold tells whether keys that begin with folder, which ends with a slash, may have the
// prefix and be greater than after.
func (w *walk) mayHold(folder string) bool {
	if !strings.HasPrefix(folder, w.prefix) && !strings.HasPrefix(w.prefix, folder) {
		return false
	}
	return folder > w.after || strings.HasPrefix(w.after, folder)
}
