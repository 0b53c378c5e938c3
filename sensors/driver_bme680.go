package sensors

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// Bosch BME680 and BME688: temperature, humidity, pressure, and the resistance
// of a heated gas sensor, which falls with organic compounds (datasheet
// BST-BME680-DS001, formulas in floating point). heater is its temperature in
// °C; 0 leaves it cold and gives no gas_resistance.
var driverBME680 = Driver{
	Name: "bme680", Part: "Bosch BME680", Bus: BusI2C, Addresses: []uint16{0x76, 0x77},
	Latched:    true,
	Quantities: []string{"temperature", "humidity", "pressure", "gas_resistance"}, Options: []string{"heater"}, MinEvery: 500 * time.Millisecond,
	Emits: func(p Params) []string {
		if h, err := p.optNumber("heater", 320); err == nil && h == 0 {
			return p.driver.Quantities[:3]
		}
		return p.driver.Quantities
	},
	Identify: chipID(0xD0, 0x61), Open: openBME680,
}

type bme680 struct {
	d       device
	cal     bme680Cal
	heater  float64
	high    bool    // BME688: the gas value lies elsewhere and is computed otherwise
	ambient float64 // last temperature, for the heater
	opened  time.Time
}

type bme680Cal struct {
	t1, t2, t3                                float64
	p1, p2, p3, p4, p5, p6, p7, p8, p9, p10   float64
	h1, h2, h3, h4, h5, h6, h7                float64
	g1, g2, g3, heatRange, heatVal, switchErr float64
}

func openBME680(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	if err := d.wantID(0xD0, 0x61); err != nil {
		return nil, err
	}
	s := &bme680{d: d, ambient: 25, opened: time.Now()}
	if s.heater, err = p.optNumber("heater", 320); err != nil {
		return nil, err
	}
	variant, err := d.reg(0xF0, 1)
	if err != nil {
		return nil, err
	}
	s.high = variant[0] == 1
	if err := s.calibration(); err != nil {
		return nil, err
	}
	return s, nil
}

// calibration reads the part's trimming values.
func (s *bme680) calibration() error {
	a, err := s.d.reg(0x89, 25) // 0x89 to 0xA1
	if err != nil {
		return err
	}
	b, err := s.d.reg(0xE1, 16) // 0xE1 to 0xF0
	if err != nil {
		return err
	}
	e, err := s.d.reg(0x00, 5)
	if err != nil {
		return err
	}
	u16 := func(b []byte) float64 { return float64(binary.LittleEndian.Uint16(b)) }
	i16 := func(b []byte) float64 { return float64(int16(binary.LittleEndian.Uint16(b))) }
	i8 := func(b byte) float64 { return float64(int8(b)) }
	s.cal = bme680Cal{
		t1: u16(b[8:]), t2: i16(a[1:]), t3: i8(a[3]),
		p1: u16(a[5:]), p2: i16(a[7:]), p3: i8(a[9]), p4: i16(a[11:]), p5: i16(a[13:]), p7: i8(a[15]), p6: i8(a[16]),
		p8: i16(a[19:]), p9: i16(a[21:]), p10: float64(a[23]),
		h1: float64(uint16(b[2])<<4 | uint16(b[1]&0xF)), h2: float64(uint16(b[0])<<4 | uint16(b[1]>>4)),
		h3: i8(b[3]), h4: i8(b[4]), h5: i8(b[5]), h6: float64(b[6]), h7: i8(b[7]),
		g2: i16(b[10:]), g1: i8(b[12]), g3: i8(b[13]),
		heatRange: float64(e[2] >> 4 & 3), heatVal: i8(e[0]), switchErr: float64(int8(e[4]) >> 4),
	}
	if s.cal.t1 == 0 || s.cal.p1 == 0 {
		return errors.New("the part gives no calibration")
	}
	return nil
}

// Start sets oversampling and heater and begins one measurement.
func (s *bme680) Start(context.Context) (time.Duration, error) {
	gas := byte(0)
	wait := 30 * time.Millisecond
	if s.heater > 0 {
		gas, wait = 0x10, 180*time.Millisecond
		if s.high {
			gas = 0x20
		}
		if err := s.d.write(0x5A, s.heaterCode()); err != nil {
			return 0, err
		}
		if err := s.d.write(0x64, 0x59); err != nil { // 25 · 4 ms
			return 0, err
		}
	}
	for _, w := range [][]byte{{0x71, gas}, {0x72, 2}, {0x74, 2<<5 | 3<<2 | 1}} { // humidity ×2, temperature ×2, pressure ×4, forced
		if err := s.d.write(w...); err != nil {
			return 0, err
		}
	}
	return wait, nil
}

