package s3

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// anonymousFor is how long the absence of credentials is remembered: asking the metadata
// service anew for each request, on a machine that has none, would cost a second each time.
const anonymousFor = time.Minute

// credentialSource finds the credentials and remembers when there are none.
type credentialSource struct {
	chain *credentials.Credentials

	mu    sync.Mutex
	value credentials.Value
	found bool      // value holds what the last search found
	until time.Time // if value is anonymous: until then it counts
}

func newCredentials(accessKey, secretKey string) *credentialSource {
	if accessKey != "" {
		return &credentialSource{chain: credentials.NewStaticV4(accessKey, secretKey, "")}
	}
	// The metadata service is next door or not there at all.
	metadata := &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			DialContext:       (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
			DisableKeepAlives: true,
		},
	}
	return &credentialSource{chain: credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.EnvMinio{},
		&credentials.FileAWSCredentials{},
		&credentials.FileMinioClient{},
		&credentials.IAM{Client: metadata},
	})}
}

func (s *credentialSource) credentials() *credentials.Credentials { return credentials.New(s) }

// Retrieve implements credentials.Provider.
func (s *credentialSource) Retrieve() (credentials.Value, error) {
	return s.RetrieveWithCredContext(nil)
}

// RetrieveWithCredContext implements credentials.Provider.
func (s *credentialSource) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	value, err := s.chain.GetWithContext(cc)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.found = value, err == nil
	s.until = time.Now().Add(anonymousFor)
	return value, err
}

// IsExpired implements credentials.Provider.
func (s *credentialSource) IsExpired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.found {
		return true
	}
	if s.value.AccessKeyID == "" {
		return time.Now().After(s.until)
	}
	return s.chain.IsExpired()
}

// anonymous tells whether the last search found no credentials.
func (s *credentialSource) anonymous() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found && s.value.AccessKeyID == ""
}

// expire has the next request search again.
func (s *credentialSource) expire() {
	s.chain.Expire()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = false
}
