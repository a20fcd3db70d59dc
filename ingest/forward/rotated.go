package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How rotated files are found.
//
// A file that was rotated away is read on by its handle, and finished with after a silence. Then its position is kept for a
// day, and it is looked at now and then, since some writers go on in it for hours.
//
// A file that came and went while nobody looked (the reader waited for the broker, or nothing ran) was never behind the path when that
// was looked at. So whenever another file is behind the path than before, its folder is searched for files with names
// like those that rotation gives, which are not known and not older than the last one that was: they are read from their beginnings. That
// needs nobody to watch while reading is blocked. What is not certain is not read, but told and counted.

const (
	keepRotated = 24 * time.Hour
	maxRotated  = 32  // rotated files kept of one path
	maxAll      = 256 // and of all
)

// rotated is a file that was read to its end after it was rotated away.
type rotated struct {
	fileState
	name string      // where it was last
	info os.FileInfo // nil: it was not seen in this run
}

// kin says what a name in the folder of a followed file is to that.
type kin uint8

const (
	stranger kin = iota
	former       // a name as rotation gives it
	packed       // and as what compresses it then calls it
	perhaps      // begins as the file does, and goes on with what does not tell
)

// kinOf compares a name with that of the followed file: app.log.1, app.log-20261122, app.log.old and app-2026-11-22T18-00-00.log
// are former names of app.log.
func kinOf(base, name string) kin {
	if name == base {
		return stranger
	}
	k := former
	for _, ext := range []string{".gz", ".zst", ".bz2", ".xz"} {
		if plain, ok := strings.CutSuffix(name, ext); ok {
			name, k = plain, packed
		}
	}
	if rest, ok := strings.CutPrefix(name, base); ok {
		switch {
		case rest == "", stamp(rest), slices.Contains([]string{".old", ".prev", ".previous", ".last", ".save", ".bak", "~"}, rest):
			return k
		case !strings.ContainsAny(rest[:1], ".-_~"):
			return stranger
		}
		return perhaps
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if rest, ok := strings.CutPrefix(name, stem); ok && stem != "" && ext != "" {
		if middle, behind, ok := strings.Cut(rest, ext); ok && stamp(middle) && (behind == "" || stamp(behind)) {
			return k
		}
	}
	return stranger
}

// kinOf compares the name of a neighbor with that of the file where the path leads. A link may lead from file to file: to one for each day
// (app.log to app-2026-11-22.log), or to one for each start of a container (Kubernetes' 0.log, 1.log).
func (p *path) kinOf(base, name string) kin {
	k := kinOf(base, name)
	if k != stranger || name == base || p.real == "" || p.real == filepath.Clean(p.name) {
		return k
	}
	const digits = "0123456789"
	ext, other := strings.TrimLeft(base, digits), strings.TrimLeft(name, digits)
	switch numbered := len(ext) < len(base) && len(other) < len(name) && ext != "" && ext[0] == '.'; {
	case numbered && other == ext:
		return former
	case numbered:
		return kinOf("0"+ext, "0"+other)
	}
	return kinOf(filepath.Base(p.name), name)
}

// stamp tells whether s is a separator and a number or a time.
func stamp(s string) bool {
	return len(s) > 1 && strings.ContainsAny(s[:1], ".-_") && strings.ContainsAny(s, "0123456789") &&
		strings.Trim(s, "0123456789.-_:+TZ") == ""
}

// place is the folder in which files are rotated, and the name that they have before: a path may be a symbolic link to it.
func (p *path) place() (dir, base string) {
	if to, err := filepath.EvalSymlinks(p.name); err == nil {
		p.real = to
	} else if to, err := os.Readlink(p.name); err == nil && p.real == "" { // it leads nowhere now
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(p.name), to)
		}
		p.real = to
	}
	at := cmp.Or(p.real, p.name)
	return filepath.Dir(at), filepath.Base(at)
}

// neighbors are the regular files where those of a path are rotated, oldest first.
func (p *path) neighbors() (all []neighbor, err error) {
	dir, base := p.place()
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxDir)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, n := range names {
		name := filepath.Join(dir, n)
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			all = append(all, neighbor{name, info, p.kinOf(base, n)})
		}
	}
	slices.SortStableFunc(all, func(a, b neighbor) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	if len(names) == maxDir {
		err = fmt.Errorf("%d files in %s: only so many are searched", maxDir, dir)
	} else {
		err = nil
	}
	return all, err
}

