package spread

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/querytest"
)

func TestMessage(t *testing.T) {
	m := message{kindPart, 0x0102030405060708, 77, []byte{flagMore, 'a'}}
	raw := m.encode('b', 'c')
	have, err := decode(raw)
	if m.body = append(m.body, 'b', 'c'); err != nil || have.kind != m.kind || have.attempt != m.attempt || have.seq != m.seq || !bytes.Equal(have.body, m.body) {
		t.Fatalf("want %v, have %v, %v", m, have, err)
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if m, err := decode(bad); err == nil {
				t.Errorf("byte %d, bit %d: %v passes", i, bit, m)
			}
		}
		if _, err := decode(raw[:i]); err == nil {
			t.Errorf("%d bytes pass", i)
		}
	}
}

func TestOrder(t *testing.T) {
	id := segment.MakeID(1, 2, 3)
	q := query.Query{Topic: "web", Range: everything(), Pattern: pattern(t, "a", "\xff"), Newest: true, Limit: 5}
	raw, err := encodeOrder(q, &id, true)
	if err != nil {
		t.Fatal(err)
	}
	have, after, times, err := decodeOrder(raw)
	if err != nil || !times || after == nil || *after != id || have.Limit != 5 || have.Pattern.Pattern().Texts[1] != "\xff" {
		t.Fatalf("%+v %v %v", have, after, err)
	}
	// What is not understood is refused.
	newer := bytes.Replace(raw, []byte(`"topic"`), []byte(`"only_sundays":true,"topic"`), 1)
	if _, _, _, err := decodeOrder(newer); err == nil {
		t.Error("a query of another version is understood")
	}
}

// roundTrip packs entries, and gives back what is unpacked.
func roundTrip(t *testing.T, entries []querytest.Entry, newest bool) (have []querytest.Entry) {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker(newest)
	if err != nil {
		t.Fatal(err)
	}
	p.reset(newest)
	take := func() {
		unit, err := p.unit()
		if err != nil {
			t.Fatal(err)
		}
		if unit == nil {
			return
		}
		if err := u.each(unit, func(r segment.Record) error {
			have = append(have, querytest.EntryOf(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entries {
		if p.add(query.Record{Record: segment.Record{ID: e.ID, Source: e.Source, Text: []byte(e.Text), Piece: e.Piece}}) {
			take()
		}
	}
	take()
	return have
}

func TestUnits(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		all := querytest.World(rnd, 500, 5)
		for i := range all {
			if rnd.IntN(40) == 0 {
				all[i].Text = string(make([]byte, rnd.IntN(segment.MaxRecord)))
			}
		}
		for _, newest := range []bool{false, true} {
			have := roundTrip(t, all, newest)
			if len(have) != len(all) {
				t.Fatalf("%d records of %d", len(have), len(all))
			}
			for i, w := range all {
				if h := have[i]; h.String() != w.String() {
					t.Fatalf("record %d is %s, want %s", i, h, w)
				}
			}
			for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message{kindPart, 1, 2, []byte{0, 'x'}}.encode())
	f.Add(message{kind: kindBeat, attempt: 1, seq: 2}.encode())
	f.Add([]byte{Version})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decode(raw)
		if err != nil {
			return
		}
		if again := m.encode(); !bytes.Equal(again, raw) {
			t.Fatalf("%x is decoded, and encoded as %x", raw, again)
		}
	})
}

func FuzzOrder(f *testing.F) {
	raw, err := encodeOrder(query.Query{Topic: "web", Range: everything(), Limit: 3}, &ulid.ULID{1}, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"query":{"topic":"web"}}`))
	f.Add([]byte(`{"answer":{"count":1,"problems":[{"error":"x"}]},"error":""}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if q, after, times, err := decodeOrder(raw); err == nil {
			if _, err := encodeOrder(q, after, times); err != nil {
				t.Fatal(err)
			}
		}
		if ans, err := decodeReport(raw); err == nil {
			whole := &query.Answer{}
			whole.Add(ans)
		}
	})
}

func FuzzUnit(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		p.reset(false)
		for k := range uint32(1 + i*20) {
			p.add(query.Record{Record: segment.Record{ID: segment.MakeID(uint64(time.Hour), uint64(k%2), k), Text: fmt.Appendf(nil, "text %d\n", k)}})
		}
		unit, err := p.unit()
		if err == nil {
			f.Add(unit, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, newest bool) {
		u, err := newUnpacker(newest)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		_ = u.each(raw, func(r segment.Record) error {
			n += len(r.Text)
			return nil
		})
		if n > maxUnitText {
			t.Fatalf("%d bytes of text", n)
		}
	})
}
