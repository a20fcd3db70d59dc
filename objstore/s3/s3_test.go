package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/metrics"
	"oklog/objstore/s3"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

// suite is the server that the tests of this package share.
type suite struct {
	server *servers.Server
	n      atomic.Int64
}

var shared suite

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oklog-s3-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.server, err = servers.StartMinIO(context.Background(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.server.Kill()
	return m.Run()
}

// config returns the settings for a new bucket on the shared server, with short limits.
func config(t *testing.T) s3.Config {
	t.Helper()
	bucket := fmt.Sprintf("s3-test-%d", shared.n.Add(1))
	if err := shared.server.CreateBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	cfg := shared.server.Config(bucket)
	cfg.Backoff = time.Millisecond
	return cfg
}

func newBucket(t *testing.T, cfg s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// ops are all the operations, on a bucket that holds the object "old".
func ops() map[string]func(context.Context, *s3.Bucket) error {
	return map[string]func(context.Context, *s3.Bucket) error{
		"put": func(ctx context.Context, b *s3.Bucket) error {
			return b.Put(ctx, "new", strings.NewReader("new object"), 10)
		},
		"create": func(ctx context.Context, b *s3.Bucket) error {
			return b.Create(ctx, "new", strings.NewReader("new object"), 10)
		},
		"get": func(ctx context.Context, b *s3.Bucket) error {
			p := make([]byte, 3)
			if _, err := b.Get(ctx, "old", 4, p); err != nil {
				return err
			}
			if string(p) != "obj" {
				return fmt.Errorf("have %q", p)
			}
			return nil
		},
		"stat": func(ctx context.Context, b *s3.Bucket) error {
			info, err := b.Stat(ctx, "old")
			if err == nil && info.Size != 10 {
				return fmt.Errorf("have %+v", info)
			}
			return err
		},
		"list": func(ctx context.Context, b *s3.Bucket) error {
			keys, err := buckettest.Keys(ctx, b, "o", "")
			if err == nil && (len(keys) != 1 || keys[0] != "old") {
				return fmt.Errorf("have %q", keys)
			}
			return err
		},
		"delete": func(ctx context.Context, b *s3.Bucket) error { return b.Delete(ctx, "old") },
		"check":  func(ctx context.Context, b *s3.Bucket) error { return b.Check(ctx) },
	}
}

// prepared returns a bucket with the object "old" whose requests go through hook.
func prepared(t *testing.T, cfg s3.Config, hook func(int, *http.Request, func() (*http.Response, error)) (*http.Response, error)) (*s3.Bucket, *faults) {
	t.Helper()
	buckettest.MustPut(t, newBucket(t, cfg), "old", []byte("old object"))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	f := &faults{next: transport, hook: hook}
	cfg.Transport = f
	return newBucket(t, cfg), f
}

// TestFirstAttemptFails: whatever goes wrong for a moment, each operation gets over it.
func TestFirstAttemptFails(t *testing.T) {
	for name, fault := range map[string]func(*http.Request) (*http.Response, error){
		"SlowDown":    func(r *http.Request) (*http.Response, error) { return answer(r, 503, "SlowDown"), nil },
		"Unavailable": func(r *http.Request) (*http.Response, error) { return answer(r, 503, "Whatever"), nil },
		"TooMany":     func(r *http.Request) (*http.Response, error) { return answer(r, 429, "TooManyRequests"), nil },
		"Internal":    func(r *http.Request) (*http.Response, error) { return answer(r, 500, "InternalError"), nil },
		"Gateway":     func(r *http.Request) (*http.Response, error) { return answer(r, 502, ""), nil },
		"Conflict": func(r *http.Request) (*http.Response, error) {
			return answer(r, 409, "ConditionalRequestConflict"), nil
		},
		"Network": func(*http.Request) (*http.Response, error) { return nil, errors.New("cable cut") },
	} {
		for op, call := range ops() {
			t.Run(name+"/"+op, func(t *testing.T) {
				var log buckettest.Log
				reg := prometheus.NewRegistry()
				meter, err := metrics.New(reg)
				if err != nil {
					t.Fatal(err)
				}
				cfg := config(t)
				cfg.Logger, cfg.Meter = slog.New(slog.NewTextHandler(&log, nil)), meter
				b, f := prepared(t, cfg, func(n int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
					if n == 1 {
						return fault(req)
					}
					return nil, nil
				})
				if err := call(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				want := 2
				if name == "Network" && op == "create" {
					want = 3 // it looks whether the object is there
				}
				if f.requests() != want {
					t.Errorf("have %d requests, want %d", f.requests(), want)
				}
				if n, err := testutil.GatherAndCount(reg, "oklog_bucket_retries_total"); err != nil || n != 1 {
					t.Errorf("have %d series of retries, %v", n, err)
				}
				if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "op="+op) {
					t.Errorf("no warning in the log: %s", log.String())
				}
			})
		}
	}
}

// TestAttemptsAreBounded: what does not pass is given up, and says so.
func TestAttemptsAreBounded(t *testing.T) {
	for op, call := range ops() {
		t.Run(op, func(t *testing.T) {
			cfg := config(t)
			cfg.Attempts = 3
			b, f := prepared(t, cfg, func(_ int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
				return answer(req, 503, "SlowDown"), nil
			})
			err := call(t.Context(), b)
			if err == nil || !strings.Contains(err.Error(), "tried 3 times") {
				t.Fatalf("have error %v", err)
			}
			if f.requests() != 3 {
				t.Errorf("have %d requests, want 3", f.requests())
			}
		})
	}
}

// TestTimeIsBounded: the operation's own limit ends it before the attempts run out.
func TestTimeIsBounded(t *testing.T) {
	cfg := config(t)
	cfg.Attempts, cfg.Timeout, cfg.Backoff = 1000000, 50*time.Millisecond, 10*time.Millisecond
	b, _ := prepared(t, cfg, func(_ int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(req, 500, "InternalError"), nil
	})
	_, err := b.Stat(t.Context(), "old")
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("have error %v, want one that does not pass for the caller's context's", err)
	}
}

// TestAnswersAreNotRepeated: an answer is one, whatever it is.
func TestAnswersAreNotRepeated(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", objstore.ErrNotFound},
		{404, "NoSuchBucket", objstore.ErrNoBucket},
		{403, "AccessDenied", objstore.ErrDenied},
		{403, "InvalidAccessKeyId", objstore.ErrDenied},
		{403, "SignatureDoesNotMatch", objstore.ErrDenied},
		{400, "XMinioParentIsObject", objstore.ErrBadKey},
	} {
		t.Run(c.code, func(t *testing.T) {
			b, f := prepared(t, config(t), func(_ int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
				return answer(req, c.status, c.code), nil
			})
			_, err := b.Get(t.Context(), "old", 0, make([]byte, 1))
			if !errors.Is(err, c.want) {
				t.Errorf("have error %v, want %v", err, c.want)
			}
			if f.requests() != 1 {
				t.Errorf("have %d requests, want 1", f.requests())
			}
		})
	}
}

