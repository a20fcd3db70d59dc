package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"oklog/query"
	"oklog/query/api/wire"
)

// API answers HTTP requests. Its methods may be called from any number of goroutines.
type API struct {
	cfg      Config
	queue    *queue
	bodies   *bodies
	metrics  *metrics
	encoders encoders
	routes   []route
	tails    *tails
	stopping chan struct{} // closed by Stop
	stopped  atomic.Bool
}

// route is one path of the API.
type route struct {
	path    string
	methods []string
	action  string // "": for everybody
	params  []param
	// handle answers, or returns an error before anything was written.
	handle func(*exchange) error
}

var _ http.Handler = (*API)(nil)

// New makes the API.
func New(cfg Config) (*API, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("make API: %w", err)
	}
	a := &API{cfg: cfg, stopping: make(chan struct{})}
	a.queue, a.bodies, a.tails = newQueue(&a.cfg), newBodies(a.cfg.MaxConcurrent), &tails{most: a.cfg.MaxTails, of: map[string]int{}}
	var err error
	if a.metrics, err = newMetrics(cfg.Registerer, a.queue, a.tails); err != nil {
		return nil, fmt.Errorf("make API: %w", err)
	}
	a.routes = a.endpoints()
	return a, nil
}

// Stop ends what would go on for ever: tails. Queries come to their end by themselves.
func (a *API) Stop() {
	if a.stopped.CompareAndSwap(false, true) {
		close(a.stopping)
	}
}

// endpoints are all there are. openapi.json describes them, and a test holds it against this table.
func (a *API) endpoints() []route {
	return []route{
		{wire.Query, []string{http.MethodGet, http.MethodHead, http.MethodPost}, ActionQuery, queryParams(), a.query},
		{wire.Histogram, []string{http.MethodGet, http.MethodPost}, ActionQuery, histogramParams(), a.histogram},
		{wire.Top, []string{http.MethodGet, http.MethodPost}, ActionQuery, topParams(), a.top},
		{wire.Topics, []string{http.MethodGet}, ActionList, nil, a.topics},
		{wire.Sources, []string{http.MethodGet, http.MethodPost}, ActionList, sourcesParams(), a.sources},
		{wire.Tail, []string{http.MethodGet}, ActionTail, tailParams(), a.tail},
		{wire.OpenAPI, []string{http.MethodGet}, "", nil, a.openAPI},
	}
}

// exchange is a request with its answer.
type exchange struct {
	ctx    context.Context
	w      http.ResponseWriter
	r      *http.Request
	route  *route
	token  *Token // nil: there are none
	secret string // of it
	client string // its name, or else the address
	asked  *asked
	free   func() // the room of its body
	slot   *slot  // of an answer that is all there at once, until it is written; nil: none
	told   report
}

// letGo gives back the slot.
func (x *exchange) letGo() {
	if x.slot != nil {
		x.slot.release()
		x.slot = nil
	}
}

// report is what is logged and counted of a request.
type report struct {
	status  int
	outcome string // ok, partial, refused, failed, gone
	answer  *query.Answer
	wait    time.Duration // for a slot
	err     error
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := a.cfg.Now()
	w.Header().Set(wire.Version, "1")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	x := &exchange{ctx: r.Context(), w: w, r: r, client: address(r)}
	if r.ProtoMajor < 2 {
		patient(http.NewResponseController(w)) // the deadline of the answer before this one is the connection's
	}
	a.hurryBody(w, r)
	err := a.serve(x)
	x.letGo()
	if err != nil {
		a.fail(x, err)
	}
	a.log(x, a.cfg.Now().Sub(start))
}

func (a *API) serve(x *exchange) error {
	i := slices.IndexFunc(a.routes, func(rt route) bool { return rt.path == x.r.URL.Path })
	if i < 0 {
		return &statusError{http.StatusNotFound, fmt.Errorf("there is nothing at %.100q: see %s", x.r.URL.Path, wire.OpenAPI)}
	}
	x.route = &a.routes[i]
	if !slices.Contains(x.route.methods, x.r.Method) {
		allowed := strings.Join(x.route.methods, ", ")
		x.w.Header().Set("Allow", allowed)
		return &statusError{http.StatusMethodNotAllowed, fmt.Errorf("%s does not take %.20q: want %s", x.route.path, x.r.Method, allowed)}
	}
	if err := a.checkLocal(x); err != nil {
		return err
	}
	if err := a.authorize(x); err != nil {
		return err
	}
	free, err := a.bodies.take(x.r, x.client)
	if err != nil {
		return err
	}
	x.free = free
	defer free()
	v, err := a.values(x.w, x.r)
	if err != nil {
		return err
	}
	if x.asked, err = read(v, x.route.params); err != nil {
		return err
	}
	if topic := x.asked.Topic; topic != "" && !x.token.Sees(topic) {
		return &statusError{http.StatusForbidden, paramErr("topic", fmt.Errorf("topic %.100q is not for the token %s", topic, x.token.Name))}
	}
	return x.route.handle(x)
}

