package broker

import (
	"net"
	"sync"
	"time"
)

// baseConn is the bottom of a stack of TLS and WebSocket. While hands are
// shaken it is the accepted connection. When an event loop takes the connection
// over, Read takes from the descriptor what is there and never waits, and Write
// only collects: the loop writes, when the socket is ready, what take gives it.
type baseConn struct {
	net.Conn // nil once a loop has taken over
	fd       int

	mu  sync.Mutex // guards the field below: reader and writer of the stack both write
	out *outbox    // nil: nothing is to be written
}

// errWouldBlock is what Read returns when there is nothing to read for now. It
// calls itself temporary, so that crypto/tls can go on later.
type errWouldBlock struct{}

func (errWouldBlock) Error() string   { return "nothing to read for now" }
func (errWouldBlock) Timeout() bool   { return true }
func (errWouldBlock) Temporary() bool { return true }

// collects says that writes are cheap: they need not be joined before.
func (c *baseConn) collects() bool { return c.Conn == nil }

func (c *baseConn) Write(p []byte) (int, error) {
	if c.Conn != nil {
		return c.Conn.Write(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	c.out.buf = append(c.out.buf, p...)
	c.out.size = len(c.out.buf)
	return len(p), nil
}

// take returns what the stack wrote since the last take, nil when nothing.
func (c *baseConn) take() *outbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.out
	c.out = nil
	return o
}

// held is how much the stack has written since the last take.
func (c *baseConn) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return 0
	}
	return c.out.size
}

// pending says whether the stack has written something.
func (c *baseConn) pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out != nil
}

// CloseWrite does nothing for a loop, which shuts the descriptor itself.
func (c *baseConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close does nothing for a loop, which owns the descriptor.
func (c *baseConn) Close() error {
	if c.Conn != nil {
		return c.Conn.Close()
	}
	return nil
}

// Deadlines are for the hands that are shaken; a loop has its own clock.

// SetDeadline implements net.Conn.
func (c *baseConn) SetDeadline(t time.Time) error {
	if c.Conn != nil {
		return c.Conn.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *baseConn) SetReadDeadline(t time.Time) error {
	if c.Conn != nil {
		return c.Conn.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.Conn; crypto/tls sets one before it says
// good-bye.
func (c *baseConn) SetWriteDeadline(t time.Time) error {
	if c.Conn != nil {
		return c.Conn.SetWriteDeadline(t)
	}
	return nil
}
