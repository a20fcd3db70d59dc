package query

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// TimeLayout is how a record's time is written: RFC 3339 with the milliseconds that a ULID has.
const TimeLayout = "2006-01-02T15:04:05.000Z07:00"

// MaxLine bounds a record as a line of JSON, in bytes: a record of the greatest size, each byte of which is escaped, with the largest source.
const MaxLine = 6*segment.MaxRecord + 6*segment.MaxAttrs*(segment.MaxAttrKey+segment.MaxAttrValue+6) + 1<<10

// ErrLine says that a line is not a record.
var ErrLine = errors.New("not a record")

// LineEncoder writes records as JSON, an object a line:
//
//	{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","time":"2026-11-22T17:10:49.501Z","source":{"host":"web1"},"text":"GET /"}
//
// Text that is not UTF-8 is text_base64 instead. A record that was cut is an object for each piece, with "piece": first, middle or last.
// "context":true is one that stands beside a match, "apart":true one that does not follow on the one before. What is not UTF-8 in a source shows as U+FFFD.
//
// The zero LineEncoder is ready. It is not safe for concurrent use.
type LineEncoder struct {
	source segment.Source // that of the last record
	json   []byte         // the same
}

// Append appends r as a line, with its newline.
func (e *LineEncoder) Append(dst []byte, r Record) []byte {
	dst = append(dst, `{"ulid":"`...)
	dst = append(dst, make([]byte, ulid.EncodedSize)...)
	_ = r.ID.MarshalTextTo(dst[len(dst)-ulid.EncodedSize:]) // it has the room
	dst = append(dst, `","time":"`...)
	dst = ulid.Time(r.ID.Time()).UTC().AppendFormat(dst, TimeLayout)
	dst = append(dst, `","source":`...)
	dst = append(dst, e.of(r.Source)...)
	if utf8.Valid(r.Text) {
		dst = appendString(append(dst, `,"text":`...), r.Text)
	} else {
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"text_base64":"`...), r.Text)
		dst = append(dst, '"')
	}
	if name := pieceName(r.Piece); name != "" {
		dst = append(append(append(dst, `,"piece":"`...), name...), '"')
	}
	if r.Context {
		dst = append(dst, `,"context":true`...)
	}
	if r.Apart {
		dst = append(dst, `,"apart":true`...)
	}
	return append(dst, '}', '\n')
}

// of is a source as an object. Neighbouring records mostly share theirs.
func (e *LineEncoder) of(s segment.Source) []byte {
	if e.json != nil && len(s) == len(e.source) && (len(s) == 0 || &s[0] == &e.source[0]) {
		return e.json
	}
	e.source, e.json = s, append(e.json[:0], '{')
	for i, a := range s {
		if i > 0 {
			e.json = append(e.json, ',')
		}
		e.json = appendString(e.json, a.Key)
		e.json = append(e.json, ':')
		e.json = appendString(e.json, a.Value)
	}
	e.json = append(e.json, '}')
	return e.json
}

// appendString appends s as a string of JSON.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(append(dst, s[from:i]...), `\ufffd`...)
				from = i + n
			case r == '\u2028' || r == '\u2029': // ends of lines, to JavaScript
				dst = append(append(dst, s[from:i]...), `\u202`...)
				dst = append(dst, hex[r&0xf])
				from = i + n
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(append(dst, s[from:i]...), '\\')
		if at := strings.IndexByte("\"\"\\\\\bb\ff\nn\rr\tt", c); at >= 0 {
			dst = append(dst, "\"\"\\\\\bb\ff\nn\rr\tt"[at+1])
		} else {
			dst = append(dst, 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

// pieceName is "" for a whole record.
func pieceName(p segment.Piece) string {
	switch p & (segment.Continues | segment.Continued) {
	case segment.Continued:
		return "first"
	case segment.Continues | segment.Continued:
		return "middle"
	case segment.Continues:
		return "last"
	}
	return ""
}

// line is a record as JSON has it.
type line struct {
	ULID    *ulid.ULID        `json:"ulid"`
	Time    string            `json:"time"`
	Source  map[string]string `json:"source"`
	Text    *string           `json:"text"`
	Base64  []byte            `json:"text_base64"`
	Piece   string            `json:"piece"`
	Context bool              `json:"context"`
	Apart   bool              `json:"apart"`
}

// ParseLine reads a line that a LineEncoder has written; it need not end in a newline. Whether a piece belongs to the record before it (Record.Joined) no
// line tells by itself. Errors are ErrLine.
func ParseLine(b []byte) (r Record, err error) {
	if len(b) > MaxLine {
		return r, fmt.Errorf("%w: a line of %d bytes, at most %d", ErrLine, len(b), MaxLine)
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return r, fmt.Errorf("%w: %w", ErrLine, err)
	}
	if l.ULID == nil {
		return r, fmt.Errorf("%w: it has no ulid", ErrLine)
	}
	r.ID, r.Context, r.Apart = *l.ULID, l.Context, l.Apart
	switch {
	case l.Text != nil && l.Base64 != nil || l.Text == nil && l.Base64 == nil:
		return r, fmt.Errorf("%w: want text or text_base64", ErrLine)
	case l.Text != nil:
		r.Text = []byte(*l.Text)
	default:
		r.Text = l.Base64
	}
	if len(r.Text) > segment.MaxRecord {
		return r, fmt.Errorf("%w: %d bytes of text, at most %d", ErrLine, len(r.Text), segment.MaxRecord)
	}
	if r.Source, err = sourceOf(l.Source); err != nil {
		return r, err
	}
	switch l.Piece {
	case "":
	case "first":
		r.Piece = segment.Continued
	case "middle":
		r.Piece = segment.Continues | segment.Continued
	case "last":
		r.Piece = segment.Continues
	default:
		return r, fmt.Errorf("%w: piece %s: want first, middle or last", ErrLine, show(l.Piece))
	}
	return r, nil
}

// sourceOf is a source of its attributes.
func sourceOf(attrs map[string]string) (segment.Source, error) {
	if len(attrs) == 0 {
		return nil, nil
	}
	if len(attrs) > segment.MaxAttrs {
		return nil, fmt.Errorf("%w: a source of %d attributes, at most %d", ErrLine, len(attrs), segment.MaxAttrs)
	}
	s := make(segment.Source, 0, len(attrs))
	for key, value := range attrs {
		// What was not UTF-8 has become three bytes for each.
		if key == "" || len(key) > 3*segment.MaxAttrKey || len(value) > 3*segment.MaxAttrValue {
			return nil, fmt.Errorf("%w: an attribute with a key of %d bytes and a value of %d", ErrLine, len(key), len(value))
		}
		s = append(s, segment.Attr{Key: key, Value: value})
	}
	slices.SortFunc(s, func(a, b segment.Attr) int { return strings.Compare(a.Key, b.Key) })
	return s, nil
}
