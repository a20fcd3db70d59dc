package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// Errors, by identity.
var (
	// ErrDown says that the server cannot be reached, or is too busy now: the request may be made again.
	ErrDown = errors.New("not available")
	// ErrRefused says that the token is missing, unknown, or not good for this.
	ErrRefused = errors.New("refused")
	// ErrUntrusted says that nobody known vouches for the server's certificate.
	ErrUntrusted = errors.New("not trusted")
	// ErrAuthorities says that Config.CA is not a file of certificates.
	ErrAuthorities = errors.New("read authorities")
	// ErrCut says that an answer ended before its end.
	ErrCut = errors.New("the answer was cut off")
	// ErrForeign says that what answers is no oklog server.
	ErrForeign = errors.New("not an oklog server")
)

// Bounds on answers.
const (
	maxObject = 64 << 20 // bytes of one that is not of lines
	maxError  = 64 << 10
	maxURL    = 4 << 10 // longer query strings go into a body
)

// Config says which server is asked.
type Config struct {
	URL   string // http://HOST:PORT or https://HOST:PORT, and the path before /api/v1/ if there is one
	Token string // the secret; "": none
	CA    string // file of the authorities that vouch for the server, PEM; "": the system's
	// Timeout is how long the server may be silent: until its answer begins, and between parts of it. A query of which nothing is found
	// for so long ends with ErrDown. 0: none, ctx decides.
	Timeout time.Duration
	Agent   string // for the header User-Agent; "": oklog-client
}

// Client asks a server. Its methods may be called from any number of goroutines.
type Client struct {
	cfg  Config
	base string
	http *http.Client
}

// New makes a client. Nothing is asked yet.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("bad server %q: want http://HOST:PORT or https://HOST:PORT", redact(cfg.URL))
	}
	if u.User != nil {
		return nil, fmt.Errorf("bad server %q: the token does not belong into the URL", u.Redacted())
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("bad token: want visible characters of ASCII, without a newline at its end")
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("bad timeout %s: want more than 0, or 0 for none", cfg.Timeout)
	}
	tr := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAuthorities, err)
		}
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: there is no certificate in %s", ErrAuthorities, cfg.CA)
		}
	}
	return &Client{cfg: cfg, base: strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), "/api/v1"), "/"), http: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token is for this server
	}}}, nil
}

func redact(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "(not a URL)"
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Run asks for records, and calls emit with each, from this goroutine. Its text is valid until emit returns. emit ends the query with
// segment.ErrStop, or fails it with another error. With Request.CountOnly emit may be nil. The answer is never nil; with an error, or where emit has ended the
// query, it only counts what came.
func (c *Client) Run(ctx context.Context, r query.Request, emit func(query.Record) error) (*query.Answer, error) {
	ans := &query.Answer{}
	if emit == nil && !r.CountOnly {
		return ans, errors.New("query: nowhere to put the records")
	}
	resp, err := c.ask(ctx, wire.Query, queryValues(r), wire.NDJSON)
	if err != nil {
		return ans, err
	}
	defer resp.close()
	d := newDecoder(resp.body, r.Newest)
	for {
		rec, end, err := d.next()
		switch {
		case ctx.Err() != nil:
			return ans, context.Cause(ctx)
		case err != nil:
			return ans, c.explain(resp.silence(err))
		case end != nil:
			resp.tell(&end.Answer, end.Partial)
			return &end.Answer, nil
		case emit == nil:
			return ans, c.explain(fmt.Errorf("%w: a record came where only their number was asked for", ErrForeign))
		}
		if !rec.Joined && !rec.Context {
			ans.Count++
		}
		if err := emit(rec); errors.Is(err, segment.ErrStop) {
			return ans, nil
		} else if err != nil {
			return ans, err
		}
	}
}

// Estimate asks what a query would cost at most.
func (c *Client) Estimate(ctx context.Context, r query.Request) (wire.Estimate, error) {
	resp, err := c.send(ctx, http.MethodHead, wire.Query, queryValues(r))
	if err != nil {
		return wire.Estimate{}, err
	}
	defer resp.close()
	var e wire.Estimate
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return e, c.refusal(resp) // there is no body that would tell more
	}
	for name, to := range map[string]*int64{wire.Segments: &e.Segments, wire.Blocks: &e.Blocks, wire.Bytes: &e.Bytes} {
		if *to, err = strconv.ParseInt(resp.Header.Get(name), 10, 64); err != nil || *to < 0 {
			return e, c.explain(fmt.Errorf("%w: its header %s is %.40q", ErrForeign, name, resp.Header.Get(name)))
		}
	}
	var ans query.Answer
	resp.tell(&ans, false)
	e.Partial = ans.Partial()
	return e, nil
}

