package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// diskGate stands before the store's disk: while it is shut no transaction is
// written, so whatever leaves the broker meanwhile would be lost by a power cut.
type diskGate struct {
	mu      sync.Mutex
	moved   sync.Cond
	shut    bool
	waiting bool  // the committer stands before it, with a transaction
	fault   error // what the disk says
}

func (g *diskGate) pass() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.waiting = true
		g.moved.Wait()
	}
	g.waiting = false
	return g.fault
}

// fail breaks the disk, nil mends it.
func (g *diskGate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = err
}

func (g *diskGate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.moved.Broadcast()
}

func (g *diskGate) holdsOne() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut && g.waiting
}

// table is a broker whose disk can be held, for the rows of the durability
// table (docs/ARCHITECTURE.md).
type table struct {
	*server
	gate *diskGate
}

func newTable(t *testing.T) *table {
	t.Helper()
	g := new(diskGate)
	g.moved.L = &g.mu
	s := &server{t: t, dir: t.TempDir(), hold: g.pass}
	s.opts = Options{Listeners: []Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1, Loops: 2}
	s.start()
	t.Cleanup(func() {
		g.set(false)
		s.close()
	})
	return &table{s, g}
}

// shut holds the disk, once all that came before is on it.
func (s *table) shut() {
	s.t.Helper()
	if err := s.st.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.gate.set(true)
}