// checkLocal refuses what a browser sends for somebody else's page, where it is the machine alone that keeps others out.
func (a *API) checkLocal(x *exchange) error {
	if !a.cfg.Local || x.route.action == "" {
		return nil
	}
	if from := x.r.Header.Get("Sec-Fetch-Site"); from == "cross-site" || from == "same-site" {
		return &statusError{http.StatusForbidden, errors.New("this server has no tokens, and answers no pages of other sites: give it --tokens")}
	}
	host := x.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	ip, _, _ := strings.Cut(host, "%")
	if host != "" && !strings.EqualFold(host, "localhost") && net.ParseIP(ip) == nil {
		return &statusError{http.StatusForbidden, fmt.Errorf("this server has no tokens, and answers at localhost and at addresses alone, not at %.100q: give it --tokens, or --insecure-no-auth", host)}
	}
	return nil
}

// authorize finds out who asks, and whether that is allowed to do it at all.
func (a *API) authorize(x *exchange) error {
	if a.cfg.Tokens == nil || x.route.action == "" {
		return nil
	}
	kind, secret, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	var why string
	switch {
	case kind == "":
		why = "a token is wanted: send the header Authorization: Bearer SECRET"
	case !strings.EqualFold(kind, "Bearer"):
		why = "want the header Authorization: Bearer SECRET"
	default:
		x.secret = strings.TrimSpace(secret)
		if x.token = a.cfg.Tokens.Find(x.secret); x.token == nil {
			why = "the token is not known here"
		}
	}
	if why != "" {
		x.w.Header().Set("WWW-Authenticate", `Bearer realm="oklog"`)
		return &statusError{http.StatusUnauthorized, errors.New(why)}
	}
	x.client = x.token.Name
	if !x.token.May(x.route.action) {
		return &statusError{http.StatusForbidden, fmt.Errorf("the token %s is not good for the action %s", x.token.Name, x.route.action)}
	}
	return nil
}

// stillGood tells that the token of a request, which has been allowed, would still be: the file of tokens may have changed since.
func (a *API) stillGood(x *exchange) bool {
	if x.token == nil {
		return true
	}
	token := a.cfg.Tokens.Find(x.secret)
	return token != nil && token.May(x.route.action) && (x.asked.Topic == "" || token.Sees(x.asked.Topic))
}

// address is that of the client, without the port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// failure makes an error's words for the client.
func failure(err error) *wire.Error {
	f := &wire.Error{Message: strings.Join(strings.Fields(err.Error()), " "), Status: http.StatusInternalServerError}
	status, hasStatus := errors.AsType[*statusError](err)
	if p, ok := errors.AsType[*query.ParamError](err); ok {
		f.Parameter, f.Status = p.Param, http.StatusBadRequest
	}
	if e, ok := errors.AsType[*query.TooMuchError](err); ok {
		f.Parameter, f.Status = "max_bytes", http.StatusRequestEntityTooLarge
		f.Message = fmt.Sprintf("the query would read %d bytes or more of %d segments, and may read %d: ask for a shorter time (from, to) or with a longer pattern", e.Bytes, e.Segments, e.Max)
	}
	_, away := errors.AsType[*UnavailableError](err)
	switch {
	case away:
		f.Status = http.StatusServiceUnavailable
	case hasStatus:
		f.Status = status.status
	case errors.Is(err, errWithdrawn):
		f.Status = http.StatusUnauthorized
	case errors.Is(err, errYours), errors.Is(err, errYourTails):
		f.Status = http.StatusTooManyRequests
	case errors.Is(err, errBusy), errors.Is(err, errWaited), errors.Is(err, errTooLong), errors.Is(err, errStopping), errors.Is(err, errTails):
		f.Status = http.StatusServiceUnavailable
	}
	return f
}

// errStopping says that the server does not go on.
var errStopping = errors.New("the server is stopping: ask again")

// retryAfter is when to come again, in seconds, after a refusal that has passed by then.
const retryAfter = 2

