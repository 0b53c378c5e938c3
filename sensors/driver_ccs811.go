package sensors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/devices/v3/ccs811"
)

// ScioSense CCS811: equivalent CO2 and volatile organic compounds. For twenty
// minutes after power-on its values settle.
var driverCCS811 = Driver{
	Name: "ccs811", Part: "ScioSense CCS811", Bus: BusI2C, Addresses: []uint16{0x5A, 0x5B},
	Quantities: []string{"eco2", "tvoc"}, MinEvery: time.Second, Identify: chipID(0x20, 0x81),
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if err := d.wantID(0x20, 0x81); err != nil {
			return nil, err
		}
		dev, err := ccs811.New(d.bus, &ccs811.Opts{Addr: d.addr, MeasurementMode: ccs811.MeasurementModeConstant1000})
		if err != nil {
			return nil, err
		}
		opened := time.Now()
		ready := opened.Add(1100 * time.Millisecond)
		return &parts{
			start: func(context.Context) (time.Duration, error) { return time.Until(ready), nil },
			read: func(_ context.Context, emit func(Reading)) error {
				var v ccs811.SensorValues
				if err := dev.Sense(&v); err != nil {
					return err
				}
				switch {
				case v.Status&1 != 0:
					return fmt.Errorf("the part reports %w", v.Error)
				case v.Status&0x90 != 0x90:
					return errors.New("the part does not run its application")
				case v.Status&8 == 0:
					return errNotReady
				}
				for q, x := range map[string]int{"eco2": v.ECO2, "tvoc": v.VOC} {
					r := Of(q, float64(x))
					if time.Since(opened) < 20*time.Minute {
						r.uncertain("warming up")
					}
					if q == "eco2" && (x < 400 || x > 8192) {
						r.bad("outside the part's range of 400 to 8192 ppm")
					}
					emit(r)
				}
				return nil
			},
		}, nil
	},
}
