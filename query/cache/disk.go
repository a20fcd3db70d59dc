package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

const (
	numSets = 256
	// leastSetPages is how many pages a set must have room for.
	leastSetPages = 4
	// fileUnit is what a file's size is rounded up to, as file systems do.
	fileUnit = 4096
	// maxQueue bounds the bytes that wait to be written, and maxQueued the pages.
	maxQueue  = 8 << 20
	maxQueued = 1024
	// touchAfter is how far behind a file's time of last use may be.
	touchAfter = time.Hour
	// staleAfter is the age at which a temporary file cannot be one that is being written.
	staleAfter = 15 * time.Minute
	// usualPace is how long the cache waits, with nothing to write, before it looks through another set: a process that lives
	// for a moment has better things to do.
	usualPace = 10 * time.Millisecond

	tempSuffix = ".tmp"
)

// leastDisk is the least that Config.Disk may be.
func leastDisk(pageSize int) int64 {
	return numSets * leastSetPages * blocks(int64(pageHead+maxKey+pageSize))
}

// blocks rounds a file's size up to what it takes.
func blocks(size int64) int64 { return (size + fileUnit - 1) / fileUnit * fileUnit }

// disk is the second level. One goroutine writes; reads do not need to know what is there: they try.
type disk struct {
	root     *os.Root
	dir      string
	pageSize int64
	limit    int64 // bytes of a set
	now      func() time.Time
	logger   *slog.Logger
	pace     time.Duration

	queue chan *job
	quit  chan struct{}
	done  chan struct{} // closed when the writer has ended
	buf   []byte        // the writer's

	mu     sync.Mutex
	sets   [numSets]set
	queued map[fileName]*job
	counts counts
}

// set is what is known of a folder.
type set struct {
	known bool // it was looked through
	files map[fileName]file
	bytes int64
}

type file struct {
	used   int64 // Unix time in nanoseconds
	bytes  int64
	reused bool // read since it was written, or found
}

// job is a page to be written.
type job struct {
	id   pageID
	name fileName
	data []byte
}

type counts struct {
	dropped, damaged, failed int64
	// What the log has been told, and is not told again.
	saidRead, saidWrite, saidDamaged bool
}

// openDisk opens the folder and starts the writer.
func openDisk(cfg Config) (*disk, error) {
	abs, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w: change Dir", cfg.Dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("make folder %s: %w: change Dir, or the rights of the folder above", abs, cause(err))
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w: change Dir, or the folder's rights", abs, cause(err))
	}
	d := &disk{
		root:     root,
		dir:      abs,
		pageSize: int64(cfg.PageSize),
		limit:    cfg.Disk / numSets,
		now:      cfg.Now,
		logger:   cfg.Logger,
		pace:     cfg.pace,
		queue:    make(chan *job, min(max(1, maxQueue/cfg.PageSize), maxQueued)),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
		queued:   make(map[fileName]*job),
	}
	if err := d.checkFolder(); err != nil {
		root.Close()
		return nil, err
	}
	go d.run()
	return d, nil
}

// checkFolder sees that this user can write to the folder, and that others cannot: what they put there would be in the answers.
func (d *disk) checkFolder() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return fmt.Errorf("folder %s: %w: change Dir, or the folder's rights", d.dir, cause(err))
	}
	if runtime.GOOS != "windows" && info.Mode()&0o022 != 0 {
		return fmt.Errorf("folder %s may be written to by other users (%v): chmod go-w it, or change Dir", d.dir, info.Mode())
	}
	temp := rand.Text() + tempSuffix
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write to folder %s: %w: change Dir, or the folder's rights", d.dir, cause(err))
	}
	f.Close()
	if err := d.root.Remove(temp); err != nil {
		return fmt.Errorf("write to folder %s: %w: change Dir, or the folder's rights", d.dir, cause(err))
	}
	return nil
}