// fail answers with an error. Nothing was written yet.
func (a *API) fail(x *exchange, err error) {
	f := failure(err)
	x.told.status, x.told.err = f.Status, err
	switch {
	case isGone(x.r.Context()):
		x.told.outcome = "gone"
	case f.Status < 500 || f.Status == http.StatusServiceUnavailable:
		x.told.outcome = "refused"
	default:
		x.told.outcome = "failed"
	}
	if f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable {
		x.w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(f.Status)
	_, _ = a.inOne(x.w).Write(appendJSON(wire.Failure{Error: f})) // where it cannot be written, nobody is there to be told
}

// write answers with an object, compressed if the client takes that.
func (a *API) write(x *exchange, status int, v any) {
	b, err := encode(v)
	if err != nil {
		a.fail(x, fmt.Errorf("encode: %w", err))
		return
	}
	defer x.aside()()
	w := a.inOne(x.w)
	x.w.Header().Set("Vary", "Accept-Encoding")
	x.w.Header().Set("Content-Type", "application/json")
	enc, coding, err := a.encoders.pick(x.r.Header.Get("Accept-Encoding"), w)
	if err != nil || enc == nil {
		x.w.WriteHeader(status)
		_, _ = w.Write(b) // where it cannot be written, nobody is there to be told
		return
	}
	defer a.encoders.giveBack(enc, coding)
	x.w.Header().Set("Content-Encoding", coding)
	x.w.WriteHeader(status)
	if _, err := enc.Write(b); err == nil {
		_ = enc.Close()
	}
}

// aside gives the slot to another query where the reader takes its time, until what it returns is called.
func (x *exchange) aside() (written func()) {
	s := x.slot
	if s == nil {
		return func() {}
	}
	x.slot = nil
	parked := s.parkLater()
	return func() {
		if parked() {
			s.drop()
		} else {
			s.release()
		}
	}
}

// cause is an error as it is logged: what is wrong with a pattern is told with the pattern, which is the client's own.
func cause(err error) string {
	if p, ok := errors.AsType[*query.ParamError](err); ok && slices.Contains([]string{"pattern", "where", "source", "field"}, p.Param) {
		return "the parameter " + p.Param + " is not understood"
	}
	return err.Error()
}

// log writes the line of a request, and counts it. What it is told holds no secrets; patterns may, and are left out.
func (a *API) log(x *exchange, took time.Duration) {
	path := "unknown"
	if x.route != nil {
		path = x.route.path
	}
	a.metrics.asked(strings.TrimPrefix(path, "/api/v1/"), x, took)
	level := slog.LevelInfo
	if x.told.outcome == "failed" {
		level = slog.LevelError
	}
	if !a.cfg.Logger.Enabled(x.ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("path", path), slog.String("method", cut(x.r.Method, 20)), slog.String("client", x.client), slog.Int("status", x.told.status),
		slog.String("outcome", x.told.outcome), slog.Duration("took", took.Round(time.Microsecond)), slog.Duration("waited", x.told.wait.Round(time.Microsecond))}
	if q := x.asked; q != nil {
		for _, text := range []struct{ name, value string }{{"topic", cut(q.Topic, 100)}, {"from", cut(q.From, 40)}, {"to", cut(q.To, 40)}} {
			if text.value != "" {
				attrs = append(attrs, slog.String(text.name, text.value))
			}
		}
		for _, n := range []struct {
			name  string
			value int64
		}{{"patterns", int64(len(q.Patterns))}, {"limit", q.Limit}} {
			if n.value != 0 {
				attrs = append(attrs, slog.Int64(n.name, n.value))
			}
		}
		for _, b := range []struct {
			name  string
			value bool
		}{{"regex", q.Regex}, {"newest", q.Newest}, {"count", q.CountOnly}, {"brute", q.Brute}} {
			if b.value {
				attrs = append(attrs, slog.Bool(b.name, true))
			}
		}
	}
	if ans := x.told.answer; ans != nil {
		attrs = append(attrs, slog.Int64("records", ans.Count), slog.Int64("fetched", ans.Stats.Requests.Fetched), slog.Int64("scanned", ans.Stats.Requests.Decoded),
			slog.Int("problems", len(ans.Problems)+ans.Unlisted))
	}
	if x.told.err != nil {
		attrs = append(attrs, slog.String("cause", cut(cause(x.told.err), 500)))
	}
	a.cfg.Logger.LogAttrs(x.ctx, level, "request", attrs...)
}
