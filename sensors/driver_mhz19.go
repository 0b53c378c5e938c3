package sensors

import (
	"context"
	"time"
)

// Winsen MH-Z19B and C: CO2. For three minutes after power-on its values
// settle.
var driverMHZ19 = Driver{
	Name: "mhz19", Part: "Winsen MH-Z19", Bus: BusSerial,
	Quantities: []string{"co2", "temperature"}, MinEvery: 2 * time.Second,
	Open: func(b Buses, p Params) (Probe, error) {
		port, err := b.Serial(p.Bus, 9600)
		if err != nil {
			return nil, err
		}
		s := &serialPart{port: port}
		opened := time.Now()
		return &parts{
			read: func(ctx context.Context, emit func(Reading)) error {
				if err := s.drain(); err != nil {
					return err
				}
				ask := [9]byte{0xFF, 0x01, 0x86}
				ask[8] = mhSum(ask[:])
				if _, err := port.Write(ask[:]); err != nil {
					return err
				}
				f, err := s.frame(ctx, time.Second, matchMHZ)
				if err != nil {
					return err
				}
				r := Of("co2", float64(f[2])*256+float64(f[3]))
				if time.Since(opened) < 3*time.Minute {
					r.uncertain("warming up")
				}
				if r.Value > 10000 || r.Value == 0 {
					r.bad("outside the part's range")
				}
				emit(r)
				emit(Of("temperature", float64(f[4])-40))
				return nil
			},
			close: s.close,
		}, nil
	},
}

func mhSum(b []byte) byte {
	sum := byte(0)
	for _, x := range b[1:8] {
		sum += x
	}
	return -sum
}

func matchMHZ(b []byte) int {
	switch {
	case b[0] != 0xFF:
		return -1
	case len(b) < 2:
		return 0
	case b[1] != 0x86:
		return -1
	case len(b) < 9:
		return 0
	case mhSum(b) != b[8]:
		return -1
	}
	return 9
}
