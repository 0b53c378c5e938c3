package sim

import (
	"time"
)

// sensirion is the protocol of Sensirion's parts: a command of one or two
// bytes, time to execute it, an answer of words with CRC. An answer that is
// asked for too early is not acknowledged.
type sensirion struct {
	two    bool // commands have two bytes
	answer []byte
	ready  time.Time
	do     func(cmd uint16, arg []byte) (answer []byte, wait time.Duration, ok bool)
	reset  func()
}

// Tx is one transaction.
func (s *sensirion) Tx(w, r []byte) error {
	if len(w) > 0 {
		n := 1
		if s.two {
			n = 2
		}
		if len(w) < n {
			return errNACK
		}
		cmd := uint16(w[0])
		if s.two {
			cmd = cmd<<8 | uint16(w[1])
		}
		for arg := w[n:]; len(arg) >= 3; arg = arg[3:] {
			if crc8(arg[:2]) != arg[2] {
				return errNACK
			}
		}
		answer, wait, ok := s.do(cmd, w[n:])
		if !ok {
			return errNACK
		}
		s.answer, s.ready = answer, time.Now().Add(wait)
	}
	if len(r) == 0 {
		return nil
	}
	if s.answer == nil || time.Now().Before(s.ready) {
		return errNACK
	}
	for i := range r {
		r[i] = 0xFF
	}
	copy(r, s.answer)
	return nil
}

// Reset is power-on.
func (s *sensirion) Reset() {
	s.answer = nil
	if s.reset != nil {
		s.reset()
	}
}

func serialWords(w *World, n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, word(uint16(mix(w.seed+uint64(i))))...)
	}
	return b
}

// Sensirion SHT30, SHT31, SHT35.
var kindSHT3x = Kind{
	Name: "sht3x", DefaultBus: "i2c-1", Address: 0x44, Signals: climate,
	New: func(w *World, _ Part) (any, error) {
		return &sensirion{two: true, do: func(cmd uint16, _ []byte) ([]byte, time.Duration, bool) {
			switch cmd {
			case 0xF32D: // status
				return word(0x8010), 0, true
			case 0x30A2: // soft reset
				return nil, 0, true
			case 0x2400, 0x240B, 0x2416: // single shot without clock stretching
				w.Sample()
				return append(word(raw16(w.Value("temperature"), -45, 175)), word(raw16(w.Value("humidity"), 0, 100))...), 15 * time.Millisecond, true
			}
			return nil, 0, false
		}}, nil
	},
}

// Sensirion SHT40, SHT41, SHT43, SHT45.
var kindSHT4x = Kind{
	Name: "sht4x", DefaultBus: "i2c-1", Address: 0x44, Signals: climate,
	New: func(w *World, _ Part) (any, error) {
		return &sensirion{do: func(cmd uint16, _ []byte) ([]byte, time.Duration, bool) {
			switch cmd {
			case 0x89:
				return serialWords(w, 2), 0, true
			case 0x94:
				return nil, 0, true
			case 0xFD, 0xF6, 0xE0:
				w.Sample()
				return append(word(raw16(w.Value("temperature"), -45, 175)), word(raw16(w.Value("humidity"), -6, 125))...), 9 * time.Millisecond, true
			}
			return nil, 0, false
		}}, nil
	},
}

// Sensirion SCD40, SCD41.
var kindSCD4x = Kind{
	Name: "scd4x", DefaultBus: "i2c-1", Address: 0x62,
	Signals: map[string]Signal{"co2": {Base: 700, Swing: 250, Noise: 10, Period: 120}, "temperature": climate["temperature"], "humidity": climate["humidity"]},
	New: func(w *World, _ Part) (any, error) {
		var next time.Time // of the next value; zero: not measuring
		return &sensirion{two: true, reset: func() { next = time.Time{} }, do: func(cmd uint16, _ []byte) ([]byte, time.Duration, bool) {
			measuring := !next.IsZero()
			switch cmd {
			case 0x3F86:
				next = time.Time{}
				return nil, 500 * time.Millisecond, true
			case 0xE4B8:
				v := uint16(0x8000)
				if measuring && !time.Now().Before(next) {
					v |= 6
				}
				return word(v), time.Millisecond, true
			case 0xEC05:
				if !measuring || time.Now().Before(next) {
					return nil, 0, false
				}
				for !next.After(time.Now()) {
					next = next.Add(5 * time.Second)
				}
				w.Sample()
				b := word(uint16(w.Value("co2") + 0.5))
				b = append(b, word(raw16(w.Value("temperature"), -45, 175))...)
				return append(b, word(raw16(w.Value("humidity"), 0, 100))...), time.Millisecond, true
			}
			if measuring {
				return nil, 0, false
			}
			switch cmd {
			case 0x21B1:
				next = time.Now().Add(5 * time.Second)
				return nil, 0, true
			case 0x3682:
				return serialWords(w, 3), time.Millisecond, true
			case 0x2427, 0x36F6:
				return nil, time.Millisecond, true
			}
			return nil, 0, false
		}}, nil
	},
}

// Sensirion SGP30: after init it gives 400 ppm and 0 ppb for 15 s.
var kindSGP30 = Kind{
	Name: "sgp30", DefaultBus: "i2c-1", Address: 0x58,
	Signals: map[string]Signal{"eco2": {Base: 600, Swing: 150, Noise: 5}, "tvoc": {Base: 80, Swing: 40, Noise: 3}},
	New: func(w *World, _ Part) (any, error) {
		var since time.Time
		return &sensirion{two: true, reset: func() { since = time.Time{} }, do: func(cmd uint16, _ []byte) ([]byte, time.Duration, bool) {
			switch cmd {
			case 0x3682:
				return serialWords(w, 3), time.Millisecond, true
			case 0x2003:
				since = time.Now()
				return nil, 10 * time.Millisecond, true
			case 0x2008:
				if since.IsZero() {
					return nil, 0, false
				}
				w.Sample()
				eco2, tvoc := w.Value("eco2"), w.Value("tvoc")
				if time.Since(since) < 15*time.Second {
					eco2, tvoc = 400, 0
				}
				return append(word(uint16(eco2+0.5)), word(uint16(tvoc+0.5))...), 12 * time.Millisecond, true
			}
			return nil, 0, false
		}}, nil
	},
}

// TI HDC302x: its own measuring rhythm, read with one command.
var kindHDC302x = Kind{
	Name: "hdc302x", DefaultBus: "i2c-1", Address: 0x44, Signals: climate,
	New: func(w *World, _ Part) (any, error) {
		var since time.Time
		var every time.Duration
		rates := map[uint16]time.Duration{0x2032: 2 * time.Second, 0x2130: time.Second, 0x2236: 500 * time.Millisecond,
			0x2334: 250 * time.Millisecond, 0x2737: 100 * time.Millisecond}
		return &sensirion{two: true, reset: func() { since = time.Time{} }, do: func(cmd uint16, _ []byte) ([]byte, time.Duration, bool) {
			if d, ok := rates[cmd]; ok {
				since, every = time.Now(), d
				return nil, 0, true
			}
			switch cmd {
			case 0x3093:
				since = time.Time{}
				return nil, 0, true
			case 0x3781:
				return word(0x3000), 0, true
			case 0xE000:
				if since.IsZero() || time.Since(since) < every {
					return nil, 0, false
				}
				w.Sample()
				return append(word(raw16(w.Value("temperature"), -45, 175)), word(raw16(w.Value("humidity"), 0, 100))...), 0, true
			}
			return nil, 0, false
		}}, nil
	},
}
