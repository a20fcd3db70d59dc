package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore/open"
	"oklog/objstore/segment"
)

// inventory is what a bucket holds of a topic.
type inventory struct {
	keys     []string
	bytes    int64
	text     int64
	overlaps int
}

func (s *system) inventory(url, topic string) (inv inventory) {
	s.tb.Helper()
	b, err := open.Bucket(s.tb.Context(), []string{url}, open.Config{})
	if err != nil {
		s.tb.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }() // nothing was written
	var names []segment.Name
	for info, err := range b.List(s.tb.Context(), topic+"/", "") {
		if err != nil {
			s.tb.Fatal(err)
		}
		_, n, err := segment.ParseKey(info.Key)
		if err != nil {
			s.tb.Fatal(err)
		}
		names = append(names, n)
		inv.keys = append(inv.keys, info.Key)
		inv.bytes += info.Size
		inv.text += n.RawBytes
	}
	slices.SortFunc(names, func(a, b segment.Name) int { return a.First.Compare(b.First) })
	for i := 1; i < len(names); i++ {
		if names[i].First.Compare(names[i-1].Last) <= 0 {
			inv.overlaps++
		}
	}
	return inv
}

// count is how many records of a topic a query finds.
func (s *system) count(topic string) string {
	s.tb.Helper()
	out, _ := query(s.tb, append(s.bucketFlags(), "--topic", topic, "--from", "1d", "-c", "")...)
	return strings.TrimSpace(string(out))
}

// compact is the command, over all the buckets.
func (s *system) compact(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(bin, "oklog"), slices.Concat([]string{"compact"}, s.bucketFlags(), args)...)
}

// ingested has three ingesters store a log in two buckets, as segments of some 200 kB of text: what each of them has after
// five seconds of a thousand lines a second.
func ingested(tb testing.TB, paths ...string) *system {
	tb.Helper()
	s := newSystem(tb, 2)
	var ingesters []*proc
	for range 3 {
		ingesters = append(ingesters, s.ingester("--flush-size", "200KB", "--flush-age", "5s"))
	}
	for _, path := range paths {
		s.forward("--topic", logTopic(path), "--batch-size", "100KB", "--quiet", path)
	}
	s.settled()
	for _, p := range ingesters {
		p.stop()
	}
	return s
}

// logTopic is the topic of a log's file.
func logTopic(path string) string { return topicOf(strings.TrimSuffix(filepath.Base(path), ".log")) }

// BenchmarkCompaction compacts what three ingesters have stored of a log in two MinIO buckets, with all the defaults but those of
// time. It reports the text that goes through for each second of processor time and of the clock, how much smaller all gets, in objects
// and bytes (filters included, before and after), and the process's peak memory. It fails where a record is lost, or segments overlap.
func BenchmarkCompaction(b *testing.B) {
	for _, name := range []string{"sshd_auth", "iotdb_java", "windows_events_json"} {
		path := corpus(b, name)
		b.Run(logTopic(path), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := ingested(b, path)
				before := s.inventory(s.buckets[0], logTopic(path))
				want := s.count(logTopic(path))
				b.SetBytes(before.text)
				b.StartTimer()
				cmd := s.compact("--older-than", "0s", "--grace", "0s", "--log-level", "warn")
				var peak int64
				start := time.Now()
				_, peak, err := observed(cmd)
				took := time.Since(start)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if out, err := s.compact("--older-than", "0s", "--grace", "0s", "--log-level", "warn").CombinedOutput(); err != nil {
					b.Fatalf("oklog compact: %v\n%s", err, out) // what the first run has replaced
				}
				cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				after := s.inventory(s.buckets[0], logTopic(path))
				other := s.inventory(s.buckets[1], logTopic(path))
				if after.overlaps > 0 || !slices.Equal(after.keys, other.keys) {
					b.Errorf("%d of %d segments overlap, the other bucket has %d", after.overlaps, len(after.keys), len(other.keys))
				}
				if have := s.count(logTopic(path)); have != want {
					b.Errorf("%s records are found, want %s", have, want)
				}
				b.ReportMetric(float64(before.text)/1e6/cpu.Seconds(), "MB/cpu-s")
				b.ReportMetric(float64(before.text)/1e6/took.Seconds(), "MB/s-wall")
				b.ReportMetric(float64(len(before.keys))/float64(len(after.keys)), "objects-ratio")
				b.ReportMetric(float64(len(before.keys)), "objects")
				b.ReportMetric(float64(after.bytes)/float64(before.bytes), "size-ratio")
				b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
				for _, m := range s.minio {
					m.Kill()
				}
				s.nats.kill()
				b.StartTimer()
			}
		})
	}
}

// What three ingesters have stored in two buckets becomes few segments that do not overlap, with all the records, and takes
// less room; also for verify.
func TestCompactsWhatIngestersStore(t *testing.T) {
	path := corpus(t, "loghub2k_mixed16")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	topic := logTopic(path)
	s := ingested(t, path)
	before := s.inventory(s.buckets[0], topic)
	if len(before.keys) < 3 {
		t.Fatalf("only %d segments were stored: there is nothing to compact", len(before.keys))
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := s.compact(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("oklog compact: %v\n%s", err, out)
		}
		return string(out)
	}
	run("--dry-run", "--older-than", "0s", "--grace", "0s")
	if inv := s.inventory(s.buckets[0], topic); !slices.Equal(inv.keys, before.keys) {
		t.Errorf("a dry run leaves %d segments of %d", len(inv.keys), len(before.keys))
	}
	run("--older-than", "0s") // the grace is an hour: nothing is deleted
	both := s.inventory(s.buckets[0], topic)
	if len(both.keys) <= len(before.keys) {
		t.Errorf("%d segments within the grace, after %d", len(both.keys), len(before.keys))
	}
	if have := s.count(topic); have != fmt.Sprint(len(lines(text))) {
		t.Errorf("%s records are found while replaced segments are there, want %d", have, len(lines(text)))
	}
	run("--older-than", "0s", "--grace", "0s")
	for _, url := range s.buckets {
		after := s.inventory(url, topic)
		if after.overlaps > 0 || len(after.keys) != 1 || after.bytes >= before.bytes {
			t.Errorf("%s: %d segments of %d bytes, %d of which overlap; before: %d of %d bytes", url, len(after.keys), after.bytes, after.overlaps, len(before.keys), before.bytes)
		}
		b := &system{tb: t, buckets: []string{url}}
		got, _ := query(t, append(b.bucketFlags(), "--topic", topic, "--from", "1d", "")...)
		if want := bytes.TrimSuffix(text, []byte{'\n'}); !bytes.Equal(bytes.TrimSuffix(got, []byte{'\n'}), want) {
			t.Errorf("%s: %d lines are found, or other ones; want %d", url, len(lines(got)), len(lines(text)))
		}
	}
	out, err := exec.Command(filepath.Join(bin, "oklog"), append([]string{"verify"}, s.bucketFlags()...)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all is well") {
		t.Errorf("oklog verify: %v\n%s", err, out)
	}
}
