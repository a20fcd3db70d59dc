package dfa

import "slices"

const lanes = 4

// What stands in a row instead of a state. The table holds states as the place of their row, all below special.
const (
	special = 1 << 31

	stateUnknown = special | iota // not made yet
	stateMatch                    // the line matches
	stateDead                     // it does not, whatever follows
	stateNone                     // given up: in no row
)

const (
	// stateCost is what a state takes beside its row and its key: its place in the map and in the list of keys.
	stateCost = 96
	// minPace is the number of bytes to be walked for each state that is made, or the matcher gives up: below that, package
	// regexp is as fast.
	minPace = 32
	// restPace is the number of bytes that it then leaves to package regexp, for each state that it made. A text that takes it
	// to give up again costs little beside that.
	restPace = 256
)

// DFA matches lines against a Program. It makes states when it comes to them and keeps them, so
// it gets faster as it goes. It is not for concurrent use.
type DFA struct {
	p      *Program
	subset *subset

	table  []uint32          // a row for each state: the state that follows, by column
	states map[string]uint32 // by key
	keys   []string          // by number: the row of state n begins at n*stride
	used   int               // bytes

	limit int // of used
	pace  int // minPace, but for tests
	steal int // minSteal, but for tests

	lane   [lanes]lane
	pieces []piece

	walked  int  // bytes since the cache was last empty
	flushed bool // it has been full
	rest    int  // bytes that it does not look at: it gave up
}

// New returns a matcher with an empty cache.
func (p *Program) New() *DFA {
	d := &DFA{p: p, subset: newSubset(p), states: map[string]uint32{}, limit: MaxMemory, pace: minPace, steal: minSteal}
	d.begin()
	return d
}

// begin empties the cache but for the state in which lines begin: state 0.
func (d *DFA) begin() {
	clear(d.states)
	d.table, d.keys = d.table[:0], d.keys[:0]
	d.used, d.walked = 0, 0
	for i := range d.lane {
		d.lane[i].state = 0
	}
	d.subset.begin(begins)
	d.add(string(d.subset.pack()))
}

// add makes a state.
func (d *DFA) add(key string) uint32 {
	state := uint32(len(d.table))
	d.keys = append(d.keys, key)
	d.states[key] = state
	d.table = slices.Grow(d.table, int(d.p.stride))
	for range d.p.stride {
		d.table = append(d.table, stateUnknown)
	}
	d.used += d.cost(key)
	return state
}

func (d *DFA) cost(key string) int { return len(key) + 4*int(d.p.stride) + stateCost }

// follow gives the state that follows the one of a lane on a byte, which stands in a column.
func (d *DFA) follow(l *lane, b byte, col uint8) uint32 {
	next := d.table[l.state+uint32(col)]
	if next != stateUnknown {
		return next
	}
	if col == colEnd {
		return d.finish(l)
	}
	switch d.subset.read(d.keys[l.state/d.p.stride], b) {
	case matching:
		next = stateMatch
	case failing:
		next = stateDead
	default:
		// Lanes may have to move to other states, this one too.
		if next = d.intern(); next == stateNone {
			return stateNone
		}
	}
	d.table[l.state+uint32(col)] = next
	return next
}

// finish gives what follows the state of a lane at the end of the text: a match, or the state in which the next line begins.
func (d *DFA) finish(l *lane) uint32 {
	next := &d.table[l.state+colEnd]
	if *next == stateUnknown {
		*next = 0
		if d.subset.end(d.keys[l.state/d.p.stride]) {
			*next = stateMatch
		}
	}
	return *next
}

// intern returns the state of the set that was just made. Where the cache is full it is emptied first, but for
// the states on which lanes stand, which get new places. It gives up where that happens too often.
func (d *DFA) intern() uint32 {
	packed := d.subset.pack()
	if state, ok := d.states[string(packed)]; ok {
		return state
	}
	key := string(packed)
	if d.used+d.cost(key) > d.limit {
		if d.flushed && d.walked < d.pace*len(d.keys) {
			d.rest, d.flushed = restPace*len(d.keys), false
			d.begin()
			return stateNone
		}
		d.flushed = true
		var stand [lanes]string
		for i := range d.lane {
			stand[i] = d.keys[d.lane[i].state/d.p.stride]
		}
		d.begin()
		for i := range d.lane {
			d.lane[i].state = d.keep(stand[i])
		}
	}
	return d.keep(key)
}

// resting tells whether a text of n bytes is to be left to package regexp.
func (d *DFA) resting(n int) bool {
	if d.rest <= 0 {
		return false
	}
	d.rest -= n + 1
	return true
}

// keep returns the state of a key.
func (d *DFA) keep(key string) uint32 {
	if state, ok := d.states[key]; ok {
		return state
	}
	return d.add(key)
}
