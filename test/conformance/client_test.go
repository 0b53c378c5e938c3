package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// options of a CONNECT.
type options struct {
	v         byte // 3, 4 or 5; 0: 4
	id        string
	noID      bool // send a zero-length id where id is empty; else one is made up
	resume    bool // clean session 0 / clean start 0
	keepAlive uint16
	props     props
	will      *will
	user      string
	password  string
}

type will struct {
	topic, payload string
	qos            byte
	retain         bool
	props          props
}

const patience = 30 * time.Second // for what must come, on a machine with much else to do

var serial atomic.Int64

// unique makes a name nobody else uses on the shared broker.
func unique(prefix string) string { return fmt.Sprintf("%s-%d-%d", prefix, os.Getpid(), serial.Add(1)) }

func (o *options) encode() []byte {
	body := str(nil, "MQTT")
	if o.v == 3 {
		body = str(nil, "MQIsdp")
	}
	var flags byte
	if !o.resume {
		flags |= 2
	}
	if w := o.will; w != nil {
		flags |= 4 | w.qos<<3
		if w.retain {
			flags |= 32
		}
	}
	if o.user != "" {
		flags |= 128
	}
	if o.password != "" {
		flags |= 64
	}
	body = append(body, o.v, flags)
	body = binary.BigEndian.AppendUint16(body, o.keepAlive)
	if o.v == 5 {
		body = append(body, o.props.encode()...)
	}
	body = str(body, o.id)
	if w := o.will; w != nil {
		if o.v == 5 {
			body = append(body, w.props.encode()...)
		}
		body = str(str(body, w.topic), w.payload)
	}
	if o.user != "" {
		body = str(body, o.user)
	}
	if o.password != "" {
		body = str(body, o.password)
	}
	return frame(tConnect<<4, body)
}

// client is one connection to the broker.
type client struct {
	t    testing.TB
	v    byte
	id   string
	conn net.Conn
	r    *bufio.Reader
	ack  *packet // CONNACK
	last uint16  // packet id

	waiting []*packet // came while complete waited for something else
}

// raw connects without a CONNECT.
func raw(t testing.TB, addr string, v byte) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return raw0(t, conn, v)
}

// raw0 is raw over an open connection that the caller closes.
func raw0(t testing.TB, conn net.Conn, v byte) *client {
	return &client{t: t, v: v, conn: conn, r: bufio.NewReader(conn)}
}

// try sends a CONNECT and returns whatever CONNACK comes.
func try(t testing.TB, addr string, o options) *client {
	t.Helper()
	if o.v == 0 {
		o.v = 4
	}
	if o.id == "" && !o.noID {
		o.id = unique("c")
	}
	c := raw(t, addr, o.v)
	c.id = o.id
	c.write(o.encode())
	c.ack = c.want(tConnack)
	return c
}

