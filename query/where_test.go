package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
	"oklog/query/where"
)

// parseWhere makes an expression.
func parseWhere(t testing.TB, text string) *where.Expr {
	t.Helper()
	e, err := where.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fields is what a test's record says; "" is a field that it lacks.
type fields struct {
	level, user string
	status      int // 0: it lacks
}

// withFields makes JSON or logfmt of some of the entries' texts, and returns what they say.
func withFields(rnd *rand.Rand, all []querytest.Entry) map[string]fields {
	said := map[string]fields{}
	for i := range all {
		f := fields{
			level: []string{"", "info", "error", "fatal"}[rnd.IntN(4)], status: rnd.IntN(3) * 250,
			user: []string{"", "ann", "Müller", "a\"b", "rare_" + strconv.Itoa(rnd.IntN(20))}[rnd.IntN(5)],
		}
		var parts []string
		add := func(format string, v ...any) { parts = append(parts, fmt.Sprintf(format, v...)) }
		text := ""
		switch rnd.IntN(3) {
		case 0:
			if f.level != "" {
				add(`"level":%q`, f.level)
			}
			if f.status != 0 {
				add([]string{`"status":%d`, `"status":%d.0`, `"status":"%d"`}[rnd.IntN(3)], f.status)
			}
			if f.user != "" {
				user := fmt.Sprintf("%q", f.user)
				if rnd.IntN(3) == 0 {
					user = fmt.Sprintf(`"\u%04x%s`, f.user[0], user[2:])
				}
				add([]string{`"user":{"name":%s}`, `"user.name":%s`, `"x":[{}], "user" : {"id":1,"name": %s}`}[rnd.IntN(3)], user)
			}
			text = "{" + strings.Join(parts, []string{",", ", ", "\n,"}[rnd.IntN(3)]) + "}"
		case 1:
			if f.level != "" {
				add("level=%s", f.level)
			}
			if f.status != 0 {
				add("status=%d", f.status)
			}
			if f.user != "" {
				add("user.name=%q", f.user)
			}
			text = fmt.Sprintf("n=%d %s", rnd.IntN(4), strings.Join(parts, " "))
		default:
			continue
		}
		said[text] = f
		all[i].Text = text
	}
	return said
}

// conditions are expressions, and what they say.
var conditions = []struct {
	text string
	says func(text string, f fields) bool
}{
	{`level=error`, func(_ string, f fields) bool { return f.level == "error" }},
	{`status>=500 AND level!=info`, func(_ string, f fields) bool { return f.status >= 500 && f.level != "info" }},
	{`user.name=rare_7`, func(_ string, f fields) bool { return f.user == "rare_7" }},
	{`user.name=rare_7 OR user.name=rare_8 level=fatal`, func(_ string, f fields) bool {
		return f.user == "rare_7" || f.user == "rare_8" && f.level == "fatal"
	}},
	{`user.name=rare_absent`, func(string, fields) bool { return false }},
	{`exists(user.name) !(user.name=~/^rare/)`, func(_ string, f fields) bool { return f.user != "" && !strings.HasPrefix(f.user, "rare") }},
	{`user.name="Müller" || user.name="a\"b"`, func(_ string, f fields) bool { return f.user == "Müller" || f.user == `a"b` }},
	{`NOT exists(status)`, func(_ string, f fields) bool { return f.status == 0 }},
	{`contains(user.name, "are_1") status=250`, func(_ string, f fields) bool { return strings.Contains(f.user, "are_1") && f.status == 250 }},
	{`connect OR level=~/FATAL/i`, func(text string, f fields) bool { return strings.Contains(text, "connect") || f.level == "fatal" }},
	{`"line 1" /of [0-2] status=[25]/`, func(text string, _ fields) bool {
		return strings.Contains(text, "line 1") && regexp.MustCompile(`of [0-2] status=[25]`).MatchString(text)
	}},
	{`"\n" or "\x00"`, func(text string, _ fields) bool { return strings.ContainsAny(text, "\n\x00") }},
}

// said is what a record of the world says that was not made by withFields: a few are logfmt by chance.
func saidBy(said map[string]fields, text string) fields {
	if f, ok := said[text]; ok {
		return f
	}
	f := fields{}
	for _, word := range strings.Fields(text) {
		if status, ok := strings.CutPrefix(word, "status="); ok {
			f.status, _ = strconv.Atoi(status)
			break
		}
	}
	return f
}

// A query with an expression answers what looking at every record does: over any layout, with filters and without, however it is limited.
func TestOracleWhere(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 5))
			all := querytest.World(rnd, 100+rnd.IntN(400), 20)
			said := withFields(rnd, all)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			e := newEngine(t, Config{Bucket: b, Hot: hot, Workers: 1 + rnd.IntN(3), MaxBytes: []int64{1, 5_000, 0}[rnd.IntN(3)]})
			for i := range 24 {
				c := conditions[i%len(conditions)]
				q := Query{Topic: "web", Range: randomRange(rnd, all), Where: parseWhere(t, c.text), Newest: rnd.IntN(2) == 0, Brute: rnd.IntN(3) == 0}
				var p match.Pattern
				if rnd.IntN(3) == 0 {
					p = randomPattern(rnd, all)
					q.Pattern = compile(t, p)
				}
				ofSource := func(segment.Source) bool { return true }
				if rnd.IntN(3) == 0 {
					q.Sources, ofSource = parseSources(t, "host!=h1"), func(s segment.Source) bool { return s.Get("host") != "h1" }
				}
				meant := slices.DeleteFunc(slices.Clone(all), func(e querytest.Entry) bool {
					return !ofSource(e.Source) || !c.says(e.Text, saidBy(said, e.Text))
				})
				checkQuery(t, e, q, p, meant)
			}
		})
	}
}

