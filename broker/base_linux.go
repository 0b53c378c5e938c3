package broker

import (
	"fmt"
	"io"
	"net"
	"syscall"
)

// Read reads what there is.
func (c *baseConn) Read(p []byte) (int, error) {
	if c.Conn != nil {
		return c.Conn.Read(p)
	}
	for {
		n, err := rawRead(c.fd, p)
		switch {
		case n > 0:
			return n, nil
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, errWouldBlock{}
		case err != 0:
			return 0, err
		default:
			return 0, io.EOF
		}
	}
}

// detach takes the descriptor out of the hands of package net: a duplicate is
// all that is left of nc, still not blocking.
func detach(nc net.Conn) (fd int, err error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no descriptor", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var errno syscall.Errno
	err = raw.Control(func(old uintptr) {
		var r uintptr
		r, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		fd = int(r)
	})
	if err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, errno
	}
	nc.Close() // of the original: the netpoller forgets it, the connection stays
	return fd, nil
}
