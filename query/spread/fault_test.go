package spread

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/querytest"
)

// unsound is a transport that loses messages, and sends others besides.
type unsound struct {
	Transport
	mu   sync.Mutex
	rnd  *rand.Rand
	loss float64
	sent atomic.Int64
}

func (u *unsound) Send(to, reply string, msg []byte) error {
	u.sent.Add(1)
	u.mu.Lock()
	lose, garble, kind := u.rnd.Float64() < u.loss, u.rnd.Float64() < 3*u.loss, u.rnd.IntN(4)
	garbage := bytes.Clone(msg)
	switch at := u.rnd.IntN(len(msg)); kind {
	case 0:
		garbage[at] ^= 1 << u.rnd.IntN(8)
	case 1:
		garbage = garbage[:at]
	case 2:
		garbage = append(garbage, garbage...)
	case 3: // twice
	}
	u.mu.Unlock()
	if garble {
		if err := u.Transport.Send(to, reply, garbage); err != nil {
			return err
		}
	}
	if lose {
		return nil
	}
	return u.Transport.Send(to, reply, msg)
}

// group makes members on a bucket, each with its own wrapper of it, and returns them when the first knows all.
func group(t testing.TB, n int, cfg Config, bucket func(i int) query.Config, wrap func(i int, tr Transport) Transport) []*Spreader {
	t.Helper()
	url := natsServer(t)
	var all []*Spreader
	for i := range n {
		cfg := cfg
		cfg.Engine = newEngine(t, bucket(i))
		cfg.Transport = connect(t, url).Group()
		if wrap != nil {
			cfg.Transport = wrap(i, cfg.Transport)
		}
		s, err := Join(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, s)
	}
	knows(t, all[0], n)
	return all
}

// idle waits until a member works on nothing.
func idle(t testing.TB, s *Spreader) {
	t.Helper()
	eventually(t, "a member is idle", func() bool {
		s.member.mu.Lock()
		defer s.member.mu.Unlock()
		return len(s.member.tasks) == 0 && len(s.member.slots) == 0
	})
}

func TestUnsoundNetwork(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 4))
	all := querytest.World(rnd, 3000, 5)
	b := objstore.NewMemory("test", time.Now)
	hot := scatter(t, rnd, b, "web", all)
	cfg := small("")
	cfg.beat, cfg.lost = 30*time.Millisecond, 200*time.Millisecond
	members := group(t, 3, cfg, func(int) query.Config { return query.Config{Bucket: b, Hot: hot, Workers: 1} },
		func(i int, tr Transport) Transport {
			return &unsound{Transport: tr, rnd: rand.New(rand.NewPCG(uint64(i), 5)), loss: .02}
		})
	for i := range 30 {
		q := randomQuery(t, rnd, all)
		want, have := ask(t.Context(), members[0].cfg.Engine, q), ask(t.Context(), members[0], q)
		if d := differ(want, have); d != "" {
			t.Fatalf("query %d %+v: %s", i, q, d)
		}
	}
	for _, s := range members {
		idle(t, s)
	}
}

// What is wrong in the bucket is told once, and as an engine would, whoever met it and whatever was asked.
func TestProblems(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 4))
	all := querytest.World(rnd, 3000, 5)
	b := objstore.NewMemory("test", time.Now)
	hot := scatter(t, rnd, b, "web", all)
	keys := querytest.Store(t, b, "web", 3, 500, all)
	for _, key := range []string{keys[0], "web/2026-11-20/foreign", "web/2026-11-21/05/also"} {
		junk := bytes.Repeat([]byte("junk"), 4000)
		if err := b.Put(t.Context(), key, bytes.NewReader(junk), int64(len(junk))); err != nil {
			t.Fatal(err)
		}
	}
	members := group(t, 3, small(""), func(int) query.Config { return query.Config{Bucket: b, Hot: hot, Workers: 1} }, nil)
	texts := func(ans *query.Answer) (all []string) {
		for _, p := range ans.Problems {
			all = append(all, p.String())
		}
		slices.Sort(all)
		return all
	}
	for _, q := range []query.Query{{}, {CountOnly: true}, {Newest: true}, {Newest: true, Limit: 3}, {Limit: 1}, {Limit: 2000}} {
		q.Topic, q.Range = "web", everything()
		want, have := ask(t.Context(), members[0].cfg.Engine, q), ask(t.Context(), members[0], q)
		if d := differ(want, have); d != "" {
			t.Errorf("%+v: %s", q, d)
		}
		w, h := texts(want.ans), texts(have.ans)
		if q.Limit == 0 && !slices.Equal(w, h) {
			t.Errorf("%+v: problems\n%q, want\n%q", q, h, w)
		}
		for _, text := range w {
			if !slices.Contains(h, text) {
				t.Errorf("%+v: %q is not told of", q, text)
			}
		}
	}
}

