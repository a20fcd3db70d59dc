package client_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api"
	"oklog/query/client"
)

// day is when the records of the examples were read.
var day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// exampleServer is a server with five records of a topic: what oklog serve is.
func exampleServer() *httptest.Server {
	bucket := objstore.NewMemory("example", time.Now)
	block := &segment.Block{Sources: segment.Sources{1: {{Key: "host", Value: "web1"}}}}
	for i, text := range []string{"GET / 200", "GET /login 500", "GET /a 200", "POST /login 500", "GET /b 200"} {
		block.Append(segment.MakeID(uint64(day.Add(time.Duration(i)*time.Minute).UnixMilli()), 1, uint32(i)), []byte(text), 0)
	}
	days, err := segment.NewDays(segment.WriterConfig{Filter: true}, 1<<20, func(name segment.Name, data []byte) error {
		return bucket.Put(context.Background(), name.Key("web"), bytes.NewReader(data), int64(len(data)))
	})
	if err != nil {
		log.Fatal(err)
	}
	c := block.Cursor()
	if err := days.Take(&c, c.Left()); err != nil {
		log.Fatal(err)
	}
	if err := days.Close(); err != nil {
		log.Fatal(err)
	}
	engine, err := query.New(query.Config{Bucket: bucket})
	if err != nil {
		log.Fatal(err)
	}
	a, err := api.New(api.Config{Runner: engine, Parts: api.Parts{Estimator: engine, Sources: engine}})
	if err != nil {
		log.Fatal(err)
	}
	return httptest.NewServer(a)
}

func ExampleClient_Run() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	request := query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23", Patterns: []string{"/login"}}
	ans, err := c.Run(context.Background(), request, func(r query.Record) error {
		fmt.Printf("%s %s\n", r.Source, r.Text)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ans.Count, "records, partial:", ans.Partial())
	// Output:
	// host=web1 GET /login 500
	// host=web1 POST /login 500
	// 2 records, partial: false
}

// Page by page: the ULID of the last record, which is itself left out, is where the next page begins.
func ExampleClient_Run_pages() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	request := query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23", Limit: 2}
	for {
		ans, err := c.Run(context.Background(), request, func(r query.Record) error {
			fmt.Printf("%s\n", r.Text)
			request.From = r.ID.String()
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
		if ans.Count < request.Limit {
			break
		}
		fmt.Println("--")
	}
	// Output:
	// GET / 200
	// GET /login 500
	// --
	// GET /a 200
	// POST /login 500
	// --
	// GET /b 200
}

func ExampleClient_Histogram() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	h, err := c.Histogram(context.Background(), query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23", Patterns: []string{"500"}}, query.Steps{Length: 2 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range h.Buckets {
		fmt.Println(b.Start.Format("15:04"), b.Count)
	}
	// Output:
	// 12:00 1
	// 12:02 1
}

func ExampleClient_Estimate() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	e, err := c.Estimate(context.Background(), query.Request{Topic: "web", From: "2026-11-22", To: "2026-11-23"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Segments, "segment,", e.Blocks, "block,", e.Bytes > 0)
	// Output: 1 segment, 1 block, true
}
