package tail

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"oklog/objstore/segment"
	"oklog/query"
)

// itemCost is what an item of an inbox takes besides its batch, in bytes, about.
const itemCost = 256

// item is what a reader is told next: one of its fields is set.
type item struct {
	batch   *batch
	lost    time.Time // since then, batches may be missing
	bad     error     // a batch could not be decoded; badN could not since the reader was told the last time
	badN    int64
	dropped map[uint64]spans // records of batches for which there was no room
}

// inbox is what waits for one reader. It is bounded: beyond, batches are dropped, and which records were in them is kept.
type inbox struct {
	now   func() time.Time
	wake  chan struct{} // of room for one: something has changed
	taken chan struct{} // likewise: there may be room

	mu      sync.Mutex
	room    *query.Share // of what items takes
	items   []item
	slow    bool  // it was waited for, and has not taken everything since
	dropped int   // sessions in items of dropped batches
	bad     item  // if any
	whole   bool  // nothing is missing right now
	err     error // the end
}

func newInbox(room *query.Share, now func() time.Time) *inbox {
	return &inbox{room: room, now: now, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// push hands over a batch, or drops it. Until late is closed it waits for a reader that takes what comes.
func (in *inbox) push(b *batch, late <-chan struct{}) {
	defer in.signal()
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.room.Take(b.size + itemCost) {
		if in.slow || !in.wait(late) {
			in.slow = true
			in.drop(b)
			return
		}
	}
	in.items = append(in.items, item{batch: b})
}

// wait waits until something was taken; false if it is too late for that.
func (in *inbox) wait(late <-chan struct{}) bool {
	in.mu.Unlock()
	defer in.mu.Lock()
	in.signal()
	select {
	case <-in.taken:
		return true
	case <-late:
		return false
	}
}

// drop notes which records were in a batch.
func (in *inbox) drop(b *batch) {
	if in.dropped+len(b.sessions) > maxSessions {
		in.lose()
		return
	}
	if n := len(in.items); n == 0 || in.items[n-1].dropped == nil {
		in.items = append(in.items, item{dropped: map[uint64]spans{}})
	}
	last := in.items[len(in.items)-1].dropped
	in.dropped -= len(last)
	for id, have := range b.sessions {
		s := last[id]
		for _, x := range have {
			s = s.add(x)
		}
		last[id] = s.shrink(maxSpans)
	}
	in.dropped += len(last)
}

// lose notes that batches are missing from now on, or were.
func (in *inbox) lose() {
	if n := len(in.items); n == 0 || in.items[n-1].lost.IsZero() {
		in.items = append(in.items, item{lost: in.now()})
	}
}

// state notes whether batches may be missing.
func (in *inbox) state(whole bool) {
	defer in.signal()
	in.mu.Lock()
	defer in.mu.Unlock()
	if !whole && in.whole {
		in.lose()
	}
	in.whole = whole
}

func (in *inbox) spoil(err error) {
	defer in.signal()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bad.bad = err
	in.bad.badN++
}

func (in *inbox) end(err error) {
	defer in.signal()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.err = err
}

// next takes the first item; false if there is none.
func (in *inbox) next() (it item, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bad.bad != nil {
		it, in.bad = in.bad, item{}
		return it, true
	}
	if len(in.items) == 0 {
		in.items, in.slow = nil, false
		return item{}, false
	}
	it = in.items[0]
	in.items[0] = item{}
	in.items = in.items[1:]
	if it.batch != nil {
		in.room.Give(it.batch.size + itemCost)
		select {
		case in.taken <- struct{}{}:
		default:
		}
	}
	in.dropped -= len(it.dropped)
	return it, true
}

// close lets go of what is in there.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.items, in.slow = nil, true
	in.room.Close()
	in.room = query.NewShare(0, nil) // what is still pushed finds no room
}

// status tells whether nothing is missing right now, and whether it is over.
func (in *inbox) status() (whole bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.whole, in.err
}

// patience is how long a batch waits for readers that have no room for it: most have in a moment.
const patience = 100 * time.Millisecond

// feed is the subscription to one topic, for all who read it: each batch is decoded once. A reader that is slow holds others back for patience
// once, and not again before it has taken everything.
type feed struct {
	t      *Tail
	topic  string
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	readers map[*inbox]bool
	whole   bool
	err     error
}

// join subscribes to a topic, together with those who have already.
func (t *Tail) join(topic string) *inbox {
	in := newInbox(query.NewShare(t.cfg.MaxBytes/2, t.cfg.Spare), t.cfg.Clock)
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.feeds[topic]
	if f == nil {
		// It is the readers' together: it ends with the last of them.
		ctx, cancel := context.WithCancel(context.Background())
		f = &feed{t: t, topic: topic, cancel: cancel, done: make(chan struct{}), readers: map[*inbox]bool{}}
		t.feeds[topic] = f
		go f.run(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers[in] = true
	in.whole, in.err = f.whole, f.err
	return in
}

// leave ends what join began. The last one waits until the subscription is over.
func (t *Tail) leave(topic string, in *inbox) {
	defer in.close()
	t.mu.Lock()
	f := t.feeds[topic]
	if f == nil || !f.drop(in) {
		t.mu.Unlock()
		return
	}
	delete(t.feeds, topic)
	t.mu.Unlock()
	f.cancel()
	<-f.done
}

// drop forgets a reader, and tells whether it was the last.
func (f *feed) drop(in *inbox) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, in)
	return len(f.readers) == 0
}

func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	defer f.cancel()
	dec, err := segment.NewDecoder()
	if err == nil {
		err = f.t.cfg.Live.Subscribe(ctx, f.topic, func(body []byte) { f.batch(dec, body) }, f.state)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	for in := range f.readers {
		in.end(err)
	}
}

func (f *feed) batch(dec *segment.Decoder, body []byte) {
	b, err := decodeBatch(dec, body)
	if err != nil {
		f.t.cfg.Logger.Warn("a batch cannot be read", slog.String("topic", f.topic), slog.Any("err", err))
	}
	// Who joins while this one is handed over reads it as history.
	f.mu.Lock()
	readers := slices.Collect(maps.Keys(f.readers))
	f.mu.Unlock()
	late, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, in := range readers {
		if err != nil {
			in.spoil(err)
		} else {
			in.push(b, late.Done())
		}
	}
}

func (f *feed) state(whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.whole = whole
	for in := range f.readers {
		in.state(whole)
	}
}
