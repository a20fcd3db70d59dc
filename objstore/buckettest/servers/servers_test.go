package servers_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"oklog/objstore/buckettest"
	"oklog/objstore/buckettest/servers"
	"oklog/objstore/open"
)

// TestKillAndStart: what was stored before SIGKILL is there afterwards, under the same URL.
func TestKillAndStart(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *servers.Server{"MinIO": servers.MinIO, "VersityGW": servers.VersityGW} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			url := s.NewBucket(t, "bucket")
			b, err := open.Bucket(t.Context(), []string{url}, open.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close(context.Background())
			buckettest.MustPut(t, b, "object", []byte("data"))
			for range 2 {
				s.Kill()
				s.Kill()
				if c, err := net.Dial("tcp", s.Addr); err == nil {
					c.Close()
					t.Fatal("the server is still there")
				}
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := s.Start(t.Context()); err != nil { // it runs already
					t.Fatal(err)
				}
				have, err := buckettest.ReadAll(t.Context(), b, "object")
				if err != nil || string(have) != "data" {
					t.Fatalf("have %q, %v", have, err)
				}
			}
		})
	}
}

const orphanEnv = "OKLOG_SERVERS_ORPHAN_TEST"

// TestDiesWithParent: a test process that is killed leaves no server behind.
func TestDiesWithParent(t *testing.T) {
	if dir := os.Getenv(orphanEnv); dir != "" {
		s, err := servers.StartVersityGW(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(s.Addr + "\n")
		<-t.Context().Done() // it is killed here
		return
	}
	if !servers.DiesWithParent() {
		t.Log("this system cannot tie a process to its parent: nothing to test")
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithParent$")
	cmd.Env = append(os.Environ(), orphanEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(string(buf[:n]))
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatalf("the child said %q", buf[:n])
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	deadline := time.Now().Add(time.Minute) // a bound for a test that fails, not an expectation
	for {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server outlives the process that started it")
		}
	}
}
