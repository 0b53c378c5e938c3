package sim

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// spiPort is one chip select with the part behind it.
type spiPort struct {
	name  string
	part  SPIPart
	world *World

	mu sync.Mutex // one transfer at a time
}

func (p *spiPort) String() string { return p.name }

// Connect gives the connection; any speed and mode will do here.
func (p *spiPort) Connect(_ physic.Frequency, _ spi.Mode, bits int) (spi.Conn, error) {
	if bits != 8 {
		return nil, fmt.Errorf("%s: words of %d bits are not simulated", p.name, bits)
	}
	return &spiConn{p}, nil
}

type spiConn struct{ p *spiPort }

func (c *spiConn) String() string      { return c.p.name }
func (c *spiConn) Duplex() conn.Duplex { return conn.Full }

// Tx is one transfer under chip select. A part that is absent leaves the wire
// as its pull resistor has it: all ones, no error.
func (c *spiConn) Tx(w, r []byte) error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	n := max(len(w), len(r))
	if len(w) != 0 && len(r) != 0 && len(w) != len(r) {
		return errors.New("spi: w and r differ in length")
	}
	d := c.p.world.disturb()
	if d.slow > 0 {
		time.Sleep(d.slow)
	}
	out := make([]byte, n)
	copy(out, w)
	in := make([]byte, n)
	for i := range in {
		in[i] = 0xff
	}
	if !d.absent {
		if err := c.p.part.Transfer(out, in); err != nil {
			return err
		}
		if d.flip {
			c.p.world.flipBit(in)
		}
	}
	copy(r, in)
	return nil
}

// TxPackets does one transfer after the other.
func (c *spiConn) TxPackets(p []spi.Packet) error {
	for _, k := range p {
		if err := c.Tx(k.W, k.R); err != nil {
			return err
		}
	}
	return nil
}
