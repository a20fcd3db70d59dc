package open_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/metrics"
	"oklog/objstore/open"
	"oklog/objstore/s3"

	"github.com/prometheus/client_golang/prometheus"
)

const secret = "s3cr3t"

// TestURLs: what --bucket takes, and what it answers to the rest.
func TestURLs(t *testing.T) {
	folder := "file://" + filepath.ToSlash(t.TempDir())
	good := func(urls ...string) {
		t.Helper()
		b, err := open.Bucket(t.Context(), urls, open.Config{NoCheck: true})
		if err != nil {
			t.Errorf("%q: %v", urls, err)
			return
		}
		if b == nil {
			t.Errorf("%q: no bucket", urls)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	good("mem://")
	good("mem://one", "mem://two")
	good(folder)
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(strings.TrimPrefix(folder, "file://"), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	good(folder+"/a", folder+"/b")
	good("s3://host/bucket")
	good("s3://host:9000/bucket/")
	good("s3://host:9000/bucket/some/prefix/")
	good("s3://[::1]:9000/bucket?tls=false")
	good("s3://KEY:" + secret + "@host:9000/bucket?tls=false&region=eu-west-1")
	good("s3://KEY:s%2Fl%40sh%3A@host/bucket?tls=true")
	good("s3://host/bucket", "s3://host/bucket/other")

	bad := func(text string, urls ...string) {
		t.Helper()
		_, err := open.Bucket(t.Context(), urls, open.Config{NoCheck: true})
		if err == nil {
			t.Errorf("%q: no error", urls)
			return
		}
		if !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "bucket") {
			t.Errorf("%q: the error %q lacks %q", urls, err, text)
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error has the secret, or several lines: %q", urls, err)
		}
	}
	bad("--bucket")
	bad("not a URL", "")
	bad("not a URL", "/var/lib/oklog")
	bad("not a URL", "host:9000/bucket")
	bad(`kind of bucket "gs"`, "gs://bucket")
	bad(`kind of bucket "http"`, "http://host/bucket")
	bad("bucket is missing", "s3://host")
	bad("bucket is missing", "s3://host/")
	bad("host is missing", "s3:///bucket")
	bad("prefix", "s3://host/bucket/a//b")
	bad("prefix", "s3://host/bucket/../x")
	bad(`no parameter "regoin"`, "s3://host/bucket?regoin=x")
	bad(`tls is "no"`, "s3://host/bucket?tls=no")
	bad("2 times", "s3://host/bucket?tls=false&tls=true")
	bad("KEY:SECRET@", "s3://"+secret+"@host/bucket")
	bad("KEY:SECRET@", "s3://:"+secret+"@host/bucket")
	bad("%2F", "s3://KEY:"+secret+"%zz@host/bucket")
	bad("bucket does not exist", folder+"/absent")
	bad("3 to 63", "s3://host/b")
	bad("3 to 63", "s3://host/a%20b")
	bad("means nothing", "s3://host/bucket#x")
	bad("path is missing", "file://")
	bad("path is missing", "file:///")
	bad("third slash", "file://var/lib")
	bad("no parameters", "file:///x?y=z")
	bad("mem://NAME", "mem://x/y")
	bad("given twice", "mem://", "mem://")
	bad("given twice", folder, folder+"/")
	bad("given twice", "s3://host/bucket", "s3://A:"+secret+"@host/bucket/?tls=false")
}

func TestQuorum(t *testing.T) {
	urls := []string{"mem://1", "mem://2"}
	for w, ok := range map[int]bool{-1: false, 0: true, 1: true, 2: true, 3: false} {
		b, err := open.Bucket(t.Context(), urls, open.Config{WriteQuorum: w})
		if ok != (err == nil) {
			t.Errorf("quorum %d: %v", w, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "--write-quorum") {
				t.Errorf("the error does not name the flag: %v", err)
			}
			continue
		}
		r, isReplicated := b.Bucket.(*objstore.Replicated)
		if want := w; !isReplicated || r.Quorum() != max(want, 1) && w != 0 || w == 0 && r.Quorum() != 2 {
			t.Errorf("quorum %d: have %+v", w, b)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"s3://KEY:" + secret + "@host/b?tls=false": "s3://xxxxx@host/b?tls=false",
		"s3://K:" + secret + "@x@host/b":           "s3://xxxxx@host/b",
		"KEY:" + secret + "@host/b":                "xxxxx@host/b",
		"s3://host/b":                              "s3://host/b",
		"nonsense":                                 "nonsense",
		"":                                         "",
	} {
		if have := open.Redact(raw); have != want {
			t.Errorf("Redact(%q) = %q", raw, have)
		}
	}
}

// TestReal opens buckets on a server and in a folder, as programs do.
func TestReal(t *testing.T) {
	server := servers.MinIO(t)
	url := server.NewBucket(t, "logs")
	folder := "file://" + filepath.ToSlash(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "s3://A:" + secret + "@" + l.Addr().String() + "/logs?tls=false"
	l.Close()
	limits := s3.Config{Attempts: 1}

	t.Run("One", func(t *testing.T) {
		b, err := open.Bucket(t.Context(), []string{url + "&region=us-east-1"}, open.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(t.Context())
		if _, ok := b.Bucket.(*objstore.Replicated); ok {
			t.Error("one bucket is replicated")
		}
		buckettest.MustPut(t, b, "one", []byte("x"))
	})
	t.Run("Two", func(t *testing.T) {
		reg := prometheus.NewRegistry()
		meter, err := metrics.New(reg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := open.Bucket(t.Context(), []string{url, folder}, open.Config{Meter: meter})
		if err != nil {
			t.Fatal(err)
		}
		buckettest.MustPut(t, b, "two", []byte("x"))
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(folder, "file://")
		if _, err := os.Stat(filepath.Join(filepath.FromSlash(path), "two")); err != nil {
			t.Error(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		labels := ""
		for _, f := range families {
			labels += f.String()
		}
		if !strings.Contains(labels, "s3://"+server.Addr+"/logs") || strings.Contains(labels, server.SecretKey) {
			t.Errorf("the metrics lack the bucket's name, or have its secret: %s", labels)
		}
	})
	t.Run("DeadWithinQuorum", func(t *testing.T) {
		var log buckettest.Log
		cfg := open.Config{WriteQuorum: 1, S3: limits, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		b, err := open.Bucket(t.Context(), []string{dead, url}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context()); err != nil {
			t.Errorf("one bucket of two is enough: %v", err)
		}
		buckettest.MustPut(t, b, "three", []byte("x"))
		if _, err := b.Stat(t.Context(), "three"); err != nil {
			t.Error(err)
		}
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "nothing listens") || strings.Contains(log.String(), secret) {
			t.Errorf("the log does not say what is wrong, or says the secret: %s", log.String())
		}
	})
	t.Run("DeadBelowQuorum", func(t *testing.T) {
		_, err := open.Bucket(t.Context(), []string{dead, url}, open.Config{S3: limits})
		if err == nil || !strings.Contains(err.Error(), "nothing listens") || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("have error %v", err)
		}
	})
	t.Run("NoBucket", func(t *testing.T) {
		_, err := open.Bucket(t.Context(), []string{server.URL("missing")}, open.Config{})
		if !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), "--bucket") {
			t.Errorf("have error %v", err)
		}
	})
}

// silent is a server that takes connections and says nothing; it counts them.
func silent(t *testing.T) (url string, connections *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
		for _, c := range open {
			c.Close()
		}
	})
	return "s3://A:" + secret + "@" + l.Addr().String() + "/logs?tls=false", connections
}

// A bucket that is silent holds up neither the start nor what is read then.
func TestSilentBucket(t *testing.T) {
	url, connections := silent(t)
	for _, readOnly := range []bool{true, false} {
		var log buckettest.Log
		cfg := open.Config{
			WriteQuorum: 2, ReadOnly: readOnly, Logger: slog.New(slog.NewTextHandler(&log, nil)), Grace: 10 * time.Millisecond,
			// Whoever waits for it waits for ever.
			S3: s3.Config{AttemptTimeout: time.Hour, Timeout: time.Hour},
		}
		b, err := open.Bucket(t.Context(), []string{url, "mem://a", "mem://b"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "no answer 10ms after the others") || strings.Contains(log.String(), secret) {
			t.Errorf("the log does not say what is wrong, or says the secret: %s", log.String())
		}
		if err := b.Check(t.Context()); err != nil {
			t.Error(err)
		}
		before := connections.Load()
		buckettest.MustPut(t, b.Copies()[1], "one", []byte("x"))
		for _, err := range b.List(t.Context(), "", "") {
			if err != nil {
				t.Error(err)
			}
		}
		if _, err := b.Get(t.Context(), "one", 0, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if _, err := b.Stat(t.Context(), "one"); err != nil {
			t.Error(err)
		}
		if n := connections.Load() - before; n > 1 { // Check's, which it had not to wait for
			t.Errorf("%d connections to the silent bucket", n)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
