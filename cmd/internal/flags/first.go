package flags

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// First puts the flags among a command's arguments in front of the others: people type them behind as well, and the flags' library
// stops at the first argument that is none. Letters in a row (-ic, -n5, -ie PATTERN) become a flag each. args[0] is the command's name.
func First(args []string, flags []cli.Flag) []string {
	if len(args) == 0 {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
		}
	}
	front, others := []string{args[0]}, []string{}
	for rest := args[1:]; len(rest) > 0; {
		a := rest[0]
		rest = rest[1:]
		if a == "--" {
			others = append(others, rest...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			others = append(others, a)
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(a, "-"), "-")
		wants, known := takesValue[name]
		if letters, ok := splitLetters(name, takesValue); ok && !known && a[1] != '-' {
			front = append(front, letters...)
			wants = takesValue[letters[len(letters)-1][1:]]
		} else {
			front = append(front, a)
		}
		if !wants {
			continue
		}
		if len(rest) == 0 {
			return front // its value is missing, which is for the flag package to say
		}
		front, rest = append(front, rest[0]), rest[1:]
	}
	return append(append(front, "--"), others...)
}

// splitLetters makes single flags of letters in a row: of in5, -i and -n=5. It is not ok if one of them
// is no flag.
func splitLetters(name string, takesValue map[string]bool) (flags []string, ok bool) {
	for i := range len(name) {
		letter := name[i : i+1]
		wants, known := takesValue[letter]
		if !known {
			return nil, false
		}
		if value := name[i+1:]; wants && value != "" {
			return append(flags, "-"+letter+"="+strings.TrimPrefix(value, "=")), true
		}
		flags = append(flags, "-"+letter)
	}
	return flags, len(flags) > 0
}