// A member that cannot read leaves it to others; if none can, the query fails as an engine's does.
func TestBucketAway(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	all := querytest.World(rnd, 2000, 5)
	b := objstore.NewMemory("test", time.Now)
	scatter(t, rnd, b, "web", all)
	querytest.Store(t, b, "web", 3, 500, all)
	var away [3]atomic.Bool
	members := group(t, 3, small(""), func(i int) query.Config {
		return query.Config{Workers: 1, Bucket: &buckettest.Faulty{Next: b, Hook: func(buckettest.Call) buckettest.Fault {
			if away[i].Load() {
				return buckettest.Fault{Err: errors.New("no route to the bucket")}
			}
			return buckettest.Fault{}
		}}}
	}, nil)
	q := query.Query{Topic: "web", Range: everything()}
	want := ask(t.Context(), members[0].cfg.Engine, q)
	away[1].Store(true)
	away[2].Store(true)
	if d := differ(want, ask(t.Context(), members[0], q)); d != "" {
		t.Error(d)
	}
	// The coordinator's is gone once it has its plan.
	sent := 0
	ans, err := members[0].Run(t.Context(), q, func(query.Record) error {
		if sent++; sent == 5 {
			away[0].Store(true)
		}
		return nil
	})
	if err == nil && !ans.Partial() && ans.Count != want.ans.Count { // all of it may have been read by then
		t.Errorf("%d records of %d and no word of what is lacking", ans.Count, want.ans.Count)
	}
	if _, err := members[0].Run(t.Context(), q, func(query.Record) error { return nil }); err == nil || !strings.Contains(err.Error(), "no route") {
		t.Errorf("error %v", err)
	}
}

// counting counts requests, and passes on as much as it may.
type counting struct {
	objstore.Bucket
	gets, lists atomic.Int64
	block       atomic.Bool
}

func (c *counting) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	c.gets.Add(1)
	if c.block.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return c.Bucket.Get(ctx, key, off, p)
}

func (c *counting) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	c.lists.Add(1)
	return c.Bucket.List(ctx, prefix, after)
}

func TestLimits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	all := querytest.World(rnd, 4000, 5)
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 3, 500, all)
	var buckets [3]counting
	var wire [3]unsound
	members := group(t, 3, small(""), func(i int) query.Config {
		buckets[i].Bucket = b
		return query.Config{Bucket: &buckets[i], Workers: 1}
	}, func(i int, tr Transport) Transport {
		wire[i].Transport, wire[i].rnd = tr, rand.New(rand.NewPCG(uint64(i), 6))
		return &wire[i]
	})
	gets := func(q query.Query) (n int64) {
		for i := range buckets {
			buckets[i].gets.Store(0)
		}
		q.Topic, q.Range = "web", everything()
		if o := ask(t.Context(), members[0], q); o.err != nil || q.Limit > 0 && o.ans.Count != q.Limit {
			t.Fatalf("%+v %v", o.ans, o.err)
		}
		for _, s := range members {
			idle(t, s)
		}
		for i := range buckets {
			n += buckets[i].gets.Load()
		}
		return n
	}
	whole := gets(query.Query{})
	elsewhere := buckets[1].gets.Load() + buckets[2].gets.Load()
	if elsewhere == 0 {
		t.Error("nothing was read by others")
	}
	for _, q := range []query.Query{{Limit: 10}, {Limit: 10, Newest: true}, {Limit: 10, CountOnly: true}} {
		if n := gets(q); n > whole/4 {
			t.Errorf("limit %d takes %d requests, all take %d", q.Limit, n, whole)
		}
	}
	// A small query is not spread, and is listed once.
	members[0].cfg.SmallBytes = 1 << 30
	before := wire[0].sent.Load()
	buckets[0].lists.Store(0)
	want := ask(t.Context(), members[1].cfg.Engine, query.Query{Topic: "web", Range: everything()})
	if d := differ(want, ask(t.Context(), members[0], query.Query{Topic: "web", Range: everything()})); d != "" {
		t.Error(d)
	}
	if n, lists := wire[0].sent.Load()-before, buckets[0].lists.Load(); n != 0 || lists != 1 {
		t.Errorf("a small query takes %d messages and %d listings", n, lists)
	}
	members[0].cfg.SmallBytes = 1
	if ans, err := members[0].Run(t.Context(), query.Query{Topic: "web", Range: everything(), MaxBytes: 1000}, func(query.Record) error { return nil }); ans == nil || err == nil {
		t.Errorf("more is read than may be: %v, %v", ans, err)
	} else if tooMuch, ok := errors.AsType[*query.TooMuchError](err); !ok {
		t.Errorf("%v %v", tooMuch, err)
	}
}

