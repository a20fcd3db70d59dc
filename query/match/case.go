package match

import (
	"regexp/syntax"
	"unicode"
)

// HasUpper tells whether one of the texts has a letter in upper case: of regular expressions, among what they match literally (\S and \pL
// have none).
func HasUpper(texts []string, regex bool) bool {
	for _, text := range texts {
		if regex {
			// What cannot be parsed is for Compile to say.
			if tree, err := syntax.Parse(text, syntax.Perl); err == nil && upperIn(tree) {
				return true
			}
			continue
		}
		for _, r := range text {
			if unicode.IsUpper(r) {
				return true
			}
		}
	}
	return false
}

// maxTyped is how many runes a class may hold that was typed out, and is no class of its own like \w.
const maxTyped = 20

func upperIn(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if unicode.IsUpper(r) && re.Flags&syntax.FoldCase == 0 {
				return true
			}
		}
	case syntax.OpCharClass:
		n := 0
		for i := 0; i < len(re.Rune); i += 2 {
			n += int(re.Rune[i+1]-re.Rune[i]) + 1
		}
		if n > maxTyped {
			return false
		}
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if unicode.IsUpper(r) {
					return true
				}
			}
		}
	}
	for _, sub := range re.Sub {
		if upperIn(sub) {
			return true
		}
	}
	return false
}
