package flags

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Optional is a flag whose value may be left out: --name stands for --name=Alone, and a value has to follow a =.
type Optional struct {
	*cli.StringFlag
	Alone string
}

// First puts the flags among a command's arguments in front of the others: people type them behind as well, and the flags' library
// stops at the first argument that is none. Letters in a row (-ic, -n5, -ie PATTERN) become a flag each, and each flag gets its first name: an alias may hold
// another one. args[0] is the command's name.
func First(args []string, flags []cli.Flag) []string {
	if len(args) == 0 {
		return args
	}
	takesValue, alone := valuesOf(flags)
	names := firstNames(flags)
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
		name := nameOf(a)
		wants, known := takesValue[name]
		if value, ok := alone[name]; ok {
			front = append(front, names.of(a)+"="+value)
			continue
		}
		if letters, ok := splitLetters(name, takesValue); ok && !known && a[1] != '-' {
			for _, l := range letters {
				front = append(front, names.of(l))
			}
			wants = takesValue[letters[len(letters)-1][1:]]
		} else {
			front = append(front, names.of(a))
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

// valuesOf tells which flags take a value, by all their names, and what stands for one that may be left out.
func valuesOf(flags []cli.Flag) (takesValue map[string]bool, alone map[string]string) {
	takesValue, alone = map[string]bool{}, map[string]string{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
			if o, ok := f.(*Optional); ok {
				alone[name] = o.Alone
			}
		}
	}
	return takesValue, alone
}

// names are the first ones of flags, by all of theirs.
type names map[string]string

func firstNames(flags []cli.Flag) names {
	all := names{}
	for _, f := range flags {
		for _, name := range f.Names() {
			all[name] = f.Names()[0]
		}
	}
	return all
}

// of is an argument with its flag's first name.
func (n names) of(arg string) string {
	name, value, hasValue := strings.Cut(nameOf(arg), "=")
	first, known := n[name]
	if !known {
		return arg
	}
	if arg = "-" + first; len(first) > 1 {
		arg = "-" + arg
	}
	if hasValue {
		arg += "=" + value
	}
	return arg
}

// TakesNext tells whether the argument behind arg is its value.
func TakesNext(arg string, flags []cli.Flag) bool {
	if len(arg) < 2 || arg[0] != '-' || arg == "--" {
		return false
	}
	takesValue, alone := valuesOf(flags)
	name := nameOf(arg)
	if wants, known := takesValue[name]; known {
		_, left := alone[name]
		return wants && !left
	}
	letters, ok := splitLetters(name, takesValue)
	return ok && arg[1] != '-' && takesValue[letters[len(letters)-1][1:]]
}

func nameOf(arg string) string { return strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-") }

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

// each calls do with the place and the name of each flag of args, which come from First.
func each(args []string, flags []cli.Flag, do func(at int, name string)) {
	takesValue, _ := valuesOf(flags)
	for i := 1; i < len(args) && args[i] != "--"; i++ {
		name, _, hasValue := strings.Cut(nameOf(args[i]), "=")
		do(i, name)
		if takesValue[name] && !hasValue {
			i++
		}
	}
}

// Given tells whether a flag is among args, which come from First.
func Given(args []string, flags []cli.Flag, name string) (given bool) {
	if first, known := firstNames(flags)[name]; known {
		name = first
	}
	each(args, flags, func(_ int, n string) { given = given || n == name })
	return given
}

// Last leaves of flags that exclude each other the one that was given last, as grep does: an alias may hold the others. args come
// from First; a group names flags that take no value.
func Last(args []string, flags []cli.Flag, groups ...[]string) []string {
	at := make([]int, len(groups)) // 0: none yet
	names := firstNames(flags)
	var dropped []int
	each(args, flags, func(i int, name string) {
		for g, group := range groups {
			if !slices.ContainsFunc(group, func(member string) bool { return names[member] == name }) {
				continue
			}
			if at[g] > 0 {
				dropped = append(dropped, at[g])
			}
			at[g] = i
		}
	})
	slices.Sort(dropped)
	kept := slices.Clone(args)
	for _, i := range slices.Backward(dropped) {
		kept = slices.Delete(kept, i, i+1)
	}
	return kept
}
