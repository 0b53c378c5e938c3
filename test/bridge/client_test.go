package bridge_test

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// client is an MQTT client that acknowledges what it receives and keeps it.
type client struct {
	t       testing.TB
	addr    string
	id      string
	version mqtt.Version
	keeps   bool // a session that outlives the connection

	conn net.Conn
	done chan struct{}

	mu      sync.Mutex // guards the fields below, and writes
	got     []mqtt.Message
	held    map[mqtt.PacketID]bool
	subacks chan *mqtt.Suback
	acked   map[mqtt.PacketID]chan struct{}
	next    mqtt.PacketID
	present bool
}

func newClient(t testing.TB, addr, id string) *client {
	return &client{t: t, addr: addr, id: id, version: mqtt.V5, held: map[mqtt.PacketID]bool{}, acked: map[mqtt.PacketID]chan struct{}{}}
}

// listen is a client that is connected and subscribed.
func listen(t testing.TB, addr, id string, qos mqtt.Options, filters ...string) *client {
	t.Helper()
	c := newClient(t, addr, id).mustConnect()
	for _, f := range filters {
		c.subscribe(f, qos)
	}
	return c
}

func (n *client) connect() error {
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		return err
	}
	p := &mqtt.Connect{Version: n.version, ClientID: n.id, CleanStart: !n.keeps, KeepAlive: 60}
	if n.keeps && n.version == mqtt.V5 {
		p.Properties = &mqtt.Properties{SessionExpiry: 3600}
	}
	if _, err := conn.Write(p.Append(nil, n.version)); err != nil {
		conn.Close()
		return err
	}
	n.conn, n.done, n.subacks = conn, make(chan struct{}), make(chan *mqtt.Suback, 1)
	ready := make(chan error, 1)
	go n.read(conn, ready, n.done)
	select {
	case err := <-ready:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("no CONNACK")
	}
}

func (n *client) mustConnect() *client {
	n.t.Helper()
	if err := n.connect(); err != nil {
		n.t.Fatalf("%s at %s: %v", n.id, n.addr, err)
	}
	n.t.Cleanup(n.close)
	return n
}

func (n *client) close() {
	n.conn.Close()
	<-n.done
}

func (n *client) read(conn net.Conn, ready chan error, done chan struct{}) {
	defer close(done)
	defer func() {
		select {
		case ready <- errors.New("closed before CONNACK"):
		default:
		}
	}()
	_ = packets(conn, func(b []byte) error {
		p, err := mqtt.Decode(n.version, b)
		if err != nil {
			return err
		}
		n.packet(p, ready)
		return nil
	})
}

// packets calls f with every whole packet that comes, until the connection or f ends.
func packets(conn net.Conn, f func([]byte) error) error {
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		k, err := conn.Read(chunk)
		buf = append(buf, chunk[:k]...)
		used := 0
		for {
			size, bad := mqtt.Split(buf[used:], 0)
			if bad != nil {
				return bad
			}
			if size == 0 {
				break
			}
			if err := f(buf[used : used+size]); err != nil {
				return err
			}
			used += size
		}
		buf = append(buf[:0], buf[used:]...)
		if err != nil {
			return err
		}
	}
}

func (n *client) packet(p mqtt.Packet, ready chan error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := p.(type) {
	case *mqtt.Connack:
		n.present = p.SessionPresent
		if !p.SessionPresent {
			clear(n.held)
		}
		if p.Code.Failed() {
			ready <- errors.New(p.Code.String())
		} else {
			ready <- nil
		}
	case *mqtt.Publish:
		if p.QoS < 2 || !n.held[p.ID] {
			n.got = append(n.got, *p.NewMessage(""))
		}
		if p.QoS == 1 {
			n.sendLocked(&mqtt.Puback{ID: p.ID})
		} else if p.QoS == 2 {
			n.held[p.ID] = true
			n.sendLocked(&mqtt.Pubrec{ID: p.ID})
		}
	case *mqtt.Pubrel:
		delete(n.held, p.ID)
		n.sendLocked(&mqtt.Pubcomp{ID: p.ID})
	case *mqtt.Pubrec:
		n.sendLocked(&mqtt.Pubrel{ID: p.ID})
	case *mqtt.Puback:
		n.ackedLocked(p.ID)
	case *mqtt.Pubcomp:
		n.ackedLocked(p.ID)
	case *mqtt.Suback:
		n.subacks <- p
	}
}

