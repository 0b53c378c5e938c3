package sensors

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"
)

// openI2C finds the bus and the address of a probe.
func openI2C(b Buses, p Params) (i2c.Bus, uint16, error) {
	addr, err := p.driver.ParseAddress(p.Address)
	if err != nil {
		return nil, 0, err
	}
	bus, err := b.I2C(p.Bus)
	return bus, addr, err
}

// chipID makes an Identify that reads one register.
func chipID(reg byte, ids ...byte) func(i2c.Bus, uint16) bool {
	return func(bus i2c.Bus, addr uint16) bool {
		var v [1]byte
		if bus.Tx(addr, []byte{reg}, v[:]) != nil {
			return false
		}
		for _, id := range ids {
			if v[0] == id {
				return true
			}
		}
		return false
	}
}

// wantID checks that the right part answers.
func wantID(bus i2c.Bus, addr uint16, reg, id byte, part string) error {
	var v [1]byte
	if err := bus.Tx(addr, []byte{reg}, v[:]); err != nil {
		return fmt.Errorf("no %s answers at %#x: %w", part, addr, err)
	}
	if v[0] != id {
		return fmt.Errorf("at %#x answers a part with id %#02x, not a %s (%#02x)", addr, v[0], part, id)
	}
	return nil
}
