package stream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"oklog/ingest/stream/embedded"
)

type groupMessage struct{ place, text string }

// receive waits for a message.
func receive(t *testing.T, from chan groupMessage) groupMessage {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-testContext(t).Done():
		t.Fatal("no message comes")
		return groupMessage{}
	}
}

func joinGroup(t *testing.T, g *Group, about map[string]string) (address string, leave func() error, heard chan groupMessage) {
	t.Helper()
	heard = make(chan groupMessage, 10)
	address, leave, err := g.Join(about, func(msg []byte, reply string) { heard <- groupMessage{reply, string(msg)} })
	if err != nil {
		t.Fatal(err)
	}
	return address, leave, heard
}

func members(t *testing.T, g *Group) (all []string) {
	t.Helper()
	if err := g.Members(testContext(t), func(address string, about map[string]string) { all = append(all, address+" "+about["group"]) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestGroup(t *testing.T) {
	url := testServer(t, embedded.Config{}).ClientURL()
	one, two := testConnect(t, Config{URL: url}).Group(), testConnect(t, Config{URL: url}).Group()
	other := testConnect(t, Config{URL: url, Stream: "OTHER"}).Group()
	if have := members(t, one); len(have) > 0 {
		t.Fatalf("members %q before anybody joins", have)
	}
	about := map[string]string{"group": "a"}
	addressOne, leaveOne, heardOne := joinGroup(t, one, about)
	addressTwo, leaveTwo, heardTwo := joinGroup(t, two, map[string]string{"group": "b"})
	_, leaveOther, _ := joinGroup(t, other, about)
	want := []string{addressOne + " a", addressTwo + " b"}
	slices.Sort(want)
	eventually(t, "both are known to each other", func() bool {
		return slices.Equal(members(t, one), want) && slices.Equal(members(t, two), want)
	})
	if !maps.Equal(about, map[string]string{"group": "a"}) {
		t.Errorf("what was said about the first became %v", about)
	}

	answers := make(chan groupMessage, 10)
	inbox, closeInbox, err := one.Inbox(func(token string, msg []byte) {
		text := string(msg)
		if msg == nil {
			text = "nobody"
		}
		answers <- groupMessage{token, text}
	})
	if err != nil {
		t.Fatal(err)
	}
	send := func(g *Group, to, reply, text string) {
		t.Helper()
		if err := g.Send(to, reply, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send(one, addressTwo, inbox+".7", "hello")
	if m := receive(t, heardTwo); m != (groupMessage{inbox + ".7", "hello"}) {
		t.Errorf("heard %v", m)
	}
	send(two, inbox+".7", "", "answer")
	if m := receive(t, answers); m != (groupMessage{"7", "answer"}) {
		t.Errorf("heard %v", m)
	}
	send(two, inbox+".7", "", "")
	if m := receive(t, answers); m != (groupMessage{"7", ""}) {
		t.Errorf("an empty answer is %v", m)
	}
	send(two, addressOne, "", "to you alone")
	if m := receive(t, heardOne); m != (groupMessage{"", "to you alone"}) {
		t.Errorf("heard %v", m)
	}
	if len(heardTwo) > 0 {
		t.Error("a message came to the other, too")
	}
	if err := one.Send(addressTwo, "", make([]byte, one.s.nc.MaxPayload()+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a message that is too large: %v", err)
	}

	if err := leaveTwo(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other has left", func() bool { return slices.Equal(members(t, one), []string{addressOne + " a"}) })
	send(one, addressTwo, inbox+".8", "hello")
	if m := receive(t, answers); m != (groupMessage{"8", "nobody"}) {
		t.Errorf("heard %v", m)
	}
	for _, f := range []func() error{closeInbox, leaveOne, leaveOther} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
}

// Without a connection, nothing waits for one.
func TestGroupWithoutServer(t *testing.T) {
	p := startProcess(t, t.TempDir(), "127.0.0.1:0")
	s := testConnect(t, Config{URL: p.url})
	g := s.Group()
	address, leave, _ := joinGroup(t, g, nil)
	p.kill()
	eventually(t, "the connection is lost", func() bool { return !s.Connected() })
	if err := g.Send(address, "", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("send: %v", err)
	}
	if err := g.Members(context.Background(), func(string, map[string]string) {}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("members: %v", err)
	}
	if err := leave(); err != nil {
		t.Errorf("leave: %v", err)
	}
}
