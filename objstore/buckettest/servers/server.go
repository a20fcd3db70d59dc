package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"oklog/objstore/s3"
)

// startTimeout bounds how long a server may take until it answers, on a busy machine too.
const startTimeout = 2 * time.Minute

// Server is a running S3 server.
type Server struct {
	Name      string // of the program
	Addr      string // HOST:PORT, plain HTTP; it stays the same for Start
	AccessKey string
	SecretKey string
	Dir       string // its data

	spec   spec
	binary string

	mu      sync.Mutex // guards what follows
	process *process   // nil if it is not running
}

// spec is what tells one kind of server from another.
type spec struct {
	tool   tool
	args   func(s *Server) []string
	env    func(s *Server) []string
	health string // a path that answers 200 once the server is ready
}

func minioSpec() spec {
	return spec{
		tool: minioTool(),
		args: func(s *Server) []string {
			return []string{"server", "--quiet", "--address", s.Addr, "--console-address", "127.0.0.1:0",
				filepath.Join(s.Dir, "data")}
		},
		env: func(s *Server) []string {
			return []string{"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
				"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "MINIO_CI_CD=on"}
		},
		health: "/minio/health/ready",
	}
}

func versitySpec() spec {
	return spec{
		tool: versityTool(),
		args: func(s *Server) []string {
			return []string{"--port", s.Addr, "--health", "/healthz", "--quiet", "posix", filepath.Join(s.Dir, "data")}
		},
		env: func(s *Server) []string {
			return []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
		},
		health: "/healthz",
	}
}

// MinIO starts a MinIO server with an empty data folder that ends with the test.
func MinIO(tb testing.TB) *Server { return start(tb, StartMinIO) }

// VersityGW starts a Versity S3 gateway over an empty folder that ends with the test.
func VersityGW(tb testing.TB) *Server { return start(tb, StartVersityGW) }

func start(tb testing.TB, f func(context.Context, string) (*Server, error)) *Server {
	tb.Helper()
	s, err := f(tb.Context(), tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// StartMinIO is MinIO for programs: dir holds the server's data and is the caller's to
// remove; Kill ends the server.
func StartMinIO(ctx context.Context, dir string) (*Server, error) {
	return launch(ctx, minioSpec(), dir)
}

// StartVersityGW is VersityGW for programs, as StartMinIO is MinIO.
func StartVersityGW(ctx context.Context, dir string) (*Server, error) {
	return launch(ctx, versitySpec(), dir)
}

func launch(ctx context.Context, sp spec, dir string) (*Server, error) {
	binary, err := sp.tool.install(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"data", "home"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("start %s: %w", sp.tool.name, err)
		}
	}
	var secret [12]byte
	rand.Read(secret[:]) // never fails
	s := &Server{
		Name: sp.tool.name, AccessKey: "oklogtest", SecretKey: hex.EncodeToString(secret[:]),
		Dir: dir, spec: sp, binary: binary,
	}
	// Between finding a free port and the server's taking it somebody else may: try again.
	for attempt := 1; ; attempt++ {
		if s.Addr, err = freeAddr(); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		err = s.Start(ctx)
		if err == nil {
			return s, nil
		}
		if attempt == 3 || !errors.Is(err, errExited) {
			return nil, err
		}
	}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// errExited says that the program ended before it was ready.
var errExited = errors.New("it exited")

// Start starts the server again after Kill, on the same address and data, and returns
// when it answers. It does nothing for one that runs.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.process.alive() {
		return nil
	}
	cmd := exec.Command(s.binary, s.spec.args(s)...)
	cmd.Env = append(without(os.Environ(), "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "HOME"), s.spec.env(s)...)
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(s.Dir, "home"))
	cmd.Dir = s.Dir
	p, err := run(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	s.process = p
	if err := s.awaitReady(ctx, p); err != nil {
		p.kill()
		return fmt.Errorf("start %s on %s: %w; its output:\n%s", s.Name, s.Addr, err, p.output())
	}
	return nil
}

func (s *Server) awaitReady(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+s.spec.health, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-p.done:
			return errExited
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		}
	}
}

// Kill ends the server as a crash does, with SIGKILL, and returns when it is gone. Start
// resumes it. Killing one that does not run does nothing.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// URL returns the bucket's URL as --bucket takes it, with the server's credentials in it.
func (s *Server) URL(bucket string) string {
	u := url.URL{Scheme: "s3", User: url.UserPassword(s.AccessKey, s.SecretKey), Host: s.Addr, Path: "/" + bucket, RawQuery: "tls=false"}
	return u.String()
}

// Config returns the settings of a client for the bucket.
func (s *Server) Config(bucket string) s3.Config {
	return s3.Config{Endpoint: s.Addr, Bucket: bucket, Insecure: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
}

// CreateBucket makes a bucket on the server; one that is there already is no error.
func (s *Server) CreateBucket(ctx context.Context, bucket string) error {
	b, err := s3.New(s.Config(bucket))
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Make(ctx)
}

// NewBucket makes a bucket for a test and returns its URL.
func (s *Server) NewBucket(tb testing.TB, bucket string) string {
	tb.Helper()
	if err := s.CreateBucket(tb.Context(), bucket); err != nil {
		tb.Fatal(err)
	}
	return s.URL(bucket)
}

// process is a started program and the goroutine that waits for it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	tail tail
}

// run starts cmd on a thread of its own that stays until the program ends: on Linux the
// program is killed when the thread that started it ends.
func run(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.tail, &p.tail
	cmd.WaitDelay = 5 * time.Second
	dieWithParent(cmd)
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by its output
		}
	}()
	return p, <-started
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) kill() {
	if p.alive() {
		_ = p.cmd.Process.Kill() // fails only if it has just ended by itself
	}
	<-p.done
}

func (p *process) output() []byte { return p.tail.bytes() }

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}
