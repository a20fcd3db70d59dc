package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/query/match"
	"oklog/query/where"
)

// Queries and answers go to and fro between queriers, and from servers to clients, as JSON: the words here are an interface.

// wireQuery is a Query as JSON.
type wireQuery struct {
	Topic     string       `json:"topic"`
	From      wireID       `json:"from"`
	To        wireID       `json:"to"`
	Pattern   *wirePattern `json:"pattern,omitempty"`
	Where     []byte       `json:"where,omitempty"` // it need not be UTF-8
	Sources   [][]byte     `json:"sources,omitempty"`
	Newest    bool         `json:"newest,omitempty"`
	Limit     int64        `json:"limit,omitempty"`
	Before    int          `json:"before,omitempty"`
	After     int          `json:"after,omitempty"`
	Brute     bool         `json:"brute,omitempty"`
	MaxBytes  int64        `json:"max_bytes,omitempty"`
	CountOnly bool         `json:"count_only,omitempty"`
	IDsOnly   bool         `json:"ids_only,omitempty"`
}

// maxWireQuery bounds a query as JSON, in bytes: patterns of match.MaxPatterns fit in.
const maxWireQuery = 4 << 20

// wireID is an ID that is read strictly.
type wireID struct{ ulid.ULID }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *wireID) UnmarshalText(text []byte) (err error) {
	if w.ULID, err = ulid.ParseStrict(string(text)); err != nil {
		return fmt.Errorf("ULID %s: %w", show(string(text)), err)
	}
	return nil
}

// wirePattern is a match.Pattern as JSON. Texts are bytes: they need not be UTF-8.
type wirePattern struct {
	Texts      [][]byte `json:"texts"`
	Regex      bool     `json:"regex,omitempty"`
	IgnoreCase bool     `json:"ignore_case,omitempty"`
	Word       bool     `json:"word,omitempty"`
	Invert     bool     `json:"invert,omitempty"`
}

func toBytes(texts []string) (all [][]byte) {
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	return all
}

func toTexts(all [][]byte) (texts []string) {
	for _, b := range all {
		texts = append(texts, string(b))
	}
	return texts
}

