package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"oklog/cmd/internal/flags"
	"oklog/compact"
	"oklog/objstore/open"
)

// job is a compactor with what it works on, and somebody who looks on.
type job struct {
	std    streams
	bar    *progressBar // nil: nobody
	log    *slog.Logger
	reg    *prometheus.Registry
	bucket *open.Opened
	pusher *push.Pusher // nil: nothing is pushed
	c      *compact.Compactor
}

// openJob opens the buckets that the flags name for a compactor. With cfg.DryRun it needs no right to write to them.
func openJob(c *cli.Context, std streams, cfg compact.Config) (j *job, err error) {
	if err := noArgs(c); err != nil {
		return nil, err
	}
	return openJobWithArgs(c, std, cfg)
}

// openJobWithArgs is openJob for a command that takes arguments.
func openJobWithArgs(c *cli.Context, std streams, cfg compact.Config) (j *job, err error) {
	j = &job{std: std, reg: newRegistry()}
	if file, ok := std.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		j.bar = &progressBar{file: file}
		j.std.err = j.bar
		if out, ok := std.out.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
			j.std.out = j.bar // it is the same one
		}
		if !c.IsSet("log-level") && c.String("every") == "" {
			if err := c.Set("log-level", "warn"); err != nil { // the bar tells how it goes, and the report what was done
				return nil, err
			}
		}
	}
	if j.log, err = flags.Logger(c, j.std.err); err != nil {
		return nil, err
	}
	if c.String("memory") != "" {
		if cfg.Memory, err = flags.Bytes(c, "memory"); err != nil {
			return nil, err
		}
		flags.LimitMemory(cfg.Memory)
	}
	if cfg.DryRun {
		j.bucket, err = openBucketsToRead(c, j.log, j.reg)
	} else {
		j.bucket, err = openBuckets(c, j.log, j.reg, 0)
	}
	if err != nil {
		return nil, err
	}
	cfg.Quorum, cfg.Logger, cfg.Registerer = c.Int("write-quorum"), j.log, j.reg
	cfg.Copies = copiesOf(j.bucket)
	if j.c, err = compact.New(cfg); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *job) close() { closing(j.log, "bucket", j.bucket.Close) }

// copiesOf are the buckets that were opened, one by one.
func copiesOf(b *open.Opened) (copies []compact.Copy) {
	buckets := b.Copies()
	if len(buckets) == 0 {
		buckets = append(buckets, b.Bucket)
	}
	for i, name := range b.Names() {
		copies = append(copies, compact.Copy{Name: name, Bucket: buckets[i]})
	}
	return copies
}

// noteTopic says so if there is nothing of a topic: it may be misspelt.
func (j *job) noteTopic(ctx context.Context, topic string) {
	for range j.bucket.List(ctx, topic+"/", "") {
		return // there is something, or an error, which is told elsewhere
	}
	fmt.Fprintf(j.std.err, "oklog: there is no topic %s here\n", topic)
}

// watch shows how far a run is until the function that it returns is called.
func (j *job) watch(what string) (stop func()) {
	return j.draw(func(took time.Duration) string { return compactLine(what, j.c.Progress(), took) })
}

// draw shows a line, if somebody looks on, from the time when it takes long.
func (j *job) draw(line func(took time.Duration) string) (stop func()) {
	if j.bar == nil {
		return func() {}
	}
	start := time.Now()
	return j.bar.draw(func() string {
		if took := time.Since(start); took > time.Second {
			return line(took)
		}
		return ""
	})
}

func compactLine(what string, p compact.Progress, took time.Duration) string {
	line := what
	if p.Topic != "" {
		line += " " + p.Topic
	}
	if p.Total > 0 {
		line += fmt.Sprintf("  %3.0f%%  %s of %s records", min(100*float64(p.Records)/float64(p.Total), 100), humanize.Comma(p.Records), humanize.Comma(p.Total))
		if rate := float64(p.Records) / took.Seconds(); rate > 0 && p.Total > p.Records {
			line += "  " + time.Duration(float64(p.Total-p.Records)/rate*float64(time.Second)).Round(time.Second).String() + " left"
		}
	} else if p.Objects > 0 {
		line += fmt.Sprintf("  %s objects, %s", humanize.Comma(p.Objects), humanize.Bytes(uint64(p.Bytes)))
	}
	return line + "  " + took.Round(time.Second).String()
}
