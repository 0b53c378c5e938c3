package sensors

import (
	"errors"
	"fmt"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

var errCannotRecover = errors.New("this board cannot free a bus")

// muxGroup is all multiplexers on one bus. Its lock is held from selecting a
// channel until the transaction behind it is done, and only one multiplexer
// has a channel open, so that two parts with one address never both answer.
type muxGroup struct {
	mu   sync.Mutex // guards the fields below
	open *mux
	ch   byte
}

// mux is one PCA9548 or TCA9548: a byte whose bits connect its channels.
type mux struct {
	bus   i2c.Bus
	addr  uint16
	root  string
	group *muxGroup
}

// muxBus is one of its eight buses.
type muxBus struct {
	m    *mux
	name string
	ch   byte
}

func (b *muxBus) String() string { return b.name }

// SetSpeed is the bus's before the multiplexer.
func (b *muxBus) SetSpeed(f physic.Frequency) error { return b.m.bus.SetSpeed(f) }

// Tx selects the channel, if it is not the open one, and does the transaction.
func (b *muxBus) Tx(addr uint16, w, r []byte) error {
	g := b.m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil && g.open != b.m {
		other := g.open
		g.open = nil
		if err := other.bus.Tx(other.addr, []byte{0}, nil); err != nil {
			return fmt.Errorf("multiplexer at %#x: %w", other.addr, err)
		}
	}
	if g.open != b.m || g.ch != b.ch {
		g.open = nil
		if err := b.m.bus.Tx(b.m.addr, []byte{1 << b.ch}, nil); err != nil {
			return fmt.Errorf("multiplexer at %#x: %w", b.m.addr, err)
		}
		g.open, g.ch = b.m, b.ch
	}
	err := b.m.bus.Tx(addr, w, r)
	if err != nil {
		g.open = nil // it may have lost power and with it the channel
	}
	return err
}
