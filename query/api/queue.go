package api

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// Errors of a queue: what a query is refused with.
var (
	errBusy    = errors.New("too many queries are waiting: try again later")
	errYours   = errors.New("too many queries of yours are waiting: wait for some to end")
	errWaited  = errors.New("the query has waited too long for others to end: try again later, or ask for less")
	errTooLong = errors.New("the query took longer than it may")
)

// queue lets some queries run at a time, and others wait.
//
//	client a: ▢ ▢ ▢ ┐
//	client b: ▢     ├──▶ the client that has used least ──▶ slots ──▶ aside (readers that take nothing)
//	client c: ▢ ▢   ┘                                         ▲            │
//	                                                          └────────────┘ before all who wait
//
// Each client has a queue of its own: first in, first out among what costs the same. What a query will cost is not known, but how long those of its
// shape have run is (topic, length of the range, and so on: see shape): of two, the one that waits for less goes first, until the other one has waited for
// patienceFor times the difference longer, or half of the time that one may wait. A slot goes to the client with the least use: slot time it has taken, which
// halves with every halfLife, less the time that the first in its queue has waited. So clients that ask the same take turns, one that asks
// for little goes ahead of one that keeps slots for long, and whoever waits comes to its turn whatever the others do. A quarter of the slots is never one
// client's, whoever waits: what costs little finds a slot though somebody has sent many queries that cost much. Where too many wait, the last of whoever has
// sent most is refused.
//
// A query whose reader takes nothing is put aside: its slot goes to another one, and it waits for a slot before all others when its
// reader goes on. So many may be aside, since they hold memory; beyond that a query keeps its slot until the reader is given up.
type queue struct {
	slots, own  int           // in all; of one client
	most, yours int           // that wait: in all, of one client
	patience    time.Duration // how long one waits
	asides      int
	now         func() time.Time

	mu                      sync.Mutex
	running, aside, waiting int
	back                    []*waiter // from aside
	clients                 map[string]*client
	costs                   map[string]float64 // of shapes: how long such queries have run of late, seconds
	turn, came              int64              // count the slots that were given, and those who have come
}

// halfLife is how soon half of a client's use is forgotten.
const halfLife = 30 * time.Second

// patienceFor is how often its own expected time a query is overtaken for.
const patienceFor = 4

// maxShapes is how many shapes of queries are remembered.
const maxShapes = 1000

// maxIdle is how many clients are remembered that want nothing.
const maxIdle = 1000

// client is somebody who asks.
type client struct {
	name    string
	queue   []*waiter
	running int
	used    float64 // seconds, as of at
	at      time.Time
	turn    int64 // when it was given a slot last
}

// waiter waits for a slot.
type waiter struct {
	client *client
	shape  string
	since  time.Time
	came   int64
	ready  chan struct{} // closed when it has one, or is refused
	err    error         // why it is refused, set before
}

// slot is the right to run.
type slot struct {
	q      *queue
	client *client
	shape  string
	began  time.Time
}

func newQueue(cfg *Config) *queue {
	own := cfg.MaxConcurrent - cfg.MaxConcurrent/4
	return &queue{
		slots: cfg.MaxConcurrent, own: own, most: cfg.MaxWaiting, yours: max(1, cfg.MaxWaiting/2), patience: cfg.MaxWait,
		asides: cfg.MaxConcurrent / 2, now: cfg.Now, clients: map[string]*client{}, costs: map[string]float64{},
	}
}

// use brings the client's use up to date.
func (c *client) use(now time.Time) float64 {
	if dt := now.Sub(c.at).Seconds(); dt > 0 {
		c.used = c.used*math.Exp2(-dt/halfLife.Seconds()) + dt*float64(c.running)
		c.at = now
	}
	return c.used
}

// acquire waits for a slot for a query of a shape.
func (q *queue) acquire(ctx context.Context, name, shape string) (*slot, error) {
	q.mu.Lock()
	c := q.clients[name]
	if c == nil {
		c = &client{name: name, at: q.now()}
		q.clients[name] = c
	}
	q.came++
	w := &waiter{client: c, shape: shape, since: q.now(), came: q.came, ready: make(chan struct{})}
	// It may be given a slot at once: only those who would wait are counted.
	c.queue = append(c.queue, w)
	q.waiting++
	q.give()
	select {
	case <-w.ready:
	default:
		switch {
		case len(c.queue) > q.yours:
			q.refuse(w, errYours)
		case q.waiting > q.most:
			q.refuse(q.newest(c), errBusy)
		}
	}
	q.mu.Unlock()
	late := time.NewTimer(q.patience)
	defer late.Stop()
	var err error
	select {
	case <-w.ready:
		if w.err != nil {
			return nil, w.err
		}
		return &slot{q, c, shape, q.now()}, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-late.C:
		err = errWaited
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // just now
		if w.err == nil {
			q.free(c)
		}
	default:
		q.leave(w)
	}
	return nil, err
}

