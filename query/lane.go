package query

import (
	"container/heap"
	"slices"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// lane is a source with matches.
type lane struct {
	number uint32
	fwd    *walker
	shown  ulid.ULID // put out last, if any
	any    bool
	owed   int       // records that are still to follow
	bound  ulid.ULID // the next one does not come before it
	opened ulid.ULID // up to this the parts around matches are open
	warmed ulid.ULID // up to this the IDs around matches are known
	open   bool      // opened is set
	known  bool      // warmed is
	place  int       // in owing; -1: it is not
}

// lane is that of a record's source.
func (c *contextRun) lane(r Record) *lane {
	_, session, _ := segment.SplitID(r.ID)
	n, ok := c.view.sessions[session]
	if !ok {
		n = c.view.number(r.Source)
	}
	l := c.lanes[n]
	if l == nil {
		l = &lane{number: n, place: -1}
		c.lanes[n] = l
	}
	return l
}

// warm reads what tells who stands around matches, for all of them at once. What fails is met again by who needs it. Where matches are
// dense there is something to do once for each block, or so.
func (c *contextRun) warm(records []Record, lanes []*lane) {
	v := c.view
	line := v.line(c.q.Newest)
	var parts, closed []*part
	seen := map[*part]bool{}
	for i, r := range records {
		l := lanes[i]
		if l.open && c.before(r.ID, l.opened) {
			continue
		}
		parts, l.opened = line.holding(parts[:0], r.ID)
		l.open = true
		for _, p := range parts {
			if p.numbers == nil && !p.bad && !seen[p] {
				seen[p] = true
				closed = append(closed, p)
			}
		}
	}
	v.openMany(closed)
	for _, p := range closed {
		_, _ = v.open(p)
	}
	wanted := map[itemKey]bool{}
	var all errgroup.Group
	all.SetLimit(v.e.cfg.Fetches)
	for i, r := range records {
		l := lanes[i]
		if l.known && c.before(r.ID, l.warmed) {
			continue
		}
		parts, l.warmed = line.holding(parts[:0], r.ID)
		l.known = true
		for _, p := range parts {
			if p.numbers == nil || p.lacks(l.number) {
				continue
			}
			seg, err := v.open(p)
			if err != nil {
				continue
			}
			block := blockOf(seg, r.ID)
			info := seg.Blocks[block]
			end := info.Last
			if c.q.Newest {
				end = info.First
			}
			if info.First.Compare(r.ID) > 0 && c.q.Newest {
				end = r.ID // between two blocks
			}
			if c.before(end, l.warmed) {
				l.warmed = end
			}
			key := itemKey{p, block, itemIDs}
			if !wanted[key] && !v.has(key) {
				wanted[key] = true
				all.Go(func() error {
					_, _ = v.ids(p, seg, block)
					return nil
				})
			}
		}
	}
	_ = all.Wait()
}

// end is behind all IDs, as the query goes.
func (c *contextRun) end() (id ulid.ULID) {
	if !c.q.Newest {
		for i := range id {
			id[i] = 0xff
		}
	}
	return id
}

// before orders IDs as the query goes.
func (c *contextRun) before(a, b ulid.ULID) bool {
	if c.q.Newest {
		a, b = b, a
	}
	return a.Compare(b) < 0
}

// match puts out what still follows other matches up to r, what leads to r, and r.
func (c *contextRun) match(l *lane, r Record) error {
	if err := c.drain(r.ID); err != nil {
		return err
	}
	leading, apart, seen, err := c.leading(l, r.ID)
	if err == nil && !seen && c.view.gen < maxListings {
		// It has been stored since the view was made.
		if err = c.hold(c.view.ctx); err == nil {
			err = c.view.renew(c.hot.sources)
		}
		if err == nil {
			leading, apart, _, err = c.leading(l, r.ID)
		}
	}
	if err != nil {
		return err
	}
	for i := len(leading) - 1; i >= 0; i-- {
		if err := c.put(output{Record: Record{Context: true, Apart: apart}, at: leading[i], number: l.number}); err != nil {
			return err
		}
		apart = false
	}
	r.Apart = apart
	if err := c.put(output{Record: r}); err != nil {
		return err
	}
	l.shown, l.any = r.ID, true
	if l.fwd == nil {
		l.fwd = c.view.walk(l.number, r.ID, c.q.Newest)
	}
	l.fwd.pass(r.ID)
	if c.trail > 0 {
		l.owed, l.bound = c.trail, r.ID
		if l.place < 0 {
			heap.Push(&c.owing, l)
		} else {
			heap.Fix(&c.owing, l.place)
		}
	}
	return nil
}

// nearby is how many records a lane goes over to come to the next match; if it is farther, it jumps there.
const nearby = 1 << 16

// leading is what leads to the record id, nearest first, as far as it was not put out, and whether anything was left out before that. seen
// tells that the record is in the view.
func (c *contextRun) leading(l *lane, id ulid.ULID) (out []place, apart, seen bool, err error) {
	if l.any && l.fwd != nil {
		// What is at hand is gone over: in dense matches, next to nothing.
		for passed := 0; passed < nearby; passed++ {
			at, bound, found, ended, err := l.fwd.peek(id, false)
			if err != nil {
				return nil, false, false, err
			}
			if !found && !ended && !c.before(id, bound) {
				break // there may be more that is not at hand
			}
			if !found || at.id == id {
				slices.Reverse(out)
				return out, passed > len(out), found, nil
			}
			if c.lead > 0 {
				if len(out) == c.lead {
					out = append(out[:0], out[1:]...)
				}
				out = append(out, at)
			}
			l.fwd.pass(at.id)
		}
		out, l.fwd = out[:0], nil
	}
	until := l.shown
	if !l.any {
		until = c.begin()
	}
	back := c.view.walk(l.number, c.behind(id), !c.q.Newest)
	for {
		at, _, found, _, err := back.peek(until, true)
		switch {
		case err != nil:
			return nil, false, false, err
		case !found:
			return out, !l.any, seen, nil
		case at.id == id:
			seen = true
		case l.any && at.id == l.shown:
			return out, false, seen, nil
		case len(out) == c.lead:
			return out, true, seen, nil
		default:
			out = append(out, at)
		}
		if !l.any && len(out) == c.lead {
			return out, true, seen, nil
		}
		back.pass(at.id)
	}
}

// behind is the next ID, as the query goes.
func (c *contextRun) behind(id ulid.ULID) ulid.ULID {
	if c.q.Newest {
		return segment.Before(id)
	}
	return segment.After(id)
}

// begin is before all IDs, as the query goes.
func (c *contextRun) begin() ulid.ULID {
	id := c.end()
	for i := range id {
		id[i] = ^id[i]
	}
	return id
}

// drain puts out what follows matches, up to id.
func (c *contextRun) drain(id ulid.ULID) error {
	for len(c.owing.lanes) > 0 {
		l := c.owing.lanes[0]
		if !c.before(l.bound, id) {
			return nil
		}
		at, bound, found, ended, err := l.fwd.peek(id, true)
		switch {
		case err != nil:
			return err
		case found && at.id != l.bound:
			l.bound = at.id // another lane may come first
		case found && at.id != id:
			if err := c.put(output{Record: Record{Context: true}, at: at, number: l.number}); err != nil {
				return err
			}
			l.fwd.pass(at.id)
			l.shown = at.id
			l.owed--
		case ended:
			l.owed = 0
		default:
			l.bound = bound
		}
		if l.owed == 0 {
			heap.Pop(&c.owing)
		} else {
			heap.Fix(&c.owing, 0)
		}
	}
	return nil
}

// owing is a heap of the lanes whose matches still want records behind them, the one with the next of them on top.
type owing struct {
	c     *contextRun
	lanes []*lane
}

func (o *owing) Len() int           { return len(o.lanes) }
func (o *owing) Less(i, j int) bool { return o.c.before(o.lanes[i].bound, o.lanes[j].bound) }
func (o *owing) Swap(i, j int) {
	o.lanes[i], o.lanes[j] = o.lanes[j], o.lanes[i]
	o.lanes[i].place, o.lanes[j].place = i, j
}
func (o *owing) Push(x any) {
	l := x.(*lane)
	l.place = len(o.lanes)
	o.lanes = append(o.lanes, l)
}
func (o *owing) Pop() any {
	n := len(o.lanes) - 1
	l := o.lanes[n]
	l.place = -1
	o.lanes[n] = nil
	o.lanes = o.lanes[:n]
	return l
}
