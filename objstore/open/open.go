package open

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"oklog/objstore"
	"oklog/objstore/dir"
	"oklog/objstore/s3"
)

// Config is what Bucket may be told besides the URLs. The zero Config serves.
type Config struct {
	WriteQuorum int            // how many buckets must take a write; 0 is all of them
	Logger      *slog.Logger   // discards, if nil
	Meter       objstore.Meter // counts nothing, if nil

	// ReadOnly is for who only reads: one bucket that can be used is enough to begin with, nothing is made, and
	// of several buckets one that is away is given up soon, since the others are there. The
	// write quorum is then what the writers use: it tells whether a listing without a bucket is complete.
	ReadOnly bool
	// Grace is how long buckets that have not answered are waited for when enough have; 0: 2 s.
	Grace time.Duration
	// NoCheck leaves out asking the buckets whether they are there.
	NoCheck bool

	// S3 has the limits of S3 buckets: what the URL says is ignored here.
	S3 s3.Config
	// Replicated has the limits of several buckets; names, logger and meter are
	// ignored here.
	Replicated objstore.ReplicatedConfig
}

const (
	example = "such as --bucket s3://play.example.com:9000/logs or --bucket file:///var/lib/oklog/bucket"
	forms   = "--bucket takes s3://[KEY:SECRET@]HOST[:PORT]/BUCKET[/PREFIX][?region=R&tls=false], file:///PATH or mem://"
)

const (
	defaultGrace = 2 * time.Second
	// What only reads from several buckets gives one of them up after so many attempts of so long each, and comes
	// back to it so much later: the others are there.
	readAttempts = 2
	readTimeout  = 4 * time.Second
	readAvoidFor = time.Minute
)

// opened is one bucket of its own kind.
type opened interface {
	objstore.Bucket
	Check(context.Context) error
	Close() error
}

// Bucket opens the buckets of urls as one.
//
// All the buckets are asked whether they are there; if fewer than the write quorum are (than one, of ReadOnly), that
// is an error that says what to do. Otherwise those that are not, or do not answer for a while after the
// others have, are logged as warnings, and read last at first.
func Bucket(ctx context.Context, urls []string, cfg Config) (*Opened, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(urls) == 0 {
		return nil, fmt.Errorf("open bucket: none is given: say where the segments are, %s", example)
	}
	quorum := cfg.WriteQuorum
	if quorum == 0 {
		quorum = len(urls)
	}
	if quorum < 1 || quorum > len(urls) {
		return nil, fmt.Errorf("open buckets: a write quorum of %d cannot be had from %d buckets: set --write-quorum to 1 up to %d, or give more --bucket",
			cfg.WriteQuorum, len(urls), len(urls))
	}
	places := make([]place, len(urls))
	seen := make(map[string]bool)
	for i, u := range urls {
		p, err := parse(u)
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", Redact(u), err)
		}
		if seen[p.name] {
			return nil, fmt.Errorf("open bucket %s: it is given twice, and would hold one copy: remove one --bucket", p.name)
		}
		seen[p.name] = true
		places[i] = p
	}
	return assemble(ctx, places, quorum, cfg)
}

func assemble(ctx context.Context, places []place, quorum int, cfg Config) (_ *Opened, err error) {
	o := &Opened{need: quorum, join: func(context.Context) error { return nil }}
	if cfg.ReadOnly {
		o.need = 1
	}
	defer func() {
		if err != nil {
			_ = o.Close(ctx) // the error at hand is the one to tell
		}
	}()
	if cfg.ReadOnly && len(places) > 1 {
		setDefault(&cfg.S3.Attempts, readAttempts)
		setDefault(&cfg.S3.AttemptTimeout, readTimeout)
		setDefault(&cfg.Replicated.AvoidFor, readAvoidFor)
	}
	setDefault(&cfg.Grace, defaultGrace)
	var names []string
	var buckets []objstore.Bucket
	for _, p := range places {
		b, err := p.open(cfg)
		if len(places) > 1 && errors.Is(err, objstore.ErrNoBucket) {
			b, err = absent{err}, nil
		}
		if err != nil {
			return nil, err
		}
		o.plain = append(o.plain, b)
		var measured objstore.Bucket = b
		if cfg.Meter != nil {
			measured = cfg.Meter.Wrap(b, p.name)
		}
		buckets = append(buckets, measured)
		names = append(names, p.name)
	}
	var bad []int
	if !cfg.NoCheck {
		if bad, err = o.check(ctx, names, cfg); err != nil {
			return nil, err
		}
	}
	o.names = names
	if len(buckets) == 1 {
		o.Bucket = buckets[0]
		return o, nil
	}
	rc := cfg.Replicated
	rc.Names, rc.Logger, rc.Meter = names, cfg.Logger, cfg.Meter
	r, err := objstore.NewReplicated(buckets, quorum, rc)
	if err != nil {
		return nil, err
	}
	for _, i := range bad {
		r.Avoid(i)
	}
	o.Bucket, o.join = r, r.Close
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Opened is one bucket, or several as one.
type Opened struct {
	objstore.Bucket
	plain []opened
	names []string                    // of these
	need  int                         // how many of them must be there
	join  func(context.Context) error // waits for what goes on in the background
}

// Copies are the buckets one by one, if they are several.
func (o *Opened) Copies() []objstore.Bucket {
	if r, ok := o.Bucket.(*objstore.Replicated); ok {
		return r.Buckets()
	}
	return nil
}

// Names are the URLs of the buckets, without their secrets.
func (o *Opened) Names() []string { return o.names }

// Check asks the buckets whether they are there, and returns once enough of them are for what is done with them.
func (o *Opened) Check(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(o.plain))
	for _, b := range o.plain {
		go func() { answers <- b.Check(ctx) }() // ends soon after ctx
	}
	var failed []error
	for there := 0; there < o.need; {
		if err := <-answers; err == nil {
			there++
		} else if failed = append(failed, err); len(o.plain)-len(failed) < o.need {
			return joined(failed)
		}
	}
	return nil
}

