package cache

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// enqueue has a page written, unless too many wait already. It does not wait.
func (d *disk) enqueue(id pageID, data []byte) {
	j := &job{id: id, name: nameOf(id, d.pageSize), data: data}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queued[j.name] != nil {
		return
	}
	select {
	case d.queue <- j:
		d.queued[j.name] = j
	default:
		d.counts.dropped++
	}
}

// run writes what is queued and, when there is nothing to write, looks through the sets.
func (d *disk) run() {
	defer close(d.done)
	idle := time.NewTimer(d.pace)
	defer idle.Stop()
	for next := 0; ; {
		var look <-chan time.Time
		if next < numSets {
			look = idle.C
		}
		select {
		case j := <-d.queue:
			d.save(j)
		case <-look:
			d.tidy(uint8(next))
			next++
			idle.Reset(d.pace)
		case <-d.quit:
			for {
				select {
				case j := <-d.queue:
					d.save(j)
				default:
					return
				}
			}
		}
	}
}

// tidy looks through a set, and makes it as small as it may be.
func (d *disk) tidy(n uint8) {
	err := d.look(n)
	if err == nil {
		err = d.makeRoom(n, 0)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a folder is made when something is written to it
		d.writeFailed(err)
	}
}

// save writes a page, and tells the log when that begins to fail, and when it works again.
func (d *disk) save(j *job) {
	err := d.write(j)
	d.mu.Lock()
	if d.queued[j.name] == j {
		delete(d.queued, j.name)
	}
	again := err == nil && d.counts.saidWrite
	if again {
		d.counts.saidWrite = false
	}
	d.mu.Unlock()
	switch {
	case err != nil:
		d.writeFailed(err)
	case again:
		d.logger.Info("pages can be written to the cache's folder again", slog.String("dir", d.dir))
	}
}

func (d *disk) writeFailed(err error) {
	d.failed(err, "the cache's folder cannot be written to; going on without: free space there, or correct its rights", &d.counts.saidWrite)
}

// write makes room for a page and writes it to its file.
func (d *disk) write(j *job) error {
	size := blocks(fileSize(j.id, len(j.data)))
	err := d.root.Mkdir(j.name.folder(), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.look(j.name[0]); err != nil {
		return err
	}
	if err := d.makeRoom(j.name[0], size); err != nil {
		return err
	}
	temp := j.name.folder() + "/" + rand.Text() + tempSuffix
	if err := d.fill(temp, j); err != nil {
		_ = d.root.Remove(temp) // it may not be there; what stays is removed at a later start
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queued[j.name] != j { // forgotten
		return d.root.Remove(temp)
	}
	if err := d.root.Rename(temp, j.name.path()); err != nil {
		_ = d.root.Remove(temp)
		// On Windows a file that somebody reads is not replaced. It is the same page.
		if info, statErr := d.root.Lstat(j.name.path()); statErr != nil || !info.Mode().IsRegular() {
			return err
		}
	}
	d.sets[j.name[0]].put(j.name, file{used: d.now().UnixNano(), bytes: size})
	return nil
}

// fill writes a page's file. It is not synced: if it is torn by a crash, its checksum tells.
func (d *disk) fill(temp string, j *job) error {
	d.buf = append(appendHead(d.buf[:0], j.id, d.pageSize, j.data), j.data...)
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(d.buf)
	return errors.Join(err, f.Close())
}

// look reads what is in a set's folder, once, and removes what crashes have left there.
func (d *disk) look(n uint8) error {
	d.mu.Lock()
	known := d.sets[n].known
	d.mu.Unlock()
	if known {
		return nil
	}
	folder := fileName{n}.folder()
	dir, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	found := make(map[fileName]file)
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue // vanished, or not ours
			}
			if name, ok := parseName(n, e.Name()); ok {
				found[name] = file{used: info.ModTime().UnixNano(), bytes: blocks(info.Size())}
			} else if strings.HasSuffix(e.Name(), tempSuffix) && d.now().Sub(info.ModTime()) > staleAfter {
				_ = d.root.Remove(folder + "/" + e.Name()) // else at the next start
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("list folder %s: %w", folder, cause(err))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.sets[n]
	s.known, s.files, s.bytes = true, make(map[fileName]file, len(found)), 0
	for name, f := range found {
		s.put(name, f)
	}
	return nil
}

// makeRoom removes files of a set until another of size bytes fits.
func (d *disk) makeRoom(n uint8, size int64) error {
	d.mu.Lock()
	victims := d.sets[n].victims(d.limit, size)
	d.mu.Unlock()
	for _, name := range victims {
		if err := d.root.Remove(name.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d.mu.Lock()
		d.sets[n].remove(name)
		d.mu.Unlock()
	}
	return nil
}

// victims chooses what has to go so that size more bytes fit: nothing, or enough for some time. The
// least recently used go first, with those that were reused spared while the others take more than a quarter of the limit.
func (s *set) victims(limit, size int64) (victims []fileName) {
	if s.bytes+size <= limit {
		return nil
	}
	type candidate struct {
		name fileName
		file
	}
	var all []candidate
	var once int64 // bytes of what was not reused
	for name, f := range s.files {
		all = append(all, candidate{name, f})
		if !f.reused {
			once += f.bytes
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.used, b.used), slices.Compare(a.name[:], b.name[:]))
	})
	over := s.bytes + size - (limit - limit/16)
	for _, spare := range []bool{true, false} {
		all = slices.DeleteFunc(all, func(c candidate) bool {
			if over <= 0 || spare && (c.reused || once <= limit/4) {
				return false
			}
			victims = append(victims, c.name)
			over -= c.bytes
			if !c.reused {
				once -= c.bytes
			}
			return true
		})
	}
	return victims
}
