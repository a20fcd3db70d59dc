package s3

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"oklog/objstore"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Defaults of Config.
const (
	DefaultAttempts       = 6
	DefaultAttemptTimeout = 15 * time.Second
	DefaultTimeout        = time.Minute
	DefaultBackoff        = 100 * time.Millisecond
	DefaultMaxSinglePut   = 512 << 20

	// maxPut is the most that S3 takes in one PUT.
	maxPut = 5 << 30
	// partSize is that of a part of an object above MaxSinglePut.
	partSize = 64 << 20
	// maxBackoff bounds one wait between attempts.
	maxBackoff = 5 * time.Second
	// minRate, in bytes a second, is the slowest transfer that is not given up.
	minRate = 1 << 20
	// maxOffset is beyond any object's end; servers answer larger offsets in many ways.
	maxOffset = 1 << 50
	// tokenKey is the user metadata that marks who created an object.
	tokenKey = "Oklog-Create"
)

// Config is what New needs to know. Endpoint and Bucket must be set.
type Config struct {
	Endpoint string // HOST or HOST:PORT
	Bucket   string
	Prefix   string // of every key, without slashes at its ends; may be empty
	Region   string // if empty: the library asks at Amazon, and us-east-1 elsewhere
	Insecure bool   // plain HTTP

	// AccessKey and SecretKey go before the environment, if set.
	AccessKey, SecretKey string

	Attempts       int           // of one operation, and in a row of one listing
	AttemptTimeout time.Duration // of one attempt, and one second more for each MiB
	Timeout        time.Duration // of an operation with all its attempts, and as above
	Backoff        time.Duration // the wait after the first attempt; it doubles, up to 5 s

	MaxSinglePut int64 // bytes; Put sends more than this in parts

	Logger    *slog.Logger      // nil logs nothing
	Meter     objstore.Meter    // nil counts nothing
	Transport http.RoundTripper // nil is one made for the purpose
}

var _ objstore.Bucket = (*Bucket)(nil)

// Bucket is a bucket, or the part of it under a prefix, on an S3-compatible server.
type Bucket struct {
	cfg       Config
	name      string
	core      *minio.Core
	creds     *credentialSource
	transport http.RoundTripper
	warned    atomic.Int64 // Unix ns of the last warning about retries
}

