package broker

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// overlay is what stands between a loop's descriptor and MQTT: TLS, WebSocket,
// or WebSocket over TLS. It is the same stack that shook hands; its baseConn
// never waits now.
type overlay struct {
	base  *baseConn
	stack net.Conn
	ended bool // guarded by the session's mutex: the stack has said good-bye
}

// take reads what MQTT is to have, like read(2). The loop calls it.
func (c *tcpConn) take(p []byte, t *turn) (int, syscall.Errno) {
	if c.over == nil || c.draining {
		return rawRead(int(c.fd), p)
	}
	n, err := c.over.stack.Read(p)
	if c.over.base.pending() { // an answer of TLS or WebSocket
		c.lock()
		t.touch(&c.conn)
		c.unlock()
	}
	var errno syscall.Errno
	switch {
	case n > 0 || err == nil:
		return n, 0
	case errors.Is(err, errWouldBlock{}):
		return 0, syscall.EAGAIN
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, 0
	case errors.As(err, &errno):
		return 0, errno
	}
	// TLS or WebSocket was not as it has to be; the stack has told the peer.
	c.b.log.Debug("broken connection", "listener", c.ln.Name, "remote", c.peer.Remote, "err", err)
	return 0, syscall.EPROTO
}

// sealLocked makes of what MQTT wants to write what the descriptor is to have,
// and puts it into c.rest. The lock is given up meanwhile: c.writing keeps
// others out.
func (c *tcpConn) sealLocked() {
	o, bye := c.out, c.ending && c.out == nil && !c.over.ended
	c.out = nil
	if bye {
		c.over.ended = true
	}
	if o == nil && !bye && !c.over.base.pending() {
		return
	}
	c.writing = true
	c.unlock()
	plain := 0
	if o != nil {
		plain = o.size
		if len(o.refs) == 0 {
			c.over.stack.Write(o.buf)
		} else {
			for _, p := range o.pieces(nil, 0, 2*len(o.refs)+1) {
				c.over.stack.Write(p)
			}
		}
		o.free()
	}
	if bye {
		if half, ok := c.over.stack.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}
	sealed := c.over.base.take()
	c.lock()
	c.writing = false
	if sealed != nil {
		c.waiting += sealed.size
	}
	c.waiting -= plain
	if c.closed {
		syscall.Close(int(c.fd))
		if sealed != nil {
			sealed.free()
		}
		return
	}
	c.rest, c.skip = sealed, 0
}
