package sim

import (
	"math"
	"time"
)

// register16 is a part with big-endian 16-bit registers behind a pointer.
type register16 struct {
	reg   map[byte]uint16
	ptr   byte
	read  func(reg byte) (uint16, bool) // before the stored value is taken
	wrote func(reg byte, v uint16)
	power func()
}

func (d *register16) Reset() {
	d.ptr = 0
	if d.power != nil {
		d.power()
	}
}

// Tx is one transaction: pointer, then values; a read goes on at the pointer.
func (d *register16) Tx(w, r []byte) error {
	if len(w) > 0 {
		d.ptr = w[0]
		for v, reg := w[1:], d.ptr; len(v) > 0; reg++ {
			x := uint16(v[0])
			if len(v) > 1 {
				x = x<<8 | uint16(v[1])
				v = v[2:]
			} else {
				v = nil
			}
			d.reg[reg] = x
			if d.wrote != nil {
				d.wrote(reg, x)
			}
		}
	}
	for i := 0; i < len(r); i += 2 {
		v, ok := uint16(0), false
		if d.read != nil {
			v, ok = d.read(d.ptr)
		}
		if !ok {
			v = d.reg[d.ptr]
		}
		r[i] = byte(v >> 8)
		if i+1 < len(r) {
			r[i+1] = byte(v)
		}
	}
	return nil
}

var room = map[string]Signal{"temperature": climate["temperature"]}

// TI TMP102 and TMP105: 12 bits.
var kindTMP102 = Kind{Name: "tmp102", DefaultBus: "i2c-1", Address: 0x48, Signals: room,
	New: func(w *World, _ Part) (any, error) { return leftJustified(w, 12, 26*time.Millisecond), nil }}

// LM75: 11 bits.
var kindLM75 = Kind{Name: "lm75", DefaultBus: "i2c-1", Address: 0x48, Signals: room,
	New: func(w *World, _ Part) (any, error) { return leftJustified(w, 11, 250*time.Millisecond), nil }}

// leftJustified is a thermometer whose register 0 counts 1/256 °C, of which so
// many bits are good.
func leftJustified(w *World, bits int, first time.Duration) *register16 {
	var powered time.Time // zero: long ago
	d := &register16{reg: map[byte]uint16{1: 0x60A0, 2: 0x4B00, 3: 0x5000}}
	d.power = func() { powered = time.Now() }
	d.read = func(reg byte) (uint16, bool) {
		if reg != 0 {
			return 0, false
		}
		if time.Since(powered) < first {
			return 0, true
		}
		w.Sample()
		step := math.Exp2(float64(8 - bits)) // °C
		return uint16(int16(math.Round(w.Value("temperature")/step))) << (16 - bits), true
	}
	return d
}

// Microchip MCP9808: 13 bits with sign; 0 until the first conversion is done.
var kindMCP9808 = Kind{Name: "mcp9808", DefaultBus: "i2c-1", Address: 0x18, Signals: room,
	New: func(w *World, _ Part) (any, error) {
		start := time.Now()
		d := &register16{reg: map[byte]uint16{6: 0x0054, 7: 0x0400, 8: 0x0300}}
		d.power = func() { start, d.reg = time.Now(), map[byte]uint16{6: 0x0054, 7: 0x0400, 8: 0x0300} }
		d.wrote = func(reg byte, v uint16) {
			if reg == 1 {
				start = time.Now()
			}
		}
		d.read = func(reg byte) (uint16, bool) {
			if reg != 5 {
				return 0, false
			}
			if time.Since(start) < 250*time.Millisecond {
				return 0, true
			}
			w.Sample()
			return uint16(int16(math.Round(w.Value("temperature")*16))) & 0x1FFF, true
		}
		return d, nil
	}}
