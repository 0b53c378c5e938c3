// Command standin is a broker with one purpose: to prove that the power-cut
// rig sees what it should. With -sync all it keeps every promise of MQTT over
// a power cut; with -sync none it forgets to sync, and with -sync messages it
// syncs messages but not the QoS 2 packet ids; the rig must catch both.
//
// It is as simple as it can be: one lock, one append-only log of what
// happened, and everything that was read from a connection is answered after
// one sync.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"gatewayd/test/rig"
)

func main() {
	data := flag.String("data", "/data", "folder of the log")
	listen := flag.String("listen", ":1883", "address")
	mode := flag.String("sync", "all", "all, messages or none")
	flag.Parse()
	if flag.Arg(0) == "verify" {
		if _, err := openLog(*data+"/log", *mode, func(record) {}); err != nil {
			fail(err)
		}
		return
	}
	b := &broker{sessions: map[string]*session{}, retained: map[string]*message{}, holds: map[string]bool{}, touched: map[*session]bool{}}
	var err error
	if b.log, err = openLog(*data+"/log", *mode, b.apply); err != nil {
		fail(err)
	}
	clear(b.touched)
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fail(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			fail(err)
		}
		go b.serve(conn)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "standin:", err)
	os.Exit(1)
}

type message struct {
	topic   string
	payload []byte
	qos     byte
}

// delivery is a message on its way to one session.
type delivery struct {
	message *message
	id      uint16 // given when it was sent first
	sent    bool   // in this connection
	rec     bool   // PUBREC came: only PUBREL may follow
}

type session struct {
	id      string
	client  *rig.Client
	filters map[string]byte
	queue   []*delivery
	last    uint16 // packet id
}

type broker struct {
	mu       sync.Mutex // guards everything
	log      *journal
	sessions map[string]*session
	retained map[string]*message
	holds    map[string]bool // "client/id" of inbound QoS 2
	touched  map[*session]bool
}

const window = 50 // deliveries in flight

func (b *broker) serve(conn net.Conn) {
	defer conn.Close()
	c, id, clean, err := rig.Accept(conn)
	if err != nil {
		return
	}
	b.mu.Lock()
	present := b.sessions[id] != nil && !clean
	if !present {
		b.do(record{Op: "session", Client: id})
	}
	s := b.sessions[id]
	s.client = c
	for _, d := range s.queue {
		d.sent = false
	}
	c.Answer(present)
	b.touched[s] = true
	b.finish()
	b.mu.Unlock()
	for {
		p, err := c.Read()
		if err != nil {
			break
		}
		b.mu.Lock()
		b.packet(id, s, c, p)
		for err == nil && c.Buffered() {
			if p, err = c.Read(); err == nil {
				b.packet(id, s, c, p)
			}
		}
		b.finish()
		b.mu.Unlock()
		c.Flush()
	}
	b.mu.Lock()
	if s.client == c {
		s.client = nil
	}
	b.mu.Unlock()
}

// finish makes durable what was done and lets out what waited for it.
func (b *broker) finish() {
	if err := b.log.save(); err != nil {
		fail(err)
	}
	for s := range b.touched {
		if s.client == nil {
			continue
		}
		bound := s.send(b)
		if bound { // packet ids must be safe before they are seen
			if err := b.log.save(); err != nil {
				fail(err)
			}
		}
		s.client.Flush()
	}
	clear(b.touched)
}

func (s *session) send(b *broker) (bound bool) {
	for _, d := range s.queue[:min(len(s.queue), window)] {
		if d.sent {
			continue
		}
		d.sent = true
		dup := d.id != 0
		if !dup {
			for d.id == 0 || s.find(d.id) != d {
				s.last++
				d.id = s.last
			}
			b.log.add(record{Op: "bind", Client: s.id, ID: d.id, Topic: d.message.topic, Payload: d.message.payload})
			bound = true
		}
		if d.rec {
			s.client.Ack(rig.PUBREL, d.id)
			continue
		}
		s.client.Publish(d.message.topic, d.message.payload, d.message.qos, false, dup, d.id)
	}
	return bound
}

func (s *session) find(id uint16) *delivery {
	for _, d := range s.queue {
		if d.id == id && id != 0 {
			return d
		}
	}
	return nil
}

func (b *broker) packet(id string, s *session, c *rig.Client, p rig.Packet) {
	switch p.Type {
	case rig.SUBSCRIBE:
		b.do(record{Op: "subscribe", Client: id, Topic: p.Topic, QoS: p.QoS})
		c.Granted(p.ID, p.QoS)
		for topic, m := range b.retained {
			if match(p.Topic, topic) {
				c.Publish(topic, m.payload, 0, true, false, 0)
			}
		}
	case rig.PUBLISH:
		held := b.holds[fmt.Sprint(id, "/", p.ID)]
		if p.QoS < 2 || !held {
			b.do(record{Op: "message", Client: id, ID: p.ID, QoS: p.QoS, Topic: p.Topic, Payload: p.Payload, Retain: p.Retain})
		}
		if p.QoS > 0 {
			c.Ack(rig.PUBACK+p.QoS-1, p.ID) // PUBREC follows PUBACK
		}
	case rig.PUBREL:
		b.do(record{Op: "release", Client: id, ID: p.ID})
		c.Ack(rig.PUBCOMP, p.ID)
	case rig.PUBREC:
		b.do(record{Op: "rec", Client: id, ID: p.ID})
		c.Ack(rig.PUBREL, p.ID)
	case rig.PUBACK, rig.PUBCOMP:
		b.do(record{Op: "done", Client: id, ID: p.ID})
		b.touched[s] = true
	}
}

func (b *broker) do(r record) {
	b.log.add(r)
	b.apply(r)
}

// apply steps the state by one record; it is also how the log is read back.
func (b *broker) apply(r record) {
	s := b.sessions[r.Client]
	switch r.Op {
	case "session":
		b.sessions[r.Client] = &session{id: r.Client, filters: map[string]byte{}}
	case "subscribe":
		s.filters[r.Topic] = r.QoS
	case "message":
		m := &message{r.Topic, r.Payload, r.QoS}
		if r.QoS == 2 {
			b.holds[fmt.Sprint(r.Client, "/", r.ID)] = true
		}
		if r.Retain {
			b.retained[r.Topic] = m
		}
		for _, to := range b.sessions {
			for f := range to.filters {
				if match(f, r.Topic) {
					to.queue = append(to.queue, &delivery{message: m})
					b.touched[to] = true
				}
			}
		}
	case "release":
		delete(b.holds, fmt.Sprint(r.Client, "/", r.ID))
	case "bind":
		for _, d := range s.queue {
			if d.id == 0 && d.message.topic == r.Topic && string(d.message.payload) == string(r.Payload) {
				d.id, s.last = r.ID, r.ID
				break
			}
		}
	case "rec":
		if d := s.find(r.ID); d != nil {
			d.rec = true
		}
	case "done":
		for i, d := range s.queue {
			if d.id == r.ID {
				s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
				break
			}
		}
	}
}

// match knows only what the rig uses: a name, or a prefix and /#.
func match(filter, topic string) bool {
	prefix, all := strings.CutSuffix(filter, "#")
	return filter == topic || all && strings.HasPrefix(topic, prefix)
}