// MarshalJSON implements json.Marshaler. Idle and Watch are left out.
func (q Query) MarshalJSON() ([]byte, error) {
	w := wireQuery{
		Topic: q.Topic, From: wireID{q.Range.From}, To: wireID{q.Range.To}, Sources: toBytes(q.Sources.Texts()), Newest: q.Newest, Limit: q.Limit,
		Before: q.Before, After: q.After, Brute: q.Brute, MaxBytes: q.MaxBytes, CountOnly: q.CountOnly, IDsOnly: q.IDsOnly,
	}
	if q.Where != nil {
		w.Where = []byte(q.Where.String())
	}
	if q.Pattern != nil {
		p := q.Pattern.Pattern()
		w.Pattern = &wirePattern{toBytes(p.Texts), p.Regex, p.IgnoreCase, p.Word, p.Invert}
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler: it compiles what is to be compiled, and refuses what cannot be asked. It also refuses
// what it does not know: a condition that a later version sets must not be passed over.
func (q *Query) UnmarshalJSON(b []byte) error {
	decoded, err := decodeQuery(b)
	if err != nil {
		return fmt.Errorf("decode query: %w", err)
	}
	*q = decoded
	return nil
}

func decodeQuery(b []byte) (q Query, err error) {
	if len(b) > maxWireQuery {
		return q, fmt.Errorf("%d bytes: at most %d", len(b), maxWireQuery)
	}
	var w wireQuery
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return q, err
	}
	q = Query{
		Topic: w.Topic, Range: Range{w.From.ULID, w.To.ULID}, Newest: w.Newest, Limit: w.Limit,
		Before: w.Before, After: w.After, Brute: w.Brute, MaxBytes: w.MaxBytes, CountOnly: w.CountOnly, IDsOnly: w.IDsOnly,
	}
	if w.Pattern != nil {
		if q.Pattern, err = match.Compile(match.Pattern{Texts: toTexts(w.Pattern.Texts), Regex: w.Pattern.Regex,
			IgnoreCase: w.Pattern.IgnoreCase, Word: w.Pattern.Word, Invert: w.Pattern.Invert}); err != nil {
			return q, err
		}
	}
	if w.Where != nil {
		if q.Where, err = where.Parse(string(w.Where)); err != nil {
			return q, err
		}
	}
	if q.Sources, err = ParseSources(toTexts(w.Sources)); err != nil {
		return q, err
	}
	return q, q.check()
}

// kinds are the errors of problems that are told apart.
var kinds = []struct {
	word string
	err  error
}{
	{"foreign", ErrForeign}, {"gone", ErrGone}, {"unflushed", ErrHotTooLarge}, {"stream", ErrHotAway}, {"bucket", objstore.ErrIncomplete}, {"sources", ErrManySources}, {"time", ErrTimeLimit},
}

// wireProblem is a Problem as JSON.
type wireProblem struct {
	Key   string  `json:"key,omitempty"`
	Kind  string  `json:"kind"` // a word of kinds, or "unreadable"
	Error string  `json:"error"`
	First *wireID `json:"first,omitempty"`
	Last  *wireID `json:"last,omitempty"`
}

// toldError is an error that was told by another process.
type toldError struct {
	text string
	is   error // nil: none of those that are told apart
}

func (e *toldError) Error() string { return e.text }

// Is tells the kind of the error, and that it is the same as another one that was told.
func (e *toldError) Is(target error) bool {
	if told, ok := target.(*toldError); ok {
		return told.text == e.text
	}
	return e.is != nil && target == e.is
}

// MarshalJSON implements json.Marshaler.
func (p Problem) MarshalJSON() ([]byte, error) {
	w := wireProblem{Key: p.Key, Kind: "unreadable"}
	if p.Err != nil {
		w.Error = p.Err.Error()
	}
	for _, k := range kinds {
		if errors.Is(p.Err, k.err) {
			w.Kind = k.word
			break
		}
	}
	if p.First != (ulid.ULID{}) || p.Last != (ulid.ULID{}) {
		w.First, w.Last = &wireID{p.First}, &wireID{p.Last}
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Problem) UnmarshalJSON(b []byte) error {
	var w wireProblem
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("decode problem: %w", err)
	}
	told := &toldError{text: w.Error}
	for _, k := range kinds {
		if w.Kind == k.word {
			told.is = k.err
		}
	}
	*p = Problem{Key: w.Key, Err: told}
	if w.First != nil && w.Last != nil {
		p.First, p.Last = w.First.ULID, w.Last.ULID
	}
	return nil
}

// Add joins what another part of the same query came to.
func (a *Answer) Add(b *Answer) {
	a.Count += b.Count
	for _, p := range b.Problems {
		a.Note(p)
	}
	a.Unlisted += b.Unlisted
	if a.Required == "" {
		a.Required = b.Required
	}
	a.Sieved = a.Sieved || b.Sieved
	a.Stats.Add(b.Stats)
}

// Add sums up. Of the times until the first record and of all it keeps the greater.
func (s *Stats) Add(t Stats) {
	s.Segments.add(t.Segments)
	s.Blocks.add(t.Blocks)
	s.Records.Scanned += t.Records.Scanned
	s.Records.Found += t.Records.Found
	s.Records.Duplicates += t.Records.Duplicates
	s.Records.Pieces += t.Records.Pieces
	s.Requests.Lists += t.Requests.Lists
	s.Requests.Gets += t.Requests.Gets
	s.Requests.Fetched += t.Requests.Fetched
	s.Requests.Cached += t.Requests.Cached
	s.Requests.Hot += t.Requests.Hot
	s.Requests.Decoded += t.Requests.Decoded
	s.Time.Hot += t.Time.Hot
	s.Time.List += t.Time.List
	s.Time.Open += t.Time.Open
	s.Time.Prune += t.Time.Prune
	s.Time.Fetch += t.Time.Fetch
	s.Time.Decode += t.Time.Decode
	s.Time.Match += t.Time.Match
	s.Time.First = max(s.Time.First, t.Time.First)
	s.Time.Total = max(s.Time.Total, t.Time.Total)
	s.Listings += t.Listings
}

func (s *SegmentStats) add(t SegmentStats) {
	s.Listed += t.Listed
	s.InRange += t.InRange
	s.Opened += t.Opened
	s.Sifted += t.Sifted
	s.Bare += t.Bare
	s.Damaged += t.Damaged
	s.Hot += t.Hot
	s.HotUsed += t.HotUsed
	s.Mended += t.Mended
}

func (s *BlockStats) add(t BlockStats) {
	s.Total += t.Total
	s.OutOfRange += t.OutOfRange
	s.Replaced += t.Replaced
	s.Pruned += t.Pruned
	s.Read += t.Read
	s.Matched += t.Matched
}