// checkQuery holds a query against a filter over the records that its other conditions leave.
func checkQuery(t *testing.T, e *Engine, q Query, p match.Pattern, meant []querytest.Entry) {
	t.Helper()
	want, count := naive(meant, q, p)
	have, ans := ask(t, e, q)
	same(t, want, have)
	if ans.Partial() || ans.Count != count || ans.Stats.Records.Found != int64(len(want)) {
		t.Fatalf("%s %+v: count %d, want %d; %v", q.Where, p, ans.Count, count, ans.Problems)
	}
	ids := q
	ids.IDsOnly = true
	if have, _ := ask(t, e, ids); !slices.EqualFunc(want, have, func(a, b querytest.Entry) bool { return a.ID == b.ID }) {
		t.Fatalf("%s %+v: %d IDs, want %d", q.Where, p, len(have), len(want))
	}
	for _, limit := range []int64{0, 5} {
		q.Limit, q.CountOnly = limit, true
		most := count
		if limit > 0 {
			most = min(count, limit)
		}
		if ans, err := e.Run(t.Context(), q, nil); err != nil || ans.Count != most {
			t.Fatalf("%s %+v: limit %d: counted %d, %v, want %d", q.Where, p, limit, ans.Count, err, most)
		}
		q.CountOnly = false
		have, ans := ask(t, e, q)
		if ans.Count != most {
			t.Fatalf("%s %+v: limit %d: %d records, want %d", q.Where, p, limit, ans.Count, most)
		}
		same(t, want[:len(have)], have)
	}
}

// Filters are asked for what an expression requires, and blocks are not read.
func TestWherePrunes(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	var all []querytest.Entry
	for i, e := range lines(1, querytest.Day0, 3000) {
		e.Text = fmt.Sprintf(`{"n":%d,"user":{"id":"u%08x"},"level":"info"}`, i, i*7919)
		all = append(all, e)
	}
	querytest.Store(t, b, "web", 0, 4000, all)
	e := newEngine(t, Config{Bucket: b})
	f := func(text string, q Query, want []querytest.Entry, prunes bool) {
		t.Helper()
		q.Topic, q.Range, q.Where = "web", everything(), parseWhere(t, text)
		have, ans := ask(t, e, q)
		same(t, want, have)
		if !ans.Sieved && prunes || ans.Stats.Blocks.Pruned > 0 != prunes || ans.Required == "" {
			t.Errorf("%s: %+v, requires %q", text, ans.Stats.Blocks, ans.Required)
		}
	}
	wanted := fmt.Sprintf("u%08x", 2000*7919)
	f(`user.id=`+wanted, Query{}, all[2000:2001], true)
	f(`user.id=`+wanted, Query{Brute: true}, all[2000:2001], false)
	f(`user.id=`+wanted+` level=info`, Query{Pattern: compile(t, match.Pattern{Texts: []string{"info"}})}, all[2000:2001], true)
	f(`level=info n>=2999`, Query{}, all[2999:], false)
	f(`level!=info`, Query{}, nil, false)
	f(`exists(trace_id)`, Query{}, nil, true)
	if ans, err := e.Run(t.Context(), Query{Topic: "web", Range: everything(), Where: parseWhere(t, "user.id="+wanted), CountOnly: true}, nil); err != nil || ans.Stats.Blocks.Read > 1 || ans.Count != 1 {
		t.Errorf("counted %d, read %d blocks: %v", ans.Count, ans.Stats.Blocks.Read, err)
	}
}