// neighbor is a file beside a followed one.
type neighbor struct {
	name string
	info os.FileInfo
	kin  kin
}

// another tells whether the file behind a path was rotated away from another one, as app.log.1 from app.log where app.log* was named: then it is read as that.
func (r *reader) another(p *path, info os.FileInfo) bool {
	for _, fl := range r.files {
		if fl.from == p || !os.SameFile(fl.info, info) {
			continue
		}
		if !fl.gone.IsZero() {
			return true
		}
		if now, err := os.Stat(fl.from.name); err != nil || !os.SameFile(now, info) {
			return true // it was rotated a moment ago
		}
	}
	// A number alone tells nothing of a file that is not open: it may be that of a new one.
	follows := func(name string) bool {
		return name != p.name && slices.ContainsFunc(r.paths, func(q *path) bool { return q.name == name })
	}
	if !slices.ContainsFunc(r.rotated, func(o *rotated) bool { return follows(o.Path) }) && !slices.ContainsFunc(r.idle, func(s fileState) bool { return follows(s.Path) }) {
		return false
	}
	fl, err := openFile(p.name, p.name)
	if err != nil {
		return false // which shows when it is opened
	}
	defer fl.f.Close() // read only: nothing can be lost
	known := func(s fileState) bool { return s.PrintLen > 0 && fl.info.Size() >= s.Pos && s.is(fl) }
	if slices.ContainsFunc(r.idle, func(s fileState) bool { return s.Path == p.name && known(s) }) {
		return false
	}
	return slices.ContainsFunc(r.rotated, func(o *rotated) bool { return follows(o.Path) && known(o.fileState) }) ||
		slices.ContainsFunc(r.idle, func(s fileState) bool { return follows(s.Path) && known(s) })
}

// missed opens what was rotated away from a path before it was ever read under it.
func (r *reader) missed(p *path) {
	if p.since.IsZero() {
		return
	}
	all, err := p.neighbors()
	if err != nil {
		r.uncertain(p, p.name, "files that were rotated away meanwhile cannot be searched for", err)
	}
	for _, n := range all {
		if n.kin == stranger || n.info.ModTime().Before(p.since) || p.ignored[n.name] || r.followed(n.info) {
			continue
		}
		named := func(q *path) bool { return filepath.Clean(q.name) == n.name || q.real == n.name }
		if slices.ContainsFunc(r.paths, named) {
			continue
		}
		if n.kin != former {
			if n.kin == packed && !n.info.ModTime().After(p.since) {
				continue // it keeps the time of what it was made of: the file that is known
			}
			r.uncertain(p, n.name, "a file beside a followed one may hold records that were never read: if so, forward it by itself", nil)
			continue
		}
		if err := r.readMissed(p, n); err != nil {
			r.uncertain(p, n.name, "cannot read a file that was rotated away meanwhile", err)
		}
	}
}

// readMissed opens one neighbor, unless it is known.
func (r *reader) readMissed(p *path, n neighbor) error {
	fl, err := openFile(n.name, p.name)
	if err != nil {
		return err
	}
	for _, o := range r.rotated {
		if o.Path == p.name && o.is(fl) && fl.info.Size() >= o.Pos {
			fl.f.Close() // read only: nothing can be lost
			return nil
		}
	}
	known := func(s fileState) bool { // a copy of what is read
		sum := ""
		if s.PrintLen == printSize && fl.printLen == printSize {
			_, sum = fingerprint(fl.f, printSize)
		}
		same := s.TailLen > 0 && fl.info.Size() >= s.Pos && s.begins(fl) && s.goesOn(fl.f)
		return s.Path == p.name && (same || sum != "" && sum == s.Print)
	}
	copied := slices.ContainsFunc(r.rotated, func(o *rotated) bool { return known(o.fileState) }) ||
		slices.ContainsFunc(r.files, func(o *file) bool { return known(o.state()) })
	if copied {
		r.uncertain(p, n.name, "a file beside a followed one begins as one that was read, and is taken for a copy of it: if it is not, forward it by itself", nil)
		fl.f.Close() // read only: nothing can be lost
		return nil
	}
	if err := r.begin(fl, fileState{Path: p.name}); err != nil {
		return err
	}
	r.readFirst(p, fl, n.name)
	r.cfg.Logger.Info("reading a file that was rotated away before it was seen", "file", n.name)
	return nil
}