// TestCreateLostAck: the object was made, the answer was lost, the repetition finds the object
// there: it is our own.
func TestCreateLostAck(t *testing.T) {
	b, f := prepared(t, config(t), func(n int, _ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if n == 1 {
			resp, err := send()
			if err != nil {
				return nil, err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return nil, fmt.Errorf("unexpected status %d", resp.StatusCode)
			}
			return nil, errors.New("answer lost")
		}
		return nil, nil
	})
	if err := b.Create(t.Context(), "mine", strings.NewReader("mine"), 4); err != nil {
		t.Fatal(err)
	}
	if f.requests() != 2 { // the one whose answer was lost, HEAD
		t.Errorf("have %d requests, want 2", f.requests())
	}
}

// TestCreateRefusedUnheard: a server that refuses the condition hangs up while the body is still being sent, every time,
// and its answer is never read. That the object is there says enough.
func TestCreateRefusedUnheard(t *testing.T) {
	b, f := prepared(t, config(t), func(_ int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		if req.Method == http.MethodPut && req.Header.Get("If-None-Match") != "" {
			return nil, errors.New("connection reset by peer")
		}
		return nil, nil
	})
	buckettest.MustPut(t, b, "theirs", []byte("theirs"))
	before := f.requests()
	if err := b.Create(t.Context(), "theirs", strings.NewReader("mine"), 4); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("have %v, want ErrExists", err)
	}
	if n := f.requests() - before; n != 2 {
		t.Errorf("have %d requests, want a PUT and a HEAD", n)
	}
}

