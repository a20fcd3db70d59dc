package objstore_test

import (
	"errors"
	"strings"
	"testing"

	"oklog/objstore"
)

func TestCheckKey(t *testing.T) {
	good := func(key string) {
		t.Helper()
		if err := objstore.CheckKey(key); err != nil {
			t.Error(err)
		}
	}
	bad := func(key string) {
		t.Helper()
		if err := objstore.CheckKey(key); !errors.Is(err, objstore.ErrBadKey) {
			t.Errorf("%q: have %v", key, err)
		}
	}
	good("a")
	good("topic/2026-11-22/17/01KAN4-01KAN5-r=12_s.3-abc.zst")
	good("_trash/topic")
	good("a..b/c")
	good(strings.Repeat("k", 255))
	good(strings.Repeat("k", 255) + "/" + strings.Repeat("k", 255))
	good(strings.Repeat("abc/", 255) + "abcd") // 1024
	bad("")
	bad("/")
	bad("a/")
	bad("/a")
	bad("a//b")
	bad(".")
	bad("..")
	bad("a/./b")
	bad("a/../b")
	bad(".hidden")
	bad("a/.hidden/b")
	bad("dot.")
	bad("a/dot./b")
	bad(strings.Repeat("k", 256))
	bad(strings.Repeat("abc/", 255) + "abcde") // 1025
	for _, c := range []string{" ", "\x00", "\n", "\\", ":", "*", "?", "\"", "<", ">", "|", "%", "+", "~", "ä", "\xff", "#", "&"} {
		bad("a" + c + "b")
	}
}

func TestCanBegin(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "a": true, "a/": true, "a/b": true, "a.": true, "a/b.": true, strings.Repeat("k", 255): true,
		".": false, "..": false, "a/.": false, "a/../": false, "/": false, "a//": false, "a//b": false, "a b": false,
		strings.Repeat("k", 256): false, "a./": false,
	} {
		if objstore.CanBegin(prefix) != want {
			t.Errorf("CanBegin(%q) = %t", prefix, !want)
		}
	}
}
