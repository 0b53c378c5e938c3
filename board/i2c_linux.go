package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const i2cTimeout = 0x0702 // in 10 ms; for the whole adapter

// setI2CTimeout bounds how long a part that stretches the clock holds up its
// bus: 100 ms instead of the kernel's second. Adapters that do not take it
// keep theirs.
func setI2CTimeout(dev string) {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), i2cTimeout, 10)
}

// Recover frees an I2C bus whose data line a part holds down: the adapter's
// driver is unbound, nine clocks are given by hand on the clock line, the driver
// is bound again. Only the header's bus of a Raspberry Pi has known lines; other
// buses are just bound anew.
func (h *hardware) Recover(bus string) error {
	h.mu.Lock()
	b := h.i2c[bus]
	h.mu.Unlock()
	if b == nil {
		return fmt.Errorf("%s is not open", bus)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(bus, "i2c-"))
	if err != nil {
		return err
	}
	dev, err := filepath.EvalSymlinks(filepath.Join(h.root, "sys/bus/i2c/devices", bus))
	if err != nil {
		return fmt.Errorf("recover %s: %w", bus, err)
	}
	parent := filepath.Dir(dev) // the adapter's own device
	driver, err := filepath.EvalSymlinks(filepath.Join(parent, "driver"))
	if err != nil {
		return fmt.Errorf("recover %s: %w", bus, err)
	}
	return b.reopen(n, func() error {
		id := []byte(filepath.Base(parent))
		if err := os.WriteFile(filepath.Join(driver, "unbind"), id, 0); err != nil {
			return fmt.Errorf("recover %s: %w", bus, err)
		}
		var clockErr error
		if h.d.Pi > 0 && n == 1 {
			clockErr = h.clockNine("GPIO3", "GPIO2")
		}
		err := os.WriteFile(filepath.Join(driver, "bind"), id, 0)
		time.Sleep(50 * time.Millisecond) // until the device node is there again
		return errors.Join(clockErr, err)
	})
}

// clockNine gives nine clocks and a stop condition, open drain: high is let go.
func (h *hardware) clockNine(scl, sda string) error {
	c, err := h.Pin(scl)
	if err != nil {
		return err
	}
	defer c.Halt()
	d, err := h.Pin(sda)
	if err != nil {
		return err
	}
	defer d.Halt()
	const half = 10 * time.Microsecond
	for range 9 {
		if err := c.Out(false); err != nil {
			return err
		}
		time.Sleep(half)
		if err := c.In(0, 0); err != nil {
			return err
		}
		time.Sleep(half)
	}
	if err := d.Out(false); err != nil { // stop: data rises while the clock is high
		return err
	}
	time.Sleep(half)
	return d.In(0, 0)
}
