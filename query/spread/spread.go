package spread

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oklog/query"
)

// Transport carries messages between queriers. It may lose some and repeats none; those from one sender to one address come in order. Its
// methods may be called from any number of goroutines.
type Transport interface {
	// Join makes this process a member that others find, with what it says about itself. handle is called with each
	// message to the address, from one goroutine, and must return soon. leave ends that, and waits for handle.
	Join(about map[string]string, handle func(msg []byte, reply string)) (address string, leave func() error, err error)
	// Members asks who is there, and calls found with each member that answers, until no more do for a moment.
	Members(ctx context.Context, found func(address string, about map[string]string)) error
	// Send sends msg to an address, and names another one for what is answered, if that is not "".
	Send(to, reply string, msg []byte) error
	// Inbox makes an address. handle is called with what is sent to a place below it, address.TOKEN, from one goroutine, and must return
	// soon; with nil if nobody was at the address that something was sent to with this place to answer to.
	Inbox(handle func(token string, msg []byte)) (address string, closeIt func() error, err error)
	// MaxMessage is how many bytes a message may have.
	MaxMessage() int
}

// Config is what a spreader works with.
type Config struct {
	// Engine answers what is not spread, and pieces. Its Hot is asked by the coordinator of a query alone.
	Engine *query.Engine
	// Transport leads to the other members; nil: there are none.
	Transport Transport
	// Group names what the members have in common: that they read the same buckets. Others are not asked.
	Group string
	// Slots is how many pieces are worked on at a time, for all queries together. 0: DefaultSlots.
	Slots int
	// PieceBytes is how much of what is stored a piece has, about. 0: DefaultPieceBytes, or SmallBytes if that is less.
	PieceBytes int64
	// SmallBytes is how much may be stored in the range of a query that is not spread. 0: DefaultSmallBytes.
	SmallBytes int64
	// BufferBytes bounds the records of a query that wait for others before them, encoded. 0: DefaultBufferBytes.
	BufferBytes int64
	Logger      *slog.Logger          // discards, if nil
	Registerer  prometheus.Registerer // nil: metrics go nowhere

	now    func() time.Time
	beat   time.Duration // between signs of life of a piece
	lost   time.Duration // a piece without one for so long is given to another member
	orphan time.Duration // a piece whose coordinator is silent for so long ends
	linger time.Duration // records are sent so long after others at the earliest, unless there are many

	unitTimes int // bytes of a unit of times, about
}

