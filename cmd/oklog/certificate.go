package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// certificate is one that is read again when its files change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex
	cert      *tls.Certificate
	read      time.Time // when the files were looked at last
	pem, keys []byte    // what they held
}

// openCertificate reads a certificate and its key.
func openCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("%w (--tls-cert, --tls-key)", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	c.read = time.Now()
	pem, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	keys, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	if c.cert != nil && bytes.Equal(pem, c.pem) && bytes.Equal(keys, c.keys) {
		return nil
	}
	cert, err := tls.X509KeyPair(pem, keys)
	if err != nil {
		return fmt.Errorf("read %s and %s: %w", c.certFile, c.keyFile, err)
	}
	if c.cert != nil {
		c.log.Info("certificate read", "file", c.certFile)
	}
	c.cert, c.pem, c.keys = &cert, pem, keys
	return nil
}

// get is the certificate as it is now. What is wrong while the files are replaced is right soon: until then it is the one from before.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) > reloadEvery {
		if err := c.load(); err != nil {
			c.log.Warn("the certificate cannot be read: the one from before is used", "cause", err)
		}
	}
	return c.cert, nil
}

// listen speaks TLS on l.
func (c *certificate) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
}
