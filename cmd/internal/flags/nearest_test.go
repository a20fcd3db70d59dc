package flags

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"from", "histogram", "topic", "to", "limit", "last"}
	for typed, want := range map[string]string{"form": "from", "hist": "histogram", "tpoic": "topic", "lst": "last", "x": "", "ot": "", "": "", "nonsense": "", "limits": "limit"} {
		if have := Nearest(typed, names); have != want {
			t.Errorf("%s: want %q, have %q", typed, want, have)
		}
	}
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if have := distance(a, b); have != want {
			t.Errorf("%q, %q: want %d, have %d", a, b, want, have)
		}
		if have := distance(b, a); have != want {
			t.Errorf("%q, %q: want %d, have %d", b, a, want, have)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("from", "from", 0)
	f("form", "from", 1)
	f("fro", "from", 1)
	f("frim", "from", 1)
	f("tpoisc", "topics", 2)
	f("kitten", "sitting", 3)
}