// heaterCode is the resistance to heat to, for the target temperature.
func (s *bme680) heaterCode() byte {
	c := &s.cal
	v := (c.g1/16 + 49) * (1 + (c.g2/32768*0.0005+0.00235)*min(s.heater, 400))
	v += c.g3 / 1024 * s.ambient
	return byte(3.4 * (v*(4/(4+c.heatRange))*(1/(1+c.heatVal*0.002)) - 25))
}

func (s *bme680) Read(_ context.Context, emit func(Reading)) error {
	var f []byte
	for try := 0; ; try++ {
		var err error
		if f, err = s.d.reg(0x1D, 17); err != nil { // 0x1D to 0x2D
			return err
		}
		if f[0]&0x80 != 0 && f[0]&0x60 == 0 {
			break
		}
		if try == 20 {
			return errors.New("the measurement does not end")
		}
		time.Sleep(10 * time.Millisecond)
	}
	raw20 := func(b []byte) float64 { return float64(uint32(b[0])<<12 | uint32(b[1])<<4 | uint32(b[2])>>4) }
	fine := s.cal.fine(raw20(f[5:]))
	t := fine / 5120
	s.ambient = t
	emit(Of("temperature", t))
	emit(Of("humidity", min(max(s.cal.humidity(float64(uint16(f[8])<<8|uint16(f[9])), t), 0), 100)))
	emit(Of("pressure", s.cal.pressure(raw20(f[2:]), fine)/100))
	if s.heater > 0 {
		emit(s.gas(f))
	}
	return nil
}

func (c *bme680Cal) fine(raw float64) float64 {
	x := raw/131072 - c.t1/8192
	return (raw/16384-c.t1/1024)*c.t2 + x*x*c.t3*16
}

func (c *bme680Cal) pressure(raw, fine float64) float64 {
	v1 := fine/2 - 64000
	v2 := v1*v1*c.p6/131072 + v1*c.p5*2
	v2 = v2/4 + c.p4*65536
	v1 = (c.p3*v1*v1/16384 + c.p2*v1) / 524288
	v1 = (1 + v1/32768) * c.p1
	p := (1048576 - raw - v2/4096) * 6250 / v1
	return p + (c.p9*p*p/2147483648+p*c.p8/32768+math.Pow(p/256, 3)*c.p10/131072+c.p7*128)/16
}

func (c *bme680Cal) humidity(raw, t float64) float64 {
	v1 := raw - (c.h1*16 + c.h3/2*t)
	v2 := v1 * (c.h2 / 262144 * (1 + c.h4/16384*t + c.h5/1048576*t*t))
	return v2 + (c.h6/16384+c.h7/2097152*t)*v2*v2
}

// The gas sensor's ranges are not quite powers of two (datasheet 3.4.3).
var (
	bme680K1 = [16]float64{5: -1, 7: -0.8, 10: -0.2, 11: -0.5, 13: -1}
	bme680K2 = [16]float64{4: 0.1, 5: 0.7, 7: -0.8, 8: -0.1}
)

func (s *bme680) gas(f []byte) Reading {
	at := 13 // 0x2A
	if s.high {
		at = 15
	}
	adc, lsb := float64(uint16(f[at])<<2|uint16(f[at+1])>>6), f[at+1]
	rng := lsb & 0xF
	var ohm float64
	if s.high {
		ohm = 1e6 * float64(uint32(262144)>>rng) / ((adc-512)*3 + 4096)
	} else {
		v := (1340 + 5*s.cal.switchErr) * (1 + bme680K1[rng]/100)
		ohm = 1 / ((1 + bme680K2[rng]/100) * 0.000000125 * float64(uint32(1)<<rng) * ((adc-512)/v + 1))
	}
	r := Of("gas_resistance", ohm)
	switch {
	case lsb&0x20 == 0:
		r.bad("the part calls its gas value invalid")
	case lsb&0x10 == 0:
		r.uncertain("the heater was not stable")
	case time.Since(s.opened) < 5*time.Minute:
		r.uncertain("warming up")
	}
	return r
}

func (s *bme680) Close() error { return s.d.write(0x74, 0) }
