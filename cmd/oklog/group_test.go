package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore"
	"oklog/query"
	"oklog/query/spread"
)

func TestGroupName(t *testing.T) {
	a, b := "s3://key:one@host:9000/logs?tls=false", "file:///srv/logs"
	name := groupName([]string{a, b}, "here")
	for _, tt := range []struct {
		buckets []string
		host    string
		same    bool
	}{
		{[]string{b, a}, "here", true},
		{[]string{a, b}, "there", false}, // another folder
		{[]string{a}, "here", false},
		{[]string{a, "file:///srv/other"}, "here", false},
	} {
		if have := groupName(tt.buckets, tt.host); (have == name) != tt.same {
			t.Errorf("%q on %s are of group %s, the first of %s", tt.buckets, tt.host, have, name)
		}
	}
	if groupName([]string{a}, "here") != groupName([]string{a}, "there") {
		t.Error("a bucket is another one on another machine")
	}
}

func TestJoinGroup(t *testing.T) {
	srv, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	engine, err := query.New(query.Config{Bucket: objstore.NewMemory("test", time.Now)})
	if err != nil {
		t.Fatal(err)
	}
	join := func(name string) (query.Runner, func()) {
		s, err := stream.Connect(t.Context(), stream.Config{URL: srv.ClientURL()})
		if err != nil {
			t.Fatal(err)
		}
		r, leave, err := joinGroup(t.Context(), s, engine, groupConfig{buckets: []string{"file:///srv/logs"}, name: name, log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return r, func() {
			leave()
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	_, leaveFirst := join("")
	defer leaveFirst()
	second, leaveSecond := join("")
	defer leaveSecond()
	if s, ok := second.(*spread.Spreader); !ok || s.Members() != 2 {
		t.Errorf("the second runs queries on %T, and knows too few others", second)
	}
	none, leaveNone := join(noGroup)
	defer leaveNone()
	if none != query.Runner(engine) {
		t.Errorf("without a group queries run on %T", none)
	}
}
