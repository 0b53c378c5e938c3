package sensors

import (
	"context"
	"time"
)

// Sensirion SHT30, SHT31, SHT35: single shots of high repeatability.
var driverSHT3x = Driver{
	Name: "sht3x", Part: "Sensirion SHT3x", Bus: BusI2C, Addresses: []uint16{0x44, 0x45},
	Quantities: []string{"temperature", "humidity"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if _, err := d.ask(0xF32D, time.Millisecond, 1); err != nil { // status
			return nil, err
		}
		return shtProbe(d, []byte{0x24, 0x00}, 16*time.Millisecond, 0, 100), nil
	},
}

// Sensirion SHT40, SHT41, SHT43, SHT45.
var driverSHT4x = Driver{
	Name: "sht4x", Part: "Sensirion SHT4x", Bus: BusI2C, Addresses: []uint16{0x44, 0x45, 0x46},
	Quantities: []string{"temperature", "humidity"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if err := d.write(0x89); err != nil { // serial number
			return nil, err
		}
		time.Sleep(time.Millisecond)
		if _, err := d.words(2); err != nil {
			return nil, err
		}
		return shtProbe(d, []byte{0xFD}, 10*time.Millisecond, -6, 125), nil
	},
}

// shtProbe measures: the humidity is offset + span · raw/65535, kept within
// 0 to 100 as the datasheet asks for.
func shtProbe(d device, measure []byte, wait time.Duration, offset, span float64) Probe {
	return &parts{
		start: func(context.Context) (time.Duration, error) { return wait, d.write(measure...) },
		read: func(_ context.Context, emit func(Reading)) error {
			w, err := d.words(2)
			if err != nil {
				return err
			}
			emit(Of("temperature", -45+175*float64(w[0])/65535))
			emit(Of("humidity", min(max(offset+span*float64(w[1])/65535, 0), 100)))
			return nil
		},
	}
}