// readFirst has the file that was opened last, and found under another name, read as one that was rotated away from a path: before what is behind that.
func (r *reader) readFirst(p *path, fl *file, name string) {
	fl.from, fl.gone, fl.name = p, time.Now(), name
	fl.since = fl.gone
	last := len(r.files) - 1
	if i := slices.Index(r.files, p.cur); i >= 0 && i < last {
		r.files = slices.Insert(r.files[:last], i, fl)
	}
}

// followed tells whether a file is open.
func (r *reader) followed(info os.FileInfo) bool {
	return slices.ContainsFunc(r.files, func(fl *file) bool { return os.SameFile(fl.info, info) })
}

// ignore has a file beside a followed one not looked at again.
func (p *path) ignore(name string) {
	if p.ignored == nil || len(p.ignored) >= maxDir {
		p.ignored = map[string]bool{}
	}
	p.ignored[name] = true
}

// uncertain tells and counts, once, a file whose records may be missing.
func (r *reader) uncertain(p *path, name, what string, err error) {
	if p.ignored[name] {
		return
	}
	p.ignore(name)
	r.meters.missed.add(1)
	if err != nil {
		r.cfg.Logger.Warn(what, "file", name, "err", err)
		return
	}
	r.cfg.Logger.Warn(what, "file", name)
}

// findRotated opens what an earlier run was reading under one of the paths, and lies beside it now.
func (r *reader) findRotated() {
	for _, p := range r.paths {
		for _, s := range slices.Clone(r.idle) {
			if s.Path != p.name {
				continue
			}
			r.idle = slices.DeleteFunc(r.idle, func(x fileState) bool { return x == s })
			if at := time.Unix(0, s.Modified); s.Modified > 0 && at.After(p.since) {
				p.since = at
			}
			r.findState(p, s)
		}
		if p.since.IsZero() {
			continue
		}
		if p.cur == nil || p.cur.fresh {
			r.missed(p)
		}
	}
}

// findState opens the file of a state, or notes where it is.
func (r *reader) findState(p *path, s fileState) {
	fl, name := r.search(p, s)
	switch {
	case fl == nil && !s.Done && (s.TailLen > 0 || p.cur != nil && p.cur.number == s.Number) && r.readCopy(p, s): // it was truncated
	case fl == nil && s.Done:
		r.cfg.Logger.Info("a rotated file that was read to its end is gone", "file", s.Path, "position", s.Pos)
	case fl == nil:
		r.meters.missed.add(1)
		r.cfg.Logger.Warn("file was rotated away while nobody followed it and is not beside its path any more: what it got behind the position is missing",
			"file", s.Path, "position", s.Pos)
	case s.Done && fl.info.Size() == s.Pos:
		r.keep(&rotated{s, name, fl.info})
		fl.f.Close() // read only: nothing can be lost
	default:
		r.reopen(p, fl, s, name)
	}
}

// reopen reads on in a rotated file.
func (r *reader) reopen(p *path, fl *file, s fileState, name string) {
	if err := r.begin(fl, s); err != nil {
		r.uncertain(p, name, "cannot read rotated file", err)
		return
	}
	r.readFirst(p, fl, name)
	if s.Gone > 0 {
		fl.since = time.UnixMilli(s.Gone)
	}
	r.cfg.Logger.Info("reading the rest of a file that was rotated away", "file", name, "position", fl.pos)
}

// search finds and opens the file of a state among the neighbors of its path.
func (r *reader) search(p *path, s fileState) (*file, string) {
	all, _ := p.neighbors() // what is not found is told
	for _, n := range all {
		if n.info.Size() < s.Pos || r.followed(n.info) {
			continue
		}
		fl, err := openFile(n.name, s.Path)
		if err != nil {
			continue
		}
		if s.is(fl) {
			return fl, n.name
		}
		fl.f.Close() // read only: nothing can be lost
	}
	return nil, ""
}

