package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"gatewayd/mqtt"
)

// client is the small MQTT client behind pub and sub. One goroutine uses it;
// packets are read with next.
type client struct {
	ctx       context.Context // of the command: when it ends, next returns
	nc        net.Conn
	version   mqtt.Version
	keepAlive time.Duration
	debug     func(format string, args ...any)

	serverMax  int  // QoS 1 and 2 messages the server takes at once; 0: it does not say
	receiveMax int  // how many of them we send
	present    bool // the server still had our session
	nextID     mqtt.PacketID

	buf    []byte // read and not yet decoded
	asked  bool   // a PINGREQ is out
	lastTx time.Time
}

const maxPacket = 268_435_460 // the protocol's own bound

// dial connects and logs in.
func dial(ctx context.Context, f *clientFlags, log io.Writer) (*client, error) {
	connect, err := f.connect()
	if err != nil {
		return nil, err
	}
	network, address, secure, err := f.address()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var nc net.Conn
	if secure != nil {
		nc, err = (&tls.Dialer{Config: secure}).DialContext(limited, network, address)
	} else {
		nc, err = (&net.Dialer{}).DialContext(limited, network, address)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, plainDialError(err))
	}
	c := &client{ctx: ctx, nc: nc, version: connect.Version, keepAlive: time.Duration(connect.KeepAlive) * time.Second, receiveMax: 20,
		debug: func(string, ...any) {}}
	if f.debug {
		c.debug = func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) }
	}
	defer context.AfterFunc(limited, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	if err := c.login(connect); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return c, nil
}

// plainDialError leaves out what the address already says.
func plainDialError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

func (c *client) login(connect *mqtt.Connect) error {
	if err := c.send(connect); err != nil {
		return err
	}
	p, err := c.next(time.Now().Add(20 * time.Second))
	if err != nil {
		return err
	}
	ack, ok := p.(*mqtt.Connack)
	if !ok {
		return fmt.Errorf("the server answered with %s instead of CONNACK", p.Type())
	}
	if ack.Code.Failed() {
		return fmt.Errorf("refused: %s%s", ack.Code, reason(ack.Properties))
	}
	c.present = ack.SessionPresent
	if ack.Properties != nil {
		if ack.Properties.Has(mqtt.PropReceiveMaximum) {
			c.serverMax = int(ack.Properties.ReceiveMaximum)
			c.receiveMax = min(c.receiveMax, c.serverMax)
		}
		if ack.Properties.Has(mqtt.PropServerKeepAlive) {
			c.keepAlive = time.Duration(ack.Properties.ServerKeepAlive) * time.Second
		}
	}
	return nil
}

// reason is what a server of MQTT 5 adds to a code.
func reason(p *mqtt.Properties) string {
	if p == nil || p.ReasonString == "" {
		return ""
	}
	return " (" + p.ReasonString + ")"
}

func (c *client) send(p mqtt.Packet) error {
	c.debug("sending %s", p.Type())
	c.lastTx = time.Now()
	_, err := c.nc.Write(p.Append(nil, c.version))
	return err
}

// id gives the next packet id.
func (c *client) id() mqtt.PacketID {
	if c.nextID++; c.nextID == 0 {
		c.nextID = 1
	}
	return c.nextID
}

var errTimeout = errors.New("timed out")

// buffered reports whether next would return without reading.
func (c *client) buffered() bool {
	n, err := mqtt.Split(c.buf, maxPacket)
	return n > 0 || err != nil
}

// next returns the next packet but PINGRESP. It keeps the connection alive
// while it waits. With a deadline it may return errTimeout; the packet is good
// until the next call.
func (c *client) next(deadline time.Time) (mqtt.Packet, error) {
	for {
		n, err := mqtt.Split(c.buf, maxPacket)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			p, err := mqtt.Decode(c.version, c.buf[:n])
			if err != nil {
				return nil, err
			}
			c.buf = c.buf[n:]
			c.debug("received %s", p.Type())
			switch p := p.(type) {
			case *mqtt.Pingresp:
				c.asked = false
				continue
			case *mqtt.Disconnect:
				return nil, fmt.Errorf("the server ended the connection: %s%s", p.Code, reason(p.Properties))
			}
			return p, nil
		}
		if err := c.fill(deadline); err != nil {
			return nil, err
		}
	}
}

// fill reads more bytes, sending PINGREQ when the keep alive asks for it.
func (c *client) fill(deadline time.Time) error {
	until := deadline
	if c.keepAlive > 0 {
		if ping := c.lastTx.Add(c.keepAlive); until.IsZero() || ping.Before(until) {
			until = ping
		}
	}
	if err := c.nc.SetReadDeadline(until); err != nil {
		return err
	}
	// Whoever ends ctx puts the deadline into the past; this covers that it
	// happened just before the line above.
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var chunk [16 << 10]byte
	n, err := c.nc.Read(chunk[:])
	c.buf = append(slices.Clone(c.buf), chunk[:n]...) // a copy: packets that next returned stay as they are
	switch ne, timeout := err.(net.Error); {
	case n > 0 || err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection")
	case !timeout || !ne.Timeout():
		return err
	}
	now := time.Now()
	if !deadline.IsZero() && !now.Before(deadline) {
		return errTimeout
	}
	if c.asked {
		return errors.New("the server does not answer")
	}
	c.asked = true
	return c.send(&mqtt.Pingreq{})
}

// close says good-bye.
func (c *client) close() error {
	err := c.send(&mqtt.Disconnect{})
	return errors.Join(err, c.nc.Close())
}
