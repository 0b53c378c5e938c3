package sim

import (
	"encoding/binary"
	"math"
	"sort"
	"time"
)

var daylight = map[string]Signal{"illuminance": {Base: 400, Swing: 350, Noise: 5}}

// ROHM BH1750: measures on command, 120 ms, in one of two resolutions.
var kindBH1750 = Kind{Name: "bh1750", DefaultBus: "i2c-1", Address: 0x23, Signals: daylight,
	New: func(w *World, _ Part) (any, error) { return &bh1750{w: w}, nil }}

type bh1750 struct {
	w     *World
	on    bool
	ready time.Time
	next  uint16
	data  uint16
}

func (d *bh1750) Reset() { d.on, d.ready, d.data = false, time.Time{}, 0 }

func (d *bh1750) Tx(w, r []byte) error {
	if !d.ready.IsZero() && !time.Now().Before(d.ready) {
		d.data, d.ready = d.next, time.Time{}
	}
	if len(w) == 1 {
		switch w[0] {
		case 0x00:
			d.on = false
		case 0x01:
			d.on = true
		case 0x07:
			d.data = 0
		case 0x10, 0x11, 0x20, 0x21:
			if !d.on {
				break
			}
			d.w.Sample()
			f := 1.2
			if w[0]&1 != 0 {
				f = 2.4
			}
			d.next = uint16(min(math.Round(d.w.Value("illuminance")*f), 65535))
			d.ready = time.Now().Add(120 * time.Millisecond)
		}
	}
	if len(r) > 1 {
		binary.BigEndian.PutUint16(r, d.data)
	}
	return nil
}

// ams TSL2561: two channels that count for 402 ms after a write of the timing
// register, with gain 1 or 16. The light here has a fifth of infrared.
var kindTSL2561 = Kind{Name: "tsl2561", DefaultBus: "i2c-1", Address: 0x39, Signals: daylight,
	New: func(w *World, _ Part) (any, error) { return &tsl2561{w: w, reg: [16]byte{0x0A: 0x50}}, nil }}

type tsl2561 struct {
	w     *World
	reg   [16]byte
	ready time.Time
	next  [4]byte
}

func (d *tsl2561) Reset() { d.reg, d.ready = [16]byte{0x0A: 0x50}, time.Time{} }

func (d *tsl2561) Tx(w, r []byte) error {
	if !d.ready.IsZero() && !time.Now().Before(d.ready) {
		copy(d.reg[0x0C:], d.next[:])
		d.ready = time.Time{}
	}
	if len(w) == 0 || w[0]&0x80 == 0 {
		return errNACK
	}
	reg := w[0] & 0xF
	for i, v := range w[1:] {
		d.reg[(int(reg)+i)&0xF] = v
		if reg == 1 && d.reg[0]&3 == 3 {
			d.integrate(v)
		}
	}
	for i := range r {
		r[i] = d.reg[(int(reg)+i)&0xF]
	}
	return nil
}

func (d *tsl2561) integrate(timing byte) {
	d.w.Sample()
	gain := 1.0
	if timing&0x10 != 0 {
		gain = 16
	}
	// With a ratio of 0.2 a count at gain 16 is 0.0304 - 0.062·0.2^1.4 lux.
	ch0 := math.Round(d.w.Value("illuminance") / (0.0304 - 0.062*math.Pow(0.2, 1.4)) * gain / 16)
	binary.LittleEndian.PutUint16(d.next[:], uint16(min(ch0, 65535)))
	binary.LittleEndian.PutUint16(d.next[2:], uint16(min(math.Round(ch0*0.2), 65535)))
	d.ready = time.Now().Add(402 * time.Millisecond)
}

// Vishay VEML7700: counts by gain and integration time, not linear when the
// gain is small and the light strong.
var kindVEML7700 = Kind{Name: "veml7700", DefaultBus: "i2c-1", Address: 0x10, Signals: daylight,
	New: func(w *World, _ Part) (any, error) { return &veml7700{w: w, config: 1}, nil }}

type veml7700 struct {
	w      *World
	config uint16
	ready  time.Time
	data   uint16
}

func (d *veml7700) Reset() { d.config, d.data = 1, 0 }

func (d *veml7700) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	if len(w) == 3 && w[0] == 0 {
		off := d.config&1 != 0
		d.config = binary.LittleEndian.Uint16(w[1:])
		if off && d.config&1 == 0 {
			d.w.Sample()
			d.ready = time.Now().Add(d.integration())
		}
	}
	if len(r) < 2 {
		return nil
	}
	v := d.config
	if w[0] == 4 {
		if d.config&1 == 0 && !time.Now().Before(d.ready) {
			d.data = d.counts()
		}
		v = d.data
	}
	binary.LittleEndian.PutUint16(r, v)
	return nil
}

func (d *veml7700) integration() time.Duration {
	return map[uint16]time.Duration{12: 25, 8: 50, 0: 100, 1: 200, 2: 400, 3: 800}[d.config>>6&0xF] * time.Millisecond
}

func (d *veml7700) counts() uint16 {
	gain := [4]float64{1, 2, 0.125, 0.25}[d.config>>11&3]
	lux := d.w.Value("illuminance")
	if gain < 1 && lux > 1000 {
		want := lux
		lux = float64(sort.Search(200000*16, func(i int) bool {
			x := float64(i) / 16
			return 6.0135e-13*x*x*x*x-9.3924e-9*x*x*x+8.1488e-5*x*x+1.0023*x >= want
		})) / 16
	}
	perCount := 0.0042 * 2 / gain * 800 / float64(d.integration().Milliseconds())
	return uint16(min(math.Round(lux/perCount), 65535))
}

// Vishay VEML6075: four channels; here visible light and infrared are a
// hundredth of what UVA counts.
var kindVEML6075 = Kind{Name: "veml6075", DefaultBus: "i2c-1", Address: 0x10, Signals: map[string]Signal{"uv_index": {Base: 3, Swing: 2.5}},
	New: func(w *World, _ Part) (any, error) { return &veml6075{w: w, config: 1}, nil }}

type veml6075 struct {
	w      *World
	config byte
	ready  time.Time
	data   [4]uint16
}

func (d *veml6075) Reset() { d.config, d.data = 1, [4]uint16{} }

func (d *veml6075) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	if w[0] == 0 && len(w) == 3 {
		if d.config&1 != 0 && w[1]&1 == 0 {
			d.w.Sample()
			d.ready = time.Now().Add(50 * time.Millisecond)
		}
		d.config = w[1]
	}
	if d.config&1 == 0 && !time.Now().Before(d.ready) {
		// Both bands count alike: index = n·(0.001461+0.002591)/2 with n what is
		// left of them.
		n := d.w.Value("uv_index") * 2 / (0.001461 + 0.002591)
		c := n / 100
		d.data = [4]uint16{count16(n + 2.22*c + 1.33*c), count16(n + 2.95*c + 1.74*c), count16(c), count16(c)}
	}
	v := uint16(d.config)
	switch w[0] {
	case 0x07:
		v = d.data[0]
	case 0x09:
		v = d.data[1]
	case 0x0A:
		v = d.data[2]
	case 0x0B:
		v = d.data[3]
	case 0x0C:
		v = 0x0026
	}
	copy(r, []byte{byte(v), byte(v >> 8)})
	return nil
}

func count16(v float64) uint16 { return uint16(min(max(math.Round(v), 0), 65535)) }
