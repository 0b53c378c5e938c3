//go:build !linux

package board

import (
	"context"
	"errors"
	"io"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// Elsewhere than on Linux there is no hardware: Detect never finds any.

var errNotLinux = errors.New("hardware access needs Linux")

func findChips(string) []chipInfo                        { return nil }
func setI2CTimeout(string)                               {}
func openSerial(string, int) (io.ReadWriteCloser, error) { return nil, errNotLinux }

func (h *hardware) Recover(string) error           { return errNotLinux }
func (h *hardware) Pin(string) (gpio.PinIO, error) { return nil, errNotLinux }

func (h *hardware) WatchInput(context.Context, string, gpio.Pull, time.Duration, func(bool, time.Time, uint64)) error {
	return errNotLinux
}

func (h *hardware) Output(string, bool) (func(bool) error, func() error, error) {
	return nil, nil, errNotLinux
}
