package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"oklog/objstore"

	"github.com/minio/minio-go/v7"
)

// verdict says what a failed attempt is worth.
type verdict int

const (
	fail  verdict = iota // it is the answer
	retry                // another attempt may succeed
	slow                 // so may it, after a longer wait
)

// explain turns an error of an attempt into what the operator is to read, with the
// identity of the Bucket contract, and says whether to try again.
func (b *Bucket) explain(err error) (verdict, error) {
	var final *finalError
	var again *againError
	switch {
	case errors.As(err, &final):
		return fail, final.error
	case errors.As(err, &again):
		return retry, err
	case errors.Is(err, objstore.ErrExists), errors.Is(err, objstore.ErrDenied):
		return fail, err
	case errors.Is(err, errStalled):
		return retry, fmt.Errorf("no answer from %s within %s: is it overloaded, or behind a firewall?", b.cfg.Endpoint, b.cfg.AttemptTimeout)
	}
	var resp minio.ErrorResponse
	if errors.As(err, &resp) {
		return b.explainResponse(resp)
	}
	return b.explainNetwork(err)
}

const (
	howDenied = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put KEY:SECRET@ before the host in --bucket"
	howTLSOff = "the server speaks plain HTTP: add ?tls=false to --bucket"
	howTLSOn  = "the server speaks HTTPS: remove tls=false from --bucket"
)

// explainResponse is explain for what a server answered.
func (b *Bucket) explainResponse(resp minio.ErrorResponse) (verdict, error) {
	said := strings.TrimSpace(strings.Join(strings.Fields(resp.Message), " "))
	const most = 300
	if len(said) > most {
		said = said[:most] + "..."
	}
	switch resp.Code {
	case "NoSuchKey", "NoSuchObject", "NotFound":
		return fail, objstore.ErrNotFound
	case "NoSuchBucket":
		return fail, fmt.Errorf("%w: create the bucket %q on %s, or change --bucket", objstore.ErrNoBucket, b.cfg.Bucket, b.cfg.Endpoint)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired":
		return fail, fmt.Errorf("%w: %s does not accept the credentials (%s): %s", objstore.ErrDenied, b.cfg.Endpoint, resp.Code, howDenied)
	case "RequestTimeTooSkewed":
		return fail, fmt.Errorf("%w: this machine's clock and the one of %s differ too much: set the clock", objstore.ErrDenied, b.cfg.Endpoint)
	case "AuthorizationHeaderMalformed", "InvalidRegion", "IllegalLocationConstraintException", "PermanentRedirect":
		if resp.Region != "" {
			return fail, fmt.Errorf("the bucket is in the region %s: add ?region=%s to --bucket", resp.Region, resp.Region)
		}
		return fail, fmt.Errorf("%s: add ?region=REGION of the bucket to --bucket", said)
	case "XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "ObjectParentIsFile", "ExistingObjectIsDirectory":
		return fail, fmt.Errorf("%w: %s", objstore.ErrBadKey, said)
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "TooManyRequests":
		return slow, fmt.Errorf("%s asks for fewer requests (%s)", b.cfg.Endpoint, resp.Code)
	case "ExpiredToken", "ExpiredTokenException":
		b.creds.expire()
		return retry, fmt.Errorf("%w: the credentials have expired", objstore.ErrDenied)
	case "RequestTimeout", "InternalError", "BadDigest", "IncompleteBody", "OperationAborted", "ConditionalRequestConflict":
		return retry, fmt.Errorf("%s answered %s: %s", b.cfg.Endpoint, resp.Code, said)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if b.creds.anonymous() {
			return fail, fmt.Errorf("%w: no credentials for %s were found: %s", objstore.ErrDenied, b.cfg.Endpoint, howDenied)
		}
		return fail, fmt.Errorf("%w: the credentials are not allowed this on the bucket %q of %s (%s): grant it, or %s",
			objstore.ErrDenied, b.cfg.Bucket, b.cfg.Endpoint, resp.Code, howDenied)
	case http.StatusNotFound:
		return fail, objstore.ErrNotFound
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return slow, fmt.Errorf("%s answered %d: %s", b.cfg.Endpoint, resp.StatusCode, said)
	case http.StatusBadRequest:
		if b.cfg.Insecure && strings.Contains(said, "HTTP request to an HTTPS server") {
			return fail, errors.New(howTLSOn)
		}
	case http.StatusConflict, http.StatusRequestTimeout, 499, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusGatewayTimeout, 520:
		return retry, fmt.Errorf("%s answered %d: %s", b.cfg.Endpoint, resp.StatusCode, said)
	}
	return fail, fmt.Errorf("%s answered %s: %s", b.cfg.Endpoint, resp.Code, said)
}

// explainNetwork is explain for what happened on the way to the server. The network's errors are
// put in as text: some of them pass for context.DeadlineExceeded, which is the caller's.
func (b *Bucket) explainNetwork(err error) (verdict, error) {
	cause := err
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		cause = wrapped.Err
	}
	var (
		header  tls.RecordHeaderError
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		dns     *net.DNSError
	)
	switch {
	case strings.Contains(cause.Error(), "server gave HTTP response to HTTPS client"), errors.As(cause, &header):
		return fail, errors.New(howTLSOff)
	case errors.As(cause, &cert), errors.As(cause, &unknown):
		return fail, fmt.Errorf("the certificate of %s is not trusted (%v): add its issuer to the system's certificates, or name its file in SSL_CERT_FILE", b.cfg.Endpoint, cause)
	case errors.As(cause, &dns) && dns.IsNotFound:
		return retry, fmt.Errorf("there is no host %q: check the host in --bucket", dns.Name)
	case errors.Is(cause, syscall.ECONNREFUSED):
		return retry, fmt.Errorf("nothing listens at %s: start the server, or check host and port in --bucket", b.cfg.Endpoint)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return retry, fmt.Errorf("cannot reach %s (%v): check host and port in --bucket", b.cfg.Endpoint, cause)
	}
	return retry, fmt.Errorf("cannot reach %s: %v", b.cfg.Endpoint, cause)
}
