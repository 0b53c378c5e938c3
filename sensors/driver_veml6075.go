package sensors

import (
	"context"
	"encoding/binary"
	"time"
)

// Vishay VEML6075: UV index, from UVA and UVB with what visible and infrared
// light add to them taken off (application note, open air, 50 ms).
var driverVEML6075 = Driver{
	Name: "veml6075", Part: "Vishay VEML6075", Bus: BusI2C, Addresses: []uint16{0x10},
	Latched:    true,
	Quantities: []string{"uv_index"}, Identify: chipID(0x0C, 0x26),
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if err := d.wantID(0x0C, 0x26); err != nil {
			return nil, err
		}
		return &parts{
			start: func(context.Context) (time.Duration, error) {
				if err := d.write(0x00, 0x01, 0x00); err != nil { // off and on again: the integration starts anew
					return 0, err
				}
				return 120 * time.Millisecond, d.write(0x00, 0x00, 0x00)
			},
			read: func(_ context.Context, emit func(Reading)) error {
				var raw [4]float64 // UVA, UVB, visible, infrared
				for i, reg := range []byte{0x07, 0x09, 0x0A, 0x0B} {
					v, err := d.reg(reg, 2)
					if err != nil {
						return err
					}
					raw[i] = float64(binary.LittleEndian.Uint16(v))
				}
				on, err := d.reg(0x00, 2)
				if err != nil {
					return err
				}
				if on[0]&1 != 0 {
					return errForgotten
				}
				uva := raw[0] - 2.22*raw[2] - 1.33*raw[3]
				uvb := raw[1] - 2.95*raw[2] - 1.74*raw[3]
				r := Of("uv_index", max(uva*0.001461+uvb*0.002591, 0)/2)
				if raw[0] >= 65535 || raw[1] >= 65535 {
					r.bad("brighter than the part can tell")
				}
				emit(r)
				return nil
			},
			close: func() error { return d.write(0x00, 0x01, 0x00) },
		}, nil
	},
}
