package sim

import (
	"encoding/binary"
	"sort"
	"time"
)

// Bosch BME280 (datasheet BST-BME280-DS002): 26 + 7 bytes of calibration, the
// three control registers, and raw values that give the simulated temperature,
// humidity and pressure when a driver compensates them.
var kindBME280 = Kind{
	Name: "bme280", DefaultBus: "i2c-1", Address: 0x76, Signals: climate,
	New: func(w *World, _ Part) (any, error) { return newBMx280(w, 0x60), nil },
}

// climate is a room.
var climate = map[string]Signal{
	"temperature": {Base: 21.5, Swing: 1.5, Noise: 0.02},
	"humidity":    {Base: 45, Swing: 6, Noise: 0.1, Period: 500},
	"pressure":    {Base: 1013.25, Swing: 4, Noise: 0.03, Period: 2000}, // hPa
}

const (
	bmeCalib1   = 0x88
	bmeID       = 0xD0
	bmeReset    = 0xE0
	bmeCalib2   = 0xE1
	bmeCtrlHum  = 0xF2
	bmeStatus   = 0xF3
	bmeCtrlMeas = 0xF4
	bmeData     = 0xF7
)

// bmeCal are trimming values as a real part has them; temperature and pressure
// are the datasheet's example.
type bmeCal struct {
	t1         uint16
	t2, t3     int16
	p1         uint16
	p2, p3, p4 int16
	p5, p6, p7 int16
	p8, p9     int16
	h1         uint8
	h2         int16
	h3         uint8
	h4, h5     int16
	h6         int8
}

var bmeExample = bmeCal{
	t1: 27504, t2: 26435, t3: -1000,
	p1: 36477, p2: -10685, p3: 3024, p4: 2855, p5: 140, p6: -7, p7: 15500, p8: -14600, p9: 6000,
	h1: 75, h2: 370, h3: 0, h4: 313, h5: 50, h6: 30,
}

type bmx280 struct {
	w     *World
	cal   bmeCal
	reg   [256]byte
	ready time.Time // when the running measurement is done
	next  [8]byte   // its result
}

func newBMx280(w *World, id byte) *bmx280 {
	d := &bmx280{w: w, cal: bmeExample}
	d.reg[bmeID] = id
	d.Reset()
	return d
}

// Reset is power-on.
func (d *bmx280) Reset() {
	id := d.reg[bmeID]
	d.reg = [256]byte{bmeID: id}
	c := d.cal
	for i, v := range []uint16{c.t1, uint16(c.t2), uint16(c.t3), c.p1, uint16(c.p2), uint16(c.p3), uint16(c.p4),
		uint16(c.p5), uint16(c.p6), uint16(c.p7), uint16(c.p8), uint16(c.p9)} {
		binary.LittleEndian.PutUint16(d.reg[bmeCalib1+2*i:], v)
	}
	d.ready = time.Time{}
	copy(d.reg[bmeData:], []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0}) // nothing measured yet
	if id != 0x60 {
		return
	}
	d.reg[0xA1] = c.h1
	binary.LittleEndian.PutUint16(d.reg[0xE1:], uint16(c.h2))
	d.reg[0xE3] = c.h3
	d.reg[0xE4] = byte(c.h4 >> 4)
	d.reg[0xE5] = byte(c.h4&0xF) | byte(c.h5&0xF)<<4
	d.reg[0xE6] = byte(c.h5 >> 4)
	d.reg[0xE7] = byte(c.h6)
}

// Tx is one transaction: a register and what follows, or pairs of register and
// value (datasheet 6.2).
func (d *bmx280) Tx(w, r []byte) error {
	d.settle()
	if len(w) > 1 {
		for i := 0; i+1 < len(w); i += 2 {
			d.write(w[i], w[i+1])
		}
	}
	if len(r) == 0 || len(w) == 0 {
		return nil
	}
	reg := w[0]
	if d.reg[bmeCtrlMeas]&3 == 3 && reg <= bmeData { // normal mode measures all the time
		d.measure()
		d.ready = time.Now()
		d.settle()
	}
	for i := range r {
		r[i] = d.reg[reg+byte(i)]
	}
	return nil
}

func (d *bmx280) write(reg, v byte) {
	switch reg {
	case bmeReset:
		if v == 0xB6 {
			d.Reset()
		}
	case bmeCtrlHum, 0xF5:
		d.reg[reg] = v
	case bmeCtrlMeas:
		d.reg[reg] = v
		if mode := v & 3; mode == 1 || mode == 2 {
			d.measure()
			d.ready = time.Now().Add(d.duration())
			d.reg[bmeStatus] |= 8
		}
	}
}

