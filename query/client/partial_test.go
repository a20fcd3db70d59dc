package client

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"oklog/query"
	"oklog/query/api/wire"
)

// Whichever way a server says that records may be lacking, the answer says so.
func TestPartialIsTold(t *testing.T) {
	const answer = `{"count":1,"sieved":false,"stats":{}}`
	line := `{"end":` + strings.TrimSuffix(answer, "}") + `,"partial":PARTIAL}}` + "\n"
	lines := map[string]http.HandlerFunc{
		"the last line": says(200, strings.Replace(line, "PARTIAL", "true", 1)),
		"the status":    says(206, strings.Replace(line, "PARTIAL", "false", 1)),
		"a header":      says(200, strings.Replace(line, "PARTIAL", "false", 1), wire.Partial, "true"),
		"a trailer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", wire.Partial)
			says(200, strings.Replace(line, "PARTIAL", "false", 1))(w, r)
			w.Header().Set(wire.Partial, "true")
		},
	}
	for what, h := range lines {
		if _, ans, err := run(t, serve(t, h), query.Request{Topic: "web"}); err != nil || !ans.Partial() {
			t.Errorf("%s: %+v %v", what, ans, err)
		}
	}
	if _, ans, err := run(t, serve(t, says(200, strings.Replace(line, "PARTIAL", "false", 1))), query.Request{Topic: "web"}); err != nil || ans.Partial() {
		t.Errorf("%+v %v", ans, err)
	}
	object := serve(t, says(206, `{"answer":`+answer+`}`, "Content-Type", "application/json"))
	if h, err := object.Histogram(t.Context(), query.Request{Topic: "web"}, query.Steps{}); err != nil || !h.Answer.Partial() {
		t.Errorf("%+v %v", h, err)
	}
	if top, err := object.Top(t.Context(), query.Request{Topic: "web"}, "f", 1); err != nil || !top.Answer.Partial() {
		t.Errorf("%+v %v", top, err)
	}
	if _, ans, err := object.Sources(t.Context(), query.Request{Topic: "web"}); err != nil || !ans.Partial() {
		t.Errorf("%+v %v", ans, err)
	}
}

// What a server says does nothing to a terminal.
func TestNothingForTerminals(t *testing.T) {
	const esc = `\u001b[2J`
	problem := `{"key":"a` + esc + `","error":"b` + esc + `\nc"}`
	_, ans, err := run(t, serve(t, says(206, `{"end":{"count":0,"sieved":false,"required":"x`+esc+`","stats":{},"problems":[`+problem+`],"partial":true}}`+"\n")), query.Request{Topic: "web"})
	if err != nil || len(ans.Problems) != 1 {
		t.Fatalf("%+v %v", ans, err)
	}
	if all := ans.Problems[0].String() + ans.Required; strings.ContainsAny(all, "\x1b\n") || !strings.Contains(all, "b [2J c") {
		t.Errorf("%q", all)
	}
	lacking := serve(t, says(206, `{"topics":[{"name":"a"}],"problems":[{"kind":"bucket","error":"b`+esc+`"}]}`, "Content-Type", "application/json"))
	if all, err := lacking.Topics(t.Context()); !errors.Is(err, query.ErrIncomplete) || strings.Contains(err.Error(), "\x1b") || len(all) != 1 {
		t.Errorf("%v %v", all, err)
	}
	for _, topic := range []string{`{"name":"a` + esc + `"}`, `{"name":"a","first_day":"` + esc + `"}`} {
		if all, err := serve(t, says(200, `{"topics":[`+topic+`]}`, "Content-Type", "application/json")).Topics(t.Context()); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%v %v", all, err)
		}
	}
}

// Whoever is slow to take records is not to find the server silent.
func TestSlowTaker(t *testing.T) {
	const wait = time.Second
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text := strings.Repeat("a", 1<<19) // more than is read ahead
		says(200, record(0, text, 0)+record(1, text, 0)+end)(w, r)
	})
	c := newClient(t, Config{URL: s.base, Timeout: wait})
	n := 0
	ans, err := c.Run(t.Context(), query.Request{Topic: "web"}, func(query.Record) error {
		n++
		time.Sleep(3 * wait / 2)
		return nil
	})
	if err != nil || n != 2 || ans.Count != 2 {
		t.Errorf("%d records, %+v, %v", n, ans, err)
	}
}
