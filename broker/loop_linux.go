package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	readBuffer = 64 << 10
	maxEvents  = 128
	maxPieces  = 64 // pieces of one writev

	epollET    = 1 << 31
	epollRDHUP = 0x2000
	watch      = syscall.EPOLLIN | syscall.EPOLLOUT | epollRDHUP | epollET

	wakeSlot = -1
)

// loop serves many plain TCP connections with one goroutine. Its epoll
// descriptor is itself waited for in Go's netpoller, so that no thread is tied
// up and the scheduler knows when the loop is idle. Nothing may block in it.
//
// Edge-triggered: a connection is read until the kernel has no more, and a
// write that the kernel refuses goes on when EPOLLOUT comes.
type loop struct {
	b    *Broker
	file *os.File // the epoll descriptor; keeps it alive
	raw  syscall.RawConn
	ep   int
	wake int // eventfd

	mu     sync.Mutex // guards the fields below
	slots  []slot
	unused []int32 // free slots
	posted []posted
	woken  bool
	ended  bool

	// The loop's own.
	buf    []byte
	t      *turn
	events [maxEvents]syscall.EpollEvent
	batch  []ready
	run    []posted
	stop   atomic.Bool
}

// slot is a place in the loop's table. The generation tells an event of the
// connection from one of an earlier user of the descriptor.
type slot struct {
	c   *tcpConn
	gen int32
}

type posted struct {
	c  *tcpConn
	fn func(t *turn)
}

type ready struct {
	c      *tcpConn
	events uint32
}

func newLoop(b *Broker) (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := syscall.SetNonblock(ep, true); err != nil { // makes os.File use the netpoller
		return nil, fmt.Errorf("make epoll non-blocking: %w", err)
	}
	wake, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, fmt.Errorf("create eventfd: %w", errno)
	}
	l := &loop{b: b, file: os.NewFile(uintptr(ep), "epoll"), ep: ep, wake: int(wake), buf: make([]byte, readBuffer), t: newTurn(b)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, err
	}
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | epollET, Fd: wakeSlot}
	if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, l.wake, &e); err != nil {
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	return l, nil
}

// serve runs the loop until ctx is done, then closes its connections.
func (l *loop) serve(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() {
		l.stop.Store(true)
		l.notify()
	})
	defer unhook()
	var failed error
	err := l.raw.Read(func(uintptr) bool {
		for !l.stop.Load() {
			n, err := epollWait(l.ep, l.events[:])
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				failed = fmt.Errorf("epoll: %w", err)
				return true
			}
			if n == 0 {
				return false // the netpoller wakes us when there is more
			}
			l.handle(l.events[:n])
			if n == 1 {
				// Little to do, so probably nothing more yet. What came meanwhile
				// is an edge of the epoll descriptor that the netpoller keeps: it
				// wakes us at once. One system call fewer for a quiet broker.
				return false
			}
		}
		return true
	})
	l.closeAll()
	return errors.Join(err, failed)
}

// handle serves one batch of events and what was posted meanwhile.
func (l *loop) handle(events []syscall.EpollEvent) {
	l.batch, l.run = l.batch[:0], l.run[:0]
	l.mu.Lock()
	for i := range events {
		e := &events[i]
		if e.Fd == wakeSlot {
			var b [8]byte
			syscall.Read(l.wake, b[:])
			l.woken = false
			continue
		}
		if s := &l.slots[e.Fd]; s.c != nil && s.gen == e.Pad {
			l.batch = append(l.batch, ready{s.c, e.Events})
		}
	}
	l.run, l.posted = l.posted, l.run
	l.mu.Unlock()

	l.t.begin()
	for i := range l.run {
		p := &l.run[i]
		if p.c == nil {
			p.fn(l.t)
		} else if !p.c.freed {
			p.fn(l.t)
			p.c.goOn(l.t)
		}
		l.run[i] = posted{}
	}
	for i := range l.batch {
		l.batch[i].c.event(l.batch[i].events, l.t)
		l.batch[i].c = nil
		if l.t.pending >= flushAt {
			l.t.flush()
		}
	}
	l.t.flush()
}

func (l *loop) notify() {
	var one [8]byte
	one[0] = 1
	rawWrite(l.wake, one[:])
}

// post runs fn on the loop; c may be nil.
func (l *loop) post(c *tcpConn, fn func(t *turn)) {
	l.mu.Lock()
	l.posted = append(l.posted, posted{c, fn})
	wake := !l.woken
	l.woken = true
	l.mu.Unlock()
	if wake {
		l.notify()
	}
}

// take makes a descriptor the loop's, with what stands between it and MQTT; nil
// for nothing.
func (l *loop) take(fd int, base *baseConn, stack net.Conn, ln *listener, p *Peer) error {
	c := &tcpConn{l: l, fd: int32(fd)}
	if stack != nil {
		c.over = &overlay{base: base, stack: stack}
	}
	c.conn.init(l.b, c, ln, p)
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		syscall.Close(fd)
		c.conn.discard()
		return net.ErrClosed
	}
	if n := len(l.unused); n > 0 {
		c.slot = l.unused[n-1]
		l.unused = l.unused[:n-1]
	} else {
		c.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[c.slot]
	s.c, s.gen = c, s.gen+1
	gen := s.gen
	l.mu.Unlock()
	c.conn.opened()
	e := syscall.EpollEvent{Events: watch & 0xffffffff, Fd: c.slot, Pad: gen}
	if err := syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, fd, &e); err != nil {
		l.post(c, func(t *turn) { c.lost(t, err) })
		return err
	}
	if stack != nil { // the stack may hold bytes that raise no event any more
		l.post(c, func(t *turn) { c.read(t, true) })
	}
	return nil
}

// release gives up a connection's slot. The loop calls it once.
func (l *loop) release(c *tcpConn) {
	l.mu.Lock()
	l.slots[c.slot].c = nil
	l.unused = append(l.unused, c.slot)
	l.mu.Unlock()
}

// closeAll ends every connection: the broker is shutting down.
func (l *loop) closeAll() {
	l.mu.Lock()
	l.ended = true
	var open []*tcpConn
	for _, s := range l.slots {
		if s.c != nil {
			open = append(open, s.c)
		}
	}
	l.mu.Unlock()
	l.t.begin()
	for _, c := range open {
		c.conn.shutdown(l.t)
	}
	l.t.flush()
	for _, c := range open {
		if !c.freed {
			c.lost(l.t, errShutdown)
		}
	}
	l.t.flush()
	l.file.Close()
	syscall.Close(l.wake)
}

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
	}
	if events&(syscall.EPOLLIN|epollRDHUP) != 0 {
		c.read(t, events&epollRDHUP != 0)
	}
}

// read feeds the conn until the kernel has nothing more. toEnd says that a
// short read is not the sign of that: the peer has closed, or an edge was left
// unread before.
func (c *tcpConn) read(t *turn, toEnd bool) {
	for {
		if c.conn.parked && !c.draining {
			c.unread = true
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
	if !c.freed && c.unread && !c.conn.parked {
		c.read(t, true)
	}
}

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
	for !c.blocked && !c.closed {
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
				if c.ending {
					c.ending = false
					syscall.Shutdown(int(c.fd), syscall.SHUT_WR)
				}
				break
			}
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
	c.unlock()
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

// The descriptors are non-blocking: the scheduler need not know of these calls.

func epollWait(ep int, events []syscall.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
