package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/cmd/internal/unflushed"
	"oklog/ingest/stream"
	"oklog/objstore/metrics"
	"oklog/objstore/open"
	"oklog/query"
	"oklog/query/api"
	"oklog/query/cache"
	"oklog/query/spread"
	"oklog/query/tail"
)

const catServe = "Queries"

// defaultServe is where queries are answered.
const defaultServe = "127.0.0.1:7651"

// serve, any number of them, which find each other through NATS and answer each other's queries in parts:
//
//	HTTP ──▶ api: tokens, limits, queue ──▶ spread ──▶ engine ──▶ cache ──▶ buckets
//	                                        │  ▲       └─▶ NATS: unflushed records
//	                                        └──┴─▶ NATS: the other queriers
func serveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "answer queries over HTTP",
		Description: "Answers queries for records, counts and more at http://ADDRESS/api/v1/, which /api/v1/openapi.json describes. Keeps nothing on disk but what --cache\n" +
			"says; run as many as you like.\n\n" +
			"Examples:\n\n" +
			"   oklog serve --bucket file:///var/lib/oklog/bucket --nats nats://127.0.0.1:4222\n" +
			"   curl 'http://127.0.0.1:7651/api/v1/query?topic=web&from=1h&pattern=panic'\n\n" +
			"   oklog serve --bucket \"$A\" --listen :7651 --tokens /etc/oklog/tokens --tls-cert cert.pem --tls-key key.pem\n" +
			"   curl -H \"Authorization: Bearer $SECRET\" 'https://logs.example.com:7651/api/v1/query?topic=web&newest&limit=100'\n\n" +
			"A file of tokens has one a line, and is read again when it changes, and at SIGHUP:\n\n" +
			"   # NAME  SECRET (openssl rand -hex 20), or sha256:HEX  TOPICS         ACTIONS (all, if left out)\n" +
			"   grafana 2c1f0d0f6a4be6d8bb7f3a52b6a1f1a90c5cbd14      topics=*       actions=query,list\n" +
			"   shop    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 topics=shop,shop-* actions=query,tail,list\n\n" +
			"Memory: three eighths of --memory are for blocks of queries and half as much for unflushed records, shared by --max-concurrent queries, half as many\n" +
			"besides, whose readers take nothing, and --spread-slots; an eighth keeps what was read, another one is for records\n" +
			"from other queriers that wait for their turn, and half as much each for tails and for the values that the most frequent are found among. Of what is for\n" +
			"unflushed records and for tails each has half of its share to itself, and the rest is for whoever needs more.",
		Flags: concat(flags.Buckets(), []cli.Flag{flags.WriteQuorum("how `MANY` copies ingesters wait for (their --write-quorum; 0: all): with fewer than all, an answer without one of the buckets may be partial")},
			flags.NATS("`URL` of the NATS server: records that are not flushed yet are found, too"), serveFlags(), groupFlags(), []cli.Flag{
				&cli.BoolFlag{Name: "wait", Usage: "keep trying when the NATS server cannot be reached at the start", EnvVars: []string{"OKLOG_WAIT"}},
				&cli.StringFlag{Name: "http", Usage: "`ADDRESS` for /healthz, /readyz and /metrics, like 127.0.0.1:7650; none if empty", EnvVars: []string{"OKLOG_HTTP"}},
			}, flags.Log()),
		Action: func(c *cli.Context) error { return runServe(c, std) },
	}
}

func serveFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to answer at", Value: defaultServe, EnvVars: []string{"OKLOG_LISTEN"}, Category: catServe},
		&cli.StringFlag{Name: "tokens", Usage: "`FILE` of the tokens that may ask, and what", EnvVars: []string{"OKLOG_TOKENS"}, Category: catServe},
		&cli.BoolFlag{Name: "insecure-no-auth", Usage: "let everybody who reaches the address read all logs", EnvVars: []string{"OKLOG_INSECURE_NO_AUTH"}, Category: catServe},
		&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` of the certificate; it is read again when it changes", EnvVars: []string{"OKLOG_TLS_CERT"}, Category: catServe},
		&cli.StringFlag{Name: "tls-key", Usage: "`FILE` of its key", EnvVars: []string{"OKLOG_TLS_KEY"}, Category: catServe},
		&cli.IntFlag{Name: "max-concurrent", Usage: "let `N` queries run at a time; the others wait, each client's in a queue of its own", Value: api.DefaultConcurrent(), EnvVars: []string{"OKLOG_MAX_CONCURRENT"}, Category: catServe},
		&cli.IntFlag{Name: "max-waiting", Usage: "refuse queries when `N` wait, or half as many of one client", Value: api.DefaultMaxWaiting, EnvVars: []string{"OKLOG_MAX_WAITING"}, Category: catServe},
		&cli.DurationFlag{Name: "max-wait", Usage: "refuse a query that has waited for `TIME`", Value: api.DefaultMaxWait, EnvVars: []string{"OKLOG_MAX_WAIT"}, Category: catServe},
		flags.Size("max-query-bytes", "refuse queries that would read more than `SIZE` from the bucket (0: no bound)", 0, catServe),
		&cli.DurationFlag{Name: "max-query-time", Usage: "end a query that has run for `TIME`, with what it has found", Value: api.DefaultMaxTime, EnvVars: []string{"OKLOG_MAX_QUERY_TIME"}, Category: catServe},
		flags.Size("memory", "`SIZE` of memory to keep within", 1<<30, catServe),
		&cli.StringFlag{Name: "cache", Usage: "keep what is read from buckets in the folder `DIR`, for the next queries", EnvVars: []string{"OKLOG_CACHE"}, Category: catServe},
		flags.Size("cache-size", "let the folder of --cache take `SIZE`", 4<<30, catServe),
		&cli.DurationFlag{Name: "stop-timeout", Usage: "`TIME` that a stop gives queries to come to their end", Value: 30 * time.Second, EnvVars: []string{"OKLOG_STOP_TIMEOUT"}, Category: catServe},
	}
}

// serving is a querier's configuration.
type serving struct {
	log         *slog.Logger
	api         api.Config
	query       query.Config
	cache       cache.Config
	tail        tail.Config
	stream      *stream.Config // nil: none
	group       groupConfig    // of queriers, with a stream
	listen      string
	cert, key   string
	tokens      string
	stopTimeout time.Duration
}

// Shares of a querier's memory.
const (
	// leastBlocks is the least that a query may have in flight, in bytes: a few blocks.
	leastBlocks = 8 << 20
	// leastCacheDisk is the least size of the folder of --cache, in bytes: some pages for each of its parts.
	leastCacheDisk = 150_000_000
	// maxTails is how many tails are followed at a time; so many of them read what is stored at a time, with the least in flight.
	maxTails, tailReads = 32, 2
)

// shareMemory gives each query that may be held its part.
func (s *serving) shareMemory(memory int64) error {
	queries := int64(s.api.MaxConcurrent + s.api.MaxConcurrent/2)
	held := queries + int64(s.group.slots)
	s.query.MaxBytes, s.cache.Memory = memory*3/8/held, memory/8
	unflushed := memory * 3 / 16
	s.query.MaxHotBytes, s.query.Spare = unflushed/2/held, query.NewSpare(unflushed/2)
	s.api.MaxTails = min(maxTails, 4*s.api.MaxConcurrent)
	tails := memory / 16
	s.tail.MaxBytes = tails / 2 / int64(s.api.MaxTails)
	if s.group.name == noGroup {
		tails += memory / 8
	} else {
		s.group.waiting = min(max(memory/8/queries, 1), spread.DefaultBufferBytes)
	}
	s.tail.Spare = query.NewSpare(tails - s.tail.MaxBytes*int64(s.api.MaxTails))
	s.api.MaxTopBytes = min(max(memory/16/int64(s.api.MaxConcurrent), 1), query.MaxTopBytes)
	if s.query.MaxBytes < leastBlocks {
		return fmt.Errorf("%d bytes of memory are too few for %d queries at a time: want %d at least (--memory), or fewer queries (--max-concurrent)",
			memory, s.api.MaxConcurrent, (leastBlocks*held*8+2)/3)
	}
	return nil
}

// serveConfig reads the flags of serve.
func serveConfig(c *cli.Context, log *slog.Logger) (s serving, err error) {
	s = serving{log: log, listen: c.String("listen"), cert: c.String("tls-cert"), key: c.String("tls-key"), tokens: c.String("tokens"), stopTimeout: c.Duration("stop-timeout")}
	if err := flags.Positive(c, "max-wait", "max-query-time", "stop-timeout"); err != nil {
		return s, err
	}
	s.api = api.Config{MaxConcurrent: c.Int("max-concurrent"), MaxWaiting: c.Int("max-waiting"), MaxWait: c.Duration("max-wait"), MaxTime: c.Duration("max-query-time"), Logger: log}
	for _, n := range []struct {
		value int
		most  int
		name  string
	}{{s.api.MaxConcurrent, 1024, "max-concurrent"}, {s.api.MaxWaiting, 100_000, "max-waiting"}} {
		if n.value < 1 || n.value > n.most {
			return s, fmt.Errorf("%d is not a number of queries: want 1 to %d (--%s)", n.value, n.most, n.name)
		}
	}
	if s.api.MaxBytes, err = flags.Bytes(c, "max-query-bytes"); err != nil {
		return s, err
	}
	if s.group, err = readGroup(c, log); err != nil {
		return s, err
	}
	memory, err := flags.Bytes(c, "memory")
	if err != nil {
		return s, err
	}
	if err := s.shareMemory(memory); err != nil {
		return s, err
	}
	flags.LimitMemory(memory)
	if s.cache.Dir = c.String("cache"); s.cache.Dir != "" {
		if s.cache.Disk, err = flags.Bytes(c, "cache-size"); err != nil {
			return s, err
		}
		if s.cache.Disk < leastCacheDisk {
			return s, fmt.Errorf("a cache of %s is too small: want 150MB at least (--cache-size)", c.String("cache-size"))
		}
	} else if c.IsSet("cache-size") {
		return s, errors.New("--cache-size is given without --cache: say which folder, too")
	}
	s.cache.Logger = log
	if c.String("nats") != "" {
		cfg, err := flags.Stream(c, log)
		if err != nil {
			return s, err
		}
		cfg.WaitForServer = c.Bool("wait")
		s.stream = &cfg
	}
	return s, s.checkListen(c.Bool("insecure-no-auth"))
}

// checkListen refuses to show all logs to everybody by mistake.
func (s *serving) checkListen(insecure bool) error {
	host, _, err := net.SplitHostPort(s.listen)
	if err != nil {
		return fmt.Errorf("bad address %q: want HOST:PORT, such as %s, or :PORT (--listen)", s.listen, defaultServe)
	}
	if (s.cert == "") != (s.key == "") {
		return errors.New("a certificate and its key belong together: give both --tls-cert and --tls-key")
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case insecure && s.tokens != "":
		return errors.New("--insecure-no-auth and --tokens contradict each other: leave one out")
	case insecure:
	case loopback:
		s.api.Local = s.tokens == ""
	case s.tokens == "":
		return fmt.Errorf("at %s everybody who reaches the address could read all logs: add --tokens FILE, or listen on loopback (--listen %s), or say --insecure-no-auth", s.listen, defaultServe)
	case s.cert == "":
		s.log.Warn("tokens go over the network as they are: give --tls-cert and --tls-key, unless something in front ends TLS", "listen", s.listen)
	}
	return nil
}

func runServe(c *cli.Context, std streams) error {
	if err := noArgs(c); err != nil {
		return err
	}
	log, err := flags.Logger(c, std.err)
	if err != nil {
		return err
	}
	s, err := serveConfig(c, log)
	if err != nil {
		return err
	}
	reg := newRegistry()
	b, err := openBucketsToQuery(c, log, reg)
	if err != nil {
		return err
	}
	defer closing(log, "bucket", b.Close)
	checks := []check{bucketCheck(b)}
	var nats *stream.Stream
	if s.stream != nil {
		if nats, err = stream.Connect(c.Context, *s.stream); err != nil {
			return err
		}
		defer closing(log, "connection to NATS", nats.Close)
		checks = append(checks, natsCheck(nats))
	}
	_, stop, err := serveHTTP(c, reg, log, checks...)
	if err != nil {
		return err
	}
	defer stop()
	s.query.CacheSpace = open.Fingerprint(c.StringSlice("bucket"))
	return s.run(c.Context, b, nats, reg, func(url string) { log.Info("answering queries", "url", url+"/api/v1/") })
}

// openBucketsToQuery opens the buckets named as queries want them: of several, one that is away is given up soon.
func openBucketsToQuery(c *cli.Context, log *slog.Logger, reg *prometheus.Registry) (*open.Opened, error) {
	meter, err := metrics.New(reg)
	if err != nil {
		return nil, err
	}
	return open.Bucket(c.Context, c.StringSlice("bucket"), open.Config{ReadOnly: true, WriteQuorum: c.Int("write-quorum"), Logger: log, Meter: meter})
}

// run answers queries until ctx is done. ready is told the URL once it listens.
func (s *serving) run(ctx context.Context, b *open.Opened, nats *stream.Stream, reg prometheus.Registerer, ready func(url string)) error {
	var err error
	if s.query.Cache, err = cache.New(s.cache); err != nil {
		return fmt.Errorf("%w (--cache)", err)
	}
	defer func() { _ = s.query.Cache.Close() }() // what is not written yet is read again
	s.tail.Logger = s.log
	engine, parts, err := newRunner(s.query, s.tail, b, nats)
	if err != nil {
		return err
	}
	s.api.Runner, s.api.Parts = engine, parts
	if nats != nil {
		s.group.reg = reg
		runner, leave, err := joinGroup(ctx, nats, engine, s.group)
		if err != nil {
			return err
		}
		defer leave()
		s.api.Runner = runner
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watch, unwatch := context.WithCancel(ctx)
	defer unwatch()
	if s.tokens != "" {
		if s.api.Tokens, err = api.OpenTokens(s.tokens, s.log); err != nil {
			return fmt.Errorf("%w (--tokens)", err)
		}
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		watching.Go(func() {
			defer signal.Stop(hup)
			s.api.Tokens.Watch(watch, reloadEvery, hup)
		})
	}
	s.api.Registerer = reg
	a, err := api.New(s.api)
	if err != nil {
		return err
	}
	srv, err := api.NewServer(api.ServerConfig{Handler: a, Logger: s.log})
	if err != nil {
		return err
	}
	l, url, err := s.listener()
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ready(url)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	a.Stop()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.stopTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		s.log.Warn("queries were ended: they took longer than --stop-timeout", "timeout", s.stopTimeout)
	}
	s.log.Info("stopped")
	return <-served
}

// start answers queries until stop is called; what has ended it by then is logged. It returns once it listens, with the URL.
func (s *serving) start(ctx context.Context, b *open.Opened, nats *stream.Stream, reg prometheus.Registerer) (url string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	listens, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- s.run(ctx, b, nats, reg, func(url string) { listens <- url }) }()
	select {
	case url = <-listens:
	case err := <-ended:
		cancel()
		return "", nil, err
	}
	return url, func() {
		cancel()
		if err := <-ended; err != nil {
			s.log.Error("answering queries has ended", "cause", err)
		}
	}, nil
}

// reloadEvery is how often the files of tokens and certificates are looked at.
const reloadEvery = 2 * time.Second

// newRunner makes what answers queries, and what answers besides. Without NATS there are no tails, and nothing that is not flushed.
func newRunner(cfg query.Config, follow tail.Config, b *open.Opened, nats *stream.Stream) (*query.Engine, api.Parts, error) {
	cfg.Bucket, cfg.Copies = b, b.Copies()
	t := &topics{bucket: b}
	if nats != nil {
		hot := unflushed.Records{Stream: nats, Unavailable: func(err error) error { return &api.UnavailableError{Err: err} }}
		cfg.Hot, t.hot = hot, []query.HotTopics{hot}
		cfg.HotMayFail = true // without NATS there is what is flushed
	}
	engine, err := query.New(cfg)
	if err != nil {
		return nil, api.Parts{}, err
	}
	parts := api.Parts{Estimator: engine, Sources: engine, Topics: t}
	if nats == nil {
		return engine, parts, nil
	}
	cfg.MaxBytes, cfg.HotMayFail = leastBlocks, false // tails ask again
	small, err := query.New(cfg)
	if err != nil {
		return nil, api.Parts{}, err
	}
	follow.Live, follow.Runner = nats, &few{small, make(chan struct{}, tailReads)}
	follower, err := tail.New(follow)
	if err != nil {
		return nil, api.Parts{}, err
	}
	parts.Tailer = tailer{follower}
	return engine, parts, nil
}

// few runs few queries at a time.
type few struct {
	query.Runner
	slots chan struct{}
}

// Run implements query.Runner.
func (f *few) Run(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return &query.Answer{}, ctx.Err()
	}
	defer func() { <-f.slots }()
	return f.Runner.Run(ctx, q, emit)
}

// tailer is a tail as the API sees it.
type tailer struct{ t *tail.Tail }

var _ api.Tailer = tailer{}

// Tail implements api.Tailer.
func (t tailer) Tail(ctx context.Context, q query.Query, n int, emit func(api.TailEvent) error) error {
	return t.t.Run(ctx, q, n, func(e tail.Event) error {
		switch e.Kind {
		case tail.Skipped:
			return emit(api.TailEvent{Note: api.EventSkipped, Count: e.N, Text: e.Text})
		case tail.Recovered:
			return emit(api.TailEvent{Note: api.EventRecovered, Count: e.N, Text: e.Text})
		case tail.Notice:
			return emit(api.TailEvent{Note: api.EventNotice, Text: e.Text})
		}
		return emit(api.TailEvent{Record: e.Record})
	})
}

// topics lists those of a bucket, and of the stream if there is one.
type topics struct {
	bucket *open.Opened
	hot    []query.HotTopics
}

// Topics implements api.TopicLister.
func (t *topics) Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error] {
	return query.Topics(ctx, t.bucket, time.Now(), t.hot...)
}

// listener listens at the address, with TLS if there is a certificate.
func (s *serving) listener() (l net.Listener, url string, err error) {
	scheme := "http"
	var certificate *certificate
	if s.cert != "" {
		if certificate, err = openCertificate(s.cert, s.key, s.log); err != nil {
			return nil, "", err
		}
		scheme = "https"
	}
	if l, err = net.Listen("tcp", s.listen); err != nil {
		return nil, "", fmt.Errorf("listen for queries on %s: %w: choose another address with --listen", s.listen, err)
	}
	url = scheme + "://" + l.Addr().String()
	if host, port, err := net.SplitHostPort(l.Addr().String()); err == nil && strings.Trim(host, "0.:") == "" {
		url = scheme + "://" + net.JoinHostPort("localhost", port)
	}
	if certificate != nil {
		l = certificate.listen(l)
	}
	return l, url, nil
}