// New returns the bucket. It sends nothing: Check tells whether the bucket is there.
func New(cfg Config) (*Bucket, error) {
	if cfg.Endpoint == "" || cfg.Bucket == "" {
		return nil, errors.New("open S3 bucket: the endpoint or the bucket's name is missing: give --bucket s3://HOST[:PORT]/BUCKET")
	}
	if err := checkName(cfg.Bucket); err != nil {
		return nil, fmt.Errorf("open S3 bucket: %w", err)
	}
	if cfg.Prefix != "" {
		if err := objstore.CheckKey(cfg.Prefix); err != nil {
			return nil, fmt.Errorf("open S3 bucket: prefix: %w", err)
		}
	}
	if (cfg.AccessKey == "") != (cfg.SecretKey == "") {
		return nil, errors.New("open S3 bucket: an access key needs its secret key: give both, as KEY:SECRET@ before the host in --bucket, or neither")
	}
	setDefault(&cfg.Attempts, DefaultAttempts)
	setDefault(&cfg.AttemptTimeout, DefaultAttemptTimeout)
	setDefault(&cfg.Timeout, DefaultTimeout)
	setDefault(&cfg.Backoff, DefaultBackoff)
	setDefault(&cfg.MaxSinglePut, DefaultMaxSinglePut)
	if cfg.Attempts < 1 || cfg.AttemptTimeout < 0 || cfg.Timeout < 0 || cfg.Backoff < 0 || cfg.MaxSinglePut < 0 || cfg.MaxSinglePut > maxPut {
		return nil, errors.New("open S3 bucket: a limit is negative, or MaxSinglePut above 5 GiB")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bucket{cfg: cfg, transport: cfg.Transport}
	b.name = "s3://" + cfg.Endpoint + "/" + cfg.Bucket
	if cfg.Prefix != "" {
		b.name += "/" + cfg.Prefix
		b.cfg.Prefix += "/"
	}
	if b.transport == nil {
		b.transport = newTransport()
	}
	b.creds = newCredentials(cfg.AccessKey, cfg.SecretKey)
	region := cfg.Region
	if region == "" && !isAmazon(cfg.Endpoint) {
		region = "us-east-1"
	}
	var err error
	b.core, err = minio.NewCore(cfg.Endpoint, &minio.Options{
		Creds: b.creds.credentials(), Secure: !cfg.Insecure, Transport: b.transport, Region: region, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", b.name, err)
	}
	return b, nil
}

// checkName refuses what the library takes for no bucket's name.
func checkName(name string) error {
	if err := s3utils.CheckValidBucketName(name); err != nil {
		return fmt.Errorf("%q cannot be a bucket's name (3 to 63 letters, digits, - and .): correct it after the host in --bucket s3://HOST[:PORT]/BUCKET", name)
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Name returns the bucket's URL without credentials and options.
func (b *Bucket) Name() string { return b.name }

// Close ends idle connections.
func (b *Bucket) Close() error {
	if t, ok := b.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Check returns nil if the bucket is there and can be listed, and otherwise an error that
// says what to do about it.
func (b *Bucket) Check(ctx context.Context) error {
	return b.try(ctx, operation{name: "check"}, func(ctx context.Context) error {
		noOwner := false
		opts := minio.ListObjectsOptions{Prefix: b.cfg.Prefix, Recursive: true, MaxKeys: 1, FetchOwner: &noOwner}
		for o := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, opts) {
			return o.Err
		}
		return ctx.Err() // the iterator says nothing of it
	})
}

// Make creates the bucket on the server. That it is there already is not an error.
func (b *Bucket) Make(ctx context.Context) error {
	return b.try(ctx, operation{name: "make"}, func(ctx context.Context) error {
		err := b.core.MakeBucket(ctx, b.cfg.Bucket, minio.MakeBucketOptions{Region: b.cfg.Region})
		switch minio.ToErrorResponse(err).Code {
		case "BucketAlreadyOwnedByYou", "BucketAlreadyExists":
			there, err := b.core.BucketExists(ctx, b.cfg.Bucket)
			if err == nil && !there {
				err = objstore.ErrDenied
			}
			return err
		}
		return err
	})
}

// key returns the key on the server, or ErrBadKey.
func (b *Bucket) key(op, key string) (string, error) {
	err := objstore.CheckKey(key)
	if err == nil && len(b.cfg.Prefix)+len(key) > objstore.MaxKey {
		err = fmt.Errorf("%w: with the bucket's prefix it has more than %d bytes", objstore.ErrBadKey, objstore.MaxKey)
	}
	if err != nil {
		return "", objstore.Wrap(op, key, b.name, err)
	}
	return b.cfg.Prefix + key, nil
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.write(ctx, "put", key, body, size)
}

// Create implements objstore.Bucket. An object of more than 5 GiB is an error.
func (b *Bucket) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return b.write(ctx, "create", key, body, size)
}

func (b *Bucket) write(ctx context.Context, name, key string, body io.ReaderAt, size int64) error {
	full, err := b.key(name, key)
	if err != nil {
		return err
	}
	create := name == "create"
	switch {
	case size < 0:
		return objstore.Wrap(name, key, b.name, fmt.Errorf("negative size %d", size))
	case create && size > maxPut:
		return objstore.Wrap(name, key, b.name, fmt.Errorf("%d bytes are more than one request can carry (5 GiB)", size))
	}
	opts := minio.PutObjectOptions{DisableContentSha256: true, DisableMultipart: true}
	token := ""
	if create {
		token = rand.Text()
		opts.UserMetadata = map[string]string{tokenKey: token}
		opts.SetMatchETagExcept("*")
	}
	single := create || size <= b.cfg.MaxSinglePut
	sum := ""
	if single {
		hash := md5.New()
		n, err := io.Copy(hash, io.NewSectionReader(body, 0, size))
		if err == nil && n < size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return objstore.Wrap(name, key, b.name, fmt.Errorf("read body: %w", err))
		}
		sum = base64.StdEncoding.EncodeToString(hash.Sum(nil))
	}
	return b.try(ctx, operation{name: name, key: key, bytes: size}, func(ctx context.Context) error {
		// The transport may go on reading after an attempt has failed: the gate
		// keeps it off the body once we have returned.
		gate := &gate{body: body}
		defer gate.shut()
		r := io.NewSectionReader(gate, 0, size)
		var err error
		if single {
			_, err = b.core.PutObject(ctx, b.cfg.Bucket, full, r, size, sum, "", opts)
		} else {
			_, err = b.core.Client.PutObject(ctx, b.cfg.Bucket, full, r, size,
				minio.PutObjectOptions{PartSize: partSize, NumThreads: 4})
		}
		if failed := gate.failure(); err != nil && failed != nil {
			return &finalError{fmt.Errorf("read body: %w", failed)}
		}
		if !create || err == nil {
			return err
		}
		switch minio.ToErrorResponse(err).StatusCode {
		case http.StatusPreconditionFailed:
			return b.whose(ctx, full, token)
		case 0:
			// No answer. A server may refuse the condition and hang up while the body is still on its way: what
			// it had to say shows in the object.
			if found := b.whose(ctx, full, token); found == nil || errors.Is(found, objstore.ErrExists) {
				return found
			}
		}
		return err
	})
}

// whose tells, after a Create found the object there, whether it was an earlier attempt of
// the same Create, whose answer was lost, that made it.
func (b *Bucket) whose(ctx context.Context, full, token string) error {
	info, err := b.core.StatObject(ctx, b.cfg.Bucket, full, minio.StatObjectOptions{})
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			return &againError{"the object was deleted while it was being created"}
		}
		return err
	}
	for name, value := range info.UserMetadata {
		if strings.EqualFold(name, tokenKey) && value == token {
			return nil
		}
	}
	return objstore.ErrExists
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	full, err := b.key("get", key)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, objstore.Wrap("get", key, b.name, fmt.Errorf("negative offset %d", off))
	}
	if len(p) == 0 || off > maxOffset {
		// No range says this; what is left to tell is whether there is an object.
		if _, err := b.stat(ctx, "get", key, full); err != nil || len(p) == 0 {
			return 0, err
		}
		return 0, objstore.Wrap("get", key, b.name, io.ErrUnexpectedEOF)
	}
	n := 0
	err = b.try(ctx, operation{name: "get", key: key, bytes: int64(len(p))}, func(ctx context.Context) (err error) {
		n, err = b.get(ctx, full, off, p)
		return err
	})
	if err == nil && n < len(p) {
		err = objstore.Wrap("get", key, b.name, io.ErrUnexpectedEOF)
	}
	return n, err
}

