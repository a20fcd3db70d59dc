package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oklog/objstore/segment"
	"oklog/query/querytest"
)

// asEncodingJSON is the same record by the standard library.
func asEncodingJSON(t *testing.T, r Record) string {
	t.Helper()
	l := struct {
		ULID    string            `json:"ulid"`
		Time    string            `json:"time"`
		Source  map[string]string `json:"source"`
		Text    *string           `json:"text,omitempty"`
		Base64  []byte            `json:"text_base64,omitempty"`
		Piece   string            `json:"piece,omitempty"`
		Context bool              `json:"context,omitempty"`
		Apart   bool              `json:"apart,omitempty"`
	}{ULID: r.ID.String(), Time: time.UnixMilli(int64(r.ID.Time())).UTC().Format(TimeLayout), Source: map[string]string{}, Piece: pieceName(r.Piece), Context: r.Context, Apart: r.Apart}
	for _, a := range r.Source {
		l.Source[a.Key] = a.Value
	}
	if text := string(r.Text); strings.ToValidUTF8(text, "?") == text {
		l.Text = &text
	} else {
		l.Base64 = r.Text
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLines(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	var e LineEncoder
	sources := []segment.Source{nil, {}, {{Key: "host", Value: "a"}}, {{Key: "a", Value: "<&>\"\\\x01"}, {Key: "b", Value: "\u2028é\xff"}}}
	texts := append([]string{"<a href=\"x\">&\\ \b\f\n\r\t\x00\x1f\x7f", "\u2028 \u2029 \u00e9 😀", "\ufffd", "\xed\xa0\x80", "cut \xe2\x80"}, querytest.Nasty...)
	for i := range 2000 {
		r := Record{Context: rnd.IntN(4) == 0, Apart: rnd.IntN(4) == 0}
		r.ID = segment.MakeID(rnd.Uint64(), rnd.Uint64(), rnd.Uint32())
		r.Source = sources[rnd.IntN(len(sources))]
		r.Text = []byte(texts[i%len(texts)])
		r.Piece = segment.Piece(rnd.IntN(4)) & (segment.Continued | segment.Continues)
		have := string(e.Append(nil, r))
		if want := asEncodingJSON(t, r); want != have {
			t.Fatalf("want %s, have %s", want, have)
		}
		again, err := ParseLine([]byte(have))
		if err != nil {
			t.Fatalf("%s: %v", have, err)
		}
		if len(r.Source) == 0 {
			r.Source = nil
		}
		for i, a := range r.Source {
			if valid := strings.ToValidUTF8(a.Value, "\ufffd"); valid != a.Value {
				r.Source = r.Source.With(r.Source[i].Key, valid)
			}
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("%s: %s", have, diff)
		}
	}
}

func TestBadLines(t *testing.T) {
	for _, text := range []string{
		"", "{}", "[]", "null", `{"ulid":"x","text":""}`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T"}`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":"","text_base64":""}`,
		`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":"","piece":"x"}`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":"","source":{"":"x"}}`,
		`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":""`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text_base64":"?"}`,
		fmt.Sprintf(`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":%q}`, strings.Repeat("x", segment.MaxRecord+1)),
		fmt.Sprintf(`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":"","source":{"k":%q}}`, strings.Repeat("x", 3*segment.MaxAttrValue+1)),
		strings.Repeat(" ", MaxLine+1),
	} {
		if _, err := ParseLine([]byte(text)); !errors.Is(err, ErrLine) {
			t.Errorf("%.100s: %v", text, err)
		}
	}
}

// The largest record there can be is within MaxLine.
func TestLargestLine(t *testing.T) {
	r := Record{Context: true, Apart: true}
	r.Text, r.Piece = bytes.Repeat([]byte{1}, segment.MaxRecord), segment.Continued|segment.Continues
	for i := range segment.MaxAttrs {
		r.Source = r.Source.With(fmt.Sprintf("%02d", i)+strings.Repeat("\x01", segment.MaxAttrKey-2), strings.Repeat("\xff", segment.MaxAttrValue))
	}
	b := (&LineEncoder{}).Append(nil, r)
	if len(b) > MaxLine {
		t.Fatalf("%d bytes", len(b))
	}
	if again, err := ParseLine(b); err != nil || !bytes.Equal(again.Text, r.Text) {
		t.Fatal(err)
	}
}

func FuzzParseLine(f *testing.F) {
	var e LineEncoder
	for _, text := range querytest.Nasty {
		r := Record{Context: true}
		r.Text, r.Source = []byte(text), segment.Source{{Key: "host", Value: text}}
		f.Add(e.Append(nil, r))
	}
	f.Add([]byte(`{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","text":"a","piece":"last","apart":true,"source":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseLine(b)
		if err != nil {
			if !errors.Is(err, ErrLine) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseLine((&LineEncoder{}).Append(nil, r))
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
