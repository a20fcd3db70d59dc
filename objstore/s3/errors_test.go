package s3_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oklog/objstore"
	"oklog/objstore/s3"
)

// noCredentials hides what the machine that runs the test may have, and keeps the
// search for the cloud's metadata service on this machine.
func noCredentials(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_ALIAS",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
	} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "none"))
	t.Setenv("MINIO_SHARED_CREDENTIALS_FILE", filepath.Join(home, "none"))
	nowhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(nowhere.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", nowhere.URL)
}

// TestErrorsSayWhatToDo: what an operator meets is one line that names the place and what to
// change, and not the secret.
func TestErrorsSayWhatToDo(t *testing.T) {
	noCredentials(t)
	const secret = "do-not-print-me"
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().String()
	free.Close()
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	defer tlsServer.Close()
	tlsServer.Config.ErrorLog = nil
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "<html>\n<body>a web site</body>\n</html>")
	}))
	defer html.Close()

	for name, c := range map[string]struct {
		change func(*s3.Config)
		want   error
		text   []string
	}{
		"NoBucket": {func(c *s3.Config) { c.Bucket = "missing" }, objstore.ErrNoBucket, []string{`create the bucket "missing"`, "--bucket"}},
		"WrongKey": {func(c *s3.Config) { c.AccessKey = "nobody"; c.SecretKey = secret }, objstore.ErrDenied,
			[]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "KEY:SECRET@"}},
		"WrongSecret": {func(c *s3.Config) { c.SecretKey = secret }, objstore.ErrDenied, []string{"AWS_SECRET_ACCESS_KEY"}},
		"NoCredentials": {func(c *s3.Config) { c.AccessKey, c.SecretKey = "", "" }, objstore.ErrDenied,
			[]string{"no credentials", "AWS_ACCESS_KEY_ID"}},
		"NothingListens": {func(c *s3.Config) { c.Endpoint = closed }, nil, []string{"nothing listens at " + closed, "--bucket"}},
		"NoHost":         {func(c *s3.Config) { c.Endpoint = "no-such-host.invalid:9000" }, nil, []string{"no-such-host.invalid", "--bucket"}},
		"PlainServer":    {func(c *s3.Config) { c.Insecure = false }, nil, []string{"plain HTTP", "?tls=false"}},
		"TLSServer":      {func(c *s3.Config) { c.Endpoint = tlsServer.Listener.Addr().String() }, nil, []string{"HTTPS", "remove tls=false"}},
		"Untrusted": {func(c *s3.Config) { c.Endpoint = tlsServer.Listener.Addr().String(); c.Insecure = false }, nil,
			[]string{"not trusted", "SSL_CERT_FILE"}},
		"NotS3": {func(c *s3.Config) { c.Endpoint = html.Listener.Addr().String() }, nil, []string{"418"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Attempts = 2
			c.change(&cfg)
			b := newBucket(t, cfg)
			err := b.Check(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("the error is not %v", c.want)
			}
			for _, text := range append(c.text, cfg.Endpoint, cfg.Bucket) {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error lacks %q", text)
				}
			}
			if strings.Contains(err.Error(), secret) || cfg.SecretKey != "" && strings.Contains(err.Error(), cfg.SecretKey) {
				t.Error("the error holds the secret")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("the error has several lines")
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]s3.Config{
		"NoEndpoint":   {Bucket: "b"},
		"NoBucket":     {Endpoint: "h"},
		"BadPrefix":    {Endpoint: "h", Bucket: "b", Prefix: "../x"},
		"HalfACred":    {Endpoint: "h", Bucket: "b", AccessKey: "a"},
		"Attempts":     {Endpoint: "h", Bucket: "b", Attempts: -1},
		"MaxSinglePut": {Endpoint: "h", Bucket: "b", MaxSinglePut: 6 << 30},
		"Endpoint":     {Endpoint: "h/x", Bucket: "b"},
	} {
		if _, err := s3.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCredentialSources: each place where credentials can be found, with a real server to judge
// them.
func TestCredentialSources(t *testing.T) {
	key, secret := shared.server.AccessKey, shared.server.SecretKey
	write := func(t *testing.T, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, set := range map[string]func(t *testing.T){
		"EnvAWS": func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", key)
			t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
		},
		"EnvMinIO": func(t *testing.T) {
			t.Setenv("MINIO_ROOT_USER", key)
			t.Setenv("MINIO_ROOT_PASSWORD", secret)
		},
		"File": func(t *testing.T) {
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write(t,
				"[default]\naws_access_key_id = "+key+"\naws_secret_access_key = "+secret+"\n"))
		},
		"Metadata": func(t *testing.T) {
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":"2100-01-01T00:00:00Z"}`, key, secret)
			}))
			t.Cleanup(service.Close)
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.URL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			noCredentials(t)
			set(t)
			cfg := config(t)
			cfg.AccessKey, cfg.SecretKey = "", ""
			if err := newBucket(t, cfg).Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