// Defaults of Config.
const (
	DefaultSlots       = 2
	DefaultPieceBytes  = 16 << 20
	DefaultSmallBytes  = 16 << 20
	DefaultBufferBytes = 64 << 20
)

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Engine == nil {
		return cfg, errors.New("spread queries: no engine")
	}
	if cfg.Slots == 0 {
		cfg.Slots = DefaultSlots
	}
	if cfg.Slots < 1 || cfg.Slots > MaxSlots {
		return cfg, fmt.Errorf("spread queries: %d pieces at a time: want 1 to %d (--spread-slots)", cfg.Slots, MaxSlots)
	}
	for _, n := range []struct {
		value *int64
		usual int64
		name  string
	}{{&cfg.SmallBytes, DefaultSmallBytes, "SmallBytes"}, {&cfg.PieceBytes, 0, "PieceBytes"}, {&cfg.BufferBytes, DefaultBufferBytes, "BufferBytes"}} {
		if *n.value < 0 {
			return cfg, fmt.Errorf("spread queries: %s is %d: want at least 1, or 0 for the default", n.name, *n.value)
		}
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	if cfg.PieceBytes == 0 {
		cfg.PieceBytes = min(DefaultPieceBytes, cfg.SmallBytes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.unitTimes == 0 {
		cfg.unitTimes = defaultUnitTimes
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&cfg.beat, 250 * time.Millisecond}, {&cfg.lost, 1500 * time.Millisecond}, {&cfg.orphan, 5 * time.Second}, {&cfg.linger, 100 * time.Millisecond}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	return cfg, nil
}

// MaxSlots is how many pieces a member works on at most.
const MaxSlots = 1024

// Spreader answers queries, together with the other members of its group. Its methods may be called from any number of goroutines.
type Spreader struct {
	cfg     Config
	member  *member
	peers   *peers
	metrics *metrics
	address string
	leave   func() error
}

var _ query.Runner = (*Spreader)(nil)

// Join makes a spreader, and it a member of the group. It is to be closed.
func Join(ctx context.Context, cfg Config) (*Spreader, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Spreader{cfg: cfg}
	s.peers = newPeers(&s.cfg)
	if s.metrics, err = newMetrics(cfg.Registerer, s.Members); err != nil {
		return nil, err
	}
	s.member = &member{cfg: &s.cfg, metrics: s.metrics, slots: make(chan struct{}, cfg.Slots), tasks: map[uint64]*task{}}
	if cfg.Transport == nil {
		return s, nil
	}
	about := map[string]string{"messages": strconv.Itoa(Version), "group": cfg.Group, "slots": strconv.Itoa(cfg.Slots)}
	if s.address, s.leave, err = cfg.Transport.Join(about, s.member.receive); err != nil {
		return nil, fmt.Errorf("join the group of queriers: %w", err)
	}
	s.peers.self = s.address
	s.peers.refresh(ctx)
	return s, nil
}

// Members is how many members there are as far as is known, this one among them.
func (s *Spreader) Members() int { return 1 + s.peers.count() }

// Close leaves the group, ends what others have it work on, and waits for that. Queries are to have ended before.
func (s *Spreader) Close() error {
	var err error
	if s.leave != nil {
		err = s.leave()
	}
	s.member.close()
	s.peers.close()
	if err != nil {
		return fmt.Errorf("leave the group of queriers: %w", err)
	}
	return nil
}

// Run implements query.Runner.
func (s *Spreader) Run(ctx context.Context, q query.Query, emit func(query.Record) error) (*query.Answer, error) {
	s.peers.refreshSoon()
	if s.alone() || q.Range.Empty() || emit == nil && !q.CountOnly {
		return s.cfg.Engine.Run(ctx, q, emit)
	}
	if q.HasContext() {
		return query.RunContext(ctx, s, s.cfg.Engine, q, emit)
	}
	q.Before, q.After = 0, 0
	return s.answer(ctx, q, emit, nil)
}

// alone tells whether nobody else is known.
func (s *Spreader) alone() bool { return s.cfg.Transport == nil || s.peers.count() == 0 }

// answer answers a query without context, in pieces if that is worth it; for who counts by time if count is not nil.
func (s *Spreader) answer(ctx context.Context, q query.Query, emit func(query.Record) error, count func(ms uint64, n int64) error) (*query.Answer, error) {
	start := s.cfg.now()
	g := &gauge{}
	if q.Watch != nil {
		q.Watch(g.cost)
		q.Watch = nil
	}
	survey, err := s.cfg.Engine.Survey(ctx, q, largeSegment(s.cfg.PieceBytes))
	if err != nil {
		survey.Answer().Stats.Time.Total = s.cfg.now().Sub(start)
		return survey.Answer(), err
	}
	defer survey.Close()
	var stored int64
	for _, e := range survey.Extents {
		stored += e.Bytes
	}
	var ans *query.Answer
	pieces := cut(q.Range, survey.Extents, survey.Hot, pieceSize(stored, s.cfg.PieceBytes))
	whole := survey.Run
	if count != nil {
		whole = func(ctx context.Context, q query.Query, _ func(query.Record) error) (*query.Answer, error) {
			return survey.CountTimes(ctx, q, count)
		}
	}
	if stored <= s.cfg.SmallBytes || len(pieces) <= 1 {
		q.Watch = g.set
		ans, err = whole(ctx, q, emit)
	} else {
		j := &job{s: s, q: q, survey: survey, whole: whole, count: count, attempts: map[uint64]*attempt{}, kick: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
		ans, err = j.run(ctx, pieces, emit, g)
	}
	ans.Stats.Time.Total = s.cfg.now().Sub(start)
	return ans, err
}

// gauge tells what a query has cost so far, once there is something to tell.
type gauge struct {
	mu sync.Mutex
	of func() query.Stats
}

func (g *gauge) set(of func() query.Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of = of
}

func (g *gauge) cost() query.Stats {
	g.mu.Lock()
	of := g.of
	g.mu.Unlock()
	if of == nil {
		return query.Stats{}
	}
	return of()
}
