package sensors

import (
	"context"
	"encoding/binary"
)

// Analog Devices ADXL345: acceleration. Written here because the library's
// driver speaks SPI's protocol on I2C and takes errors for zeros.
var driverADXL345 = Driver{
	Name: "adxl345", Part: "Analog Devices ADXL345", Bus: BusI2C, Addresses: []uint16{0x53, 0x1D},
	Quantities: []string{"acceleration_x", "acceleration_y", "acceleration_z"}, Identify: chipID(0x00, 0xE5),
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if err := d.wantID(0x00, 0xE5); err != nil {
			return nil, err
		}
		if err := d.write(0x31, 0x0B); err != nil { // full resolution, ±16 g
			return nil, err
		}
		if err := d.write(0x2D, 0x08); err != nil { // measure
			return nil, err
		}
		return &parts{
			read: func(_ context.Context, emit func(Reading)) error {
				v, err := d.reg(0x32, 6)
				if err != nil {
					return err
				}
				on, err := d.reg(0x2D, 1)
				if err != nil {
					return err
				}
				if on[0]&8 == 0 {
					return errForgotten
				}
				for i, q := range p.driver.Quantities {
					raw := int16(binary.LittleEndian.Uint16(v[2*i:]))
					r := Of(q, float64(raw)/256*9.80665) // 256 per g
					if raw > 4095 || raw < -4096 {
						r.bad("outside the part's range of 16 g")
					}
					emit(r)
				}
				return nil
			},
			close: func() error { return d.write(0x2D, 0x00) },
		}, nil
	},
}