// held waits until a transaction stands before the disk, and sees that nothing
// but pings is answered to these clients.
func (s *table) held(clients ...*wire) {
	s.t.Helper()
	eventually(s.t, "a transaction before the disk", s.gate.holdsOne)
	for range 3 { // an answer that another goroutine gives comes before the third
		for _, w := range clients {
			w.send(&mqtt.Pingreq{})
			if p := w.read(); p.Type() != mqtt.PINGRESP {
				s.t.Fatalf("%v left before it was durable: %+v", p.Type(), p)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// silent is held for a client that has no CONNACK yet, which may not ping: it
// reads in the background, and what comes while the disk is held is a fault.
func (s *table) silent(w *wire) (answer chan mqtt.Packet) {
	s.t.Helper()
	answer = make(chan mqtt.Packet, 1)
	go func() {
		p, err := w.next()
		if err != nil {
			close(answer)
			return
		}
		answer <- p
	}()
	eventually(s.t, "a transaction before the disk", s.gate.holdsOne)
	other := s.wire("somebody else") // takes longer than an answer that waits for nothing
	other.Close()
	select {
	case p := <-answer:
		s.t.Fatalf("%+v left before it was durable", p)
	default:
	}
	return answer
}

func (s *table) open() { s.gate.set(false) }

// want reads a packet of that type; kind 0: none comes before the answer to a
// ping.
func (w *wire) want(kind mqtt.PacketType) mqtt.Packet {
	w.t.Helper()
	p := w.read()
	if p.Type() != kind {
		w.t.Fatalf("%v came, want %v: %+v", p.Type(), kind, p)
	}
	return p
}

func (w *wire) quiet() {
	w.t.Helper()
	w.send(&mqtt.Pingreq{})
	w.want(mqtt.PINGRESP)
}

// durableConnect is a CONNECT for a session that lasts an hour.
func durableConnect(id string) *mqtt.Connect {
	return &mqtt.Connect{Version: mqtt.V5, ClientID: id, Properties: &mqtt.Properties{
		Present: mqtt.PropertiesOf(mqtt.PropSessionExpiry), SessionExpiry: 3600}}
}

// away leaves a durable session with these subscriptions behind.
func (s *table) away(id, filter string, qos byte) {
	s.t.Helper()
	w := s.durableWire(id)
	w.subscribe(filter, qos)
	s.leave(w, id)
}

// leave disconnects a client and waits until the broker knows.
func (s *table) leave(w *wire, id string) {
	s.t.Helper()
	s.leaveWith(w, id, &mqtt.Disconnect{})
}

func (s *table) leaveWith(w *wire, id string, p *mqtt.Disconnect) {
	s.t.Helper()
	w.send(p)
	eventually(s.t, id+" is away", func() bool {
		for _, c := range s.b.Clients() {
			if c.ID == id {
				return !c.Connected
			}
		}
		return false
	})
}

// TestNothingLeavesEarly goes through the rows of the durability table: with the
// disk held the packet does not leave, with the disk released it does.
func TestNothingLeavesEarly(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(t *testing.T, s *table)
	}{
		{"PUBACK, a persistent recipient", func(t *testing.T, s *table) {
			s.away("r", "a", 1)
			w := s.wire("p")
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x")})
			s.held(w)
			s.open()
			w.want(mqtt.PUBACK)
		}},
		{"PUBACK, retained of class commit", func(t *testing.T, s *table) {
			w := s.wire("p")
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x"), Retain: true})
			s.held(w)
			s.open()
			w.want(mqtt.PUBACK)
		}},
		{"PUBACK, retained is cleared", func(t *testing.T, s *table) {
			w := s.wire("p")
			w.publish("a", []byte("x"), true)
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Retain: true})
			s.held(w)
			s.open()
			w.want(mqtt.PUBACK)
		}},
		{"PUBACK, nothing durable", func(t *testing.T, s *table) {
			w, sub := s.wire("p"), s.wire("s")
			sub.subscribe("a", 1)
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x")})
			w.want(mqtt.PUBACK)
			sub.want(mqtt.PUBLISH)
		}},
		{"PUBACKs keep their order", func(t *testing.T, s *table) {
			s.away("r", "a", 1)
			w := s.wire("p")
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x")})
			w.send(&mqtt.Publish{Topic: "nobody", QoS: 1, ID: 2, Payload: []byte("x")})
			s.held(w)
			s.open()
			for id := mqtt.PacketID(1); id <= 2; id++ {
				if a := w.want(mqtt.PUBACK).(*mqtt.Puback); a.ID != id {
					t.Errorf("PUBACK %d, want %d", a.ID, id)
				}
			}
		}},
		{"PUBACK, the recipient was quicker than the disk", func(t *testing.T, s *table) {
			w, r := s.wire("p"), s.durableWire("r")
			r.subscribe("a", 1)
			w.subscribe("bar", 0)
			s.shut()
			// One transaction stands before the disk already; what comes now waits.
			w.send(&mqtt.Publish{Topic: "bar", QoS: 0, Retain: true, Payload: []byte("x")})
			other := s.wire("q")
			other.send(&mqtt.Publish{Topic: "other", QoS: 1, ID: 9, Retain: true, Payload: []byte("x")})
			w.want(mqtt.PUBLISH)
			s.held(other)
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x")})
			p := r.want(mqtt.PUBLISH).(*mqtt.Publish)
			r.send(&mqtt.Puback{ID: p.ID})
			w.want(mqtt.PUBACK) // cancelled out: nobody needs it any more
			s.held(other)
			s.open()
			other.want(mqtt.PUBACK)
		}},
		{"PUBREC, persistent publisher", func(t *testing.T, s *table) {
			w := s.durableWire("p")
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x")})
			s.held(w)
			// A repeat joins the original and is not answered ahead of it.
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x"), Dup: true})
			s.held(w)
			s.open()
			w.want(mqtt.PUBREC)
			w.want(mqtt.PUBREC)
		}},
		{"PUBREC, persistent recipient", func(t *testing.T, s *table) {
			s.away("r", "a", 2)
			w := s.wire("p")
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x")})
			s.held(w)
			s.open()
			w.want(mqtt.PUBREC)
		}},
		{"PUBCOMP", func(t *testing.T, s *table) {
			w := s.durableWire("p")
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x")})
			w.want(mqtt.PUBREC)
			s.shut()
			w.send(&mqtt.Pubrel{ID: 1})
			s.held(w)
			w.send(&mqtt.Pubrel{ID: 1}) // joins
			s.held(w)
			s.open()
			w.want(mqtt.PUBCOMP)
			w.want(mqtt.PUBCOMP)
		}},
		{"PUBLISH out of QoS 1 waits for nobody", func(t *testing.T, s *table) {
			s.away("r", "a", 1)
			w, sub := s.wire("p"), s.durableWire("s")
			sub.subscribe("a", 1)
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 1, ID: 1, Payload: []byte("x")})
			sub.want(mqtt.PUBLISH)
			s.held(w)
			s.open()
			w.want(mqtt.PUBACK)
		}},
		{"PUBLISH out of QoS 2, at any QoS", func(t *testing.T, s *table) {
			w := s.durableWire("p")
			var subs []*wire
			for qos := range byte(3) {
				clean, lasting := s.wire(fmt.Sprint("clean", qos)), s.durableWire(fmt.Sprint("lasting", qos))
				clean.subscribe("a", qos)
				lasting.subscribe("a", qos)
				subs = append(subs, clean, lasting)
			}
			s.shut()
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x")})
			s.held(append(subs, w)...)
			s.open()
			w.want(mqtt.PUBREC)
			for i, sub := range subs {
				if p := sub.want(mqtt.PUBLISH).(*mqtt.Publish); int(p.QoS) != i/2 {
					t.Errorf("QoS %d for the subscription with QoS %d", p.QoS, i/2)
				}
			}
		}},
		{"PUBLISH at QoS 2: message and packet id, live and out of the queue", func(t *testing.T, s *table) {
			sub := s.durableWire("s")
			sub.subscribe("a", 2)
			s.shut()
			w := s.wire("p")
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("live")})
			s.held(w, sub)
			s.open()
			w.want(mqtt.PUBREC)
			sub.want(mqtt.PUBLISH)
			s.leave(sub, "s")
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 2, Payload: []byte("queued")})
			w.want(mqtt.PUBREC)
			s.shut()
			sub = s.wire("")
			sub.send(durableConnect("s"))
			sub.want(mqtt.CONNACK) // nothing of the session has changed
			if p := sub.want(mqtt.PUBLISH).(*mqtt.Publish); !p.Dup || string(p.Payload) != "live" {
				t.Errorf("%+v, want what was under way", p)
			}
			s.held(sub)
			s.open()
			if p := sub.want(mqtt.PUBLISH).(*mqtt.Publish); string(p.Payload) != "queued" {
				t.Errorf("%+v, want what was queued", p)
			}
		}},
		{"PUBLISH at QoS 2 of a retained message, for a persistent session", func(t *testing.T, s *table) {
			w := s.wire("p")
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x"), Retain: true})
			w.want(mqtt.PUBREC)
			sub := s.durableWire("s")
			s.shut()
			sub.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "a", Options: 2}}})
			s.held(sub)
			s.open()
			sub.want(mqtt.SUBACK)
			sub.want(mqtt.PUBLISH)
		}},
		{"PUBREL out", func(t *testing.T, s *table) {
			sub, w := s.durableWire("s"), s.wire("p")
			sub.subscribe("a", 2)
			w.send(&mqtt.Publish{Topic: "a", QoS: 2, ID: 1, Payload: []byte("x")})
			p := sub.want(mqtt.PUBLISH).(*mqtt.Publish)
			s.shut()
			sub.send(&mqtt.Pubrec{ID: p.ID})
			s.held(sub)
			sub.send(&mqtt.Pubrec{ID: p.ID}) // a repeat changes nothing
			s.held(sub)
			s.open()
			sub.want(mqtt.PUBREL)
			s.shut()
			sub.send(&mqtt.Pubcomp{ID: p.ID}) // nobody waits for this one
			sub.quiet()
		}},
		{"SUBACK, also of a repeat", func(t *testing.T, s *table) {
			w := s.durableWire("s")
			s.shut()
			sub := &mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "a", Options: 1}}}
			w.send(sub)
			s.held(w)
			sub.ID = 2 // changes nothing, and is as true as the first
			w.send(sub)
			s.held(w)
			s.open()
			for id := mqtt.PacketID(1); id <= 2; id++ {
				if a := w.want(mqtt.SUBACK).(*mqtt.Suback); a.ID != id {
					t.Errorf("SUBACK %d, want %d", a.ID, id)
				}
			}
			s.shut()
			sub.ID = 3
			w.send(sub)
			w.want(mqtt.SUBACK) // it is on the disk
		}},
		{"UNSUBACK, also of a repeat", func(t *testing.T, s *table) {
			w := s.durableWire("s")
			w.subscribe("a", 1)
			s.shut()
			uns := &mqtt.Unsubscribe{ID: 1, Filters: []string{"a"}}
			w.send(uns)
			s.held(w)
			uns.ID = 2 // it says that there is none: a power cut must not bring it back
			w.send(uns)
			s.held(w)
			s.open()
			for id := mqtt.PacketID(1); id <= 2; id++ {
				if a := w.want(mqtt.UNSUBACK).(*mqtt.Unsuback); a.ID != id {
					t.Errorf("UNSUBACK %d, want %d", a.ID, id)
				}
			}
		}},
		{"CONNACK, new session", func(t *testing.T, s *table) {
			s.shut()
			w := s.wire("")
			w.send(durableConnect("c"))
			answer := s.silent(w)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK, the session's first one never came", func(t *testing.T, s *table) {
			s.shut()
			w := s.wire("")
			w.send(durableConnect("c"))
			s.silent(w)
			w.Close()
			again := s.wire("")
			again.send(durableConnect("c"))
			answer := s.silent(again)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK, with a will", func(t *testing.T, s *table) {
			s.shut()
			w := s.wire("")
			w.send(&mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true, Will: &mqtt.Will{Topic: "w", Payload: []byte("gone")}})
			answer := s.silent(w)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK, a clean start over a session", func(t *testing.T, s *table) {
			s.away("c", "a", 1)
			s.shut()
			w := s.wire("")
			w.send(&mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true})
			answer := s.silent(w)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK, nothing has changed", func(t *testing.T, s *table) {
			s.away("c", "a", 1)
			s.shut()
			w := s.wire("")
			w.send(durableConnect("c"))
			if a := w.want(mqtt.CONNACK).(*mqtt.Connack); !a.SessionPresent {
				t.Error("the session is not present")
			}
		}},
		{"CONNACK after DISCONNECT has changed the expiry", func(t *testing.T, s *table) {
			w := s.durableWire("c")
			s.shut()
			s.leaveWith(w, "c", &mqtt.Disconnect{Properties: &mqtt.Properties{Present: mqtt.PropertiesOf(mqtt.PropSessionExpiry), SessionExpiry: 7200}})
			p := durableConnect("c")
			p.Properties.SessionExpiry = 7200 // as it is since then, if the disk has it
			again := s.wire("")
			again.send(p)
			answer := s.silent(again)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK after DISCONNECT has taken the will back", func(t *testing.T, s *table) {
			w := s.wire("")
			p := durableConnect("c")
			p.Will = &mqtt.Will{Topic: "w", Payload: []byte("gone")}
			w.send(p)
			w.want(mqtt.CONNACK)
			s.shut()
			s.leave(w, "c")
			again := s.wire("")
			again.send(durableConnect("c"))
			answer := s.silent(again)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"CONNACK of a takeover that ends a will", func(t *testing.T, s *table) {
			w := s.wire("")
			p := durableConnect("c")
			p.Will = &mqtt.Will{Topic: "w", Payload: []byte("gone")}
			w.send(p)
			w.want(mqtt.CONNACK)
			s.shut()
			again := s.wire("")
			again.send(durableConnect("c"))
			answer := s.silent(again)
			s.open()
			if p := <-answer; p == nil || p.Type() != mqtt.CONNACK {
				t.Errorf("%+v", p)
			}
		}},
		{"bridge session: what the remote sent", func(t *testing.T, s *table) {
			s.away("r", "a", 1)
			l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
			if err != nil {
				t.Fatal(err)
			}
			for _, qos := range []mqtt.QoS{1, 2} {
				s.shut()
				done := make(chan error, 2)
				for range 2 { // and a repeat
					err := l.Receive(t.Context(), Publication{Topic: "a", QoS: qos, Payload: []byte("x")}, 7, false, func(err error) { done <- err })
					if err != nil {
						t.Fatal(err)
					}
				}
				s.heldLink(done)
				s.open()
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
			s.shut()
			done := make(chan error, 2)
			l.Release(7, func(err error) { done <- err })
			l.Release(7, func(err error) { done <- err })
			s.heldLink(done)
			s.open()
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}},
		{"bridge session: what the remote gets", func(t *testing.T, s *table) {
			l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
			if err != nil {
				t.Fatal(err)
			}
			s.shut()
			subscribed := make(chan error, 1)
			go func() { subscribed <- l.Subscribe(0, mqtt.Request{Filter: "a", Options: 2}) }()
			s.heldLink(subscribed)
			s.open()
			if err := <-subscribed; err != nil {
				t.Fatal(err)
			}
			l.Resume(10)
			s.shut()
			published := make(chan error, 1)
			if err := s.b.Publish(t.Context(), Publication{Topic: "a", QoS: 2, Payload: []byte("x")}, func(err error) { published <- err }); err != nil {
				t.Fatal(err)
			}
			s.heldLink(published)
			if d, ok := l.TryNext(); ok {
				t.Fatalf("%+v left before it was durable", d)
			}
			s.open()
			if err := <-published; err != nil {
				t.Error(err)
			}
			d, err := l.Next(t.Context())
			if err != nil || d.QoS != 2 {
				t.Fatalf("%+v, %v", d, err)
			}
			s.shut()
			released := make(chan error, 1)
			if err := l.Rec(d.PacketID, mqtt.Success, func(err error) { released <- err }); err != nil {
				t.Fatal(err)
			}
			s.heldLink(released)
			s.open()
			if err := <-released; err != nil {
				t.Error(err)
			}
			s.shut()
			gone := make(chan error, 1)
			go func() { gone <- l.Unsubscribe("a") }()
			s.heldLink(gone)
			s.open()
			if err := <-gone; err != nil {
				t.Error(err)
			}
		}},
		{"bridge session: the link itself", func(t *testing.T, s *table) {
			s.shut()
			opened := make(chan error, 1)
			go func() {
				_, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
				opened <- err
			}()
			s.heldLink(opened)
			s.open()
			if err := <-opened; err != nil {
				t.Error(err)
			}
		}},
		{"a publication of the process itself", func(t *testing.T, s *table) {
			s.away("r", "a", 1)
			s.shut()
			done := make(chan error, 1)
			if err := s.b.Publish(t.Context(), Publication{Topic: "a", QoS: 1, Payload: []byte("x")}, func(err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			s.heldLink(done)
			s.open()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) { row.test(t, newTable(t)) })
	}
}

// heldLink is held for what runs in the process.
func (s *table) heldLink(done chan error) {
	s.t.Helper()
	eventually(s.t, "a transaction before the disk", s.gate.holdsOne)
	other := s.wire("") // a round trip: whatever waits for nothing has run
	other.send(&mqtt.Connect{Version: mqtt.V5, ClientID: "round trip", CleanStart: true})
	other.want(mqtt.CONNACK)
	other.Close()
	select {
	case err := <-done:
		s.t.Fatalf("done before it was durable (%v)", err)
	default:
	}
}

// broken breaks the disk. The store learns it with the next transaction; what
// it says of its health is no sign, since it opens again and again, and that
// may succeed until it writes.
func (s *table) broken() {
	s.t.Helper()
	s.gate.fail(errors.New("input/output error"))
	done := make(chan error, 1)
	if err := s.b.Publish(s.t.Context(), Publication{Topic: "noticed", QoS: 1, Retain: true, Payload: []byte("x")}, func(err error) { done <- err }); err != nil {
		s.t.Fatal(err)
	}
	if err := <-done; err == nil {
		s.t.Fatal("a broken disk took a message")
	}
}

func (s *table) mended() {
	s.t.Helper()
	s.gate.fail(nil)
	eventually(s.t, "the store works again", func() bool { return s.st.Health().OK })
}

// TestSavedAfterAll: what the disk refused is not there, whatever memory has. A
// session whose CONNECT was refused does not begin by that; and a subscription
// that was answered with a failure is written by the next SUBSCRIBE, which must
// not take it for unchanged.
func TestSavedAfterAll(t *testing.T) {
	t.Run("session", func(t *testing.T) {
		s := newTable(t)
		s.broken()
		w := s.wire("")
		w.send(durableConnect("c"))
		if a := w.want(mqtt.CONNACK).(*mqtt.Connack); !a.Code.Failed() {
			t.Fatalf("%+v from a broken disk", a)
		}
		s.mended()
		w = s.wire("")
		w.send(durableConnect("c"))
		if a := w.want(mqtt.CONNACK).(*mqtt.Connack); a.Code.Failed() || a.SessionPresent {
			t.Fatalf("%+v, want a new session", a)
		}
		w.subscribe("a", 1)
		s.leave(w, "c")
		s.wire("p").publish("a", []byte("kept"), false)
		s.restart()
		w = s.wire("")
		w.send(durableConnect("c"))
		if a := w.want(mqtt.CONNACK).(*mqtt.Connack); !a.SessionPresent {
			t.Error("the session is not present")
		}
		if p := w.want(mqtt.PUBLISH).(*mqtt.Publish); string(p.Payload) != "kept" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("subscription", func(t *testing.T) {
		s := newTable(t)
		w := s.durableWire("c")
		w.subscribe("old", 1)
		s.broken()
		if code := w.subscribe("a", 1); !code.Failed() {
			t.Fatalf("SUBACK %v from a broken disk", code)
		}
		w.send(&mqtt.Unsubscribe{ID: 2, Filters: []string{"old"}})
		if a := w.want(mqtt.UNSUBACK).(*mqtt.Unsuback); !a.Codes[0].Failed() {
			t.Fatalf("UNSUBACK %v from a broken disk", a.Codes[0])
		}
		s.mended()
		if code := w.subscribe("a", 1); code != mqtt.GrantedQoS1 {
			t.Fatalf("SUBACK %v", code)
		}
		s.leave(w, "c")
		s.restart()
		p := s.wire("p")
		p.publish("old", []byte("not any more"), false)
		p.publish("a", []byte("kept"), false)
		w = s.wire("")
		w.send(durableConnect("c"))
		w.want(mqtt.CONNACK)
		if p := w.want(mqtt.PUBLISH).(*mqtt.Publish); string(p.Payload) != "kept" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("link", func(t *testing.T) {
		s := newTable(t)
		s.broken()
		if _, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires}); err == nil {
			t.Fatal("a link on a broken disk")
		}
		s.mended()
		l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
		if err != nil {
			t.Fatal(err)
		}
		s.broken()
		if err := l.Subscribe(0, mqtt.Request{Filter: "a", Options: 1}); err == nil {
			t.Fatal("a subscription on a broken disk")
		}
		s.mended()
		if err := l.Subscribe(0, mqtt.Request{Filter: "a", Options: 1}); err != nil {
			t.Fatal(err)
		}
		s.wire("p").publish("a", []byte("kept"), false)
		s.restart()
		if l, err = s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires}); err != nil {
			t.Fatal(err)
		}
		l.Resume(10)
		if d, err := l.Next(t.Context()); err != nil || string(d.Message.Payload) != "kept" {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// TestWillOfATakeover: a will that a takeover has published is over; a power cut
// later does not bring it back.
func TestWillOfATakeover(t *testing.T) {
	s := newServer(t, nil)
	sub := s.wire("sub")
	sub.subscribe("w", 0)
	w := s.wire("")
	p := durableConnect("c")
	p.Will = &mqtt.Will{Topic: "w", Payload: []byte("gone")}
	w.send(p)
	w.want(mqtt.CONNACK)
	again := s.wire("")
	again.send(durableConnect("c"))
	again.want(mqtt.CONNACK)
	sub.want(mqtt.PUBLISH)
	err := s.st.Load(store.Loader{Will: func(_ store.SessionID, w store.Will) error {
		t.Errorf("the store has the will for %s", w.Message.Topic)
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}
