package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"oklog/cmd/internal/flags"
	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
)

const catDescription = `Prints the records of segments, one segment after another, as zstd -dc does, but that the pieces of a record that was cut are one line. KEY is the last column of oklog-query ls, or with --topic a part of it that no other segment of the topic has in its key, such as the hash at its end. (To find a part, all the keys of the topic are listed.)

Examples:
   oklog-query cat web/2026-11-22/17/01M1...-8c0de59f31d2a7b4.zst
   oklog-query cat --topic web 8c0de59f31d2a7b4
   oklog-query cat --topic web --time --show-source 8c0de59f31d2a7b4 17b4a0f2
   oklog-query cat --topic web --json 8c0de59f31d2a7b4 | jq -r .source.host | sort | uniq -c

Where several buckets are given, a block that is damaged in one is read from another. What is damaged in all of them is left out and named on standard error.

Exit status: 0 records were printed, 2 an error, also if some are lacking, 130 interrupted.`

// catOptions are the arguments of cat, checked.
type catOptions struct {
	place
	topic string // of the keys of which a part is given
	look  look
	keys  []string // as they were given
}

func newCat() *cli.App {
	const what = "Segments"
	return &cli.App{
		Name: "oklog-query cat", Usage: "print the records of segments in object storage",
		UsageText:   "oklog-query cat [--topic T] [options] KEY...",
		Description: catDescription,
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Category: what, EnvVars: []string{"OKLOG_TOPIC"}, Usage: "the `TOPIC` of the segments of which a part of the key is given"},
			zoneFlag(),
		}, recordFlags(catOutput), flags.Buckets(), []cli.Flag{writeQuorum()}),
	}
}

func doCat(ctx context.Context, c *cli.Context, s streams) (int, error) {
	opts, err := parseCat(c)
	if err != nil {
		return exitTrouble, err
	}
	return cat(ctx, opts, s.log, s.stdout, s.stderr)
}

func parseCat(c *cli.Context) (o catOptions, err error) {
	if o.look, err = parseLook(c, screen{}); err != nil {
		return o, err
	}
	if o.place, err = parsePlace(c); err != nil {
		return o, err
	}
	if o.topic, err = parseTopic(c); err != nil {
		return o, err
	}
	o.keys = c.Args().Slice()
	if len(o.keys) == 0 {
		return o, errors.New("KEY is missing: say which segment to print, as the last column of oklog-query ls --topic T has it; to search for the text cat, write oklog-query -e cat")
	}
	for _, key := range o.keys {
		if _, _, err := segment.ParseKey(key); err == nil {
			continue
		}
		if key == "" {
			return o, errors.New("a KEY is empty: give it as the last column of oklog-query ls --topic T has it")
		}
		if o.topic == "" {
			return o, fmt.Errorf("%q is not the whole key of a segment: say with --topic which topic it is a part of a key of, or give what the last column of oklog-query ls has", key)
		}
	}
	return o, nil
}

// cat is the command.
func cat(ctx context.Context, opts catOptions, logger *slog.Logger, stdout, stderr io.Writer) (int, error) {
	bucket, err := openPlace(ctx, opts.place, logger)
	if err != nil {
		return exitTrouble, err
	}
	defer func() { _ = bucket.Close(ctx) }() // nothing was written
	objects, err := findSegments(ctx, bucket, opts.topic, opts.keys)
	if err != nil {
		return exitTrouble, err
	}
	single := &oneObject{Bucket: bucket}
	engine, err := query.New(query.Config{Bucket: single, Copies: bucket.Copies()})
	if err != nil {
		return exitTrouble, err
	}
	w := bufio.NewWriterSize(stdout, 64<<10)
	p := newPrinter(w, opts.look, query.Query{})
	all := &query.Answer{}
	for _, o := range objects {
		topic, _, err := segment.ParseKey(o.Key)
		if err != nil {
			return exitTrouble, err
		}
		single.info = o
		q := question{query: query.Query{Topic: topic, Range: query.Range{To: endOfTime()}}}
		ans, err, broken := feed(ctx, &local{engine: engine}, q, p, w)
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "oklog-query: interrupted: not all of it was printed")
			return exitInterrupt, nil
		}
		if code, ended, err := early(err, broken); ended {
			return code, err
		}
		all.Problems = append(all.Problems, ans.Problems...)
		all.Unlisted += ans.Unlisted
		all.Stats.Segments.Mended += ans.Stats.Segments.Mended
	}
	warnMended(stderr, all)
	if all.Partial() {
		warnPartial(stderr, all)
		return exitTrouble, nil
	}
	return exitFound, nil
}

// oneObject is a bucket of which listings show one object only: all that there is to a query.
type oneObject struct {
	objstore.Bucket
	info objstore.Info
}

// List implements objstore.Bucket.
func (b *oneObject) List(_ context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if strings.HasPrefix(b.info.Key, prefix) && b.info.Key > after {
			yield(b.info, nil)
		}
	}
}

// having is what has a part in its key.
type having struct {
	first, second objstore.Info // segments
	segments      int
	foreign       error // why an object is none
}

// findSegments finds the objects of keys, or parts of keys, in their order. Whole ones are asked for, and parts looked up in
// one listing of the topic.
func findSegments(ctx context.Context, bucket objstore.Bucket, topic string, keys []string) ([]objstore.Info, error) {
	found := make([]objstore.Info, len(keys))
	parts := map[string]*having{}
	for i, key := range keys {
		if _, _, err := segment.ParseKey(key); err != nil {
			parts[key] = &having{}
			continue
		}
		info, err := bucket.Stat(ctx, key)
		if errors.Is(err, objstore.ErrNotFound) {
			of, _, _ := strings.Cut(key, "/")
			return nil, fmt.Errorf("there is no segment %s: oklog-query ls --topic %s tells which there are; correct the key, or --bucket", key, of)
		}
		if err != nil {
			return nil, err
		}
		found[i] = info
	}
	if len(parts) == 0 {
		return found, nil
	}
	objects := 0
	for info, err := range bucket.List(ctx, topic+"/", "") {
		if err != nil {
			return nil, fmt.Errorf("look for parts of keys: %w: repeat it, or give whole keys", err)
		}
		objects++
		for part, m := range parts {
			if strings.Contains(info.Key, part) {
				m.add(info)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if objects == 0 {
		return nil, fmt.Errorf("there is no topic %s; topics here: %s: correct --topic, or --bucket", topic, strings.Join(topicsOf(ctx, bucket), " "))
	}
	for i, key := range keys {
		m, ok := parts[key]
		switch {
		case !ok:
		case m.segments == 1:
			found[i] = m.first
		case m.segments > 1:
			return nil, fmt.Errorf("%q is in the keys of %d segments of topic %s, such as %s and %s: give more of the one you mean", key, m.segments, topic, m.first.Key, m.second.Key)
		case m.foreign != nil:
			return nil, fmt.Errorf("%q: %w: there is nothing in it to print", key, m.foreign)
		default:
			return nil, fmt.Errorf("no segment of topic %s has %q in its key: oklog-query ls --topic %s tells which there are; correct the key, or --topic", topic, key, topic)
		}
	}
	return found, nil
}

func (m *having) add(info objstore.Info) {
	if _, _, err := segment.ParseKey(info.Key); err != nil {
		m.foreign = err
		return
	}
	switch m.segments++; m.segments {
	case 1:
		m.first = info
	case 2:
		m.second = info
	}
}
