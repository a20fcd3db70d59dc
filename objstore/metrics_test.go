package objstore_test

import (
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestInstrument(t *testing.T) {
	reg := prometheus.NewRegistry()
	var buckets []objstore.Bucket
	for _, name := range []string{"one", "two"} {
		b, err := objstore.Instrument(objstore.NewMemory(name, time.Now), name, reg)
		if err != nil {
			t.Fatal(err)
		}
		buckets = append(buckets, b)
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
	if _, err := objstore.Instrument(b, "x", other); err == nil {
		t.Error("no error for a taken name")
	}
}
