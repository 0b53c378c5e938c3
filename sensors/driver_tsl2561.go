package sensors

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// ams TSL2561 in packages T, FN and CL: light as the eye sees it, from a
// channel with and one without infrared.
var driverTSL2561 = Driver{
	Name: "tsl2561", Part: "ams TSL2561", Bus: BusI2C, Addresses: []uint16{0x39, 0x29, 0x49},
	Latched:    true,
	Quantities: []string{"illuminance"},
	Identify: func(bus i2c.Bus, addr uint16) bool {
		v, err := device{bus: bus, addr: addr}.reg(0x8A, 1)
		return err == nil && v[0]>>4 == 5
	},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if err := d.write(0x80, 0x03); err != nil { // power on
			return nil, err
		}
		v, err := d.reg(0x80, 1)
		if err != nil {
			return nil, err
		}
		if v[0]&3 != 3 {
			return nil, errOther(d, v)
		}
		high := false // gain 16
		return &parts{
			start: func(context.Context) (time.Duration, error) {
				timing := byte(0x02) // 402 ms
				if high {
					timing |= 0x10
				}
				if err := d.write(0x81, timing); err != nil { // starts anew
					return 0, err
				}
				return 430 * time.Millisecond, nil
			},
			read: func(_ context.Context, emit func(Reading)) error {
				v, err := d.reg(0xAC, 4) // both channels, word protocol
				if err != nil {
					return err
				}
				if on, err := d.reg(0x80, 1); err != nil {
					return err
				} else if on[0]&3 != 3 {
					return errForgotten
				}
				ch0, ch1 := binary.LittleEndian.Uint16(v), binary.LittleEndian.Uint16(v[2:])
				gain := 1.0
				if high {
					gain = 16
				}
				r := Of("illuminance", tslLux(float64(ch0)*16/gain, float64(ch1)*16/gain))
				switch {
				case ch0 >= 65000 && high:
					r.uncertain("at the end of the finer range")
				case ch0 >= 65000:
					r.bad("brighter than the part can tell")
				}
				high = ch0 < 2000 && !high || high && ch0 < 50000
				emit(r)
				return nil
			},
			close: func() error { return d.write(0x80, 0x00) },
		}, nil
	},
}

// tslLux is the datasheet's formula for packages T, FN and CL, for counts at
// gain 16 and 402 ms.
func tslLux(ch0, ch1 float64) float64 {
	if ch0 == 0 {
		return 0
	}
	switch r := ch1 / ch0; {
	case r <= 0.50:
		return 0.0304*ch0 - 0.062*ch0*math.Pow(r, 1.4)
	case r <= 0.61:
		return 0.0224*ch0 - 0.031*ch1
	case r <= 0.80:
		return 0.0128*ch0 - 0.0153*ch1
	case r <= 1.30:
		return 0.00146*ch0 - 0.00112*ch1
	}
	return 0
}
