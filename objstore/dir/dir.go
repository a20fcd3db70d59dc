package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"oklog/objstore"
)

const (
	tmpDir = ".tmp"
	// staleAfter is the age at which a file in .tmp cannot belong to a running Put: that
	// one would have written to it.
	staleAfter = 6 * time.Hour
	// maxKnown bounds the set of folders that are known to be synced.
	maxKnown = 4096
	// copySize is how much of a body is read at a time.
	copySize = 256 << 10
	// maxRaces bounds how often a Put that meets others in the same folders tries again.
	maxRaces = 10
	// maxPast bounds how many folders that stood at the path before stay open.
	maxPast = 8
)

var _ objstore.Bucket = (*Bucket)(nil)

// Bucket is a bucket in a folder.
type Bucket struct {
	path   string
	name   string
	logger *slog.Logger
	opened atomic.Pointer[folder]

	mu    sync.Mutex
	past  []*os.Root             // that stood at the path before, and may be in use still
	known map[string]fs.FileInfo // folders whose entries in their parents are on disk
}

// folder is the one that is the bucket.
type folder struct {
	root *os.Root
	info fs.FileInfo // tells it from another one at the same path
}

func (b *Bucket) root() *os.Root { return b.opened.Load().root }

// Config is what Open may be told besides the path. The zero Config serves.
type Config struct {
	Now    func() time.Time // time.Now, if nil
	Logger *slog.Logger     // discards, if nil

	// ReadOnly makes nothing, and what writes fails.
	ReadOnly bool
	// Make makes the folder, and those above it, if it is not there. Without it that is ErrNoBucket: a
	// path that was mistyped, or a disk that is not mounted, must not take the records.
	Make bool
}

// Open returns the bucket in the folder path.
func Open(path string, cfg Config) (*Bucket, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if path == "" {
		return nil, errors.New("open folder bucket: the path is empty: give --bucket file:///PATH")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open folder bucket %s: %w", path, err)
	}
	if cfg.Make && !cfg.ReadOnly {
		if err := makeRoot(abs); err != nil {
			return nil, fmt.Errorf("open folder bucket %s: make the folder: %w: change --bucket, or the rights of the folder above", abs, cause(err))
		}
	} else if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open folder bucket %s: %w: there is no such folder: create it or mount what it is on, or correct --bucket", abs, objstore.ErrNoBucket)
	}
	f, err := openFolder(abs)
	if err != nil {
		return nil, fmt.Errorf("open folder bucket %s: %w: change --bucket, or the folder's rights", abs, cause(err))
	}
	b := &Bucket{path: abs, name: "file://" + filepath.ToSlash(abs), logger: cfg.Logger, known: make(map[string]fs.FileInfo)}
	b.opened.Store(f)
	if cfg.ReadOnly {
		return b, nil
	}
	if err := b.prepare(cfg.Now().Add(-staleAfter)); err != nil {
		f.root.Close()
		return nil, fmt.Errorf("open folder bucket %s: %w: change --bucket, or the folder's rights", abs, cause(err))
	}
	return b, nil
}

func openFolder(abs string) (*folder, error) {
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &folder{root, info}, nil
}

// here sees that the bucket's folder is the one at its path. Another one that is a bucket (restored, mounted
// anew) is opened in its place; one that never was, which may be what a disk was mounted on, is refused.
func (b *Bucket) here() error {
	if b.same() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.same() {
		return nil // another call has opened it
	}
	f, err := openFolder(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the folder %s was removed: restore it, or change --bucket", objstore.ErrNoBucket, b.path)
	}
	if err != nil {
		return fmt.Errorf("the folder %s: %w", b.path, cause(err))
	}
	if _, err := f.root.Stat(tmpDir); err != nil {
		f.root.Close()
		return fmt.Errorf("%w: the folder %s is not the one that was opened (is its disk not mounted any more?), and was no bucket before: mount or restore what was there, or restart to begin anew in this one",
			objstore.ErrNoBucket, b.path)
	}
	b.logger.Warn("another folder stands where the bucket's was, and is a bucket, too: going on with that", slog.String("bucket", b.name))
	b.past = append(b.past, b.opened.Swap(f).root)
	if len(b.past) > maxPast {
		b.past[0].Close() // nobody uses it any more
		b.past = b.past[1:]
	}
	clear(b.known)
	return nil
}

// same tells whether the folder at the path is the one that is open.
func (b *Bucket) same() bool {
	info, err := os.Stat(b.path)
	return err == nil && os.SameFile(info, b.opened.Load().info)
}

