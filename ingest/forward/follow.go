package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/oklog/ulid/v2"
)

const (
	printSize = 1 << 10 // bytes at a file's beginning that tell it from another one with its number
	tailSize  = 64      // and those before the position, from one that begins in the same way
	maxGone   = 8       // files rotated away from one path and read at once
	maxDir    = 100_000 // names of a folder that are searched for a rotated file
	// settleDown keeps a busy writer from waking the reader for every line.
	settleDown = 10 * time.Millisecond
)

// fileState is where the reading of a file is: behind which byte, and which record.
type fileState struct {
	Path     string    `json:"path"`
	Volume   uint64    `json:"volume"`
	Number   uint64    `json:"number"`
	PrintLen int       `json:"printLen"` // bytes at the beginning
	Print    string    `json:"print"`    // their SHA-256, 16 bytes in hex
	Pos      int64     `json:"pos"`
	TailLen  int       `json:"tailLen,omitempty"` // bytes before Pos; 0: they are not known
	Tail     string    `json:"tail,omitempty"`    // their SHA-256, 16 bytes in hex
	Last     ulid.ULID `json:"last"`              // ID of the last record
	Cutting  bool      `json:"cutting"`           // which is a piece, and goes on

	Modified int64 `json:"modified,omitempty"` // when the file was, as far as it is known, Unix ns
	Gone     int64 `json:"gone,omitempty"`     // when it was found to be rotated away, Unix ms; 0: it was not
	Done     bool  `json:"done,omitempty"`     // it was, and read to its end
}

// file is an open file.
type file struct {
	*lane
	path string
	from *path // that it is or was followed by; nil: it is not
	f    *os.File
	info os.FileInfo // when it was opened, to tell it from others

	volume, number uint64
	printLen       int
	print          string
	copied         bool // it was found as a copy of one that was truncated

	size    int64     // when it was last read to its end
	mtime   time.Time // then
	looked  time.Time // when it was last looked at
	behind  bool      // then there was more than was read
	grown   time.Time // when that changed
	settled bool      // silence completes nothing more
	gone    time.Time // since when it is read as one that is no longer under its path; zero: it is
	since   time.Time // when that was found out, maybe by an earlier run
	name    string    // where it was found, if not under its path; "": it was not looked for
	fresh   bool      // no earlier run knew it
}

func (fl *file) state() fileState {
	s := fileState{
		Path: fl.path, Volume: fl.volume, Number: fl.number, PrintLen: fl.printLen, Print: fl.print,
		Pos: fl.pos, TailLen: len(fl.tail), Last: fl.last, Cutting: fl.cutting, Modified: fl.modified().UnixNano(),
	}
	if s.TailLen > 0 {
		s.Tail = sumOf(fl.tail)
	}
	if !fl.gone.IsZero() {
		s.Gone = fl.since.UnixMilli()
	}
	return s
}

// modified is when the file was modified, as far as it was read.
func (fl *file) modified() time.Time {
	if fl.mtime.IsZero() {
		return fl.info.ModTime()
	}
	return fl.mtime
}

// positions are those of all files, open and remembered. nil without a state folder.
func (r *reader) positions() []fileState {
	if r.journal == nil {
		return nil
	}
	all := slices.Clone(r.idle)
	for _, o := range r.rotated {
		all = append(all, o.fileState)
	}
	for _, fl := range r.files {
		all = append(all, fl.state())
	}
	return all
}

// fingerprint is the hash of the first n bytes of a file, or of those it has.
func fingerprint(f io.ReaderAt, n int) (length int, sum string) {
	b := make([]byte, n)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, ""
	}
	return n, sumOf(b[:n])
}

func sumOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// goesOn tells whether the bytes before the position of a state are in a file that is long enough for it.
func (s fileState) goesOn(f io.ReaderAt) bool {
	if s.TailLen == 0 {
		return true
	}
	b := make([]byte, s.TailLen)
	_, err := f.ReadAt(b, s.Pos-int64(s.TailLen))
	if err != nil && !errors.Is(err, io.EOF) {
		return true // which shows when it is read
	}
	return sumOf(b) == s.Tail
}