func (n *client) ackedLocked(id mqtt.PacketID) {
	if ch := n.acked[id]; ch != nil {
		close(ch)
		delete(n.acked, id)
	}
}

func (n *client) sendLocked(p mqtt.Packet) error {
	_, err := n.conn.Write(p.Append(nil, n.version))
	return err
}

func (n *client) subscribe(filter string, options mqtt.Options) {
	n.t.Helper()
	n.mu.Lock()
	err := n.sendLocked(&mqtt.Subscribe{ID: 60000, Requests: []mqtt.Request{{Filter: filter, Options: options}}})
	n.mu.Unlock()
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case p := <-n.subacks:
		if p.Codes[0].Failed() {
			n.t.Fatalf("%s: subscribe %s: %v", n.id, filter, p.Codes[0])
		}
	case <-time.After(10 * time.Second):
		n.t.Fatalf("%s: no SUBACK", n.id)
	}
}

// send publishes and returns a channel that closes with the acknowledgement.
func (n *client) send(topic, payload string, qos mqtt.QoS, retain bool) (<-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	done := make(chan struct{})
	if qos > 0 {
		if n.next = n.next%50000 + 1; n.acked[n.next] != nil {
			return nil, errors.New("too many in flight")
		}
		p.ID, n.acked[n.next] = n.next, done
	} else {
		close(done)
	}
	return done, n.sendLocked(p)
}

func (n *client) publish(topic, payload string, qos mqtt.QoS, retain bool) {
	n.t.Helper()
	done, err := n.send(topic, payload, qos, retain)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		n.t.Fatalf("%s: %s not acknowledged", n.id, topic)
	}
}

// messages returns what came so far.
func (n *client) messages() []mqtt.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]mqtt.Message(nil), n.got...)
}

// received counts what came so far by topic and payload.
func (n *client) received() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := map[string]int{}
	for _, m := range n.got {
		count[m.Topic+" "+string(m.Payload)]++
	}
	return count
}

// expect waits for a message with that topic and payload.
func (n *client) expect(topic, payload string) mqtt.Message {
	n.t.Helper()
	var found mqtt.Message
	eventually(n.t, 20*time.Second, fmt.Sprintf("%s receives %s = %q", n.id, topic, payload), func() bool {
		for _, m := range n.messages() {
			if m.Topic == topic && string(m.Payload) == payload {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// inOrder demands the messages 0 to n-1 on the topic, each once and in order.
func (n *client) inOrder(topic string, want int) {
	n.t.Helper()
	next := 0
	eventually(n.t, 60*time.Second, fmt.Sprintf("%d messages on %s", want, topic), func() bool {
		next = 0
		for _, m := range n.messages() {
			switch {
			case m.Topic != topic:
			case string(m.Payload) == fmt.Sprint(next):
				next++
			case m.QoS == 1 && len(m.Payload) <= len(fmt.Sprint(next)) && (len(m.Payload) < len(fmt.Sprint(next)) || string(m.Payload) < fmt.Sprint(next)):
				// one that was under way when a connection ended, again
			default:
				n.t.Fatalf("%s came on %s when %d was due", m.Payload, topic, next)
			}
		}
		return next >= want
	})
	if next != want {
		n.t.Errorf("%d messages on %s, want %d", next, topic, want)
	}
}

func (n *client) countOn(topic string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := 0
	for _, m := range n.got {
		if m.Topic == topic {
			k++
		}
	}
	return k
}
