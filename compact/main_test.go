package compact

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day0 = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// clock is what a test's world takes for the time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// entry is a record of a test's world.
type entry struct {
	id   ulid.ULID
	text string
}

func byID(a, b entry) int { return a.id.Compare(b.id) }

// world is buckets, a clock, and what has been stored.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	clock   *clock
	copies  []*objstore.Memory
	stored  map[string][]entry // by topic
	session uint64
	writers map[int]*segment.Writer // by size of block
	spare   []*segment.Writer       // of compactors that have ended
}

func newWorld(t testing.TB, seed uint64, copies int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 4)), clock: &clock{at: day0.Add(36 * time.Hour)}, stored: map[string][]entry{}, writers: map[int]*segment.Writer{}}
	for i := range copies {
		w.copies = append(w.copies, objstore.NewMemory(fmt.Sprintf("copy %d", i), w.clock.now))
	}
	return w
}

// config is that of a compactor whose segments are small enough for a test.
func (w *world) config() Config {
	cfg := Config{Target: 20_000, Memory: 256 << 20, Now: w.clock.now, Quiet: 30 * time.Minute, Workers: 2}
	for i, b := range w.copies {
		cfg.Copies = append(cfg.Copies, Copy{fmt.Sprint("copy", i), b})
	}
	return cfg
}

func (w *world) compactor(cfg Config) *Compactor {
	w.t.Helper()
	c, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	for len(w.spare) < c.cfg.Workers { // with small blocks: a segment ends with one
		writer, err := segment.NewWriter(segment.WriterConfig{Level: cfg.Level, BlockSize: 2000, Filter: true})
		if err != nil {
			w.t.Fatal(err)
		}
		w.spare = append(w.spare, writer)
	}
	c.writers, w.spare = w.spare, nil
	return c
}

// ended takes from a compactor what another one can use: the tables of an encoder take long to make.
func (w *world) ended(c *Compactor) { w.spare = append(w.spare, c.writers...) }

// records makes n new records with times from a stretch of time.
func (w *world) records(topic string, n int, from time.Time, span time.Duration) []entry {
	w.session++
	all := make([]entry, n)
	for i := range all {
		at := from.Add(time.Duration(w.rnd.Int64N(int64(span))))
		text := fmt.Sprintf("%s %d.%d value=%x", topic, w.session, i, w.rnd.Uint64())
		if w.rnd.IntN(20) == 0 {
			text += "\n\tat a second line"
		}
		all[i] = entry{segment.MakeID(uint64(at.UnixMilli()), w.session, uint32(i)), text}
	}
	slices.SortFunc(all, byID)
	return all
}

// put stores records as an ingester does, in the copies of a set, and takes them down.
func (w *world) put(topic string, in Set, entries []entry) (keys []string) {
	w.t.Helper()
	w.stored[topic] = append(w.stored[topic], entries...)
	return w.putAgain(topic, in, entries)
}

