package broker

import (
	"syscall"
	"time"
)

// tcpConn is the transport of a TCP connection, or one of a Unix socket, on an
// event loop.
type tcpConn struct {
	conn
	l    *loop
	over *overlay // TLS, WebSocket or both; nil: plain
	fd   int32
	slot int32
	// The loop's own.
	freed    bool // no event and no posted function reaches it any more
	unread   bool // input was left in the kernel while the conn was parked
	draining bool // shut for writing; input is thrown away until the peer closes
	// Guarded by the session's mutex.
	writing bool // someone is in write(2)
	again   bool // there is more to write when that returns
	blocked bool // waits for EPOLLOUT
	starved bool // waits for a part of a payload to be read
	closed  bool // the descriptor is closed, or will be when writing ends
	ending  bool // shut for writing once the outbox is empty
	rest    *outbox
	skip    int // bytes of rest that are written
}

// event serves one readiness event.
func (c *tcpConn) event(events uint32, t *turn) {
	if c.freed {
		return
	}
	if events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0 && events&syscall.EPOLLIN == 0 {
		c.lost(t, c.socketError())
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		c.writable()
		if c.freed {
			return
		}
	}
	if events&(syscall.EPOLLIN|epollRDHUP) != 0 {
		c.read(t, events&epollRDHUP != 0)
	}
}

// readsAtOnce is how often a connection is read before others have their turn.
const readsAtOnce = 16

// later is posted to go on reading when others have been served.
func later(*turn) {}

// read feeds the conn until the kernel has nothing more, or others have waited
// long enough. toEnd says that a short read is not the sign of an empty socket:
// the peer has closed, or an edge was left unread before.
func (c *tcpConn) read(t *turn, toEnd bool) {
	for reads := 0; ; reads++ {
		if c.conn.stalled() && !c.draining {
			c.unread = true
			return
		}
		if reads == readsAtOnce {
			c.unread = true
			c.l.post(c, later)
			return
		}
		c.unread = false
		n, err := c.take(c.l.buf, t)
		switch {
		case n > 0:
			if c.draining {
				break
			}
			c.conn.feed(c.l.buf[:n], t)
			if c.freed {
				return
			}
			if t.pending >= flushAt {
				t.flush()
			}
			if n < len(c.l.buf) && !toEnd && !c.draining && c.over == nil {
				return // the socket is empty; the next bytes raise a new edge
			}
		case err == syscall.EAGAIN:
			return
		case err == syscall.EINTR:
		case n == 0 && err == 0:
			c.lost(t, errPeerClosed)
			return
		default:
			c.lost(t, err)
			return
		}
	}
}

// goOn reads what was left while the conn was parked.
func (c *tcpConn) goOn(t *turn) {
	if !c.freed && c.unread && (c.draining || !c.conn.stalled()) {
		c.read(t, true)
	}
}

// post runs fn on the loop, unless the connection is gone by then.
func (c *tcpConn) post(fn func(t *turn)) { c.l.post(c, fn) }

// always runs fn on the loop.
func (c *tcpConn) always(fn func(t *turn)) { c.l.post(nil, fn) }

// finish closes the connection in order: what waits is written, then the write
// side is shut, and the rest is thrown away until the peer closes too. Closing
// at once with unread input would reset the connection and could take our last
// packet with it. The loop calls it.
func (c *tcpConn) finish(t *turn) {
	if c.freed || c.draining {
		return
	}
	c.draining = true
	c.lock()
	c.ending = true
	t.touch(&c.conn)
	c.unlock()
	c.l.b.wheel.schedule(&c.conn, time.Second)
	if c.unread {
		c.l.post(c, func(t *turn) { c.read(t, true) })
	}
}

// abort closes the connection at once. The loop calls it.
func (c *tcpConn) abort(t *turn) { c.lost(t, errAborted) }

// lost ends the connection. The loop calls it.
func (c *tcpConn) lost(t *turn, err error) {
	if c.freed {
		return
	}
	c.freed = true
	c.l.release(c)
	c.conn.gone(t, err)
	c.lock()
	c.closed = true
	if !c.writing {
		syscall.Close(int(c.fd))
		for _, o := range []*outbox{c.rest, c.out} {
			if o != nil {
				o.free()
			}
		}
		c.rest = nil
		c.out = nil
	}
	c.unlock()
}

func (c *tcpConn) socketError() error {
	n, err := syscall.GetsockoptInt(int(c.fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && n != 0 {
		return syscall.Errno(n)
	}
	return errPeerClosed
}
