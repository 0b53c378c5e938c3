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
		if w, ok := stack.(*wsConn); ok {
			w.base = base
		}
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
