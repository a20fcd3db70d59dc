package compact

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// policyPrefix is where policies lie: each under a ULID, the last of which is in force. They are not changed; the ones before
// tell what was.
const (
	policyPrefix = "_oklog/retention/"
	policySuffix = ".json"
)

// ErrPolicy says that the retention policy in the buckets cannot be understood. Nothing expires then.
var ErrPolicy = errors.New("bad retention policy")

// Keep is how long a topic is kept; 0: for ever.
type Keep time.Duration

// String is a time as people type it, such as 30d.
func (k Keep) String() string {
	const day = 24 * time.Hour
	switch d := time.Duration(k); {
	case d == 0:
		return "forever"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	default:
		return d.String()
	}
}

// MarshalText implements encoding.TextMarshaler.
func (k Keep) MarshalText() ([]byte, error) {
	if k == 0 {
		return []byte("forever"), nil
	}
	return []byte(time.Duration(k).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Keep) UnmarshalText(b []byte) error {
	if string(b) == "forever" {
		*k = 0
		return nil
	}
	d, err := time.ParseDuration(string(b))
	if err != nil || d <= 0 {
		return fmt.Errorf("%w: %q: want a time like 720h0m0s, or forever", ErrPolicy, b)
	}
	*k = Keep(d)
	return nil
}

// Policy says how long topics are kept. The zero Policy says nothing.
type Policy struct {
	Version int `json:"version"` // 1
	// All is for the topics that are not named; nil: it says nothing of them.
	All    *Keep           `json:"all,omitempty"`
	Topics map[string]Keep `json:"topics,omitempty"`

	Since time.Time `json:"-"` // when it was set; zero if nothing is set
	Key   string    `json:"-"`
}

// Of tells how long a topic is kept; false if the policy does not say.
func (p Policy) Of(topic string) (Keep, bool) {
	if k, ok := p.Topics[topic]; ok {
		return k, true
	}
	if p.All != nil {
		return *p.All, true
	}
	return 0, false
}

// errPolicyAway says that a copy could not be asked.
var errPolicyAway = errors.New("read retention policy: a bucket is away, and may hold a later one than the others")

const policyVersion, maxPolicy = 1, 4 << 20

func (p Policy) check() error {
	if p.Version != policyVersion {
		return fmt.Errorf("%w: its version is %d, this program knows %d: upgrade it", ErrPolicy, p.Version, policyVersion)
	}
	for topic := range p.Topics {
		if err := segment.CheckTopic(topic); err != nil {
			return fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	return nil
}

// policyTime tells when the policy under a key was set.
func policyTime(key string) (time.Time, bool) {
	rest, ok := bytes.CutPrefix([]byte(key), []byte(policyPrefix))
	rest, ok2 := bytes.CutSuffix(rest, []byte(policySuffix))
	id, err := ulid.ParseStrict(string(rest))
	if !ok || !ok2 || err != nil {
		return time.Time{}, false
	}
	return ulid.Time(id.Time()), true
}

func decodePolicy(b []byte) (p Policy, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Policy{}, fmt.Errorf("%w: there is something behind it", ErrPolicy)
	}
	if err := p.check(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// ReadPolicy reads the policy in force: the last one in any of the copies. Without all of them it is an error, since another
// one may hold a later policy. A policy that cannot be understood, or not in the same way in all the copies, is ErrPolicy, with nothing but its Since and Key.
func (c *Compactor) ReadPolicy(ctx context.Context) (Policy, error) {
	var last object
	for o, err := range c.objects(ctx, policyPrefix, "") {
		if err != nil {
			return Policy{}, fmt.Errorf("read retention policy: %w", err)
		}
		if _, ok := policyTime(o.key); ok {
			last = o
		}
	}
	if c.there() != c.everyCopy() {
		return Policy{}, errPolicyAway
	}
	if last.key == "" {
		return Policy{}, nil
	}
	since, _ := policyTime(last.key)
	bad := Policy{Since: since, Key: last.key}
	var found [][]byte
	var failed error
	for i := range last.in.each {
		if last.size > maxPolicy {
			failed = fmt.Errorf("%w: %d bytes", ErrPolicy, last.size)
			continue
		}
		b := make([]byte, last.size)
		err := readFull(ctx, c.cfg.Copies[i], last.key, 0, b)
		if err == nil {
			_, err = decodePolicy(b)
		}
		if err != nil {
			failed = err
			continue
		}
		found = append(found, b)
	}
	if len(found) == 0 {
		return bad, fmt.Errorf("read retention policy %s: %w", last.key, failed)
	}
	if !slices.EqualFunc(found[1:], found[:len(found)-1], bytes.Equal) {
		return bad, fmt.Errorf("read retention policy %s: %w: the buckets have different ones", last.key, ErrPolicy)
	}
	p, err := decodePolicy(found[0])
	p.Since, p.Key = since, last.key
	return p, err
}

// SetPolicy puts a policy in force, whatever is in force now. It needs all the copies.
func (c *Compactor) SetPolicy(ctx context.Context, p Policy) error {
	old, err := c.ReadPolicy(ctx)
	if err != nil && !errors.Is(err, ErrPolicy) {
		return err
	}
	_, err = c.putPolicy(ctx, p, old)
	return err
}

// ErrPolicyChanged says that somebody else has changed the policy at the same time.
var ErrPolicyChanged = errors.New("somebody else is changing the retention policy: nothing was changed, repeat it")

// ChangePolicy changes the policy in force and returns it. Of two who do so at the same time one at least gets ErrPolicyChanged, and has
// changed nothing. It needs all the copies.
func (c *Compactor) ChangePolicy(ctx context.Context, change func(*Policy)) (Policy, error) {
	p, err := c.ReadPolicy(ctx)
	if err != nil {
		return p, err
	}
	old := p
	if p.Topics == nil {
		p.Topics = map[string]Keep{}
	}
	change(&p)
	key, err := c.putPolicy(ctx, p, old)
	if err != nil {
		return old, err
	}
	for o, err := range c.objects(ctx, policyPrefix, old.Key) {
		if err != nil {
			return p, fmt.Errorf("look at retention policy: %w", err)
		}
		if _, ok := policyTime(o.key); ok && o.key != key {
			if err := c.deleteKey(ctx, key, c.everyCopy()); err != nil {
				return p, fmt.Errorf("set retention policy: somebody else has changed it, too, and this change cannot be undone: %w", err)
			}
			return p, ErrPolicyChanged
		}
	}
	return p, nil
}

// putPolicy puts a policy in the place of another one, and returns its key.
func (c *Compactor) putPolicy(ctx context.Context, p, old Policy) (string, error) {
	p.Version = policyVersion
	if err := p.check(); err != nil {
		return "", err
	}
	at := ulid.Timestamp(c.cfg.Now())
	if !old.Since.IsZero() {
		at = max(at, ulid.Timestamp(old.Since)+1) // it has to come behind that one
	}
	id, err := ulid.New(at, rand.Reader)
	if err != nil {
		return "", fmt.Errorf("set retention policy: %w", err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", fmt.Errorf("set retention policy: %w", err)
	}
	b = append(b, '\n')
	key := policyPrefix + id.String() + policySuffix
	var errs []error
	for _, b2 := range c.cfg.Copies {
		if err := b2.Put(ctx, key, bytes.NewReader(b), int64(len(b))); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", fmt.Errorf("set retention policy: %w", err)
	}
	return key, nil
}

// expiry is when a segment expires that is kept for some time. What was late already when it was stored, by more than that
// time, is kept for that time from then on: a clock that is wrong, or logs that are brought in afterwards, lose nothing.
func expiry(s *Segment, keep Keep) time.Time {
	last := s.last()
	if isLate(s, keep) {
		last = s.Stored
	}
	return last.Add(time.Duration(keep))
}

// isLate tells whether all of a segment would have expired when it was stored.
func isLate(s *Segment, keep Keep) bool { return s.Stored.Sub(s.last()) >= time.Duration(keep) }

var _ objstore.Bucket = Copy{}