// Histogram asks how many records there are, by time; with a length of 0 in steps that fit the range. Newest, Limit and context do not go with it.
func (c *Client) Histogram(ctx context.Context, r query.Request, steps query.Steps) (*query.HistogramAnswer, error) {
	v := whatValues(r)
	if steps.Length != 0 {
		v.Set("step", steps.Length.String())
	}
	if steps.Zone != nil {
		v.Set("tz", zoneName(steps.Zone))
	}
	h := &query.HistogramAnswer{}
	resp, err := c.object(ctx, wire.Histogram, v, h)
	if err != nil {
		return nil, err
	}
	if h.Answer != nil {
		resp.tell(h.Answer, false)
	} else {
		return nil, c.explain(fmt.Errorf("%w: the histogram has no answer", ErrForeign))
	}
	return h, nil
}

// Top asks for the n most frequent values of a field of the records, such as user.id: see where.ParsePath.
func (c *Client) Top(ctx context.Context, r query.Request, field string, n int) (*query.TopAnswer, error) {
	v := whatValues(r)
	v.Set("field", field)
	v.Set("n", strconv.Itoa(n))
	top := &query.TopAnswer{}
	resp, err := c.object(ctx, wire.Top, v, top)
	if err != nil {
		return nil, err
	}
	resp.tell(&top.Answer, false)
	return top, nil
}

// Topics asks which topics there are: those that the token may see. With an error that is query.ErrIncomplete there may be others.
func (c *Client) Topics(ctx context.Context) ([]query.TopicInfo, error) {
	var l wire.TopicList
	resp, err := c.object(ctx, wire.Topics, nil, &l)
	if err != nil {
		return nil, err
	}
	for _, t := range l.Topics {
		if err := segment.CheckTopic(t.Name); err != nil {
			return nil, c.explain(fmt.Errorf("%w: %w", ErrForeign, err))
		}
		for _, day := range []string{t.FirstDay, t.LastDay} {
			if day != oneLine(day) {
				return nil, c.explain(fmt.Errorf("%w: %.40q is not a day", ErrForeign, day))
			}
		}
	}
	ans := query.Answer{Problems: l.Problems}
	resp.tell(&ans, false)
	if ans.Partial() {
		return l.Topics, ans.Problems[0].Err
	}
	return l.Topics, nil
}

// Sources asks for the sources of a request's topic in its range that its conditions let through; the rest of it does not matter.
func (c *Client) Sources(ctx context.Context, r query.Request) ([]wire.SourceInfo, *query.Answer, error) {
	v := url.Values{}
	setTexts(v, map[string][]string{"topic": {r.Topic}, "from": {r.From}, "to": {r.To}})
	for _, s := range r.Sources {
		v.Add("source", s)
	}
	var l wire.SourceList
	resp, err := c.object(ctx, wire.Sources, v, &l)
	if err != nil {
		return nil, nil, err
	}
	if l.Answer != nil {
		resp.tell(l.Answer, false)
	} else {
		return nil, nil, c.explain(fmt.Errorf("%w: the list of sources has no answer", ErrForeign))
	}
	return l.Sources, l.Answer, nil
}

