package query

import "sync"

// chunk is some records, in order.
type chunk struct {
	records []Record
	text    []byte
}

func (c *chunk) add(r Record) {
	at := len(c.text)
	c.text = append(c.text, r.Text...)
	r.Text = c.text[at:len(c.text):len(c.text)] // stays good when c.text moves
	c.records = append(c.records, r)
}

func (c *chunk) full() bool { return len(c.records) >= chunkRecords || len(c.text) >= chunkBytes }

// handover passes records from one goroutine to another, as many at once as there are. It holds a chunk.
type handover struct {
	mu      sync.Mutex
	changed *sync.Cond
	next    *chunk // to be taken
	taken   *chunk // in the taker's hands; its memory is used again with the next
	ended   bool   // nothing is added any more
	stopped bool   // nothing is taken any more
}

func newHandover() *handover {
	h := &handover{next: &chunk{}, taken: &chunk{}}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// add waits for room. It tells whether somebody still takes.
func (h *handover) add(r Record) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.next.full() && !h.stopped {
		h.changed.Wait()
	}
	if h.stopped {
		return false
	}
	h.next.add(r)
	if len(h.next.records) == 1 {
		h.changed.Broadcast()
	}
	return true
}

// ready tells that take would not wait.
func (h *handover) ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.next.records) > 0 || h.ended || h.stopped
}

// take gives what was added, as soon as there is something; nil when that is all. What it gave before is not valid any more.
func (h *handover) take() *chunk {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.next.records) == 0 && !h.ended && !h.stopped {
		h.changed.Wait()
	}
	if len(h.next.records) == 0 || h.stopped {
		return nil
	}
	h.next, h.taken = h.taken, h.next
	clear(h.next.records)
	h.next.records, h.next.text = h.next.records[:0], h.next.text[:0]
	h.changed.Broadcast()
	return h.taken
}

// end says that nothing is added any more.
func (h *handover) end() { h.set(&h.ended) }

// stop says that nothing is taken any more.
func (h *handover) stop() { h.set(&h.stopped) }

func (h *handover) set(flag *bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*flag = true
	h.changed.Broadcast()
}
