package sensors

import (
	"context"
	"fmt"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// Microchip MCP3008 and MCP3208 on SPI: eight voltages of 10 or 12 bits.
// reference is the voltage at VREF.
var (
	driverMCP3008 = mcp3Driver("mcp3008", "Microchip MCP3008", 10)
	driverMCP3208 = mcp3Driver("mcp3208", "Microchip MCP3208", 12)
)

func mcp3Driver(name, part string, bits int) Driver {
	return Driver{
		Name: name, Part: part, Bus: BusSPI,
		Quantities: voltages(8), Emits: emitsVoltages(8), Options: []string{"channels", "reference"},
		Open: func(b Buses, p Params) (Probe, error) { return openMCP3(b, p, bits) },
	}
}

func openMCP3(b Buses, p Params, bits int) (Probe, error) {
	port, err := b.SPI(p.Bus)
	if err != nil {
		return nil, err
	}
	list, err := p.channels(8)
	if err != nil {
		return nil, err
	}
	ref, err := p.optNumber("reference", 3.3)
	if err != nil || ref <= 0 {
		return nil, fmt.Errorf("reference is a voltage above 0")
	}
	c, err := port.Connect(physic.MegaHertz, spi.Mode0, 8)
	if err != nil {
		return nil, err
	}
	return &parts{read: func(_ context.Context, emit func(Reading)) error {
		for _, ch := range list {
			// Start bit, single-ended, channel; the value follows after a null
			// bit. Two bits more for the part of 12 bits.
			cmd := uint32(0x18|ch) << (bits + 2)
			r := make([]byte, 3)
			if err := c.Tx([]byte{byte(cmd >> 16), byte(cmd >> 8), byte(cmd)}, r); err != nil {
				return err
			}
			v := uint32(r[0])<<16 | uint32(r[1])<<8 | uint32(r[2])
			if v>>bits&1 != 0 { // the null bit is high: nobody drives the wire
				return fmt.Errorf("no %s answers", p.driver.Part)
			}
			emit(Of(voltages(8)[ch], float64(v&(1<<bits-1))*ref/float64(uint(1)<<bits)))
		}
		return nil
	}}, nil
}
