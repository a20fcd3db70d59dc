package query

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
)

func TestListings(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		// |--| within an hour
		{"2026-11-22T17:10:00Z", "2026-11-22T17:20:00Z", "w/2026-11-22/17/ w/2026-11-22/01M"},
		//    |--| over the hour
		{"2026-11-22T17:50:00Z", "2026-11-22T18:00:00.001Z", "w/2026-11-22/17/ w/2026-11-22/18/ w/2026-11-22/01M"},
		//    |--) up to the hour, which is not touched
		{"2026-11-22T17:50:00Z", "2026-11-22T18:00:00Z", "w/2026-11-22/17/ w/2026-11-22/01M"},
		//    over midnight
		{"2026-11-22T23:50:00Z", "2026-11-23T00:10:00Z", "w/2026-11-22/23/ w/2026-11-22/01M w/2026-11-23/00/ w/2026-11-23/01M"},
		//    most of a day, a whole day, and a little of the next
		{"2026-11-22T06:00:00Z", "2026-11-24T01:00:00Z", "w/2026-11-22/ w/2026-11-23/ w/2026-11-24/00/ w/2026-11-24/01M"},
		{"2026-11-22T07:00:00Z", "2026-11-23T00:00:00Z", "w/2026-11-22/07/ w/2026-11-22/08/ w/2026-11-22/09/ w/2026-11-22/10/ w/2026-11-22/11/ w/2026-11-22/12/ w/2026-11-22/13/ w/2026-11-22/14/ w/2026-11-22/15/ w/2026-11-22/16/ w/2026-11-22/17/ w/2026-11-22/18/ w/2026-11-22/19/ w/2026-11-22/20/ w/2026-11-22/21/ w/2026-11-22/22/ w/2026-11-22/23/ w/2026-11-22/01M"},
		//    over 60 days: months
		{"2026-10-05T12:00:00Z", "2027-01-01T00:00:00.001Z", "w/2026-10->w/2026-10-05 w/2026-11- w/2026-12- w/2027-01-"},
		//    over 60 months: all of it
		{"2020-10-05T12:00:00Z", "2027-01-01T00:00:00Z", "w/>w/2020-10-05"},
		{"1970-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "w/>w/1970-01-01"},
		{"2026-11-22T17:10:00Z", "2026-11-22T17:10:00Z", ""},
	} {
		var have []string
		for _, l := range listings("w", Range{parseTime(t, c.from), parseTime(t, c.to)}) {
			text := l.prefix
			if l.after != "" {
				text += ">" + l.after
			}
			have = append(have, text)
		}
		// The ULIDs of these days have at least three characters in common; how many more is not the point.
		for i, h := range have {
			if at := strings.Index(h, "/01M"); at >= 0 {
				have[i] = h[:at+4]
			}
		}
		if got := strings.Join(have, " "); got != c.want {
			t.Errorf("%s to %s:\nwant %s\nhave %s", c.from, c.to, c.want, got)
		}
	}
}

func parseTime(t testing.TB, s string) (id [16]byte) {
	t.Helper()
	tm, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return segment.AtTime(tm)
}

// Whatever overlaps a range is listed, at any time that a ULID has, and little else of a day is.
func TestListingsFindAll(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const day = 24 * 3600 * 1000
	for range 20_000 {
		span := []uint64{1000, 3600 * 1000, day, 70 * day, 3000 * day}[rnd.IntN(5)]
		from := rnd.Uint64N(4e12)
		if rnd.IntN(4) == 0 {
			from = segment.MaxTime - rnd.Uint64N(400_000*day) // years of five digits
		}
		to := min(from+rnd.Uint64N(span)+1, segment.MaxTime)
		r := Range{segment.MakeID(from, 0, 0), segment.MakeID(to, 0, 0)}
		if r.Empty() {
			continue
		}
		// A segment around some instant of the range.
		at := from + rnd.Uint64N(to-from)
		dayStart := at / day * day
		a, b := at-min(at-dayStart, rnd.Uint64N(day)), min(at+rnd.Uint64N(day), dayStart+day-1, segment.MaxTime)
		if rnd.IntN(2) == 0 {
			a, b = max(a, at/3600_000*3600_000), min(b, at/3600_000*3600_000+3600_000-1)
		}
		n := segment.Name{First: segment.MakeID(a, rnd.Uint64N(1<<48), 0), Last: segment.MakeID(b, 1<<48-1, 0), Generation: uint8(rnd.IntN(2))}
		key := n.Key("w")
		if !r.Overlaps(n.First, n.Last) {
			continue
		}
		if !slices.ContainsFunc(listings("w", r), func(l listing) bool { return strings.HasPrefix(key, l.prefix) && key > l.after }) {
			t.Fatalf("%v: %s is in none of %v", r, key, listings("w", r))
		}
	}
}

