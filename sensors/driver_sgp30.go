package sensors

import (
	"context"
	"time"
)

// Sensirion SGP30: equivalent CO2 and volatile organic compounds. Its baseline
// algorithm wants a measurement every second: use every: 1s and a throttle
// filter. Written here because the library's driver blocks twenty seconds at
// start, reads on in a goroutine of its own and checks no CRC.
var driverSGP30 = Driver{
	Name: "sgp30", Part: "Sensirion SGP30", Bus: BusI2C, Addresses: []uint16{0x58},
	Quantities: []string{"eco2", "tvoc"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if _, err := d.ask(0x3682, time.Millisecond, 3); err != nil { // serial number
			return nil, err
		}
		if _, err := d.ask(0x2003, 10*time.Millisecond, 0); err != nil { // init air quality
			return nil, err
		}
		warm := time.Now().Add(16 * time.Second) // fixed values for 15 s
		return &parts{
			start: func(context.Context) (time.Duration, error) {
				return 12 * time.Millisecond, d.write(0x20, 0x08) // measure
			},
			read: func(_ context.Context, emit func(Reading)) error {
				w, err := d.words(2)
				if err != nil {
					return err
				}
				for i, q := range []string{"eco2", "tvoc"} {
					r := Of(q, float64(w[i]))
					if time.Now().Before(warm) {
						r.uncertain("warming up")
					}
					emit(r)
				}
				return nil
			},
		}, nil
	},
}
