package compact

import (
	"bytes"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
)

// write stores the records of a block, sorted or not, as one segment.
func (w *world) write(topic string, sw *segment.Writer, b *segment.Block) {
	w.t.Helper()
	b.Sort()
	var buf bytes.Buffer
	sw.Reset(&buf)
	c := b.Cursor()
	if err := sw.Take(&c, c.Left()); err != nil {
		w.t.Fatal(err)
	}
	n, err := sw.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.copies[0].Put(w.t.Context(), n.Key(topic), bytes.NewReader(buf.Bytes()), int64(buf.Len())); err != nil {
		w.t.Fatal(err)
	}
}

// forge stores a segment of some records that says of itself what it is told to, and returns its key.
func (w *world) forge(topic string, entries []entry, generation uint8, l segment.Lineage, lie func(*segment.Name)) string {
	w.t.Helper()
	sw, err := segment.NewWriter(segment.WriterConfig{Generation: generation, BlockSize: 1000, Filter: true})
	if err != nil {
		w.t.Fatal(err)
	}
	var buf bytes.Buffer
	sw.Reset(&buf)
	b := &segment.Block{Sources: segment.Sources{}}
	for _, e := range entries {
		b.Append(e.id, []byte(e.text), 0)
	}
	c := b.Cursor()
	if err := sw.Take(&c, c.Left()); err != nil {
		w.t.Fatal(err)
	}
	sw.Replace(l)
	n, err := sw.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	if lie != nil {
		lie(&n)
	}
	for _, copied := range w.copies {
		if err := copied.Put(w.t.Context(), n.Key(topic), bytes.NewReader(buf.Bytes()), int64(buf.Len())); err != nil {
			w.t.Fatal(err)
		}
	}
	w.stored[topic] = append(w.stored[topic], entries...)
	return n.Key(topic)
}

// checkAll looks for all the records of a topic, and does not mind others, nor what cannot be read.
func (w *world) checkAll(b objstore.Bucket) {
	w.t.Helper()
	e, err := query.New(query.Config{Bucket: b})
	if err != nil {
		w.t.Fatal(err)
	}
	for topic, want := range w.stored {
		have := map[ulid.ULID]bool{}
		_, err = e.Run(w.t.Context(), query.Query{Topic: topic, Range: query.Range{To: everything}}, func(r query.Record) error {
			have[r.ID] = true
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		lost := 0
		for _, e := range want {
			if !have[e.id] {
				lost++
			}
		}
		if lost > 0 {
			w.t.Fatalf("%d of %d records are lost", lost, len(want))
		}
	}
}

var everything = segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)

// A segment that claims what it does not hold replaces nothing: not its neighbours, which lie outside of it; not those that
// have more records than it has there; and not by a name that is not its own.
func TestFalseLineage(t *testing.T) {
	first := entry{segment.MakeID(uint64(day0.UnixMilli()), 1<<40, 0), "the first"}
	last := entry{segment.MakeID(uint64(day0.Add(20*time.Hour).UnixMilli()), 1<<40, 1), "the last"}
	late := entry{segment.MakeID(uint64(day0.Add(10*time.Hour+30*time.Minute).UnixMilli()), 1<<40, 2), "in between"}
	for name, f := range map[string]struct {
		entries    []entry
		generation uint8
		lie        func(*segment.Name)
	}{
		"of neighbours":           {[]entry{late}, 1, nil},
		"of all that it spans":    {[]entry{first, last}, 1, nil},
		"of later generations":    {[]entry{first, last}, 255, nil},
		"under a false name":      {[]entry{first, last}, 7, func(n *segment.Name) { n.Records = 1_000_000 }},
		"under a name of a day":   {[]entry{late}, 7, func(n *segment.Name) { n.First, n.Last, n.Records = first.id, last.id, 1_000_000 }},
		"under a false last name": {[]entry{first, late}, 7, func(n *segment.Name) { n.Last, n.Records = last.id, 1_000_000 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 2)
			var keys []string
			for i := range 20 {
				keys = append(keys, w.put("web", 3, w.records("web", 100, day0.Add(time.Duration(i)*time.Hour), time.Hour))...)
			}
			w.forge("web", f.entries, f.generation, segment.Lineage{Through: everything, Replaces: keys}, f.lie)
			if f.lie != nil {
				w.stored["web"] = w.stored["web"][:2000] // a query does not find what is misnamed
			}
			cfg := w.config()
			cfg.Quorum = 2
			for n := range 10 {
				w.clock.advance(2 * time.Hour)
				r, err := w.compactor(cfg).Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 && r.DamagedSegments != 1 {
					t.Errorf("the false one is not named: %+v", r.Damaged)
				}
				for _, b := range w.copies {
					w.checkAll(b)
				}
			}
		})
	}
}

// Segments that claim each other do not wait for each other for ever.
func TestClaimsInACircle(t *testing.T) {
	w := newWorld(t, 1, 1)
	a, b := w.records("web", 100, day0, time.Hour), w.records("web", 100, day0, time.Hour)
	w.put("web", 1, w.records("web", 100, day0, time.Hour))
	keyB := w.forge("web", b, 5, segment.Lineage{}, nil)
	w.stored["web"] = w.stored["web"][:100]
	if err := w.copies[0].Delete(t.Context(), keyB); err != nil {
		t.Fatal(err)
	}
	// A key cannot hold the hash of what names it: a circle is of three, and one of them lies.
	keyA := w.forge("web", a, 5, segment.Lineage{Through: everything, Replaces: []string{keyB}}, nil)
	_, nameB, _ := segment.ParseKey(keyB)
	w.forge("web", b, 5, segment.Lineage{Through: everything, Replaces: []string{keyA}}, func(n *segment.Name) { *n = nameB })
	w.settle(w.config())
	w.checkAll(w.copies[0])
}

// Names that promise more text and records than there can be are told apart from what is there, and add up to no nonsense.
func TestAbsurdNames(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.put("web", 1, w.records("web", 100, day0, time.Hour))
	for range 4 {
		w.forge("web", w.records("web", 100, day0, time.Hour), 0, segment.Lineage{}, func(n *segment.Name) { n.RawBytes = 1<<62 - 1 })
		w.forge("web", w.records("web", 100, day0, time.Hour), 0, segment.Lineage{}, func(n *segment.Name) { n.Records = 1<<62 - 1 })
	}
	cfg := w.config()
	cfg.Registerer = prometheus.NewRegistry()
	r, err := w.compactor(cfg).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.DamagedSegments != 8 || r.Text < 0 {
		t.Errorf("%d damaged segments and %d bytes of text: want 8, and what there is", r.DamagedSegments, r.Text)
	}
	cfg.DryRun, cfg.Registerer = true, nil
	if r, err = w.compactor(cfg).Run(t.Context()); err != nil || r.Text < 0 {
		t.Errorf("a plan of %d bytes of text (%v)", r.Text, err)
	}
}
