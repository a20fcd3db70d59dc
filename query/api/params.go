package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/query"
	"oklog/query/where"
)

// Bounds on what is asked.
const (
	maxBody  = 1 << 20  // bytes of a body
	maxQuery = 32 << 10 // bytes of a query string
	// maxValues is how many parameters there may be, each value counted.
	maxValues = 20_000
)

// Kinds of parameters.
type kind int

const (
	text  kind = iota // given once
	texts             // given any number of times
	truth             // true, false; without a value: true
	number
)

// param is one parameter of a request.
type param struct {
	name string
	kind kind
	set  func(a *asked, values []string, n int64) error
}

// asked is what a request asks for.
type asked struct {
	query.Request
	cursor *ulid.ULID
	step   time.Duration // 0: one that fits
	zone   *time.Location
	field  where.Path
	n      int // values of a field, 0: usualTop; records of the past with a tail

	hasField bool
}

func flagParam(name string, f func(*asked) *bool) param {
	return param{name, truth, func(a *asked, _ []string, n int64) error { *f(a) = n == 1; return nil }}
}

func textParam(name string, f func(*asked) *string) param {
	return param{name, text, func(a *asked, v []string, _ int64) error { *f(a) = v[0]; return nil }}
}

func textsParam(name string, f func(*asked) *[]string) param {
	return param{name, texts, func(a *asked, v []string, _ int64) error { *f(a) = v; return nil }}
}

func numberParam(name string, least int64, f func(*asked, int64)) param {
	return param{name, number, func(a *asked, _ []string, n int64) error {
		if n < least {
			return fmt.Errorf("%s=%d: want at least %d", name, n, least)
		}
		f(a, n)
		return nil
	}}
}

// whatParams say which records are asked for.
func whatParams() []param {
	return []param{
		textParam("topic", func(a *asked) *string { return &a.Topic }),
		textParam("from", func(a *asked) *string { return &a.From }),
		textParam("to", func(a *asked) *string { return &a.To }),
		textsParam("pattern", func(a *asked) *[]string { return &a.Patterns }),
		flagParam("regex", func(a *asked) *bool { return &a.Regex }),
		flagParam("ignore_case", func(a *asked) *bool { return &a.IgnoreCase }),
		flagParam("smart_case", func(a *asked) *bool { return &a.SmartCase }),
		flagParam("word", func(a *asked) *bool { return &a.Word }),
		flagParam("invert", func(a *asked) *bool { return &a.Invert }),
		textsParam("where", func(a *asked) *[]string { return &a.Where }),
		textsParam("source", func(a *asked) *[]string { return &a.Sources }),
		flagParam("brute", func(a *asked) *bool { return &a.Brute }),
		numberParam("max_bytes", 1, func(a *asked, n int64) { a.MaxBytes = n }),
	}
}

// queryParams are those of a query.
func queryParams() []param {
	return append(whatParams(),
		flagParam("newest", func(a *asked) *bool { return &a.Newest }),
		numberParam("limit", 1, func(a *asked, n int64) { a.Limit = n }),
		contextParam("before", func(a *asked) *int { return &a.Before }),
		contextParam("after", func(a *asked) *int { return &a.After }),
		flagParam("count", func(a *asked) *bool { return &a.CountOnly }),
		flagParam("ids_only", func(a *asked) *bool { return &a.IDsOnly }),
		param{"cursor", text, func(a *asked, v []string, _ int64) error {
			id, err := ulid.ParseStrict(strings.ToUpper(v[0]))
			if err != nil {
				return fmt.Errorf("cursor=%.40q: want the ULID of the last record of the page before", v[0])
			}
			a.cursor = &id
			return nil
		}})
}

func contextParam(name string, f func(*asked) *int) param {
	return param{name, number, func(a *asked, _ []string, n int64) error {
		if n < 0 || n > query.MaxContext {
			return fmt.Errorf("%s=%d: want 0 to %d", name, n, query.MaxContext)
		}
		*f(a) = int(n)
		return nil
	}}
}

// paramErr is an error about a parameter, by its name in the API.
func paramErr(name string, err error) error { return &query.ParamError{Param: name, Err: err} }

// flagName finds the names of parameters as flags in messages.
var flagName = regexp.MustCompile(`--([a-z]+(?:-[a-z]+)*)`)

// apiName is the name of a parameter here that is a flag elsewhere.
func apiName(flag string) string {
	flag = strings.TrimSuffix(flag, "-context")
	switch flag {
	case "ignore-case", "smart-case", "max-bytes":
		return strings.ReplaceAll(flag, "-", "_")
	}
	return flag
}

// rename makes an error about a parameter name it as it is called here.
func rename(err error, known []param) error {
	e, ok := errors.AsType[*query.ParamError](err)
	if !ok {
		return err
	}
	message := flagName.ReplaceAllStringFunc(err.Error(), func(flag string) string {
		name := apiName(flag[2:])
		if slices.ContainsFunc(known, func(p param) bool { return p.name == name }) {
			return name
		}
		return flag
	})
	return paramErr(apiName(e.Param), errors.New(message))
}

