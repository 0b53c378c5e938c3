package sim

import (
	"encoding/binary"
	"time"
)

// Plantower PMS5003: a frame of 32 bytes every 0.9 s.
var kindPMS5003 = Kind{Name: "pms5003", DefaultBus: "ttyAMA0",
	Signals: map[string]Signal{"pm1": {Base: 5, Swing: 3}, "pm2_5": {Base: 9, Swing: 5}, "pm10": {Base: 12, Swing: 6},
		"particles_0_3": {Base: 1200, Swing: 300}, "particles_0_5": {Base: 400, Swing: 90}, "particles_1_0": {Base: 60, Swing: 20}, "particles_2_5": {Base: 8, Swing: 4}},
	New: func(w *World, _ Part) (any, error) { return &pms5003{w}, nil }}

type pms5003 struct{ w *World }

func (d *pms5003) Baud() int             { return 9600 }
func (d *pms5003) Receive([]byte) []byte { return nil }

func (d *pms5003) Send() ([]byte, time.Duration) {
	d.w.Sample()
	f := make([]byte, 32)
	f[0], f[1], f[3] = 0x42, 0x4D, 28
	for q, at := range map[string]int{"pm1": 10, "pm2_5": 12, "pm10": 14, "particles_0_3": 16, "particles_0_5": 18, "particles_1_0": 20, "particles_2_5": 22} {
		binary.BigEndian.PutUint16(f[at:], uint16(d.w.Value(q)+0.5))
	}
	copy(f[4:], f[10:16])
	sum := uint16(0)
	for _, x := range f[:30] {
		sum += uint16(x)
	}
	binary.BigEndian.PutUint16(f[30:], sum)
	return f, 900 * time.Millisecond
}

// Winsen MH-Z19: answers the command 0x86.
var kindMHZ19 = Kind{Name: "mhz19", DefaultBus: "ttyAMA0",
	Signals: map[string]Signal{"co2": {Base: 800, Swing: 300, Noise: 10}, "temperature": {Base: 24, Swing: 2}},
	New:     func(w *World, _ Part) (any, error) { return &mhz19{w}, nil }}

type mhz19 struct{ w *World }

func (d *mhz19) Baud() int                     { return 9600 }
func (d *mhz19) Send() ([]byte, time.Duration) { return nil, 0 }

func (d *mhz19) Receive(b []byte) []byte {
	if len(b) != 9 || b[0] != 0xFF || b[2] != 0x86 || mhzSum(b) != b[8] {
		return nil
	}
	d.w.Sample()
	co2 := uint16(d.w.Value("co2") + 0.5)
	f := []byte{0xFF, 0x86, byte(co2 >> 8), byte(co2), byte(d.w.Value("temperature") + 40.5), 0, 0, 0, 0}
	f[8] = mhzSum(f)
	return f
}

func mhzSum(b []byte) byte {
	sum := byte(0)
	for _, x := range b[1:8] {
		sum += x
	}
	return -sum
}
