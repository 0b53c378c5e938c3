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
	// Guarded by the session's mutex.
	ended bool    // the stack has said good-bye
	plain *outbox // what is being sealed
	skip  int     // bytes of plain that are
}

// sealAtOnce bounds what is sealed before it is written.
const sealAtOnce = 256 << 10

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
	case err == errNoMessage:
		return 0, syscall.EINTR // another turn of the reader, which counts them
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
	v := c.over
	if v.plain == nil {
		v.plain, v.skip, c.out = c.out, 0, nil
	}
	o, skip, bye := v.plain, v.skip, c.ending && v.plain == nil && !v.ended
	if bye {
		v.ended = true
	}
	if o == nil && !bye && !v.base.pending() {
		return
	}
	if o != nil {
		if r := o.lacks(skip); r != nil && !v.base.pending() {
			c.fetchLocked(r)
			return
		}
	}
	c.writing = true
	c.unlock()
	n := 0
	if o != nil {
		for _, p := range o.pieces(nil, skip, maxPieces) {
			p = p[:min(len(p), sealAtOnce-n)]
			v.stack.Write(p)
			if n += len(p); n == sealAtOnce {
				break
			}
		}
	}
	if bye {
		if half, ok := v.stack.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}
	sealed := v.base.take()
	c.lock()
	c.writing = false
	if sealed != nil {
		c.waiting += sealed.size
	}
	c.waiting -= n
	if v.skip += n; o != nil && v.skip >= o.size {
		v.plain = nil
		o.free()
	}
	if c.closed {
		syscall.Close(int(c.fd))
		if sealed != nil {
			sealed.free()
		}
		return
	}
	c.rest, c.skip = sealed, 0
}