// Close closes the buckets. It waits, as long as ctx lasts, for the copies that are still being written.
func (o *Opened) Close(ctx context.Context) error {
	errs := []error{o.join(ctx)}
	for _, b := range o.plain {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// check asks all the buckets at once whether they are there, and returns the places of those that are not, or do not say,
// if enough are.
func (o *Opened) check(ctx context.Context, names []string, cfg Config) (bad []int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		place int
		err   error
	}
	answers := make(chan answer, len(o.plain))
	open := make(map[int]bool) // the places that have not answered
	for i, b := range o.plain {
		open[i] = true
		go func() { answers <- answer{i, b.Check(ctx)} }() // ends soon after ctx
	}
	var failed []error
	var grace <-chan time.Time
	for len(open) > 0 {
		select {
		case a := <-answers:
			delete(open, a.place)
			if a.err != nil {
				failed = append(failed, a.err)
				bad = append(bad, a.place)
			}
		case <-grace:
			for i := range open {
				failed = append(failed, fmt.Errorf("check %s: no answer %s after the others: is it overloaded, or behind a firewall?", names[i], cfg.Grace))
				bad = append(bad, i)
			}
			clear(open)
		}
		there := len(o.plain) - len(open) - len(bad)
		switch {
		case len(o.plain)-len(bad) >= o.need:
		case len(o.plain) == 1:
			return nil, failed[0]
		case len(open) == 0:
			return nil, fmt.Errorf("%d of the %d buckets that are needed can be used: %w", there, o.need, joined(failed))
		}
		if grace == nil && (there >= o.need || len(o.plain)-len(bad) < o.need) {
			timer := time.NewTimer(cfg.Grace)
			defer timer.Stop()
			grace = timer.C
		}
	}
	for _, err := range failed {
		cfg.Logger.Warn("a bucket cannot be used at present; going on with the others", slog.Any("err", err))
	}
	return bad, nil
}

// joined is errors.Join on one line.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return oneLine{errors.Join(errs...)}
}

type oneLine struct{ error }

func (e oneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e oneLine) Unwrap() error { return e.error }

// place is a parsed bucket URL.
type place struct {
	name   string // the URL without secrets and options: what tells buckets apart
	scheme string
	path   string    // of a folder
	s3     s3.Config // what the URL says of it
}

func (p place) open(cfg Config) (opened, error) {
	switch p.scheme {
	case "mem":
		return memory{objstore.NewMemory(p.name, time.Now)}, nil
	case "file":
		return dir.Open(p.path, dir.Config{Logger: cfg.Logger, ReadOnly: cfg.ReadOnly})
	default:
		c := cfg.S3
		c.Endpoint, c.Bucket, c.Prefix, c.Region = p.s3.Endpoint, p.s3.Bucket, p.s3.Prefix, p.s3.Region
		c.Insecure, c.AccessKey, c.SecretKey = p.s3.Insecure, p.s3.AccessKey, p.s3.SecretKey
		c.Logger, c.Meter = cfg.Logger, cfg.Meter
		return s3.New(c)
	}
}

// absent is a bucket that is known not to be there.
type absent struct{ err error }

func (a absent) Put(context.Context, string, io.ReaderAt, int64) error    { return a.err }
func (a absent) Create(context.Context, string, io.ReaderAt, int64) error { return a.err }
func (a absent) Get(context.Context, string, int64, []byte) (int, error)  { return 0, a.err }
func (a absent) Stat(context.Context, string) (objstore.Info, error)      { return objstore.Info{}, a.err }
func (a absent) Delete(context.Context, string) error                     { return a.err }
func (a absent) Check(context.Context) error                              { return a.err }
func (a absent) Close() error                                             { return nil }
func (a absent) List(context.Context, string, string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, a.err) }
}

