package match

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// String is the needle as a regular expression: [Aa] is a letter with two forms.
func (n *needle) String() string {
	if n.text != nil {
		return string(n.text)
	}
	var b strings.Builder
	for i := range n.letters {
		l := &n.letters[i]
		var forms []string
		for k := range l.forms() {
			f := l.form(k)
			if f.wide == "" {
				f.wide = string(rune(f.b))
			}
			forms = append(forms, f.wide)
		}
		slices.Sort(forms)
		if len(forms) > 1 {
			fmt.Fprintf(&b, "[%s]", strings.Join(forms, ""))
		} else {
			b.WriteString(forms[0])
		}
	}
	return b.String()
}

// dispatch shows what a program does: what it looks for, and what it runs around it.
func (p *Program) dispatch() string {
	quarry := func(q *quarry) string {
		var all []string
		for _, n := range q.single {
			all = append(all, n.String())
		}
		for _, s := range q.sets {
			all = append(all, fmt.Sprintf("a set of %d", len(s.windows)))
		}
		return strings.Join(all, "|")
	}
	var parts []string
	if p.every {
		parts = append(parts, "every")
	}
	for _, part := range p.parts {
		if part.needles != nil {
			parts = append(parts, quarry(part.needles))
			continue
		}
		var sets []string
		for _, q := range part.sets {
			sets = append(sets, quarry(q))
		}
		parts = append(parts, strings.Join(append(sets, "DFA"), ", "))
	}
	s := strings.Join(parts, "; ")
	if p.invert {
		s = "not " + s
	}
	return s
}

func TestDispatch(t *testing.T) {
	for _, c := range []struct {
		p    Pattern
		want string
	}{
		{Pattern{Texts: []string{"Failed"}}, "Failed"},
		{Pattern{Texts: []string{"k8s"}, IgnoreCase: true}, "[Kk\u212a]8[Ss\u017f]"},
		{Pattern{Texts: []string{"123"}, IgnoreCase: true}, "123"},
		{Pattern{Texts: []string{"a", "b", "a"}, Invert: true}, "not a|b"},
		{Pattern{Texts: []string{"a", ""}}, "every"},
		{Pattern{Texts: addresses()}, "a set of 500"},
		{Pattern{Texts: append(addresses()[:20], "x", "aa\nbb")}, "x|aa\nbb|a set of 20"},
		{Pattern{Texts: []string{"Failed|Invalid"}, Regex: true}, "Failed|Invalid"},
		{Pattern{Texts: []string{"(?:Failed)|(Invalid)"}, Regex: true}, "Failed|Invalid"},
		{Pattern{Texts: []string{"[Ff]ail(ed|ing)"}, Regex: true}, "[Ff]ailed|[Ff]ailing"},
		{Pattern{Texts: []string{"colou?r"}, Regex: true}, "color|colour"},
		{Pattern{Texts: []string{"a{3}"}, Regex: true}, "aaa"},
		{Pattern{Texts: []string{"a(?i)b"}, Regex: true}, "a[Bb]"},
		{Pattern{Texts: []string{"a[0-2]"}, Regex: true}, "a0|a1|a2"},
		{Pattern{Texts: []string{strings.ReplaceAll(strings.Join(addresses(), "|"), ".", `\.`)}, Regex: true}, "a set of 500"},
		{Pattern{Texts: []string{"port 4[0-9][0-9]"}, Regex: true}, "port 4, DFA"},
		{Pattern{Texts: []string{`(Failed|Invalid).*port 41[0-9]{2}\b`}, Regex: true}, "port 41, Failed|Invalid, DFA"},
		{Pattern{Texts: []string{`(?i)allowusers\b`}, Regex: true}, "[Aa][Ll][Ll][Oo][Ww][Uu][Ss\u017f][Ee][Rr][Ss\u017f], DFA"},
		{Pattern{Texts: []string{`\b[0-9a-f]{8}\b`}, Regex: true}, "DFA"},
		{Pattern{Texts: []string{"x", `\d+`}, Regex: true}, "x; DFA"},
		{Pattern{Texts: []string{"a\ufffd"}, Regex: true}, "DFA"},
		{Pattern{Texts: []string{"abc\ufffd", "x"}, IgnoreCase: true}, "[Xx]; [Aa][Bb][Cc], DFA"},
		{Pattern{Texts: []string{"a\ufffd"}}, "a\ufffd"},
		{Pattern{Texts: []string{`a[\n-]b`}, Regex: true}, "a-b|a\nb"},
		{Pattern{Texts: []string{".*"}, Regex: true}, "every"},
		{Pattern{Texts: []string{"^.*x$"}, Regex: true}, "x, DFA"},
		{Pattern{Texts: []string{`[^\x00-\x{10FFFF}]`}, Regex: true}, "DFA"},
	} {
		have := compile(t, c.p).dispatch()
		if have != c.want {
			t.Errorf("%q:\nwant %s\nhave %s", c.p.Texts, c.want, have)
		}
	}
}
