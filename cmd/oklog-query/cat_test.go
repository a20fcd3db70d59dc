package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// object reads one whole.
func object(t testing.TB, b objstore.Bucket, key string) []byte {
	t.Helper()
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, info.Size)
	if _, err := b.Get(t.Context(), key, 0, data); err != nil {
		t.Fatal(err)
	}
	return data
}

func putBytes(t testing.TB, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

// hashOf is the last part of a key.
func hashOf(key string) string {
	return strings.TrimSuffix(key[strings.LastIndexByte(key, '-')+1:], ".zst")
}

func TestCat(t *testing.T) {
	b, url := folder(t)
	one := store(t, b, "web", at, plain("error one", "two\nlines\n", "", "100% \x00\xff"))
	two := store(t, b, "web", at, []record{{"cut ", segment.Continued}, {"in ", segment.Continues | segment.Continued}, {"three", segment.Continues}, {"whole", 0}})
	store(t, b, "db", at, plain("of another topic"))
	const first, second = "error one\ntwo\nlines\n\n\n100% \x00\xff\n", "cut in three\nwhole\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{one}, first}, // what overlaps it is not printed
		{[]string{two}, second},
		{[]string{two, one, two}, second + first + second},
		{[]string{"--topic", "web", hashOf(one)}, first},
		{[]string{hashOf(two), "--topic", "web", one}, second + first},
		{[]string{"--topic", "web", strings.TrimPrefix(one, "web/")}, first},
		{[]string{"--topic", "db", two}, second}, // a whole key says its topic
		{[]string{"--topic", "db", "-r1-"}, "flag provided"},
		{[]string{"--topic", "db", "--", "-r1-"}, "of another topic\n"},
		{[]string{two, "--time"}, when + " cut in three\n" + when + " whole\n"},
		{[]string{two, "--time", "--show-source"}, when + " {host=a job=test} cut in three\n" + when + " {host=a job=test} whole\n"},
	} {
		out, errs, code := call(t, append([]string{"cat", "--bucket", url}, c.args...)...)
		if c.want == "flag provided" {
			if code != exitTrouble || !strings.Contains(errs, "there is no flag -r1-") {
				t.Errorf("%q: have %q %q %d", c.args, out, errs, code)
			}
			continue
		}
		if out != c.want || errs != "" || code != exitFound {
			t.Errorf("%q:\nwant %q\nhave %q %q %d", c.args, c.want, out, errs, code)
		}
	}
	out, _, _ := call(t, "cat", "--bucket", url, "--json", two)
	if strings.Count(out, "\n") != 4 || !strings.Contains(out, `"source":{"host":"a","job":"test"},"text":"three","piece":"last"}`) {
		t.Errorf("have %s", out)
	}
	out, _, _ = call(t, "cat", "--bucket", url, "--ulid", one)
	if id, text, ok := strings.Cut(out, " "); !ok || !strings.HasPrefix(one[len("web/2026-11-22/17/"):], id) || !strings.HasPrefix(text, "error one\n") {
		t.Errorf("have %s", out)
	}
	t.Setenv("OKLOG_BUCKET", url)
	t.Setenv("OKLOG_TOPIC", "web")
	if out, errs, _ := call(t, "cat", hashOf(one)); out != first {
		t.Errorf("have %q %q", out, errs)
	}
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("no zstd here: what it prints of a segment is not compared")
	}
	cmd := exec.Command(zstd, "-dc")
	cmd.Stdin = bytes.NewReader(object(t, b, one))
	if have, err := cmd.Output(); err != nil || string(have) != first {
		t.Errorf("zstd prints %q, %v", have, err)
	}
}

func TestCatKeys(t *testing.T) {
	b, url := folder(t)
	one := store(t, b, "web", at, plain("one"))
	two := store(t, b, "web", at.Add(time.Second), plain("two"))
	store(t, b, "web", at.Add(2*time.Second), plain("three"))
	junk(t, b, "web/odd")
	gone := strings.Replace(one, hashOf(one), "0123456789abcdef", 1)
	tells := ": oklog-query ls --topic web tells which there are; correct the key, or "
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{hashOf(one)}, fmt.Sprintf("%q is not the whole key of a segment: say with --topic which topic it is a part of a key of, or give what the last column of oklog-query ls has", hashOf(one))},
		{[]string{"--topic", "web", "-g0-"}, "there is no flag -g0-: see oklog-query cat --help"},
		{[]string{"--topic", "web", "2026-11-22"}, fmt.Sprintf(`"2026-11-22" is in the keys of 3 segments of topic web, such as %s and %s: give more of the one you mean`, one, two)},
		{[]string{"--topic", "web", "zzz"}, `no segment of topic web has "zzz" in its key` + tells + "--topic"},
		{[]string{"--topic", "web", one, "zzz"}, `no segment of topic web has "zzz" in its key` + tells + "--topic"},
		{[]string{"--topic", "web", "odd"}, `"odd": key "web/odd" is not a segment's: want topic/day/[hour/]name: there is nothing in it to print`},
		{[]string{"--topic", "wbe", hashOf(one)}, "there is no topic wbe; topics here: web: correct --topic, or --bucket"},
		{[]string{gone}, "there is no segment " + gone + tells + "--bucket"},
		{nil, "KEY is missing: say which segment to print, as the last column of oklog-query ls --topic T has it; to search for the text cat, write oklog-query -e cat"},
		{[]string{""}, "a KEY is empty: give it as the last column of oklog-query ls --topic T has it"},
		{[]string{"--topic", "Web", "x"}, `--topic: bad topic name "Web": 'W' at byte 0 (want [a-z0-9][a-z0-9_.-]*, at most 100 bytes)`},
	} {
		out, errs, code := call(t, append([]string{"cat", "--bucket", url}, c.args...)...)
		if errs != "oklog-query: "+c.want+"\n" || out != "" || code != exitTrouble {
			t.Errorf("%q:\nwant %s\nhave %s%s(%d)", c.args, c.want, out, errs, code)
		}
	}
	if _, errs, code := call(t, "cat", one); !strings.HasPrefix(errs, "oklog-query: --bucket is missing: ") || code != exitTrouble {
		t.Errorf("have %s(%d)", errs, code)
	}
}