// read returns the n bytes of a page, nil if they are not there.
func (d *disk) read(ctx context.Context, id pageID, n int) []byte {
	if ctx.Err() != nil {
		return nil
	}
	name := nameOf(id, d.pageSize)
	data, used, err := d.readFile(name, id, n)
	switch {
	case err == nil:
		d.touch(name, fileSize(id, n), used)
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, errDamaged):
		d.damaged(name)
	default:
		d.failed(err, "a page cannot be read from the cache's folder; it is fetched again: see to the disk, or the files' rights", &d.counts.saidRead)
	}
	return data
}

var errDamaged = errors.New("not the page that the name says")

func (d *disk) readFile(name fileName, id pageID, n int) (data []byte, used time.Time, err error) {
	path := name.path()
	info, err := d.root.Lstat(path) // before opening: to open a named pipe would wait for its writer
	if err != nil {
		return nil, used, err
	}
	if !info.Mode().IsRegular() || info.Size() != fileSize(id, n) {
		return nil, used, errDamaged
	}
	f, err := d.root.Open(path)
	if err != nil {
		return nil, used, err
	}
	defer f.Close()
	head := make([]byte, pageHead+len(id.key))
	data = make([]byte, n)
	for _, p := range [][]byte{head, data} {
		if _, err := io.ReadFull(f, p); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, used, errDamaged // shorter than a moment ago
		} else if err != nil {
			return nil, used, err
		}
	}
	if !intact(id, d.pageSize, head, data) {
		return nil, used, errDamaged
	}
	return data, info.ModTime(), nil
}

// touch notes that a file of size bytes was used.
func (d *disk) touch(name fileName, size int64, last time.Time) {
	now := d.now()
	if now.Sub(last) > touchAfter {
		// It matters to the next process only, and not much.
		_ = d.root.Chtimes(name.path(), now, now)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := &d.sets[name[0]]; s.known {
		s.put(name, file{used: now.UnixNano(), bytes: blocks(size), reused: true})
	}
}

func (s *set) put(name fileName, f file) {
	s.bytes += f.bytes - s.files[name].bytes
	s.files[name] = f
}

func (s *set) remove(name fileName) {
	s.bytes -= s.files[name].bytes
	delete(s.files, name)
}

// damaged removes a file that is not what its name says.
func (d *disk) damaged(name fileName) {
	err := d.root.Remove(name.path())
	if err != nil { // on Windows, somebody may have it open: it is found damaged again
		err = cause(err)
	}
	d.mu.Lock()
	if err == nil {
		d.sets[name[0]].remove(name)
	}
	d.counts.damaged++
	said := d.counts.saidDamaged
	d.counts.saidDamaged = true
	d.mu.Unlock()
	if !said {
		d.logger.Warn("a file in the cache's folder is damaged; it is removed, and the page fetched again; more will be counted, not logged",
			slog.String("dir", d.dir), slog.String("file", name.path()), slog.Any("err", err))
	}
}

// failed counts, and tells the log unless it was told, as *said says.
func (d *disk) failed(err error, what string, said *bool) {
	d.mu.Lock()
	d.counts.failed++
	first := !*said
	*said = true
	d.mu.Unlock()
	if first {
		d.logger.Warn(what, slog.String("dir", d.dir), slog.Any("err", err))
	}
}

// forget removes a page, also from the queue.
func (d *disk) forget(id pageID) {
	name := nameOf(id, d.pageSize)
	d.mu.Lock()
	delete(d.queued, name)
	d.mu.Unlock()
	if err := d.root.Remove(name.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// A file that stays would bring the damage again: that it is empty will do, too.
		if f, err := d.root.OpenFile(name.path(), os.O_WRONLY|os.O_TRUNC, 0); err == nil {
			f.Close()
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets[name[0]].remove(name)
}

func (d *disk) stats(s *Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.sets {
		s.Disk.Pages += int64(len(d.sets[i].files))
		s.Disk.Bytes += d.sets[i].bytes
	}
	s.Dropped, s.Damaged, s.Failed = d.counts.dropped, d.counts.damaged, d.counts.failed
}

// close writes what is queued and ends the writer. Nothing may be read or queued any more.
func (d *disk) close() error {
	close(d.quit)
	<-d.done
	return d.root.Close()
}

// cause takes the operation and the path off a file error: the caller names them.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
