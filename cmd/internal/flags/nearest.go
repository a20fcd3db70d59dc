package flags

import "strings"

// Nearest is the name that a misspelled one is most like; "" if none is like it.
func Nearest(typed string, names []string) string {
	best, least := "", 1+min(2, len(typed)/3)
	for _, name := range names {
		if len(typed) > 32 {
			break
		}
		if d := distance(typed, name); d < least {
			best, least = name, d
		}
	}
	if best != "" {
		return best
	}
	for _, name := range names {
		if len(typed) > 2 && strings.HasPrefix(name, typed) {
			return name
		}
	}
	return ""
}

// distance is how many bytes have to be put in, taken out, replaced or exchanged with the next one to make b of a.
func distance(a, b string) int {
	var before, last []int // the rows above
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j]+change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
