package sensors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/devices/v3/hx711"
)

// Avia HX711: the amplifier of load cells, clocked by hand over the lines
// clock and data. raw is its count; weight is (raw - zero) / scale.
var driverHX711 = Driver{
	Name: "hx711", Part: "Avia HX711", Bus: BusPins,
	Quantities: []string{"weight", "raw"}, Options: []string{"clock", "data", "zero", "scale", "gain"}, MinEvery: 200 * time.Millisecond,
	Open: openHX711,
}

func openHX711(b Buses, p Params) (Probe, error) {
	zero, err := p.optNumber("zero", 0)
	if err != nil {
		return nil, err
	}
	scale, err := p.optNumber("scale", 1)
	if err != nil || scale == 0 {
		return nil, fmt.Errorf("scale is counts per unit, and not 0")
	}
	gain, err := p.optNumber("gain", 128)
	if err != nil {
		return nil, err
	}
	mode, ok := map[float64]hx711.InputMode{128: hx711.CHANNEL_A_GAIN_128, 64: hx711.CHANNEL_A_GAIN_64, 32: hx711.CHANNEL_B_GAIN_32}[gain]
	if !ok {
		return nil, fmt.Errorf("gain is 128, 64 or (channel B) 32")
	}
	if p.optText("clock", "") == "" || p.optText("data", "") == "" {
		return nil, errors.New("needs the lines clock and data")
	}
	clk, err := b.Pin(p.optText("clock", ""))
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	data, err := b.Pin(p.optText("data", ""))
	if err != nil {
		_ = clk.Halt() // the first error counts
		return nil, fmt.Errorf("data: %w", err)
	}
	closePins := func() error { return errors.Join(clk.Halt(), data.Halt()) }
	dev, err := hx711.New(clk, pulledUp{data})
	if err == nil && mode != hx711.CHANNEL_A_GAIN_128 {
		err = dev.SetInputMode(mode)
	}
	if err != nil {
		_ = closePins() // the first error counts
		return nil, err
	}
	return &parts{
		read: func(_ context.Context, emit func(Reading)) error {
			// Two conversions that agree: a clock pulse longer than 60 µs resets
			// the part in the middle of a value, and nothing else would tell.
			var a, v int32
			for try := 0; ; try++ {
				if v, err = dev.ReadTimeout(time.Second); err != nil {
					return err
				}
				if try > 0 && abs(v-a) < 1<<14 {
					break
				}
				if a = v; try == 4 {
					return errors.New("values that do not agree: is the clock disturbed?")
				}
			}
			r := Of("raw", float64(v))
			if v == 1<<23-1 || v == -1<<23 {
				r.bad("beyond the range of the amplifier")
			}
			emit(r)
			w := Of("weight", (float64(v)-zero)/scale)
			w.Quality, w.Reason = r.Quality, r.Reason
			emit(w)
			return nil
		},
		close: closePins,
	}, nil
}

// pulledUp pulls the data line up instead of down, as the library asks: a part
// that is not there then never looks ready.
type pulledUp struct{ gpio.PinIO }

func (p pulledUp) In(_ gpio.Pull, edge gpio.Edge) error { return p.PinIO.In(gpio.PullUp, edge) }

func abs(v int32) int32 {
	if v < 0 {
		return -v
	}
	return v
}
