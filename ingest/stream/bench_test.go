package stream

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"
)

var sizes = []int{128 << 10, 512 << 10}

func BenchmarkPublish(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := testStream(b, Config{MaxBytes: 40 << 30})
			benchPublish(b, s, size, b.N)
		})
	}
}

func BenchmarkConsume(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := testStream(b, Config{MaxBytes: 40 << 30})
			benchPublish(b, s, size, b.N)
			c := mustConsume(b, s, ConsumeConfig{})
			b.ResetTimer()
			for range b.N {
				mustAck(b, mustNext(b, c))
			}
		})
	}
}

// BenchmarkUnflushed reads what is there with one call.
func BenchmarkUnflushed(b *testing.B) {
	const size, count = 128 << 10, 200
	s := testStream(b, Config{MaxBytes: 1 << 30})
	benchPublish(b, s, size, count)
	b.SetBytes(size * count)
	b.ResetTimer()
	for range b.N {
		if n := len(unflushed(b, s, "t")); n != count {
			b.Fatalf("%d batches", n)
		}
	}
}

// BenchmarkUnflushedNothing is what a query pays when all is flushed of its topic, and not of others.
func BenchmarkUnflushedNothing(b *testing.B) {
	s := testStream(b, Config{MaxBytes: 1 << 30})
	mustPublish(b, s, "other", "1", "x")
	b.ReportAllocs()
	var worst time.Duration
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		if n := len(unflushed(b, s, "t")); n != 0 {
			b.Fatalf("%d batches", n)
		}
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
}

func benchPublish(b *testing.B, s *Stream, size, n int) {
	b.Helper()
	body := make([]byte, size)
	if _, err := rand.Read(body); err != nil {
		b.Fatal(err)
	}
	ctx := testContext(b)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	acks := make([]*Ack, n)
	for i := range acks {
		var err error
		if acks[i], err = s.Publish(ctx, "t", fmt.Sprint("id", i), body); err != nil {
			b.Fatal(err)
		}
	}
	for _, a := range acks {
		if err := a.Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