// TestCreateLostToAnother: the first attempt did not arrive, and before the second one
// another process made the object, of the same bytes.
func TestCreateLostToAnother(t *testing.T) {
	cfg := config(t)
	other := newBucket(t, cfg)
	b, _ := prepared(t, cfg, func(n int, _ *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		if n == 1 {
			if err := other.Create(t.Context(), "theirs", strings.NewReader("same"), 4); err != nil {
				return nil, err
			}
			return nil, errors.New("never sent")
		}
		return nil, nil
	})
	err := b.Create(t.Context(), "theirs", strings.NewReader("same"), 4)
	if !errors.Is(err, objstore.ErrExists) {
		t.Fatalf("have error %v, want ErrExists", err)
	}
}

// TestListContinues: a page that fails is asked for again, and the listing has every key
// once.
func TestListContinues(t *testing.T) {
	cfg := config(t)
	cfg.Attempts = 2 // each key that arrives begins a new count
	plain := newBucket(t, cfg)
	const n = 2500
	group := make(chan error, 8)
	for w := range 8 {
		go func() {
			for i := w; i < n; i += 8 {
				if err := plain.Put(t.Context(), fmt.Sprintf("k/%05d", i), strings.NewReader("x"), 1); err != nil {
					group <- err
					return
				}
			}
			group <- nil
		}()
	}
	for range 8 {
		if err := <-group; err != nil {
			t.Fatal(err)
		}
	}
	b, f := prepared(t, cfg, func(n int, req *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		if n%2 == 0 { // every other page
			return answer(req, 503, "SlowDown"), nil
		}
		return nil, nil
	})
	keys, err := buckettest.Keys(t.Context(), b, "k/", "k/00099")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != n-100 {
		t.Fatalf("have %d keys, want %d", len(keys), n-100)
	}
	for i, k := range keys {
		if want := fmt.Sprintf("k/%05d", i+100); k != want {
			t.Fatalf("key %d is %s, want %s", i, k, want)
		}
	}
	if f.requests() < 4 {
		t.Errorf("have %d requests: the faults were not met", f.requests())
	}
	// start-after goes to the server: the last keys are one request.
	before := f.requests()
	if before%2 == 1 {
		before++ // the next one fails first
	}
	if keys, err := buckettest.Keys(t.Context(), b, "k/", "k/02490"); err != nil || len(keys) != 9 {
		t.Fatalf("have %d keys, %v", len(keys), err)
	}
	if f.requests() > before+1 {
		t.Errorf("have %d requests for one page", f.requests()-before)
	}
}

// TestConnectionsBreak: resets, stalls and answers cut short, on real connections.
func TestConnectionsBreak(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	data := buckettest.Bytes(1<<20, 1)
	for _, c := range []struct {
		name  string
		bytes int64
		stall bool
	}{
		{"ResetAtOnce", 0, false},
		{"ResetInHeader", 20, false},
		{"ResetInBody", 100_000, false},
		{"StallAtOnce", 0, true},
		{"StallInBody", 100_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			buckettest.MustPut(t, newBucket(t, cfg), "old", data)
			r := newRelay(t, cfg.Endpoint, func(conn int) (int64, bool) {
				if conn == 1 {
					return c.bytes, c.stall
				}
				return -1, false
			})
			cfg.Endpoint = r.addr()
			cfg.AttemptTimeout = time.Second
			b := newBucket(t, cfg)
			p := make([]byte, len(data))
			n, err := b.Get(t.Context(), "old", 0, p)
			if err != nil || n != len(data) || !bytes.Equal(p, data) {
				t.Fatalf("get: %d, %v", n, err)
			}
			if r.connections() < 2 {
				t.Error("the fault was not met")
			}
			b.Close()
		})
		t.Run(c.name+"/Put", func(t *testing.T) {
			cfg := config(t)
			r := newRelay(t, cfg.Endpoint, func(conn int) (int64, bool) {
				if conn == 1 {
					return min(c.bytes, 20), c.stall
				}
				return -1, false
			})
			direct := newBucket(t, cfg)
			cfg.Endpoint = r.addr()
			cfg.AttemptTimeout = time.Second
			b := newBucket(t, cfg)
			if err := b.Create(t.Context(), "new", bytes.NewReader(data), int64(len(data))); err != nil {
				t.Fatal(err)
			}
			have, err := buckettest.ReadAll(t.Context(), direct, "new")
			if err != nil || !bytes.Equal(have, data) {
				t.Fatalf("have %d bytes, %v", len(have), err)
			}
			if r.connections() < 2 {
				t.Error("the fault was not met")
			}
			b.Close()
			direct.Close()
		})
	}
}

