package spread

import (
	"context"
	"hash/fnv"
	"strconv"
	"sync"
	"time"
)

// peers are the other members, as far as is known.
type peers struct {
	cfg  *Config
	self string

	mu      sync.Mutex
	all     map[string]*peer
	rounds  int             // of asking who is there, finished
	last    time.Time       // when one began
	asking  bool            // one is under way
	strange map[string]bool // members that were told to the log to be of no use
	stop    context.CancelFunc
	ctx     context.Context
	work    sync.WaitGroup
	closed  bool
}

// peer is another member.
type peer struct {
	slots int
	seen  int       // in the round
	load  int       // pieces that it has of this one
	avoid time.Time // until then
}

const (
	refreshEvery = time.Second // at most, and only while queries come
	// A member that has not answered so many times in a row is not one any more.
	missedRounds = 3
	maxPeers     = 4096
)

func newPeers(cfg *Config) *peers {
	p := &peers{cfg: cfg, all: map[string]*peer{}, strange: map[string]bool{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

func (p *peers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// refreshSoon asks who is there, in the background, if the last time is a while ago.
func (p *peers) refreshSoon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Transport == nil || p.closed || p.asking || p.cfg.now().Sub(p.last) < refreshEvery {
		return
	}
	p.asking = true
	p.work.Go(func() { p.ask(p.ctx) })
}

func (p *peers) refresh(ctx context.Context) {
	p.mu.Lock()
	p.asking = true
	p.mu.Unlock()
	p.ask(ctx)
}

func (p *peers) ask(ctx context.Context) {
	p.mu.Lock()
	p.last = p.cfg.now()
	p.mu.Unlock()
	err := p.cfg.Transport.Members(ctx, p.found)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = false
	if err != nil {
		p.cfg.Logger.Debug("could not ask for the other queriers", "cause", err)
		return
	}
	p.rounds++
	for address, m := range p.all {
		if p.rounds-m.seen >= missedRounds {
			delete(p.all, address)
			p.cfg.Logger.Info("a querier has left", "address", address, "members", 1+len(p.all))
		}
	}
}

// found takes a member that has answered.
func (p *peers) found(address string, about map[string]string) {
	if address == p.self {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slots, err := strconv.Atoi(about["slots"])
	version, group := about["messages"], about["group"]
	if version != strconv.Itoa(Version) || group != p.cfg.Group || err != nil || slots < 1 || slots > MaxSlots {
		if !p.strange[address] && len(p.strange) < maxPeers {
			p.strange[address] = true
			p.cfg.Logger.Warn("a querier is left out: its buckets or its version are others", "address", address,
				"version", version, "wanted", Version, "group", group, "own group", p.cfg.Group)
		}
		return
	}
	m := p.all[address]
	if m == nil {
		if len(p.all) == maxPeers {
			return
		}
		m = &peer{}
		p.all[address] = m
		p.cfg.Logger.Info("a querier has joined", "address", address, "members", 1+len(p.all))
	}
	m.slots, m.seen = slots, p.rounds+1
}

// choose takes a slot of the member that is best for a piece, among those with a free one but for some. "" is the one here, if that has
// a free one; it takes it by itself. ok is false if none is free.
func (p *peers) choose(key string, but map[string]bool, here bool) (address string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best uint64
	if here && !but[""] {
		best, ok = rendezvous(key, p.self), true
	}
	now := p.cfg.now()
	for a, m := range p.all {
		if m.load >= m.slots || but[a] || now.Before(m.avoid) {
			continue
		}
		if n := rendezvous(key, a); !ok || n > best {
			best, address, ok = n, a, true
		}
	}
	if m := p.all[address]; ok && m != nil {
		m.load++
	}
	return address, ok
}

// done gives a slot back.
func (p *peers) done(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.all[address]; m != nil && m.load > 0 {
		m.load--
	}
}

// avoid has a member not chosen for some time.
func (p *peers) avoid(address string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.all[address]; m != nil {
		m.avoid = p.cfg.now().Add(d)
	}
}

// gone forgets a member: it is not there.
func (p *peers) gone(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[address] != nil {
		delete(p.all, address)
		p.cfg.Logger.Info("a querier has gone", "address", address, "members", 1+len(p.all))
	}
}

func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.work.Wait()
}

// rendezvous is how well a member suits a key: whoever has the highest value is the same one wherever it is computed, and only the keys of
// a member that leaves go to others.
func rendezvous(key, member string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // it never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(member))
	// FNV's upper bits hardly depend on the last bytes: they are mixed, as splitmix64 does.
	x := h.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
