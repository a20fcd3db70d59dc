package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// MaxTopic is the greatest length of a topic's name, in bytes.
const MaxTopic = 100

// MaxKey bounds the length of a segment's key, in bytes.
const MaxKey = 512

// ErrTopic is what every error about the name of a topic is.
var ErrTopic = errors.New("bad topic name")

// CheckTopic verifies the name of a topic: 1 to MaxTopic of the bytes a-z 0-9 _ . -, the first of which is a
// letter or digit; no two dots in a row and none at the end, since a topic is
// part of a NATS subject.
func CheckTopic(topic string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w %.*q: %s (want [a-z0-9][a-z0-9_.-]*, at most %d bytes)", ErrTopic, MaxTopic, topic, why, MaxTopic)
	}
	switch {
	case topic == "":
		return bad("it is empty")
	case len(topic) > MaxTopic:
		return bad("it is too long")
	case strings.Contains(topic, ".."):
		return bad("two dots in a row")
	case topic[len(topic)-1] == '.':
		return bad("a dot at the end")
	}
	for i, c := range []byte(topic) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return bad(fmt.Sprintf("%q at byte %d", c, i))
		}
	}
	return nil
}

// Name says what is in a segment. The same content has the same name.
type Name struct {
	First, Last ulid.ULID // of its records
	Generation  uint8     // 0 fresh from ingest, then one more with each rewrite
	Records     int64
	RawBytes    int64   // of text
	Hash        [8]byte // the first bytes of the SHA-256 of the whole object
}

// String is the last part of the key, which is also the batch's ID for NATS.
//
//	01K9Z3…-01K9Z4…-g0-r3126763-b369993553-8c0de59f31d2a7b4
func (n Name) String() string {
	return fmt.Sprintf("%s-%s-g%d-r%d-b%d-%s", n.First, n.Last, n.Generation, n.Records, n.RawBytes, hex.EncodeToString(n.Hash[:]))
}

// Key is where a segment of the topic lies in a bucket:
//
//	<topic>/<YYYY-MM-DD>/[<HH>/]<name>.zst
//
// The hour is there for a fresh segment that lies within one; other segments lie directly under their day. A segment
// never spans two days of UTC.
func (n Name) Key(topic string) string {
	first, last := ulid.Time(n.First.Time()).UTC(), ulid.Time(n.Last.Time()).UTC()
	hour := ""
	if n.Generation == 0 && first.Truncate(time.Hour).Equal(last.Truncate(time.Hour)) {
		hour = first.Format("15/")
	}
	return topic + "/" + Day(first) + "/" + hour + n.String() + ".zst"
}

// Day is the part of a key that names a time's day of UTC. Years have as many digits as they need: the
// greatest time of a ULID is in the year 10889.
func Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// ParseKey reads a key. The error says what is wrong with one that is not a segment's.
func ParseKey(key string) (topic string, n Name, err error) {
	bad := func(what string) (string, Name, error) {
		return "", Name{}, fmt.Errorf("key %q is not a segment's: %s", key, what)
	}
	if len(key) > MaxKey {
		return bad("too long")
	}
	parts := strings.Split(key, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return bad("want topic/day/[hour/]name")
	}
	if err := CheckTopic(parts[0]); err != nil {
		return bad(err.Error())
	}
	base, ok := strings.CutSuffix(parts[len(parts)-1], ".zst")
	f := strings.Split(base, "-")
	if !ok || len(f) != 6 {
		return bad("want FIRST-LAST-gN-rN-bN-HASH.zst")
	}
	if n.First, err = ulid.ParseStrict(f[0]); err != nil {
		return bad("first: " + err.Error())
	}
	if n.Last, err = ulid.ParseStrict(f[1]); err != nil {
		return bad("last: " + err.Error())
	}
	number := func(s, letter string, bits int) (v uint64) {
		if digits, ok := strings.CutPrefix(s, letter); !ok {
			err = fmt.Errorf("%q does not begin with %s", s, letter)
		} else if err == nil {
			v, err = strconv.ParseUint(digits, 10, bits)
		}
		return v
	}
	n.Generation = uint8(number(f[2], "g", 8))
	n.Records = int64(number(f[3], "r", 62))
	n.RawBytes = int64(number(f[4], "b", 62))
	if err != nil {
		return bad(err.Error())
	}
	if h, err := hex.DecodeString(f[5]); err != nil || copy(n.Hash[:], h) != len(n.Hash) || len(h) != len(n.Hash) {
		return bad("hash")
	}
	// Whatever else is wrong (order, day, hour, case, leading zeros) shows here.
	if n.First.Compare(n.Last) > 0 {
		return bad("last is before first")
	}
	if want := n.Key(parts[0]); want != key {
		return bad("it would be " + want)
	}
	return parts[0], n, nil
}