// statusError is an error that goes with a status of HTTP.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// values reads the parameters of a request: of the query string, or of the body of a POST, as a form or as JSON.
func (a *API) values(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, &statusError{http.StatusRequestURITooLong, fmt.Errorf("a query string of %d bytes, at most %d: use POST, with the parameters as a form or as JSON", len(r.URL.RawQuery), maxQuery)}
	}
	if r.Method != http.MethodPost {
		if r.ContentLength != 0 {
			return nil, &statusError{http.StatusBadRequest, fmt.Errorf("%s takes no body: use POST", r.Method)}
		}
		return parseForm(r.URL.RawQuery)
	}
	if r.URL.RawQuery != "" {
		return nil, &statusError{http.StatusBadRequest, errors.New("POST takes its parameters in the body, and here are some in the URL: leave those out")}
	}
	body, err := a.body(w, r)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		return parseForm(string(body))
	case "application/json":
		return parseJSON(body)
	}
	return nil, &statusError{http.StatusUnsupportedMediaType, fmt.Errorf("a body of type %.60q: want application/json or application/x-www-form-urlencoded", kind)}
}

// hurryBody lets a body take no longer than it may: also one that is not wanted, which the server reads before it answers.
func (a *API) hurryBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.cfg.BodyTimeout)) // what fails here shows with the next read
	}
}

// body reads a body.
func (a *API) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("a body of more than %d bytes: ask in parts", maxBody)}
	}
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("read the body: %w", err)}
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it is here: what is read from now on tells that the client goes away
	return body, nil
}

func parseForm(text string) (url.Values, error) {
	if strings.Count(text, "&") >= maxValues {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("more than %d parameters", maxValues)}
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("the parameters are not URL-encoded: %w", err)}
	}
	return v, nil
}

// parseJSON reads an object: texts, numbers, true and false, and lists of texts.
func parseJSON(body []byte) (url.Values, error) {
	bad := func(format string, v ...any) error {
		return &statusError{http.StatusBadRequest, fmt.Errorf(format, v...)}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, bad("the body is not an object of JSON: %w", err)
	}
	if dec.More() {
		return nil, bad("there is something behind the object of JSON")
	}
	v := url.Values{}
	total := 0
	for name, value := range object {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		if total += len(list); total > maxValues {
			return nil, bad("more than %d parameters", maxValues)
		}
		for _, one := range list {
			switch one := one.(type) {
			case string:
				v.Add(name, one)
			case json.Number:
				v.Add(name, one.String())
			case bool:
				v.Add(name, strconv.FormatBool(one))
			default:
				return nil, paramErr(name, fmt.Errorf("%.60s: want a text, a number, true or false, or a list of texts", name))
			}
		}
	}
	return v, nil
}

// read reads the parameters that an endpoint knows. What it does not know it refuses.
func read(v url.Values, known []param) (*asked, error) {
	a := &asked{}
	for name := range v {
		if !slices.ContainsFunc(known, func(p param) bool { return p.name == name }) {
			var names []string
			for _, p := range known {
				names = append(names, p.name)
			}
			if len(names) == 0 {
				names = []string{"none"}
			}
			return nil, paramErr(cut(name, 60), fmt.Errorf("there is no parameter %.60q: want %s", name, strings.Join(names, ", ")))
		}
	}
	for _, p := range known {
		values := v[p.name]
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 && p.kind != texts {
			return nil, paramErr(p.name, fmt.Errorf("%s is given %d times: want it once", p.name, len(values)))
		}
		n, err := int64(0), error(nil)
		switch p.kind {
		case truth:
			n, err = parseTruth(p.name, values[0])
		case number:
			if n, err = strconv.ParseInt(values[0], 10, 64); err != nil {
				err = fmt.Errorf("%s=%.40q: want a whole number", p.name, values[0])
			}
		}
		if err == nil {
			err = p.set(a, values, n)
		}
		if err != nil {
			return nil, paramErr(p.name, err)
		}
	}
	return a, nil
}

func parseTruth(name, value string) (int64, error) {
	switch value {
	case "", "1", "true":
		return 1, nil
	case "0", "false":
		return 0, nil
	}
	return 0, fmt.Errorf("%s=%.40q: want true or false", name, value)
}

func cut(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// compile makes a query of what is asked.
func (a *asked) compile(now time.Time, known []param) (query.Query, error) {
	if a.Topic == "" {
		return query.Query{}, paramErr("topic", errors.New("topic is missing: say which topic to search, such as topic=web"))
	}
	r := a.Request
	if a.cursor != nil && !a.Newest {
		r.From = a.cursor.String() // a bound that is so long before now has moved on since the first page
	}
	q, err := r.Compile(now)
	if a.cursor == nil {
		return q, rename(err, known)
	}
	if errors.Is(err, query.ErrEmptyRange) { // the page before was the last one
		r.From, r.To = ulid.ULID{}.String(), ""
		if q, err = r.Compile(now); err == nil {
			q.Range = query.Range{}
		}
	}
	if err != nil {
		return q, rename(err, known)
	}
	if a.Newest && a.cursor.Compare(q.Range.To) < 0 {
		q.Range.To = *a.cursor
		if q.Range.Empty() {
			q.Range = query.Range{}
		}
	}
	return q, nil
}
