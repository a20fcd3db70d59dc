package query

import (
	"testing"
	"time"

	"oklog/objstore"
	"oklog/query/querytest"
)

// What a query has cost is told while it runs, and grows to what the answer says.
func TestWatch(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 0, 2000, lines(1, querytest.Day0, 300))
	e := newEngine(t, Config{Bucket: b})
	var cost func() Stats
	var first, before Stats
	n := 0
	q := Query{Topic: "web", Range: everything(), Watch: func(f func() Stats) { cost, before = f, f() }}
	ans, err := e.Run(t.Context(), q, func(Record) error {
		if n++; n == 1 {
			first = cost()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if before != (Stats{}) {
		t.Errorf("before anything is read: %+v", before)
	}
	if n != 300 || first.Blocks.Read == 0 || first.Requests.Fetched == 0 || first.Requests.Fetched > ans.Stats.Requests.Fetched {
		t.Errorf("%d records; at the first of them %+v", n, first)
	}
	if after := cost(); after.Requests != ans.Stats.Requests || after.Blocks != ans.Stats.Blocks {
		t.Errorf("want %+v, have %+v", ans.Stats, after)
	}
}
