package sensors

import (
	"context"
	"fmt"
	"time"
)

// NXP and TI LM75, LM75A, LM75B and the many alike. bits is the resolution:
// 9 for the LM75, 11 for A and B, 12 for a TMP75.
var driverLM75 = Driver{
	Name: "lm75", Part: "LM75", Bus: BusI2C, Addresses: []uint16{0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F},
	Latched:    true,
	Quantities: []string{"temperature"}, Options: []string{"bits"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		bits, err := p.optNumber("bits", 11)
		if err != nil || bits < 9 || bits > 16 {
			return nil, fmt.Errorf("bits is 9 to 16")
		}
		if err := d.write(1, 0); err != nil { // normal operation, not shut down
			return nil, err
		}
		return &parts{read: func(_ context.Context, emit func(Reading)) error {
			v, err := d.reg(0, 2)
			if err == nil && v[0]|v[1] == 0 { // 0 °C, or nothing converted since power-on: once more tells
				time.Sleep(300 * time.Millisecond)
				v, err = d.reg(0, 2)
			}
			if err != nil {
				return err
			}
			raw := (int16(v[0])<<8 | int16(v[1])) >> (16 - int(bits)) << (16 - int(bits))
			r := Of("temperature", float64(raw)/256)
			if r.Value < -55 || r.Value > 127.99 {
				r.bad("outside the part's range of -55 to 125 °C")
			}
			emit(r)
			return nil
		}}, nil
	},
}