// Where no strings are escaped filters are not asked for escapes, and where some are they are, and found.
func TestWhereEscapes(t *testing.T) {
	needed := parseWhere(t, "user.name=somebody").Required()
	s := newSieve(needed)
	grams := map[segment.Gram]bool{}
	for _, text := range []string{`"somebody"`, "user.name=somebody", `user.name="somebody`} {
		for _, g := range segment.AppendGrams(nil, []byte(text)) {
			grams[g] = true
		}
	}
	all := segment.NewSet(2, true)
	one := segment.NewSet(2, false)
	one.Add(1)
	sets := make([]segment.Set, len(s.grams))
	for _, g := range s.at(s.open(all, told{sets, all})) {
		if !grams[g] {
			t.Error("blocks are plain, and filters are asked for an escape")
		}
	}
	if some := s.open(all, told{sets, one}); len(some) != len(s.grams) {
		t.Errorf("a block is not plain, and filters are asked for %d of %d sequences", len(some), len(s.grams))
	}

	b := objstore.NewMemory("test", time.Now)
	var entries []querytest.Entry
	for i, e := range lines(1, querytest.Day0, 3000) {
		e.Text = fmt.Sprintf(`{"n":%d,"user":{"name":"u%08x"}}`, i, i*7919)
		if i%1000 == 500 {
			e.Text = strings.ReplaceAll(`{"user":{"name":"somebody"}}`, "body", []string{"body", `\u0062ody`, `bod\u0079`}[i/1000])
		}
		entries = append(entries, e)
	}
	querytest.Store(t, b, "web", 0, 4000, entries)
	for _, brute := range []bool{false, true} {
		q := Query{Topic: "web", Range: everything(), Where: parseWhere(t, "user.name=somebody"), Brute: brute}
		have, ans := ask(t, newEngine(t, Config{Bucket: b}), q)
		same(t, []querytest.Entry{entries[500], entries[1500], entries[2500]}, have)
		if !brute && ans.Stats.Blocks.Read > 5 {
			t.Errorf("%+v", ans.Stats.Blocks)
		}
	}
}

// A filter of what comes from elsewhere looks at the same conditions.
func TestFilterWhere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(41, 42))
	all := querytest.World(rnd, 300, 20)
	said := withFields(rnd, all)
	for _, c := range conditions {
		f := NewFilter(Query{Topic: "web", Where: parseWhere(t, c.text)})
		for part := range slices.Chunk(all, 100) {
			want := slices.DeleteFunc(slices.Clone(part), func(e querytest.Entry) bool { return !c.says(e.Text, saidBy(said, e.Text)) })
			var have []querytest.Entry
			for _, r := range f.Find(querytest.Block(part)) {
				have = append(have, querytest.EntryOf(r))
			}
			same(t, want, have)
		}
	}
}

func TestWhereIsCompiled(t *testing.T) {
	r := Request{Topic: "t", Where: []string{"a=1 or b", "c"}}
	q, err := r.Compile(time.Now())
	if err != nil || !q.Where.Matcher().Match([]byte("a=1 c")) || q.Where.Matcher().Match([]byte("a=1")) {
		t.Errorf("have %v, %v", q.Where, err)
	}
	r.Where[1] = "c)"
	_, err = r.Compile(time.Now())
	if e, ok := errors.AsType[*ParamError](err); !ok || e.Param != "where" || err.Error() != "--where: expression 2: bad expression: at byte 2: there is no ( for this )" {
		t.Errorf("have %v", err)
	}
}

func parseSources(t testing.TB, texts ...string) *Sources {
	t.Helper()
	s, err := ParseSources(texts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// anyOf are records of several sources, in turn.
func anyOf(n int) (all []querytest.Entry) {
	for i := range n {
		session := uint64(10 + i%3)
		source, _ := segment.ParseSource([]string{fmt.Sprintf("host=web%d", i%3), "job=test"})
		id := segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i)*1000, session, uint32(i))
		all = append(all, querytest.Entry{ID: id, Source: source, Text: fmt.Sprintf("record %d of web%d", i, i%3)})
	}
	return all
}

