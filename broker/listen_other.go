//go:build !linux

package broker

import (
	"errors"
	"syscall"
)

// bindTo is Linux's.
func bindTo(string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error {
		return errors.New("binding to a network interface works on Linux only")
	}
}
