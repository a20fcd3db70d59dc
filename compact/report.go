package compact

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Finding is something that is wrong with an object.
type Finding struct {
	Key     string `json:"key"`
	Problem string `json:"problem"`
}

func (f Finding) String() string { return f.Key + ": " + f.Problem }

// Skew is a segment whose records have absurd times.
type Skew struct {
	Key   string    `json:"key"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Report is what a run has done; or would do, if DryRun. Sizes are in bytes; each segment counts once, however many copies it has. Of what is
// named, up to 100 are.
type Report struct {
	DryRun bool          `json:"dry_run"`
	Took   time.Duration `json:"took_ns"`

	Topics   int   `json:"topics"` // looked at
	Days     int   `json:"days"`
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`

	Jobs      []JobReport `json:"jobs,omitempty"` // in a dry run
	Merges    int         `json:"merges"`
	MergedIn  int         `json:"merged_segments"`
	MergedOut int         `json:"merged_into"`
	BytesIn   int64       `json:"merged_bytes"`
	BytesOut  int64       `json:"merged_into_bytes"`
	Text      int64       `json:"merged_text_bytes"`

	Deleted      int   `json:"deleted"` // replaced segments
	DeletedBytes int64 `json:"deleted_bytes"`
	Expired      int   `json:"expired"` // moved to the trash
	ExpiredBytes int64 `json:"expired_bytes"`
	Purged       int   `json:"purged"` // from the trash
	PurgedBytes  int64 `json:"purged_bytes"`

	ExpiredTopics []ExpiredReport `json:"expired_topics,omitempty"` // Expired, by topic

	Copied        int   `json:"copied"` // missing or damaged copies that were made
	CopiedBytes   int64 `json:"copied_bytes"`
	Replaced      int   `json:"copied_over_damaged"` // of these, in the place of damaged ones
	MissingCopies int   `json:"missing_copies"`      // of what was written
	Lacking       int   `json:"lacking_copies"`      // of what is new: they may still be on their way
	BadCopies     int   `json:"bad_copies"`          // segments with a damaged copy, or copies of different sizes, as far as was met

	Differing int `json:"differing"` // segments with copies of different sizes

	Backlog int `json:"backlog"` // small or overlapping segments that are left to be merged, when their day has settled at the latest
	Waiting int `json:"waiting"` // segments that are replaced and not deleted yet

	DamagedSegments int       `json:"damaged_segments"` // that no copy of is sound
	Damaged         []Finding `json:"damaged,omitempty"`
	LostObjects     int       `json:"lost_objects"` // of a repair: objects without a sound copy
	Lost            []Finding `json:"lost,omitempty"`
	Skewed          int       `json:"skewed"` // segments with absurd times
	Skews           []Skew    `json:"skews,omitempty"`
	Foreign         int       `json:"foreign"` // objects that belong to nothing
	ForeignKeys     []string  `json:"foreign_keys,omitempty"`
	CopiedKeys      []string  `json:"copied_keys,omitempty"`  // in a dry run
	ExpiredKeys     []string  `json:"expired_keys,omitempty"` // in a dry run
	Refused         []string  `json:"refused,omitempty"`      // what was not done, and why
	Away            []string  `json:"away,omitempty"`         // buckets that could not be used

	mu  sync.Mutex
	bad map[string]bool // the keys of BadCopies
}

