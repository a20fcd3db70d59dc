package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oklog/query/api/wire"
)

const secretA, secretB = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb"

func TestParseTokens(t *testing.T) {
	text := "# who may what\n\n  a " + secretA + " topics=web,shop-*\r\n" +
		fmt.Sprintf("b\tsha256:%X actions=query,list topics=*", sha256.Sum256([]byte(secretB)))
	all, err := ParseTokens([]byte(text))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	a, b := all[0], all[1]
	for topic, want := range map[string]bool{"web": true, "web2": false, "shop-": true, "shop-eu.1": true, "shop": false} {
		if a.Sees(topic) != want || !b.Sees(topic) {
			t.Errorf("%s: %v %v", topic, a.Sees(topic), b.Sees(topic))
		}
	}
	if !a.May(ActionTail) || b.May(ActionTail) || !b.May(ActionQuery) || !b.May(ActionList) || b.hash != sha256.Sum256([]byte(secretB)) {
		t.Error("actions, or the hash")
	}

	for line, want := range map[string]string{
		"a":                                                          "the secret is missing",
		"a topics=*":                                                 "the secret is missing",
		"a=b " + secretA + " topics=*":                               "bad name",
		"é " + secretA + " topics=*":                                 "bad name",
		"a short topics=*":                                           "bad secret",
		"a sha256:00 topics=*":                                       "64 hex digits",
		"a " + secretA:                                               "topics are missing",
		"a " + secretA + " topics=":                                  "bad topic",
		"a " + secretA + " topics=web,,b":                            "bad topic",
		"a " + secretA + " topics=[a-z]":                             "bad topic",
		"a " + secretA + " topics=WEB":                               "bad topic",
		"a " + secretA + " topics=* actions=":                        "bad action",
		"a " + secretA + " topics=* actions=x":                       "bad action",
		"a " + secretA + " topics=* topics=*":                        "is not understood",
		"a " + secretA + " " + secretB + " x=y":                      "is not understood",
		"a " + secretA + " topics=*\na " + secretB + " topics=*":     "there is a token a already",
		"a " + secretA + " topics=*\nb " + secretA + " topics=*":     "another token's",
		"a " + strings.Repeat("x", maxSecret+1) + " topics=*":        "bad secret",
		strings.Repeat("n", maxName+1) + " " + secretA + " topics=*": "bad name",
		strings.Repeat("#", maxTokenFile+1):                          "at most",
		"a " + secretA + " topics=web-" + strings.Repeat("x", 200) + " actions=list": "bad topic",
	} {
		_, err := ParseTokens([]byte(line))
		if !errors.Is(err, ErrTokens) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), secretA) || strings.Contains(err.Error(), secretB) {
			t.Errorf("%.100q: want %q, have %v", line, want, err)
		}
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("# c\n\na " + secretA + " topics=web,*-x? actions=query,list,tail\nb sha256:" + strings.Repeat("0", 64) + " topics=*\n"))
	f.Add([]byte("a b c=d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseTokens(b)
		if err != nil {
			if !errors.Is(err, ErrTokens) || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			return
		}
		for _, token := range all {
			if token.Name == "" || len(token.topics) == 0 || len(token.actions) == 0 {
				t.Fatalf("%+v", token)
			}
			token.Sees("web")
		}
	})
}

