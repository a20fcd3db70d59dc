package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Group is how queriers that use the same NATS server find each other and exchange messages. They are a service of NATS's own kind (see
// `nats micro list`), of which each instance has a subject to itself:
//
//	oklog-queriers                 the service: the stream's name in lower case, and -queriers
//	oklog-queriers.<instance ID>   one querier
//
// Messages are delivered at most once. Its methods may be called from any number of goroutines.
type Group struct {
	s    *Stream
	name string
}

// Group returns the group of queriers of the stream.
func (s *Stream) Group() *Group { return &Group{s, strings.ToLower(s.cfg.Stream) + "-queriers"} }

const (
	// Who has not answered after so long is not there; and who answers does so soon after others.
	membersTimeout = 500 * time.Millisecond
	membersQuiet   = 100 * time.Millisecond
	// More answers than that are not waited for.
	maxMembers = 4096
	// What an instance says about itself is no larger, in bytes.
	maxInfo = 64 << 10
	// The endpoint that has the instance's subject.
	memberEndpoint = "member"
	leaveTimeout   = 5 * time.Second
)

// Join makes this connection an instance of the service, which tells about itself what about says. handle is called with the
// messages that come, from one goroutine. leave ends it, and waits for handle.
func (g *Group) Join(about map[string]string, handle func(msg []byte, reply string)) (address string, leave func() error, err error) {
	ended := make(chan struct{})
	svc, err := micro.AddService(g.s.nc, micro.Config{
		Name: g.name, Version: "1.0.0", Description: "queriers of oklog, among which queries are spread", Metadata: about,
		DoneHandler: func(micro.Service) { close(ended) },
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			g.s.log.Warn("the group of queriers has an error", "subject", err.Subject, "cause", err)
		},
	})
	if err != nil {
		return "", nil, fmt.Errorf("add service %s to NATS: %w", g.name, err)
	}
	address = g.name + "." + svc.Info().ID
	var in inHandler
	err = svc.AddEndpoint(memberEndpoint, micro.HandlerFunc(func(r micro.Request) {
		in.call(func() { handle(r.Data(), r.Reply()) })
	}), micro.WithEndpointSubject(address), micro.WithEndpointQueueGroupDisabled())
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("add service %s to NATS: %w", g.name, err), svc.Stop())
	}
	// Once this is through, the server knows the subject.
	if err := g.s.flush(context.Background()); err != nil {
		g.s.log.Debug("the server has not confirmed the group of queriers yet", "cause", err)
	}
	return address, func() error {
		err := svc.Stop()
		in.close()
		if errors.Is(err, nats.ErrConnectionClosed) {
			err = nil // that ends it, too
		}
		if err == nil {
			select {
			case <-ended:
			case <-time.After(leaveTimeout):
			}
		}
		return err
	}, nil
}

// inHandler lets calls through until it is closed, which waits for the one that is under way.
type inHandler struct {
	mu     sync.Mutex
	closed bool
}

func (h *inHandler) call(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		f()
	}
}

func (h *inHandler) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

func (s *Stream) flush(ctx context.Context) error {
	if !s.nc.IsConnected() {
		return ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.nc.FlushWithContext(ctx)
}

// Members asks the service's instances who is there, and calls found with each that answers, its address and what it says about
// itself, until no more answer.
func (g *Group) Members(ctx context.Context, found func(address string, about map[string]string)) error {
	if !g.s.nc.IsConnected() {
		return fmt.Errorf("ask for members: %w: no connection to %s", ErrUnavailable, g.s.where)
	}
	subject, err := micro.ControlSubject(micro.InfoVerb, g.name, "")
	if err != nil {
		return fmt.Errorf("ask for members: %w", err)
	}
	inbox := g.s.nc.NewInbox()
	answers := make(chan *nats.Msg, maxMembers)
	sub, err := g.s.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return fmt.Errorf("ask for members: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection's end has done it otherwise
	if err := g.s.nc.PublishRequest(subject, inbox, nil); err != nil {
		return fmt.Errorf("ask for members: %w", err)
	}
	late := time.NewTimer(membersTimeout)
	defer late.Stop()
	for range maxMembers {
		select {
		case m := <-answers:
			if m.Header.Get("Status") == noResponders {
				return nil
			}
			g.member(m.Data, found)
			late.Reset(membersQuiet)
		case <-late.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// noResponders is the status of the server's answer to a message that nobody subscribes to.
const noResponders = "503"

// member reads what an instance says.
func (g *Group) member(raw []byte, found func(address string, about map[string]string)) {
	var info micro.Info
	if len(raw) > maxInfo || json.Unmarshal(raw, &info) != nil || info.Name != g.name {
		return
	}
	for _, e := range info.Endpoints {
		if e.Name == memberEndpoint && e.Subject == g.name+"."+info.ID {
			found(e.Subject, info.Metadata)
		}
	}
}

// Send sends a message to an address, and names another one for answers unless it is "". It does not wait for a connection.
func (g *Group) Send(to, reply string, msg []byte) error {
	if !g.s.nc.IsConnected() {
		return fmt.Errorf("send to %s: %w: no connection to %s", to, ErrUnavailable, g.s.where)
	}
	m := &nats.Msg{Subject: to, Reply: reply, Data: msg}
	if err := g.s.nc.PublishMsg(m); err != nil {
		return g.s.publishError(to, err)
	}
	return nil
}

// Inbox makes an address for answers. handle is called, from one goroutine, with what comes to address.TOKEN; with nil if nobody was there to
// take what named it.
func (g *Group) Inbox(handle func(token string, msg []byte)) (address string, closeIt func() error, err error) {
	address = g.s.nc.NewInbox()
	var in inHandler
	sub, err := g.s.nc.Subscribe(address+".*", func(m *nats.Msg) {
		token, ok := strings.CutPrefix(m.Subject, address+".")
		if !ok {
			return
		}
		data := m.Data
		if data == nil {
			data = []byte{}
		}
		if len(data) == 0 && m.Header.Get("Status") == noResponders {
			data = nil
		}
		in.call(func() { handle(token, data) })
	})
	if err != nil {
		return "", nil, fmt.Errorf("make an inbox: %w", err)
	}
	return address, func() error {
		in.close()
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("close an inbox: %w", err)
		}
		return nil
	}, nil
}

// MaxMessage is how many bytes a message may have.
func (g *Group) MaxMessage() int { return g.s.MaxBatch() }
