package spread

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
)

// What a querier of BenchmarkScan reads with: as a bucket that is far away.
const (
	benchLatency = 30 * time.Millisecond
	benchRate    = 20_000_000 // bytes a second
)

// benchWorld stores about 96 MB: one large segment, and many small ones beside and behind it.
func benchWorld(b *testing.B, bucket objstore.Bucket) (stored int64) {
	rnd := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, 90)
	n := uint64(0)
	records := func(bytes int) (all []entry) {
		for ; bytes > 0; bytes -= len(raw) {
			for i := range raw {
				raw[i] = byte(rnd.Uint32())
			}
			all = append(all, entry{id: segment.MakeID(uint64(day0.UnixMilli())+n, 7, uint32(n)), text: base64.StdEncoding.EncodeToString(raw)})
			n++
		}
		return all
	}
	store(b, bucket, "web", 3, 0, records(48<<20))
	for range 48 {
		store(b, bucket, "web", 0, 0, records(1<<20))
	}
	for info, err := range bucket.List(b.Context(), "", "") {
		if err != nil {
			b.Fatal(err)
		}
		stored += info.Size
	}
	return stored
}

// A full scan by one querier, and by four: each reads with 20 MB/s, and waits 30 ms for each request.
func BenchmarkScan(b *testing.B) {
	bucket := objstore.NewMemory("bench", time.Now)
	stored := benchWorld(b, bucket)
	members := group(b, 4, Config{Group: "bench"}, func(int) query.Config {
		return query.Config{Bucket: slowed(bucket, benchLatency, benchRate)}
	}, nil)
	for _, tt := range []struct {
		name string
		q    query.Query
	}{
		{"count", query.Query{CountOnly: true, Brute: true}},
		{"all", query.Query{Brute: true}},
		{"newest", query.Query{Newest: true, Brute: true}},
		{"absent", query.Query{Brute: true, Pattern: pattern(b, "not there!")}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			tt.q.Topic, tt.q.Range = "web", everything()
			b.SetBytes(stored)
			var one, four time.Duration
			var fetched [2]int64
			for b.Loop() {
				start := time.Now()
				want := ask(b.Context(), members[0].cfg.Engine, tt.q)
				one += time.Since(start)
				knows(b, members[0], 4)
				start = time.Now()
				have := ask(b.Context(), members[0], tt.q)
				four += time.Since(start)
				if d := differ(want, have); d != "" {
					b.Fatal(d)
				}
				fetched[0] += want.ans.Stats.Requests.Fetched
				fetched[1] += have.ans.Stats.Requests.Fetched
			}
			b.ReportMetric(float64(one.Milliseconds())/float64(b.N), "ms/one")
			b.ReportMetric(float64(four.Milliseconds())/float64(b.N), "ms/four")
			b.ReportMetric(float64(one)/float64(four), "one/four")
			b.ReportMetric(float64(fetched[1])/float64(fetched[0]), "bytes-four/one")
		})
	}
}

// slow is a bucket whose reads take time.
type slow struct {
	objstore.Bucket
	each time.Duration // of a request
	line *line
}

// line is what reads go through: so many bytes a second.
type line struct {
	rate int64
	free chan time.Time // when it is
}

// slowed has each request to a bucket take some time, and all of them together so many bytes a second at most; 0: any number.
func slowed(b objstore.Bucket, each time.Duration, rate int64) *slow {
	l := &line{rate: rate, free: make(chan time.Time, 1)}
	l.free <- time.Time{}
	return &slow{b, each, l}
}

func (s *slow) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	until := time.Now().Add(s.each)
	if s.line.rate > 0 {
		free := <-s.line.free
		if free.Before(until) {
			free = until
		}
		until = free.Add(time.Duration(int64(len(p)) * int64(time.Second) / s.line.rate))
		s.line.free <- until
	}
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case <-wait.C:
		return s.Bucket.Get(ctx, key, off, p)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
