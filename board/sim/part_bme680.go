package sim

import (
	"encoding/binary"
	"math"
	"sort"
	"time"
)

// Bosch BME680 with the trimming values of a real part. The compensation is
// the datasheet's, in floating point, and is inverted by bisection.
var kindBME680 = Kind{Name: "bme680", DefaultBus: "i2c-1", Address: 0x76,
	Signals: map[string]Signal{"temperature": climate["temperature"], "humidity": climate["humidity"], "pressure": climate["pressure"],
		"gas_resistance": {Base: 60000, Swing: 20000, Noise: 500}},
	New: func(w *World, _ Part) (any, error) {
		d := &bme680{w: w}
		d.Reset()
		return d, nil
	}}

const (
	b6t1, b6t2, b6t3                                            = 26041.0, 26469.0, 3.0
	b6p1, b6p2, b6p3, b6p4, b6p5, b6p6, b6p7, b6p8, b6p9, b6p10 = 36673.0, -10515.0, 88.0, 7310.0, -134.0, 30.0, 34.0, -3106.0, -2812.0, 30.0
	b6h1, b6h2, b6h3, b6h4, b6h5, b6h6, b6h7                    = 777.0, 1020.0, 0.0, 45.0, 20.0, 120.0, -100.0
	b6switch                                                    = 1.0
)

type bme680 struct {
	w     *World
	reg   [256]byte
	ready time.Time
	next  [15]byte // 0x1D to 0x2B
}

// Reset is power-on.
func (d *bme680) Reset() {
	d.ready = time.Time{}
	d.reg = [256]byte{0xD0: 0x61, 0x00: 46, 0x02: 1 << 4, 0x04: byte(int8(b6switch)) << 4}
	put := func(at int, v float64) { binary.LittleEndian.PutUint16(d.reg[at:], uint16(int32(v))) }
	put(0xE9, b6t1)
	put(0x8A, b6t2)
	d.reg[0x8C] = byte(int8(b6t3))
	put(0x8E, b6p1)
	put(0x90, b6p2)
	d.reg[0x92] = byte(int8(b6p3))
	put(0x94, b6p4)
	put(0x96, b6p5)
	d.reg[0x98], d.reg[0x99] = byte(int8(b6p7)), byte(int8(b6p6))
	put(0x9C, b6p8)
	put(0x9E, b6p9)
	d.reg[0xA0] = byte(b6p10)
	h1, h2 := int(b6h1), int(b6h2)
	d.reg[0xE1], d.reg[0xE2], d.reg[0xE3] = byte(h2>>4), byte(h2&0xF)<<4|byte(h1&0xF), byte(h1>>4)
	h7 := -100
	d.reg[0xE5], d.reg[0xE6], d.reg[0xE7], d.reg[0xE8] = byte(b6h4), byte(b6h5), byte(b6h6), byte(h7)
	put(0xEB, -5969)
	g1 := -30
	d.reg[0xED], d.reg[0xEE] = byte(g1), 18
}

func (d *bme680) Tx(w, r []byte) error {
	if !d.ready.IsZero() && !time.Now().Before(d.ready) {
		copy(d.reg[0x1D:], d.next[:])
		d.reg[0x74] &^= 3
		d.ready = time.Time{}
	}
	if len(w) == 0 {
		return errNACK
	}
	for i := 0; i+1 < len(w); i += 2 {
		d.reg[w[i]] = w[i+1]
		if w[i] == 0x74 && w[i+1]&3 == 1 {
			d.measure()
		}
	}
	for i := range r {
		r[i] = d.reg[w[0]+byte(i)]
	}
	return nil
}

func (d *bme680) measure() {
	d.w.Sample()
	want := d.w.Value("temperature")
	rawT := sort.Search(1<<20, func(x int) bool { return b6fine(float64(x))/5120 >= want })
	fine := b6fine(float64(rawT))
	p := d.w.Value("pressure") * 100
	rawP := sort.Search(1<<20, func(x int) bool { return b6pressure(float64(x), fine) <= p })
	h := d.w.Value("humidity")
	rawH := sort.Search(1<<16, func(x int) bool { return b6humidity(float64(x), fine/5120) >= h })
	d.next = [15]byte{0x80, 0, byte(rawP >> 12), byte(rawP >> 4), byte(rawP << 4), byte(rawT >> 12), byte(rawT >> 4), byte(rawT << 4), byte(rawH >> 8), byte(rawH)}
	d.ready = time.Now().Add(25 * time.Millisecond)
	d.reg[0x1D] = 0x20 // measuring
	if d.reg[0x71]&0x10 != 0 && d.reg[0x5A] != 0 {
		adc, rng := b6gas(d.w.Value("gas_resistance"))
		d.next[13], d.next[14] = byte(adc>>2), byte(adc<<6)|0x30|byte(rng)
		d.ready = d.ready.Add(100 * time.Millisecond)
	}
}

func b6fine(raw float64) float64 {
	x := raw/131072 - b6t1/8192
	return (raw/16384-b6t1/1024)*b6t2 + x*x*b6t3*16
}

func b6pressure(raw, fine float64) float64 {
	v1 := fine/2 - 64000
	v2 := (v1*v1*b6p6/131072+v1*b6p5*2)/4 + b6p4*65536
	v1 = (1 + (b6p3*v1*v1/16384+b6p2*v1)/524288/32768) * b6p1
	p := (1048576 - raw - v2/4096) * 6250 / v1
	return p + (b6p9*p*p/2147483648+p*b6p8/32768+math.Pow(p/256, 3)*b6p10/131072+b6p7*128)/16
}

func b6humidity(raw, t float64) float64 {
	v1 := raw - (b6h1*16 + b6h3/2*t)
	v2 := v1 * b6h2 / 262144 * (1 + b6h4/16384*t + b6h5/1048576*t*t)
	return v2 + (b6h6/16384+b6h7/2097152*t)*v2*v2
}

// b6gas finds range and count of a resistance: the count nearest the middle.
func b6gas(ohm float64) (adc, rng int) {
	k1 := [16]float64{5: -1, 7: -0.8, 10: -0.2, 11: -0.5, 13: -1}
	k2 := [16]float64{4: 0.1, 5: 0.7, 7: -0.8, 8: -0.1}
	best := math.MaxFloat64
	for r := range 16 {
		v := (1340 + 5*b6switch) * (1 + k1[r]/100)
		x := (1/(ohm*(1+k2[r]/100)*0.000000125*float64(int(1)<<r))-1)*v + 512
		if x >= 0 && x < 1024 && math.Abs(x-512) < best {
			best, adc, rng = math.Abs(x-512), int(math.Round(x)), r
		}
	}
	return min(adc, 1023), rng
}
