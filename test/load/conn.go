package load

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Conn is one client connection of a Loop.
type Conn struct {
	loop    *Loop
	fd      int
	on      func(c *Conn, first byte, body []byte)
	rest    []byte // beginning of a packet whose end has not come
	out     []byte // not yet written
	waiting bool   // EPOLLOUT is armed
	dirty   bool
	closed  bool

	// OnClose, when set, takes the end of the connection; without it an end that the client did not ask for fails the loop.
	OnClose func(err error)

	nextID uint16
}

// Append lets f append packets to what the connection has to say; it is written at the end of the loop's turn.
func (c *Conn) Append(f func(dst []byte) []byte) {
	c.out = f(c.out)
	c.markDirty()
}

// Publish queues one PUBLISH.
func (c *Conn) Publish(topic string, qos byte, retain bool, id uint16, payload []byte) {
	c.out = AppendPublish(c.out, topic, qos, retain, id, payload)
	c.markDirty()
}

// Ack queues one acknowledgement.
func (c *Conn) Ack(kind byte, id uint16) {
	c.out = AppendAck(c.out, kind, id)
	c.markDirty()
}

// NextID gives packet ids 1 … 65535 in turn.
func (c *Conn) NextID() uint16 {
	c.nextID++
	if c.nextID == 0 {
		c.nextID = 1
	}
	return c.nextID
}

// Handle replaces the packet handler.
func (c *Conn) Handle(on func(c *Conn, first byte, body []byte)) { c.on = on }

// Closed reports whether the connection has ended.
func (c *Conn) Closed() bool { return c.closed }

// Pending is the number of bytes the socket has not taken yet.
func (c *Conn) Pending() int { return len(c.out) }

// Close closes the socket without a DISCONNECT.
func (c *Conn) Close() {
	if c.closed {
		return
	}
	c.closed = true
	c.loop.conns[c.fd] = nil
	unix.Close(c.fd)
}

func (c *Conn) markDirty() {
	if !c.dirty && !c.closed {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

func (c *Conn) ended(err error) {
	if c.closed {
		return
	}
	c.Close()
	if c.OnClose != nil {
		c.OnClose(err)
		return
	}
	c.loop.fail(fmt.Errorf("connection ended: %w", err))
}

func (c *Conn) read() {
	buf := c.loop.buf
	n := copy(buf, c.rest)
	got, err := unix.Read(c.fd, buf[n:])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return
	case err != nil:
		c.ended(err)
		return
	case got == 0:
		c.ended(io.EOF)
		return
	}
	b := buf[:n+got]
	for !c.closed {
		first, body, n, err := split(b)
		if err != nil {
			c.ended(err)
			return
		}
		if n == 0 {
			break
		}
		c.on(c, first, body)
		b = b[n:]
	}
	c.rest = append(c.rest[:0], b...)
	if len(c.rest) == 0 && cap(c.rest) > 4096 {
		c.rest = nil
	}
}

func (c *Conn) flush() {
	if c.closed || len(c.out) == 0 {
		return
	}
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			c.ended(err)
			return
		}
		rest := copy(c.out, c.out[n:])
		c.out = c.out[:rest]
	}
	if want := len(c.out) > 0; want != c.waiting {
		c.waiting = want
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(c.fd)}
		if want {
			ev.Events |= unix.EPOLLOUT
		}
		if err := unix.EpollCtl(c.loop.fd, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
			c.ended(err)
		}
	}
}
