package sim

import (
	"encoding/binary"
	"sort"
	"time"
)

var outdoor = map[string]Signal{"temperature": climate["temperature"], "pressure": climate["pressure"]}

// Bosch BMP280: the BME280 without humidity.
var kindBMP280 = Kind{Name: "bmp280", DefaultBus: "i2c-1", Address: 0x76, Signals: outdoor,
	New: func(w *World, _ Part) (any, error) { return newBMx280(w, 0x58), nil }}

// Bosch BMP180 with the calibration of its datasheet's example.
var kindBMP180 = Kind{Name: "bmp180", DefaultBus: "i2c-1", Address: 0x77, Signals: outdoor,
	New: func(w *World, _ Part) (any, error) { return newBMP180(w), nil }}

var bmp180Cal = []int{408, -72, -14383, 32741, 32757, 23153, 6190, 4, -32768, -8711, 2868}

type bmp180 struct {
	w     *World
	reg   [256]byte
	ready time.Time
	next  [3]byte
}

func newBMP180(w *World) *bmp180 {
	d := &bmp180{w: w}
	d.Reset()
	return d
}

func (d *bmp180) Reset() {
	d.reg = [256]byte{0xD0: 0x55, 0xF6: 0x80}
	for i, v := range bmp180Cal {
		binary.BigEndian.PutUint16(d.reg[0xAA+2*i:], uint16(v))
	}
}

func (d *bmp180) Tx(w, r []byte) error {
	if !d.ready.IsZero() && !time.Now().Before(d.ready) {
		copy(d.reg[0xF6:], d.next[:])
		d.reg[0xF4] &^= 0x20
		d.ready = time.Time{}
	}
	if len(w) == 2 && w[0] == 0xE0 && w[1] == 0xB6 {
		d.Reset()
	}
	if len(w) == 2 && w[0] == 0xF4 {
		d.reg[0xF4] = w[1]
		d.convert(w[1])
	}
	if len(w) == 0 {
		return nil
	}
	for i := range r {
		r[i] = d.reg[w[0]+byte(i)]
	}
	return nil
}

// convert starts a conversion of temperature (0x2E) or pressure (0x34 with the
// oversampling above it).
func (d *bmp180) convert(cmd byte) {
	if cmd&0x3F == 0x2E {
		d.w.Sample()
		ut := d.rawTemperature()
		d.next = [3]byte{byte(ut >> 8), byte(ut)}
		d.ready = time.Now().Add(4500 * time.Microsecond)
		return
	}
	os := uint(cmd >> 6)
	b5 := bmp180B5(d.rawTemperature())
	want := int64(d.w.Value("pressure")*100 + 0.5)
	up := sort.Search(1<<(16+os), func(x int) bool { return bmp180Pressure(int64(x), b5, os) >= want })
	raw := up << (8 - os)
	d.next = [3]byte{byte(raw >> 16), byte(raw >> 8), byte(raw)}
	d.ready = time.Now().Add([]time.Duration{4500, 7500, 13500, 25500}[os] * time.Microsecond)
}

func (d *bmp180) rawTemperature() int64 {
	want := int64(d.w.Value("temperature")*10 + 0.5)
	return int64(sort.Search(1<<16, func(x int) bool { return (bmp180B5(int64(x))+8)>>4 >= want }))
}

// The compensation of the datasheet, figure 4.

func bmp180B5(ut int64) int64 {
	x1 := (ut - int64(bmp180Cal[5])) * int64(bmp180Cal[4]) >> 15
	if x1+int64(bmp180Cal[10]) <= 0 {
		return -1 << 20 // below everything the part can see
	}
	return x1 + int64(bmp180Cal[9])<<11/(x1+int64(bmp180Cal[10]))
}

func bmp180Pressure(up, b5 int64, os uint) int64 {
	ac1, ac2, ac3, ac4 := int64(bmp180Cal[0]), int64(bmp180Cal[1]), int64(bmp180Cal[2]), int64(bmp180Cal[3])
	b1, b2 := int64(bmp180Cal[6]), int64(bmp180Cal[7])
	b6 := b5 - 4000
	x3 := b2*(b6*b6>>12)>>11 + ac2*b6>>11
	b3 := ((ac1*4+x3)<<os + 2) / 4
	x3 = (ac3*b6>>13 + b1*(b6*b6>>12)>>16 + 2) >> 2
	b4 := ac4 * (x3 + 32768) >> 15
	b7 := (up - b3) * (50000 >> os)
	p := b7 * 2 / b4
	x1 := (p >> 8) * (p >> 8) * 3038 >> 16
	return p + (x1+(-7357*p)>>16+3791)>>4
}
