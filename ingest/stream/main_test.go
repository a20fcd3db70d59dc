package stream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/ingest/stream/embedded"
)

// The test binary is also the server that the crash tests kill.
const (
	serverDirEnv    = "OKLOG_TEST_SERVER_DIR"
	serverListenEnv = "OKLOG_TEST_SERVER_LISTEN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDirEnv); dir != "" {
		if err := serveUntilStdinEnds(dir, os.Getenv(serverListenEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func serveUntilStdinEnds(dir, listen string) error {
	srv, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
	if err != nil {
		return err
	}
	fmt.Println(srv.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin) // ends with the test, however that ends
	srv.Shutdown()
	return err
}

// process is a server that can be killed.
type process struct {
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startProcess(t *testing.T, dir, listen string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serverDirEnv+"="+dir, serverListenEnv+"="+listen)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("server in %s did not start: %v", dir, err)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// kill is kill -9. What it returns is of no interest: the process was killed.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	p.cmd = nil
}

func testServer(t testing.TB, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	srv, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	return srv
}

// testContext bounds a test that hangs, which is a failure.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func testConnect(t testing.TB, cfg Config) *Stream {
	t.Helper()
	s, err := Connect(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// testStream is a connection to a new server with everything in place.
func testStream(t testing.TB, cfg Config) *Stream {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = testServer(t, embedded.Config{}).ClientURL()
	}
	s := testConnect(t, cfg)
	if err := s.Ensure(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPublish(t testing.TB, s *Stream, topic, id, body string) {
	t.Helper()
	ctx := testContext(t)
	a, err := s.Publish(ctx, topic, id, []byte(body))
	if err == nil {
		err = a.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustConsume(t testing.TB, s *Stream, cfg ConsumeConfig) *Consumer {
	t.Helper()
	c, err := s.Consume(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func mustNext(t testing.TB, c *Consumer) *Message {
	t.Helper()
	m, err := c.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustAck(t testing.TB, m *Message) {
	t.Helper()
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

func pendingMessages(t testing.TB, s *Stream) uint64 {
	t.Helper()
	p, err := s.Pending(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return p.Messages
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.buf.String(), text)
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
