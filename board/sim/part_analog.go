package sim

import (
	"math"
	"strconv"
	"time"
)

// volts are the inputs of a converter.
func volts(n int) map[string]Signal {
	m := map[string]Signal{}
	for i := range n {
		m["voltage_"+strconv.Itoa(i)] = Signal{Base: 0.4 * float64(i+1), Swing: 0.1, Noise: 0.002}
	}
	return m
}

// TI ADS1115 and ADS1015: single conversions through a multiplexer. The part's
// own clock runs a tenth slow, as the datasheet allows.
var (
	kindADS1115 = Kind{Name: "ads1115", DefaultBus: "i2c-1", Address: 0x48, Signals: volts(4),
		New: func(w *World, _ Part) (any, error) { return newADS(w, 16, 128), nil }}
	kindADS1015 = Kind{Name: "ads1015", DefaultBus: "i2c-1", Address: 0x48, Signals: volts(4),
		New: func(w *World, _ Part) (any, error) { return newADS(w, 12, 1600), nil }}
)

func newADS(w *World, bits int, rate int) *register16 {
	var ready time.Time
	var next uint16
	d := &register16{reg: map[byte]uint16{1: 0x8583}}
	d.power = func() { d.reg[0], d.reg[1], ready = 0, 0x8583, time.Time{} }
	d.wrote = func(reg byte, v uint16) {
		if reg != 1 || v&0x8000 == 0 {
			return
		}
		w.Sample()
		span := []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256}[v>>9&7]
		raw := math.Round(w.Value("voltage_"+strconv.Itoa(int(v>>12&3)))/span*math.Exp2(float64(bits-1))) * math.Exp2(float64(16-bits))
		next = uint16(int16(min(max(raw, -32768), 32767)))
		ready = time.Now().Add(time.Second / time.Duration(rate) * 11 / 10)
		d.reg[1] = v &^ 0x8000
	}
	d.read = func(reg byte) (uint16, bool) {
		if !ready.IsZero() && !time.Now().Before(ready) {
			d.reg[0], ready = next, time.Time{}
			d.reg[1] |= 0x8000
		}
		return 0, false
	}
	return d
}

// Microchip MCP3008 and MCP3208: a start bit, the channel, then the value
// behind a null bit.
var (
	kindMCP3008 = Kind{Name: "mcp3008", DefaultBus: "spi0.0", Signals: volts(8),
		New: func(w *World, p Part) (any, error) { return &mcp3{w, 10, optNumber(p, "reference", 3.3)}, nil }}
	kindMCP3208 = Kind{Name: "mcp3208", DefaultBus: "spi0.0", Signals: volts(8),
		New: func(w *World, p Part) (any, error) { return &mcp3{w, 12, optNumber(p, "reference", 3.3)}, nil }}
)

type mcp3 struct {
	w    *World
	bits int
	ref  float64
}

// Transfer shifts in and out, bit by bit.
func (d *mcp3) Transfer(w, r []byte) error {
	in := func(i int) int { return int(w[i/8] >> (7 - i%8) & 1) }
	start := 0
	for start < len(w)*8 && in(start) == 0 {
		start++
	}
	if start+6+d.bits >= len(w)*8 {
		return nil
	}
	channel := in(start+2)<<2 | in(start+3)<<1 | in(start+4)
	d.w.Sample()
	top := math.Exp2(float64(d.bits))
	v := int(min(max(math.Floor(d.w.Value("voltage_"+strconv.Itoa(channel))/d.ref*top), 0), top-1))
	for i := range r {
		r[i] = 0xFF
	}
	put := func(i, bit int) {
		if bit == 0 {
			r[i/8] &^= 1 << (7 - i%8)
		}
	}
	put(start+6, 0) // null bit
	for i := range d.bits {
		put(start+7+i, v>>(d.bits-1-i)&1)
	}
	return nil
}

func optNumber(p Part, key string, def float64) float64 {
	switch v := p.Options[key].(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	}
	return def
}

// TI INA219: current and power from the shunt voltage and the calibration.
var kindINA219 = Kind{Name: "ina219", DefaultBus: "i2c-1", Address: 0x40,
	Signals: map[string]Signal{"voltage": {Base: 12, Swing: 0.3, Noise: 0.02}, "current": {Base: 0.8, Swing: 0.4, Noise: 0.01}},
	New: func(w *World, p Part) (any, error) {
		shunt := optNumber(p, "shunt", 0.1)
		start := time.Now()
		d := &register16{reg: map[byte]uint16{0: 0x399F}}
		d.power = func() { d.reg, start = map[byte]uint16{0: 0x399F}, time.Now() }
		d.wrote = func(reg byte, _ uint16) {
			if reg == 0 {
				start = time.Now()
			}
		}
		d.read = func(reg byte) (uint16, bool) {
			if reg == 0 || reg >= 5 {
				return 0, false
			}
			if time.Since(start) < 137*time.Millisecond { // the first conversion of both inputs
				return 0, true
			}
			if reg == 1 {
				w.Sample()
			}
			raw := math.Round(w.Value("current") * shunt / 10e-6)
			bus := math.Round(w.Value("voltage") / 4e-3)
			current := math.Trunc(raw * float64(d.reg[5]) / 4096)
			switch reg {
			case 1:
				return uint16(int16(raw)), true
			case 2:
				return uint16(bus)<<3 | 2, true
			case 4:
				return uint16(int16(current)), true
			}
			return uint16(math.Abs(current) * bus / 5000), true // power
		}
		return d, nil
	}}

// Analog Devices ADXL345 at full resolution: 256 counts per g.
var kindADXL345 = Kind{Name: "adxl345", DefaultBus: "i2c-1", Address: 0x53,
	Signals: map[string]Signal{"acceleration_x": {Noise: 0.05}, "acceleration_y": {Noise: 0.05}, "acceleration_z": {Base: 9.81, Noise: 0.05}},
	New:     func(w *World, _ Part) (any, error) { return &adxl345{w: w}, nil }}

type adxl345 struct {
	w   *World
	reg [64]byte
}

func (d *adxl345) Reset() { d.reg = [64]byte{} }

func (d *adxl345) Tx(w, r []byte) error {
	if len(w) == 0 || w[0] > 0x39 {
		return errNACK // there is no such register, and I2C has no read bit in it
	}
	d.reg[0] = 0xE5
	for i, v := range w[1:] {
		d.reg[(int(w[0])+i)&63] = v
	}
	if len(r) > 0 && w[0] == 0x32 && d.reg[0x2D]&8 != 0 {
		d.w.Sample()
		for i, q := range []string{"acceleration_x", "acceleration_y", "acceleration_z"} {
			v := int16(math.Round(d.w.Value(q) / 9.80665 * 256))
			d.reg[0x32+2*i], d.reg[0x33+2*i] = byte(v), byte(v>>8)
		}
	}
	for i := range r {
		r[i] = d.reg[(int(w[0])+i)&63]
	}
	return nil
}
