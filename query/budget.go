package query

import (
	"context"
	"sync"
)

// budget shares out bytes. A query that may end soon begins with a few of them.
type budget struct {
	max  int64
	soft int64 // what is shared out for now
	cond *sync.Cond
	used int64
	more int64 // bytes besides, that are read ahead
	want any   // what the merge waits for, and is not started
}

// acquire waits for room for n bytes. Something of any size gets in when nothing else is.
func (b *budget) acquire(ctx context.Context, n int64) error {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	for b.used > 0 && (b.used+n > b.soft || b.used+b.more+n > b.max) && b.want == nil && ctx.Err() == nil {
		b.cond.Wait()
	}
	b.used += n
	return ctx.Err()
}

// grow shares out n bytes more, up to all.
func (b *budget) grow(n int64) {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	if b.soft < b.max {
		b.soft = min(b.soft+n, b.max)
		b.cond.Signal()
	}
}

// limited tells that not all is shared out yet.
func (b *budget) limited() bool {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	return b.soft < b.max
}

// over tells that more is taken than there is.
func (b *budget) over() bool {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	return b.used+b.more > b.max
}

// ahead takes n bytes for what may be wanted later, if there are so many that nothing has; passed gives them back.
func (b *budget) ahead(n int64) bool {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	if b.used+b.more+n > b.max {
		return false
	}
	b.more += n
	return true
}

func (b *budget) passed(n int64) {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	b.more -= n
	b.cond.Signal()
}

func (b *budget) release(n int64) {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	b.used -= n
	b.cond.Signal()
}

// hurry lets everything in until what is started; ch is closed when it is, before started is called.
func (b *budget) hurry(what any, ch <-chan struct{}) {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	select {
	case <-ch:
		return
	default:
	}
	b.want = what
	b.cond.Signal()
}

// wanted waits until the merge waits for something that is not started.
func (b *budget) wanted(ctx context.Context) error {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	for b.want == nil && ctx.Err() == nil {
		b.cond.Wait()
	}
	return ctx.Err()
}

func (b *budget) started(what any) {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	if b.want == what {
		b.want = nil
	}
}

func (b *budget) wake() {
	b.cond.L.Lock()
	defer b.cond.L.Unlock()
	b.cond.Broadcast()
}