// newest is who came last of those of whom most wait; of c's own, unless somebody has more.
func (q *queue) newest(c *client) *waiter {
	for _, other := range q.clients {
		if len(other.queue) > len(c.queue) {
			c = other
		}
	}
	return slices.MaxFunc(c.queue, func(a, b *waiter) int { return cmp.Compare(a.came, b.came) })
}

// refuse ends the waiting of w.
func (q *queue) refuse(w *waiter, err error) {
	q.leave(w)
	w.err = err
	close(w.ready)
}

// leave takes w out of its queue.
func (q *queue) leave(w *waiter) {
	w.client.queue = slices.DeleteFunc(w.client.queue, func(x *waiter) bool { return x == w })
	q.waiting--
	q.forget(w.client)
}

// give gives the free slots away.
func (q *queue) give() {
	for q.running < q.slots {
		if len(q.back) > 0 {
			w := q.back[0]
			q.back = q.back[1:]
			q.aside--
			q.start(w)
			continue
		}
		c := q.next()
		if c == nil {
			return
		}
		i := q.pick(c)
		w := c.queue[i]
		c.queue = slices.Delete(c.queue, i, i+1)
		q.waiting--
		q.start(w)
	}
}

func (q *queue) start(w *waiter) {
	w.client.use(q.now())
	w.client.running++
	q.running++
	q.turn++
	w.client.turn = q.turn
	close(w.ready)
}

// next is the client whose turn it is, nil if none may be given a slot.
func (q *queue) next() (best *client) {
	now := q.now()
	var least float64
	for _, c := range q.clients {
		if len(c.queue) == 0 || c.running >= q.own {
			continue
		}
		score := c.use(now) - now.Sub(c.queue[0].since).Seconds()
		tie := func() bool {
			return cmp.Or(cmp.Compare(c.turn, best.turn), cmp.Compare(c.queue[0].came, best.queue[0].came)) < 0
		}
		if best == nil || score < least || score == least && tie() {
			best, least = c, score
		}
	}
	return best
}

// pick is the place in a client's queue of the one that goes first.
func (q *queue) pick(c *client) (best int) {
	now := q.now()
	var least float64
	for i, w := range c.queue {
		score := min(patienceFor*q.costs[w.shape], q.patience.Seconds()/2) - now.Sub(w.since).Seconds()
		if i == 0 || score < least {
			best, least = i, score
		}
	}
	return best
}

// learn notes how long a query of a shape has run.
func (q *queue) learn(shape string, took time.Duration) {
	const fresh = 0.3 // the share of the last one
	if before, ok := q.costs[shape]; ok {
		q.costs[shape] = before + fresh*(took.Seconds()-before)
		return
	}
	if len(q.costs) >= maxShapes {
		clear(q.costs)
	}
	q.costs[shape] = took.Seconds()
}

// free takes a slot of c back.
func (q *queue) free(c *client) {
	c.use(q.now())
	c.running--
	q.running--
	q.forget(c)
	q.give()
}

// forget lets go of clients that want nothing, and have used next to nothing or are too many.
func (q *queue) forget(c *client) {
	idle := func(c *client) bool { return len(c.queue) == 0 && c.running == 0 && !q.isBack(c) }
	if idle(c) && c.use(q.now()) < 0.01 {
		delete(q.clients, c.name)
	}
	if len(q.clients) <= maxIdle+q.most+q.slots+q.asides {
		return
	}
	for name, c := range q.clients {
		if idle(c) {
			delete(q.clients, name)
		}
	}
}

func (q *queue) isBack(c *client) bool {
	return slices.ContainsFunc(q.back, func(w *waiter) bool { return w.client == c })
}

// counts are how many run, wait, and are aside.
func (q *queue) counts() (running, waiting, aside int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting, q.aside
}

// release gives the slot back.
func (s *slot) release() {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.learn(s.shape, s.q.now().Sub(s.began))
	s.q.free(s.client)
}

// park gives the slot to another query until resume, unless too many have done so.
func (s *slot) park() bool {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if s.q.aside >= s.q.asides {
		return false
	}
	s.q.aside++
	s.q.free(s.client)
	return true
}

// parkLater parks the slot if writing takes its time: until what it returns is called, which tells whether it was parked.
func (s *slot) parkLater() (written func() (parked bool)) {
	var mu sync.Mutex
	parked, done := false, false
	timer := time.AfterFunc(parkAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		parked = !done && s.park()
	})
	return func() bool {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		done = true
		return parked
	}
}

// resume waits for a slot after park. With an error there is none to be released.
func (s *slot) resume(ctx context.Context) error {
	q := s.q
	q.mu.Lock()
	if c := q.clients[s.client.name]; c == nil {
		q.clients[s.client.name] = s.client
	} else {
		s.client = c // it was forgotten, and came again
	}
	w := &waiter{client: s.client, since: q.now(), ready: make(chan struct{})}
	q.back = append(q.back, w)
	q.give()
	q.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready:
		q.free(s.client)
	default:
		q.back = slices.DeleteFunc(q.back, func(x *waiter) bool { return x == w })
		q.aside--
		q.forget(s.client)
	}
	return context.Cause(ctx)
}

// drop ends the query after park, instead of resume.
func (s *slot) drop() {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.aside--
}
