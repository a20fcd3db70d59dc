package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/api/wire"
)

// object is what JSON calls one.
type object = map[string]any

func description(t testing.TB) object {
	t.Helper()
	var doc object
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at walks down an object.
func at(v any, names ...string) any {
	for _, name := range names {
		o, ok := v.(object)
		if !ok {
			return nil
		}
		v = o[name]
	}
	return v
}

// keys are those of an object, in order.
func keys(v any) []string {
	o, _ := v.(object)
	return slices.Sorted(maps.Keys(o))
}

// The description has every path, method, parameter and status that the handlers have, and no other.
func TestDescription(t *testing.T) {
	doc := description(t)
	a := newAPI(t, newPlace(t).config())
	paths := []string{}
	used := map[string]bool{}
	for _, rt := range a.routes {
		paths = append(paths, rt.path)
		var methods []string
		for _, m := range rt.methods {
			methods = append(methods, strings.ToLower(m))
			op := at(doc, "paths", rt.path, strings.ToLower(m))
			var want []string
			for _, p := range rt.params {
				want = append(want, p.name)
				used[p.name] = true
			}
			slices.Sort(want)
			have := keys(at(op, "requestBody", "content", "application/json", "schema", "properties"))
			if m != http.MethodPost {
				have = nil
				list, _ := at(op, "parameters").([]any)
				for _, p := range list {
					ref, _ := at(p, "$ref").(string)
					name := strings.TrimPrefix(ref, "#/components/parameters/")
					if at(doc, "components", "parameters", name, "name") != name {
						t.Errorf("%s %s: parameter %s has another name, or is not there", m, rt.path, name)
					}
					have = append(have, name)
				}
				slices.Sort(have)
			} else if form := keys(at(op, "requestBody", "content", "application/x-www-form-urlencoded", "schema", "properties")); !slices.Equal(form, have) {
				t.Errorf("%s %s: want %q in a form, have %q", m, rt.path, have, form)
			}
			if !slices.Equal(want, have) {
				t.Errorf("%s %s: want parameters %q, have %q", m, rt.path, want, have)
			}
			if want, have := statuses(rt, m), keys(at(op, "responses")); !slices.Equal(want, have) {
				t.Errorf("%s %s: want %q, have %q", m, rt.path, want, have)
			}
		}
		slices.Sort(methods)
		if have := keys(at(doc, "paths", rt.path)); !slices.Equal(methods, have) {
			t.Errorf("%s: want methods %q, have %q", rt.path, methods, have)
		}
	}
	slices.Sort(paths)
	if have := keys(at(doc, "paths")); !slices.Equal(paths, have) {
		t.Errorf("want %q, have %q", paths, have)
	}
	if want, have := slices.Sorted(maps.Keys(used)), keys(at(doc, "components", "parameters")); !slices.Equal(want, have) {
		t.Errorf("want parameters %q, have %q", want, have)
	}
	for name, p := range at(doc, "components", "parameters").(object) {
		kinds := map[kind]string{text: "string", texts: "array", truth: "boolean", number: "integer"}
		for _, rt := range a.routes {
			for _, q := range rt.params {
				if q.name == name && kinds[q.kind] != at(p, "schema", "type") {
					t.Errorf("%s: want %s, have %v", name, kinds[q.kind], at(p, "schema", "type"))
				}
			}
		}
	}
}

// statuses are those that a route may answer with.
func statuses(rt route, method string) []string {
	all := []int{200, 400, 405, 414}
	add := func(is bool, more ...int) {
		if is {
			all = append(all, more...)
		}
	}
	records := rt.path == wire.Query || rt.path == wire.Histogram || rt.path == wire.Top
	add(rt.action != "", 401, 403, 500, 503)
	add(rt.action != "" && rt.path != wire.Tail, 429)
	add(records, 413)
	add(records || rt.path == wire.Sources || rt.path == wire.Topics, 206)
	add(method == http.MethodPost, 413, 415)
	add(!records && rt.action != "" || method == http.MethodHead, 501)
	slices.Sort(all)
	var texts []string
	for _, s := range slices.Compact(all) {
		texts = append(texts, strconv.Itoa(s))
	}
	return texts
}

// described holds every answer of a handler to the description.
func described(t testing.TB, h http.Handler) http.Handler {
	doc := description(t)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		h.ServeHTTP(rec, r)
		op := at(doc, "paths", r.URL.Path, strings.ToLower(r.Method))
		if op == nil || rec.status == 0 {
			return // nothing there, or nobody was
		}
		if at(op, "responses", strconv.Itoa(rec.status)) == nil {
			t.Errorf("%s %s: status %d is not described", r.Method, r.URL.Path, rec.status)
		}
	})
}

