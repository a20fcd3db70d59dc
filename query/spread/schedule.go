package spread

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// schedule gives out the steps, in order, and again what is lost, until ctx is done.
func (j *job) schedule(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		j.mu.Lock()
		j.look(ctx)
		j.mu.Unlock()
		select {
		case <-tick.C:
		case <-j.kick:
		case <-ctx.Done():
			return
		}
		j.s.peers.refreshSoon()
	}
}

// look does what is to be done now. The lock is held.
func (j *job) look(ctx context.Context) {
	now := j.s.cfg.now()
	for _, a := range j.attempts {
		if a.to == "" {
			continue
		}
		switch silent := now.Sub(a.heard); {
		case silent > j.s.cfg.lost:
			j.s.peers.avoid(a.to, lostFor)
			j.fail(a, fmt.Errorf("no sign of life for %s", silent.Round(time.Millisecond)))
		case silent > 2*j.s.cfg.beat && now.Sub(a.asked) > j.s.cfg.beat:
			a.asked = now
			j.tell(a, kindCredit)
		}
	}
	last := min(j.place+j.flight, len(j.steps))
	if j.ending {
		last = min(j.place+1, len(j.steps))
	}
	all := true // steps have been begun
	for i := j.place; i < last && ctx.Err() == nil; i++ {
		st := j.steps[i]
		if st.done != nil || st.err != nil || len(st.running) > 0 {
			continue
		}
		// Records that would only wait are not asked for.
		if i > j.place && j.buffered > j.s.cfg.BufferBytes/2 {
			return
		}
		if !j.begin(ctx, i, now, nil) {
			all = false
			if !st.local {
				break // no slot is free anywhere
			}
		}
	}
	if all && !j.ending {
		j.hurry(ctx, now)
	}
}

// hurry gives a step that takes long to another member as well. The lock is held.
func (j *job) hurry(ctx context.Context, now time.Time) {
	slow := slowFirst
	if len(j.times) >= slowTimes {
		sorted := slices.Sorted(slices.Values(j.times))
		slow = max(slowTimes*sorted[len(sorted)/2], slowLeast)
	}
	for i := j.place; i < j.begun; i++ {
		st := j.steps[i]
		if len(st.running) != 1 || st.local || st.done != nil {
			continue
		}
		a := st.running[0]
		// Who waits for credit is not slow.
		if a.to == "" || now.Sub(a.begun) < slow || a.credit == a.received && !j.q.CountOnly {
			continue
		}
		if !j.begin(ctx, i, now, a) {
			return
		}
		j.s.peers.avoid(a.to, lostFor)
	}
}

// begin gives a step to a member that is free, if there is one; besides the one that has it, if besides is not nil. The lock is held.
func (j *job) begin(ctx context.Context, i int, now time.Time, besides *attempt) bool {
	st := j.steps[i]
	m := j.s.member
	to, ok := "", len(m.slots) < cap(m.slots)
	if !st.local && st.fails < maxFailed {
		but := st.failed
		if besides != nil {
			but = maps.Clone(but)
			but[besides.to] = true
		}
		to, ok = j.s.peers.choose(st.key, but, ok)
	}
	forced := false
	if !ok && besides == nil {
		if st.waiting.IsZero() {
			st.waiting = now
		}
		if i == j.place && now.Sub(st.waiting) > patience {
			to, ok, forced = "", true, true
		}
	}
	if !ok {
		return false
	}
	a := &attempt{id: draw(), st: st, to: to, begun: now, heard: now}
	q := j.q
	q.Range, q.Idle = st.Range, nil
	if q.Limit > 0 {
		put := j.shown.count
		if i == j.place {
			put = st.base // what was put out from the step itself is found again
		}
		q.Limit = max(q.Limit-put, 1)
	}
	var after *ulid.ULID
	if j.shown.any && i == j.place {
		last := j.shown.last // a copy: the other goes on
		after = &last
		if j.ending && q.Newest {
			q.Range.From = last // what is wanted are the problems up to there
		} else if j.ending {
			q.Range.To = segment.After(last)
		}
	}
	if !q.CountOnly {
		for a.credit < firstWindow && (i == j.place || j.buffered+grantBytes <= j.s.cfg.BufferBytes) {
			a.credit++
			j.buffered += grantBytes
		}
	}
	j.attempts[a.id] = a
	st.running = append(st.running, a)
	j.begun = max(j.begun, i+1)
	if err := j.give(ctx, a, assignment{id: a.id, query: q, times: j.count != nil, after: after, credit: a.credit, run: j.survey.Part, count: j.survey.CountTimesPart, to: localSink{j, a}, forced: forced}); err != nil {
		j.drop(a, 0)
		if !errors.Is(err, errBusy) {
			j.s.cfg.Logger.Debug("could not give a piece of a query to a querier", "address", to, "cause", err)
			j.s.peers.avoid(to, time.Second)
		}
		return false
	}
	st.waiting = time.Time{}
	if to == "" {
		j.s.metrics.own.Inc()
	} else {
		j.s.metrics.given.Inc()
	}
	return true
}

var errBusy = errors.New("no slot is free")

// give hands an attempt to its member. The lock is held.
func (j *job) give(ctx context.Context, a *attempt, as assignment) error {
	if a.to == "" {
		j.local.Add(1)
		if !j.s.member.start(ctx, as) {
			j.local.Done()
			return errBusy
		}
		return nil
	}
	body, err := encodeOrder(as.query, as.after, as.times)
	if err != nil {
		return err
	}
	if most := j.s.cfg.Transport.MaxMessage(); len(body)+headerSize > most {
		return fmt.Errorf("an order of %d bytes: a message may have %d", len(body), most)
	}
	return j.s.cfg.Transport.Send(a.to, j.inbox+"."+token(a.id), message{kind: kindRun, attempt: a.id, seq: a.credit, body: body}.encode())
}
