package sensors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
)

// guardedBuses gives drivers buses that fail once the current turn's context is
// done. Library drivers poll "until ready" without end when a part is stuck;
// through this they come back.
type guardedBuses struct {
	Buses
	ctx    atomic.Pointer[context.Context]
	verify bool // the turn's part is Latched; belongs to the bus loop's goroutine
}

// use sets the context of the turn, done ends it.
func (g *guardedBuses) use(ctx context.Context) { g.ctx.Store(&ctx) }
func (g *guardedBuses) done()                   { g.ctx.Store(nil) }

func (g *guardedBuses) check() error {
	if c := g.ctx.Load(); c != nil && (*c).Err() != nil {
		return fmt.Errorf("given up: %w", context.Cause(*c))
	}
	return nil
}

func (g *guardedBuses) I2C(name string) (i2c.Bus, error) {
	b, err := g.Buses.I2C(name)
	if err != nil {
		return nil, err
	}
	return &guardedI2C{b, g}, nil
}

func (g *guardedBuses) OneWire(name string) (onewire.Bus, error) {
	b, err := g.Buses.OneWire(name)
	if err != nil {
		return nil, err
	}
	return &guardedOneWire{b, g}, nil
}

type guardedI2C struct {
	i2c.Bus
	g *guardedBuses
}

func (b *guardedI2C) Tx(addr uint16, w, r []byte) error {
	if err := b.g.check(); err != nil {
		return err
	}
	if !b.g.verify || len(r) == 0 {
		return b.Bus.Tx(addr, w, r)
	}
	if err := b.stubborn(addr, w, r); err != nil {
		return err
	}
	return b.again(addr, w, r)
}

// stubborn reads up to three times: what changes nothing may be repeated, and
// most errors on a bus are single.
func (b *guardedI2C) stubborn(addr uint16, w, r []byte) (err error) {
	for range 3 {
		if err = b.Bus.Tx(addr, w, r); err == nil || hungBus(err) || b.g.check() != nil {
			return err
		}
	}
	return err
}

var errUnsteady = errors.New("three reads of one register differ")

// again reads once more and compares: a bit that was damaged on the wire is
// not damaged twice. Where the two differ, a third decides; a measurement may
// have ended between.
func (b *guardedI2C) again(addr uint16, w, r []byte) error {
	second := make([]byte, len(r))
	if err := b.stubborn(addr, w, second); err != nil {
		return err
	}
	if bytes.Equal(r, second) {
		return nil
	}
	third := make([]byte, len(r))
	if err := b.stubborn(addr, w, third); err != nil {
		return err
	}
	if !bytes.Equal(third, r) && !bytes.Equal(third, second) {
		return errUnsteady
	}
	copy(r, third)
	return nil
}

type guardedOneWire struct {
	onewire.Bus
	g *guardedBuses
}

func (b *guardedOneWire) Tx(w, r []byte, p onewire.Pullup) error {
	if err := b.g.check(); err != nil {
		return err
	}
	return b.Bus.Tx(w, r, p)
}
