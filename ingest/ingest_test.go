package ingest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"oklog/ingest"
	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/objstore/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a NATS server, a stream on it, and a bucket.
type fixture struct {
	t      *testing.T
	server *embedded.Server
	stream *stream.Stream
	bucket *objstore.Memory
	minter *segment.Minter
	ids    segment.Sources
}

func newFixture(t *testing.T, ackWait time.Duration) *fixture {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	f := &fixture{t: t, server: server, bucket: objstore.NewMemory("test", time.Now), ids: segment.Sources{}}
	f.stream = f.connect(ackWait)
	if err := f.stream.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	src := segment.Source{{Key: "host", Value: "a"}}
	f.minter, err = segment.NewMinter(rand.Reader, func(s uint64) { f.ids[s] = src })
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) connect(ackWait time.Duration) *stream.Stream {
	f.t.Helper()
	s, err := stream.Connect(f.t.Context(), stream.Config{URL: f.server.ClientURL(), AckWait: ackWait})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	return s
}

// batch encodes records of the given time as a forwarder does.
func (f *fixture) batch(ms uint64, texts ...string) (id string, body []byte) {
	f.t.Helper()
	b := &segment.Block{Sources: f.ids}
	for _, text := range texts {
		r, err := f.minter.At(ms, 1)
		if err != nil {
			f.t.Fatal(err)
		}
		b.Append(r.First(), []byte(text), 0)
	}
	return f.encode(b)
}

// encode makes a batch of a block.
func (f *fixture) encode(b *segment.Block) (id string, body []byte) {
	f.t.Helper()
	w, err := segment.NewWriter(segment.WriterConfig{})
	if err != nil {
		f.t.Fatal(err)
	}
	var out bytes.Buffer
	w.Reset(&out)
	c := b.Cursor()
	if err := w.Take(&c, b.Len()); err != nil {
		f.t.Fatal(err)
	}
	name, err := w.Finish()
	if err != nil {
		f.t.Fatal(err)
	}
	return name.String(), out.Bytes()
}

