package rig

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// The packet types a rig meets.
const (
	CONNACK = 2
	PUBLISH = 3
	PUBACK  = 4
	PUBREC  = 5
	PUBREL  = 6
	PUBCOMP = 7
	SUBACK  = 9

	SUBSCRIBE = 8
)

// Packet is one packet that came from the broker.
type Packet struct {
	Type    byte
	QoS     byte
	Dup     bool
	Retain  bool
	ID      uint16
	Code    byte // reason or return code; SUBACK: the first
	Present bool // CONNACK: the session was there
	Topic   string
	Payload []byte
}

// Client is one MQTT connection, 3.1.1 or 5. It keeps no session state: the
// rigs decide themselves what is sent again and what is acknowledged when.
// Writing is safe from any goroutine; one goroutine reads.
type Client struct {
	conn    net.Conn
	in      *bufio.Reader
	version byte

	mu  sync.Mutex
	out []byte
}

// Connect opens a connection and a session. clean false keeps the session for
// an hour after the connection.
func Connect(address, clientID string, version byte, clean bool) (c *Client, present bool, err error) {
	return Login(address, clientID, version, clean, "", "")
}

// Login is Connect with a user name and a password.
func Login(address, clientID string, version byte, clean bool, user, password string) (c *Client, present bool, err error) {
	conn, err := net.DialTimeout("tcp", address, 30*time.Second)
	if err != nil {
		return nil, false, err
	}
	c = &Client{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), version: version}
	body := append(text(nil, "MQTT"), version, 0, 0, 0) // no keep alive
	if clean {
		body[7] = 2
	}
	if version == 5 {
		if clean {
			body = append(body, 0)
		} else {
			body = append(body, 5, 0x11, 0, 0, 0x0e, 0x10) // session expiry 3600 s
		}
	}
	body = text(body, clientID)
	if user != "" {
		body[7] |= 0xc0
		body = text(text(body, user), password)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c.queue(0x10, body)
	if err = c.Flush(); err == nil {
		var p Packet
		if p, err = c.Read(); err == nil && (p.Type != CONNACK || p.Code != 0) {
			err = fmt.Errorf("connection refused: packet type %d, code %#x", p.Type, p.Code)
		}
		present = p.Present
	}
	if err != nil {
		conn.Close()
		return nil, false, err
	}
	conn.SetDeadline(time.Time{})
	return c, present, nil
}

// Deadline bounds every later read.
func (c *Client) Deadline(t time.Time) { c.conn.SetReadDeadline(t) }

// Close ends the connection without a DISCONNECT.
func (c *Client) Close() { c.conn.Close() }

// Goodbye sends DISCONNECT and closes; the session stays if it was to be kept.
func (c *Client) Goodbye() {
	c.queue(0xe0, nil)
	c.Flush()
	c.conn.Close()
}

// Publish queues a PUBLISH; Flush sends it.
func (c *Client) Publish(topic string, payload []byte, qos byte, retain, dup bool, id uint16) {
	first := byte(0x30) | qos<<1
	if retain {
		first |= 1
	}
	if dup {
		first |= 8
	}
	body := text(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	if c.version == 5 {
		body = append(body, 0)
	}
	c.queue(first, append(body, payload...))
}

// Ack queues a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *Client) Ack(kind byte, id uint16) {
	first := kind << 4
	if kind == PUBREL {
		first |= 2
	}
	c.queue(first, []byte{byte(id >> 8), byte(id)})
}

// Subscribe subscribes and waits for the answer, which must come before any
// message. It may only be used while nobody else reads.
func (c *Client) Subscribe(filter string, qos byte) error {
	if err := c.SendSubscribe(filter, qos, 1); err != nil {
		return err
	}
	p, err := c.Read()
	if err == nil && (p.Type != SUBACK || p.Code >= 0x80) {
		err = fmt.Errorf("subscription %s refused: packet type %d, code %#x", filter, p.Type, p.Code)
	}
	return err
}

// SendSubscribe sends a SUBSCRIBE and waits for nothing.
func (c *Client) SendSubscribe(filter string, qos byte, id uint16) error {
	body := []byte{byte(id >> 8), byte(id)}
	if c.version == 5 {
		body = append(body, 0)
	}
	c.queue(0x82, append(text(body, filter), qos))
	return c.Flush()
}

// Flush sends what was queued.
func (c *Client) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *Client) queue(first byte, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, first)
	c.out = binary.AppendUvarint(c.out, uint64(len(body))) // the same form as MQTT's
	c.out = append(c.out, body...)
}

func text(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// Buffered says whether a further packet may have come with the last read, so
// that answers can be gathered before Flush.
func (c *Client) Buffered() bool { return c.in.Buffered() > 0 }

var errShort = errors.New("packet too short")

// Waiting says whether a packet begins to arrive within d. Nothing is lost when
// none does.
func (c *Client) Waiting(d time.Duration) (bool, error) {
	if c.Buffered() {
		return true, nil
	}
	c.conn.SetReadDeadline(time.Now().Add(d))
	defer c.conn.SetReadDeadline(time.Time{})
	_, err := c.in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}

// Read returns the next packet.
func (c *Client) Read() (p Packet, err error) {
	first, err := c.in.ReadByte()
	if err != nil {
		return p, err
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return p, err
	}
	if n > 1<<28 {
		return p, errors.New("remaining length is malformed")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return p, err
	}
	p.Type = first >> 4
	switch p.Type {
	case CONNACK:
		if len(b) < 2 {
			return p, errShort
		}
		p.Present, p.Code = b[0]&1 == 1, b[1]
	case PUBLISH:
		return c.publish(first, b)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		if len(b) < 2 {
			return p, errShort
		}
		p.ID = binary.BigEndian.Uint16(b)
		if len(b) > 2 {
			p.Code = b[2]
		}
	case SUBSCRIBE:
		return c.readSubscribe(b)
	case SUBACK:
		b, err = c.skip(b, 2)
		if err != nil || len(b) == 0 {
			return p, errShort
		}
		p.Code = b[0]
	}
	return p, nil
}

func (c *Client) publish(first byte, b []byte) (p Packet, err error) {
	p = Packet{Type: PUBLISH, QoS: first >> 1 & 3, Dup: first&8 != 0, Retain: first&1 != 0}
	if len(b) < 2 {
		return p, errShort
	}
	n := int(binary.BigEndian.Uint16(b)) + 2
	if len(b) < n+2 && (p.QoS > 0 || len(b) < n) {
		return p, errShort
	}
	p.Topic, b = string(b[2:n]), b[n:]
	if p.QoS > 0 {
		p.ID, b = binary.BigEndian.Uint16(b), b[2:]
	}
	p.Payload, err = c.skip(b, 0)
	return p, err
}

// skip drops n bytes and, in MQTT 5, the properties after them.
func (c *Client) skip(b []byte, n int) ([]byte, error) {
	if len(b) < n {
		return nil, errShort
	}
	b = b[n:]
	if c.version != 5 {
		return b, nil
	}
	size, k := binary.Uvarint(b)
	if k <= 0 || uint64(len(b)-k) < size {
		return nil, errShort
	}
	return b[k+int(size):], nil
}