// refreshPrint tells whether the file still begins as it did, and has the fingerprint cover more of it.
func (fl *file) refreshPrint() bool {
	if fl.printLen > 0 {
		if n, sum := fingerprint(fl.f, fl.printLen); n != fl.printLen || sum != fl.print {
			return false
		}
	}
	if fl.printLen < printSize {
		fl.printLen, fl.print = fingerprint(fl.f, printSize)
	}
	return true
}

// is tells whether a file that was opened is the one of a state. It may have been truncated, and be shorter now.
func (s fileState) is(fl *file) bool {
	// A volume's number may change when it is mounted again.
	return s.Number == fl.number && s.begins(fl) && (fl.info.Size() < s.Pos || s.goesOn(fl.f))
}

// begins tells whether a file begins as that of a state.
func (s fileState) begins(fl *file) bool {
	if s.PrintLen > fl.printLen {
		return false
	}
	n, sum := fingerprint(fl.f, s.PrintLen)
	return s.PrintLen == 0 || n == s.PrintLen && sum == s.Print
}

// open opens a file and goes on where its state says. p is the path if it is followed.
func (r *reader) open(name string, p *path) (*file, error) {
	fl, err := openFile(name, name)
	if err != nil {
		return nil, err
	}
	fl.from = p
	s := fileState{Path: name}
	if i := slices.IndexFunc(r.idle, func(s fileState) bool { return s.Path == name && s.is(fl) }); i >= 0 {
		s = r.idle[i]
		r.idle = slices.Delete(r.idle, i, i+1)
	} else if i := slices.IndexFunc(r.rotated, func(o *rotated) bool { return o.Path == name && o.is(fl) }); i >= 0 {
		s = r.rotated[i].fileState // it was renamed back
		r.rotated = slices.Delete(r.rotated, i, i+1)
	} else {
		fl.fresh = true
		r.warnPacked(fl)
	}
	return fl, r.begin(fl, s)
}

// warnPacked says that a file is no text, which some shell's wildcard may have named.
func (r *reader) warnPacked(fl *file) {
	head := make([]byte, 6)
	n, _ := fl.f.ReadAt(head, 0) // what is wrong with it shows when it is read
	for magic, with := range map[string]string{"\x1f\x8b": "zcat", "\x28\xb5\x2f\xfd": "zstdcat", "BZh": "bzcat", "\xfd7zXZ\x00": "xzcat"} {
		if bytes.HasPrefix(head[:n], []byte(magic)) {
			r.cfg.Logger.Warn("the file is compressed, and forwarded as it is: forward what "+with+" prints instead", "file", fl.path)
		}
	}
}

// begin makes an open file one of those that are read.
func (r *reader) begin(fl *file, s fileState) (err error) {
	if fl.lane, err = r.asm.addLane(fl.path, r.source(fl.path), s.Last, s.Cutting); err != nil {
		fl.f.Close()
		return err
	}
	fl.pos = s.Pos
	r.files = append(r.files, fl)
	if fl.info.Size() < fl.pos {
		r.restart(fl, s, "it is shorter than what was read of it")
		return nil
	}
	if s.TailLen > 0 {
		fl.tail = make([]byte, s.TailLen)
		if _, err := fl.f.ReadAt(fl.tail, s.Pos-int64(s.TailLen)); err != nil && !errors.Is(err, io.EOF) {
			fl.tail = nil
		}
	}
	return nil
}

