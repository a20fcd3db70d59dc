package compact

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// MaxGeneration is how often a record is rewritten at most: a segment of this generation is left as it is.
const MaxGeneration = 16

const (
	// So often a small segment is rewritten as a matter of course.
	usualGenerations = 5
	// A segment is rewritten together with so many times its size, or else when its day has settled.
	growth = 2
	// Segments under this part of the target size are small.
	smallPart = 4
	// What a rewrite at the best level makes of a fresh segment, and what part of a segment its blocks are: roughly, to cut
	// a merge into segments of about the same size.
	rewritten, blocksPart = 0.85, 0.86
	// Of a segment up to wholeSize all is read at once; of larger ones chunkSize at a time. Bytes.
	wholeSize, chunkSize = 2 << 20, 2 << 20
	// A block's text in memory, in bytes.
	blockMemory = segment.BlockSize + segment.BlockSize/8
	// A run of IDs in memory, a session in memory, and a session in a segment, in bytes.
	idMemory, sessionMemory, sessionSize = 32, 96, 7
)

// rules are what a plan keeps to.
type rules struct {
	target int64     // bytes of a segment
	memory int64     // bytes for a merge's inputs and the segment that it makes
	cutoff ulid.ULID // records after it may still be on their way: they are left for later
	// settled says that nothing is being added to the day any more: what is left to do is done, whatever it costs.
	settled bool
}

func (r rules) small() int64 { return r.target / smallPart }

// isSmall tells whether a segment that is alone gains from its neighbours. One that was written anew often and is still under the size
// cannot become larger, since its tables are full: what counts as small shrinks.
func (r rules) isSmall(s *Segment) bool {
	return s.Size < r.small()>>(2*max(0, int(s.Name.Generation)-usualGenerations))
}

// Job is a merge: the records of the inputs above After, up to Through.
type Job struct {
	Topic, Day     string
	Inputs         []*Segment // ascending by first record
	After, Through ulid.ULID
	Generation     uint8 // of what comes out

	Size, Text, Records int64 // of the inputs together; what they have in common counts twice

	maxSize int64 // of the blocks of a segment that comes out
	memory  int64 // what it takes, in bytes
}

// input is a segment with the stretch of it that is still to be compacted.
type input struct {
	*Segment
	stretch
}

// open is about how many bytes of the segment are in the stretch, going by the time that it takes.
func (in input) open() int64 {
	part := float64(in.to.Time()-in.from.Time()+1) / float64(in.Name.Last.Time()-in.Name.First.Time()+1)
	return int64(part * float64(in.Size))
}

// partial tells that the segment's beginning or end is in other ones, which it overlaps.
func (in input) partial() bool { return in.from != in.Name.First || in.to != in.Name.Last }

// makePlan says which merges are to be done on a day, given what is claimed of its segments. It is a pure function.
//
// The segments that are not replaced form clusters: those that overlap, directly or through others. Clusters of several, and
// single small segments, are merged with their neighbours of these kinds into segments of the target size that do not overlap.
// What is left of a segment that other ones hold a part of counts as small: on its own, it is written anew in the end.
// Until the day has settled, a segment that was rewritten takes part only in merges of growth times its own size of others: so it is
// rewritten a number of times that grows with the logarithm of its size. Once the day has settled all of that is done; what comes
// later is added in the same way. No merge makes a segment beyond MaxGeneration.
//
// What came in late is merged with its like alone: together with others it would expire with these.
func makePlan(d *day, cl claims, r rules) (jobs []*Job) {
	var inputs, walls []input
	for _, s := range d.segments {
		rest, open := cl.rest(s, readable)
		switch {
		case !open || s.damaged || s.expired || s.Odd != 0:
		case s.Name.First == (ulid.ULID{}): // which no lineage can cover: it would be merged again and again
		case rest.from.Compare(r.cutoff) > 0:
		case s.Name.Generation >= MaxGeneration:
			walls = append(walls, input{s, rest})
		default:
			if rest.to.Compare(r.cutoff) > 0 {
				rest.to = r.cutoff
			}
			inputs = append(inputs, input{s, rest})
		}
	}
	slices.SortFunc(inputs, byStart)
	for _, some := range byLateness(inputs) {
		for _, run := range runs(some, walls, r) {
			groups := [][]input{run}
			if !r.settled {
				groups = worthwhile(run, r.small())
			}
			for _, g := range groups {
				if g = fitting(g, r.inputMemory()); len(g) > 1 || r.settled && g[0].partial() {
					jobs = append(jobs, makeJob(d, g, r))
				}
			}
		}
	}
	return jobs
}