// get returns how many of the bytes asked for the object has. A body that breaks off
// is an error.
func (b *Bucket) get(ctx context.Context, full string, off int64, p []byte) (int, error) {
	var opts minio.GetObjectOptions
	if err := opts.SetRange(off, off+int64(len(p))-1); err != nil {
		return 0, err
	}
	body, info, header, err := b.core.GetObject(ctx, b.cfg.Bucket, full, opts)
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return 0, nil
		}
		return 0, err
	}
	defer body.Close()
	want := int64(len(p))
	if cr := header.Get("Content-Range"); cr != "" {
		first, last, ok := parseRange(cr)
		if !ok || first != off || last < first || last-first >= want {
			return 0, &finalError{fmt.Errorf("the server answered the range %d+%d with %q", off, want, cr)}
		}
		want = last - first + 1
	} else if off > 0 {
		return 0, &finalError{errors.New("the server ignores ranges: it cannot be used")}
	} else if info.Size >= 0 {
		want = min(want, info.Size)
	}
	n, err := io.ReadFull(body, p[:want])
	if err != nil {
		// Not io.ErrUnexpectedEOF by identity: that would say that the object ends here.
		return n, &againError{fmt.Sprintf("the answer broke off after %d of %d bytes: %v", n, want, err)}
	}
	return n, nil
}

// parseRange reads "bytes FIRST-LAST/SIZE".
func parseRange(s string) (first, last int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, false
	}
	s, _, _ = strings.Cut(s, "/")
	a, z, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(a, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.ParseInt(z, 10, 64)
	return first, last, err == nil
}

// Stat implements objstore.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (objstore.Info, error) {
	full, err := b.key("stat", key)
	if err != nil {
		return objstore.Info{}, err
	}
	return b.stat(ctx, "stat", key, full)
}

func (b *Bucket) stat(ctx context.Context, op, key, full string) (objstore.Info, error) {
	info := objstore.Info{Key: key}
	err := b.try(ctx, operation{name: op, key: key}, func(ctx context.Context) error {
		o, err := b.core.StatObject(ctx, b.cfg.Bucket, full, minio.StatObjectOptions{})
		info.Size, info.Modified = o.Size, o.LastModified
		return err
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	full, err := b.key("delete", key)
	if err != nil {
		return err
	}
	err = b.try(ctx, operation{name: "delete", key: key}, func(ctx context.Context) error {
		return b.core.RemoveObject(ctx, b.cfg.Bucket, full, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}
