package sim

import (
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"
)

// i2cBus is a simulated I2C bus; transactions come one at a time.
type i2cBus struct {
	name string

	mu    sync.Mutex // guards parts and everything inside them
	parts map[uint16]*i2cSlot
}

type i2cSlot struct {
	part  I2CPart
	world *World
	gone  bool // it was not there at the last transaction
	off   bool // it has had no power since it last answered
}

// Resetter is met by parts that forget when they lose power.
type Resetter interface {
	Reset()
}

func (b *i2cBus) attach(addr uint16, p I2CPart, w *World) error {
	if b.parts[addr] != nil {
		return fmt.Errorf("%s: address %#x is taken", b.name, addr)
	}
	b.parts[addr] = &i2cSlot{part: p, world: w}
	return nil
}

func (b *i2cBus) String() string { return b.name }

// SetSpeed is refused, as Linux does.
func (b *i2cBus) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("%s: the speed is set at boot", b.name)
}

// Tx is one transaction with the part at addr.
func (b *i2cBus) Tx(addr uint16, w, r []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.parts {
		if s.world.holdsBus() {
			time.Sleep(hangTime)
			return errHang
		}
	}
	s := b.parts[addr]
	for _, m := range b.parts {
		if mux, ok := m.part.(*pca9548); ok && s == nil && !m.world.unplugged() {
			s = mux.behind(addr)
		}
	}
	if s == nil {
		return errNACK
	}
	d := s.world.disturb()
	if d.slow > 0 {
		time.Sleep(d.slow)
	}
	if d.absent {
		s.gone, s.off = true, s.off || d.off
		return errNACK
	}
	if p, ok := s.part.(Resetter); ok && (d.dipped || s.off) {
		p.Reset()
	}
	s.gone, s.off = false, false
	if err := s.part.Tx(w, r); err != nil {
		return err
	}
	if d.flip {
		s.world.flipBit(r)
	}
	return nil
}

func (b *i2cBus) recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.parts {
		s.world.free()
	}
}
