package api

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A connection that has to go is closed without a word: a client that does not read would have everybody wait for it.
func TestEvictedWithoutGoodbye(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	defer s.Close()
	raw, theirs := net.Pipe()
	defer raw.Close()
	server := tls.Server(theirs, s.TLS)
	shaken := make(chan error, 1)
	go func() { shaken <- server.HandshakeContext(t.Context()) }()
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) //nolint:gosec // there is nobody else
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	read := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, raw) // until it is closed
		read <- n
	}()
	c := newConnections(1)
	c.changed(server, http.StateNew)
	c.changed(server, http.StateIdle)
	other, end := net.Pipe()
	defer other.Close()
	defer end.Close()
	c.changed(other, http.StateNew)
	if n := <-read; n != 0 {
		t.Errorf("%d bytes of a goodbye", n)
	}
}