// duration of a forced measurement, typical (datasheet 9.1).
func (d *bmx280) duration() time.Duration {
	us := 1000
	for i, osr := range []byte{d.reg[bmeCtrlMeas] >> 5, d.reg[bmeCtrlMeas] >> 2 & 7, d.reg[bmeCtrlHum] & 7} {
		if osr == 0 {
			continue
		}
		us += 2000 << (min(osr, 5) - 1)
		if i > 0 {
			us += 500
		}
	}
	return time.Duration(us) * time.Microsecond
}

// settle shows the result of a measurement that is done.
func (d *bmx280) settle() {
	if d.ready.IsZero() || time.Now().Before(d.ready) {
		return
	}
	d.ready = time.Time{}
	copy(d.reg[bmeData:], d.next[:])
	d.reg[bmeStatus] &^= 8
	if mode := d.reg[bmeCtrlMeas] & 3; mode == 1 || mode == 2 {
		d.reg[bmeCtrlMeas] &^= 3 // back to sleep
	}
}

// measure finds the raw values that compensate to what the world has.
func (d *bmx280) measure() {
	d.w.Sample()
	t := d.w.Value("temperature")
	rawT := int32(sort.Search(1<<20, func(x int) bool { c, _ := d.cal.temperature(int32(x)); return float64(c) >= t*100 }))
	_, fine := d.cal.temperature(rawT)
	p := d.w.Value("pressure") * 100 * 256
	rawP := int32(sort.Search(1<<20, func(x int) bool { return float64(d.cal.pressure(int32(x), fine)) <= p }))
	h := d.w.Value("humidity") * 1024
	rawH := int32(sort.Search(1<<16-1, func(x int) bool { return float64(d.cal.humidity(int32(x), fine)) >= h }))
	if d.reg[bmeCtrlMeas]>>5 == 0 {
		rawT = 0x80000
	}
	if d.reg[bmeCtrlMeas]>>2&7 == 0 {
		rawP = 0x80000
	}
	if d.reg[bmeCtrlHum]&7 == 0 {
		rawH = 0x8000
	}
	d.next = [8]byte{byte(rawP >> 12), byte(rawP >> 4), byte(rawP << 4), byte(rawT >> 12), byte(rawT >> 4), byte(rawT << 4),
		byte(rawH >> 8), byte(rawH)}
}

// The compensation of the datasheet, 4.2.3, in integers.

// temperature in 0.01 °C, and the fine value the others need.
func (c *bmeCal) temperature(raw int32) (int32, int32) {
	v1 := ((raw>>3 - int32(c.t1)<<1) * int32(c.t2)) >> 11
	v2 := (((raw>>4 - int32(c.t1)) * (raw>>4 - int32(c.t1)) >> 12) * int32(c.t3)) >> 14
	fine := v1 + v2
	return (fine*5 + 128) >> 8, fine
}

// pressure in Pa/256.
func (c *bmeCal) pressure(raw, fine int32) int64 {
	v1 := int64(fine) - 128000
	v2 := v1*v1*int64(c.p6) + (v1*int64(c.p5))<<17 + int64(c.p4)<<35
	v1 = (v1*v1*int64(c.p3))>>8 + (v1*int64(c.p2))<<12
	v1 = (int64(1)<<47 + v1) * int64(c.p1) >> 33
	if v1 == 0 {
		return 0
	}
	p := int64(1048576) - int64(raw)
	p = (p<<31 - v2) * 3125 / v1
	v1 = (int64(c.p9) * (p >> 13) * (p >> 13)) >> 25
	v2 = (int64(c.p8) * p) >> 19
	return (p+v1+v2)>>8 + int64(c.p7)<<4
}

// humidity in %/1024.
func (c *bmeCal) humidity(raw, fine int32) int32 {
	v := fine - 76800
	v = ((raw<<14 - int32(c.h4)<<20 - int32(c.h5)*v + 16384) >> 15) *
		((((((v*int32(c.h6))>>10)*((v*int32(c.h3))>>11+32768))>>10+2097152)*int32(c.h2) + 8192) >> 14)
	v -= (((v >> 15) * (v >> 15)) >> 7 * int32(c.h1)) >> 4
	return min(max(v, 0), 419430400) >> 12
}
