package objstore

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

var _ Bucket = (*Memory)(nil)

// Memory is a bucket in memory. Nothing bounds it but the memory: it is for tests and
// trials.
type Memory struct {
	name string
	now  func() time.Time

	mu      sync.RWMutex
	objects map[string]memObject
	keys    []string // of objects, ascending
}

type memObject struct {
	data     []byte // never changed in place
	modified time.Time
}

// NewMemory returns an empty bucket that errors and metrics call name, and whose objects
// are dated by now (time.Now, outside tests).
func NewMemory(name string, now func() time.Time) *Memory {
	return &Memory{name: name, now: now, objects: make(map[string]memObject)}
}

// Len returns how many objects there are.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.objects)
}

// Put implements Bucket.
func (m *Memory) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return m.write(ctx, "put", key, body, size, false)
}

// Create implements Bucket.
func (m *Memory) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return m.write(ctx, "create", key, body, size, true)
}

func (m *Memory) write(ctx context.Context, op, key string, body io.ReaderAt, size int64, create bool) error {
	if err := m.admit(ctx, op, key); err != nil {
		return err
	}
	if size < 0 {
		return m.wrap(op, key, fmt.Errorf("negative size %d", size))
	}
	data := make([]byte, size)
	if n, err := body.ReadAt(data, 0); int64(n) < size {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m.wrap(op, key, fmt.Errorf("read body: %w", err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		if create {
			return m.wrap(op, key, ErrExists)
		}
	} else if err := m.conflict(key); err != nil {
		return m.wrap(op, key, err)
	} else {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.objects[key] = memObject{data: data, modified: m.now()}
	return nil
}

// conflict refuses a key that is the folder of another one or below another one, as file
// systems do: what runs on Memory has to run on them.
func (m *Memory) conflict(key string) error {
	for i := 0; i < len(key); i++ {
		if key[i] != '/' {
			continue
		}
		if _, ok := m.objects[key[:i]]; ok {
			return fmt.Errorf("%w: %q is an object, so it cannot be a folder", ErrBadKey, key[:i])
		}
	}
	i, _ := slices.BinarySearch(m.keys, key+"/")
	if i < len(m.keys) && strings.HasPrefix(m.keys[i], key+"/") {
		return fmt.Errorf("%w: it is the folder of %q", ErrBadKey, m.keys[i])
	}
	return nil
}

// Get implements Bucket.
func (m *Memory) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	o, err := m.find(ctx, "get", key)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, m.wrap("get", key, fmt.Errorf("negative offset %d", off))
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	if off < int64(len(o.data)) {
		n = copy(p, o.data[off:])
	}
	if n < len(p) {
		return n, m.wrap("get", key, io.ErrUnexpectedEOF)
	}
	return n, nil
}

// Stat implements Bucket.
func (m *Memory) Stat(ctx context.Context, key string) (Info, error) {
	o, err := m.find(ctx, "stat", key)
	if err != nil {
		return Info{}, err
	}
	return Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

// List implements Bucket. It shows the keys there were when it began.
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for _, key := range m.selected(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(Info{}, m.wrap("list", prefix, err))
				return
			}
			m.mu.RLock()
			o, ok := m.objects[key]
			m.mu.RUnlock()
			if ok && !yield(Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Info{}, m.wrap("list", prefix, err))
		}
	}
}

// selected returns a copy of the keys that a listing shows.
func (m *Memory) selected(prefix, after string) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	from := sort.Search(len(m.keys), func(i int) bool { return m.keys[i] >= prefix && m.keys[i] > after })
	to := from + sort.Search(len(m.keys)-from, func(i int) bool { return !strings.HasPrefix(m.keys[from+i], prefix) })
	return slices.Clone(m.keys[from:to])
}

// Delete implements Bucket.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.admit(ctx, "delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		delete(m.objects, key)
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Delete(m.keys, i, i+1)
	}
	return nil
}

func (m *Memory) find(ctx context.Context, op, key string) (memObject, error) {
	if err := m.admit(ctx, op, key); err != nil {
		return memObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[key]
	if !ok {
		return memObject{}, m.wrap(op, key, ErrNotFound)
	}
	return o, nil
}

func (m *Memory) admit(ctx context.Context, op, key string) error {
	if err := CheckKey(key); err != nil {
		return m.wrap(op, key, err)
	}
	if err := ctx.Err(); err != nil {
		return m.wrap(op, key, err)
	}
	return nil
}

func (m *Memory) wrap(op, key string, err error) error { return Wrap(op, key, m.name, err) }

// Wrap gives an error of a bucket its form: "put KEY in BUCKET: cause". It is for the
// implementations of Bucket.
func Wrap(op, key, bucket string, err error) error {
	if key == "" {
		return fmt.Errorf("%s %s: %w", op, bucket, err)
	}
	return fmt.Errorf("%s %s in %s: %w", op, clip(key), bucket, err)
}

// clip keeps an unreasonable key from filling the log.
func clip(key string) string {
	const most = 300
	if len(key) > most {
		key = key[:most] + "..."
	}
	if CheckKey(key) != nil && strings.Trim(key, "/") != "" {
		return fmt.Sprintf("%q", key)
	}
	return key
}
