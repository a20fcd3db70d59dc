package buckettest_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/dir"
	"oklog/objstore/s3"
)

func memory(t *testing.T) objstore.Bucket { return objstore.NewMemory("memory", time.Now) }

func folder(t *testing.T) objstore.Bucket {
	b, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// onServer returns a maker of buckets, and of prefixes in one bucket, on a server.
func onServer(server *servers.Server, bucket string, prefixed bool) func(t *testing.T) objstore.Bucket {
	var n atomic.Int64
	return func(t *testing.T) objstore.Bucket {
		cfg := server.Config(fmt.Sprintf("%s-%d", bucket, n.Add(1)))
		if prefixed {
			cfg.Bucket = bucket
			cfg.Prefix = fmt.Sprintf("one/p%d", n.Add(1))
		}
		b, err := s3.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if err := b.Make(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func replicated(quorum int, makers ...func(*testing.T) objstore.Bucket) func(t *testing.T) objstore.Bucket {
	return func(t *testing.T) objstore.Bucket {
		var buckets []objstore.Bucket
		for _, f := range makers {
			buckets = append(buckets, f(t))
		}
		r, err := objstore.NewReplicated(buckets, quorum, objstore.ReplicatedConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(t.Context()); err != nil && !strings.Contains(err.Error(), "canceled") {
				t.Error(err)
			}
		})
		return r
	}
}

func TestMemory(t *testing.T) { buckettest.Run(t, memory) }

func TestDir(t *testing.T) { buckettest.Run(t, folder) }

func TestMinIO(t *testing.T) {
	server := servers.MinIO(t)
	t.Run("Bucket", func(t *testing.T) { buckettest.Run(t, onServer(server, "plain", false)) })
	t.Run("Prefix", func(t *testing.T) { buckettest.Run(t, onServer(server, "prefixes", true)) })
	t.Run("Replicated", func(t *testing.T) {
		buckettest.Run(t, replicated(2, onServer(server, "replicated", false), folder))
	})
}

func TestVersityGW(t *testing.T) {
	server := servers.VersityGW(t)
	t.Run("Bucket", func(t *testing.T) { buckettest.Run(t, onServer(server, "plain", false)) })
	t.Run("Prefix", func(t *testing.T) { buckettest.Run(t, onServer(server, "prefixes", true)) })
}

func TestReplicated(t *testing.T) {
	for _, c := range []struct{ n, w int }{{1, 1}, {2, 1}, {2, 2}, {3, 2}} {
		t.Run(fmt.Sprintf("%dof%d", c.w, c.n), func(t *testing.T) {
			var makers []func(*testing.T) objstore.Bucket
			for range c.n {
				makers = append(makers, memory)
			}
			buckettest.Run(t, replicated(c.w, makers...))
		})
	}
	t.Run("MemoryDir", func(t *testing.T) { buckettest.Run(t, replicated(1, memory, folder)) })
}

// TestFaultless runs the contract on a Faulty without faults: the wrapper adds nothing.
func TestFaultless(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) objstore.Bucket { return &buckettest.Faulty{Next: memory(t)} })
}
