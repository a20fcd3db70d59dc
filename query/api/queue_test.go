package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"oklog/query"
	"oklog/query/api/wire"
)

func testQueue(slots, most int) *queue {
	return newQueue(&Config{MaxConcurrent: slots, MaxWaiting: most, MaxWait: 30 * time.Second, Now: time.Now})
}

// order has queries wait while one runs, and tells in which order they get its slot. Each takes a second, or more for a client that says so.
func order(t *testing.T, q *queue, takes map[string]time.Duration, clients ...string) (got []string) {
	t.Helper()
	first, err := q.acquire(t.Context(), "first", "")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, name := range clients {
		all.Go(func() {
			s, err := q.acquire(t.Context(), name, "")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			got = append(got, fmt.Sprint(name, i))
			mu.Unlock()
			if d := takes[name]; d > 0 {
				time.Sleep(d)
			} else {
				time.Sleep(time.Second)
			}
			s.release()
		})
		synctest.Wait() // in this order
	}
	first.release()
	all.Wait()
	return got
}

func TestQueueTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 100)
		have := order(t, q, nil, "a", "a", "a", "b", "b", "c")
		if want := []string{"a0", "b3", "c5", "a1", "b4", "a2"}; !slices.Equal(have, want) {
			t.Errorf("want %q, have %q", want, have)
		}
		if running, waiting, _ := q.counts(); running+waiting != 0 {
			t.Error(running, waiting)
		}
	})
}

// Who asks for little does not wait for all that somebody else asks for, and that one comes to its turn all the same.
func TestQueueWeighs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 100)
		have := order(t, q, map[string]time.Duration{"heavy": 4 * time.Second, "light": 200 * time.Millisecond},
			"heavy", "heavy", "heavy", "light", "light", "light", "light", "light")
		// After its first, the heavy one waits until it has waited for longer than it has used.
		if at := slices.Index(have, "heavy1"); at < 6 {
			t.Errorf("%q", have)
		}
	})
}

// Of one client's, what is known to cost little goes ahead of what costs much, and that comes to its turn all the same.
func TestQueueLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 200)
		took := map[string]time.Duration{"heavy": 5 * time.Second, "cheap": 100 * time.Millisecond}
		var mu sync.Mutex
		var all sync.WaitGroup
		var got []string
		ask := func(shape string) {
			all.Go(func() {
				s, err := q.acquire(t.Context(), "a", shape)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, shape)
				mu.Unlock()
				time.Sleep(took[shape])
				s.release()
			})
			synctest.Wait()
		}
		ask("heavy")
		ask("cheap")
		all.Wait()
		got = nil
		for range 3 {
			ask("heavy")
			ask("cheap")
		}
		all.Wait()
		if want := []string{"heavy", "cheap", "cheap", "cheap", "heavy", "heavy"}; !slices.Equal(got, want) {
			t.Errorf("want %q, have %q", want, got)
		}
		// A stream of cheap ones does not keep it from its turn.
		got = nil
		ask("cheap")
		ask("heavy")
		for range 600 {
			ask("cheap")
			time.Sleep(took["cheap"])
			mu.Lock()
			done := slices.Contains(got, "heavy")
			mu.Unlock()
			if done {
				break
			}
		}
		all.Wait()
		if at := slices.Index(got, "heavy"); at < 100 || at > 300 {
			t.Errorf("its turn came after %d", at)
		}
	})
}

// One client never has all slots; another one finds one at once.
func TestQueueKeepsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(4, 100)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if s, err := q.acquire(ctx, "a", ""); err == nil {
					<-ctx.Done()
					s.release()
				}
			})
		}
		synctest.Wait()
		if running, waiting, _ := q.counts(); running != 3 || waiting != 7 {
			t.Error(running, waiting)
		}
		s, err := q.acquire(t.Context(), "b", "")
		if err != nil {
			t.Fatal(err)
		}
		s.release()
		cancel()
		all.Wait()
		if len(q.clients) > 2 || q.running+q.waiting != 0 {
			t.Errorf("%+v", q)
		}
	})
}

func TestQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 4)
		first, err := q.acquire(t.Context(), "first", "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 10)
		wait := func(ctx context.Context, name string) {
			go func() {
				s, err := q.acquire(ctx, name, "")
				if err == nil {
					s.release()
				}
				errs <- err
			}()
			synctest.Wait()
		}
		wait(ctx, "a")
		wait(t.Context(), "a")
		if _, err := q.acquire(t.Context(), "a", ""); !errors.Is(err, errYours) {
			t.Error(err)
		}
		wait(t.Context(), "b")
		wait(t.Context(), "c")
		wait(t.Context(), "d")
		if err := <-errs; !errors.Is(err, errBusy) { // the second of a's
			t.Error(err)
		}
		if _, err := q.acquire(t.Context(), "e", ""); !errors.Is(err, errBusy) {
			t.Error(err)
		}
		mine := errors.New("mine")
		cancel(mine)
		if err := <-errs; err != mine {
			t.Error(err)
		}
		for range 3 { // patience ends
			if err := <-errs; !errors.Is(err, errWaited) {
				t.Error(err)
			}
		}
		first.release()
		if q.running+q.waiting+len(q.clients) > 1 {
			t.Errorf("%+v", q)
		}
	})
}

