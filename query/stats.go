package query

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
)

// Errors of problems, by identity.
var (
	// ErrForeign says that an object lies where segments lie and is none.
	ErrForeign = errors.New("not a segment")
	// ErrGone says that an object was listed and is not there, and was listed again.
	ErrGone = errors.New("listed but not there")
	// ErrHotTooLarge says that there are more unflushed records than may be held in memory.
	ErrHotTooLarge = errors.New("more unflushed records than may be held in memory")
	// ErrHotAway says that not all unflushed records could be read.
	ErrHotAway = errors.New("unflushed records cannot be read")
	// ErrTimeLimit says that a server has ended the query: it had run for as long as it may.
	ErrTimeLimit = errors.New("ended at the time limit of a query")
)

// TooMuchError says that a query would read more than it may.
type TooMuchError struct {
	Bytes    int64 // that it would read: so many or more
	Max      int64 // Query.MaxBytes
	Segments int   // in the range
}

func (e *TooMuchError) Error() string {
	return fmt.Sprintf("the query would read %d bytes or more of %d segments, and may read %d", e.Bytes, e.Segments, e.Max)
}

// Problem is something that should have been read and could not be.
type Problem struct {
	Key string // of the object; "" for what is not in a bucket yet, and what is of no object
	Err error
	// First and Last bound the IDs that may be lacking; zero where that is not known.
	First, Last ulid.ULID
}

// String is one line: what, the time that is lacking, why.
func (p Problem) String() string {
	what := p.Key
	switch {
	case errors.Is(p.Err, objstore.ErrIncomplete):
		return p.Err.Error()
	case what == "" && errors.Is(p.Err, ErrTimeLimit):
		what = "the rest"
	case what == "":
		what = "unflushed records"
	}
	if p.First == (ulid.ULID{}) && p.Last == (ulid.ULID{}) {
		return fmt.Sprintf("%s: %v", what, p.Err)
	}
	const layout = "2006-01-02T15:04:05.000Z"
	at := func(id ulid.ULID) string { return ulid.Time(id.Time()).UTC().Format(layout) }
	return fmt.Sprintf("%s (%s to %s): %v", what, at(p.First), at(p.Last), p.Err)
}

// Answer is how a query ended.
type Answer struct {
	// Count of records put out. The pieces of one that was cut count once, if they come together.
	Count int64 `json:"count"`
	// Problems, in the order in which the query came to them: at most MaxProblems.
	Problems []Problem `json:"problems,omitempty"`
	// Unlisted is the number of problems beyond those.
	Unlisted int `json:"unlisted_problems,omitempty"`
	// Required is what a record must hold to match, as package required writes it; "" without a pattern.
	Required string `json:"required,omitempty"`
	// Sieved tells that filters could be asked for it: that it is not too short for them.
	Sieved bool  `json:"sieved"`
	Stats  Stats `json:"stats"`
}

// MaxProblems is how many problems an answer describes; it counts all.
const MaxProblems = 100

// Partial tells that records may be lacking.
func (a *Answer) Partial() bool { return len(a.Problems) > 0 }

func (a *Answer) note(p Problem) {
	for _, q := range a.Problems {
		if q.Key == p.Key && q.First == p.First && q.Last == p.Last && (errors.Is(q.Err, p.Err) || q.String() == p.String()) {
			return // met before a new listing, too, or by another querier
		}
	}
	if len(a.Problems) == MaxProblems {
		a.Unlisted++
		return
	}
	a.Problems = append(a.Problems, p)
}

// Stats is what a query cost.
type Stats struct {
	Segments SegmentStats `json:"segments"`
	Blocks   BlockStats   `json:"blocks"`
	Records  RecordStats  `json:"records"`
	Requests RequestStats `json:"requests"`
	Time     StageTimes   `json:"time_ns"`
	Listings int          `json:"listings"` // how often the segments were listed: more than once if some had gone
}

// SegmentStats counts segments; batches that were not flushed yet apart.
type SegmentStats struct {
	Listed  int `json:"listed"` // objects in the listings
	InRange int `json:"in_range"`
	Opened  int `json:"opened"`
	Sifted  int `json:"sifted"`   // of these, whose filters were asked
	Bare    int `json:"bare"`     // of these, that have no filter, though it would have been asked: their blocks were scanned
	Damaged int `json:"damaged"`  // of these, whose filters were damaged, or could not be read: likewise
	Hot     int `json:"hot"`      // unflushed batches that were read
	HotUsed int `json:"hot_used"` // of these, in the range
	Mended  int `json:"mended"`   // reads that brought damaged bytes from one bucket, and sound ones from another
}

// BlockStats counts the blocks of the segments and batches that were opened.
type BlockStats struct {
	Total      int `json:"total"`
	OutOfRange int `json:"out_of_range"`
	Replaced   int `json:"replaced"` // by blocks of other segments, which compaction wrote
	Pruned     int `json:"pruned"`   // by a filter
	Read       int `json:"read"`     // fetched and decoded
	Matched    int `json:"matched"`  // of these, with at least one record found
}

// RecordStats counts records.
type RecordStats struct {
	Scanned    int64 `json:"scanned"`    // in the blocks that were read
	Found      int64 `json:"found"`      // put out
	Duplicates int64 `json:"duplicates"` // found in several places and put out once; not known, 0, when a limit ended the query
	Pieces     int64 `json:"pieces"`     // of those put out, pieces of a record that was cut
}

// RequestStats is the traffic with the bucket.
type RequestStats struct {
	Lists   int   `json:"lists"`   // pages of a thousand keys
	Gets    int   `json:"gets"`    // range reads
	Fetched int64 `json:"fetched"` // bytes read
	Cached  int64 `json:"cached"`  // bytes that came from the cache, or with what another query was reading
	Hot     int64 `json:"hot"`     // bytes of the unflushed batches
	Decoded int64 `json:"decoded"` // bytes of text decompressed
}

// StageTimes is the time that each stage took. Open, Prune, Fetch, Decode and Match are sums over what runs in
// parallel; the others are of the wall clock.
type StageTimes struct {
	Hot    time.Duration `json:"hot"`
	List   time.Duration `json:"list"`
	Open   time.Duration `json:"open"`
	Prune  time.Duration `json:"prune"`
	Fetch  time.Duration `json:"fetch"`
	Decode time.Duration `json:"decode"`
	Match  time.Duration `json:"match"`

	First time.Duration `json:"first"` // until the first record was put out; 0: there was none
	Total time.Duration `json:"total"`
}

// meter is a Stats that several goroutines add to.
type meter struct {
	mu sync.Mutex
	s  Stats
}

// stats is what was added until now. What a cache reads for others may be added later, and is not asked for.
func (m *meter) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s
}

func (m *meter) add(f func(s *Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.s)
}
