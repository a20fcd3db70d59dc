package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"oklog/ingest/stream/embedded"
)

func TestConnectErrors(t *testing.T) {
	open := testServer(t, embedded.Config{}).ClientURL()
	closed := testServer(t, embedded.Config{User: "u", Password: "right"}).ClientURL()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n"))
			_ = conn.Close()
		}
	}()

	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"refused":        {Config{URL: "nats://" + nobody}, []string{nobody, "refused", "--nats"}},
		"two refused":    {Config{URL: "nats://" + nobody + "," + nobody}, []string{nobody, "refused"}},
		"unknown host":   {Config{URL: "nats://no-such-host.invalid:4222"}, []string{"no-such-host.invalid", "host's name"}},
		"no credentials": {Config{URL: closed}, []string{"refuses the credentials"}},
		"wrong password": {Config{URL: closed, Auth: Auth{User: "u", Password: "wrong"}}, []string{"refuses the credentials", "--nats"}},
		"password in URL": {Config{URL: strings.Replace(closed, "//", "//u:sesame@", 1)},
			[]string{"u:xxxxx@", "refuses the credentials"}},
		"not NATS":       {Config{URL: "nats://" + other.Addr().String()}, []string{"other than NATS"}},
		"no TLS there":   {Config{URL: strings.Replace(open, "nats:", "tls:", 1)}, []string{"no TLS"}},
		"scheme":         {Config{URL: "http://h:1"}, []string{"unknown scheme http", "nats://HOST:PORT"}},
		"no host":        {Config{URL: "nats://"}, []string{"no host"}},
		"unparsable":     {Config{URL: "nats://u:sesame%@h:1"}, []string{"bad URL", "--nats"}},
		"no creds file":  {Config{URL: open, Auth: Auth{CredentialsFile: "/no/such"}}, []string{"/no/such", "--nats-creds"}},
		"no nkey file":   {Config{URL: open, Auth: Auth{NKeyFile: "/no/such"}}, []string{"/no/such", "--nats-nkey"}},
		"no CA file":     {Config{URL: open, TLS: TLS{CA: "/no/such"}}, []string{"/no/such", "--nats-ca"}},
		"cert, no key":   {Config{URL: open, TLS: TLS{Cert: "c"}}, []string{"--nats-key"}},
		"two identities": {Config{URL: open, Auth: Auth{User: "u", Password: "p", Token: "t"}}, []string{"not several"}},
		"stream name":    {Config{URL: open, Stream: "A.B"}, []string{"--nats-stream"}},
		"replicas":       {Config{URL: open, Replicas: 2}, []string{"--nats-replicas"}},
		"stream size":    {Config{URL: open, MaxBytes: 5}, []string{"--nats-max-bytes"}},
		"ack wait":       {Config{URL: open, AckWait: time.Millisecond}, []string{"ack wait"}},
		"in flight":      {Config{URL: open, MaxInFlight: -1}, []string{"in flight"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Connect(testContext(t), c.cfg)
			if err == nil {
				_ = s.Close(context.Background())
				t.Fatal("connected")
			}
			if !errors.Is(err, ErrConnect) {
				t.Errorf("not ErrConnect: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("want %q in: %v", w, err)
				}
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "sesame") {
				t.Errorf("more than a line, or a password in: %v", err)
			}
		})
	}
}

// JetStream that does not answer may do so later, as when the server was killed a moment ago: who waits for it goes on.
func TestConnectUnanswered(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true,
		Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.>"}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	_, err = Connect(testContext(t), Config{URL: srv.ClientURL(), Auth: Auth{User: "u", Password: "p"}})
	if !errors.Is(err, ErrConnect) || !Retryable(err) || !strings.Contains(err.Error(), "JetStream does not answer") || !strings.Contains(err.Error(), "$JS.API") {
		t.Errorf("have error %v", err)
	}
}

func TestConnectHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, Config{URL: "nats://192.0.2.1:4222"}) // answers nobody
	if !errors.Is(err, ErrConnect) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestConnectInProcessAndWithPassword(t *testing.T) {
	srv := testServer(t, embedded.Config{User: "u", Password: "right"})
	for _, cfg := range []Config{
		{InProcess: srv, Auth: Auth{User: "u", Password: "right"}},
		{URL: srv.ClientURL(), Auth: Auth{User: "u", Password: "right"}},
		{URL: strings.Replace(srv.ClientURL(), "//", "//u:right@", 1)},
	} {
		s := testStream(t, cfg)
		mustPublish(t, s, "t", rand.Text(), "x")
		if !s.Connected() || s.MaxBatch() != embedded.DefaultMaxPayload-headroom {
			t.Errorf("connected %v, batches of %d", s.Connected(), s.MaxBatch())
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	server, ca := selfMade(t, dir)
	url := testServer(t, embedded.Config{TLS: server}).ClientURL()

	s := testStream(t, Config{URL: url, TLS: TLS{CA: ca}})
	mustPublish(t, s, "t", "1", "x")

	_, err := Connect(testContext(t), Config{URL: url})
	if !errors.Is(err, ErrConnect) || !strings.Contains(err.Error(), "--nats-ca") {
		t.Errorf("without the CA: %v", err)
	}
}

// selfMade makes an authority and a certificate of its for 127.0.0.1.
func selfMade(t *testing.T, dir string) (server *tls.Config, caFile string) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := newKey()
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key := newKey()
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}, caFile
}

// A program that waits for its server starts without one, says so, refuses publishes meanwhile, and goes on when it comes.
func TestWaitForServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var logs logBuffer
	up := make(chan bool, 10)
	s := testConnect(t, Config{
		URL: "nats://" + addr, WaitForServer: true, Logger: logs.logger(),
		OnConnection: func(connected bool) { up <- connected },
	})
	if _, err := s.Publish(t.Context(), "t", "1", nil); !errors.Is(err, ErrUnavailable) || !Retryable(err) {
		t.Errorf("publish without a server: %v", err)
	}
	if err := s.Ensure(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("ensure without a server: %v", err)
	}
	for _, err := range s.Unflushed(t.Context(), "t") {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("unflushed without a server: %v", err)
		}
	}
	if s.Connected() || s.MaxBatch() != assumedPayload-headroom {
		t.Errorf("connected %v, batches of %d", s.Connected(), s.MaxBatch())
	}
	eventually(t, "the log tells of failed attempts", func() bool { return logs.has("still no connection") && logs.has("refused") })

	testServer(t, embedded.Config{Listen: addr})
	if !<-up {
		t.Error("the first change of the connection is a loss")
	}
	if err := s.Ensure(testContext(t)); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, "t", "1", "x")
}

func TestRecent(t *testing.T) {
	for version, want := range map[string]bool{
		"2.12.3": true, "2.12.10": true, "2.15.2": true, "3.0.0": true, "v2.13.0-RC.1": true, "2.12.3-beta": true,
		"2.12.2": false, "2.11.12": false, "1.99.99": false, "": false, "2.12": false, "2.x.1": false,
	} {
		if have := recent(version); have != want {
			t.Errorf("recent(%q) = %v", version, have)
		}
	}
}

// A server that tells an old version is refused: the greeting of one is all that it takes.
func TestOldServerIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(`INFO {"server_id":"X","version":"2.12.1","max_payload":1048576,"headers":true,"jetstream":true}` + "\r\n"))
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "PING") {
				_, _ = conn.Write([]byte("PONG\r\n"))
			}
		}
	}()
	_, err = Connect(testContext(t), Config{URL: "nats://" + l.Addr().String()})
	if !errors.Is(err, ErrOldServer) || !strings.Contains(err.Error(), "2.12.1") || !strings.Contains(err.Error(), minVersion) {
		t.Errorf("connect: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
