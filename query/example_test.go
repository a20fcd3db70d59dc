package query_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"oklog/objstore/dir"
	"oklog/objstore/segment"
	"oklog/query"
)

// sample makes a folder bucket with some records of topic web, two minutes apart, as ingesters do. Programs have one already.
func sample() (folder string, remove func()) {
	folder, err := os.MkdirTemp("", "oklog-example-")
	if err != nil {
		log.Fatal(err)
	}
	b, err := dir.Open(folder, dir.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			log.Fatal(err)
		}
	}()
	days, err := segment.NewDays(segment.WriterConfig{Filter: true}, 64<<20, func(name segment.Name, data []byte) error {
		return b.Put(context.Background(), name.Key("web"), bytes.NewReader(data), int64(len(data)))
	})
	if err != nil {
		log.Fatal(err)
	}
	const session = 7
	records := segment.Block{Sources: segment.Sources{session: {{Key: "host", Value: "web1"}}}}
	at := time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)
	for i, text := range []string{"GET / 200", "GET /cart 500", "GET / 200", "POST /pay 500", "POST /pay 502", "GET / 200"} {
		id := segment.MakeID(uint64(at.Add(time.Duration(i)*2*time.Minute).UnixMilli()), session, uint32(i))
		records.Append(id, []byte(text), 0)
	}
	c := records.Cursor()
	if err := days.Take(&c, c.Left()); err != nil {
		log.Fatal(err)
	}
	if err := days.Close(); err != nil {
		log.Fatal(err)
	}
	return folder, func() { _ = os.RemoveAll(folder) }
}

// A program that searches: a bucket, an engine, a request, a query.
func Example() {
	folder, remove := sample()
	defer remove()
	bucket, err := dir.Open(folder, dir.Config{}) // or package objstore/s3, or objstore/open for what people type
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bucket.Close() }() // nothing was written
	engine, err := query.New(query.Config{Bucket: bucket})
	if err != nil {
		log.Fatal(err)
	}

	request := query.Request{
		Topic: "web", From: "2026-11-22", To: "2026-11-23",
		Patterns: []string{"50[0-9]$"}, Regex: true,
		Sources: []string{"host=web1"},
	}
	q, err := request.Compile(time.Now())
	if err != nil {
		log.Fatal(err) // one line, about one parameter
	}
	ans, err := engine.Run(context.Background(), q, func(r query.Record) error {
		fmt.Printf("%s %s: %s\n", r.ID.Timestamp().UTC().Format(time.TimeOnly), r.Source, r.Text)
		return nil // segment.ErrStop ends the query
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range ans.Problems {
		log.Print("the answer is partial: ", p)
	}
	fmt.Println(ans.Count, "records")
	// Output:
	// 17:02:00 host=web1: GET /cart 500
	// 17:06:00 host=web1: POST /pay 500
	// 17:08:00 host=web1: POST /pay 502
	// 3 records
}

func ExampleHistogram() {
	folder, remove := sample()
	defer remove()
	bucket, err := dir.Open(folder, dir.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bucket.Close() }()
	engine, err := query.New(query.Config{Bucket: bucket})
	if err != nil {
		log.Fatal(err)
	}
	q, err := (&query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23", Patterns: []string{"200"}}).Compile(time.Now())
	if err != nil {
		log.Fatal(err)
	}
	h, err := query.Histogram(context.Background(), engine, q, query.Steps{Length: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range h.Buckets {
		fmt.Println(b.Start.Format("15:04"), b.Count)
	}
	// Output:
	// 17:00 2
	// 17:05 0
	// 17:10 1
}

// What there is, and what a query would read of it.
func ExampleEngine_Estimate() {
	folder, remove := sample()
	defer remove()
	bucket, err := dir.Open(folder, dir.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bucket.Close() }()
	ctx := context.Background()
	for topic, err := range query.Topics(ctx, bucket, time.Now()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("topic %s, %s to %s\n", topic.Name, topic.FirstDay, topic.LastDay)
	}
	engine, err := query.New(query.Config{Bucket: bucket})
	if err != nil {
		log.Fatal(err)
	}
	q, err := (&query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23", Patterns: []string{"no such text"}}).Compile(time.Now())
	if err != nil {
		log.Fatal(err)
	}
	sources, _, err := engine.SourcesOf(ctx, q)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range sources {
		fmt.Println("source", s.Source)
	}
	est, err := engine.Estimate(ctx, q)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("blocks to read:", est.Blocks, "left out:", est.Answer.Stats.Blocks.Pruned)
	// Output:
	// topic web, 2026-11-22 to 2026-11-22
	// source host=web1
	// blocks to read: 0 left out: 1
}