// object asks for one object.
func (c *Client) object(ctx context.Context, path string, v url.Values, to any) (*response, error) {
	resp, err := c.ask(ctx, path, v, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.close()
	b, err := io.ReadAll(io.LimitReader(resp.body, maxObject+1))
	if err != nil {
		return nil, c.explain(fmt.Errorf("%w: %w", ErrCut, resp.silence(err)))
	}
	if len(b) > maxObject {
		return nil, c.explain(fmt.Errorf("%w: its answer is longer than %d bytes", ErrForeign, maxObject))
	}
	if err := json.Unmarshal(b, to); err != nil {
		return nil, c.explain(fmt.Errorf("%w: its answer does not decode: %w", ErrForeign, err))
	}
	return resp, nil
}

// setTexts sets what is not empty.
func setTexts(v url.Values, texts map[string][]string) {
	for name, all := range texts {
		for _, text := range all {
			if text != "" {
				v.Add(name, text)
			}
		}
	}
}

// whatValues are the parameters that say which records are meant.
func whatValues(r query.Request) url.Values {
	v := url.Values{}
	setTexts(v, map[string][]string{"topic": {r.Topic}, "from": {r.From}, "to": {r.To}})
	for name, all := range map[string][]string{"pattern": r.Patterns, "where": r.Where, "source": r.Sources} {
		for _, text := range all {
			v.Add(name, text)
		}
	}
	for name, set := range map[string]bool{"regex": r.Regex, "ignore_case": r.IgnoreCase, "smart_case": r.SmartCase, "word": r.Word, "invert": r.Invert, "brute": r.Brute} {
		if set {
			v.Set(name, "true")
		}
	}
	if r.MaxBytes != 0 {
		v.Set("max_bytes", strconv.FormatInt(r.MaxBytes, 10))
	}
	return v
}

// queryValues are the parameters of a query.
func queryValues(r query.Request) url.Values {
	v := whatValues(r)
	for name, n := range map[string]int64{"limit": r.Limit, "before": int64(r.Before), "after": int64(r.After)} {
		if n != 0 {
			v.Set(name, strconv.FormatInt(n, 10))
		}
	}
	for name, set := range map[string]bool{"newest": r.Newest, "count": r.CountOnly, "ids_only": r.IDsOnly} {
		if set {
			v.Set(name, "true")
		}
	}
	return v
}

// response is an answer that has begun.
type response struct {
	*http.Response
	body    io.Reader // decompressed
	closers []func()
	cancel  context.CancelCauseFunc
	ctx     context.Context
}

func (r *response) close() {
	r.cancel(nil)
	for _, c := range r.closers {
		c()
	}
	_ = r.Body.Close() // it was read only
}

// tell sees to it that an answer which the server says to be partial, in one way or another, is one, and that what it tells is harmless text.
func (r *response) tell(ans *query.Answer, partial bool) {
	for i, p := range ans.Problems {
		ans.Problems[i].Key = harmless(p.Key)
		if p.Err != nil && p.Err.Error() != harmless(p.Err.Error()) {
			ans.Problems[i].Err = &tidyError{p.Err}
		}
	}
	ans.Required = harmless(ans.Required)
	partial = partial || r.StatusCode == http.StatusPartialContent || r.Header.Get(wire.Partial) == "true" || r.Trailer.Get(wire.Partial) == "true"
	if partial && !ans.Partial() {
		ans.Problems = []query.Problem{{Err: errPartial}}
	}
}

var errPartial = errors.New("the server says that records may be lacking, and not which")

// silence is err, or that the server was silent for too long if that is why.
func (r *response) silence(err error) error {
	if cause := context.Cause(r.ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

var errSilent = fmt.Errorf("%w: it has said nothing for too long: try again, or allow more time", ErrDown)

// ask makes a request and looks at how its answer begins.
func (c *Client) ask(ctx context.Context, path string, v url.Values, kind string) (*response, error) {
	method := http.MethodGet
	if len(v.Encode()) > maxURL {
		method = http.MethodPost
	}
	resp, err := c.send(ctx, method, path, v)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		defer resp.close()
		return nil, c.refusal(resp)
	}
	if have, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); have != kind {
		defer resp.close()
		return nil, c.explain(fmt.Errorf("%w: it answers with %.60q: look at the URL", ErrForeign, have))
	}
	if err := resp.decompress(); err != nil {
		resp.close()
		return nil, c.explain(err)
	}
	return resp, nil
}

// send makes a request.
func (c *Client) send(ctx context.Context, method, path string, v url.Values) (*response, error) {
	where, body := c.base+path, io.Reader(nil)
	if method == http.MethodPost {
		body = strings.NewReader(v.Encode())
	} else if len(v) > 0 {
		where += "?" + v.Encode()
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(ctx, method, where, body)
	if err != nil {
		cancel(nil)
		return nil, c.explain(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.cfg.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	r.Header.Set("User-Agent", cmp.Or(c.cfg.Agent, "oklog-client"))
	r.Header.Set("Accept-Encoding", "zstd, gzip")
	resp := &response{cancel: cancel, ctx: ctx}
	var silent *time.Timer
	if c.cfg.Timeout > 0 {
		silent = time.AfterFunc(c.cfg.Timeout, func() { cancel(errSilent) })
		resp.closers = append(resp.closers, func() { silent.Stop() })
	}
	if resp.Response, err = c.http.Do(r); err != nil {
		for _, c := range resp.closers {
			c()
		}
		err = c.unreachable(outer, resp.silence(err))
		cancel(nil)
		return nil, err
	}
	resp.body = resp.Body
	if silent != nil {
		silent.Stop()
		resp.body = &talking{resp.Body, silent, c.cfg.Timeout}
	}
	if resp.Header.Get(wire.Version) == "" {
		defer resp.close()
		return nil, c.explain(fmt.Errorf("%w: it answers %d without the header %s: look at the URL (https:// where it speaks TLS), and at what stands before the server", ErrForeign, resp.StatusCode, wire.Version))
	}
	return resp, nil
}

// talking winds up a timer for each read. Between them it stands still: that is the caller's time.
type talking struct {
	io.Reader
	silent *time.Timer
	wait   time.Duration
}

func (t *talking) Read(p []byte) (int, error) {
	t.silent.Reset(t.wait)
	defer t.silent.Stop()
	return t.Reader.Read(p)
}

// explain says which server an error is about.
func (c *Client) explain(err error) error {
	return fmt.Errorf("server at %s: %w", c.base, err)
}

// unreachable says why there was no answer, and what to do.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return c.explain(context.Cause(ctx))
	}
	if errors.Is(err, errSilent) {
		return c.explain(err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the query string
	}
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verify):
		return c.explain(fmt.Errorf("%w: its certificate: %w: name the file of its authority, or look at the URL", ErrUntrusted, err))
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return c.explain(fmt.Errorf("%w: it speaks no TLS: use http://", ErrForeign))
	case strings.Contains(err.Error(), "malformed HTTP response"):
		return c.explain(fmt.Errorf("%w: it speaks no HTTP, or TLS: use https://, or look at the URL", ErrForeign))
	}
	return c.explain(fmt.Errorf("%w: %w: see whether it runs, and look at the URL", ErrDown, err))
}

// refusal is the error of an answer that is one.
func (c *Client) refusal(resp *response) error {
	b, err := io.ReadAll(io.LimitReader(resp.body, maxError))
	var f wire.Failure
	if err != nil || json.Unmarshal(b, &f) != nil || f.Error == nil {
		f.Error = &wire.Error{Message: "it answers " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)}
	}
	f.Error.Status = resp.StatusCode
	return c.explain(failed(f.Error))
}

// failed makes an error of what a server tells.
func failed(f *wire.Error) error {
	err := error(&toldError{oneLine(f.Message)})
	if f.Parameter != "" && f.Status != http.StatusForbidden {
		return &query.ParamError{Param: strings.ReplaceAll(oneLine(f.Parameter), "_", "-"), Err: err}
	}
	switch f.Status {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: %w: give the right token", ErrRefused, err)
	case http.StatusForbidden:
		return fmt.Errorf("%w: %w: ask with a token that is", ErrRefused, err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	return err
}

// toldError is what a server has said.
type toldError struct{ text string }

func (e *toldError) Error() string { return e.text }

// tidyError is an error that a server has told, as one line.
type tidyError struct{ err error }

func (e *tidyError) Error() string { return oneLine(e.err.Error()) }
func (e *tidyError) Unwrap() error { return e.err }

// oneLine is a text of a server as one line that does nothing to a terminal.
func oneLine(text string) string {
	const most = 2000
	return strings.Join(strings.Fields(harmless(text[:min(len(text), most)])), " ")
}

// harmless is a text without what does something to a terminal.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
}

// trim is a line without its end.
func trim(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }
