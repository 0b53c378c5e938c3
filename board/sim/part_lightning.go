package sim

import "time"

// ams AS3935: strikes of the storm that its signals describe, at even times, rate
// a minute. Its interrupt register keeps an event until it is read.
var kindAS3935 = Kind{
	Name: "as3935", DefaultBus: "i2c-1", Address: 0x03,
	Signals: map[string]Signal{"rate": {Base: 6}, "lightning_distance": {Base: 17, Swing: 12, Period: 40}, "lightning_energy": {Base: 300000, Swing: 200000, Noise: 50000}},
	New: func(w *World, _ Part) (any, error) {
		d := &as3935{w: w}
		d.Reset()
		return d, nil
	},
}

type as3935 struct {
	w     *World
	reg   [0x3E]byte
	next  time.Time // of the strike that comes
	heard bool      // it listens since its oscillators were calibrated
}

// Reset is power-on (datasheet figure 30).
func (d *as3935) Reset() {
	d.reg = [0x3E]byte{0x00: 0x24, 0x01: 0x22, 0x02: 0xC2, 0x07: 0x3F}
	d.heard = false
}

// kilometres that the part tells; 1 is overhead.
var kilometres = []byte{1, 5, 6, 8, 10, 12, 14, 17, 20, 24, 27, 31, 34, 37, 40}

func (d *as3935) Tx(w, r []byte) error {
	if len(w) == 0 || int(w[0]) >= len(d.reg) {
		return errNACK
	}
	at := int(w[0])
	for i, v := range w[1:] {
		d.write(at+i, v)
	}
	if len(r) == 0 {
		return nil
	}
	d.storm()
	for i := range r {
		if at+i >= len(d.reg) {
			break
		}
		r[i] = d.reg[at+i]
		if at+i == 0x03 {
			d.reg[0x03] &= 0xF0
		}
	}
	return nil
}

func (d *as3935) write(at int, v byte) {
	switch {
	case at == 0x3C && v == 0x96:
		d.Reset()
	case at == 0x3D && v == 0x96:
		d.reg[0x3A], d.reg[0x3B] = 0x80, 0x80
		d.heard, d.next = true, time.Now().Add(d.pause())
	case at <= 0x03 || at == 0x08:
		d.reg[at] = v
	}
}

func (d *as3935) pause() time.Duration {
	rate := max(d.w.Value("rate"), 0.01)
	return time.Duration(float64(time.Minute) / rate)
}

// storm lets the strike happen that is due. One that nobody has asked for yet is
// overtaken by it.
func (d *as3935) storm() {
	if !d.heard || d.reg[0x00]&1 != 0 || time.Now().Before(d.next) {
		return
	}
	for !time.Now().Before(d.next) {
		d.next = d.next.Add(d.pause())
	}
	d.w.Sample()
	d.reg[0x03] = d.reg[0x03]&0xF0 | 8
	energy := uint32(min(max(d.w.Value("lightning_energy"), 0), 1<<21-1))
	d.reg[0x04], d.reg[0x05], d.reg[0x06] = byte(energy), byte(energy>>8), byte(energy>>16)
	want, best := d.w.Value("lightning_distance"), byte(0x3F)
	for _, km := range kilometres {
		if float64(km) <= want+0.5 {
			best = km
		}
	}
	if want > 41 {
		best = 0x3F
	}
	d.reg[0x07] = best
}
