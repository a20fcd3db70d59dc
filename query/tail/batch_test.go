package tail

import (
	"errors"
	"slices"
	"testing"

	"oklog/objstore/segment"
)

func TestSessionsOfABatch(t *testing.T) {
	b := &segment.Block{Sources: segment.Sources{1: nil, 2: nil}}
	for _, c := range []struct {
		ms, session uint64
		counter     uint32
	}{{10, 1, 5}, {10, 1, 6}, {10, 2, 0}, {11, 1, 7}, {12, 1, 9}, {13, 1, 8}, {14, 2, 4}} {
		b.Append(segment.MakeID(c.ms, c.session, c.counter), []byte("x"), 0)
	}
	dec, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	have, err := decodeBatch(dec, encode(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if want := (spans{{5, 10, 10, 12, 0}}); !slices.Equal(have.sessions[1], want) {
		t.Errorf("have %v, want %v", have.sessions[1], want)
	}
	if want := (spans{{0, 1, 10, 10, 0}, {4, 5, 14, 14, 0}}); !slices.Equal(have.sessions[2], want) {
		t.Errorf("have %v, want %v", have.sessions[2], want)
	}
}

// Whatever bytes come, there is a batch or an error, and a tracker that takes the batch keeps to its rules.
func FuzzDecodeBatch(f *testing.F) {
	a := &source{id: 1, host: "a"}
	f.Add(a.batch(f, "one", "two\nlines", ""))
	two := &segment.Block{Sources: segment.Sources{1: nil, 1<<48 - 1: {{Key: "k", Value: "v"}}}}
	two.Append(segment.MakeID(1, 1, 7), []byte("x"), segment.Continued)
	two.Append(segment.MakeID(1, 1<<48-1, 1<<32-1), []byte("y"), 0)
	two.Append(segment.MakeID(2, 1, 3), []byte("z"), 0)
	f.Add(encode(f, two))
	f.Add([]byte{})
	dec, err := segment.NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBatch(dec, body)
		if err != nil {
			if b != nil || !segment.IsDamage(err) && !errors.Is(err, errBatch) {
				t.Fatalf("%v, %v", b, err)
			}
			return
		}
		records := 0
		for _, block := range b.blocks {
			records += block.Len()
		}
		tr := newTracker(DefaultHold, 1<<20)
		for range 2 {
			n := int64(0)
			for id, have := range b.sessions {
				n += have.count()
				var match []segment.Record
				for _, block := range b.blocks {
					for c := block.Cursor(); c.Left() > 0; {
						r := c.Next()
						if _, session, _ := segment.SplitID(r.ID); session == id {
							match = append(match, r)
						}
					}
				}
				tr.take(id, have, match, "", day0)
			}
			if n > int64(records) {
				t.Fatalf("%d counters of %d records", n, records)
			}
		}
		tr.giveUp(tr.due(day0.Add(DefaultHold)), whyMissing, day0)
		put := 0
		for _, e := range tr.flush() {
			if e.Kind == Match {
				put++
			}
		}
		if put != records || tr.held != 0 {
			t.Fatalf("%d of %d records are put out, %d bytes wait", put, records, tr.held)
		}
	})
}
