// Package wire is what goes between oklog's HTTP API and its clients: paths, headers, and what the bodies hold. Records are lines as
// query.LineEncoder writes them. The API's openapi.json says the same for everybody else.
package wire

import (
	"time"

	"oklog/query"
)

// Paths.
const (
	Query     = "/api/v1/query"
	Histogram = "/api/v1/histogram"
	Top       = "/api/v1/top"
	Topics    = "/api/v1/topics"
	Sources   = "/api/v1/sources"
	Tail      = "/api/v1/tail"
	OpenAPI   = "/api/v1/openapi.json"
)

// Headers of answers.
const (
	Version  = "Oklog-Api"      // "1" in every answer
	Partial  = "Oklog-Partial"  // "true": records may be lacking. A header, or a trailer where the body had begun before that was known
	Segments = "Oklog-Segments" // what a query would open, ...
	Blocks   = "Oklog-Blocks"   // ... of them would read, ...
	Bytes    = "Oklog-Bytes"    // ... and fetch, at most
)

// NDJSON is the content type of lines.
const NDJSON = "application/x-ndjson"

// Error is why something could not be done.
type Error struct {
	Parameter string `json:"parameter,omitempty"` // whose value is at fault; "" for none
	Message   string `json:"message"`             // one line
	Status    int    `json:"status"`              // of HTTP; also where the body had begun with another
}

// Failure is the body of an answer that is an error, and the last line of a query that has failed on its way.
type Failure struct {
	Error *Error `json:"error"`
}

// End is how a query ended.
type End struct {
	query.Answer
	Partial bool   `json:"partial"`
	Cursor  string `json:"cursor,omitempty"` // the ULID of the last record: as the parameter cursor, it goes on behind it
}

// Last is the last line of a query that came to its end.
type Last struct {
	End *End `json:"end"`
}

// Estimate is what a query would cost at most.
type Estimate struct {
	Segments, Blocks, Bytes int64
	Partial                 bool // it may be more: something could not be read
}

// Note is the data of an event of a tail that is no record.
type Note struct {
	Count int64  `json:"count,omitempty"` // of records
	Text  string `json:"text,omitempty"`
}

// Heartbeat is how often a tail says that it is alive, if it has nothing else to say.
const Heartbeat = 15 * time.Second

// TopicList is the body of a list of topics. With problems there may be others, and more days.
type TopicList struct {
	Topics   []query.TopicInfo `json:"topics"`
	Problems []query.Problem   `json:"problems,omitempty"`
}

// SourceInfo is a source of which there is something in a range: see query.SourceInfo.
type SourceInfo struct {
	Source   map[string]string `json:"source"`
	First    time.Time         `json:"first"`
	Last     time.Time         `json:"last"`
	Sessions int               `json:"sessions"`
	Segments int               `json:"segments"`
}

// NewSourceInfo is a source as it is told.
func NewSourceInfo(s query.SourceInfo) SourceInfo {
	w := SourceInfo{Source: make(map[string]string, len(s.Source)), First: s.First, Last: s.Last, Sessions: s.Sessions, Segments: s.Segments}
	for _, a := range s.Source {
		w.Source[a.Key] = a.Value
	}
	return w
}

// SourceList is the body of a list of sources.
type SourceList struct {
	Sources []SourceInfo  `json:"sources"`
	Answer  *query.Answer `json:"answer"`
}