// Whoever ends a query ends the work for it everywhere.
func TestStop(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 4))
	all := querytest.World(rnd, 4000, 5)
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 3, 500, all)
	var buckets [3]counting
	members := group(t, 3, small(""), func(i int) query.Config {
		buckets[i].Bucket = b
		return query.Config{Bucket: &buckets[i], Workers: 1}
	}, nil)
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{{"stop", segment.ErrStop, nil}, {"error", io.ErrClosedPipe, io.ErrClosedPipe}, {"cancel", nil, context.Canceled}} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		ans, err := members[0].Run(ctx, query.Query{Topic: "web", Range: everything()}, func(query.Record) error {
			if n++; n < 700 {
				return nil
			}
			if n > 700 && tt.err != nil {
				t.Errorf("%s: record %d is put out", tt.name, n)
			}
			if tt.err == nil {
				cancel()
			}
			return tt.err
		})
		if !errors.Is(err, tt.want) || ans == nil {
			t.Errorf("%s: %v, %v", tt.name, ans, err)
		}
		for _, s := range members {
			idle(t, s)
		}
		cancel()
	}
	// Others hang: the client goes away.
	buckets[1].block.Store(true)
	buckets[2].block.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := members[0].Run(ctx, query.Query{Topic: "web", Range: everything()}, func(query.Record) error {
		cancel() // at the first of all records
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, s := range members {
		idle(t, s)
	}
}

// A piece that one member does not come to an end with is done by another, too.
func TestSlowMember(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 4))
	all := querytest.World(rnd, 3000, 5)
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 3, 500, all)
	var buckets [3]counting
	members := group(t, 3, small(""), func(i int) query.Config {
		buckets[i].Bucket = b
		return query.Config{Bucket: &buckets[i], Workers: 1}
	}, nil)
	buckets[1].block.Store(true)
	for _, q := range []query.Query{{CountOnly: true}, {}, {Newest: true, Limit: 2500}} {
		q.Topic, q.Range = "web", everything()
		want, have := ask(t.Context(), members[0].cfg.Engine, q), ask(t.Context(), members[0], q)
		if d := differ(want, have); d != "" {
			t.Errorf("%+v: %s", q, d)
		}
	}
	idle(t, members[1])
}