func (f *fixture) publish(topic, id string, body []byte) {
	f.t.Helper()
	ack, err := f.stream.Publish(f.t.Context(), topic, id, body)
	if err == nil {
		err = ack.Wait(f.t.Context())
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// start runs an ingester until the function it returns is called.
func (f *fixture) start(s *stream.Stream, cfg ingest.Config) (reg *prometheus.Registry, stop func()) {
	f.t.Helper()
	reg = prometheus.NewRegistry()
	cfg.Stream, cfg.Registerer = s, reg
	if cfg.Bucket == nil {
		cfg.Bucket = f.bucket
	}
	in, err := ingest.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(stop)
	return reg, stop
}

// settled waits until every batch has been acked.
func (f *fixture) settled() {
	f.t.Helper()
	eventually(f.t, "every batch is acked", func() bool {
		p, err := f.stream.Pending(f.t.Context())
		return err == nil && p.Messages == 0
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// stored reads every segment of the bucket: how often each record of a topic is there, and the keys.
func (f *fixture) stored(topic string) (records map[ulid.ULID]int, texts map[ulid.ULID]string, keys []string) {
	f.t.Helper()
	records, texts = map[ulid.ULID]int{}, map[ulid.ULID]string{}
	d, err := segment.NewDecoder()
	if err != nil {
		f.t.Fatal(err)
	}
	for info, err := range f.bucket.List(f.t.Context(), topic+"/", "") {
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, info.Key)
		_, name, err := segment.ParseKey(info.Key)
		if err != nil {
			f.t.Fatal(err)
		}
		r := objstore.ReaderAt(f.t.Context(), f.bucket, info.Key)
		seg, err := d.Open(r, info.Size)
		if err != nil {
			f.t.Fatal(err)
		}
		if seg.First() != name.First || seg.Last() != name.Last || seg.Records() != name.Records {
			f.t.Errorf("%s holds %s to %s, %d records", info.Key, seg.First(), seg.Last(), seg.Records())
		}
		for in := seg.Input(d, r); ; {
			b, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				f.t.Fatal(err)
			}
			for c := b.Cursor(); c.Left() > 0; {
				rec := c.Next()
				records[rec.ID]++
				texts[rec.ID] = string(rec.Text)
				if got := rec.Source.String(); got != "host=a" {
					f.t.Errorf("record %s has source %q", rec.ID, got)
				}
			}
		}
	}
	return records, texts, keys
}

// inOrder returns the texts in the order of their IDs.
func inOrder(texts map[ulid.ULID]string) []string {
	ids := slices.SortedFunc(maps.Keys(texts), func(a, b ulid.ULID) int { return a.Compare(b) })
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = texts[id]
	}
	return out
}

func metric(t *testing.T, reg *prometheus.Registry, name, topic string) (v float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, fam := range families {
		if fam.GetName() != name {
			continue
		}
		for _, m := range fam.GetMetric() {
			if topic == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == topic {
				v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return v
}

const base = 1_790_000_000_000

func TestBatchesBecomeSegmentsByTopic(t *testing.T) {
	f := newFixture(t, time.Minute)
	want := map[string][]string{}
	for i := range 300 {
		topic := []string{"web", "db", "web.eu"}[i%3]
		text := fmt.Sprintf("line %d of %s with 100%% \x00 \xff\nand more", i, topic)
		id, body := f.batch(base+uint64(i), text, "")
		f.publish(topic, id, body)
		want[topic] = append(want[topic], text, "")
	}
	reg, stop := f.start(f.stream, ingest.Config{FlushAge: 50 * time.Millisecond})
	f.settled()
	stop()
	for topic := range want {
		counts, texts, keys := f.stored(topic)
		if diff := cmp.Diff(want[topic], inOrder(texts)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", topic, diff)
		}
		for id, n := range counts {
			if n != 1 {
				t.Errorf("record %s is stored %d times", id, n)
			}
		}
		for _, name := range []string{"received", "acked", "stored"} {
			if got := metric(t, reg, "oklog_ingest_records_"+name+"_total", topic); got != float64(len(want[topic])) {
				t.Errorf("%s: %v records %s, want %d", topic, got, name, len(want[topic]))
			}
		}
		if len(keys) == 0 || len(keys) > 20 {
			t.Errorf("%s: %d segments of 100 batches", topic, len(keys))
		}
	}
	if held := metric(t, reg, "oklog_ingest_held_bytes", ""); held != 0 {
		t.Errorf("%v bytes are held at the end", held)
	}
}

func TestRecordsOfSeveralDaysAreCutByDay(t *testing.T) {
	f := newFixture(t, time.Minute)
	const day = 24 * 3600 * 1000
	var want []string
	for i := range uint64(5) { // five days in one batch
		want = append(want, fmt.Sprint("day ", i))
	}
	b := &segment.Block{Sources: f.ids}
	for i, text := range want {
		r, err := f.minter.At(base+uint64(i)*day, 1)
		if err != nil {
			t.Fatal(err)
		}
		b.Append(r.First(), []byte(text), 0)
	}
	id, body := f.encode(b)
	f.publish("old", id, body)
	_, stop := f.start(f.stream, ingest.Config{FlushAge: 10 * time.Millisecond})
	f.settled()
	stop()
	_, texts, keys := f.stored("old")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" || len(keys) != 5 {
		t.Errorf("%d segments; records (-want +got):\n%s", len(keys), diff)
	}
}

// Two ingesters that are given the same batches store each record in both of their segments, or in
// one; what matters is that the IDs are the same, so that a reader can tell.
func TestRedeliveredBatchesKeepTheirIDs(t *testing.T) {
	f := newFixture(t, time.Second)
	blocked := make(chan struct{})
	slow := &gate{Bucket: f.bucket, open: blocked}
	var want []string
	for i := range 50 {
		id, body := f.batch(base+uint64(i), fmt.Sprint(i))
		f.publish("t", id, body)
		want = append(want, fmt.Sprint(i))
	}
	// The first ingester takes all the batches and then hangs in its bucket, without telling the server:
	// killed, for all that anyone can see.
	consumer, err := f.stream.Consume(t.Context(), stream.ConsumeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Stop()
	var taken []*stream.Message
	for range want {
		m, err := consumer.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, m)
	}
	consumer.Stop()
	reg, stop := f.start(f.connect(time.Second), ingest.Config{FlushAge: 20 * time.Millisecond, Bucket: slow})
	eventually(t, "the batches are delivered again", func() bool {
		return metric(t, reg, "oklog_ingest_records_received_total", "t") >= 50
	})
	close(blocked)
	f.settled()
	for _, m := range taken { // the first one wakes up, and acks what others have acked
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	}
	stop()
	_, texts, _ := f.stored("t")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// gate holds up every Put until it is open.
type gate struct {
	ingest.Bucket
	open chan struct{}
}

func (g *gate) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	select {
	case <-g.open:
		return g.Bucket.Put(ctx, key, body, size)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The same batch twice in the stream, as after a forwarder's crash, is one in the bucket.
func TestRepeatedBatchIsMergedAway(t *testing.T) {
	f := newFixture(t, time.Minute)
	id, body := f.batch(base, "a", "b", "c")
	f.publish("t", id, body)
	f.publish("t", id+"-again", body) // past the stream's own duplicate window
	reg, stop := f.start(f.stream, ingest.Config{FlushAge: 300 * time.Millisecond})
	f.settled()
	stop()
	counts, texts, _ := f.stored("t")
	if diff := cmp.Diff([]string{"a", "b", "c"}, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	if got := metric(t, reg, "oklog_ingest_records_duplicate_total", "t"); got != 3 {
		t.Errorf("%v duplicates counted, want 3", got)
	}
}

func TestPoisonedBatchesGoToTheDeadLetters(t *testing.T) {
	f := newFixture(t, time.Minute)
	id, good := f.batch(base, "good")
	f.publish("t", id, good)
	f.publish("t", "foreign", []byte("not a batch at all"))
	f.publish("t", "empty", nil)
	_, flipped := f.batch(base+1, strings.Repeat("damaged ", 100))
	flipped = slices.Clone(flipped)
	flipped[10] ^= 1 // in the text: found when it is decoded, in the middle of a merge with the good ones
	f.publish("t", "flipped", flipped)
	id, good = f.batch(base+2, "good too")
	f.publish("t", id, good)

	reg, stop := f.start(f.stream, ingest.Config{FlushAge: 100 * time.Millisecond})
	f.settled()
	stop()
	_, texts, _ := f.stored("t")
	if diff := cmp.Diff([]string{"good", "good too"}, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := metric(t, reg, "oklog_ingest_batches_dead_lettered_total", "t"); got != 3 {
		t.Errorf("%v dead letters counted, want 3", got)
	}
}

// Many damaged batches among many good ones: each is found, none is merged anew for each of the others.
func TestManyPoisonedBatches(t *testing.T) {
	f := newFixture(t, time.Minute)
	var want []string
	for i := range 120 {
		id, body := f.batch(base+uint64(i), fmt.Sprint("record ", i), strings.Repeat("text ", 50))
		if i%3 == 1 {
			body = slices.Clone(body)
			body[12] ^= 1
		} else {
			want = append(want, fmt.Sprint("record ", i), strings.Repeat("text ", 50))
		}
		f.publish("t", id, body)
	}
	reg, stop := f.start(f.stream, ingest.Config{FlushAge: time.Second})
	f.settled()
	stop()
	_, texts, _ := f.stored("t")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := metric(t, reg, "oklog_ingest_batches_dead_lettered_total", "t"); got != 40 {
		t.Errorf("%v dead letters counted, want 40", got)
	}
}

// topicGate holds up the puts of one topic until it is open.
type topicGate struct {
	ingest.Bucket
	topic string
	open  chan struct{}
}

func (g *topicGate) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if strings.HasPrefix(key, g.topic+"/") {
		select {
		case <-g.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Bucket.Put(ctx, key, body, size)
}

// A topic whose records lie in hundreds of days, each a segment of its own that takes its time, does not hold up the others.
func TestWildTimesHoldNobodyUp(t *testing.T) {
	f := newFixture(t, time.Minute)
	const days, loads = 40, 12
	for range loads {
		b := &segment.Block{Sources: f.ids}
		for i := range uint64(days) {
			r, err := f.minter.At(base-i*24*3600*1000, 1)
			if err != nil {
				t.Fatal(err)
			}
			b.Append(r.First(), []byte("wild"), 0)
		}
		b.Sort()
		id, body := f.encode(b)
		f.publish("wild", id, body)
	}
	g := &topicGate{Bucket: f.bucket, topic: "wild", open: make(chan struct{})}
	// A flush for each batch.
	reg, stop := f.start(f.stream, ingest.Config{FlushAge: 20 * time.Millisecond, FlushSize: 64, Bucket: g})
	eventually(t, "the wild batches are in hand", func() bool { return metric(t, reg, "oklog_ingest_held_batches", "") == loads })
	id, body := f.batch(base, "good")
	f.publish("good", id, body)
	eventually(t, "the good one is stored", func() bool { return metric(t, reg, "oklog_ingest_records_stored_total", "good") == 1 })
	close(g.open)
	f.settled()
	stop()
	if counts, _, _ := f.stored("wild"); len(counts) != days*loads {
		t.Errorf("%d wild records are stored, want %d", len(counts), days*loads)
	}
}

// failing lets the first puts fail.
type failing struct {
	ingest.Bucket
	left atomic.Int64
}

var errAway = errors.New("bucket is away")

func (b *failing) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if b.left.Add(-1) >= 0 {
		return errAway
	}
	return b.Bucket.Put(ctx, key, body, size)
}

func TestPutIsRepeatedUntilTheBucketIsBack(t *testing.T) {
	f := newFixture(t, time.Second)
	b := &failing{Bucket: f.bucket}
	b.left.Store(12)
	var want []string
	for i := range 40 {
		id, body := f.batch(base+uint64(i), fmt.Sprint(i))
		f.publish("t", id, body)
		want = append(want, fmt.Sprint(i))
	}
	// Twelve failures take longer than the ack wait: the batches must not be delivered again meanwhile.
	reg, stop := f.start(f.stream, ingest.Config{FlushAge: 50 * time.Millisecond, Bucket: b, RetryWait: 10 * time.Millisecond})
	f.settled()
	stop()
	_, texts, _ := f.stored("t")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := metric(t, reg, "oklog_ingest_put_retries_total", ""); got < 12 {
		t.Errorf("%v retries counted, want 12 at least", got)
	}
	if got := metric(t, reg, "oklog_ingest_records_received_total", "t"); got != 40 {
		t.Errorf("%v records delivered, want 40: the server was not told that they are in hand", got)
	}
}

// What cannot be flushed in time when the ingester stops goes back to the stream, and to the next one.
func TestStopReturnsWhatItCannotFlush(t *testing.T) {
	f := newFixture(t, time.Minute)
	var want []string
	for i := range 20 {
		id, body := f.batch(base+uint64(i), fmt.Sprint(i))
		f.publish("t", id, body)
		want = append(want, fmt.Sprint(i))
	}
	never := &gate{Bucket: f.bucket, open: make(chan struct{})}
	reg, stop := f.start(f.connect(time.Minute), ingest.Config{FlushAge: 10 * time.Millisecond, Bucket: never, StopTimeout: 50 * time.Millisecond})
	eventually(t, "all is in hand", func() bool { return metric(t, reg, "oklog_ingest_held_batches", "") == 20 })
	stop()
	if keys := f.bucketKeys(); len(keys) > 0 {
		t.Fatalf("stored through a closed gate: %v", keys)
	}
	_, stop = f.start(f.stream, ingest.Config{FlushAge: 10 * time.Millisecond})
	f.settled() // long before the ack wait is over
	stop()
	_, texts, _ := f.stored("t")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func (f *fixture) bucketKeys() (keys []string) {
	for info, err := range f.bucket.List(f.t.Context(), "", "") {
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// A stop flushes what has not come of age.
func TestStopFlushes(t *testing.T) {
	f := newFixture(t, time.Hour)
	id, body := f.batch(base, "last words")
	f.publish("t", id, body)
	reg, stop := f.start(f.connect(time.Hour), ingest.Config{FlushAge: 10 * time.Minute})
	eventually(t, "the batch is in hand", func() bool { return metric(t, reg, "oklog_ingest_held_batches", "") == 1 })
	stop()
	if _, texts, _ := f.stored("t"); len(texts) != 1 {
		t.Errorf("%d records stored, want 1", len(texts))
	}
	f.settled()
}

// A stop that comes before the first pull is as good as any other.
func TestStopBeforeItBegins(t *testing.T) {
	f := newFixture(t, time.Hour)
	in, err := ingest.New(ingest.Config{Stream: f.stream, Bucket: f.bucket, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.Run(ctx); err != nil {
		t.Error(err)
	}
}

// Many topics at once, more than the memory holds: flushed early, all stored, and the bound kept.
func TestMemoryIsBounded(t *testing.T) {
	f := newFixture(t, time.Hour)
	const want = 1200
	var acks []*stream.Ack
	for i := range want {
		id, body := f.batch(base+uint64(i), fmt.Sprint(i))
		ack, err := f.stream.Publish(t.Context(), fmt.Sprintf("t%d", i%300), id, body)
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		if err := ack.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const bound = 1 << 20 // holds 240 batches or so
	reg, stop := f.start(f.connect(time.Hour), ingest.Config{FlushAge: 10 * time.Minute, HeldBytes: bound, MergeBytes: bound})
	over := false
	eventually(t, "all was in hand", func() bool {
		over = over || metric(t, reg, "oklog_ingest_held_bytes", "") > bound
		return metric(t, reg, "oklog_ingest_records_received_total", "") == want
	})
	stop()
	f.settled()
	if over {
		t.Errorf("more than %d bytes were held", bound)
	}
	if got := metric(t, reg, "oklog_ingest_records_stored_total", ""); got != want {
		t.Errorf("%v records stored, want %d", got, want)
	}
}

// The order of batches in the stream, and overlap between them, does not matter.
func TestSegmentsAreMerged(t *testing.T) {
	f := newFixture(t, time.Minute)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("%02d", i))
	}
	for _, k := range []int{2, 0, 1} {
		b := &segment.Block{Sources: f.ids}
		m, err := segment.NewMinter(rand.Reader, func(s uint64) { f.ids[s] = segment.Source{{Key: "host", Value: "a"}} })
		if err != nil {
			t.Fatal(err)
		}
		for i := k; i < 30; i += 3 {
			r, _ := m.At(base+uint64(i), 1)
			b.Append(r.First(), []byte(want[i]), 0)
		}
		id, body := f.encode(b)
		f.publish("t", id, body)
	}
	_, stop := f.start(f.stream, ingest.Config{FlushAge: 200 * time.Millisecond})
	f.settled()
	stop()
	_, texts, keys := f.stored("t")
	if diff := cmp.Diff(want, inOrder(texts)); diff != "" || len(keys) != 1 {
		t.Errorf("%d segments; records (-want +got):\n%s", len(keys), diff)
	}
}

func TestNewRefuses(t *testing.T) {
	f := newFixture(t, 20*time.Second)
	for name, cfg := range map[string]ingest.Config{
		"--flush-age": {FlushAge: 10 * time.Second}, "--flush-size": {FlushSize: -1}, "--memory": {HeldBytes: 1}, "negative": {Uploads: -1},
	} {
		cfg.Stream, cfg.Bucket = f.stream, f.bucket
		if cfg.FlushAge == 0 {
			cfg.FlushAge = time.Second
		}
		if _, err := ingest.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error that names %s", err, name)
		}
	}
	if _, err := ingest.New(ingest.Config{}); err == nil {
		t.Error("an ingester without a stream was made")
	}
}
