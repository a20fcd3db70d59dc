package dfa

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"unicode"
)

// classes parts the runes into classes: no instruction of the program tells two runes of a class
// apart. There are few of them, a dozen for most patterns.
type classes struct {
	cuts  []rune   // where intervals of runes begin, ascending; the first is 0
	of    []uint16 // the class of each interval
	first []rune   // a rune of each class. Classes are numbered in the order of their first runes
}

// class finds the class of a rune.
func (c *classes) class(r rune) uint16 {
	lo, hi := 0, len(c.cuts)
	for lo+1 < hi {
		if mid := int(uint(lo+hi) >> 1); c.cuts[mid] <= r {
			lo = mid
		} else {
			hi = mid
		}
	}
	return c.of[lo]
}

// newClasses finds the classes of a program, by refinement: all runes are one class, and then each set of
// runes that an instruction takes parts the classes that it cuts through.
func newClasses(insts []syntax.Inst) (classes, error) {
	sets, work := runeSets(insts)
	if work > maxWork {
		return classes{}, errWork()
	}
	cuts := []rune{0}
	for _, set := range sets {
		for i := 0; i < len(set); i += 2 {
			cuts = append(cuts, set[i], set[i+1]+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	if cuts[len(cuts)-1] > unicode.MaxRune {
		cuts = cuts[:len(cuts)-1]
	}

	of := make([]int, len(cuts))
	next := 1
	parted := map[int]int{} // the class of what is in the set, of each class that holds some of it
	for _, set := range sets {
		clear(parted)
		for i := 0; i < len(set); i += 2 {
			at, _ := slices.BinarySearch(cuts, set[i])
			for ; at < len(cuts) && cuts[at] <= set[i+1]; at++ {
				in, ok := parted[of[at]]
				if !ok {
					in = next
					parted[of[at]] = in
					next++
				}
				of[at] = in
				work++
			}
			if work++; work > maxWork {
				return classes{}, errWork()
			}
		}
	}
	return number(cuts, of)
}

func errWork() error {
	return fmt.Errorf("%w: its classes of characters take more than %d steps to sort out", ErrTooLarge, maxWork)
}

// number gives classes their final numbers and joins neighbouring intervals of one class.
func number(cuts []rune, of []int) (classes, error) {
	c := classes{}
	final := map[int]uint16{}
	for i, old := range of {
		class, ok := final[old]
		if !ok {
			if len(c.first) == MaxClasses {
				return classes{}, fmt.Errorf("%w: it tells more than %d classes of characters apart", ErrTooLarge, MaxClasses)
			}
			class = uint16(len(c.first))
			final[old] = class
			c.first = append(c.first, cuts[i])
		}
		if n := len(c.of); n == 0 || c.of[n-1] != class {
			c.cuts = append(c.cuts, cuts[i])
			c.of = append(c.of, class)
		}
	}
	return c, nil
}

// runeSets lists the different sets of runes that the program asks for, each as pairs of first and last. The
// newline is always one of them: it ends lines. It stops behind maxWork runes.
func runeSets(insts []syntax.Inst) (sets [][]rune, work int) {
	sets = [][]rune{{'\n', '\n'}}
	type place struct {
		first *rune
		n     int
	}
	repeated := map[place]bool{} // x{1000} is a thousand instructions with one slice
	seen := map[string]bool{}
	words := false
	var key []byte
	for i := range insts {
		set, single := insts[i].Rune, [2]rune{}
		switch insts[i].Op {
		case syntax.InstEmptyWidth:
			op := syntax.EmptyOp(insts[i].Arg)
			words = words || op&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
			continue
		case syntax.InstRune, syntax.InstRune1:
		default:
			continue // InstRuneAny tells nothing apart, InstRuneAnyNotNL the newline
		}
		if len(set) == 0 {
			continue
		}
		if at := (place{&set[0], len(set)}); repeated[at] {
			continue
		} else {
			repeated[at] = true
		}
		if len(set) == 1 {
			single = [2]rune{set[0], set[0]}
			set = single[:]
			if syntax.Flags(insts[i].Arg)&syntax.FoldCase != 0 && insts[i].Op == syntax.InstRune {
				set = orbit(set[0])
			}
		}
		if work += len(set); work > maxWork {
			return nil, work
		}
		key = key[:0]
		for _, r := range set {
			key = binary.LittleEndian.AppendUint32(key, uint32(r))
		}
		if !seen[string(key)] {
			seen[string(key)] = true
			sets = append(sets, slices.Clone(set))
		}
	}
	if words {
		sets = append(sets, []rune{'0', '9', 'A', 'Z', '_', '_', 'a', 'z'})
	}
	return sets, work
}

// orbit lists a rune and all that equal it when case is ignored.
func orbit(r rune) []rune {
	set := []rune{r, r}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		set = append(set, f, f)
	}
	return set
}
