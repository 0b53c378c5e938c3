//go:build !linux

package bridge

import (
	"syscall"
	"time"
)

// socketControl does nothing: only Linux has the user timeout.
func socketControl(time.Duration) func(string, string, syscall.RawConn) error { return nil }
