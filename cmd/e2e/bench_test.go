package e2e

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkPipeline measures from a file to durable in two MinIO buckets: a forwarder, a NATS server that
// syncs every batch to disk, and one ingester, as processes on this machine. It reports the rate of raw
// text, the processor time of the three for each GB, and the ingester's peak memory.
func BenchmarkPipeline(b *testing.B) {
	path := corpus(b, "sshd_auth")
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		b.StopTimer()
		s := newSystem(b, 1)
		s.buckets = append(s.buckets, s.minio[0].NewBucket(b, "copies"))
		in := s.ingester("--flush-age", "500ms")
		b.StartTimer()
		start := time.Now()
		p := spawn(b, "oklog", "forward", "--quiet", "--nats", s.natsURL, "--topic", "bench", path)
		if code := p.wait(); code != 0 {
			b.Fatalf("oklog forward ends with %d: %s", code, p.output())
		}
		forwarded := time.Since(start)
		s.settled()
		took := time.Since(start)
		b.StopTimer()
		if code := in.stop(); code != 0 {
			b.Fatalf("the ingester ends with %d", code)
		}
		s.nats.stop()
		total := p.cpu + in.cpu + s.nats.cpu
		gb := float64(info.Size()) / 1e9
		b.ReportMetric(float64(info.Size())/1e6/took.Seconds(), "MB/s-durable")
		b.ReportMetric(float64(info.Size())/1e6/forwarded.Seconds(), "MB/s-published")
		b.ReportMetric(total.Seconds()/gb, "cpu-s/GB")
		b.ReportMetric(p.cpu.Seconds()/gb, "forward-cpu-s/GB")
		b.ReportMetric(in.cpu.Seconds()/gb, "ingest-cpu-s/GB")
		b.ReportMetric(float64(in.peak)/(1<<20), "ingest-MiB")
		for _, m := range s.minio {
			m.Kill()
		}
		b.StartTimer()
	}
}

// BenchmarkTopics has an ingester store a thousand topics at once, and reports its peak memory.
func BenchmarkTopics(b *testing.B) {
	const topics = 1000
	path := corpus(b, "sshd_auth")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		b.StopTimer()
		s := newSystem(b, 1)
		in := s.ingester("--flush-age", "10s")
		b.StartTimer()
		publishTopics(b, s.natsURL, text, topics)
		s.settled()
		b.StopTimer()
		if code := in.stop(); code != 0 {
			b.Fatalf("the ingester ends with %d", code)
		}
		b.ReportMetric(float64(in.peak)/(1<<20), "ingest-MiB")
		b.ReportMetric(in.cpu.Seconds()/(float64(len(text))/1e9), "ingest-cpu-s/GB")
		b.StartTimer()
	}
}

// BenchmarkDense has an ingester store text that hardly compresses (random, in base64) in two buckets, and reports its peak memory.
func BenchmarkDense(b *testing.B) {
	const size = 384 << 20
	path := filepath.Join(b.TempDir(), "dense.log")
	raw := make([]byte, 75) // 100 characters
	random := rand.NewChaCha8([32]byte{1})
	var text bytes.Buffer
	for text.Len() < size {
		if _, err := random.Read(raw); err != nil {
			b.Fatal(err)
		}
		text.WriteString(base64.StdEncoding.EncodeToString(raw))
		text.WriteByte('\n')
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	text = bytes.Buffer{}
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		s := newSystem(b, 1)
		s.buckets = append(s.buckets, s.minio[0].NewBucket(b, "copies"))
		in := s.ingester("--flush-age", "2s")
		b.StartTimer()
		s.forward("--quiet", "--topic", "dense", path)
		s.settled()
		b.StopTimer()
		if code := in.stop(); code != 0 {
			b.Fatalf("the ingester ends with %d", code)
		}
		b.ReportMetric(float64(in.peak)/(1<<20), "ingest-MiB")
		b.StartTimer()
	}
}

// BenchmarkFreshness measures the time from a line's being written to the standard input of a forwarder until oklog-query
// prints it, under a load of 20 MB/s from another forwarder on the same topic.
func BenchmarkFreshness(b *testing.B) {
	text, err := os.ReadFile(corpus(b, "sshd_auth"))
	if err != nil {
		b.Fatal(err)
	}
	s := newSystem(b, 1)
	s.ingester()
	load := pipeTo(b, s, "--topic", "t")
	stop := make(chan struct{})
	loaded := make(chan struct{})
	go func() { // 20 MB/s, in steps of 10 ms
		defer close(loaded)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for at := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if at+200_000 > len(text) {
				at = 0
			}
			end := at + 200_000
			if end > len(text) {
				end = len(text)
			}
			if i := bytes.LastIndexByte(text[at:end], '\n'); i >= 0 {
				end = at + i + 1
			}
			if _, err := load.Write(text[at:end]); err != nil {
				b.Error(err)
				return
			}
			at = end
		}
	}()
	line := pipeTo(b, s, "--topic", "t")
	var took []time.Duration
	args := append(s.bucketFlags(), "--nats", s.natsURL, "--topic", "t", "--from", "10s", "--to", "now")
	for b.Loop() {
		mark := "marker " + unique(b)
		start := time.Now()
		if _, err := line.Write([]byte(mark + "\n")); err != nil {
			b.Fatal(err)
		}
		for {
			if _, code := query(b, append(args, mark)...); code == 0 {
				break
			}
			if time.Since(start) > time.Minute {
				b.Fatal("the line was not found in a minute")
			}
		}
		took = append(took, time.Since(start))
	}
	close(stop)
	<-loaded
	slices.Sort(took)
	at := func(p float64) float64 { return took[int(p*float64(len(took)-1))].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}
