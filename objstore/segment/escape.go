package segment

import "bytes"

// JSON lets any character be written as an escape, \u and four hexadecimal digits, and hardly anybody does so with one that may stand as
// it is. The filter tells of each block whether somebody did: whoever looks for the text of a field need not look for all the ways in which it might
// be written.

// Escaped tells whether a text holds the escape of a character that no common encoder writes as one: of ASCII those from space to ~ but for " \ / < > & ',
// and U+212A and U+017F, which are other cases of k and s. The u of an escape counts in either case.
func Escaped(text []byte) bool {
	for _, start := range escapeStarts {
		for rest := text; ; {
			i := bytes.Index(rest, start)
			if i < 0 {
				break
			}
			if rest = rest[i+len(start):]; len(rest) >= 4 && rare(rest) {
				return true
			}
		}
	}
	return false
}

var escapeStarts = [][]byte{[]byte(`\u`), []byte(`\U`)}

// rare tells whether the character whose four digits a text begins with is one of those that are not written as escapes.
func rare(digits []byte) bool {
	n := 0
	for _, c := range digits[:4] {
		switch lower := c | 0x20; {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= lower && lower <= 'f':
			n = n<<4 | int(lower-'a'+10)
		default:
			return false
		}
	}
	switch n {
	case '"', '\\', '/', '<', '>', '&', '\'':
		return false
	case 0x212a, 0x17f:
		return true
	}
	return ' ' <= n && n < 0x7f
}
