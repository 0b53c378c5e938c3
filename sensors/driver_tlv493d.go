package sensors

import (
	"context"
	"time"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/tlv493d"
)

// Infineon TLV493D: magnetic field in three directions.
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
		return &parts{
			// Reading begins a conversion: what it gives is the one before.
			start: func(context.Context) (time.Duration, error) {
				_, err := dev.Read(tlv493d.HighPrecisionWithTemperature)
				return 10 * time.Millisecond, err
			},
			read: func(_ context.Context, emit func(Reading)) error {
				s, err := dev.Read(tlv493d.HighPrecisionWithTemperature)
				if err != nil {
					return err
				}
				for i, v := range []physic.MagneticFluxDensity{s.Bx, s.By, s.Bz} {
					r := Of(p.driver.Quantities[i], float64(v)/float64(physic.MilliTesla))
					if r.Value > 199 || r.Value < -199 {
						r.bad("beyond the part's range")
					}
					emit(r)
				}
				emit(Of("temperature", celsius(s.Temperature)))
				return nil
			},
			close: dev.Halt,
		}, nil
	},
}
