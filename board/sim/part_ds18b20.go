package sim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/onewire"
)

// Maxim DS18B20: ROM with checksum, scratchpad with checksum, conversion time
// by resolution, and the 85 °C of a part that has not converted since power-on.
var kindDS18B20 = Kind{
	Name: "ds18b20", DefaultBus: "w1-1",
	Signals: map[string]Signal{"temperature": {Base: 18, Swing: 2, Noise: 0.05}},
	New:     newDS18B20,
}

type ds18b20 struct {
	w       *World
	rom     uint64
	spad    [9]byte
	eeprom  [3]byte // alarms and configuration
	done    time.Time
	pending int16
}

func newDS18B20(w *World, p Part) (any, error) {
	serial := w.seed & 0xffffffffffff
	if p.Address != "" {
		_, hex, ok := strings.Cut(p.Address, "-")
		if !ok {
			hex = strings.TrimPrefix(p.Address, "0x")
		}
		v, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a 1-wire address", p.Address)
		}
		if !ok {
			v = v >> 8 & 0xffffffffffff
		}
		serial = v
	}
	rom := serial<<8 | 0x28
	var b [7]byte
	for i := range b {
		b[i] = byte(rom >> (8 * i))
	}
	d := &ds18b20{w: w, rom: rom | uint64(onewire.CalcCRC(b[:]))<<56, eeprom: [3]byte{75, 70, 0x7F}}
	d.Reset()
	return d, nil
}

// Reset is power-on.
func (d *ds18b20) Reset() {
	d.spad = [9]byte{0x50, 0x05, d.eeprom[0], d.eeprom[1], d.eeprom[2], 0xFF, 0x0C, 0x10}
	d.spad[8] = onewire.CalcCRC(d.spad[:8])
	d.done = time.Time{}
}

func (d *ds18b20) ROM() uint64 { return d.rom }

// Do is what comes after the selection.
func (d *ds18b20) Do(w, r []byte) {
	d.settle()
	if len(w) == 0 {
		return
	}
	switch w[0] {
	case 0x44: // convert T
		d.w.Sample()
		bits := uint(d.spad[4]>>5&3) + 9
		v := math.Round(d.w.Value("temperature") * 16)
		d.pending = int16(min(max(v, -880), 2000)) &^ (1<<(12-bits) - 1)
		d.done = time.Now().Add(93750 * time.Microsecond << (bits - 9))
	case 0x4E: // write scratchpad
		copy(d.spad[2:5], w[1:])
		d.spad[4] = d.spad[4]&0x60 | 0x1F
		d.spad[8] = onewire.CalcCRC(d.spad[:8])
	case 0x48: // copy scratchpad
		copy(d.eeprom[:], d.spad[2:5])
	case 0xB8: // recall
		copy(d.spad[2:5], d.eeprom[:])
		d.spad[8] = onewire.CalcCRC(d.spad[:8])
	case 0xBE: // read scratchpad
		copy(r, d.spad[:])
	case 0xB4: // read power supply: all ones, externally powered
	}
}

func (d *ds18b20) settle() {
	if d.done.IsZero() || time.Now().Before(d.done) {
		return
	}
	d.done = time.Time{}
	d.spad[0], d.spad[1] = byte(d.pending), byte(d.pending>>8)
	d.spad[8] = onewire.CalcCRC(d.spad[:8])
}
