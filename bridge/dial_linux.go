package bridge

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketControl sets how long sent data may stay without acknowledgement
// before the connection is given up: it finds a dead link faster than any ping.
func socketControl(userTimeout time.Duration) func(network, address string, c syscall.RawConn) error {
	if userTimeout <= 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		})
		if err != nil {
			return err
		}
		return set
	}
}