// long is a segment of several blocks, its records, and where the second block begins.
func long(t testing.TB, b objstore.Bucket) (key, text string, second int) {
	t.Helper()
	var lines []string
	for i := range 3 * segment.BlockSize / 1000 {
		lines = append(lines, fmt.Sprintf("%06d %s", i, strings.Repeat(string(rune('a'+i%26)), 993)))
	}
	key = store(t, b, "web", at, plain(lines...))
	dec, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	data := object(t, b, key)
	seg, err := dec.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(seg.Blocks) < 3 {
		t.Fatalf("%d blocks, %v", len(seg.Blocks), err)
	}
	return key, strings.Join(lines, "\n") + "\n", int(seg.Blocks[1].Offset)
}

func TestCatDamage(t *testing.T) {
	one, oneURL := folder(t)
	two, twoURL := folder(t)
	key, text, second := long(t, one)
	sound := object(t, one, key)
	putBytes(t, two, key, sound)
	spoil := map[string]func([]byte) []byte{
		"block":     func(b []byte) []byte { b[second+9] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func([]byte) []byte { return nil },
		"trailer":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	}
	for name, f := range spoil {
		bad := f(slices.Clone(sound))
		// In the first bucket, in the second, and in both.
		putBytes(t, one, key, bad)
		out, errs, code := call(t, "cat", "--bucket", oneURL, "--bucket", twoURL, key)
		if out != text || code != exitFound || !strings.HasPrefix(errs, "oklog-query: warning: 1 read brought damaged bytes from one bucket, and sound ones from another") {
			t.Errorf("%s in the first: %d bytes of %d, %s(%d)", name, len(out), len(text), errs, code)
		}
		out, errs, code = call(t, "cat", "--bucket", twoURL, "--bucket", oneURL, key)
		if out != text || code != exitFound || errs != "" {
			t.Errorf("%s in the second: %d bytes of %d, %s(%d)", name, len(out), len(text), errs, code)
		}
		putBytes(t, two, key, bad)
		out, errs, code = call(t, "cat", "--bucket", oneURL, "--bucket", twoURL, key)
		if code != exitTrouble || !strings.HasPrefix(errs, "oklog-query: the answer is partial: records may be missing, 1 thing could not be read:\n  "+key+" (") || strings.Count(errs, "\n") != 2 {
			t.Errorf("%s in both: %s(%d)", name, errs, code)
		}
		if lost := len(text) - len(out); name == "block" && (lost > segment.BlockSize || lost < segment.BlockSize/2 || !strings.HasPrefix(text, out[:segment.BlockSize/2]) || !strings.HasSuffix(text, out[len(out)-segment.BlockSize/2:])) {
			t.Errorf("%s in both: %d bytes are lacking", name, lost)
		}
		putBytes(t, one, key, sound)
		putBytes(t, two, key, sound)
	}
	// Each copy damaged in another place is a whole one.
	for b, at := range map[objstore.Bucket]int{one: 9, two: second + 9} {
		bad := slices.Clone(sound)
		bad[at] ^= 1
		putBytes(t, b, key, bad)
	}
	out, errs, code := call(t, "cat", "--bucket", oneURL, "--bucket", twoURL, key)
	if out != text || code != exitFound || strings.Count(errs, "\n") != 1 {
		t.Errorf("%d bytes of %d, %s(%d)", len(out), len(text), errs, code)
	}
}

// One of the buckets is enough, whether the other lacks the object or is not there.
func TestCatCopies(t *testing.T) {
	_, emptyURL := folder(t)
	b, url := folder(t)
	key := store(t, b, "web", at, plain("x"))
	for _, k := range []string{key, hashOf(key)} {
		if out, errs, code := call(t, "cat", "--topic", "web", "--bucket", emptyURL, "--bucket", url, k); out != "x\n" || errs != "" || code != exitFound {
			t.Errorf("have %q %q %d", out, errs, code)
		}
		out, errs, code := call(t, "cat", "--topic", "web", "--bucket", url+"-lost", "--bucket", url, k)
		if out != "x\n" || !strings.HasPrefix(errs, "oklog-query: warning: a bucket cannot be used at present; going on with the others: ") || strings.Count(errs, "\n") != 1 || code != exitFound {
			t.Errorf("have %q %q %d", out, errs, code)
		}
	}
}

func TestCatOutput(t *testing.T) {
	b, url := folder(t)
	key, _, _ := long(t, b)
	args := []string{"oklog-query", "cat", "--bucket", url, key}
	var errs bytes.Buffer
	if c := run(t.Context(), args, nil, brokenWriter{}, &errs); c != exitTrouble || errs.String() != "oklog-query: write output: no space left\n" {
		t.Errorf("have %d %s", c, errs.String())
	}
	errs.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int)
	go func() { code <- run(ctx, args, nil, w, &errs) }()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if c := <-code; c != exitInterrupt || errs.String() != "oklog-query: interrupted: not all of it was printed\n" {
		t.Errorf("have %d %s", c, errs.String())
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	errs.Reset()
	r, w = io.Pipe()
	go func() { code <- run(t.Context(), args, nil, w, &errs) }()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != exitFound || errs.Len() > 0 {
		t.Errorf("have %d %s", c, errs.String())
	}
}