// recorder notes the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Every field that the types have is in the description, and no other.
func TestSchemas(t *testing.T) {
	doc := description(t)
	resolve := func(s any) any {
		if ref, ok := at(s, "$ref").(string); ok {
			return at(doc, "components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/"))
		}
		return s
	}
	var compare func(where string, s any, typ reflect.Type)
	compare = func(where string, s any, typ reflect.Type) {
		s = resolve(s)
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		switch {
		case typ == reflect.TypeFor[time.Time]():
			return
		case typ == reflect.TypeFor[query.Problem]():
			return // it has its own words: see TestRealAnswers
		case typ.Kind() == reflect.Slice:
			compare(where+"[]", at(s, "items"), typ.Elem())
		case typ.Kind() == reflect.Struct:
			fields := map[string]reflect.Type{}
			optional := map[string]bool{}
			for _, f := range reflect.VisibleFields(typ) {
				name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.Anonymous || !f.IsExported() {
					continue
				}
				fields[name] = f.Type
				optional[name] = opts == "omitempty"
			}
			if want, have := slices.Sorted(maps.Keys(fields)), keys(at(s, "properties")); !slices.Equal(want, have) {
				t.Errorf("%s: want %q, have %q", where, want, have)
			}
			required, _ := at(s, "required").([]any)
			for name, f := range fields {
				if slices.Contains(required, any(name)) == optional[name] {
					t.Errorf("%s.%s: required, or not", where, name)
				}
				compare(where+"."+name, at(s, "properties", name), f)
			}
		}
	}
	for name, v := range map[string]any{"Last": wire.Last{}, "End": wire.End{}, "Answer": query.Answer{}, "Stats": query.Stats{}, "Failure": wire.Failure{}, "Histogram": query.HistogramAnswer{}, "Top": query.TopAnswer{}, "Topics": wire.TopicList{},
		"Sources": wire.SourceList{}, "Note": wire.Note{}} {
		compare(name, at(doc, "components", "schemas", name), reflect.TypeOf(v))
	}
}

