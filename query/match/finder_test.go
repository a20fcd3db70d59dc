package match

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// places is what Finder.Find has to give: at each place the first text that stands there, tried one after another. It is for texts
// that match one way at a place, or for expressions without Word.
func naivePlaces(p Pattern, record []byte) (all [][2]int) {
	var res []*regexp.Regexp
	for _, text := range p.Texts {
		if !p.Regex {
			text = regexp.QuoteMeta(text)
		}
		if p.IgnoreCase {
			text = "(?i:" + text + ")"
		}
		res = append(res, regexp.MustCompile("^(?:"+text+")"))
	}
	for at := 0; at < len(record); {
		end := at
		for _, re := range res {
			if m := re.FindIndex(record[at:]); m != nil && (!p.Word || isWord(record, at, at+m[1])) {
				end = at + m[1]
				break
			}
		}
		if end > at {
			all = append(all, [2]int{at, end})
			at = end
			continue
		}
		_, size := utf8.DecodeRune(record[at:])
		at += size
	}
	return all
}

func checkPlaces(t testing.TB, p Pattern, f *Finder, record []byte, want [][2]int) {
	t.Helper()
	if have := f.Find(nil, record); !slices.Equal(have, want) {
		t.Fatalf("%+v in %q: want %v, have %v", p, record, want, have)
	}
}

var wordLetters = []string{"a", "b", "A", "k", "\u212a", "é", "É", "_", "1", " ", "-", "@", ".", "ö", "\u0301", "ⓐ", "٣", "‿", "\u200d", "→"}

func TestFinder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	found := 0
	for range 300 {
		p := Pattern{IgnoreCase: rnd.IntN(3) == 0, Word: rnd.IntN(2) == 0}
		letters := wordLetters[:4+rnd.IntN(len(wordLetters)-3)]
		n := 1 + rnd.IntN(3)
		if rnd.IntN(4) == 0 {
			n = mostAlone + rnd.IntN(8)
		}
		for range n {
			if text := word(rnd, 4, letters); text != "" {
				p.Texts = append(p.Texts, text)
			}
		}
		prog := compile(t, p)
		f, searcher := prog.Finder(), prog.Searcher()
		for range 20 {
			record := []byte(word(rnd, 14, letters))
			want := naivePlaces(p, record)
			if len(p.Texts) == 0 {
				want = nil
			}
			found += len(want)
			checkPlaces(t, p, f, record, want)
			if (len(want) > 0) != (len(p.Texts) > 0 && searcher.Match(record)) {
				t.Fatalf("%+v in %q: %v", p, record, want)
			}
		}
	}
	if found == 0 {
		t.Error("nothing was found")
	}
}

