package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/client"
	"oklog/query/where"
)

const catServer = "Server"

// serverFlags name a server that is asked instead of buckets.
func serverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Category: catServer, EnvVars: []string{"OKLOG_SERVER"}, Usage: "ask the oklog server at `URL`, such as https://logs:7651, instead of buckets"},
		&cli.StringFlag{Name: "token-file", Category: catServer, EnvVars: []string{"OKLOG_TOKEN_FILE"}, Usage: "`FILE` with the token for it"},
		&cli.StringFlag{Name: "token", Category: catServer, EnvVars: []string{"OKLOG_TOKEN"}, Usage: "the `TOKEN` itself; other users of the machine see what is among the arguments"},
		&cli.StringFlag{Name: "server-ca", Category: catServer, EnvVars: []string{"OKLOG_SERVER_CA"}, Usage: "`FILE` with the authorities that vouch for it", DefaultText: "the system's"},
	}
}

// local flags are without effect where a server is asked.
func localFlags() []string {
	return []string{"bucket", "nats", "write-quorum", "cache", "cache-size", "max-unflushed"}
}

// preferSaid settles which of --server and --bucket counts where one is among the arguments, and the other is not.
func preferSaid(c *cli.Context, args []string) error {
	if !hasFlag(c.App.Flags, "server") || c.String("server") == "" {
		return nil
	}
	said := func(name string) bool { return flags.Given(args, c.App.Flags, name) }
	if !said("server") && (said("bucket") || said("nats")) {
		return c.Set("server", "")
	}
	for _, name := range localFlags() {
		if said(name) {
			return fmt.Errorf("--%s says how to search without a server, and --server is given: leave one of them out", name)
		}
	}
	return nil
}

// parseServer is nil if no server is named.
func parseServer(c *cli.Context) (*client.Config, error) {
	if c.String("server") == "" {
		return nil, nil
	}
	if u := c.String("server"); !strings.ContainsAny(u, "/@") {
		return nil, fmt.Errorf("--server %s: want a URL, such as http://%s or https://%s", u, u, u)
	}
	cfg := &client.Config{URL: c.String("server"), Token: c.String("token"), CA: c.String("server-ca"), Agent: "oklog-query/" + version}
	if path := c.String("token-file"); path != "" && cfg.Token == "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		defer f.Close()
		const most = 4 << 10
		b, err := io.ReadAll(io.LimitReader(f, most+1))
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if cfg.Token = strings.TrimSpace(string(b)); cfg.Token == "" || len(b) > most {
			return nil, fmt.Errorf("--token-file %s: want a token in it, and nothing else", path)
		}
	}
	return cfg, nil
}

// remote has a server answer.
type remote struct{ c *client.Client }

var _ backend = (*remote)(nil)

func openRemote(cfg client.Config) (*remote, error) {
	c, err := client.New(cfg)
	if err != nil {
		if errors.Is(err, client.ErrAuthorities) {
			return nil, fmt.Errorf("--server-ca: %w", err)
		}
		return nil, fmt.Errorf("--server: %w", err)
	}
	return &remote{c}, nil
}

// idleAfter is how often what a server has sent is shown, at least.
const idleAfter = 100 * time.Millisecond

// Search implements backend.
func (r *remote) Search(ctx context.Context, q question, emit func(query.Record) error) (*query.Answer, error) {
	if q.watch != nil {
		q.watch(func() query.Stats { return query.Stats{} }) // the server tells at the end
	}
	if q.idle == nil || q.CountOnly {
		return r.c.Run(ctx, q.Request, emit)
	}
	// Nobody tells that the next record is waited for.
	var mu sync.Mutex // of the sink
	ended := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(idleAfter)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				mu.Lock()
				q.idle()
				mu.Unlock()
			}
		}
	})
	defer all.Wait()
	defer close(ended)
	return r.c.Run(ctx, q.Request, func(rec query.Record) error {
		mu.Lock()
		defer mu.Unlock()
		return emit(rec)
	})
}

// Histogram implements backend.
func (r *remote) Histogram(ctx context.Context, q question, steps query.Steps) (*query.HistogramAnswer, error) {
	h, err := r.c.Histogram(ctx, q.Request, steps)
	if err != nil {
		return &query.HistogramAnswer{Answer: &query.Answer{}}, err
	}
	return h, nil
}

// Top implements backend.
func (r *remote) Top(ctx context.Context, q question, field where.Path, n int) (*query.TopAnswer, error) {
	t, err := r.c.Top(ctx, q.Request, field.String(), n)
	if t == nil {
		t = &query.TopAnswer{}
	}
	return t, err
}

// Topics implements backend.
func (r *remote) Topics(ctx context.Context) iter.Seq2[query.TopicInfo, error] {
	return func(yield func(query.TopicInfo, error) bool) {
		all, err := r.c.Topics(ctx)
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(query.TopicInfo{}, err)
		}
	}
}

// Sources implements backend.
func (r *remote) Sources(ctx context.Context, q question) ([]query.SourceInfo, *query.Answer, error) {
	told, ans, err := r.c.Sources(ctx, q.Request)
	all := make([]query.SourceInfo, len(told))
	for i, s := range told {
		all[i] = query.SourceInfo{First: s.First, Last: s.Last, Sessions: s.Sessions, Segments: s.Segments}
		for key, value := range s.Source {
			all[i].Source = append(all[i].Source, segment.Attr{Key: key, Value: value})
		}
		slices.SortFunc(all[i].Source, func(a, b segment.Attr) int { return cmp.Compare(a.Key, b.Key) })
	}
	return all, ans, err
}

// Estimate implements backend: a server tells sums alone.
func (r *remote) Estimate(ctx context.Context, q question) (query.Estimate, error) {
	est, err := r.c.Estimate(ctx, q.Request)
	told := query.Estimate{Segments: int(est.Segments), Blocks: int(est.Blocks), Bytes: est.Bytes}
	if est.Partial {
		told.Answer = &query.Answer{Problems: []query.Problem{{Key: "what the server estimates", Err: errors.New("something could not be read")}}}
	}
	return told, err
}

// Hint implements backend.
func (r *remote) Hint(ctx context.Context, q question) string {
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	topics, err := r.c.Topics(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for _, t := range topics {
		if t.Name == q.Topic && t.FirstDay != "" {
			return fmt.Sprintf("topic %s has nothing between --from and --to; there are segments from %s to %s", t.Name, t.FirstDay, t.LastDay)
		}
		if t.Name == q.Topic {
			return fmt.Sprintf("topic %s has nothing between --from and --to, and nothing in the buckets yet", t.Name)
		}
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return "there are no topics at all on this server, or none that the token may see"
	}
	return fmt.Sprintf("there is no topic %s, or the token may not see it; topics here: %s", q.Topic, strings.Join(names[:min(len(names), maxHinted)], " "))
}

// explainServer names the flags that an error of a server is about.
func explainServer(err error) error {
	switch {
	case errors.Is(err, client.ErrRefused):
		return fmt.Errorf("%w (--token-file)", err)
	case errors.Is(err, client.ErrUntrusted):
		return fmt.Errorf("%w (--server-ca)", err)
	}
	if p, ok := errors.AsType[*query.ParamError](err); ok && p.Param == "max-bytes" {
		return fmt.Errorf("%w (--max-bytes)", err)
	}
	return err
}
