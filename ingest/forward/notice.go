package forward

import (
	"log/slog"
	"strings"
	"time"
)

// showText is how much of a record a log line quotes, in bytes.
const showText = 120

// notice logs what befalls many records: the first time, and then at most every tellEvery, with how many there were
// since and the first of them. It is not safe for concurrent use.
type notice struct {
	what  string
	n     int64 // not told yet
	told  time.Time
	text  string // of the first of these, its beginning
	input string
	why   string
}

// add counts a record. why is only called when it is the first one of a log line.
func (o *notice) add(log *slog.Logger, input string, text []byte, why func() string) {
	if o.n++; o.n == 1 {
		o.input, o.why = input, why()
		o.text = strings.ToValidUTF8(string(text[:min(len(text), showText)]), "?") // the logger quotes it
		if len(text) > showText {
			o.text += "..."
		}
	}
	if now := time.Now(); now.Sub(o.told) >= tellEvery {
		o.told = now
		o.flush(log)
	}
}

// flush logs what was not told yet.
func (o *notice) flush(log *slog.Logger) {
	if o.n > 0 {
		log.Warn(o.what, "records", o.n, "file", o.input, "first", o.text, "why", o.why)
	}
	o.n = 0
}
