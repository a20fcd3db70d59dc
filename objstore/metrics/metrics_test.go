package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/metrics"
)

func TestWrap(t *testing.T) {
	reg := prometheus.NewRegistry()
	var buckets []objstore.Bucket
	for _, name := range []string{"one", "two"} {
		buckets = append(buckets, newMeter(t, reg).Wrap(objstore.NewMemory(name, time.Now), name)) // each has a meter of its own
	}
	b := buckets[0]
	buckettest.MustPut(t, b, "a", []byte("12345"))
	p := make([]byte, 3)
	if _, err := b.Get(t.Context(), "a", 0, p); err != nil {
		t.Fatal(err)
	}
	for range b.List(t.Context(), "", "") {
	}
	_, _ = b.Stat(t.Context(), "none")
	_ = b.Create(t.Context(), "a", strings.NewReader("x"), 1)
	_ = b.Delete(t.Context(), "../")
	want := `
# HELP oklog_bucket_bytes_total Bytes of objects read from and written to a bucket.
# TYPE oklog_bucket_bytes_total counter
oklog_bucket_bytes_total{bucket="one",direction="read"} 3
oklog_bucket_bytes_total{bucket="one",direction="written"} 5
oklog_bucket_bytes_total{bucket="two",direction="read"} 0
oklog_bucket_bytes_total{bucket="two",direction="written"} 0
# HELP oklog_bucket_errors_total Calls on a bucket that failed, by reason.
# TYPE oklog_bucket_errors_total counter
oklog_bucket_errors_total{bucket="one",op="create",reason="exists"} 1
oklog_bucket_errors_total{bucket="one",op="delete",reason="bad_key"} 1
oklog_bucket_errors_total{bucket="one",op="stat",reason="not_found"} 1
# HELP oklog_bucket_requests_total Calls on a bucket.
# TYPE oklog_bucket_requests_total counter
oklog_bucket_requests_total{bucket="one",op="create"} 1
oklog_bucket_requests_total{bucket="one",op="delete"} 1
oklog_bucket_requests_total{bucket="one",op="get"} 1
oklog_bucket_requests_total{bucket="one",op="list"} 1
oklog_bucket_requests_total{bucket="one",op="put"} 1
oklog_bucket_requests_total{bucket="one",op="stat"} 1
oklog_bucket_requests_total{bucket="two",op="create"} 0
oklog_bucket_requests_total{bucket="two",op="delete"} 0
oklog_bucket_requests_total{bucket="two",op="get"} 0
oklog_bucket_requests_total{bucket="two",op="list"} 0
oklog_bucket_requests_total{bucket="two",op="put"} 0
oklog_bucket_requests_total{bucket="two",op="stat"} 0
`
	err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"oklog_bucket_bytes_total", "oklog_bucket_errors_total", "oklog_bucket_requests_total")
	if err != nil {
		t.Error(err)
	}
	// A collector of another kind under the same name is an error, not a panic.
	other := prometheus.NewRegistry()
	other.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "oklog_bucket_requests_total", Help: "other"}))
	if _, err := metrics.New(other); err == nil {
		t.Error("no error for a taken name")
	}
}

// TestSeries: what happens to buckets has these series, and what cannot happen to a single one has none.
func TestSeries(t *testing.T) {
	names := []string{"oklog_bucket_retries_total", "oklog_bucket_missing_copies_total", "oklog_bucket_fallbacks_total", "oklog_bucket_detached_bytes"}
	reg := prometheus.NewRegistry()
	m := newMeter(t, reg)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(""), names...); err != nil {
		t.Error(err)
	}
	r, err := objstore.NewReplicated([]objstore.Bucket{objstore.NewMemory("one", time.Now), objstore.NewMemory("two", time.Now)}, 1,
		objstore.ReplicatedConfig{Names: []string{"one", "two"}, Meter: m})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	m.Missing("two", 1)
	m.Retry("one", "slow_down")
	m.Fallback("one", "get", "other")
	m.Detached(7)
	m.Detached(-2)
	want := `
# HELP oklog_bucket_detached_bytes Bytes of objects whose copies go on after their write has returned.
# TYPE oklog_bucket_detached_bytes gauge
oklog_bucket_detached_bytes 5
# HELP oklog_bucket_fallbacks_total Reads and listings that this bucket failed, or was left out of, and others had to answer.
# TYPE oklog_bucket_fallbacks_total counter
oklog_bucket_fallbacks_total{bucket="one",op="get",reason="other"} 1
# HELP oklog_bucket_missing_copies_total Objects that enough buckets have but this one lacks, since the copy failed; repair copies them.
# TYPE oklog_bucket_missing_copies_total counter
oklog_bucket_missing_copies_total{bucket="one"} 0
oklog_bucket_missing_copies_total{bucket="two"} 1
# HELP oklog_bucket_retries_total Attempts at S3 requests that failed and were made again, by reason.
# TYPE oklog_bucket_retries_total counter
oklog_bucket_retries_total{bucket="one",reason="slow_down"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func newMeter(t *testing.T, reg prometheus.Registerer) *metrics.Meter {
	t.Helper()
	m, err := metrics.New(reg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
