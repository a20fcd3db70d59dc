package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"oklog/objstore/segment"
)

// Actions that a token may be good for.
const (
	ActionQuery = "query" // records, counts, histograms, top values, estimates
	ActionTail  = "tail"
	ActionList  = "list" // topics and sources
)

var actions = []string{ActionQuery, ActionTail, ActionList}

// Bounds on a file of tokens.
const (
	maxTokenFile = 1 << 20 // bytes
	maxTokens    = 10_000
	minSecret    = 16 // bytes
	maxSecret    = 512
	maxName      = 100
)

// ErrTokens is what every error about a file of tokens is.
var ErrTokens = errors.New("bad tokens")

// Token is whoever shows a secret, and what that is good for.
type Token struct {
	Name    string
	topics  []string // globs
	actions []string
	hash    [sha256.Size]byte // of the secret
}

// May tells whether the token is good for an action.
func (t *Token) May(action string) bool { return t == nil || slices.Contains(t.actions, action) }

// Sees tells whether it is good for a topic.
func (t *Token) Sees(topic string) bool {
	return t == nil || slices.ContainsFunc(t.topics, func(glob string) bool {
		ok, err := path.Match(glob, topic)
		return ok && err == nil
	})
}

// ParseTokens reads tokens, one a line:
//
//	NAME SECRET topics=GLOB[,GLOB]... [actions=query,tail,list]
//
// The secret is 16 to 512 visible characters of ASCII, or sha256: and the 64 hex digits of its SHA-256 (printf %s SECRET | sha256sum). In a
// glob, * stands for any characters and ? for one: topics=* is all of them. Without actions the token is good for all. Empty lines and those
// that begin with # do not count. Errors are ErrTokens, name the line, and hold no secrets.
func ParseTokens(b []byte) ([]*Token, error) {
	if len(b) > maxTokenFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTokens, len(b), maxTokenFile)
	}
	var all []*Token
	names, hashes := map[string]bool{}, map[[sha256.Size]byte]bool{}
	n := 0
	for text := range bytes.Lines(b) {
		n++
		fields := strings.Fields(string(text))
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		t, err := parseToken(fields)
		switch {
		case err != nil:
		case names[t.Name]:
			err = fmt.Errorf("there is a token %s already", t.Name)
		case hashes[t.hash]:
			err = fmt.Errorf("the secret of %s is another token's", t.Name)
		case len(all) == maxTokens:
			err = fmt.Errorf("more than %d tokens", maxTokens)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrTokens, n, err)
		}
		names[t.Name], hashes[t.hash] = true, true
		all = append(all, t)
	}
	return all, nil
}

func parseToken(fields []string) (*Token, error) {
	t := &Token{Name: fields[0]}
	if len(t.Name) > maxName || !visible(t.Name) || strings.Contains(t.Name, "=") {
		return nil, errors.New("bad name: want up to 100 visible characters of ASCII, without =")
	}
	if len(fields) < 2 || strings.HasPrefix(fields[1], "topics=") || strings.HasPrefix(fields[1], "actions=") {
		return nil, errors.New("the secret is missing: want NAME SECRET topics=GLOB,... actions=query,tail,list")
	}
	if err := t.keep(fields[1]); err != nil {
		return nil, err
	}
	for _, field := range fields[2:] {
		key, value, _ := strings.Cut(field, "=")
		list := strings.Split(value, ",")
		switch {
		case key == "topics" && t.topics == nil:
			for _, glob := range list {
				if !isGlob(glob) {
					return nil, fmt.Errorf("bad topic %.60q: want topics, or globs such as web-*", glob)
				}
			}
			t.topics = list
		case key == "actions" && t.actions == nil:
			for _, a := range list {
				if !slices.Contains(actions, a) {
					return nil, fmt.Errorf("bad action %.60q: want %s", a, strings.Join(actions, ", "))
				}
			}
			t.actions = list
		default: // it may be the rest of a secret with a space
			return nil, fmt.Errorf("field %d is not understood: want NAME SECRET topics=GLOB,... actions=query,tail,list, each once", slices.Index(fields, field)+1)
		}
	}
	if t.topics == nil {
		return nil, errors.New("topics are missing: add topics=GLOB,..., such as topics=web-*, or * for all of them")
	}
	if t.actions == nil {
		t.actions = actions
	}
	return t, nil
}

// keep keeps the hash of a secret.
func (t *Token) keep(secret string) error {
	if digits, ok := strings.CutPrefix(secret, "sha256:"); ok {
		h, err := hex.DecodeString(digits)
		if err != nil || len(h) != sha256.Size {
			return errors.New("bad secret: want sha256: and 64 hex digits")
		}
		t.hash = [sha256.Size]byte(h)
		return nil
	}
	if len(secret) < minSecret || len(secret) > maxSecret || !visible(secret) {
		return fmt.Errorf("bad secret: want %d to %d visible characters of ASCII (openssl rand -hex 20), or sha256: and 64 hex digits", minSecret, maxSecret)
	}
	t.hash = sha256.Sum256([]byte(secret))
	return nil
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isGlob tells whether it is a topic's name, but for * and ?.
func isGlob(s string) bool {
	return segment.CheckTopic(strings.NewReplacer("*", "x", "?", "x").Replace(s)) == nil
}

// Tokens are those of a file. They may be used from any number of goroutines.
type Tokens struct {
	file string
	log  *slog.Logger
	now  atomic.Pointer[[]*Token]

	mu   sync.Mutex
	last []byte // what the file held when it was read last; nil: it could not be read
}

// OpenTokens reads the tokens of a file. log is told of new ones, and of those that could not be read; it may be nil.
func OpenTokens(file string, log *slog.Logger) (*Tokens, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Tokens{file: file, log: log}
	b, err := readTokens(file)
	if err != nil {
		return nil, err
	}
	all, err := ParseTokens(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	t.last = b
	t.now.Store(&all)
	return t, nil
}

func readTokens(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	if info.Size() > maxTokenFile {
		return nil, fmt.Errorf("read %s: %w: %d bytes, at most %d", file, ErrTokens, info.Size(), maxTokenFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return b, nil
}

// Reload reads the file again, if it has changed. Where it cannot be read, or is wrong, the tokens stay as they were, and that is logged once.
func (t *Tokens) Reload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := readTokens(t.file)
	if err != nil {
		if t.last != nil {
			t.log.Error("the tokens cannot be read: those from before are still good", "cause", err)
		}
		t.last = nil
		return
	}
	if t.last != nil && bytes.Equal(b, t.last) {
		return
	}
	t.last = append([]byte{}, b...)
	all, err := ParseTokens(b)
	if err != nil {
		t.log.Error("the new tokens are wrong: those from before are still good", "file", t.file, "cause", err)
		return
	}
	t.now.Store(&all)
	t.log.Info("tokens read", "file", t.file, "tokens", len(all))
}

// Watch reloads the file when it has changed, until ctx is done. It is looked at every so often, and when something comes from at.
func (t *Tokens) Watch(ctx context.Context, every time.Duration, at <-chan os.Signal) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-at:
		case <-tick.C:
		}
		t.Reload()
	}
}

// Find gives the token with a secret, nil if there is none. How long it takes says nothing of the secrets.
func (t *Tokens) Find(secret string) *Token {
	h := sha256.Sum256([]byte(secret))
	var found *Token
	for _, token := range *t.now.Load() {
		if subtle.ConstantTimeCompare(h[:], token.hash[:]) == 1 {
			found = token
		}
	}
	return found
}
