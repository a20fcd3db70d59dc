package forward

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// ErrState is what every error about the state folder is.
var ErrState = errors.New("state folder")

// A journal is a folder with a file for each batch that is not acked yet:
//
//	<16 hex digits that count up>.batch
//
//	 8 bytes   "OKLOGFWD"
//	 2 bytes   version, little-endian, 1
//	 4 bytes   length of the header
//	           header, JSON: topic, parts (ID, records and size of each message), positions behind the batch
//	           the messages
//	 4 bytes   CRC-32C of everything before
//
// A file appears whole or not at all. The newest holds the positions to go on from, so it is not removed when its
// batch is acked but replaced by one without messages. On Unix the folder is synced with every change; Windows has no such
// call and keeps the order of changes by itself.
const (
	journalMagic   = "OKLOGFWD"
	journalVersion = 1
	journalPrefix  = 8 + 2 + 4
	journalSuffix  = ".batch"
	corruptSuffix  = ".corrupt"
	maxHeader      = 64 << 20
	maxJournalFile = 1 << 30
	maxEntries     = 1 << 20 // files in the folder
	maxWaiting     = maxEntries / 2
	maxSeq         = 1 << 62
	maxStates      = 1 << 16
	maxFileSize    = 1 << 60
	maxPartID      = 200 // bytes
	tmpSuffix      = ".tmp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the JSON part of a journal file.
type header struct {
	Topic string      `json:"topic"`
	Parts []part      `json:"parts"`
	Files []fileState `json:"files"`
}

// journal is the state folder. It is safe for concurrent use.
type journal struct {
	dir    string
	topic  string
	unlock func() error
	step   func(what string) error // called before each change on disk; an error stops it there

	mu      sync.Mutex
	next    uint64
	entries []*entry // ascending by seq
	bytes   int64    // of all files
}

// entry is a file of the journal.
type entry struct {
	seq     uint64
	size    int64
	parts   []part // without bodies
	offset  int64  // of the first body
	pending int    // parts that are neither acked nor dropped; guarded by journal.mu
	files   []fileState
}

func stateError(format string, v ...any) error {
	return fmt.Errorf("%w: %w", ErrState, fmt.Errorf(format, v...))
}

// openJournal locks the folder and reads what is in it. A damaged file is moved aside and is an
// error: to open the journal once more accepts what is lost with it.
func openJournal(dir, topic string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, stateError("%w (--state)", err)
	}
	// The system frees the lock when the process ends, however it ends.
	lock := flock.New(filepath.Join(dir, "lock"))
	if ok, err := lock.TryLock(); err != nil {
		return nil, stateError("lock %s: %w (--state)", dir, err)
	} else if !ok {
		return nil, stateError("another forwarder uses %s: stop it, or give this one a folder of its own (--state)", dir)
	}
	j := &journal{dir: dir, topic: topic, unlock: lock.Unlock, step: func(string) error { return nil }}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, j.unlock())
	}
	return j, nil
}

func (j *journal) name(seq uint64) string {
	return filepath.Join(j.dir, fmt.Sprintf("%016x%s", seq, journalSuffix))
}

func (j *journal) load() error {
	list, err := os.ReadDir(j.dir)
	if err != nil {
		return stateError("%w (--state)", err)
	}
	if len(list) > maxEntries {
		return stateError("%d files in %s: it is not one of a forwarder (--state)", len(list), j.dir)
	}
	var damaged error
	for _, d := range list { // sorted by name, which is by age
		file, unfinished := strings.CutSuffix(d.Name(), tmpSuffix)
		digits, ok := strings.CutSuffix(file, journalSuffix)
		if !ok {
			continue
		}
		seq, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || j.name(seq) != filepath.Join(j.dir, file) {
			continue // somebody else's
		}
		if unfinished {
			// Never renamed: its batch was never published.
			if err := os.Remove(filepath.Join(j.dir, d.Name())); err != nil {
				return stateError("%w", err)
			}
			continue
		}
		name := j.name(seq)
		var e *entry
		var topic string
		if seq < maxSeq {
			j.next = seq + 1
			e, topic, err = readEntry(name, seq)
		} else {
			err = errors.New("no forwarder counts up to its number")
		}
		if errors.Is(err, errJournalVersion) {
			return err
		}
		if err != nil {
			if rerr := os.Rename(name, name+corruptSuffix); rerr != nil {
				return stateError("move %s aside: %w, since %w", name, rerr, err)
			}
			damaged = errors.Join(damaged, stateError("%s is damaged (%w) and was moved to %s: its records may be missing, or be sent twice; "+
				"start again to go on without it", name, err, filepath.Base(name)+corruptSuffix))
			continue
		}
		if len(e.parts) > 0 && topic != j.topic {
			return stateError("%s holds records of topic %s: forward that first, or use a folder for each topic (--state)", j.dir, topic)
		}
		j.append(e)
	}
	return damaged
}

