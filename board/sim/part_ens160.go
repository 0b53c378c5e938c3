package sim

import (
	"encoding/binary"
	"time"
)

// ScioSense ENS160: a value a second, three minutes of warming up, and a
// running checksum over what is read from the data registers.
var kindENS160 = Kind{Name: "ens160", DefaultBus: "i2c-1", Address: 0x53,
	Signals: map[string]Signal{"aqi": {Base: 2}, "tvoc": {Base: 90, Swing: 50, Noise: 4}, "eco2": {Base: 650, Swing: 150, Noise: 8}},
	New:     func(w *World, _ Part) (any, error) { return &ens160{w: w}, nil }}

type ens160 struct {
	w     *World
	mode  byte
	since time.Time
	next  time.Time
	data  [6]byte
	misr  byte
}

func (d *ens160) Reset() { d.mode, d.misr, d.data = 0, 0, [6]byte{} }

func (d *ens160) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	if w[0] == 0x10 && len(w) == 2 && w[1] != d.mode {
		d.mode, d.since, d.next = w[1], time.Now(), time.Now().Add(time.Second)
	}
	if len(r) == 0 {
		return nil
	}
	switch {
	case w[0] == 0x00:
		copy(r, []byte{0x60, 0x01})
	case w[0] == 0x10:
		r[0] = d.mode
	case w[0] == 0x38:
		r[0] = d.misr
	case w[0] >= 0x20 && w[0] < 0x38:
		d.measure()
		copy(r, d.data[min(int(w[0]-0x20), 6):])
		for _, x := range r {
			top := d.misr & 0x80
			d.misr = d.misr<<1 ^ x
			if top != 0 {
				d.misr ^= 0x1D
			}
		}
	}
	return nil
}

func (d *ens160) measure() {
	d.data[0] &^= 2
	if d.mode != 2 {
		return
	}
	d.data[0] = 0x80
	if time.Since(d.since) < 3*time.Minute {
		d.data[0] |= 1 << 2
	}
	if time.Now().Before(d.next) {
		return
	}
	d.next = time.Now().Add(950 * time.Millisecond)
	d.w.Sample()
	d.data[0] |= 2
	d.data[1] = byte(d.w.Value("aqi") + 0.5)
	binary.LittleEndian.PutUint16(d.data[2:], uint16(d.w.Value("tvoc")+0.5))
	binary.LittleEndian.PutUint16(d.data[4:], uint16(d.w.Value("eco2")+0.5))
}
