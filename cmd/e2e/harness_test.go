package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto/rand"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore/buckettest/servers"
)

// natsRole makes the test program a NATS server, "DIR LISTEN", that the tests can kill.
const natsRole = "OKLOG_E2E_NATS"

// bin is the folder with the programs under test.
var bin string

func TestMain(m *testing.M) {
	if role := os.Getenv(natsRole); role != "" {
		os.Exit(runNATS(role))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "oklog-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		// As make build does: what is linked, and how, shows in the time of a short query.
		cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator), "oklog/cmd/oklog", "oklog/cmd/oklog-query")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func runNATS(role string) int {
	dir, listen, _ := strings.Cut(role, " ")
	server, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	server.Shutdown()
	return 0
}

// proc is a process that is started, killed and started again.
type proc struct {
	tb   testing.TB
	name string
	path string
	args []string
	env  []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	out  bytes.Buffer  // of all the runs
	cpu  time.Duration // of the runs that have ended
	peak int64         // bytes of memory, as of stop
}

// Write takes what the process prints. It is called from the goroutine of one run at a time.
func (p *proc) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.Len() > 1<<20 {
		p.out.Next(1 << 19)
	}
	return p.out.Write(b)
}

func (p *proc) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// spawn starts one of the programs. It is killed when the test ends; its output is shown if that failed.
func spawn(tb testing.TB, program string, args ...string) *proc {
	tb.Helper()
	p := &proc{tb: tb, name: program + " " + args[0], path: filepath.Join(bin, program), args: args}
	p.start()
	return p
}

func (p *proc) start() {
	p.tb.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = p, p
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		p.tb.Fatalf("start %s: %v", p.name, err)
	}
	if p.cmd == nil {
		p.tb.Cleanup(func() {
			p.kill()
			if p.tb.Failed() {
				out := p.output()
				p.tb.Logf("%s printed:\n%s", p.name, out[max(0, len(out)-4000):])
			}
		})
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait() // the state tells
		p.mu.Lock()
		p.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		p.mu.Unlock()
		close(done)
	}()
}

// kill is kill -9.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// stop asks the process to stop, waits, and returns its exit status.
func (p *proc) stop() int {
	p.peak = max(p.peak, peakMemory(p.cmd.Process.Pid))
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

func (p *proc) wait() int {
	p.tb.Helper()
	select {
	case <-p.done:
	case <-time.After(2 * time.Minute):
		p.kill()
		p.tb.Fatalf("%s does not end; it printed:\n%s", p.name, p.output())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitOutput waits until the process has printed the text.
func (p *proc) awaitOutput(text string) {
	p.tb.Helper()
	eventually(p.tb, p.name+" prints "+text, func() bool {
		if p.ended() && !strings.Contains(p.output(), text) {
			p.tb.Fatalf("%s has ended with %d:\n%s", p.name, p.cmd.ProcessState.ExitCode(), p.output())
		}
		return strings.Contains(p.output(), text)
	})
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			tb.Fatalf("waited in vain until %s", what)
		}
	}
}

// system is what the programs run on: a NATS server and two S3 servers, each a process of its own.
type system struct {
	tb      testing.TB
	nats    *proc
	natsURL string
	minio   []*servers.Server
	buckets []string // URLs
}

// newSystem starts a NATS server and so many MinIO servers, with a bucket each.
func newSystem(tb testing.TB, minios int) *system {
	tb.Helper()
	addr := freeAddr(tb)
	s := &system{tb: tb, natsURL: "nats://" + addr}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	s.nats = &proc{tb: tb, name: "nats", path: self, env: []string{natsRole + "=" + tb.TempDir() + " " + addr}}
	s.nats.start()
	s.awaitNATS()
	for range minios {
		m := servers.MinIO(tb)
		s.minio = append(s.minio, m)
		s.buckets = append(s.buckets, m.NewBucket(tb, "logs"))
	}
	return s
}

func (s *system) awaitNATS() {
	s.tb.Helper()
	eventually(s.tb, "NATS answers", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.natsURL, "nats://"))
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// bucketFlags names the buckets.
func (s *system) bucketFlags() (args []string) {
	for _, b := range s.buckets {
		args = append(args, "--bucket", b)
	}
	return args
}

func (s *system) ingester(args ...string) *proc {
	s.tb.Helper()
	p := spawn(s.tb, "oklog", slices.Concat([]string{"ingest", "--wait", "--nats", s.natsURL}, s.bucketFlags(), args)...)
	p.awaitOutput("msg=ingesting")
	return p
}

// forward runs a forwarder to its end.
func (s *system) forward(args ...string) {
	s.tb.Helper()
	p := spawn(s.tb, "oklog", append([]string{"forward", "--nats", s.natsURL}, args...)...)
	if code := p.wait(); code != 0 {
		s.tb.Fatalf("oklog forward ends with %d: %s", code, p.output())
	}
}

// settled waits until ingesters have acked everything.
func (s *system) settled() {
	s.tb.Helper()
	js, err := stream.Connect(context.Background(), stream.Config{URL: s.natsURL})
	if err != nil {
		s.tb.Fatal(err)
	}
	defer func() {
		if err := js.Close(context.Background()); err != nil {
			s.tb.Error(err)
		}
	}()
	eventually(s.tb, "every batch is acked", func() bool {
		p, err := js.Pending(context.Background())
		return err == nil && p.Messages == 0
	})
}

// query runs oklog-query and returns what it prints and its exit status.
func query(tb testing.TB, args ...string) (stdout []byte, code int) {
	tb.Helper()
	cmd := exec.Command(filepath.Join(bin, "oklog-query"), args...)
	dieWithUs(cmd)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the state tells
	code = cmd.ProcessState.ExitCode()
	if code > 1 || code < 0 {
		tb.Errorf("oklog-query %q ends with %d: %s", args, code, errs.String())
	}
	return out.Bytes(), code
}

// corpus is a real log to run on: the one named in the folder CORPORA, or the shipped sample.
func corpus(tb testing.TB, name string) string {
	tb.Helper()
	if dir := os.Getenv("CORPORA"); dir != "" {
		return filepath.Join(dir, name+".log")
	}
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "../../testdata/sample/*.log"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no sample logs in testdata/sample (%v)", err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b...)
	}
	path := filepath.Join(tb.TempDir(), "sample.log")
	if err := os.WriteFile(path, all, 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func unique(tb testing.TB) string {
	tb.Helper()
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		tb.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}
