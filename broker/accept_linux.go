package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// loops are the event loops that plain TCP runs on.
type loops struct {
	all  []*loop
	next atomic.Uint32
}

func newLoops(b *Broker, n int) (*loops, error) {
	ls := &loops{}
	for range n {
		l, err := newLoop(b)
		if err != nil {
			return nil, err
		}
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

// accept takes connections of a plain TCP listener and spreads them over the
// loops until ctx is done. taken is false when this system or this kind of
// listener has to take the goroutine path.
func (ls *loops) accept(ctx context.Context, ln *listener) (taken bool, err error) {
	socket, ok := ln.net.(interface{ File() (*os.File, error) })
	if !ok || ln.wrapped() || len(ls.all) == 0 {
		return false, nil
	}
	file, err := socket.File() // a duplicate: it must be closed here, and kept until then
	if err != nil {
		if ctx.Err() != nil { // stopped before it began
			return true, nil
		}
		return true, fmt.Errorf("listener %s: %w", ln.Name, err)
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return true, fmt.Errorf("listener %s: %w", ln.Name, err)
	}
	defer context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })()
	for ctx.Err() == nil {
		var busy error
		err := raw.Read(func(fd uintptr) bool {
			for ctx.Err() == nil {
				nfd, sa, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
				switch err {
				case nil:
					ls.take(nfd, sa, ln)
				case syscall.EAGAIN:
					return false
				case syscall.EINTR, syscall.ECONNABORTED:
				default:
					busy = err
					return true
				}
			}
			return true
		})
		if ctx.Err() != nil {
			break
		}
		if busy != nil { // out of descriptors or memory: wait for some to come back
			ln.b.log.Warn("cannot accept", "listener", ln.Name, "err", busy)
			ln.b.pause(ctx, 200*time.Millisecond)
		} else if err != nil && !errors.Is(err, net.ErrClosed) {
			return true, fmt.Errorf("listener %s: %w", ln.Name, err)
		}
	}
	return true, nil
}

func (ls *loops) take(fd int, sa syscall.Sockaddr, ln *listener) {
	remote, tcp := ln.Address, true
	switch a := sa.(type) {
	case *syscall.SockaddrInet4:
		remote = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *syscall.SockaddrInet6:
		remote = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	default:
		tcp = false // a Unix socket
	}
	if !ln.admit() {
		syscall.Close(fd)
		return
	}
	if tcp && !ln.now().Delay {
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err := ls.pick().take(fd, nil, nil, ln, &Peer{Remote: remote}); err != nil {
		ln.b.log.Debug("connection not taken", "listener", ln.Name, "err", err)
	}
}

func (ls *loops) pick() *loop { return ls.all[int(ls.next.Add(1))%len(ls.all)] }

// adopt takes over a connection on which hands were shaken, if it has a
// descriptor. Afterwards it is a loop's.
func (ls *loops) adopt(nc net.Conn, base *baseConn, stack net.Conn, ln *listener, p *Peer) bool {
	if len(ls.all) == 0 {
		return false
	}
	fd, err := detach(nc)
	if err != nil {
		return false
	}
	base.Conn, base.fd = nil, fd
	if stack == net.Conn(base) {
		base, stack = nil, nil // nothing is left on top: plain bytes
	}
	if err := ls.pick().take(fd, base, stack, ln, p); err != nil {
		ln.b.log.Debug("connection not taken", "listener", ln.Name, "err", err)
	}
	return true
}

// serve runs every loop until ctx is done.
func (ls *loops) serve(ctx context.Context, run func(func() error)) {
	for _, l := range ls.all {
		run(func() error { return l.serve(ctx) })
	}
}

// nudge has every loop flush again: the store had no room for what its turn
// holds.
func (ls *loops) nudge(b *Broker) {
	if ls == nil || !b.leftover.Swap(false) {
		return
	}
	for _, l := range ls.all {
		l.post(nil, func(*turn) {})
	}
}
