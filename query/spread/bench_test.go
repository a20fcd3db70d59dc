package spread

import (
	"context"
	"encoding/base64"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/querytest"
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
	records := func(bytes int) (all []querytest.Entry) {
		for ; bytes > 0; bytes -= len(raw) {
			for i := range raw {
				raw[i] = byte(rnd.Uint32())
			}
			all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+n, 7, uint32(n)), Text: base64.StdEncoding.EncodeToString(raw)})
			n++
		}
		return all
	}
	querytest.Store(b, bucket, "web", 3, 0, records(48<<20))
	for range 48 {
		querytest.Store(b, bucket, "web", 0, 0, records(1<<20))
	}
	for info, err := range bucket.List(b.Context(), "", "") {
		if err != nil {
			b.Fatal(err)
		}
		stored += info.Size
	}
	return stored
}

// summed is what tells answers apart; all their records would take longer to keep than to read.
type summed struct {
	count, fetched int64
	crc            uint32 // of the records, in their order
}

func sum(b *testing.B, r query.Runner, q query.Query) (s summed) {
	b.Helper()
	emit := func(rec query.Record) error {
		s.crc = crc32.Update(crc32.Update(s.crc, castagnoli, rec.ID[:]), castagnoli, rec.Text)
		return nil
	}
	if q.CountOnly {
		emit = nil
	}
	ans, err := r.Run(b.Context(), q, emit)
	if err != nil || ans.Partial() {
		b.Fatal(err, ans.Problems)
	}
	s.count, s.fetched = ans.Count, ans.Stats.Requests.Fetched
	return s
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
				want := sum(b, members[0].cfg.Engine, tt.q)
				one += time.Since(start)
				knows(b, members[0], 4)
				start = time.Now()
				have := sum(b, members[0], tt.q)
				four += time.Since(start)
				if want.count != have.count || want.crc != have.crc {
					b.Fatalf("%d records with checksum %08x, want %d with %08x", have.count, have.crc, want.count, want.crc)
				}
				fetched[0] += want.fetched
				fetched[1] += have.fetched
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