// Whatever happens, no slot is lost, and never are there more than there are.
func TestQueueAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(5, 50)
		var all sync.WaitGroup
		var mu sync.Mutex
		running, most := 0, 0
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			running += n
			most = max(most, running)
		}
		for i := range 300 {
			rnd := rand.New(rand.NewPCG(7, uint64(i)))
			all.Go(func() {
				time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(5000))*time.Millisecond)
				defer cancel()
				s, err := q.acquire(ctx, fmt.Sprint(rnd.IntN(8)), "")
				if err != nil {
					return
				}
				count(1)
				time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
				count(-1)
				if rnd.IntN(3) == 0 && s.park() {
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
					if rnd.IntN(4) == 0 {
						s.drop()
						return
					}
					if s.resume(ctx) != nil {
						return
					}
				}
				s.release()
			})
		}
		all.Wait()
		if q.running != 0 || q.waiting != 0 || q.aside != 0 || len(q.back) != 0 || most > 5 || most < 5 {
			t.Errorf("%+v, %d at most", q, most)
		}
		for name, c := range q.clients {
			if c.running != 0 || len(c.queue) != 0 {
				t.Errorf("%s: %+v", name, c)
			}
		}
	})
}

// What the queue refuses is told with a status and when to come again.
func TestBusy(t *testing.T) {
	started, end := make(chan struct{}), make(chan struct{})
	a := newAPI(t, Config{MaxConcurrent: 1, MaxWaiting: 2, MaxWait: 30 * time.Millisecond, Runner: runnerFunc(func(context.Context, query.Query, func(query.Record) error) (*query.Answer, error) {
		close(started)
		<-end
		return &query.Answer{}, nil
	})})
	s := listen(t, a)
	var first sync.WaitGroup
	first.Go(func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+wire.Query+"?topic=web", nil)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	})
	<-started
	r := get(t, s.URL+wire.Query+"?topic=web")
	r.failed(t, 503, "", "has waited too long")
	if r.Header.Get("Retry-After") == "" {
		t.Error(r.Header)
	}
	a.queue.yours = 0
	get(t, s.URL+wire.Query+"?topic=web").failed(t, 429, "", "of yours are waiting")
	a.queue.yours, a.queue.most = 5, 0
	get(t, s.URL+wire.Query+"?topic=web").failed(t, 503, "", "are waiting")
	close(end)
	first.Wait()
	http.DefaultClient.CloseIdleConnections()
}

// Where too many wait, whoever sends most makes room, and not who asks now and then.
func TestQueueMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 8)
		first, err := q.acquire(t.Context(), "first", "")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		refused := make(chan string, 20)
		ask := func(name string) {
			all.Go(func() {
				s, err := q.acquire(t.Context(), name, "")
				if err != nil {
					if !errors.Is(err, errBusy) {
						t.Error(err)
					}
					refused <- name
					return
				}
				s.release()
			})
			synctest.Wait()
		}
		for range 4 {
			ask("a")
			ask("b")
		}
		ask("c")
		ask("c")
		ask("a") // who has most, or as many as that, makes room itself
		first.release()
		all.Wait()
		close(refused)
		counts := map[string]int{}
		for name := range refused {
			counts[name]++
		}
		if counts["c"] > 0 || counts["a"]+counts["b"] != 3 || counts["a"] == 0 || counts["b"] == 0 {
			t.Errorf("refused: %v", counts)
		}
		if running, waiting, _ := q.counts(); running+waiting != 0 {
			t.Error(running, waiting)
		}
	})
}

// What is known to take long comes to its turn before it has waited for too long, however many short ones there are.
func TestQueueDoesNotStarveWhatIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1, 100)
		q.learn("long", 5*time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for ctx.Err() == nil {
					if s, err := q.acquire(ctx, "all", "short"); err == nil {
						time.Sleep(time.Second)
						s.release()
					}
				}
			})
		}
		time.Sleep(time.Minute)
		s, err := q.acquire(t.Context(), "all", "long")
		if err != nil {
			t.Error(err)
		} else {
			s.release()
		}
		stop()
		all.Wait()
	})
}