// append adds an entry behind the others, of which none needs its positions any more.
func (j *journal) append(e *entry) {
	if n := len(j.entries); n > 0 {
		j.entries[n-1].files = nil
	}
	j.entries = append(j.entries, e)
	j.bytes += e.size
}

var errJournalVersion = fmt.Errorf("%w: written by a later version of this program: upgrade it", ErrState)

// readEntry reads a journal file and checks all of it.
func readEntry(name string, seq uint64) (e *entry, topic string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	if info.Size() > maxJournalFile {
		return nil, "", fmt.Errorf("%d bytes", info.Size())
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, "", err
	}
	h, bodies, err := decodeJournal(b)
	if err != nil {
		return nil, "", err
	}
	return &entry{seq: seq, size: info.Size(), parts: h.Parts, offset: int64(bodies), pending: len(h.Parts), files: h.Files}, h.Topic, nil
}

// decodeJournal checks a journal file; its messages begin at the offset returned.
func decodeJournal(b []byte) (h header, bodies int, err error) {
	if len(b) < journalPrefix+4 || string(b[:8]) != journalMagic {
		return h, 0, errors.New("not a journal file")
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v > journalVersion {
		return h, 0, errJournalVersion
	}
	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		return h, 0, errors.New("checksum does not match")
	}
	n := uint64(binary.LittleEndian.Uint32(b[10:]))
	if n > maxHeader || n > uint64(sum-journalPrefix) {
		return h, 0, errors.New("header is too long")
	}
	bodies = journalPrefix + int(n)
	if err := json.Unmarshal(b[journalPrefix:bodies], &h); err != nil {
		return h, 0, fmt.Errorf("read header: %w", err)
	}
	left := int64(sum - bodies)
	for i, p := range h.Parts {
		if p.Size < 0 || p.Size > left || p.Records < 1 || p.Records > segment.MaxBlockRecords {
			return h, 0, errors.New("messages do not fit")
		}
		if !plainID(p.ID) {
			return h, 0, fmt.Errorf("message %d has a bad ID", i)
		}
		if body := b[int64(sum)-left:][:p.Size]; crc32.Checksum(body, castagnoli) != p.CRC {
			return h, 0, fmt.Errorf("checksum of message %d does not match", i)
		}
		left -= p.Size
	}
	if left != 0 {
		return h, 0, errors.New("messages do not fill the file")
	}
	if len(h.Parts) > 0 {
		if err := segment.CheckTopic(h.Topic); err != nil {
			return h, 0, err
		}
	}
	if len(h.Files) > maxStates {
		return h, 0, fmt.Errorf("positions of %d files", len(h.Files))
	}
	for i, s := range h.Files {
		if err := s.check(); err != nil {
			return h, 0, fmt.Errorf("position %d: %w", i, err)
		}
	}
	return h, bodies, nil
}

