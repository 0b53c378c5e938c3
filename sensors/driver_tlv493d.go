package sensors

import (
	"context"
	"errors"
	"time"

	"periph.io/x/devices/v3/tlv493d"
)

// Infineon TLV493D: magnetic field in three directions. The library sets it up;
// its reading does not look at the frame counter, without which a part that
// stands still goes unnoticed.
var driverTLV493D = Driver{
	Name: "tlv493d", Part: "Infineon TLV493D", Bus: BusI2C, Addresses: []uint16{0x5E, 0x1F},
	Quantities: []string{"magnetic_flux_x", "magnetic_flux_y", "magnetic_flux_z", "temperature"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		opts := tlv493d.DefaultOpts
		opts.I2cAddress, opts.Mode = d.addr, tlv493d.MasterControlledMode
		dev, err := tlv493d.New(d.bus, &opts)
		if err != nil {
			return nil, err
		}
		frame := byte(0)
		return &parts{
			// Reading begins a conversion: what it gives is the one before.
			start: func(context.Context) (time.Duration, error) {
				v, err := d.reg(0x00, 7)
				frame = v[3] >> 2 & 3
				return 10 * time.Millisecond, err
			},
			read: func(_ context.Context, emit func(Reading)) error {
				v, err := d.reg(0x00, 7)
				if err != nil {
					return err
				}
				if v[3]>>2&3 == frame || v[3]&3 != 0 {
					return errors.New("the part does not convert: did its supply dip?")
				}
				if v[3]&0xF0 == 0 && v[6] == 0 { // -349 °C: nothing was ever converted
					return errForgotten
				}
				x := int(int8(v[0]))<<4 | int(v[4]>>4)
				y := int(int8(v[1]))<<4 | int(v[4]&0xF)
				z := int(int8(v[2]))<<4 | int(v[5]&0xF)
				for i, raw := range []int{x, y, z} {
					r := Of(p.driver.Quantities[i], float64(raw)*0.098)
					if raw > 2040 || raw < -2040 {
						r.bad("beyond the part's range")
					}
					emit(r)
				}
				t := int(int8(v[3]&0xF0))<<4 | int(v[6])
				emit(Of("temperature", float64(t-340)*1.1+25))
				return nil
			},
			close: dev.Halt,
		}, nil
	},
}