// byLateness tells those that came in late from the others, each in the same order.
func byLateness(inputs []input) [2][]input {
	var both [2][]input
	for _, in := range inputs {
		if in.late {
			both[1] = append(both[1], in)
		} else {
			both[0] = append(both[0], in)
		}
	}
	return both
}

func byStart(a, b input) int {
	return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to), byFirst(a.Segment, b.Segment))
}

// runs are the stretches of neighbouring clusters that are not as they should be.
func runs(inputs, walls []input, r rules) (found [][]input) {
	var run []input
	end := func() {
		if len(run) > 1 || len(run) == 1 && run[0].partial() {
			found = append(found, run)
		}
		run = nil
	}
	for len(inputs) > 0 {
		n, to := 1, inputs[0].to
		for n < len(inputs) && inputs[n].from.Compare(to) <= 0 {
			to = later(to, inputs[n].to)
			n++
		}
		cluster := inputs[:n:n]
		inputs = inputs[n:]
		if n == 1 && !r.isSmall(cluster[0].Segment) && !cluster[0].partial() {
			end()
			continue
		}
		if len(run) > 0 && slices.ContainsFunc(walls, func(w input) bool {
			return w.from.Compare(run[len(run)-1].from) > 0 && w.to.Compare(cluster[0].from) < 0
		}) {
			end() // a segment that spans the wall would overlap it
		}
		run = append(run, cluster...)
	}
	end()
	return found
}

func later(a, b ulid.ULID) ulid.ULID {
	if a.Compare(b) >= 0 {
		return a
	}
	return b
}

func earlier(a, b ulid.ULID) ulid.ULID {
	if a.Compare(b) <= 0 {
		return a
	}
	return b
}

// worthwhile takes apart a run until each part is growth times as large as its largest segment that was rewritten before, without
// that. If that is not small, it gains nothing from its neighbours: only what lies within it counts, and is merged with it. Fresh
// segments are always worth it.
func worthwhile(run []input, small int64) [][]input {
	if len(run) < 2 {
		return nil
	}
	var total, inside int64
	var largest input
	for _, in := range run {
		total += in.open()
		if in.Name.Generation > 0 && (largest.Segment == nil || in.open() > largest.open()) {
			largest = in
		}
	}
	if largest.Segment == nil {
		return [][]input{run}
	}
	var before, within, after []input
	for _, in := range run {
		switch {
		case in.Segment == largest.Segment:
		case in.to.Compare(largest.from) < 0:
			before = append(before, in)
		case in.from.Compare(largest.to) > 0:
			after = append(after, in)
		default:
			within = append(within, in)
			in.from, in.to = later(in.from, largest.from), earlier(in.to, largest.to)
			inside += in.open()
		}
	}
	least, large := growth*largest.open(), largest.open() >= small
	if !large && total-largest.open() >= least {
		return [][]input{run}
	}
	var groups [][]input
	if large && inside >= least {
		groups = [][]input{append(within, largest)}
		slices.SortFunc(groups[0], byStart)
	} else {
		groups = worthwhile(within, small)
	}
	return slices.Concat(worthwhile(before, small), groups, worthwhile(after, small))
}

// weight is what an input takes in memory while it is being merged: what is read of it, a block's text and IDs, and the table of its sessions.
// At worst no two records share a run of IDs, or a session.
func (in input) weight() int64 {
	read, text, ids := in.Size, in.Name.RawBytes, in.Name.Records
	if in.Size > wholeSize {
		read = chunkSize
	}
	if text > blockMemory {
		ids = int64(float64(ids) * blockMemory / float64(text))
		text = blockMemory
	}
	sessions := min(in.Name.Records, in.Size/sessionSize, segment.MaxSessions)
	return read + text + idMemory*min(ids, segment.MaxBlockRecords) + sessionMemory*sessions
}