// JobReport is a merge that a dry run has planned.
type JobReport struct {
	Topic       string    `json:"topic"`
	Day         string    `json:"day"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Segments    int       `json:"segments"`
	Bytes       int64     `json:"bytes"`
	Text        int64     `json:"text"`
	Generation  int       `json:"generation"`
	IntoAbout   int       `json:"into_about"`
	BytesAbout  int64     `json:"bytes_about"`
	RecordCount int64     `json:"records"`
}

// ExpiredReport is what has expired of a topic.
type ExpiredReport struct {
	Topic    string        `json:"topic"`
	Keep     time.Duration `json:"keep_ns"`
	From     time.Time     `json:"from"`
	To       time.Time     `json:"to"`
	Segments int           `json:"segments"`
	Bytes    int64         `json:"bytes"`
}

func (r *Report) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// skewAhead is how far ahead of the clock records may be. Years before skewYear are taken for a clock that was never set.
const (
	skewAhead = 10 * time.Minute
	skewYear  = 2000
)

// day takes down what there is of a day.
func (r *Report) day(d *day, now time.Time) {
	r.locked(func() {
		r.Days++
		r.Segments += len(d.segments)
		for _, s := range d.segments {
			r.Bytes += s.Size
			if s.Odd != 0 {
				r.Differing++
			}
			last := s.last()
			if by := last.Sub(now); by > skewAhead || last.Year() < skewYear {
				if r.Skewed++; len(r.Skews) < maxNamed {
					r.Skews = append(r.Skews, Skew{s.Key(), ulid.Time(s.Name.First.Time()).UTC(), last})
				}
			}
		}
		r.Foreign += d.foreigners
		r.ForeignKeys = append(r.ForeignKeys, d.foreign[:min(len(d.foreign), max(0, maxNamed-len(r.ForeignKeys)))]...)
	})
}

func (r *Report) foreign(key string) {
	r.locked(func() {
		if r.Foreign++; len(r.ForeignKeys) < maxNamed {
			r.ForeignKeys = append(r.ForeignKeys, key)
		}
	})
}

func (r *Report) looked(size int64) {
	r.locked(func() {
		r.Segments++
		r.Bytes += size
	})
}

// plan takes down merges that would be done.
func (r *Report) plan(jobs []*Job) {
	r.locked(func() {
		for _, j := range jobs {
			at := func(ms uint64) time.Time { return ulid.Time(ms).UTC() }
			about := int64(0)
			for _, s := range j.Inputs {
				if s.Name.Generation == 0 {
					about += int64(rewritten * float64(s.Size))
				} else {
					about += s.Size
				}
			}
			r.Jobs = append(r.Jobs, JobReport{
				Topic: j.Topic, Day: j.Day, From: at(j.Inputs[0].Name.First.Time()), To: at(j.Through.Time()), Segments: len(j.Inputs), Bytes: j.Size, Text: j.Text,
				Generation: int(j.Generation), IntoAbout: int(int64(blocksPart*float64(about))/j.maxSize) + 1, BytesAbout: about, RecordCount: j.Records,
			})
			r.Merges++
			r.MergedIn += len(j.Inputs)
			r.BytesIn += j.Size
			r.MergedOut += r.Jobs[len(r.Jobs)-1].IntoAbout
			r.BytesOut += about
			r.Text += j.Text
		}
	})
}

func (r *Report) merged(j *Job, made []*Segment, whole bool) {
	r.locked(func() {
		if whole {
			r.Merges++
			r.MergedIn += len(j.Inputs)
			r.BytesIn += j.Size
			r.Text += j.Text
		}
		r.MergedOut += len(made)
		for _, s := range made {
			r.BytesOut += s.Size
		}
	})
}

func (r *Report) damage(s *Segment, err error) {
	r.locked(func() {
		key := s.Key()
		if slices.ContainsFunc(r.Damaged, func(f Finding) bool { return f.Key == key }) {
			return
		}
		if r.DamagedSegments++; len(r.Damaged) < maxNamed {
			r.Damaged = append(r.Damaged, Finding{key, err.Error()})
		}
	})
}

func (r *Report) badCopy(s *Segment) {
	r.locked(func() {
		if r.bad == nil {
			r.bad = map[string]bool{}
		}
		r.bad[s.Key()] = true
		r.BadCopies = len(r.bad)
	})
}

func (r *Report) lacking(n int) { r.locked(func() { r.Lacking += n }) }
func (r *Report) missing(n int) { r.locked(func() { r.MissingCopies += n }) }

func (r *Report) lost(key string, err error) {
	r.locked(func() {
		if r.LostObjects++; len(r.Lost) < maxNamed {
			r.Lost = append(r.Lost, Finding{key, err.Error()})
		}
	})
}

func (r *Report) copied(key string, size int64, damaged bool) {
	r.locked(func() {
		r.Copied++
		r.CopiedBytes += size
		if damaged {
			r.Replaced++
		}
		if r.DryRun && len(r.CopiedKeys) < maxNamed {
			r.CopiedKeys = append(r.CopiedKeys, key)
		}
	})
}

func (r *Report) deleted(segments []*Segment) {
	r.locked(func() {
		for _, s := range segments {
			r.Deleted++
			r.DeletedBytes += s.Size
		}
	})
}

func (r *Report) trashed(e *expired) {
	r.locked(func() {
		r.Expired += len(e.segments)
		r.ExpiredBytes += e.bytes
		if len(e.segments) > 0 {
			t := ExpiredReport{Topic: e.topic, Keep: time.Duration(e.keep), Segments: len(e.segments), Bytes: e.bytes}
			for _, s := range e.segments {
				if first := ulid.Time(s.Name.First.Time()).UTC(); t.From.IsZero() || first.Before(t.From) {
					t.From = first
				}
				if s.last().After(t.To) {
					t.To = s.last()
				}
			}
			r.ExpiredTopics = append(r.ExpiredTopics, t)
		}
		for _, s := range e.segments {
			if r.DryRun && len(r.ExpiredKeys) < maxNamed {
				r.ExpiredKeys = append(r.ExpiredKeys, s.Key())
			}
		}
	})
}

func (r *Report) purged(t Trashed) {
	r.locked(func() {
		r.Purged++
		r.PurgedBytes += t.Size
	})
}

func (r *Report) refuse(format string, args ...any) {
	r.locked(func() { r.Refused = append(r.Refused, fmt.Sprintf(format, args...)) })
}

// left takes down what a day is like afterwards. Of what is left to do, it counts what would be done if the day had settled: a small segment that
// is alone is as it should be.
func (r *Report) left(d *day, cl claims, small int64) {
	var inputs []input
	waiting := 0
	for _, s := range d.segments {
		rest, open := cl.rest(s, readable)
		switch {
		case !open:
			waiting++
		case s.damaged || s.expired || s.Odd != 0 || s.Name.Generation >= MaxGeneration:
		default:
			inputs = append(inputs, input{s, rest})
		}
	}
	slices.SortFunc(inputs, byStart)
	r.locked(func() {
		r.Waiting += waiting
		for _, some := range byLateness(inputs) {
			for _, run := range runs(some, nil, rules{target: small * smallPart}) {
				r.Backlog += len(run)
			}
		}
	})
}

// Sound tells that nothing was found that somebody should look at.
func (r *Report) Sound() bool {
	return r.DamagedSegments == 0 && r.BadCopies == 0 && r.Differing == 0 && r.LostObjects == 0 && len(r.Refused) == 0 && len(r.Away) == 0
}

// String is a line.
func (r *Report) String() string {
	var parts []string
	add := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(r.Merges, "%d segments merged into %d", r.MergedIn, r.MergedOut)
	add(r.Deleted, "%d replaced ones deleted", r.Deleted)
	add(r.Expired, "%d expired", r.Expired)
	add(r.Purged, "%d purged from the trash", r.Purged)
	add(r.Copied, "%d copies made", r.Copied)
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}