// Sources are told apart within a block, in batches that are not flushed, and by what a segment's table says.
func TestSourcesOfSegments(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := anyOf(900)
	querytest.Store(t, b, "web", 0, 3000, all[:600])
	hot := &querytest.Batches{}
	for _, body := range querytest.Encode(t, 0, 500, all[600:]) {
		hot.Bodies = append(hot.Bodies, body)
	}
	other := lines(1, querytest.Day0.Add(48*time.Hour), 300) // of host=a alone
	keys := querytest.Store(t, b, "web", 0, 1000, other)
	all = append(all, other...)

	f := func(want func(host string) bool, conds ...string) {
		t.Helper()
		meant := slices.DeleteFunc(slices.Clone(all), func(e querytest.Entry) bool { return !want(e.Source.Get("host")) })
		for _, p := range []match.Pattern{{}, {Texts: []string{"7"}}, {Texts: []string{"absent"}}, {Texts: []string{"record 1"}, Invert: true}} {
			for _, newest := range []bool{false, true} {
				e := newEngine(t, Config{Bucket: b, Hot: hot})
				checkQuery(t, e, Query{Topic: "web", Range: everything(), Sources: parseSources(t, conds...), Pattern: compile(t, p), Newest: newest}, p, meant)
			}
		}
	}
	f(func(host string) bool { return host == "web1" }, "host=web1")
	f(func(host string) bool { return host != "web1" }, "host!=web1")
	f(func(host string) bool { return host == "a" }, "host=a")
	f(func(host string) bool { return host == "web0" || host == "web2" }, "host=~web.", "host!=web1")
	f(func(string) bool { return false }, "host=web")
	f(func(host string) bool { return host != "a" }, "job=test")

	// What has none of them is not read.
	var read atomic.Int64
	e := newEngine(t, Config{Bucket: &bucketFunc{Bucket: b, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if key == keys[0] {
			read.Add(1)
		}
		return b.Get(ctx, key, off, p)
	}}})
	_, ans := ask(t, e, Query{Topic: "web", Range: everything(), Sources: parseSources(t, "host=a")})
	if ans.Stats.Blocks.Pruned == 0 || ans.Count != int64(len(other)) || ans.Stats.Records.Scanned != int64(len(other)) {
		t.Errorf("host=a: %d records of %d scanned, blocks %+v", ans.Count, ans.Stats.Records.Scanned, ans.Stats.Blocks)
	}
	if read.Load() == 0 {
		t.Error("nothing was read of what has the source")
	}
	_, ans = ask(t, e, Query{Topic: "web", Range: everything(), Sources: parseSources(t, "host=none")})
	if ans.Stats.Blocks.Read != 0 || ans.Stats.Blocks.Pruned != ans.Stats.Blocks.Total || ans.Stats.Blocks.Total == 0 {
		t.Errorf("host=none: blocks %+v", ans.Stats.Blocks)
	}
}

// isWordPart tells whether a character is part of a word.
func isWordPart(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc)
}

// hasWord tells whether a text holds a word by itself, looking at every place.
func hasWord(text, word string, ignoreCase bool) bool {
	re := regexp.QuoteMeta(word)
	if ignoreCase {
		re = "(?i)" + re
	}
	is := regexp.MustCompile("^(?:" + re + ")")
	for i := range len(text) + 1 {
		loc := is.FindStringIndex(text[i:])
		if loc == nil {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+loc[1]:])
		if (i == 0 || !isWordPart(before)) && (i+loc[1] == len(text) || !isWordPart(after)) {
			return true
		}
	}
	return false
}

// Whole words are found by the engine as by somebody who looks at every place of every record.
func TestWords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	all := querytest.World(rnd, 600, 20)
	texts := []string{"error", "an error", "errors", "error_x", "(error)", "éerror", "error1", "xerror error", "ERROR.", "error\nx", "x\u0301error", "\xfferror\xff", "Grüße", "xGrüße", "10.0.1.1", "110.0.1.1"}
	for i := range all {
		if rnd.IntN(2) == 0 {
			all[i].Text = texts[rnd.IntN(len(texts))]
		}
	}
	b := objstore.NewMemory("test", time.Now)
	e := newEngine(t, Config{Bucket: b, Hot: scatter(t, rnd, b, "web", all)})
	for _, word := range []string{"error", "Error", "grüße", "Grüße", "10.0.1", "10.0.1.1", "lin", "of 1", "ks"} {
		for i := range 4 {
			p := match.Pattern{Texts: []string{word}, Word: true, IgnoreCase: i&1 != 0, Invert: i&2 != 0}
			meant := slices.DeleteFunc(slices.Clone(all), func(e querytest.Entry) bool { return hasWord(e.Text, word, p.IgnoreCase) == p.Invert })
			for _, q := range []Query{{Newest: i%3 == 0}, {Brute: true, Where: parseWhere(t, "not absent-word")}} {
				q.Topic, q.Range, q.Pattern = "web", everything(), compile(t, p)
				checkQuery(t, e, q, match.Pattern{}, meant)
			}
		}
	}
}
