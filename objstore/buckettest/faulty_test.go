package buckettest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
)

// TestFaulty: each fault is what it says.
func TestFaulty(t *testing.T) {
	data := []byte("0123456789")
	var fault buckettest.Fault
	memory := objstore.NewMemory("memory", time.Now)
	f := &buckettest.Faulty{Next: memory, Hook: func(buckettest.Call) buckettest.Fault { return fault }}
	with := func(ft buckettest.Fault) { fault = ft }
	for _, key := range []string{"a", "b", "c"} {
		buckettest.MustPut(t, memory, key, data)
	}
	boom := errors.New("boom")

	with(buckettest.Fault{Err: boom})
	if err := f.Put(t.Context(), "new", bytes.NewReader(data), 10); !errors.Is(err, boom) || memory.Len() != 3 {
		t.Errorf("Err: %v", err)
	}
	with(buckettest.Fault{LostAck: true})
	if err := f.Put(t.Context(), "new", bytes.NewReader(data), 10); !errors.Is(err, buckettest.ErrFault) || memory.Len() != 4 {
		t.Errorf("LostAck: %v", err)
	}
	if err := f.Delete(t.Context(), "new"); !errors.Is(err, buckettest.ErrFault) || memory.Len() != 3 {
		t.Errorf("LostAck: %v", err)
	}
	with(buckettest.Fault{Err: boom, After: 2})
	if keys, err := buckettest.Keys(t.Context(), f, "", ""); !errors.Is(err, boom) || len(keys) != 2 {
		t.Errorf("After: %q, %v", keys, err)
	}
	with(buckettest.Fault{Truncate: 3})
	p := make([]byte, 10)
	if n, err := f.Get(t.Context(), "a", 0, p); n != 7 || !errors.Is(err, io.ErrUnexpectedEOF) || string(p[:7]) != "0123456" {
		t.Errorf("Truncate: %d, %v", n, err)
	}
	with(buckettest.Fault{Flip: true})
	if n, err := f.Get(t.Context(), "a", 0, p); n != 10 || err != nil || bytes.Equal(p, data) {
		t.Errorf("Flip: %d, %v, %q", n, err, p)
	}
	with(buckettest.Fault{Delay: time.Nanosecond})
	if _, err := f.Stat(t.Context(), "a"); err != nil {
		t.Errorf("Delay: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	with(buckettest.Fault{Block: true})
	if _, err := f.Stat(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Block: %v", err)
	}
	f.Hook = buckettest.FailNth(buckettest.Create, 2, boom)
	for n, want := range []error{nil, boom, nil} {
		if err := f.Create(t.Context(), string(rune('x'+n)), strings.NewReader(""), 0); !errors.Is(err, want) {
			t.Errorf("FailNth: call %d has %v", n+1, err)
		}
	}
	if n := f.Calls(buckettest.Create); n != 3 {
		t.Errorf("Calls: %d", n)
	}
}
