package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/ingest/forward"
	"oklog/ingest/stream"
	"oklog/ingest/stream/embedded"
	"oklog/objstore/segment"
)

func startServer(t *testing.T, dir, listen string) *embedded.Server {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// unflushed are the texts of all records in the stream, in the order of their IDs.
func unflushed(t *testing.T, s *stream.Stream, topic string) (texts []string) {
	t.Helper()
	d, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]string{}
	for body, err := range s.Unflushed(t.Context(), topic) {
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(body)
		seg, err := d.Open(r, int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		err = segment.Merge([]segment.Input{seg.Input(d, r)}, false, func(c *segment.Cursor, n int) error {
			for range n {
				rec := c.Next()
				byID[rec.ID.String()] = string(rec.Text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		texts = append(texts, byID[id])
	}
	return texts
}

func connect(t *testing.T, listen string) *stream.Stream {
	t.Helper()
	s, err := stream.Connect(t.Context(), stream.Config{URL: "nats://" + listen})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStream(t *testing.T, s *stream.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestThroughNATS forwards to a real server that goes away in the middle, in both modes.
func TestThroughNATS(t *testing.T) {
	var lines []string
	for i := range 20_000 {
		lines = append(lines, fmt.Sprintf("line %d %%s \x00 \xff %x\r", i, i*i))
	}
	for _, mode := range []forward.Mode{forward.Fast, forward.Durable} {
		t.Run(mode.String(), func(t *testing.T) {
			dir, listen := t.TempDir(), freeAddress(t)
			srv := startServer(t, dir, listen)
			s := connect(t, listen)
			defer func() {
				closeStream(t, s)
				srv.Shutdown()
			}()
			if err := s.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "in.log")
			if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := forward.New(forward.Config{
				Topic: "nats.test", Mode: mode, Publisher: forward.PublisherOf(s),
				Permanent: func(err error) bool { return errors.Is(err, stream.ErrTooLarge) || errors.Is(err, stream.ErrClosed) },
				Inputs:    forward.Inputs{Files: []string{name}, StateDir: t.TempDir()},
				Limits:    forward.Limits{Batch: 200, Record: 4 << 10},
			})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := f.Run(t.Context())
				ended <- err
			}()
			for f.Stats().Acked == 0 {
				time.Sleep(time.Millisecond)
			}
			srv.Shutdown()
			srv = startServer(t, dir, listen)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if st := f.Stats(); st.Acked != int64(len(lines)) {
				t.Errorf("%+v", st)
			}
			// A connection of its own: a request of the other one may have gone to the server that went away.
			reader := connect(t, listen)
			have := unflushed(t, reader, "nats.test")
			closeStream(t, reader)
			if !slices.Equal(have, lines) {
				t.Errorf("%d lines arrived, not as they were sent (%d)", len(have), len(lines))
			}
		})
	}
}