// What a token is not good for is refused; topics it does not see are not there.
func TestTokens(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 10)
	store(t, p.bucket, "shop", 10)
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a " + secretA + " topics=sh*\nb " + secretB + " topics=* actions=list\n")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	tokens, err := OpenTokens(file, logger)
	if err != nil {
		t.Fatal(err)
	}
	cfg := p.config()
	cfg.Tokens, cfg.Logger = tokens, logger
	s := listen(t, newAPI(t, cfg))
	ask := func(path, auth string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		return do(t, r)
	}
	r := ask(wire.Query+"?topic=shop", "")
	r.failed(t, 401, "", "send the header Authorization")
	if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Error(r.Header)
	}
	ask(wire.Query+"?topic=shop", "Basic "+secretA).failed(t, 401, "", "want the header Authorization")
	ask(wire.Query+"?topic=shop", "Bearer "+secretA+"x").failed(t, 401, "", "not known here")
	ask(wire.Query+"?topic=web", "Bearer "+secretA).failed(t, 403, "topic", "topic \"web\" is not for the token a")
	ask(wire.Histogram+"?topic=web", "Bearer "+secretA).failed(t, 403, "topic", "is not for the token a")
	ask(wire.Sources+"?topic=web", "Bearer "+secretA).failed(t, 403, "topic", "is not for the token a")
	ask(wire.Query+"?topic=shop", "Bearer "+secretB).failed(t, 403, "", "not good for the action query")
	ask(wire.Tail+"?topic=shop", "Bearer "+secretB).failed(t, 403, "", "not good for the action tail")
	if have, _ := ask(wire.Query+"?topic=shop", "bearer "+secretA).texts(t); len(have) != 10 {
		t.Errorf("%q", have)
	}
	topics := func(secret string) (n int) {
		var l wire.TopicList
		if err := json.Unmarshal(ask(wire.Topics, "Bearer "+secret).body, &l); err != nil {
			t.Fatal(err)
		}
		return len(l.Topics)
	}
	if a, b := topics(secretA), topics(secretB); a != 1 || b != 2 {
		t.Error(a, b)
	}
	if r := ask(wire.OpenAPI, ""); r.StatusCode != 200 {
		t.Error(r.StatusCode)
	}

	// A new file counts, a bad one does not.
	write("a " + secretB + " topics=*\n")
	tokens.Reload()
	if topics(secretB) != 2 || ask(wire.Topics, "Bearer "+secretA).StatusCode != 401 {
		t.Error("the new file does not count")
	}
	write("a " + secretA + "\n")
	tokens.Reload()
	tokens.Reload()
	if topics(secretB) != 2 || strings.Count(log.String(), "the new tokens are wrong") != 1 {
		t.Error(log.String())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	tokens.Reload()
	tokens.Reload()
	if topics(secretB) != 2 || strings.Count(log.String(), "cannot be read") != 1 {
		t.Error(log.String())
	}
	if _, err := OpenTokens(file, nil); err == nil {
		t.Error("a file that is not there passes")
	}
	if have := log.String(); strings.Contains(have, secretA) || strings.Contains(have, secretB) || !strings.Contains(have, "client=a") {
		t.Error(have)
	}

	// Watch reloads at a signal.
	write("c " + secretA + " topics=*\n")
	hup, watched := make(chan os.Signal), make(chan struct{})
	go func() { defer close(watched); tokens.Watch(t.Context(), time.Hour, hup) }()
	hup <- syscall.SIGHUP
	hup <- syscall.SIGHUP // the first is done
	if tokens.Find(secretA) == nil {
		t.Error("the signal does not count")
	}
	t.Cleanup(func() { <-watched })
}

// Who follows a tail is asked again whether that is still allowed.
func TestTokensAreWithdrawn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a " + secretA + " topics=web\n")
	tokens, err := OpenTokens(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, Config{Tokens: tokens, Runner: runnerFunc(nil)})
	x := &exchange{token: tokens.Find(secretA), secret: secretA, route: &route{action: ActionTail}, asked: &asked{}}
	x.asked.Topic = "web"
	for text, want := range map[string]bool{
		"a " + secretA + " topics=web\n": true, "other " + secretA + " topics=w*\n": true, "b " + secretB + " topics=web\n": false,
		"a " + secretA + " topics=db\n": false, "a " + secretA + " topics=web actions=query\n": false,
	} {
		write(text)
		tokens.Reload()
		if have := a.stillGood(x); have != want {
			t.Errorf("%q: still good: %v", text, have)
		}
	}
	if !a.stillGood(&exchange{}) {
		t.Error("without tokens everybody may do everything")
	}
}
