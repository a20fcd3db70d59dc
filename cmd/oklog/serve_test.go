package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"oklog/query"
	"oklog/query/api"
	"oklog/query/client"
)

// What serve is told and cannot be: one line that names the flag.
func TestServeBadInput(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "tokens")
	if err := os.WriteFile(bad, []byte("me short topics=*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		code, _, stderr := oklog(ctx, "", append([]string{"serve", "--bucket", fileURL(dir)}, args...)...)
		last := stderr[strings.LastIndex(strings.TrimSpace(stderr), "\n")+1:]
		if code != exitError || !strings.Contains(last, want) || strings.Count(last, "\n") != 1 || ctx.Err() != nil {
			t.Errorf("%q: want %q, have %d: %s", args, want, code, stderr)
		}
	}
	f("--tokens", "--listen", "0.0.0.0:0")
	f("--tokens", "--listen", ":0")
	f("--tokens", "--listen", "[::]:0")
	f("--tokens", "--listen", "example.com:7651")
	f("--listen", "--listen", "7651")
	f("--listen", "--listen", "127.0.0.1:99999")
	f("--tls-key", "--tls-cert", "x")
	f("--tls-cert", "--tls-cert", filepath.Join(dir, "no"), "--tls-key", filepath.Join(dir, "no"), "--listen", "127.0.0.1:0")
	f("contradict", "--tokens", bad, "--insecure-no-auth")
	f("--tokens", "--tokens", filepath.Join(dir, "no"), "--listen", ":0")
	f("line 1: bad secret", "--tokens", bad, "--listen", "127.0.0.1:0")
	f("--max-concurrent", "--max-concurrent", "0")
	f("--max-waiting", "--max-waiting", "0")
	f("--max-wait", "--max-wait", "0s")
	f("--max-query-time", "--max-query-time", "-1s")
	f("--max-query-bytes", "--max-query-bytes", "lots")
	f("--memory", "--memory", "32MiB")
	f("--cache-size", "--cache-size", "1GB")
	f("--cache-size", "--cache", dir, "--cache-size", "1MB")
	f("unexpected argument", "x")
}

// writeCertificate makes a certificate for 127.0.0.1 and returns it.
func writeCertificate(t *testing.T, serial int64, certFile, keyFile string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "oklog"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, b := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}

// Served over TLS, with a token, from a command to its end.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key, tokens, bucket := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "tokens"), filepath.Join(dir, "bucket")
	writeCertificate(t, 1, cert, key)
	const secret = "0123456789abcdef"
	if err := os.WriteFile(tokens, []byte("me "+secret+" topics=demo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := oklog(t.Context(), "one\ntwo\n", "forward", "--topic", "demo", "--mode", "bulk", "--bucket", fileURL(bucket)); code != exitOK {
		t.Fatal(stderr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs output
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"oklog", "serve", "--bucket", fileURL(bucket), "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--tokens", tokens, "--cache", filepath.Join(dir, "cache")},
			streams{strings.NewReader(""), &out, &errs})
	}()
	var url string
	for url == "" {
		if m := regexp.MustCompile(`url=(https://\S+)/api/v1/`).FindStringSubmatch(errs.String()); m != nil {
			url = m[1]
		}
		select {
		case code := <-ended:
			t.Fatalf("it ends with %d: %s", code, errs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	c, err := client.New(client.Config{URL: url, Token: secret, CA: cert})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ans, err := c.Run(t.Context(), query.Request{Topic: "demo", Patterns: []string{"two"}}, func(query.Record) error { return nil })
	if err != nil || ans.Count != 1 {
		t.Errorf("%+v %v", ans, err)
	}
	c.Close()
	cancel()
	if code := <-ended; code != exitOK || strings.Contains(errs.String(), secret) {
		t.Errorf("%d: %s", code, errs.String())
	}
}

// A new certificate counts; while one is wrong, that from before does.
func TestCertificateReloads(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, 1, certFile, keyFile)
	var log bytes.Buffer
	c, err := openCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.read = time.Time{} // long ago
		cert, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		x, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return x.SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Error(n)
	}
	writeCertificate(t, 2, certFile, keyFile)
	if n := serial(); n != 2 {
		t.Error(n)
	}
	if err := os.WriteFile(keyFile, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 2 || !strings.Contains(log.String(), "cannot be read") {
		t.Error(n, log.String())
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 2 {
		t.Error(n)
	}
}

// Without tokens, only programs of this machine are answered, unless it was said that everybody is.
func TestServeLocal(t *testing.T) {
	f := func(listen, tokens string, insecure, want bool) {
		t.Helper()
		s := serving{log: slog.New(slog.DiscardHandler), listen: listen, tokens: tokens}
		if err := s.checkListen(insecure); err != nil || s.api.Local != want {
			t.Errorf("%s, tokens %q, insecure %v: want %v, have %v, %v", listen, tokens, insecure, want, s.api.Local, err)
		}
	}
	f("127.0.0.1:0", "", false, true)
	f("localhost:0", "", false, true)
	f("[::1]:0", "", false, true)
	f("127.0.0.1:0", "x", false, false)
	f("127.0.0.1:0", "", true, false)
	f(":0", "", true, false)
	f(":0", "x", false, false)
	for _, listen := range []string{"127.1:0", "localhost.evil:0", "0.0.0.0:0", "0:0", "127.0.0.1.evil:0", "LOCALHOST:0", "[::]:0", ":0"} {
		s := serving{log: slog.New(slog.DiscardHandler), listen: listen}
		if err := s.checkListen(false); err == nil {
			t.Errorf("%s is taken for this machine's own", listen)
		}
	}
}

// Whatever so many queries may hold, all of it together is within the memory.
func TestShareMemory(t *testing.T) {
	for _, memory := range []int64{upQueries, 1 << 30, 64 << 30} {
		for _, concurrent := range []int{1, 3, 32, 1024} {
			for _, slots := range []int{0, 2, 64} {
				s := serving{api: api.Config{MaxConcurrent: concurrent}, group: groupConfig{slots: slots}}
				if slots == 0 {
					s.group.name = noGroup
				}
				if err := s.shareMemory(memory); err != nil {
					continue // it is said that it is too little
				}
				queries := int64(concurrent + concurrent/2)
				sum := (queries+int64(slots))*(s.query.MaxBytes+s.query.MaxHotBytes) + s.cache.Memory + int64(s.api.MaxTails)*s.tail.MaxBytes +
					s.query.Spare.Left() + s.tail.Spare.Left() + queries*s.group.waiting + int64(concurrent)*s.api.MaxTopBytes
				if s.group.waiting < 1 && slots > 0 || s.api.MaxTopBytes < 1 || sum > memory {
					t.Errorf("%d bytes, %d queries, %d pieces: %d bytes: %+v", memory, concurrent, slots, sum, s)
				}
			}
		}
	}
}
