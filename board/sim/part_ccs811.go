package sim

import "time"

// ScioSense CCS811: boots into its loader, measures once its application runs
// and a mode is set.
var kindCCS811 = Kind{
	Name: "ccs811", DefaultBus: "i2c-1", Address: 0x5A,
	Signals: map[string]Signal{"eco2": {Base: 700, Swing: 200, Noise: 5}, "tvoc": {Base: 60, Swing: 40, Noise: 3}},
	New:     func(w *World, _ Part) (any, error) { return &ccs811{w: w}, nil },
}

type ccs811 struct {
	w    *World
	app  bool
	mode byte
	next time.Time
	data [4]byte
}

func (d *ccs811) Reset() { d.app, d.mode, d.next = false, 0, time.Time{} }

func (d *ccs811) status() byte {
	s := byte(0x10) // valid application
	if d.app {
		s |= 0x80
	}
	if d.mode != 0 && !time.Now().Before(d.next) {
		s |= 8
	}
	return s
}

func (d *ccs811) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	switch w[0] {
	case 0xF4:
		d.app = true
	case 0xFF:
		if len(w) == 5 {
			d.Reset()
		}
	case 0x01:
		if len(w) == 2 {
			d.mode, d.next = w[1]>>4&7, time.Now().Add(time.Second)
		}
		copy(r, []byte{d.mode << 4})
	case 0x20:
		copy(r, []byte{0x81})
	case 0x00:
		copy(r, []byte{d.status()})
	case 0x02:
		s := d.status()
		if s&8 != 0 {
			d.w.Sample()
			e, t := uint16(d.w.Value("eco2")+0.5), uint16(d.w.Value("tvoc")+0.5)
			d.data = [4]byte{byte(e >> 8), byte(e), byte(t >> 8), byte(t)}
			d.next = time.Now().Add(950 * time.Millisecond)
		}
		copy(r, append(d.data[:], s, 0, 0x14, 0x00))
	}
	return nil
}
