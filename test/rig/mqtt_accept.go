package rig

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
)

// Accept is the broker's side of Connect, for the stand-in broker of a rig's
// own test: it reads the CONNECT, and Answer sends the CONNACK.
func Accept(conn net.Conn) (c *Client, clientID string, clean bool, err error) {
	c = &Client{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), version: 4}
	p := make([]byte, 2)
	if p[0], err = c.in.ReadByte(); err != nil {
		return nil, "", false, err
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil || p[0] != 0x10 || n < 12 || n > 1<<16 {
		return nil, "", false, errors.Join(err, errors.New("not a CONNECT"))
	}
	b := make([]byte, n)
	for i := range b {
		if b[i], err = c.in.ReadByte(); err != nil {
			return nil, "", false, err
		}
	}
	c.version, clean = b[6], b[7]&2 != 0
	if b, err = c.skip(b, 10); err != nil || len(b) < 2 {
		return nil, "", false, errShort
	}
	id := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+id {
		return nil, "", false, errShort
	}
	return c, string(b[2 : 2+id]), clean, nil
}

// Answer queues the CONNACK.
func (c *Client) Answer(present bool) {
	body := []byte{0, 0}
	if present {
		body[0] = 1
	}
	if c.version == 5 {
		body = append(body, 0)
	}
	c.queue(0x20, body)
}

// Granted queues the SUBACK of a SUBSCRIBE with one filter.
func (c *Client) Granted(id uint16, qos byte) {
	body := []byte{byte(id >> 8), byte(id)}
	if c.version == 5 {
		body = append(body, 0)
	}
	c.queue(0x90, append(body, qos))
}

func (c *Client) readSubscribe(b []byte) (p Packet, err error) {
	if len(b) < 2 {
		return p, errShort
	}
	p = Packet{Type: SUBSCRIBE, ID: binary.BigEndian.Uint16(b)}
	if b, err = c.skip(b, 2); err != nil || len(b) < 3 {
		return p, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < n+3 {
		return p, errShort
	}
	p.Topic, p.QoS = string(b[2:2+n]), b[2+n]&3
	return p, nil
}
