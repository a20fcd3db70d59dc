package main

import (
	"regexp"
	"strings"

	"oklog/query/match"
)

// regexFinder finds matches with package regexp.
type regexFinder struct {
	re *regexp.Regexp
	// next takes the place of re behind a match of whole words, where no record begins; nil if they need not be words. What is
	// found is group 1 then.
	next *regexp.Regexp
}

// finderOf finds what a program matches; nil where there is nothing to show, or it cannot be told.
func finderOf(p *match.Program) finder {
	if p == nil || p.Pattern().Invert {
		return nil
	}
	pattern := p.Pattern()
	var parts []string
	for _, text := range pattern.Texts {
		if text == "" {
			continue
		}
		if !pattern.Regex {
			text = regexp.QuoteMeta(text)
		}
		parts = append(parts, "(?:"+text+")")
	}
	if len(parts) == 0 {
		return nil
	}
	expr := strings.Join(parts, "|")
	if pattern.IgnoreCase {
		expr = "(?i:" + expr + ")"
	}
	f := &regexFinder{}
	var err error
	if !pattern.Word {
		f.re, err = regexp.Compile(expr)
	} else {
		const noWord = `[^\pL\pM\p{Nd}\p{Nl}\p{Pc}]`
		if f.re, err = regexp.Compile(`(?:^|` + noWord + `)(` + expr + `)(?:$|` + noWord + `)`); err == nil {
			f.next, err = regexp.Compile(noWord + `(` + expr + `)(?:$|` + noWord + `)`)
		}
	}
	if err != nil { // a text that is not UTF-8
		return nil
	}
	return f
}

func (f *regexFinder) find(dst [][2]int, text []byte) [][2]int {
	if f.next != nil {
		return f.findWords(dst, text)
	}
	for _, m := range f.re.FindAllIndex(text, -1) {
		if m[0] < m[1] {
			dst = append(dst, [2]int{m[0], m[1]})
		}
	}
	return dst
}

// findWords goes on behind a word with what ended it: that may stand before the next one.
func (f *regexFinder) findWords(dst [][2]int, text []byte) [][2]int {
	for at, re := 0, f.re; ; re = f.next {
		m := re.FindSubmatchIndex(text[at:])
		if m == nil {
			return dst
		}
		from, to := at+m[2], at+m[3]
		if from < to {
			dst = append(dst, [2]int{from, to})
		}
		if to == at { // an empty word
			to++
		}
		if at = to; at >= len(text) {
			return dst
		}
	}
}