// readCopy reads the rest of a file that was truncated from a copy that was made of it before, if there is one: so does logrotate's copytruncate.
func (r *reader) readCopy(p *path, s fileState) bool {
	if s.PrintLen == 0 {
		return s.Pos == 0
	}
	for _, fl := range slices.Clone(r.files) { // one copy may have been written over another
		if fl.copied && fl.from == p && !fl.state().is(fl) {
			r.dropCopy(fl)
		}
	}
	all, _ := p.neighbors() // what is not found is told
	for _, n := range all {
		if n.kin != former || n.info.Size() < s.Pos || n.info.ModTime().UnixNano() < s.Modified || r.followed(n.info) {
			continue
		}
		fl, err := openFile(n.name, p.name)
		if err != nil {
			continue
		}
		known := slices.ContainsFunc(r.rotated, func(o *rotated) bool { return o.Path == p.name && o.is(fl) })
		if known || !s.begins(fl) || !s.goesOn(fl.f) {
			fl.f.Close() // read only: nothing can be lost
			continue
		}
		fl.copied = true
		r.reopen(p, fl, fileState{Path: s.Path, Pos: s.Pos, TailLen: s.TailLen, Tail: s.Tail, Last: s.Last, Cutting: s.Cutting}, n.name)
		return true
	}
	return false
}

// dropCopy gives up a copy that another one was written over.
func (r *reader) dropCopy(fl *file) {
	if fl.behind || fl.size < 0 {
		r.meters.missed.add(1)
	}
	r.cfg.Logger.Warn("a copy of a followed file was overwritten", "file", fl.name, "position", fl.pos, "read to its end", !fl.behind && fl.size >= 0)
	r.drop(fl)
}

// keep remembers a rotated file, and forgets the oldest of too many.
func (r *reader) keep(o *rotated) {
	r.rotated = append(r.rotated, o)
	n := 0
	for _, o := range slices.Backward(slices.Clone(r.rotated)) {
		if o.Path == r.rotated[len(r.rotated)-1].Path {
			n++
		}
		if n > maxRotated {
			r.forget(o, "too many were rotated since")
			n--
		}
	}
	if len(r.rotated) > maxAll {
		r.forget(r.rotated[0], "too many were rotated since")
	}
}

func (r *reader) forget(o *rotated, why string) {
	r.rotated = slices.DeleteFunc(r.rotated, func(x *rotated) bool { return x == o })
	r.cfg.Logger.Info("giving up a rotated file, what is still written to it is not read", "file", o.name, "position", o.Pos, "why", why)
}

// recheck looks at the rotated files, whether something was written to them after all.
func (r *reader) recheck() {
	for _, p := range r.paths {
		var all []neighbor
		listed := false
		for _, o := range slices.Clone(r.rotated) {
			if o.Path != p.name {
				continue
			}
			if time.Since(time.UnixMilli(o.Gone)) > r.wait.keep {
				r.forget(o, "it was rotated away long ago")
				p.ignore(o.name) // it was read
				continue
			}
			info, err := os.Lstat(o.name)
			if err != nil || !os.SameFile(info, o.info) {
				if !listed { // it was rotated further
					all, _ = p.neighbors() // what is not found is told
					listed = true
				}
				i := slices.IndexFunc(all, func(n neighbor) bool { return os.SameFile(n.info, o.info) })
				if i < 0 {
					r.forget(o, "it is gone")
					continue
				}
				o.name, info = all[i].name, all[i].info
			}
			if info.Size() == o.Pos || r.followed(info) {
				continue
			}
			r.rotated = slices.DeleteFunc(r.rotated, func(x *rotated) bool { return x == o })
			fl, err := openFile(o.name, p.name)
			switch {
			case err != nil:
				r.uncertain(p, o.name, "cannot read rotated file", err)
			case !o.is(fl) || fl.info.Size() < o.Pos: // its number went to another
				fl.f.Close() // read only: nothing can be lost
				r.cfg.Logger.Info("a rotated file was overwritten and is not read again", "file", o.name, "position", o.Pos)
			default:
				r.reopen(p, fl, o.fileState, o.name)
			}
		}
		if p.cur == nil {
			r.missed(p)
		}
	}
}

// finished notes that a rotated file was read to its end, for now.
func (r *reader) finished(fl *file) {
	s := fl.state()
	s.Done = true
	name := fl.name
	if name == "" {
		name = fl.path
	}
	r.drop(fl)
	r.keep(&rotated{s, name, fl.info})
}

// limitGone finishes with the oldest of too many files that were rotated away from a path.
func (r *reader) limitGone(ctx context.Context, p *path) error {
	var gone []*file
	for _, fl := range r.files {
		if fl.path == p.name && !fl.gone.IsZero() {
			gone = append(gone, fl)
		}
	}
	for len(gone) > maxGone {
		if err := r.finish(ctx, gone[0]); err != nil {
			return err
		}
		gone = gone[1:]
	}
	return nil
}