// depth is the most that inputs weigh which overlap at some ID. Of those that weigh more than memory together, drop is given the heaviest, one
// after another, until no more than two are left: these do not count.
func depth(group []input, memory int64, drop func(input)) (most int64) {
	var ends, heavy places
	weights := make([]int64, len(group))
	ends.before = func(a, b int) bool { return group[a].to.Compare(group[b].to) < 0 }
	heavy.before = func(a, b int) bool {
		return cmp.Or(cmp.Compare(weights[b], weights[a]), cmp.Compare(group[b].Size, group[a].Size), cmp.Compare(a, b)) < 0
	}
	here := make([]bool, len(group))
	var sum int64
	n := 0
	leave := func(i int) {
		if here[i] {
			here[i] = false
			sum -= weights[i]
			n--
		}
	}
	for i, in := range group {
		for len(ends.all) > 0 && group[ends.all[0]].to.Compare(in.from) < 0 {
			leave(heap.Pop(&ends).(int))
		}
		weights[i], here[i] = in.weight(), true
		sum += weights[i]
		n++
		heap.Push(&ends, i)
		heap.Push(&heavy, i)
		for sum > memory && n > 2 {
			out := heap.Pop(&heavy).(int)
			if here[out] {
				leave(out)
				drop(group[out])
			}
		}
		most = max(most, sum)
	}
	return most
}

// places is a heap of places in a slice.
type places struct {
	all    []int
	before func(a, b int) bool
}

func (p *places) Len() int           { return len(p.all) }
func (p *places) Less(i, j int) bool { return p.before(p.all[i], p.all[j]) }
func (p *places) Swap(i, j int)      { p.all[i], p.all[j] = p.all[j], p.all[i] }
func (p *places) Push(x any)         { p.all = append(p.all, x.(int)) }
func (p *places) Pop() any {
	last := p.all[len(p.all)-1]
	p.all = p.all[:len(p.all)-1]
	return last
}

// fitting leaves out inputs, heavy ones first, until what overlaps fits into memory. What is left out has its turn when what is
// merged now has become one.
func fitting(group []input, memory int64) []input {
	out := map[*Segment]bool{}
	depth(group, memory, func(in input) { out[in.Segment] = true })
	if len(out) == 0 {
		return group
	}
	return slices.DeleteFunc(slices.Clone(group), func(in input) bool { return out[in.Segment] })
}

// leastOut is the least memory for a segment that comes out.
func (r rules) leastOut() int64 { return r.target / 4 }

// inputMemory is how much memory inputs may take at most.
func (r rules) inputMemory() int64 { return r.memory - r.leastOut() }

// maxInputs is how many segments a merge has at most: one that comes out may name all of them, and each takes some memory. The rest is
// for later merges.
const maxInputs = segment.MaxReplaced / 2

// cut is where to end a stretch of too many inputs: how many to take, and the ID that the first of the rest begins with. It is zero
// where too many begin with the same one: the rest then lies over what is merged, as what did not fit into memory.
func cut(group []input) (n int, end ulid.ULID) {
	if len(group) <= maxInputs {
		return len(group), ulid.ULID{}
	}
	for n = maxInputs; n > maxInputs/2; n-- {
		if group[n].from != group[n-1].from {
			return n, group[n].from
		}
	}
	return maxInputs, ulid.ULID{}
}

func makeJob(d *day, group []input, r rules) *Job {
	j := &Job{Topic: d.topic, Day: d.date, After: segment.Before(group[0].from)}
	n, end := cut(group)
	group = group[:n]
	var size float64
	for _, in := range group {
		j.Inputs = append(j.Inputs, in.Segment)
		j.Through = later(j.Through, in.to)
		j.Generation = max(j.Generation, in.Name.Generation+1)
		j.Size += in.Size
		j.Text += in.Name.RawBytes
		j.Records += in.Name.Records
		if in.Name.Generation == 0 {
			size += rewritten * float64(in.Size)
		} else {
			size += float64(in.Size)
		}
	}
	if end != (ulid.ULID{}) && end.Compare(j.Through) <= 0 {
		j.Through = segment.Before(end)
	}
	in := depth(group, math.MaxInt64, nil)
	out := min(r.target, r.memory-in)
	j.maxSize = int64(blocksPart * float64(out))
	if n := int64(size)/out + 1; n > 1 {
		j.maxSize = min(j.maxSize, int64(1.05*blocksPart*size)/n)
	}
	j.maxSize = max(j.maxSize, 1)
	j.memory = in + min(j.Size, out)
	return j
}

// isSettled tells that a day is over and nothing has been added to it for a while.
func (d *day) isSettled(now time.Time, olderThan, quiet time.Duration) bool {
	if end := d.end(); end.IsZero() || now.Before(end.Add(olderThan)) {
		return false
	}
	for _, s := range d.segments {
		if s.Name.Generation == 0 && now.Sub(s.Stored) < quiet {
			return false
		}
	}
	return true
}