func TestFinderCases(t *testing.T) {
	for _, c := range []struct {
		p      Pattern
		record string
		want   string // what is found, with | between
	}{
		{Pattern{Texts: []string{"foo|foobar"}, Regex: true, Word: true}, "foobar foo", "foobar|foo"},
		{Pattern{Texts: []string{"foo|foobar"}, Regex: true}, "foobar foo", "foo|foo"},
		{Pattern{Texts: []string{"foo", "foobar"}}, "foobar foo", "foo|foo"},
		{Pattern{Texts: []string{"foobar", "foo"}}, "foobar foo", "foobar|foo"},
		{Pattern{Texts: []string{"foo", "foobar"}, Word: true}, "foobar foo", "foobar|foo"},
		{Pattern{Texts: []string{"foo"}, Word: true}, "foo foo foo xfoo foo", "foo|foo|foo|foo"},
		{Pattern{Texts: []string{"-foo"}, Word: true}, "a-foo- -foo", "-foo"},
		{Pattern{Texts: []string{"@foo@"}, Word: true}, "@foo@foo@", ""},
		{Pattern{Texts: []string{"(abc)+"}, Regex: true, Word: true}, " abc abcabc abc", "abc|abcabc|abc"},
		{Pattern{Texts: []string{"a b|b"}, Regex: true, Word: true}, "a b", "a b"},
		{Pattern{Texts: []string{"x*"}, Regex: true}, "axxbx", "xx|x"},
		{Pattern{Texts: []string{""}}, "abc", ""},
		{Pattern{Texts: []string{"", "b"}}, "abc", "b"},
		{Pattern{Texts: nil}, "abc", ""},
		{Pattern{Texts: []string{"a"}, Invert: true}, "abc", ""},
		{Pattern{Texts: []string{"\xff\xfe", "\x80"}}, "a\x80\xff\xfe\xff", "\x80|\xff\xfe"},
		{Pattern{Texts: []string{"\xffA"}, IgnoreCase: true}, "\xffa\xffA", "\xffa|\xffA"},
		{Pattern{Texts: []string{"ks"}, IgnoreCase: true}, "KS \u212a\u017f", "KS|\u212a\u017f"},
		{Pattern{Texts: []string{"\ufffd", "A"}, IgnoreCase: true}, "x\ufffda", "\ufffd|a"},
		{Pattern{Texts: []string{"^a", "b$"}, Regex: true}, "aabb", "a|b"},
		{Pattern{Texts: []string{"(?i)a", "B"}, Regex: true}, "aAbB", "a|A|B"},
		{Pattern{Texts: []string{"a\nb"}}, "xa\nb", "a\nb"},
		{Pattern{Texts: []string{"10.0.0.1"}, Word: true}, "10.0.0.10 110.0.0.1 10.0.0.1:80", "10.0.0.1"},
	} {
		record := []byte(c.record)
		var have []string
		for _, m := range compile(t, c.p).Finder().Find(nil, record) {
			have = append(have, string(record[m[0]:m[1]]))
		}
		if got := strings.Join(have, "|"); got != c.want {
			t.Errorf("%+v in %q: want %q, have %q", c.p, c.record, c.want, got)
		}
	}
}

// Words are the same for expressions and for texts.
func TestWordCharacters(t *testing.T) {
	re := regexp.MustCompile("^" + noWord + "$")
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if utf8.ValidRune(r) && re.MatchString(string(r)) == inWord(r) {
			t.Fatalf("%U", r)
		}
	}
}

// What ripgrep prints with -o and -w is what is found.
func TestFinderAsRipgrep(t *testing.T) {
	version, err := exec.Command("rg", "--version").Output()
	if err != nil || !bytes.HasPrefix(version, []byte("ripgrep 13.")) {
		t.Skipf("left out: -o and -w are not compared with ripgrep 13, which is not here: %.20q, %v", version, err)
	}
	exprs := []string{"a|ab", "ab|a", "a+", "[ab]+", "(?:ab)+|b", "a.b", "@a", "a@", "-a|a-b", "a?b", "é|éa", "[a-z]+", "[0-9]", "(a|b)(b|a-)", "a{2}"}
	rnd := rand.New(rand.NewPCG(13, 14))
	file := filepath.Join(t.TempDir(), "text")
	for i := range 40 {
		p := Pattern{Regex: rnd.IntN(2) == 0, IgnoreCase: rnd.IntN(3) == 0, Word: rnd.IntN(2) == 0}
		letters := wordLetters[:2+rnd.IntN(len(wordLetters)-1)]
		for range 1 + rnd.IntN(3) {
			text := word(rnd, 4, letters)
			if p.Regex {
				text = exprs[rnd.IntN(len(exprs))]
			}
			if text != "" {
				p.Texts = append(p.Texts, text)
			}
		}
		if len(p.Texts) == 0 {
			continue
		}
		var text []byte
		for range 60 {
			line := word(rnd, 12, letters)
			if p.Word {
				line = " " + line + " " // at the ends of a line, -o -w prints the end of a word as a word: "b" of "ab", with ab|b
			}
			text = append(append(text, line...), '\n')
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"--no-config", "-N", "-b"}
		for flag, set := range map[string]bool{"-F": !p.Regex, "-i": p.IgnoreCase, "-w": p.Word} {
			if set {
				args = append(args, flag)
			}
		}
		for _, text := range p.Texts {
			args = append(args, "-e", text)
		}
		out := func(args ...string) string {
			out, err := exec.Command("rg", append(args, file)...).Output()
			if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
				t.Fatalf("%v: %v", args, err)
			}
			return string(out)
		}
		prog := compile(t, p)
		f := prog.Finder()
		var lines, places bytes.Buffer
		for _, l := range prog.Searcher().Lines(nil, text) {
			line := text[l.Start:l.End]
			fmt.Fprintf(&lines, "%d:%s\n", l.Start, line)
			for _, m := range f.Find(nil, line) {
				fmt.Fprintf(&places, "%d:%s\n", l.Start+m[0], line[m[0]:m[1]])
			}
		}
		if want := out(args...); want != lines.String() {
			t.Errorf("%d: %q: want lines\n%shave\n%s", i, args, want, &lines)
		}
		if want := out(append(args, "-o")...); want != places.String() {
			t.Errorf("%d: %q in\n%s: want\n%shave\n%s", i, args, text, want, &places)
		}
		if t.Failed() {
			return
		}
	}
}

