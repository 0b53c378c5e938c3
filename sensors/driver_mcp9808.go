package sensors

import (
	"time"

	"periph.io/x/devices/v3/mcp9808"
)

// Microchip MCP9808. Its first conversion takes 250 ms; before that it would
// say 0 °C.
var driverMCP9808 = Driver{
	Name: "mcp9808", Part: "Microchip MCP9808", Bus: BusI2C, Addresses: []uint16{0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F},
	Latched:    true,
	Quantities: []string{"temperature"}, MinEvery: 250 * time.Millisecond, Identify: chipID(0x06, 0x00),
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		id, err := d.reg(0x06, 2)
		if err != nil {
			return nil, err
		}
		if id[0] != 0x00 || id[1] != 0x54 {
			return nil, errOther(d, id)
		}
		dev, err := mcp9808.New(d.bus, &mcp9808.Opts{Addr: int(d.addr), Res: mcp9808.Maximum})
		if err != nil {
			return nil, err
		}
		// The upper alert limit, which nobody uses, tells whether the part lost
		// its supply: it would say 0 °C then.
		if err := d.write(0x02, 0x01, 0x00); err != nil {
			return nil, err
		}
		return checked(envProbe(dev, p.driver.Quantities, 260*time.Millisecond), func() error {
			v, err := d.reg(0x02, 2)
			if err == nil && (v[0] != 0x01 || v[1] != 0x00) {
				err = errForgotten
			}
			return err
		}), nil
	},
}
