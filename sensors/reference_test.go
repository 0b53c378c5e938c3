package sensors

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The maker's integer arithmetic for the BME680, with his shifts and their
// rounding, as an independent second way to the same values: temperature in
// 0.01 °C, pressure in Pa, humidity in 0.001 %.
type integerBME680 struct {
	t1, t2, t3                              int64
	p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 int64
	h1, h2, h3, h4, h5, h6, h7              int64
}

func (c integerBME680) temperature(adc int64) (fine, hundredths int64) {
	v1 := adc>>3 - c.t1<<1
	v2 := v1 * c.t2 >> 11
	v3 := (v1 >> 1) * (v1 >> 1) >> 12
	v3 = v3 * (c.t3 << 4) >> 14
	fine = v2 + v3
	return fine, (fine*5 + 128) >> 8
}

func (c integerBME680) pressure(adc, fine int64) int64 {
	v1 := fine>>1 - 64000
	v2 := ((v1 >> 2) * (v1 >> 2) >> 11) * c.p6 >> 2
	v2 += v1 * c.p5 << 1
	v2 = v2>>2 + c.p4<<16
	v1 = (((v1>>2)*(v1>>2)>>13)*(c.p3<<5))>>3 + c.p2*v1>>1
	v1 >>= 18
	v1 = (32768 + v1) * c.p1 >> 15
	p := (1048576 - adc - v2>>12) * 3125
	p = (p << 1) / v1
	v1 = c.p9 * ((p >> 3) * (p >> 3) >> 13) >> 12
	v2 = (p >> 2) * c.p8 >> 13
	v3 := (p >> 8) * (p >> 8) * (p >> 8) * c.p10 >> 17
	return p + (v1+v2+v3+c.p7<<7)>>4
}

func (c integerBME680) humidity(adc, fine int64) int64 {
	t := (fine*5 + 128) >> 8
	v1 := adc - c.h1<<4 - (t*c.h3/100)>>1
	v2 := c.h2 * (t*c.h4/100 + (t*(t*c.h5/100)>>6)/100 + 1<<14) >> 10
	v3 := v1 * v2
	v4 := (c.h6<<7 + t*c.h7/100) >> 4
	v5 := (v3 >> 14) * (v3 >> 14) >> 10
	v6 := v4 * v5 >> 1
	return ((v3 + v6) >> 10) * 1000 >> 12
}

// The driver's formulas agree with the maker's integers over the whole range
// of raw values, for the trimming of a real part.
func TestBME680AgreesWithTheIntegerFormula(t *testing.T) {
	i := integerBME680{t1: 26203, t2: 26519, t3: 3, p1: 35008, p2: -10284, p3: 88, p4: 9692, p5: -202, p6: 30, p7: 24, p8: -516, p9: -3469, p10: 30,
		h1: 794, h2: 1007, h3: 0, h4: 45, h5: 20, h6: 120, h7: -100}
	f := bme680Cal{t1: 26203, t2: 26519, t3: 3, p1: 35008, p2: -10284, p3: 88, p4: 9692, p5: -202, p6: 30, p7: 24, p8: -516, p9: -3469, p10: 30,
		h1: 794, h2: 1007, h3: 0, h4: 45, h5: 20, h6: 120, h7: -100}
	r := rand.New(rand.NewPCG(1, 2))
	compared := 0
	for range 20000 {
		tAdc, pAdc, hAdc := 350000+r.Int64N(300000), 200000+r.Int64N(400000), 10000+r.Int64N(30000)
		iFine, iT := i.temperature(tAdc)
		fine := f.fine(float64(tAdc))
		temp := fine / 5120
		if temp < -40 || temp > 85 {
			continue
		}
		compared++
		if d := temp - float64(iT)/100; math.Abs(d) > 0.02 {
			t.Fatalf("raw %d: %v °C, in integers %v", tAdc, temp, float64(iT)/100)
		}
		p, ip := f.pressure(float64(pAdc), fine), float64(i.pressure(pAdc, iFine))
		if p > 30000 && p < 110000 && math.Abs(p-ip) > 20 { // the integers give up the last bits
			t.Fatalf("raw %d at %v °C: %v Pa, in integers %v", pAdc, temp, p, ip)
		}
		h, ih := f.humidity(float64(hAdc), temp), float64(i.humidity(hAdc, iFine))/1000
		if h > 0 && h < 100 && math.Abs(h-ih) > 0.2 {
			t.Fatalf("raw %d at %v °C: %v %%, in integers %v", hAdc, temp, h, ih)
		}
	}
	if compared < 5000 {
		t.Errorf("only %d of 20000 raw values are within the part's range", compared)
	}
}

// The check values that the makers print.
func TestChecksumsOfTheMakers(t *testing.T) {
	if c := crc8([]byte{0xBE, 0xEF}); c != 0x92 { // Sensirion, in every datasheet's section on the checksum
		t.Errorf("the CRC of BE EF is %#x, want 0x92", c)
	}
	if c := crc8([]byte{0, 0}); c != 0x81 {
		t.Errorf("the CRC of 00 00 is %#x, want 0x81", c)
	}
	// Winsen: the request to read, FF 01 86 00 00 00 00 00 79.
	sum := byte(0)
	for _, b := range []byte{0x01, 0x86, 0, 0, 0, 0, 0} {
		sum += b
	}
	if c := ^sum + 1; c != 0x79 {
		t.Errorf("the sum of the request is %#x, want 0x79", c)
	}
	answer := []byte{0xFF, 0x86, 0x00, 0x2A, 0x00, 0x00, 0x00, 0x20, 0x30} // an answer printed in a manual of the same maker
	if matchMHZ(answer) != len(answer) {
		t.Error("an answer out of the maker's manual is refused")
	}
	answer[3] ^= 1
	if matchMHZ(answer) == len(answer) {
		t.Error("a damaged answer is taken")
	}
}

// The datasheet's integer routine for the TSL2561 approximates r^1.4 in eight
// pieces; the driver's formula is the curve itself.
func TestTSL2561AgreesWithThePieces(t *testing.T) {
	pieces := []struct{ k, b, m float64 }{ // ratio · 2^9, slopes · 2^14, packages T, FN, CL
		{0x40, 0x1F2, 0x1BE}, {0x80, 0x214, 0x2D1}, {0xC0, 0x23F, 0x37B}, {0x100, 0x270, 0x3FE}, {0x138, 0x16F, 0x1FC}, {0x19A, 0xD2, 0xFB}, {0x29A, 0x18, 0x12},
	}
	for _, ch0 := range []float64{100, 1000, 30000} {
		for ratio := 0.02; ratio < 1.3; ratio += 0.01 {
			ch1 := ch0 * ratio
			want := 0.0
			for _, p := range pieces {
				if ratio <= p.k/512 {
					want = (ch0*p.b - ch1*p.m) / 16384
					break
				}
			}
			if got := tslLux(ch0, ch1); math.Abs(got-want) > 0.02*ch0*0.0304+0.001*ch0 {
				t.Errorf("channels %v and %v: %v lx, by pieces %v", ch0, ch1, got, want)
			}
		}
	}
}
