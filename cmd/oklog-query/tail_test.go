package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
)

// tailText is output that is read while it is written.
type tailText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *tailText) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *tailText) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// tailing is a tail that runs.
type tailing struct {
	out, errs tailText
	cancel    context.CancelFunc
	done      chan int
}

func startTailing(t *testing.T, args ...string) *tailing {
	t.Helper()
	tl := &tailing{done: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	tl.cancel = cancel
	t.Cleanup(cancel)
	go func() { tl.done <- run(ctx, append([]string{"oklog-query", "tail"}, args...), nil, &tl.out, &tl.errs) }()
	return tl
}

func (tl *tailing) await(t *testing.T, out string) {
	t.Helper()
	for range 3000 {
		if tl.out.String() == out {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("want %q\nhave %q, %q", out, tl.out.String(), tl.errs.String())
}

// publisher publishes records to a topic, each batch a session of its own.
func publisher(t *testing.T) (url string, publish func(records ...string)) {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	s, err := stream.Connect(t.Context(), stream.Config{URL: server.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server.ClientURL(), func(records ...string) {
		t.Helper()
		name, body := put(t, time.Now(), []string{"host=b", "job=test"}, plain(records...))
		ack, err := s.Publish(t.Context(), "web", name.String(), body)
		if err == nil {
			err = ack.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTail(t *testing.T) {
	b, bucket := folder(t)
	url, publish := publisher(t)
	store(t, b, "web", time.Now().Add(-time.Minute), plain("stored error 1", "stored 2"))
	time.Sleep(2 * time.Millisecond)
	publish("unflushed error 3", "unflushed 4")
	base := []string{"--nats", url, "--topic", "web"}

	all := startTailing(t, append(base, "--bucket", bucket)...)
	few := startTailing(t, append(base, "--bucket", bucket, "-n2", "-v", "--color", "never", "4")...)
	hot := startTailing(t, append(base, "-i", "ERROR", "--color=always")...)
	none := startTailing(t, append(base, "-n0", "-E", "^new", "--source", "host=b")...)
	all.await(t, "stored error 1\nstored 2\nunflushed error 3\nunflushed 4\n")
	few.await(t, "stored 2\nunflushed error 3\n")
	hot.await(t, "unflushed \x1b[1;31merror\x1b[0m 3\n")
	probe := 0
	for none.out.String() == "" { // it says nothing until it is there
		probe++
		publish("new error 5")
		time.Sleep(20 * time.Millisecond)
	}
	again := strings.Repeat("new error 5\n", probe)
	all.await(t, "stored error 1\nstored 2\nunflushed error 3\nunflushed 4\n"+again)
	few.await(t, "stored 2\nunflushed error 3\n"+again)
	hot.await(t, "unflushed \x1b[1;31merror\x1b[0m 3\n"+strings.ReplaceAll(again, "error", "\x1b[1;31merror\x1b[0m"))
	for _, tl := range []*tailing{all, few, hot, none} {
		tl.cancel()
		if code := <-tl.done; code != exitInterrupt || tl.errs.String() != "" {
			t.Errorf("it ends with %d and %q", code, tl.errs.String())
		}
	}
}

func TestTailEndsAfterSome(t *testing.T) {
	url, publish := publisher(t)
	tl := startTailing(t, "--nats", url, "-t", "web", "-m", "2", "--json", "deploy")
	ended := false
	for n := 0; !ended; n++ {
		publish(fmt.Sprintf("deploy %d", n), "other")
		select {
		case code := <-tl.done:
			if code != exitFound {
				t.Errorf("it ends with %d: %s", code, tl.errs.String())
			}
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	lines := strings.Split(strings.TrimSuffix(tl.out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("have %q", lines)
	}
	var r struct {
		Text   string
		Source map[string]string
	}
	if err := json.Unmarshal([]byte(lines[0]), &r); err != nil || !strings.HasPrefix(r.Text, "deploy ") || r.Source["host"] != "b" {
		t.Errorf("have %q: %v", lines[0], err)
	}
}

// Whoever reads has seen enough: that is no error.
func TestTailWithoutReader(t *testing.T) {
	url, publish := publisher(t)
	publish("x")
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var errs tailText
	if code := run(t.Context(), []string{"oklog-query", "tail", "--nats", url, "--topic", "web"}, nil, w, &errs); code != exitFound || errs.String() != "" {
		t.Errorf("it ends with %d, %q", code, errs.String())
	}
}

// A topic that is misspelled is silent for ever: that there is none is told, and it is waited for.
func TestTailOfNoTopic(t *testing.T) {
	b, bucket := folder(t)
	url, publish := publisher(t)
	store(t, b, "db", time.Now().Add(-time.Minute), plain("x"))
	tl := startTailing(t, "--nats", url, "--topic", "web", "--bucket", bucket)
	const want = "oklog-query: there is no topic web yet; topics here: db; waiting for its first record\n"
	for range 3000 {
		if tl.errs.String() != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	publish("now")
	tl.await(t, "now\n")
	if have := tl.errs.String(); have != want {
		t.Errorf("want %q, have %q", want, have)
	}
	tl.cancel()
	if code := <-tl.done; code != exitInterrupt {
		t.Errorf("have %d", code)
	}

	var out, errs tailText
	server := serve(t, b, "") // which has no tail
	run(t.Context(), []string{"oklog-query", "tail", "--server", server, "--topic", "db"}, nil, &out, &errs)
	if strings.Contains(errs.String(), "there is no topic") {
		t.Errorf("have %q", errs.String())
	}
}

func TestTailRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-t web", "--nats is missing: new records come from there, such as --nats nats://127.0.0.1:4222, or set OKLOG_NATS..."},
		{"--nats nats://127.0.0.1:1", "--topic is missing..."},
		{"--nats nats://127.0.0.1:1 -t web", "connect to NATS..."},
		{"--nats nats://127.0.0.1:1 -t web -n -1", "--lines -1: want at least 0"},
		{"--nats nats://127.0.0.1:1 -t web -n 10001", "--lines 10001: want 0 to 10000; oklog-query --newest finds more"},
		{"--nats nats://127.0.0.1:1 -t web -m 0", "--limit 0: want at least 1"},
		{"--nats nats://127.0.0.1:1 -t web -E a(b", "bad pattern..."},
		{"--nats nats://127.0.0.1:1 -t web a b", `2 patterns ("a", "b")...`},
		{"--nats nats://127.0.0.1:1 -t web -e a b", `the pattern "b" stands beside -e...`},
		{"--nats nats://127.0.0.1:1 -t web --source x", "--source x: want KEY=VALUE..."},
		{"--nats nats://127.0.0.1:1 -t web --color red", "--color red: want auto, always or never"},
		{"--nats http://x -t web", "connect to NATS: bad URL..."},
		{"--nonsense", "there is no flag --nonsense: see oklog-query tail --help"},
	} {
		var out, errs tailText
		code := run(t.Context(), append([]string{"oklog-query", "tail"}, strings.Fields(c.args)...), nil, &out, &errs)
		want, open := strings.CutSuffix(c.want, "...")
		have := errs.String()
		fits := have == "oklog-query: "+want+"\n" || open && strings.HasPrefix(have, "oklog-query: "+want)
		if !fits || strings.Count(have, "\n") != 1 || out.String() != "" || code != exitTrouble {
			t.Errorf("%q:\nwant %s\nhave %s (%d, %q)", c.args, c.want, have, code, out.String())
		}
	}
}