// makeRoot makes the folder and those above it, durably.
func makeRoot(abs string) error {
	if info, err := os.Stat(abs); err == nil {
		if !info.IsDir() {
			return syscall.ENOTDIR
		}
		return nil
	}
	parent := filepath.Dir(abs)
	if parent != abs {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(abs, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return nil // a folder that may not be read can still be passed through
	}
	defer d.Close()
	return syncDir(d)
}

// prepare makes .tmp and clears it of what crashes have left there before old.
func (b *Bucket) prepare(old time.Time) error {
	if err := b.root().Mkdir(tmpDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := b.root().Open(tmpDir)
	if err != nil {
		return err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(old) {
			continue
		}
		if err := b.root().Remove(tmpDir + "/" + e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.logger.Warn("a leftover in the bucket cannot be removed", slog.String("bucket", b.name),
				slog.String("file", tmpDir+"/"+e.Name()), slog.Any("err", err))
		}
	}
	return nil
}

// Name returns the bucket's URL.
func (b *Bucket) Name() string { return b.name }

// Close gives up the folder; the bucket must not be used any more.
func (b *Bucket) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := []error{b.root().Close()}
	for _, root := range b.past {
		errs = append(errs, root.Close())
	}
	b.past = nil
	return errors.Join(errs...)
}

// Check returns nil if the folder is there and can be written to.
func (b *Bucket) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return objstore.Wrap("check", "", b.name, err)
	}
	if err := b.here(); err != nil {
		return fmt.Errorf("check %s: %w", b.name, err)
	}
	f, name, err := b.temp()
	if err != nil {
		return fmt.Errorf("check %s: %w", b.name, cause(b.missing(err)))
	}
	f.Close()
	if err := b.root().Remove(name); err != nil {
		return fmt.Errorf("check %s: %w", b.name, cause(err))
	}
	return nil
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.write(ctx, "put", key, body, size)
}

// Create implements objstore.Bucket. The file system has to know hard links.
func (b *Bucket) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.write(ctx, "create", key, body, size)
}

func (b *Bucket) write(ctx context.Context, op, key string, body io.ReaderAt, size int64) error {
	if err := checkKey(key); err != nil {
		return objstore.Wrap(op, key, b.name, err)
	}
	if size < 0 {
		return objstore.Wrap(op, key, b.name, fmt.Errorf("negative size %d", size))
	}
	if err := b.here(); err != nil {
		return objstore.Wrap(op, key, b.name, err)
	}
	if op == "create" { // to refuse before writing; the link decides
		if _, err := b.root().Lstat(key); err == nil {
			if _, err := b.stat(key); err == nil {
				return objstore.Wrap(op, key, b.name, objstore.ErrExists)
			}
		}
	}
	tmp, err := b.fill(ctx, body, size)
	if err != nil {
		return objstore.Wrap(op, key, b.name, err)
	}
	defer b.root().Remove(tmp) // if it is still there; otherwise a later Open removes it
	if err := b.publish(ctx, op, tmp, key); err != nil {
		return objstore.Wrap(op, key, b.name, err)
	}
	return nil
}

// temp opens a new file in .tmp.
func (b *Bucket) temp() (*os.File, string, error) {
	name := tmpDir + "/" + rand.Text()
	f, err := b.root().OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody has tidied up.
		if err := b.root().Mkdir(tmpDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, "", err
		}
		f, err = b.root().OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	}
	return f, name, err
}

// fill writes the body to a file in .tmp and syncs it.
func (b *Bucket) fill(ctx context.Context, body io.ReaderAt, size int64) (name string, err error) {
	f, tmp, err := b.temp()
	if err != nil {
		return "", cause(b.missing(err))
	}
	defer func() {
		if err != nil {
			f.Close()
			b.root().Remove(tmp)
		}
	}()
	buf := make([]byte, min(size, copySize))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		p := buf[:min(int64(len(buf)), size-off)]
		if n, err := body.ReadAt(p, off); n < len(p) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", fmt.Errorf("read body: %w", err)
		}
		if _, err := f.Write(p); err != nil {
			return "", cause(err)
		}
		off += int64(len(p))
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", cause(err)
	}
	if err := f.Close(); err != nil {
		return "", cause(err)
	}
	return tmp, nil
}

