package compact

import (
	"cmp"
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
	for _, run := range runs(inputs, walls, r) {
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
	return jobs
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

// depth is the most that inputs weigh which overlap at some ID. Where drop is set it may take one of these out, the heaviest
// at hand, to keep the depth low.
func depth(group []input, drop func(sum int64, at []input) (out int)) (most int64) {
	var active []input
	var sum int64
	for _, in := range group {
		active = slices.DeleteFunc(active, func(a input) bool {
			past := a.to.Compare(in.from) < 0
			if past {
				sum -= a.weight()
			}
			return past
		})
		active = append(active, in)
		sum += in.weight()
		for drop != nil {
			out := drop(sum, active)
			if out < 0 {
				break
			}
			sum -= active[out].weight()
			active = slices.Delete(active, out, out+1)
		}
		most = max(most, sum)
	}
	return most
}

// fitting leaves out inputs, heavy ones first, until what overlaps fits into memory. What is left out has its turn when what is
// merged now has become one.
func fitting(group []input, memory int64) []input {
	if depth(group, nil) <= memory {
		return group
	}
	out := map[*Segment]bool{}
	depth(group, func(sum int64, at []input) int {
		if sum <= memory || len(at) <= 2 {
			return -1
		}
		heaviest := 0
		for i, in := range at {
			if in.weight() > at[heaviest].weight() || in.weight() == at[heaviest].weight() && in.Size > at[heaviest].Size {
				heaviest = i
			}
		}
		out[at[heaviest].Segment] = true
		return heaviest
	})
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
	in := depth(group, nil)
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
