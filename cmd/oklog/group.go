package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/ingest/stream"
	"oklog/objstore/open"
	"oklog/query"
	"oklog/query/spread"
)

// groupFlags are those of queriers that answer together.
func groupFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "group", Usage: "`NAME` of the queriers, on one NATS server, that answer each other's queries in parts; they must have the same buckets, which the usual name tells; - is none", EnvVars: []string{"OKLOG_GROUP"}, Category: catServe},
		&cli.IntFlag{Name: "spread-slots", Usage: "work on `N` parts of queries at a time, for this querier and others of the group", Value: spread.DefaultSlots, EnvVars: []string{"OKLOG_SPREAD_SLOTS"}, Category: catServe},
		flags.Size("spread-min", "answer a query here that has less than `SIZE` stored in its range, and cut others into parts of about as much, at most 16MiB (0: cut all)", spread.DefaultSmallBytes, catServe),
	}
}

// groupConfig says which group of queriers to join.
type groupConfig struct {
	buckets []string // URLs
	name    string   // "": made of the buckets; noGroup: none
	slots   int
	least   int64                 // stored bytes of a query that is spread; 0: spread.DefaultSmallBytes
	reg     prometheus.Registerer // nil: none
	waiting int64                 // bytes of records of a query that wait for others before them
	log     *slog.Logger
}

// readGroup reads the flags of groupFlags.
func readGroup(c *cli.Context, log *slog.Logger) (groupConfig, error) {
	g := groupConfig{buckets: c.StringSlice("bucket"), name: c.String("group"), slots: c.Int("spread-slots"), log: log}
	if g.slots < 1 || g.slots > spread.MaxSlots {
		return g, fmt.Errorf("%d is not a number of parts of queries: want 1 to %d (--spread-slots)", g.slots, spread.MaxSlots)
	}
	least, err := flags.Bytes(c, "spread-min")
	if err != nil {
		return g, err
	}
	g.least = max(least, 1)
	if c.IsSet("group") && c.String("nats") == "" {
		return g, errors.New("--group is given without --nats: queriers find each other through a NATS server")
	}
	return g, nil
}

// noGroup as the name of a group says that there is to be none.
const noGroup = "-"

// joinGroup makes what spreads queries over all queriers that run, through NATS; leave is to be called when its queries have ended.
//
//	query ──▶ spread ──▶ engine ──▶ buckets
//	           │   ▲
//	           ▼   │  NATS: pieces, records
//	      the other queriers
func joinGroup(ctx context.Context, s *stream.Stream, engine *query.Engine, cfg groupConfig) (runner query.Runner, leave func(), err error) {
	if cfg.name == noGroup {
		return engine, func() {}, nil
	}
	name := cfg.name
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, nil, fmt.Errorf("find the name of this machine: %w: name the group of queriers with --group", err)
		}
		name = groupName(cfg.buckets, host)
	}
	log := cfg.log.With("part", "spread")
	sp, err := spread.Join(ctx, spread.Config{Engine: engine, Transport: s.Group(), Group: name, Slots: cfg.slots, SmallBytes: cfg.least, BufferBytes: cfg.waiting, Logger: log, Registerer: cfg.reg})
	if err != nil {
		return nil, nil, err
	}
	log.Info("queries are spread", "group", name, "queriers", sp.Members())
	return sp, func() {
		if err := sp.Close(); err != nil {
			log.Warn("could not close cleanly", "what", "group of queriers", "cause", err)
		}
	}, nil
}

// groupName is the same for queriers that name the same buckets. A folder is another one on each machine.
func groupName(buckets []string, host string) string {
	names := slices.Clone(buckets)
	for i, b := range names {
		if folder, ok := strings.CutPrefix(b, "file:"); ok {
			names[i] = "file:" + host + " " + folder
		}
	}
	return open.Fingerprint(names)
}
