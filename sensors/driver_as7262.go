package sensors

import (
	"context"
	"fmt"
	"math"
	"time"

	"periph.io/x/devices/v3/as7262"
)

// ams AS7262: six bands of visible light, calibrated. gain is 1, 3.7, 16 or 64.
var driverAS7262 = Driver{
	Name: "as7262", Part: "ams AS7262", Bus: BusI2C, Addresses: []uint16{0x49},
	Quantities: []string{"light_450", "light_500", "light_550", "light_570", "light_600", "light_650", "temperature"},
	Options:    []string{"gain"}, MinEvery: 500 * time.Millisecond,
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		g, err := p.optNumber("gain", 16)
		if err != nil {
			return nil, err
		}
		gain, ok := map[float64]as7262.Gain{1: as7262.G1x, 3.7: as7262.G4x, 16: as7262.G16x, 64: as7262.G64x}[g]
		if !ok {
			return nil, fmt.Errorf("gain is 1, 3.7, 16 or 64")
		}
		dev, err := as7262.New(d.bus, &as7262.Opts{Gain: gain})
		if err != nil {
			return nil, err
		}
		if _, err := d.reg(0x00, 1); err != nil { // the library does not look whether a part is there
			return nil, err
		}
		return checked(&parts{read: func(_ context.Context, emit func(Reading)) error {
			s, err := dev.Sense(0, 100*time.Millisecond)
			if err != nil {
				return err
			}
			for i, band := range s.Bands {
				r := Of(p.driver.Quantities[i], band.Value)
				switch {
				case band.Counts == math.MaxUint16:
					r.bad("too bright for this gain")
				case band.Value < 0:
					r.bad("impossible value %v", band.Value)
				}
				emit(r)
			}
			emit(Of("temperature", celsius(s.SensorTemperature)))
			return nil
		}}, func() error { return d.as7262Integration(35) }), nil
	},
}

// as7262Integration looks through the part's mailbox whether the integration
// time (in 2.8 ms) is still the one that was set: after a dip of the supply it
// is not, and the part answers with zeros.
func (d device) as7262Integration(want byte) error {
	if err := d.write(0x01, 0x05); err != nil {
		return err
	}
	for range 20 {
		s, err := d.reg(0x00, 1)
		if err != nil {
			return err
		}
		if s[0]&1 != 0 {
			v, err := d.reg(0x02, 1)
			if err == nil && v[0] != want {
				err = errForgotten
			}
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errForgotten
}