// memory is a Memory that is always there.
type memory struct{ *objstore.Memory }

func (memory) Check(context.Context) error { return nil }
func (memory) Close() error                { return nil }

// parse reads a bucket URL. Its errors do not repeat the URL.
func parse(raw string) (place, error) {
	if !strings.Contains(raw, "://") {
		return place{}, fmt.Errorf("it is not a URL: %s", forms)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The error of the package holds the URL, and so the secret.
		return place{}, fmt.Errorf("the URL cannot be read; a secret with / ? # or %% in it must have them as %%2F %%3F %%23 %%25: %s", forms)
	}
	if u.Fragment != "" {
		return place{}, fmt.Errorf("a part after # means nothing here: %s", forms)
	}
	switch u.Scheme {
	case "s3":
		return parseS3(u)
	case "file":
		return parseFile(u)
	case "mem":
		if u.Path != "" || u.RawQuery != "" || u.User != nil {
			return place{}, fmt.Errorf("there is nothing to say but a name: --bucket mem://NAME")
		}
		return place{name: "mem://" + u.Host, scheme: "mem"}, nil
	default:
		return place{}, fmt.Errorf("there is no kind of bucket %q: %s", u.Scheme, forms)
	}
}

func parseFile(u *url.URL) (place, error) {
	if u.RawQuery != "" || u.User != nil {
		return place{}, errors.New("a folder has no user and no parameters: --bucket file:///PATH")
	}
	if u.Host != "" && u.Host != "localhost" {
		return place{}, fmt.Errorf("%q stands where a host does: the path begins with a third slash, as in --bucket file:///var/lib/oklog/bucket", u.Host)
	}
	path := u.Path
	if runtime.GOOS == "windows" {
		path = strings.TrimPrefix(path, "/") // file:///C:/logs
	}
	if path == "" || path == "/" {
		return place{}, errors.New("the path is missing: --bucket file:///PATH")
	}
	path = filepath.Clean(filepath.FromSlash(path))
	return place{name: "file://" + filepath.ToSlash(path), scheme: "file", path: path}, nil
}

func parseS3(u *url.URL) (place, error) {
	c := s3.Config{Endpoint: u.Host}
	if u.Hostname() == "" {
		return place{}, fmt.Errorf("the host is missing: %s", forms)
	}
	c.Bucket, c.Prefix, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	c.Prefix = strings.TrimSuffix(c.Prefix, "/")
	if c.Bucket == "" {
		return place{}, fmt.Errorf("the bucket is missing after the host: --bucket s3://%s/BUCKET", u.Host)
	}
	if c.Prefix != "" {
		if err := objstore.CheckKey(c.Prefix); err != nil {
			return place{}, fmt.Errorf("the prefix after the bucket: %w", err)
		}
	}
	if u.User != nil {
		c.AccessKey = u.User.Username()
		c.SecretKey, _ = u.User.Password()
		if c.AccessKey == "" || c.SecretKey == "" {
			return place{}, errors.New("credentials in the URL are KEY:SECRET@, both: complete them, or leave them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return place{}, fmt.Errorf("the parameters after ? cannot be read: %s", forms)
	}
	for name, values := range query {
		if len(values) != 1 {
			return place{}, fmt.Errorf("the parameter %q is given %d times: once is enough", name, len(values))
		}
		switch value := values[0]; name {
		case "region":
			c.Region = value
		case "tls":
			if value != "true" && value != "false" {
				return place{}, fmt.Errorf("the parameter tls is %q: it is true (the default: HTTPS) or false", value)
			}
			c.Insecure = value == "false"
		default:
			return place{}, fmt.Errorf("there is no parameter %q: region and tls are the ones there are", name)
		}
	}
	name := "s3://" + c.Endpoint + "/" + c.Bucket
	if c.Prefix != "" {
		name += "/" + c.Prefix
	}
	return place{name: name, scheme: "s3", s3: c}, nil
}

// Fingerprint is the same for the same buckets, named in any order and with any credentials: 16 hexadecimal digits.
func Fingerprint(urls []string) string {
	names := make([]string, len(urls))
	for i, u := range urls {
		names[i] = Redact(u)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, n := range names {
		_, _ = io.WriteString(h, n+"\n") // it never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Redact returns a bucket URL with its credentials replaced, for messages; also one that
// cannot be parsed.
func Redact(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "", raw
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "xxxxx@" + rest[at+1:]
	}
	if ok {
		return scheme + "://" + rest
	}
	return rest
}