// openFile opens name, which is path or what became of it.
func openFile(name, path string) (*file, error) {
	f, err := openShared(name)
	if err != nil {
		return nil, err
	}
	fl := &file{path: path, f: f, size: -1, grown: time.Now()}
	if fl.info, err = f.Stat(); err == nil {
		fl.volume, fl.number, err = identify(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	fl.refreshPrint()
	return fl, nil
}

// unwatched is how long a file that is followed goes without a look at it only where reading waits for the broker.
const unwatched = 5 * time.Second

// restart reads a file that was truncated from its beginning. What was not read of it before, as its state tells, may be in a copy beside it, and
// so may be what came and went since: that is to be read first, and restart tells whether there is any.
func (r *reader) restart(fl *file, s fileState, why string) (first bool) {
	r.cfg.Logger.Warn("file was truncated, reading from its beginning", "file", fl.path, "position", s.Pos, "why", why)
	fl.pos, fl.tail, fl.cutting, fl.printLen, fl.print = 0, nil, false, 0, ""
	fl.refreshPrint()
	p := fl.from
	if p == nil {
		return false
	}
	before := len(r.files)
	if !r.readCopy(p, s) && (fl.behind || !fl.looked.IsZero() && time.Since(fl.looked) > unwatched) {
		r.meters.missed.add(1)
		r.cfg.Logger.Warn("what was written to the file behind the position, before it was truncated, is missing: no copy of it is beside it", "file", fl.path, "position", s.Pos)
	}
	if at := time.Unix(0, s.Modified); at.After(p.since) {
		p.since = at
	}
	r.missed(p)
	return len(r.files) > before
}

// path is a name that is followed, whatever file is behind it.
type path struct {
	name string
	real string // where that last led, through symbolic links; "": it was not looked for
	cur  *file  // nil: there is none
	told string // the last trouble with it

	since   time.Time       // when the last file that is known of it was modified; zero: there was none before cur
	ignored map[string]bool // files beside it that were told and are not read
}

// follow reads all inputs at once, and files beyond their ends, until it is told to stop.
func (r *reader) follow(ctx context.Context) error {
	var streams []*stream
	add := func(name string, in func() (io.Reader, error)) error {
		s, err := r.addStream(name, in)
		streams = append(streams, s)
		return err
	}
	for _, name := range r.cfg.Inputs.Files {
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
			if err := add(name, func() (io.Reader, error) { return os.Open(name) }); err != nil {
				return err
			}
			continue
		}
		r.paths = append(r.paths, &path{name: name})
	}
	if r.cfg.Inputs.Stdin != nil {
		if err := add("", func() (io.Reader, error) { return r.cfg.Inputs.Stdin, nil }); err != nil {
			return err
		}
	}
	wake := make(chan struct{}, 1)
	defer r.watch(wake)()
	if err := r.look(ctx); err != nil {
		return err
	}
	r.findRotated()
	looked := time.Now()
	checked := looked
	for !r.stopped() && (len(r.paths) > 0 || r.streams > 0) {
		if time.Since(looked) >= r.wait.poll {
			if err := r.look(ctx); err != nil {
				return err
			}
			looked = time.Now()
		}
		if time.Since(checked) >= r.wait.recheck {
			r.recheck()
			checked = time.Now()
		}
		more := false
		// Of a file that was behind a path before there may be more to read, and what comes after it has later IDs.
		unread, last := map[*path]bool{}, map[*path]uint64{}
		for _, fl := range slices.Clone(r.files) {
			if unread[fl.from] {
				continue
			}
			if ms := last[fl.from]; ms > 0 && r.times == nil {
				fl.minter.After(ms)
			}
			m, err := r.readMore(ctx, fl)
			if err != nil {
				return err
			}
			if !fl.gone.IsZero() {
				unread[fl.from], last[fl.from] = m && fl.behind, max(last[fl.from], fl.last.Time())
			}
			more = more || m
		}
		for _, s := range streams {
			if err := r.settleStream(ctx, s, quiet); err != nil {
				return err
			}
		}
		if err := r.emitAged(ctx); err != nil {
			return err
		}
		pause := r.untilAged(r.wait.poll)
		if more {
			pause = 0
		}
		t := time.NewTimer(pause)
		var err error
		select {
		case <-t.C:
		case <-wake:
			looked = time.Time{}
		case c := <-r.chunks:
			err = r.take(ctx, c)
		case <-r.stop:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		t.Stop()
		if err != nil {
			return err
		}
	}
	return r.endFollow(ctx, streams)
}

// endFollow makes records of unfinished lines that could not be read at the next start.
func (r *reader) endFollow(ctx context.Context, streams []*stream) error {
	for _, fl := range slices.Clone(r.files) {
		if !fl.gone.IsZero() {
			if err := r.finish(ctx, fl); err != nil {
				return err
			}
		}
	}
	return r.endStreams(ctx, streams...)
}

// keepsRest tells that there is much left of a rotated file, and that the next start finds it: nobody waits for that.
func (r *reader) keepsRest(fl *file) bool {
	info, err := fl.f.Stat()
	if err != nil || r.journal == nil || info.Size()-fl.pos <= int64(len(r.buf)) {
		return false
	}
	all, _ := fl.from.neighbors()
	return slices.ContainsFunc(all, func(n neighbor) bool { return os.SameFile(n.info, info) })
}

// look finds out which file is behind each path.
func (r *reader) look(ctx context.Context) error {
	for _, p := range r.paths {
		info, err := os.Stat(p.name)
		if err != nil {
			if p.cur != nil {
				r.leave(p)
			}
			if !errors.Is(err, os.ErrNotExist) {
				r.tell(p, "cannot read file, waiting for it", err)
			}
			continue
		}
		if p.cur != nil && os.SameFile(p.cur.info, info) {
			continue
		}
		if p.cur != nil {
			r.leave(p)
		}
		// It may have been renamed back.
		if i := slices.IndexFunc(r.files, func(fl *file) bool { return fl.path == p.name && os.SameFile(fl.info, info) }); i >= 0 {
			p.cur = r.files[i]
			p.cur.gone, p.cur.name, p.cur.copied = time.Time{}, "", false
			continue
		}
		if !info.Mode().IsRegular() {
			r.tell(p, "cannot follow file, waiting for another", fmt.Errorf("%s is not a regular file", p.name))
			continue
		}
		if r.another(p, info) {
			r.tell(p, "a file is not read twice", errors.New("it was rotated away from another path that is followed: leave out the names that rotated files have"))
			continue
		}
		if p.cur, err = r.open(p.name, p); err != nil {
			p.cur = nil
			r.tell(p, "cannot read file, waiting for it", err)
			continue
		}
		if p.cur.fresh {
			r.missed(p)
		}
		if err := r.limitGone(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// tell logs trouble with a path once.
func (r *reader) tell(p *path, what string, err error) {
	if text := err.Error(); text != p.told {
		p.told = text
		r.cfg.Logger.Warn(what, "file", p.name, "err", err)
	}
}

// leave notes that the file is no longer behind its path. It is read on for a while.
func (r *reader) leave(p *path) {
	p.cur.gone = time.Now()
	p.cur.since = p.cur.gone
	p.since = p.cur.modified()
	r.cfg.Logger.Info("file was rotated away or removed, reading it to its end", "file", p.name)
	p.cur = nil
}

// readMore reads what was added to a file, up to a buffer full. It tells whether there may be more at once.
func (r *reader) readMore(ctx context.Context, fl *file) (bool, error) {
	info, err := fl.f.Stat()
	if err != nil {
		r.lose(fl, err)
		return false, nil
	}
	if info.Size() == fl.size && info.ModTime().Equal(fl.mtime) {
		fl.looked = time.Now()
		return false, r.silent(ctx, fl)
	}
	why := ""
	switch {
	case info.Size() < fl.pos:
		why = "it is shorter than what was read of it"
	case !fl.refreshPrint():
		why = "it begins otherwise than before"
	case !fl.state().goesOn(fl.f):
		why = "what was read of it is not in it any more"
	}
	if why != "" {
		if fl.copied { // another one was copied over it: it is looked for when that is truncated
			r.dropCopy(fl)
			return false, nil
		}
		if r.restart(fl, fl.state(), why) {
			return true, nil
		}
	}
	n, err := fl.f.ReadAt(r.buf, fl.pos)
	if err != nil && !errors.Is(err, io.EOF) {
		r.lose(fl, err)
		return false, nil
	}
	fl.grown, fl.settled = time.Now(), false
	fl.from.told = ""
	read := fl.pos + int64(n)
	fl.looked, fl.behind = time.Now(), read < info.Size()
	used, err := r.feed(ctx, fl.lane, r.buf[:n], open)
	if read >= info.Size() {
		fl.size, fl.mtime = info.Size(), info.ModTime()
		return used > 0, err
	}
	return true, err
}

// silent does what is due to a file that has not grown.
func (r *reader) silent(ctx context.Context, fl *file) error {
	since := time.Since(fl.grown)
	if r.start != nil && !fl.settled && since >= r.wait.settle {
		fl.settled = true
		n, err := fl.f.ReadAt(r.buf, fl.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			r.lose(fl, err)
			return nil
		}
		_, err = r.feed(ctx, fl.lane, r.buf[:n], quiet)
		return err
	}
	if fl.gone.IsZero() {
		return nil
	}
	linger := r.wait.missing
	if fl.from.cur != nil {
		linger = r.wait.linger
	}
	if min(since, time.Since(fl.gone)) < linger {
		return nil
	}
	return r.finish(ctx, fl)
}

// finish reads a file that is gone to its end and closes it. If reading is to stop, it leaves what the next start finds.
func (r *reader) finish(ctx context.Context, fl *file) error {
	for {
		if r.stopped() && r.keepsRest(fl) {
			return nil
		}
		n, err := fl.f.ReadAt(r.buf, fl.pos)
		h := open
		if errors.Is(err, io.EOF) {
			h = final
		} else if err != nil {
			r.lose(fl, err)
			return nil
		}
		if _, err := r.feed(ctx, fl.lane, r.buf[:n], h); err != nil {
			return err
		}
		if h == final {
			r.finished(fl)
			return nil
		}
	}
}

// lose gives up a file that cannot be read any more. When its path leads to it again, reading goes on.
func (r *reader) lose(fl *file, err error) {
	if p := fl.from; p.cur == fl {
		p.cur = nil
		r.tell(p, "cannot read file, trying again", err)
		r.retire(fl)
		return
	}
	r.meters.missed.add(1)
	r.cfg.Logger.Error("cannot read a rotated file to its end", "file", fl.path, "position", fl.pos, "err", err)
	r.drop(fl)
}

// watch wakes the reader when something happens to a file. Polling finds it as well, only later: so
// trouble with it is no error. The function that it returns ends it.
func (r *reader) watch(wake chan<- struct{}) (end func()) {
	if len(r.paths) == 0 {
		return func() {}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.cfg.Logger.Info("files are polled, the system does not tell of changes", "err", err)
		return func() {}
	}
	names := map[string]bool{}
	dirs := map[string]bool{}
	for _, p := range r.paths {
		name := filepath.Clean(p.name)
		names[name] = true
		dirs[filepath.Dir(name)] = true
	}
	for d := range dirs {
		if err := w.Add(d); err != nil {
			r.cfg.Logger.Info("files in this folder are polled, the system does not tell of changes", "folder", d, "err", err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { relay(w, names, wake, r.cfg.Logger) })
	return func() {
		w.Close()
		wg.Wait()
	}
}

// relay turns events into signals, until the watcher is closed.
func relay(w *fsnotify.Watcher, names map[string]bool, wake chan<- struct{}, log *slog.Logger) {
	pending := false
	var calm <-chan time.Time // until it fires, events only collect
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if !names[filepath.Clean(e.Name)] {
				continue
			}
			if calm != nil {
				pending = true
				continue
			}
			signal(wake)
			calm = time.After(settleDown)
		case <-calm:
			calm = nil
			if pending {
				pending = false
				signal(wake)
				calm = time.After(settleDown)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			log.Debug("watching files", "err", err) // what it missed, polling finds
		}
	}
}
