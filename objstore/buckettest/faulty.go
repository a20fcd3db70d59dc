package buckettest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"oklog/objstore"
)

// ErrFault is the error of a fault that has no other.
var ErrFault = errors.New("injected fault")

// Op names a method of objstore.Bucket.
type Op string

// The methods of objstore.Bucket.
const (
	Put    Op = "put"
	Create Op = "create"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// Fault is what happens to a call. The zero Fault is none.
type Fault struct {
	Err      error         // the call fails with it; of a List, after After keys
	After    int           // keys that a List yields before Err
	LostAck  bool          // the call is made, and Err (ErrFault if nil) returned all the same
	Delay    time.Duration // before the call; the context cuts it short
	Block    bool          // the call waits until its context is done
	Truncate int           // a Get returns so many bytes less, with io.ErrUnexpectedEOF
	Flip     bool          // a Get returns its middle byte with a bit flipped
}

// Call is one call on a Faulty bucket.
type Call struct {
	Op  Op
	Key string // the prefix, of a List
	N   int    // it is the Nth call of this Op, from 1
}

// Faulty is a bucket some of whose calls fail, as Hook says.
type Faulty struct {
	Next objstore.Bucket
	// Hook chooses the fault of a call; nil chooses none. Calls come from several
	// goroutines.
	Hook func(Call) Fault

	mu    sync.Mutex
	calls map[Op]int
}

var _ objstore.Bucket = (*Faulty)(nil)

// FailNth returns a Hook that fails the nth call of op, from 1, with err.
func FailNth(op Op, n int, err error) func(Call) Fault {
	return func(c Call) Fault {
		if c.Op == op && c.N == n {
			return Fault{Err: err}
		}
		return Fault{}
	}
}

// FailAll returns a Hook that fails all calls with err.
func FailAll(err error) func(Call) Fault {
	return func(Call) Fault { return Fault{Err: err} }
}

// Calls returns how often op has been called.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *Faulty) fault(op Op, key string) Fault {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = make(map[Op]int)
	}
	f.calls[op]++
	n, hook := f.calls[op], f.Hook
	f.mu.Unlock()
	if hook == nil {
		return Fault{}
	}
	return hook(Call{Op: op, Key: key, N: n})
}

// before does what comes before the call; an error ends it.
func (ft Fault) before(ctx context.Context) error {
	if ft.Block {
		<-ctx.Done()
		return ctx.Err()
	}
	if ft.Delay > 0 {
		timer := time.NewTimer(ft.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ft.Err != nil && !ft.LostAck {
		return ft.Err
	}
	return nil
}

// after turns the call's result into what the caller is told.
func (ft Fault) after(err error) error {
	if err == nil && ft.LostAck {
		if ft.Err != nil {
			return ft.Err
		}
		return ErrFault
	}
	return err
}

// Put implements objstore.Bucket.
func (f *Faulty) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	ft := f.fault(Put, key)
	if err := ft.before(ctx); err != nil {
		return objstore.Wrap("put", key, "faulty", err)
	}
	return ft.after(f.Next.Put(ctx, key, body, size))
}

// Create implements objstore.Bucket.
func (f *Faulty) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	ft := f.fault(Create, key)
	if err := ft.before(ctx); err != nil {
		return objstore.Wrap("create", key, "faulty", err)
	}
	return ft.after(f.Next.Create(ctx, key, body, size))
}

// Get implements objstore.Bucket.
func (f *Faulty) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	ft := f.fault(Get, key)
	if err := ft.before(ctx); err != nil {
		return 0, objstore.Wrap("get", key, "faulty", err)
	}
	n, err := f.Next.Get(ctx, key, off, p)
	if ft.Flip && n > 0 {
		p[n/2] ^= 0x10
	}
	if ft.Truncate > 0 && n > 0 {
		n = max(n-ft.Truncate, 0)
		clear(p[n:])
		if err == nil {
			err = objstore.Wrap("get", key, "faulty", io.ErrUnexpectedEOF)
		}
	}
	return n, ft.after(err)
}

// Stat implements objstore.Bucket.
func (f *Faulty) Stat(ctx context.Context, key string) (objstore.Info, error) {
	ft := f.fault(Stat, key)
	if err := ft.before(ctx); err != nil {
		return objstore.Info{}, objstore.Wrap("stat", key, "faulty", err)
	}
	info, err := f.Next.Stat(ctx, key)
	return info, ft.after(err)
}

// List implements objstore.Bucket.
func (f *Faulty) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		ft := f.fault(List, prefix)
		failure := ft.Err
		ft.Err = nil
		if err := ft.before(ctx); err != nil {
			yield(objstore.Info{}, objstore.Wrap("list", prefix, "faulty", err))
			return
		}
		n := 0
		for info, err := range f.Next.List(ctx, prefix, after) {
			if failure != nil && n == ft.After {
				break
			}
			n++
			if !yield(info, err) {
				return
			}
		}
		if failure != nil {
			yield(objstore.Info{}, objstore.Wrap("list", prefix, "faulty", failure))
		}
	}
}

// Delete implements objstore.Bucket.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	ft := f.fault(Delete, key)
	if err := ft.before(ctx); err != nil {
		return objstore.Wrap("delete", key, "faulty", err)
	}
	return ft.after(f.Next.Delete(ctx, key))
}
