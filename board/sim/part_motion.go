package sim

import (
	"encoding/binary"
	"math"
	"time"
)

// InvenSense MPU-6050: asleep until woken, ranges by registers.
var kindMPU6050 = Kind{Name: "mpu6050", DefaultBus: "i2c-1", Address: 0x68,
	Signals: map[string]Signal{"acceleration_x": {Noise: 0.05}, "acceleration_y": {Noise: 0.05}, "acceleration_z": {Base: 9.81, Noise: 0.05},
		"angular_velocity_x": {Noise: 0.5}, "angular_velocity_y": {Noise: 0.5}, "angular_velocity_z": {Noise: 0.5}, "temperature": {Base: 28, Swing: 2}},
	New: func(w *World, _ Part) (any, error) {
		d := &mpu6050{w: w}
		d.Reset()
		return d, nil
	}}

type mpu6050 struct {
	w   *World
	reg [128]byte
}

func (d *mpu6050) Reset() { d.reg = [128]byte{0x6B: 0x40, 0x75: 0x68} }

func (d *mpu6050) Tx(w, r []byte) error {
	if len(w) == 0 || w[0] > 127 {
		return errNACK
	}
	for i, v := range w[1:] {
		d.reg[(int(w[0])+i)&127] = v
	}
	if len(r) > 0 && w[0] == 0x3B && d.reg[0x6B]&0x40 == 0 {
		d.measure()
	}
	for i := range r {
		r[i] = d.reg[(int(w[0])+i)&127]
	}
	return nil
}

func (d *mpu6050) measure() {
	d.w.Sample()
	perG := 16384 / float64(int(1)<<(d.reg[0x1C]>>3&3))
	perDegree := 131 / float64(int(1)<<(d.reg[0x1B]>>3&3))
	put := func(at int, v float64) {
		binary.BigEndian.PutUint16(d.reg[at:], uint16(int16(math.Round(min(max(v, -32768), 32767)))))
	}
	for i, axis := range []string{"x", "y", "z"} {
		put(0x3B+2*i, d.w.Value("acceleration_"+axis)/9.80665*perG)
		put(0x43+2*i, d.w.Value("angular_velocity_"+axis)*perDegree)
	}
	put(0x41, (d.w.Value("temperature")-36.53)*340)
}

// Infineon TLV493D: reading begins the next conversion.
var kindTLV493D = Kind{Name: "tlv493d", DefaultBus: "i2c-1", Address: 0x5E,
	Signals: map[string]Signal{"magnetic_flux_x": {Base: 0.1, Noise: 0.1}, "magnetic_flux_y": {Base: -0.2, Noise: 0.1}, "magnetic_flux_z": {Base: 0.3, Noise: 0.1}, "temperature": {Base: 26}},
	New:     func(w *World, _ Part) (any, error) { return &tlv493d{w: w}, nil }}

type tlv493d struct {
	w     *World
	mode  byte // fast and low-power bits; both: controlled by the master
	ready time.Time
	data  [7]byte
	next  [7]byte
	frame byte
}

func (d *tlv493d) Reset() { d.mode, d.ready, d.data = 0, time.Time{}, [7]byte{} }

func (d *tlv493d) Tx(w, r []byte) error {
	if !d.ready.IsZero() && !time.Now().Before(d.ready) {
		d.data, d.ready = d.next, time.Time{}
	}
	if len(w) == 4 {
		ones := 0
		for _, b := range w {
			for ; b != 0; b &= b - 1 {
				ones++
			}
		}
		if ones%2 == 1 { // a configuration of even parity is not taken
			d.mode = w[1] & 3
		}
	}
	if len(r) == 0 {
		return nil
	}
	copy(r, append(d.data[:], 0, 0, 0))
	if d.mode == 3 && d.ready.IsZero() {
		d.convert()
	}
	return nil
}

func (d *tlv493d) convert() {
	d.w.Sample()
	raw := func(q string) int { return int(math.Round(d.w.Value(q) / 0.098)) }
	x, y, z := raw("magnetic_flux_x"), raw("magnetic_flux_y"), raw("magnetic_flux_z")
	t := int(math.Round((d.w.Value("temperature")-25)/1.1)) + 340
	d.frame = (d.frame + 1) & 3
	d.next = [7]byte{byte(x >> 4), byte(y >> 4), byte(z >> 4), byte(t>>8)<<4 | d.frame<<2, byte(x&0xF)<<4 | byte(y&0xF), byte(z & 0xF), byte(t)}
	d.ready = time.Now().Add(5 * time.Millisecond)
}

// ams AS7262: registers behind a mailbox of three.
var kindAS7262 = Kind{Name: "as7262", DefaultBus: "i2c-1", Address: 0x49,
	Signals: map[string]Signal{"light_450": {Base: 20, Swing: 8}, "light_500": {Base: 25, Swing: 8}, "light_550": {Base: 40, Swing: 10},
		"light_570": {Base: 38, Swing: 10}, "light_600": {Base: 35, Swing: 9}, "light_650": {Base: 30, Swing: 9}, "temperature": {Base: 27, Swing: 1}},
	New: func(w *World, _ Part) (any, error) { return &as7262{w: w}, nil }}

type as7262 struct {
	w       *World
	reg     [64]byte
	pending int // register whose value is written next, plus one
	answer  int // byte that waits to be read, plus one
	done    time.Time
}

func (d *as7262) Reset() { d.reg, d.pending, d.answer, d.done = [64]byte{}, 0, 0, time.Time{} }

func (d *as7262) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	if !d.done.IsZero() && !time.Now().Before(d.done) {
		d.done = time.Time{}
		d.result()
	}
	switch {
	case w[0] == 0 && len(r) > 0:
		r[0] = 0
		if d.answer > 0 {
			r[0] = 1
		}
	case w[0] == 1 && len(w) == 2:
		d.mailbox(w[1])
	case w[0] == 2 && len(r) > 0:
		r[0] = byte(max(d.answer-1, 0))
		d.answer = 0
	}
	return nil
}

func (d *as7262) mailbox(v byte) {
	switch {
	case d.pending > 0:
		reg := d.pending - 1
		d.reg[reg&63], d.pending = v, 0
		if reg == 4 && v&0x0C == 0x0C {
			d.done = time.Now().Add(time.Duration(d.reg[5]) * 2 * 2800 * time.Microsecond)
		}
	case v&0x80 != 0:
		d.pending = int(v&0x7F) + 1
	default:
		d.answer = int(d.reg[v&63]) + 1
	}
}

func (d *as7262) result() {
	d.w.Sample()
	for i, q := range []string{"light_450", "light_500", "light_550", "light_570", "light_600", "light_650"} {
		v := d.w.Value(q)
		binary.BigEndian.PutUint16(d.reg[8+2*i:], uint16(min(max(v*45, 0), 65535)))
		binary.BigEndian.PutUint32(d.reg[0x14+4*i:], math.Float32bits(float32(v)))
	}
	d.reg[6] = byte(int8(d.w.Value("temperature")))
	d.reg[4] |= 2
}