// firstDiffering is the first place at which a and b differ; -1 if they do not.
func firstDiffering(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// What one listing shows of several, and what remains of these, is what they show themselves.
func TestOpening(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	shown := func(l listing, keys []string) (in []string) {
		for _, k := range keys {
			if strings.HasPrefix(k, l.prefix) && k > l.after && (l.most == 0 || len(in) < l.most) {
				in = append(in, k)
			}
		}
		return in
	}
	opened := 0
	for range 3000 {
		const day = 24 * 3600 * 1000
		from := rnd.Uint64N(4e12)
		to := from + rnd.Uint64N([]uint64{3600 * 1000, 3 * day, 40 * day, 200 * day}[rnd.IntN(4)]) + 1
		todo := listings("w", Range{segment.MakeID(from, 0, 0), segment.MakeID(to, 0, 0)})
		keys := []string{"w/", "w/2", "w0", "v/2026-11-20/01", todo[0].prefix, todo[len(todo)-1].prefix}
		for range rnd.IntN(200) {
			at := from - min(from, day) + rnd.Uint64N(to-from+2*day)
			n := segment.Name{First: segment.MakeID(at, rnd.Uint64N(1<<48), 0), Last: segment.MakeID(at+rnd.Uint64N(1000), 1<<48-1, 0), Generation: uint8(rnd.IntN(2))}
			keys = append(keys, n.Key("w"))
		}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		var want, have []string
		for _, l := range todo {
			want = append(want, shown(l, keys)...)
		}
		first := opening(todo)
		first.most = 1 + rnd.IntN(20)
		have = shown(first, keys)
		if len(have) == first.most {
			last := have[len(have)-1]
			for _, l := range remaining(todo, last) {
				have = append(have, shown(l, keys)...)
			}
			opened++
		}
		have = slices.DeleteFunc(have, func(k string) bool { return !within(todo, k) })
		// A key may be in two of them, and those that are only beginnings of keys are no segments.
		tidy := func(keys []string) []string {
			slices.Sort(keys)
			return slices.DeleteFunc(slices.Compact(keys), func(k string) bool { return !strings.HasSuffix(k, ".zst") })
		}
		want, have = tidy(want), tidy(have)
		if i := firstDiffering(want, have); i >= 0 {
			t.Fatalf("%v and then %v: from key %d: %d keys, want %d", first, todo, i, len(have), len(want))
		}
	}
	if opened < 100 {
		t.Errorf("only %d were more than a page", opened)
	}
}

// A range of many hours costs one listing, unless there is more than a page in it. What lies between its days is not of the range.
func TestListsAPageFirst(t *testing.T) {
	for _, c := range []struct{ segments, lists int }{{0, 1}, {10, 1}, {keysOfPage - 2, 1}, {keysOfPage + 1, 0}, {3 * keysOfPage, 0}} {
		mem := objstore.NewMemory("test", time.Now)
		var want []string
		for i := range c.segments {
			at := querytest.Day0.Add(12*time.Hour + time.Duration(i)*time.Hour/100)
			n := segment.Name{First: segment.AtTime(at), Last: segment.AtTime(at.Add(time.Second)), Records: 1, RawBytes: 2, Generation: uint8(i % 2)}
			want = append(want, n.Key("web"))
			replace(t, mem, n.Key("web"), []byte("x"))
		}
		for _, key := range []string{"web/2026-11-20/03/junk", "web/2026-11-29/junk", "webs/junk"} {
			replace(t, mem, key, []byte("x"))
		}
		lists := 0
		b := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
			lists++
			return mem.List(ctx, prefix, after)
		}}
		r := &run{e: newEngine(t, Config{Bucket: b, Listings: 1}), q: Query{Topic: "web"}, ans: &Answer{}}
		r.q.Range = Range{From: segment.AtTime(querytest.Day0.Add(11 * time.Hour)), To: segment.AtTime(querytest.Day0.Add(44 * time.Hour))}
		infos, err := r.list(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, i := range infos {
			have = append(have, i.Key)
		}
		slices.Sort(have)
		slices.Sort(want)
		want = slices.DeleteFunc(want, func(key string) bool {
			_, n, err := segment.ParseKey(key)
			return err != nil || !r.q.Range.Overlaps(n.First, n.Last)
		})
		if i := firstDiffering(want, slices.Compact(have)); i >= 0 {
			t.Errorf("%d segments: from %d: %d listed, want %d", c.segments, i, len(have), len(want))
		}
		if c.lists > 0 && (lists != c.lists || r.meter.stats().Requests.Lists != c.lists) || c.lists == 0 && lists < 3 {
			t.Errorf("%d segments: %d listings, counted %d", c.segments, lists, r.meter.stats().Requests.Lists)
		}
	}
}

