package sim

import (
	"encoding/binary"
	"math"
	"time"
)

// Aosong AHT20: busy for 80 ms after a trigger, 20-bit values, CRC-8.
var kindAHT20 = Kind{
	Name: "aht20", DefaultBus: "i2c-1", Address: 0x38, Signals: climate,
	New: func(w *World, _ Part) (any, error) { return &aht20{w: w}, nil },
}

type aht20 struct {
	w     *World
	init  bool
	until time.Time // busy
	data  [5]byte
}

func (d *aht20) Reset() { d.init, d.until, d.data = false, time.Time{}, [5]byte{} }

func (d *aht20) Tx(w, r []byte) error {
	if len(w) == 3 && w[0] == 0xBE {
		d.init = true
	}
	if len(w) == 3 && w[0] == 0xAC {
		d.w.Sample()
		h := uint32(math.Round(min(max(d.w.Value("humidity"), 0), 100) / 100 * (1<<20 - 1)))
		t := uint32(math.Round((d.w.Value("temperature") + 50) / 200 * (1 << 20)))
		d.data = [5]byte{byte(h >> 12), byte(h >> 4), byte(h<<4) | byte(t>>16&0xF), byte(t >> 8), byte(t)}
		d.until = time.Now().Add(80 * time.Millisecond)
	}
	if len(w) == 1 && w[0] == 0xBA {
		d.Reset()
	}
	if len(r) == 0 {
		return nil
	}
	status := byte(0x10)
	if d.init {
		status |= 8
	}
	if time.Now().Before(d.until) {
		status |= 0x80
	}
	b := append([]byte{status}, d.data[:]...)
	copy(r, append(b, crc8(b)))
	return nil
}

// Aosong AM2320: sleeps until something is sent, which it does not
// acknowledge; temperature as sign and magnitude; Modbus CRC.
var kindAM2320 = Kind{
	Name: "am2320", DefaultBus: "i2c-1", Address: 0x5C, Signals: climate,
	New: func(w *World, _ Part) (any, error) { return &am2320{w: w}, nil },
}

type am2320 struct {
	w      *World
	awake  time.Time // until
	answer []byte
}

func (d *am2320) Reset() { d.awake, d.answer = time.Time{}, nil }

func (d *am2320) Tx(w, r []byte) error {
	if !time.Now().Before(d.awake) {
		d.awake, d.answer = time.Now().Add(3*time.Second), nil
		return errNACK
	}
	if len(w) == 3 && w[0] == 3 {
		d.w.Sample()
		t := d.w.Value("temperature")
		raw := uint16(math.Round(math.Abs(t) * 10))
		if t < 0 {
			raw |= 0x8000
		}
		b := []byte{3, w[2]}
		b = binary.BigEndian.AppendUint16(b, uint16(math.Round(d.w.Value("humidity")*10)))
		b = binary.BigEndian.AppendUint16(b, raw)
		d.answer = binary.LittleEndian.AppendUint16(b, crc16(b))
	}
	if len(r) > 0 {
		if d.answer == nil {
			return errNACK
		}
		copy(r, d.answer)
		d.awake = time.Time{} // and asleep again
	}
	return nil
}