func FuzzFinder(f *testing.F) {
	f.Add("foo\nfoobar", "a foobar foo", byte(0))
	f.Add("foo|foobar", "a foobar foo", byte(5))
	f.Add("\xff\nK", "\xffk", byte(2))
	f.Add("@\n@@", "@@@ @", byte(4))
	f.Fuzz(func(t *testing.T, texts, record string, flags byte) {
		p := Pattern{Texts: strings.Split(texts, "\n"), Regex: flags&1 != 0, IgnoreCase: flags&2 != 0, Word: flags&4 != 0, Invert: flags&8 != 0}
		prog, err := Compile(p)
		if err != nil || len(texts) > 200 {
			return
		}
		found := prog.Finder().Find(nil, []byte(record))
		at := 0
		for _, m := range found {
			if m[0] < at || m[1] <= m[0] || m[1] > len(record) {
				t.Fatalf("%+v in %q: %v", p, record, found)
			}
			at = m[1]
		}
		if len(found) > 0 && !prog.Searcher().Match([]byte(record)) {
			t.Fatalf("%+v in %q: %v and no match", p, record, found)
		}
		if !p.Regex && !p.Invert && utf8.ValidString(texts) && !slices.Contains(p.Texts, "") {
			checkPlaces(t, p, prog.Finder(), []byte(record), naivePlaces(p, []byte(record)))
		}
	})
}

func BenchmarkFinder(b *testing.B) {
	logs := blocks(b, 4<<20)
	for name, texts := range logs {
		for _, bench := range []bench{
			{"word", Pattern{Texts: []string{"Failed password"}}},
			{"short", Pattern{Texts: []string{"e"}}},
			{"whole word", Pattern{Texts: []string{"from"}, Word: true}},
			{"folded", Pattern{Texts: []string{"failed"}, IgnoreCase: true}},
			{"500 addresses", Pattern{Texts: addresses()}},
			{"regex", Pattern{Texts: []string{`port [0-9]+`}, Regex: true}},
			{"regex word", Pattern{Texts: []string{`[0-9]+`}, Regex: true, Word: true}},
		} {
			b.Run(strings.ReplaceAll(bench.name, " ", "_")+"/"+name, func(b *testing.B) {
				f := compile(b, bench.p).Finder()
				lines := bytes.SplitAfter(texts[0], []byte("\n"))
				b.SetBytes(int64(len(texts[0])))
				b.ReportAllocs()
				var found [][2]int
				for b.Loop() {
					for _, l := range lines {
						found = f.Find(found[:0], l)
					}
				}
			})
		}
	}
}