// The prefix of a day's own segments leaves the hours out.
func TestDayPrefixLeavesHoursOut(t *testing.T) {
	short := 0
	for d := range 20_000 {
		day := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, d)
		ls := appendDay(nil, "w", day, day.Add(time.Hour), day.Add(time.Hour))
		p := strings.TrimPrefix(ls[len(ls)-1].prefix, "w/"+segment.Day(day)+"/")
		if len(p) < 3 {
			short++
		}
	}
	if short > 20_000/100 {
		t.Errorf("%d of 20000 days have a prefix that is also an hour's", short)
	}
}

// Segments are drawn on a line of minutes; what the range [....) touches is kept, in the merge's order.
func TestMakePlan(t *testing.T) {
	//            0    5    10   15   20
	drawn := []string{
		"a  |--|                  ",
		"b     |---|              ", // ends where the range begins: kept
		"c       |------|         ",
		"d           ||           ",
		"e             |-----|    ",
		"f                  |--|  ", // begins where the range ends: not kept
		"g |--------------------| ",
	}
	const rangeAt = "          [.......)      "
	at := func(i int) time.Time { return querytest.Day0.Add(time.Duration(i) * time.Minute) }
	var infos []objstore.Info
	names := map[string]string{}
	for i, d := range drawn {
		line := d[1:]
		n := segment.Name{
			First: segment.AtTime(at(strings.Index(line, "|"))), Last: segment.AtTime(at(strings.LastIndex(line, "|"))), Hash: [8]byte{byte(i)},
			Records: 2,
		}
		key := n.Key("w")
		names[key] = d[:1]
		infos = append(infos, objstore.Info{Key: key, Size: int64(i)})
	}
	infos = append(infos, infos[2], objstore.Info{Key: "w/2026-11-20/notes.txt"}, objstore.Info{Key: "w/2026-11-20/00/junk.zst"})
	line := rangeAt[1:]
	r := Range{From: segment.AtTime(at(strings.Index(line, "["))), To: segment.AtTime(at(strings.Index(line, ")")))}
	for _, c := range []struct {
		descending bool
		want       string
	}{{false, "gbcde"}, {true, "gecdb"}} {
		p := makePlan(infos, "w", r, c.descending)
		have := ""
		for _, k := range p.candidates {
			have += names[k.key]
		}
		if have != c.want {
			t.Errorf("descending %t: want %s, have %s", c.descending, c.want, have)
		}
		if p.listed != len(drawn)+2 || len(p.foreign) != 2 {
			t.Errorf("want %d listed and 2 foreign, have %d and %v", len(drawn)+2, p.listed, p.foreign)
		}
	}
	if p := makePlan(infos, "other", r, false); len(p.candidates) != 0 || len(p.foreign) != len(drawn)+2 {
		t.Errorf("segments of another topic: %+v", p)
	}
	if p := makePlan(infos, "w", Range{}, false); len(p.candidates) != 0 {
		t.Errorf("an empty range has %d segments", len(p.candidates))
	}
}

func ExampleParseRange() {
	r, err := ParseRange("2026-11-22T17:00", "2026-11-22T18:00", time.Now())
	fmt.Println(r.From, r.To, err)
	// Output: 01M8236JM00000000000000000 01M826ME800000000000000000 <nil>
}