// connect demands an accepted connection.
func connect(t testing.TB, addr string, o options) *client {
	t.Helper()
	c := try(t, addr, o)
	if c.ack.code != 0 {
		t.Fatalf("connection refused: %v", c.ack)
	}
	return c
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// recv returns the next packet, or nil with the reason that there is none.
func (c *client) recv(limit time.Duration) (*packet, error) {
	if len(c.waiting) > 0 {
		p := c.waiting[0]
		c.waiting = c.waiting[1:]
		return p, nil
	}
	return c.read(limit)
}

func (c *client) read(limit time.Duration) (*packet, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	if _, err := c.r.Peek(1); err != nil {
		return nil, err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	return readPacket(c.r, c.v)
}

// want demands the next packet to be of a type.
func (c *client) want(typ byte) *packet {
	c.t.Helper()
	p, err := c.recv(patience)
	if err != nil {
		c.t.Fatalf("waiting for packet type %d: %v", typ, err)
	}
	if p.typ != typ {
		c.t.Fatalf("got %v, want type %d", p, typ)
	}
	return p
}

// quiet demands that nothing comes for a while.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	p, err := c.recv(d)
	if p != nil {
		c.t.Fatalf("got %v, want nothing", p)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("want silence, got %v", err)
	}
}

// still demands that everything sent so far has been handled and nothing has come of it for this client.
func (c *client) still() {
	c.t.Helper()
	c.write([]byte{tPingreq << 4, 0})
	if p := c.want(tPingresp); p == nil {
		c.t.Fatal("no answer to a ping")
	}
}

// closed demands that the broker closes, in 5 with one of the given reason codes in a DISCONNECT when any is given.
// Acknowledgements on the way are passed over.
func (c *client) closed(codes ...byte) {
	c.t.Helper()
	var said *packet
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		p, err := c.recv(time.Until(deadline))
		if p != nil {
			if p.typ == tDisconnect {
				if c.v < 5 {
					c.t.Fatal("a 3.x client got a DISCONNECT [MQTT-3.14: client to server only]")
				}
				said = p
			}
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if c.v == 5 && said != nil && len(codes) > 0 && !strings.ContainsRune(string(runes(codes)), rune(said.code)) {
			c.t.Fatalf("closed with reason %#x, want one of %#x", said.code, codes)
		}
		if c.v == 5 && said == nil && len(codes) > 0 {
			c.t.Logf("closed without a DISCONNECT, which is allowed; %#x would tell why", codes)
		}
		return
	}
	c.t.Fatal("the connection stays open")
}

func runes(b []byte) []rune {
	var r []rune
	for _, c := range b {
		r = append(r, rune(c))
	}
	return r
}

func (c *client) nextID() uint16 {
	c.last++
	return c.last
}

// sub describes a subscription.
type sub struct {
	filter string
	opts   byte // QoS, and in 5 the other options
}

// subscribe demands a SUBACK that grants everything.
func (c *client) subscribe(subs ...sub) *packet {
	c.t.Helper()
	p := c.subscribeWith(nil, subs...)
	for i, code := range p.codes {
		if code > 2 || code != subs[i].opts&3 {
			c.t.Fatalf("subscription to %q: code %#x", subs[i].filter, code)
		}
	}
	return p
}

// subscribeWith sends a SUBSCRIBE with properties and waits for its SUBACK; publishes that come first are pushed into early.
func (c *client) subscribeWith(pr props, subs ...sub) *packet {
	c.t.Helper()
	id := c.nextID()
	body := binary.BigEndian.AppendUint16(nil, id)
	if c.v == 5 {
		body = append(body, pr.encode()...)
	}
	for _, s := range subs {
		body = append(str(body, s.filter), s.opts)
	}
	c.write(frame(tSubscribe<<4|2, body))
	p := c.want(tSuback)
	if p.id != id || len(p.codes) != len(subs) {
		c.t.Fatalf("got %v for packet id %d with %d filters", p, id, len(subs))
	}
	return p
}

func (c *client) unsubscribe(filters ...string) *packet {
	c.t.Helper()
	id := c.nextID()
	body := binary.BigEndian.AppendUint16(nil, id)
	if c.v == 5 {
		body = append(body, 0)
	}
	for _, f := range filters {
		body = str(body, f)
	}
	c.write(frame(tUnsubscribe<<4|2, body))
	p := c.want(tUnsuback)
	if p.id != id {
		c.t.Fatalf("got %v for packet id %d", p, id)
	}
	if c.v == 5 && len(p.codes) != len(filters) {
		c.t.Fatalf("%d codes for %d filters", len(p.codes), len(filters))
	}
	return p
}

// msg is a PUBLISH to send.
type msg struct {
	topic   string
	payload string
	qos     byte
	retain  bool
	dup     bool
	id      uint16 // 0: the next
	props   props
}

func (c *client) encode(m *msg) []byte {
	first := byte(tPublish<<4) | m.qos<<1
	if m.retain {
		first |= 1
	}
	if m.dup {
		first |= 8
	}
	body := str(nil, m.topic)
	if m.qos > 0 {
		if m.id == 0 {
			m.id = c.nextID()
		}
		body = binary.BigEndian.AppendUint16(body, m.id)
	}
	if c.v == 5 {
		body = append(body, m.props.encode()...)
	}
	return frame(first, append(body, m.payload...))
}

// send sends a PUBLISH and returns its packet id.
func (c *client) send(m msg) uint16 {
	c.t.Helper()
	c.write(c.encode(&m))
	return m.id
}

// publish sends a PUBLISH and completes its handshake.
func (c *client) publish(m msg) {
	c.t.Helper()
	id := c.send(m)
	switch m.qos {
	case 0:
		c.still()
	case 1:
		if p := c.want(tPuback); p.id != id || p.code >= 0x80 {
			c.t.Fatalf("got %v for packet id %d", p, id)
		}
	case 2:
		if p := c.want(tPubrec); p.id != id || p.code >= 0x80 {
			c.t.Fatalf("got %v for packet id %d", p, id)
		}
		c.reply(tPubrel, id)
		if p := c.want(tPubcomp); p.id != id || p.code != 0 {
			c.t.Fatalf("got %v for packet id %d", p, id)
		}
	}
}

// reply sends an acknowledgement.
func (c *client) reply(typ byte, id uint16) {
	c.t.Helper()
	first := typ << 4
	if typ == tPubrel {
		first |= 2
	}
	c.write([]byte{first, 2, byte(id >> 8), byte(id)})
}

// get demands a PUBLISH and completes its handshake.
func (c *client) get() *packet {
	c.t.Helper()
	p := c.want(tPublish)
	c.complete(p)
	return p
}

func (c *client) complete(p *packet) {
	c.t.Helper()
	switch p.qos {
	case 1:
		c.reply(tPuback, p.id)
	case 2:
		c.reply(tPubrec, p.id)
		for {
			rel, err := c.read(patience)
			if err != nil {
				c.t.Fatalf("waiting for PUBREL of %d: %v", p.id, err)
			}
			if rel.typ == tPublish { // others may come in between
				c.waiting = append(c.waiting, rel)
				continue
			}
			if rel.typ != tPubrel || rel.id != p.id || rel.flags != 2 {
				c.t.Fatalf("got %v (flags %d), want PUBREL of %d", rel, rel.flags, p.id)
			}
			break
		}
		c.reply(tPubcomp, p.id)
	}
}

// expect demands a PUBLISH with this topic, payload and QoS.
func (c *client) expect(topic, payload string, qos byte) *packet {
	c.t.Helper()
	p := c.get()
	if p.topic != topic || p.payload != payload || p.qos != qos {
		c.t.Fatalf("got %v, want %q on %q at QoS %d", p, payload, topic, qos)
	}
	return p
}

// bye sends a DISCONNECT and closes.
func (c *client) bye() {
	c.t.Helper()
	c.write([]byte{tDisconnect << 4, 0})
	c.gone()
}

// gone waits for the end the broker must put to a connection after our DISCONNECT.
func (c *client) gone() {
	c.t.Helper()
	for {
		p, err := c.recv(patience)
		if p != nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("the broker keeps the connection open after DISCONNECT")
		}
		c.conn.Close()
		return
	}
}

// vanish ends the connection without a word.
func (c *client) vanish() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.conn.Close()
}

// each runs a test for the given protocol versions.
func each(t *testing.T, versions []byte, f func(t *testing.T, v byte)) {
	t.Helper()
	t.Parallel()
	for _, v := range versions {
		t.Run(map[byte]string{3: "3.1", 4: "3.1.1", 5: "5.0"}[v], func(t *testing.T) {
			t.Parallel()
			f(t, v)
		})
	}
}

var (
	all  = []byte{3, 4, 5}
	both = []byte{4, 5}
)

// persistent completes options for a session that outlives its connection.
func persistent(v byte, id string) options {
	o := options{v: v, id: id, resume: true}
	if v == 5 {
		o.props = props{pSessionExpiry: uint32(3600)}
	}
	return o
}