// valid tells what is wrong with a value by a schema: as much of JSON Schema as the description uses.
func valid(doc, s, v any) error {
	if ref, ok := at(s, "$ref").(string); ok {
		if s = at(doc, "components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/")); s == nil {
			return fmt.Errorf("%s is not there", ref)
		}
	}
	if enum, ok := at(s, "enum").([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%v is none of %v", v, enum)
	}
	switch v := v.(type) {
	case object:
		if at(s, "type") != "object" {
			return fmt.Errorf("%v is an object, want %v", v, at(s, "type"))
		}
		required, _ := at(s, "required").([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%v is missing", name)
			}
		}
		for name, value := range v {
			field := at(s, "properties", name)
			if field == nil {
				if field = at(s, "additionalProperties"); field == nil || field == false {
					return fmt.Errorf("%s is not described", name)
				}
			}
			if err := valid(doc, field, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case []any:
		if at(s, "type") != "array" {
			return fmt.Errorf("%v is a list, want %v", v, at(s, "type"))
		}
		for _, value := range v {
			if err := valid(doc, at(s, "items"), value); err != nil {
				return err
			}
		}
	case string:
		if at(s, "type") != "string" {
			return fmt.Errorf("%q is a text, want %v", v, at(s, "type"))
		}
		if re, ok := at(s, "pattern").(string); ok && !regexp.MustCompile(re).MatchString(v) {
			return fmt.Errorf("%q does not match %s", v, re)
		}
		if at(s, "format") == "date-time" {
			_, err := time.Parse(time.RFC3339, v)
			return err
		}
	case float64:
		if at(s, "type") != "integer" || v != float64(int64(v)) {
			return fmt.Errorf("%v is a number, want %v", v, at(s, "type"))
		}
	case bool:
		if at(s, "type") != "boolean" {
			return fmt.Errorf("%v is true or false, want %v", v, at(s, "type"))
		}
	default:
		return fmt.Errorf("%v is not described", v)
	}
	return nil
}

// What is really answered is as described.
func TestRealAnswers(t *testing.T) {
	doc := description(t)
	p := newPlace(t)
	storeLines(t, p.bucket, "web", 200, func(i int) string { return fmt.Sprintf("\xff line %d", i) }, func(string) {})
	store(t, p.bucket, "shop", 200)
	bad := query.Problem{Key: "web/x", Err: query.ErrGone, First: segment.AtTime(now), Last: segment.AtTime(now)}
	cfg := p.config()
	whole := listen(t, newAPI(t, cfg))
	cfg.Runner = runnerFunc(func(_ context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
		ans := &query.Answer{Count: 1, Problems: []query.Problem{bad, {Err: query.ErrTimeLimit}, {Err: query.ErrManySources}, {Err: query.ErrForeign}}, Unlisted: 1, Required: "x"}
		for i, piece := range []segment.Piece{segment.Continued, segment.Continued | segment.Continues, segment.Continues} {
			r := record(i, "x")
			r.Piece, r.Context, r.Apart = piece, true, true
			if q.CountOnly {
				break
			}
			if err := emit(r); err != nil {
				return ans, err
			}
		}
		return ans, nil
	})
	partial := listen(t, newAPI(t, cfg))
	check := func(name string, b []byte) {
		t.Helper()
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if err := valid(doc, object{"$ref": "#/components/schemas/" + name}, v); err != nil {
			t.Errorf("%s: %v in %s", name, err, b)
		}
	}
	for _, s := range []*httptest.Server{whole, partial} {
		for _, params := range []string{"?topic=web", "?topic=shop&newest&limit=3", "?topic=shop&count&pattern=status%3D200", "?topic=shop&pattern=absent"} {
			lines := slices.Collect(bytes.Lines(get(t, s.URL+wire.Query+params).body))
			for _, line := range lines[:len(lines)-1] {
				check("Record", line)
			}
			check("Last", lines[len(lines)-1])
		}
		check("Histogram", get(t, s.URL+wire.Histogram+"?topic=shop").body)
		check("Top", get(t, s.URL+wire.Top+"?topic=shop&field=status").body)
		check("Topics", get(t, s.URL+wire.Topics).body)
		check("Sources", get(t, s.URL+wire.Sources+"?topic=shop").body)
		check("Failure", get(t, s.URL+wire.Sources+"?wat").body)
	}
	r := get(t, whole.URL+wire.OpenAPI)
	if r.StatusCode != 200 || !bytes.Equal(r.body, OpenAPI()) {
		t.Error(r.StatusCode)
	}
	// A description that is wrong shows.
	for _, bad := range []string{`{"ulid":"x","time":"2026-11-22T00:00:00Z","source":{}}`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","source":{}}`, `{"ulid":"01KAPV2P4X4Q8S3M6W1Z0N5R7T","time":"2026-11-22T00:00:00Z","source":{},"more":1}`} {
		var v any
		if err := json.Unmarshal([]byte(bad), &v); err != nil || valid(doc, object{"$ref": "#/components/schemas/Record"}, v) == nil {
			t.Errorf("%s passes: %v", bad, err)
		}
	}
}
