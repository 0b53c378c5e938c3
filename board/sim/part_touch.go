package sim

// Microchip CAP1188: eight touched or not; what was touched stays in the status
// until its interrupt bit is cleared.
var kindCAP1188 = Kind{
	Name: "cap1188", DefaultBus: "i2c-1", Address: 0x29,
	Signals: map[string]Signal{"touch_0": {Base: 0.5, Swing: 1, Period: 20}, "touch_1": {}, "touch_2": {}, "touch_3": {}, "touch_4": {}, "touch_5": {}, "touch_6": {}, "touch_7": {}},
	New:     func(w *World, _ Part) (any, error) { return &cap1188{w: w}, nil },
}

type cap1188 struct {
	w      *World
	status byte
}

func (d *cap1188) Reset() { d.status = 0 }

func (d *cap1188) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	now := byte(0)
	for i := range 8 {
		if d.w.Value("touch_"+string(rune('0'+i))) >= 0.5 {
			now |= 1 << i
		}
	}
	d.status |= now
	if len(w) == 2 && w[0] == 0x00 && w[1]&1 == 0 { // interrupt cleared: one touch was taken
		d.w.Sample()
		d.status = now
	}
	for i := range r {
		switch int(w[0]) + i {
		case 0x00:
			if d.status != 0 {
				r[i] = 1
			}
		case 0x03:
			r[i] = d.status
		case 0xFD:
			r[i] = 0x50
		case 0xFE:
			r[i] = 0x5D
		}
	}
	return nil
}
