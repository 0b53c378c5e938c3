package board

import (
	"errors"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/host/v3/sysfs"
)

// sharedI2C is one bus that all drivers use; transactions come one at a time,
// and the bus can be opened anew under them after a recovery.
type sharedI2C struct {
	name string

	mu  sync.Mutex // guards bus, and one transaction at a time
	bus i2c.BusCloser
}

func (b *sharedI2C) String() string { return b.name }

var errBusClosed = errors.New("the bus is closed")

// Tx is one transaction.
func (b *sharedI2C) Tx(addr uint16, w, r []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus == nil {
		return errBusClosed
	}
	return b.bus.Tx(addr, w, r)
}

// SetSpeed is refused by Linux: the speed is set at boot.
func (b *sharedI2C) SetSpeed(f physic.Frequency) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus == nil {
		return errBusClosed
	}
	return b.bus.SetSpeed(f)
}

// reopen gives the bus up, lets fix do its work, and opens it again.
func (b *sharedI2C) reopen(number int, fix func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus != nil {
		_ = b.bus.Close() // it is broken anyway
		b.bus = nil
	}
	err := fix()
	bus, openErr := sysfs.NewI2C(number)
	if openErr == nil {
		b.bus = bus
	}
	return errors.Join(err, openErr)
}

func (b *sharedI2C) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bus == nil {
		return nil
	}
	err := b.bus.Close()
	b.bus = nil
	return err
}
