package sensors

import (
	"context"
	"encoding/binary"
	"time"
)

// Plantower PMS5003 and PMS7003: particles. It sends a frame about every
// second by itself.
var driverPMS5003 = Driver{
	Name: "pms5003", Part: "Plantower PMS5003", Bus: BusSerial,
	Quantities: []string{"pm1", "pm2_5", "pm10", "particles_0_3", "particles_0_5", "particles_1_0", "particles_2_5"},
	MinEvery:   2 * time.Second,
	Open: func(b Buses, p Params) (Probe, error) {
		port, err := b.Serial(p.Bus, 9600)
		if err != nil {
			return nil, err
		}
		s := &serialPart{port: port}
		opened := time.Now()
		return &parts{
			read: func(ctx context.Context, emit func(Reading)) error {
				if err := s.drain(); err != nil { // what waits is old
					return err
				}
				f, err := s.frame(ctx, 3*time.Second, matchPMS)
				if err != nil {
					return err
				}
				for q, at := range map[string]int{"pm1": 10, "pm2_5": 12, "pm10": 14, "particles_0_3": 16, "particles_0_5": 18,
					"particles_1_0": 20, "particles_2_5": 22} {
					r := Of(q, float64(binary.BigEndian.Uint16(f[at:])))
					if time.Since(opened) < 30*time.Second {
						r.uncertain("the fan is coming up")
					}
					emit(r)
				}
				return nil
			},
			close: s.close,
		}, nil
	},
}

// matchPMS finds a frame of 32 bytes with a right sum.
func matchPMS(b []byte) int {
	switch {
	case b[0] != 0x42:
		return -1
	case len(b) < 4:
		return 0
	case b[1] != 0x4D || b[2] != 0 || b[3] != 28:
		return -1
	case len(b) < 32:
		return 0
	}
	sum := uint16(0)
	for _, x := range b[:30] {
		sum += uint16(x)
	}
	if sum != binary.BigEndian.Uint16(b[30:]) {
		return -1
	}
	return 32
}
