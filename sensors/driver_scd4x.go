package sensors

import (
	"context"
	"time"
)

// Sensirion SCD40, SCD41: CO2, temperature, humidity; a value every 5 s.
// Written here because the library's driver blocks its bus until one is there.
var driverSCD4x = Driver{
	Name: "scd4x", Part: "Sensirion SCD4x", Bus: BusI2C, Addresses: []uint16{0x62},
	Quantities: []string{"co2", "temperature", "humidity"}, Options: []string{"altitude"}, MinEvery: 5 * time.Second,
	Open: openSCD4x,
}

func openSCD4x(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	altitude, err := p.optNumber("altitude", 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ask(0x3F86, 500*time.Millisecond, 0); err != nil { // stop: it may be running
		return nil, err
	}
	if _, err := d.ask(0x3682, time.Millisecond, 3); err != nil { // serial number
		return nil, err
	}
	a := uint16(altitude)
	arg := []byte{byte(a >> 8), byte(a)}
	if err := d.write(0x24, 0x27, arg[0], arg[1], crc8(arg)); err != nil {
		return nil, err
	}
	time.Sleep(time.Millisecond)
	if err := d.write(0x21, 0xB1); err != nil { // periodic measurement
		return nil, err
	}
	next := time.Now().Add(5050 * time.Millisecond)
	return &parts{
		start: func(context.Context) (time.Duration, error) { return time.Until(next), nil },
		read: func(_ context.Context, emit func(Reading)) error {
			ready, err := d.ask(0xE4B8, time.Millisecond, 1)
			if err != nil {
				return err
			}
			if ready[0]&0x7FF == 0 {
				return errNotReady
			}
			w, err := d.ask(0xEC05, time.Millisecond, 3)
			if err != nil {
				return err
			}
			next = time.Now().Add(4950 * time.Millisecond)
			r := Of("co2", float64(w[0]))
			if w[0] == 0 || w[0] > 40000 {
				r.bad("outside the part's range of up to 40000 ppm")
			}
			emit(r)
			emit(Of("temperature", -45+175*float64(w[1])/65535))
			emit(Of("humidity", 100*float64(w[2])/65535))
			return nil
		},
		close: func() error { return d.write(0x3F, 0x86) },
	}, nil
}
