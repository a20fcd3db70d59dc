package main

import (
	"regexp"
	"strings"

	"oklog/query/match"
)

// regexFinder finds matches with package regexp.
type regexFinder struct {
	re   *regexp.Regexp
	word bool // group 1 is the match, what stands around it is no part of it
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
	re, err := regexp.Compile(expr)
	if err != nil { // a text that is not UTF-8
		return nil
	}
	return &regexFinder{re: re}
}

func (f *regexFinder) find(dst [][2]int, text []byte) [][2]int {
	for _, m := range f.re.FindAllIndex(text, -1) {
		if m[0] < m[1] {
			dst = append(dst, [2]int{m[0], m[1]})
		}
	}
	return dst
}
