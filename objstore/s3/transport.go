package s3

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// newTransport returns a transport that keeps as many connections as a scan has
// requests in flight. Operations have their time limits in their contexts.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 10 * time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // an object's bytes are to come as they are
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// isAmazon tells whether the library can ask the endpoint for a bucket's region.
func isAmazon(endpoint string) bool {
	host, _, _ := strings.Cut(endpoint, ":")
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}
