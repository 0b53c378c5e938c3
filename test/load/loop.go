package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// ErrStalled is returned by Run when its deadline passes first.
var ErrStalled = errors.New("deadline passed")

const readBuffer = 256 << 10

// Loop is an epoll with its connections and one optional timer.
type Loop struct {
	Transport Transport // of connections dialled from now on

	fd     int
	timer  int // timerfd, 0 while there is none
	tick   func(due int)
	conns  []*Conn // by descriptor
	lns    []listener
	dirty  []*Conn
	events [256]unix.EpollEvent
	buf    []byte
	err    error // the first failure of a connection nobody expected to fail
}

// NewLoop makes an empty loop; Close frees it with all its connections.
func NewLoop() (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return &Loop{fd: fd, buf: make([]byte, readBuffer)}, nil
}

// Close closes every connection and the loop.
func (l *Loop) Close() {
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	for _, ln := range l.lns {
		unix.Close(ln.fd)
	}
	if l.timer > 0 {
		unix.Close(l.timer)
	}
	unix.Close(l.fd)
}

// Every calls tick on the loop's goroutine each period; due is how many periods have passed since the last call. There is
// one timer: a later call replaces the earlier, and a period of 0 ends it.
func (l *Loop) Every(period time.Duration, tick func(due int)) error {
	if l.timer == 0 {
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
		if err != nil {
			return fmt.Errorf("timerfd_create: %w", err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		l.timer = fd
	}
	l.tick = tick
	ts := unix.NsecToTimespec(int64(period))
	return unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Interval: ts, Value: ts}, nil)
}

// Dial connects to addr (numeric) and adds the connection. Every packet goes to on.
func (l *Loop) Dial(addr string, on func(c *Conn, first byte, body []byte)) (*Conn, error) {
	fd, err := l.Transport.open(addr)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return l.add(fd, on)
}

// add makes a connected, non-blocking descriptor a connection of the loop.
func (l *Loop) add(fd int, on func(c *Conn, first byte, body []byte)) (*Conn, error) {
	c := &Conn{loop: l, fd: fd, on: on}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	return c, nil
}

// dialTCP returns a connected TCP socket in blocking mode.
func dialTCP(addr string) (int, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0, err
	}
	ip := a.IP.To4()
	if ip == nil {
		return 0, fmt.Errorf("%s: want an IPv4 address", addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	sa := &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("connect %s: %w", addr, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, nil
}

// Forgive forgets failures: the connections are about to be ended from the other side.
func (l *Loop) Forgive() {
	for _, c := range l.conns {
		if c != nil {
			c.OnClose = func(error) {}
		}
	}
}

// Run turns the loop until done says so, a connection fails, or the time is up (ErrStalled).
func (l *Loop) Run(limit time.Duration, done func() bool) error {
	l.flush()
	deadline := time.Now().Add(limit)
	for !done() {
		if l.err != nil {
			return l.err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return ErrStalled
		}
		n, err := unix.EpollWait(l.fd, l.events[:], int(min(left/time.Millisecond+1, 100)))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for i := range max(n, 0) {
			l.handle(&l.events[i])
		}
		l.flush()
	}
	return l.err
}

// RunFor turns the loop for a time.
func (l *Loop) RunFor(d time.Duration) error {
	err := l.Run(d, func() bool { return false })
	if errors.Is(err, ErrStalled) {
		return nil
	}
	return err
}

func (l *Loop) handle(ev *unix.EpollEvent) {
	if int(ev.Fd) == l.timer {
		var b [8]byte
		if n, _ := unix.Read(l.timer, b[:]); n == 8 {
			l.tick(int(binary.NativeEndian.Uint64(b[:])))
		}
		return
	}
	if l.accept(int(ev.Fd)) || int(ev.Fd) >= len(l.conns) {
		return
	}
	c := l.conns[ev.Fd]
	if c == nil {
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		c.markDirty()
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.read()
	}
}

func (l *Loop) flush() {
	for len(l.dirty) > 0 {
		d := l.dirty
		l.dirty = nil
		for _, c := range d {
			c.dirty = false
			c.flush()
		}
	}
}

func (l *Loop) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}