// putAgain stores records that are stored already.
func (w *world) putAgain(topic string, in Set, entries []entry) (keys []string) {
	w.t.Helper()
	size := 500 << w.rnd.IntN(4)
	writer := w.writers[size]
	if writer == nil {
		var err error
		if writer, err = segment.NewWriter(segment.WriterConfig{BlockSize: size, Filter: true}); err != nil {
			w.t.Fatal(err)
		}
		w.writers[size] = writer
	}
	d, err := writer.Days(segment.DaysConfig{MaxText: 1 << 20, Emit: func(n segment.Name, data []byte) error {
		key := n.Key(topic)
		keys = append(keys, key)
		for i := range in.each {
			if err := w.copies[i].Put(context.Background(), key, bytes.NewReader(data), int64(len(data))); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	b := &segment.Block{Sources: segment.Sources{}}
	for _, e := range entries {
		_, session, _ := segment.SplitID(e.id)
		b.Sources[session], _ = segment.ParseSource([]string{fmt.Sprintf("session=%d", session)})
		b.Append(e.id, []byte(e.text), 0)
	}
	b.Sort()
	c := b.Cursor()
	if err := d.Take(&c, c.Left()); err != nil {
		w.t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// ask runs a query over all the time there is.
func ask(t testing.TB, b objstore.Bucket, topic string, newest bool) []entry {
	t.Helper()
	e, err := query.New(query.Config{Bucket: b})
	if err != nil {
		t.Fatal(err)
	}
	var found []entry
	ans, err := e.Run(context.Background(), query.Query{Topic: topic, Newest: newest, Range: query.Range{To: segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)}},
		func(r query.Record) error {
			found = append(found, entry{r.ID, string(r.Text)})
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if ans.Partial() {
		t.Fatalf("the answer is partial: %v", ans.Problems)
	}
	return found
}

// check asks for all the records of every topic, and of a copy or of all the copies as one.
func (w *world) check(b objstore.Bucket, when string) {
	w.t.Helper()
	for topic, want := range w.stored {
		slices.SortFunc(want, byID)
		newest := w.rnd.IntN(2) == 0
		have := ask(w.t, b, topic, newest)
		if newest {
			slices.Reverse(have)
		}
		if slices.Equal(want, have) {
			continue
		}
		lacking, more := 0, 0
		first := ""
		for _, e := range want {
			if _, ok := slices.BinarySearchFunc(have, e, byID); !ok {
				lacking++
				if first == "" {
					first = e.id.String() + " " + e.text
				}
			}
		}
		more = len(have) - (len(want) - lacking)
		w.t.Fatalf("%s: topic %s: of %d records %d are lacking (%s), and %d are too many", when, topic, len(want), lacking, first, more)
	}
}

// union is the copies as one, as a query sees them.
func (w *world) union() objstore.Bucket {
	w.t.Helper()
	if len(w.copies) == 1 {
		return w.copies[0]
	}
	var all []objstore.Bucket
	for _, b := range w.copies {
		all = append(all, b)
	}
	r, err := objstore.NewReplicated(all, 1, objstore.ReplicatedConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// segments lists those of a copy.
func segments(t testing.TB, b objstore.Bucket, topic string) (found []*Segment) {
	t.Helper()
	for info, err := range b.List(context.Background(), topic+"/", "") {
		if err != nil {
			t.Fatal(err)
		}
		_, n, err := segment.ParseKey(info.Key)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, &Segment{Topic: topic, Name: n, Size: info.Size})
	}
	slices.SortFunc(found, byFirst)
	return found
}

// overlaps counts the segments that overlap one before them.
func overlaps(segs []*Segment) (n int) {
	var last ulid.ULID
	for i, s := range segs {
		if i > 0 && s.Name.First.Compare(last) <= 0 {
			n++
		}
		last = later(last, s.Name.Last)
	}
	return n
}

var errCrash = errors.New("the process was killed")

// stepper lets the calls of several processes on buckets happen one at a time, in a random order: which is next is drawn when
// all of them wait for their turn.
type stepper struct {
	calls chan *call
	rnd   *rand.Rand
	dead  map[int]bool
	left  map[int]int // calls until a process is killed; absent: never
	after func()      // called between calls
}

type call struct {
	process int
	what    string
	turn    chan error
	done    chan struct{}
}

func newStepper(rnd *rand.Rand) *stepper {
	return &stepper{calls: make(chan *call), rnd: rnd, dead: map[int]bool{}, left: map[int]int{}}
}

// run runs processes until all have ended.
func (s *stepper) run(processes ...func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // see below
	var all sync.WaitGroup
	ended := make(chan struct{})
	for _, p := range processes {
		all.Go(p)
	}
	go func() {
		all.Wait()
		close(ended)
	}()
	var waiting []*call
	for {
		if len(waiting) == 0 {
			select {
			case c := <-s.calls:
				waiting = append(waiting, c)
			case <-ended:
				return
			}
		}
		for idle := 0; idle < 3; idle++ { // on one processor, who can run runs first, up to the next call
			runtime.Gosched()
			select {
			case c := <-s.calls:
				waiting = append(waiting, c)
				idle = 0
			default:
			}
		}
		slices.SortStableFunc(waiting, func(a, b *call) int { return cmp.Or(a.process-b.process, strings.Compare(a.what, b.what)) })
		i := s.rnd.IntN(len(waiting))
		c := waiting[i]
		waiting = slices.Delete(waiting, i, i+1)
		var err error
		if n, ok := s.left[c.process]; ok {
			if n == 0 {
				s.dead[c.process] = true
			}
			s.left[c.process] = n - 1
		}
		if s.dead[c.process] {
			err = errCrash
		}
		c.turn <- err
		<-c.done
		if s.after != nil {
			s.after()
		}
	}
}

// stepped is a bucket as one process sees it.
type stepped struct {
	objstore.Bucket
	name    string
	s       *stepper
	process int
}

func (b stepped) step(op, key string, f func() error) error {
	c := &call{b.process, op + " " + key + " " + b.name, make(chan error), make(chan struct{})}
	b.s.calls <- c
	defer close(c.done)
	if err := <-c.turn; err != nil {
		return err
	}
	return f()
}

func (b stepped) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.step("put", key, func() error { return b.Bucket.Put(ctx, key, body, size) })
}

func (b stepped) Get(ctx context.Context, key string, off int64, p []byte) (n int, err error) {
	err = b.step("get", key, func() error { n, err = b.Bucket.Get(ctx, key, off, p); return err })
	return n, err
}

func (b stepped) Stat(ctx context.Context, key string) (info objstore.Info, err error) {
	err = b.step("stat", key, func() error { info, err = b.Bucket.Stat(ctx, key); return err })
	return info, err
}

func (b stepped) Delete(ctx context.Context, key string) error {
	return b.step("delete", key, func() error { return b.Bucket.Delete(ctx, key) })
}

func (b stepped) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		var infos []objstore.Info
		err := b.step("list", prefix, func() error {
			for info, err := range b.Bucket.List(ctx, prefix, after) {
				if err != nil {
					return err
				}
				infos = append(infos, info)
			}
			return nil
		})
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(objstore.Info{}, err)
		}
	}
}
