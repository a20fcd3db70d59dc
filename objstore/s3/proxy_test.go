package s3_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// faults is a transport that gives some requests to do as the test likes.
type faults struct {
	next http.RoundTripper
	// hook is given the number of the request, from 1. It may answer it by itself, send it
	// with send, or return neither: then it is sent.
	hook func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error)

	mu sync.Mutex
	n  int
}

func (f *faults) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	resp, err := f.hook(n, req, func() (*http.Response, error) { return f.next.RoundTrip(req) })
	if resp == nil && err == nil {
		return f.next.RoundTrip(req)
	}
	return resp, err
}

func (f *faults) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// answer makes an S3 error response.
func answer(req *http.Request, status int, code string) *http.Response {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	body := "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" + code + "</Code><Message>made up by the test</Message></Error>"
	if req.Method == http.MethodHead {
		body = ""
	}
	h := http.Header{"Content-Type": {"application/xml"}}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// relay passes TCP connections on to a server, and ill-treats them.
type relay struct {
	listener net.Listener
	// plan says, by the number of a connection from 1, how many bytes of answers it
	// passes on; then it ends the connection, or with stall leaves it hanging. Below 0: all.
	plan func(conn int) (bytes int64, stall bool)

	group sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
	n     int
	done  bool
}

func newRelay(t *testing.T, target string, plan func(int) (int64, bool)) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, plan: plan}
	r.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.group.Go(func() { r.serve(c, target) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		r.done = true
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.group.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func (r *relay) serve(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	r.n++
	n := r.n
	r.conns = append(r.conns, client, server)
	done := r.done
	r.mu.Unlock()
	if done {
		return
	}
	limit, stall := r.plan(n)
	r.group.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	if limit < 0 {
		_, _ = io.Copy(client, server)
		return
	}
	_, _ = io.CopyN(client, server, limit)
	if stall {
		_, _ = io.Copy(io.Discard, server) // until the client or the test ends it
		return
	}
	_ = client.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
}