// TestStalledListing: the limit of an attempt holds for each page, and not for the consumer.
func TestStalledListing(t *testing.T) {
	cfg := config(t)
	buckettest.MustPut(t, newBucket(t, cfg), "old", nil)
	r := newRelay(t, cfg.Endpoint, func(conn int) (int64, bool) {
		if conn == 1 {
			return 0, true
		}
		return -1, false
	})
	cfg.Endpoint, cfg.AttemptTimeout = r.addr(), 200*time.Millisecond
	keys, err := buckettest.Keys(t.Context(), newBucket(t, cfg), "", "")
	if err != nil || len(keys) != 1 {
		t.Fatalf("have %q, %v", keys, err)
	}
	if r.connections() != 2 {
		t.Errorf("have %d connections, want 2", r.connections())
	}
}

// TestCanceledWhileStalled: a call returns when its context ends, whatever the server does.
func TestCanceledWhileStalled(t *testing.T) {
	for op, call := range ops() {
		t.Run(op, func(t *testing.T) {
			cfg := config(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := newRelay(t, cfg.Endpoint, func(int) (int64, bool) {
				cancel()
				return 0, true
			})
			cfg.Endpoint = r.addr()
			if err := call(ctx, newBucket(t, cfg)); !errors.Is(err, context.Canceled) {
				t.Fatalf("have error %v, want canceled", err)
			}
		})
	}
}

// TestServerRestarts: a server that is killed and comes back is met again within the
// budget, and has what it acknowledged.
func TestServerRestarts(t *testing.T) {
	server := servers.MinIO(t)
	url := server.NewBucket(t, "restart")
	if !strings.HasPrefix(url, "s3://") {
		t.Fatal(url)
	}
	cfg := server.Config("restart")
	cfg.Attempts = 100
	b := newBucket(t, cfg)
	data := buckettest.Bytes(1<<20, 3)
	buckettest.MustPut(t, b, "object", data)
	server.Kill()
	restarted := make(chan error, 1)
	go func() { restarted <- server.Start(t.Context()) }()
	have, err := buckettest.ReadAll(t.Context(), b, "object")
	if err != nil || !bytes.Equal(have, data) {
		t.Fatalf("have %d bytes, %v", len(have), err)
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
}

// TestParts puts an object in parts, on both servers.
func TestParts(t *testing.T) {
	versity := servers.VersityGW(t)
	versity.NewBucket(t, "parts")
	for name, cfg := range map[string]s3.Config{"minio": config(t), "versitygw": versity.Config("parts")} {
		t.Run(name, func(t *testing.T) {
			cfg.MaxSinglePut = 1 << 20
			b := newBucket(t, cfg)
			data := buckettest.Bytes(70<<20, 4) // two parts
			buckettest.MustPut(t, b, "large", data)
			have, err := buckettest.ReadAll(t.Context(), b, "large")
			if err != nil || !bytes.Equal(have, data) {
				t.Fatalf("have %d bytes, %v", len(have), err)
			}
		})
	}
}

// TestDamagedOnTheWay: a body that arrives other than it was sent is refused by the
// server, and sent again.
func TestDamagedOnTheWay(t *testing.T) {
	b, f := prepared(t, config(t), func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if n == 1 {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			body[len(body)/2] ^= 1
			req.Body = io.NopCloser(bytes.NewReader(body))
			return send()
		}
		return nil, nil
	})
	data := buckettest.Bytes(100_000, 1)
	buckettest.MustPut(t, b, "new", data)
	if f.requests() != 2 {
		t.Errorf("have %d requests, want 2", f.requests())
	}
	have, err := buckettest.ReadAll(t.Context(), b, "new")
	if err != nil || !bytes.Equal(have, data) {
		t.Fatalf("have %d bytes, %v", len(have), err)
	}
}