// A member ends what nobody waits for, and refuses what it does not understand.
func TestOrphan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 4))
	all := querytest.World(rnd, 3000, 5)
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 3, 500, all)
	cfg := small("")
	cfg.orphan, cfg.beat = 300*time.Millisecond, 50*time.Millisecond
	members := group(t, 2, cfg, func(int) query.Config { return query.Config{Bucket: b, Workers: 1} }, nil)
	heard := make(chan message, 1000)
	tr := members[0].cfg.Transport
	inbox, closeIt, err := tr.Inbox(func(_ string, raw []byte) {
		if m, err := decode(raw); err == nil {
			heard <- m
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := encodeOrder(query.Query{Topic: "web", Range: everything()}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	send := func(id uint64, body []byte) {
		if err := tr.Send(members[1].address, inbox+"."+token(id), message{kind: kindRun, attempt: id, seq: 0, body: body}.encode()); err != nil {
			t.Fatal(err)
		}
	}
	send(1, body) // no unit may be sent
	send(2, body)
	send(3, body) // there is no slot
	for m := range heard {
		if m.kind == kindPart {
			t.Fatal("a unit comes that was not asked for")
		}
		if m.kind == kindBusy {
			break
		}
	}
	idle(t, members[1])
	send(4, []byte(`{"query":{"topic":"web","never_heard_of":1}}`))
	for m := range heard {
		if m.kind != kindPart || m.attempt != 4 {
			continue
		}
		if _, err := decodeReport(m.body[1:]); err == nil || !strings.Contains(err.Error(), "never_heard_of") {
			t.Errorf("the answer is %q: %v", m.body, err)
		}
		break
	}
	if err := closeIt(); err != nil {
		t.Error(err)
	}
}

// Members of other groups and versions are left out; without others, an engine answers.
func TestOthers(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	rnd := rand.New(rand.NewPCG(8, 4))
	all := querytest.World(rnd, 500, 5)
	querytest.Store(t, b, "web", 3, 500, all)
	cfg := small("")
	members := group(t, 1, cfg, func(int) query.Config { return query.Config{Bucket: b} }, nil)
	for _, about := range []map[string]string{nil, {"messages": "99", "group": cfg.Group, "slots": "2"}, {"messages": "1", "group": "x", "slots": "2"}, {"messages": "1", "group": cfg.Group, "slots": "-2"}} {
		_, leave, err := members[0].cfg.Transport.Join(about, func([]byte, string) {})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := leave(); err != nil {
				t.Error(err)
			}
		}()
	}
	members[0].peers.refresh(t.Context())
	if n := members[0].Members(); n != 1 {
		t.Errorf("%d members", n)
	}
	alone := join(t, "", Config{Engine: members[0].cfg.Engine})
	for _, s := range []*Spreader{members[0], alone} {
		if o := ask(t.Context(), s, query.Query{Topic: "web", Range: everything()}); o.err != nil || len(o.records) != len(all) {
			t.Errorf("%d records of %d, %v", len(o.records), len(all), o.err)
		}
	}
}

// Records larger than a message of the server go through in parts.
func TestLargeRecords(t *testing.T) {
	srv, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	rnd := rand.New(rand.NewPCG(9, 4))
	source, _ := segment.ParseSource([]string{"host=h"})
	var all []querytest.Entry
	for i := range uint64(12) {
		text := make([]byte, segment.MaxRecord-rnd.IntN(2)*rnd.IntN(segment.MaxRecord))
		for k := range text {
			text[k] = byte(rnd.Uint32())
		}
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+i, 7, uint32(i)), Source: source, Text: string(text)})
	}
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 3, 500, all)
	cfg := small("")
	cfg.PieceBytes, cfg.BufferBytes = 1<<20, 1
	var first *Spreader
	for i := range 2 {
		cfg.Engine = newEngine(t, query.Config{Bucket: b, Workers: 1})
		s := join(t, srv.ClientURL(), cfg)
		if i == 0 {
			first = s
		}
	}
	knows(t, first, 2)
	for _, newest := range []bool{false, true} {
		q := query.Query{Topic: "web", Range: everything(), Newest: newest}
		if d := differ(ask(t.Context(), first.cfg.Engine, q), ask(t.Context(), first, q)); d != "" {
			t.Errorf("newest %t: %.200s", newest, d)
		}
	}
}

// A member that sends as much as a message may hold, and more than anybody would, is given room for what comes next alone.
func TestTooMuchComes(t *testing.T) {
	cfg := small("")
	cfg.BufferBytes = 16 << 20
	s := group(t, 1, cfg, func(int) query.Config { return query.Config{Bucket: objstore.NewMemory("test", time.Now)} }, nil)[0]
	j := &job{s: s, inbox: "nowhere", attempts: map[uint64]*attempt{}, kick: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
	var all []*attempt
	for i := range 100 {
		a := &attempt{id: uint64(i), st: &step{failed: map[string]bool{}}, to: "nobody", credit: firstWindow}
		a.st.running = []*attempt{a}
		j.buffered += firstWindow * grantBytes
		j.steps, j.attempts[a.id], all = append(j.steps, a.st), a, append(all, a)
	}
	j.begun = len(j.steps)
	body := make([]byte, 1+512<<10)
	body[0] = flagMore
	sent := 0
	for _, a := range slices.Backward(all) {
		for seq := range uint32(maxUnit / (512 << 10)) {
			j.receive(token(a.id), message{kindPart, a.id, seq, body}.encode())
			sent += len(body)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := 0
	for _, a := range j.attempts {
		kept += cap(a.partial)
	}
	if most := 2*int(cfg.BufferBytes) + 3*maxUnit; kept > 2*most || sent < 10*most {
		t.Errorf("of %d bytes %d are kept, more than about %d", sent, kept, most)
	}
	if first := j.attempts[all[0].id]; first == nil || len(first.partial) != maxUnit {
		t.Error("what is waited for was not taken")
	}
}

// A reason without end is cut, and an answer that lacks something without saying what is none.
func TestReports(t *testing.T) {
	if _, err := decodeReport([]byte(`{"error":"` + strings.Repeat("x", 1<<20) + `"}`)); err == nil || len(err.Error()) > maxReason {
		t.Errorf("%.100v", err)
	}
	if ans, err := decodeReport([]byte(`{"answer":{"count":1,"unlisted_problems":3}}`)); err == nil {
		t.Errorf("%+v", ans)
	}
}