// plainID tells whether a message's ID is made of what segments' names are made of.
func plainID(id string) bool {
	if id == "" || len(id) > maxPartID {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// check tells what no forwarder has written about a file.
func (s fileState) check() error {
	switch _, err := hex.DecodeString(s.Print); {
	case s.Path == "" || len(s.Path) > segment.MaxAttrValue:
		return errors.New("bad path")
	case s.PrintLen < 0 || s.PrintLen > printSize:
		return fmt.Errorf("fingerprint of %d bytes", s.PrintLen)
	case err != nil || s.Print == "" && s.PrintLen > 0 || s.Print != "" && len(s.Print) != 32:
		return errors.New("bad fingerprint")
	case s.Pos < 0 || s.Pos > maxFileSize:
		return fmt.Errorf("position %d", s.Pos)
	case s.TailLen < 0 || s.TailLen > tailSize || int64(s.TailLen) > s.Pos:
		return fmt.Errorf("%d bytes before position %d", s.TailLen, s.Pos)
	case s.Cutting && s.Last == (ulid.ULID{}):
		return errors.New("a record goes on that never began")
	}
	return nil
}

func encodeJournal(h header) (b []byte, bodies int, err error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, 0, fmt.Errorf("encode journal: %w", err)
	}
	var size int64
	for _, p := range h.Parts {
		size += p.Size
	}
	b = make([]byte, 0, journalPrefix+len(text)+int(size)+4)
	b = append(b, journalMagic...)
	b = binary.LittleEndian.AppendUint16(b, journalVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	bodies = len(b)
	for _, p := range h.Parts {
		b = append(b, p.body...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), bodies, nil
}

// positions are those of the newest entry.
func (j *journal) positions() []fileState {
	if len(j.entries) == 0 {
		return nil
	}
	return j.entries[len(j.entries)-1].files
}

// full tells that the files have limit bytes, or are so many that the next start would not take them for a forwarder's, and that some of them will go.
func (j *journal) full(limit int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.entries)
	return n >= maxWaiting || j.bytes >= limit && (n > 1 || n == 1 && j.entries[0].pending > 0)
}

// add makes a batch durable before it is published.
func (j *journal) add(files []fileState, parts []part) (*entry, error) {
	b, bodies, err := encodeJournal(header{j.topic, parts, files})
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &entry{seq: j.next, size: int64(len(b)), offset: int64(bodies), pending: len(parts), files: files}
	for _, p := range parts {
		p.body = nil // on disk now
		e.parts = append(e.parts, p)
	}
	if err := j.write(e.seq, b); err != nil {
		return nil, err
	}
	j.next++
	var before *entry
	if n := len(j.entries); n > 0 {
		before = j.entries[n-1]
	}
	j.append(e)
	if before != nil && before.pending == 0 {
		return e, j.remove(before)
	}
	return e, nil
}

// body reads message i of an entry.
func (j *journal) body(e *entry, i int) ([]byte, error) {
	f, err := os.Open(j.name(e.seq))
	if err != nil {
		return nil, stateError("%w", err)
	}
	defer f.Close()
	off := e.offset
	for _, p := range e.parts[:i] {
		off += p.Size
	}
	b := make([]byte, e.parts[i].Size)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, stateError("read %s: %w", f.Name(), err)
	}
	if crc32.Checksum(b, castagnoli) != e.parts[i].CRC {
		return nil, stateError("%s was damaged while it waited: start again, which moves it aside", f.Name())
	}
	return b, nil
}

// settle notes that one message of an entry is acked or dropped, and tells whether it was the entry's last.
func (j *journal) settle(e *entry) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.pending--
	if e.pending > 0 {
		return false, nil
	}
	if j.entries[len(j.entries)-1] != e {
		return true, j.remove(e)
	}
	return true, j.strip(e, e.files)
}

// strip replaces an entry whose messages are settled by one that holds positions only.
func (j *journal) strip(e *entry, files []fileState) error {
	b, bodies, err := encodeJournal(header{j.topic, nil, files})
	if err != nil {
		return err
	}
	if err := j.write(e.seq, b); err != nil {
		return err
	}
	j.bytes += int64(len(b)) - e.size
	e.size, e.parts, e.offset, e.files = int64(len(b)), nil, int64(bodies), files
	return nil
}

// note records positions when nothing is on its way; else those of the newest batch stand.
func (j *journal) note(files []fileState) error {
	if len(j.entries) == 0 {
		if len(files) == 0 {
			return nil
		}
		_, err := j.add(files, nil)
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.entries[len(j.entries)-1]
	if e.pending > 0 || slices.Equal(e.files, files) {
		return nil
	}
	return j.strip(e, files)
}

// write makes or replaces a file, atomically and durably.
func (j *journal) write(seq uint64, b []byte) error {
	name := j.name(seq)
	tmp := name + tmpSuffix
	err := func() error {
		if err := j.step("create"); err != nil {
			return err
		}
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		if err == nil {
			err = j.step("sync")
		}
		if err == nil {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := j.step("rename"); err != nil {
			return err
		}
		if err := os.Rename(tmp, name); err != nil {
			return err
		}
		if err := j.step("sync folder"); err != nil {
			return err
		}
		return syncDir(j.dir)
	}()
	if err != nil {
		return stateError("write %s: %w: make room or give another folder (--state)", name, err)
	}
	return nil
}

func (j *journal) remove(e *entry) error {
	i, _ := slices.BinarySearchFunc(j.entries, e.seq, func(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	if err := j.step("remove"); err != nil {
		return err
	}
	if err := os.Remove(j.name(e.seq)); err != nil {
		return stateError("%w", err)
	}
	if i == 0 { // mostly, and there may be many
		j.entries[0], j.entries = nil, j.entries[1:]
	} else {
		j.entries = slices.Delete(j.entries, i, i+1)
	}
	j.bytes -= e.size
	return nil
}

// close gives the folder free.
func (j *journal) close() error { return j.unlock() }
