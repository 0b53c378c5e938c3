package sensors

import (
	"context"
	"time"
)

// ROHM BH1750: light. Written here because the library's driver never powers
// the part on and gives whole lux only.
var driverBH1750 = Driver{
	Name: "bh1750", Part: "ROHM BH1750", Bus: BusI2C, Addresses: []uint16{0x23, 0x5C},
	Latched:    true,
	Quantities: []string{"illuminance"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		fine := true // 0.5 lx resolution up to 27 klx, 1 lx above
		measure := func() error {
			if err := d.write(0x01); err != nil { // power on: it may have lost that
				return err
			}
			if fine {
				return d.write(0x21)
			}
			return d.write(0x20)
		}
		if err := d.write(0x01); err != nil {
			return nil, err
		}
		return &parts{
			start: func(context.Context) (time.Duration, error) { return 180 * time.Millisecond, measure() },
			read: func(_ context.Context, emit func(Reading)) error {
				v, err := d.read(2)
				if err != nil {
					return err
				}
				if v[0]|v[1] == 0 { // dark, or a part that forgot to measure: once more tells
					if err := measure(); err != nil {
						return err
					}
					time.Sleep(180 * time.Millisecond)
					if v, err = d.read(2); err != nil {
						return err
					}
				}
				raw := int(v[0])<<8 | int(v[1])
				r := Of("illuminance", float64(raw)/1.2)
				if fine {
					r.Value /= 2
				}
				switch {
				case raw == 0xFFFF && !fine:
					r.bad("brighter than the part can tell")
				case raw == 0xFFFF:
					r.uncertain("at the end of the finer range")
				}
				fine = raw < 40000 || !fine && raw < 15000
				emit(r)
				return nil
			},
			close: func() error { return d.write(0x00) },
		}, nil
	},
}