// publish gives the file tmp the name key and makes that durable. A Delete that removes
// the emptied folder meanwhile is a reason to try again.
func (b *Bucket) publish(ctx context.Context, op, tmp, key string) error {
	for race := 0; ; race++ {
		err := b.tryPublish(op, tmp, key)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || race == maxRaces {
			return cause(b.missing(err))
		}
		if _, lost := b.root().Lstat(tmp); lost != nil {
			return fmt.Errorf("the temporary file was removed: %w", cause(b.missing(lost)))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (b *Bucket) tryPublish(op, tmp, key string) error {
	folder := path.Dir(key)
	if err := b.makeDirs(folder); err != nil {
		return err
	}
	if op == "create" {
		if err := b.root().Link(tmp, key); err != nil {
			if errors.Is(err, fs.ErrExist) {
				if _, statErr := b.stat(key); errors.Is(statErr, errIsFolder) {
					return statErr
				}
				return objstore.ErrExists
			}
			return err
		}
	} else if err := b.root().Rename(tmp, key); err != nil {
		if _, statErr := b.stat(key); errors.Is(statErr, errIsFolder) {
			return statErr
		}
		return err
	}
	return b.syncFolder(folder)
}

// errIsFolder says that the key is the folder of other objects.
var errIsFolder = fmt.Errorf("%w: it is the folder of other objects", objstore.ErrBadKey)

// makeDirs makes folder and those above it, and sees that their names are on disk.
func (b *Bucket) makeDirs(folder string) error {
	if folder == "." {
		return nil
	}
	if info, err := b.root().Lstat(folder); err == nil && info.IsDir() {
		b.mu.Lock()
		known := b.known[folder]
		b.mu.Unlock()
		if known != nil && os.SameFile(known, info) {
			return nil
		}
	}
	parent := path.Dir(folder)
	if err := b.makeDirs(parent); err != nil {
		return err
	}
	if err := b.root().Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		if errors.Is(err, syscall.ENOTDIR) {
			return fmt.Errorf("%w: %q is an object, so it cannot be a folder", objstore.ErrBadKey, parent)
		}
		return err
	}
	info, err := b.root().Stat(folder)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %q is an object, so it cannot be a folder", objstore.ErrBadKey, folder)
	}
	if err := b.syncFolder(parent); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxKnown {
		clear(b.known)
	}
	b.known[folder] = info
	return nil
}

func (b *Bucket) syncFolder(folder string) error {
	d, err := b.root().Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncDir(d)
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	n, err := b.get(ctx, key, off, p)
	if err != nil {
		err = objstore.Wrap("get", key, b.name, err)
	}
	return n, err
}

func (b *Bucket) get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("negative offset %d", off)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := b.here(); err != nil {
		return 0, err
	}
	// Before opening: to open a named pipe would wait for its writer.
	info, err := b.stat(key)
	if err != nil {
		return 0, b.absent(err)
	}
	if len(p) > 0 && off >= info.Size() {
		return 0, io.ErrUnexpectedEOF
	}
	f, err := b.root().Open(key)
	if err != nil {
		return 0, b.absent(err)
	}
	defer f.Close()
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, off)
	if err == io.EOF {
		err = nil
		if n < len(p) {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, cause(err)
}

// Stat implements objstore.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (objstore.Info, error) {
	err := checkKey(key)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.here()
	}
	var info fs.FileInfo
	if err == nil {
		info, err = b.stat(key)
		err = b.absent(err)
	}
	if err != nil {
		return objstore.Info{}, objstore.Wrap("stat", key, b.name, err)
	}
	return objstore.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// stat returns the file of an object; anything but a regular file is not there.
func (b *Bucket) stat(key string) (fs.FileInfo, error) {
	info, err := b.root().Lstat(key)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errIsFolder
	case !info.Mode().IsRegular():
		return nil, fs.ErrNotExist
	}
	return info, nil
}

// absent turns the ways in which a file is not there into ErrNotFound, or into ErrNoBucket if
// the whole folder is gone.
func (b *Bucket) absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, errIsFolder) {
		if gone := b.missing(fs.ErrNotExist); errors.Is(gone, objstore.ErrNoBucket) {
			return gone
		}
		return objstore.ErrNotFound
	}
	return cause(err)
}

// missing turns "not there" into ErrNoBucket if it is the bucket's folder that is not there.
func (b *Bucket) missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if gone := b.here(); gone != nil {
			return gone
		}
	}
	return err
}

// Delete implements objstore.Bucket. It removes the folders that it leaves empty.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	err := checkKey(key)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.here()
	}
	if err == nil {
		if _, err = b.stat(key); err == nil {
			err = b.root().Remove(key)
		}
		if err = b.absent(err); errors.Is(err, objstore.ErrNotFound) {
			return nil
		}
	}
	if err == nil {
		err = cause(b.prune(path.Dir(key)))
	}
	if err != nil {
		return objstore.Wrap("delete", key, b.name, err)
	}
	return nil
}

// prune removes folder, and those above it, as far as they are empty, and syncs the one
// that stays.
func (b *Bucket) prune(folder string) error {
	for folder != "." && b.root().Remove(folder) == nil { // it fails for one that is not empty
		b.mu.Lock()
		delete(b.known, folder)
		b.mu.Unlock()
		folder = path.Dir(folder)
	}
	err := b.syncFolder(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another Delete has removed it, and syncs what is above
	}
	return err
}

// cause takes the operation and the path off a file error: the caller names them.
func cause(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	var inner error
	switch {
	case errors.As(err, &pathErr):
		inner = pathErr.Err
	case errors.As(err, &linkErr):
		inner = linkErr.Err
	default:
		return err
	}
	if errors.Is(err, objstore.ErrBadKey) || errors.Is(err, objstore.ErrNoBucket) {
		return err
	}
	return inner
}

// checkKey is objstore.CheckKey with what the operating system refuses besides.
func checkKey(key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	for seg := range strings.SplitSeq(key, "/") {
		if !filepath.IsLocal(seg) { // on Windows: the names of devices
			return fmt.Errorf("%w: %q means a device here", objstore.ErrBadKey, seg)
		}
	}
	return nil
}
