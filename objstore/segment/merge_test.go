package segment

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

// list is an Input of ready blocks.
type list struct {
	blocks []*Block
	bound  ulid.ULID // what First says
	asked  *[]ulid.ULID
	fail   error
}

func (l *list) First() ulid.ULID { return l.bound }

func (l *list) Next() (*Block, error) {
	if l.asked != nil {
		*l.asked = append(*l.asked, l.bound)
	}
	if len(l.blocks) == 0 {
		if l.fail != nil {
			return nil, l.fail
		}
		return nil, io.EOF
	}
	b := l.blocks[0]
	l.blocks = l.blocks[1:]
	return b, nil
}

// The merge is the sorted concatenation, each ID once.
func TestMergeIsSortedConcatenation(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 4))
		all := random(r, 1+r.IntN(400))
		descending := seed%2 == 1
		// Every record goes to one input or, redelivered, to several.
		parts := make([][]rec, 1+r.IntN(6))
		for _, x := range all {
			copies := 1
			if r.IntN(3) == 0 {
				copies = 1 + r.IntN(len(parts))
			}
			for _, p := range r.Perm(len(parts))[:copies] {
				parts[p] = append(parts[p], x)
			}
		}
		if r.IntN(3) == 0 {
			parts = append(parts, parts[0]) // a whole input twice
		}
		want := slices.Clone(all)
		if descending {
			slices.Reverse(want)
		}
		var inputs []Input
		for _, p := range parts {
			p = slices.Clone(p)
			if len(p) == 0 {
				continue
			}
			if descending {
				slices.Reverse(p)
			}
			l := &list{bound: p[0].ID}
			if r.IntN(2) == 0 && !descending {
				l.bound = ulid.ULID{} // a bound may be far off
			}
			for len(p) > 0 {
				if r.IntN(5) == 0 {
					l.blocks = append(l.blocks, &Block{}) // nothing found
				}
				n := 1 + r.IntN(len(p))
				l.blocks = append(l.blocks, block(p[:n]...))
				p = p[n:]
			}
			inputs = append(inputs, l)
		}
		var got []rec
		err := Merge(inputs, descending, func(c *Cursor, n int) error {
			if n < 1 || n > c.Left() {
				t.Fatalf("seed %d: %d of %d records", seed, n, c.Left())
			}
			take := *c
			for range n {
				x := take.Next()
				got = append(got, rec{x.ID, x.Source.String(), string(x.Text), x.Piece})
			}
			if r.IntN(2) == 0 {
				*c = take // a sink may pass what it takes, or leave that to the merge
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d, descending %v (-want +got):\n%s", seed, descending, diff)
		}
	}
}

// An input is not asked for its block before the merge has come to it: that bounds the memory.
func TestMergeIsLazy(t *testing.T) {
	var asked []ulid.ULID
	var inputs []Input
	for i := range uint64(10) {
		id := MakeID(100+i, 1, 0)
		inputs = append(inputs, &list{blocks: []*Block{block(rec{ID: id})}, bound: id, asked: &asked})
	}
	slices.Reverse(inputs)
	n := 0
	err := Merge(inputs, false, func(*Cursor, int) error {
		if n++; n == 3 {
			return ErrStop
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) > 5 { // three blocks, and that the first two had no more
		t.Errorf("3 of 10 records took %d reads", len(asked))
	}
}

func TestMergePassesErrorsOn(t *testing.T) {
	fail := errors.New("no such object")
	ok := block(rec{ID: MakeID(1, 1, 1)})
	if err := Merge([]Input{&list{blocks: []*Block{ok}, fail: fail}}, false, func(*Cursor, int) error { return nil }); !errors.Is(err, fail) {
		t.Errorf("input's error: got %v", err)
	}
	if err := Merge([]Input{&list{blocks: []*Block{ok}}}, false, func(*Cursor, int) error { return fail }); !errors.Is(err, fail) {
		t.Errorf("sink's error: got %v", err)
	}
	if err := Merge(nil, false, nil); err != nil {
		t.Errorf("merge of nothing: %v", err)
	}
}
