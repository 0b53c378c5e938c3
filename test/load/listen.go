package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// listener is a socket whose connections become the loop's.
type listener struct {
	fd int
	on func(c *Conn, first byte, body []byte)
}

// Listen accepts connections on an ephemeral port of 127.0.0.1 from now on: the loop plays the broker for them, and every
// packet goes to on. An end of such a connection is no failure.
func (l *Loop) Listen(on func(c *Conn, first byte, body []byte)) (addr string, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("getsockname: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return "", fmt.Errorf("epoll_ctl: %w", err)
	}
	l.lns = append(l.lns, listener{fd, on})
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port), nil
}

// accept takes what waits, when fd is a listener's.
func (l *Loop) accept(fd int) bool {
	for _, ln := range l.lns {
		if ln.fd != fd {
			continue
		}
		for {
			nfd, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err != nil {
				return true
			}
			_ = unix.SetsockoptInt(nfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			if c, err := l.add(nfd, ln.on); err == nil {
				c.OnClose = func(error) {}
			}
		}
	}
	return false
}
