package broker

import (
	"syscall"
	"unsafe"
)

// writable goes on with a write that the kernel had refused.
func (c *tcpConn) writable() {
	c.lock()
	if c.writing {
		c.again = true
		c.unlock()
		return
	}
	was := c.blocked
	c.blocked = false
	c.unlock()
	if was {
		c.flush()
		c.conn.drained(c.l.t)
		c.goOn(c.l.t)
	}
}

// flush writes what waits. Anyone may call it; one at a time writes, without
// the lock.
func (c *tcpConn) flush() {
	c.lock()
	c.touched = false
	if c.writing {
		c.again = true
		c.unlock()
		return
	}
	for !c.blocked && !c.closed && !c.starved {
		if c.rest == nil {
			if c.over != nil {
				c.sealLocked()
			} else {
				c.rest, c.out, c.skip = c.out, nil, 0
			}
			if c.closed {
				break // closed meanwhile
			}
			if c.rest == nil {
				if c.ending && !c.starved {
					c.ending = false
					syscall.Shutdown(int(c.fd), syscall.SHUT_WR)
				}
				break
			}
		}
		if r := c.rest.lacks(c.skip); r != nil {
			c.fetchLocked(r)
			break
		}
		c.writing, c.again = true, false
		o, skip := c.rest, c.skip
		c.unlock()
		n, err := writeOutbox(int(c.fd), o, skip)
		c.lock()
		c.writing = false
		if c.closed {
			syscall.Close(int(c.fd))
			break
		}
		if n > 0 {
			c.skip += n
			c.waiting -= n
			if c.skip >= o.size {
				o.free()
				c.rest = nil
			}
			continue
		}
		switch {
		case err == syscall.EINTR || err == syscall.EAGAIN && c.again:
		case err == syscall.EAGAIN:
			c.blocked = true
		default:
			// The loop hears of it by EPOLLERR or EPOLLHUP and closes.
			c.blocked = true
		}
	}
	// All is written: no EPOLLOUT will say that there is room again.
	again := c.full.Load() && !c.blocked && !c.closed
	c.unlock()
	if again {
		c.l.post(c, c.conn.drained)
	}
}

// fetchLocked has the next part of a payload read, which may wait for the disk,
// and goes on with writing then.
func (c *tcpConn) fetchLocked(r *bodyRead) {
	c.starved = true
	c.b.background.run(func() {
		err := r.read()
		c.lock()
		c.starved = err != nil
		c.unlock()
		if err != nil {
			c.post(func(t *turn) { c.conn.unreadable(t, r, err) })
			return
		}
		c.partTaken()
		c.flush()
		if c.wantsDrain() {
			c.post(c.conn.drained)
		}
	})
}

// wantsDrain says whether something waits for room that there may be now.
func (c *tcpConn) wantsDrain() bool {
	c.lock()
	defer c.unlock()
	return c.wantDrain && !c.blocked && !c.starved
}

func writeOutbox(fd int, o *outbox, skip int) (int, syscall.Errno) {
	if len(o.refs) == 0 {
		return rawWrite(fd, o.buf[skip:])
	}
	var space [maxPieces][]byte
	pieces := o.pieces(space[:0], skip, maxPieces)
	var vec [maxPieces]syscall.Iovec
	for i, p := range pieces {
		vec[i].Base = unsafe.SliceData(p)
		vec[i].SetLen(len(p))
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vec[0])), uintptr(len(pieces)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
