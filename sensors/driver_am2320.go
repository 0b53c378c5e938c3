package sensors

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// Aosong AM2320: temperature and humidity with a Modbus CRC. Written here
// because the library's driver sleeps up to twenty seconds while it retries and
// reads temperatures below zero wrongly (they are sign and magnitude).
var driverAM2320 = Driver{
	Name: "am2320", Part: "Aosong AM2320", Bus: BusI2C, Addresses: []uint16{0x5C},
	Quantities: []string{"temperature", "humidity"}, MinEvery: 2 * time.Second,
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		return &parts{read: func(_ context.Context, emit func(Reading)) error { return readAM2320(d, emit) }}, nil
	},
}

func readAM2320(d device, emit func(Reading)) error {
	_ = d.write(0) // wakes it up; it does not acknowledge that
	time.Sleep(time.Millisecond)
	if err := d.write(0x03, 0x00, 4); err != nil {
		return err
	}
	time.Sleep(2 * time.Millisecond)
	b, err := d.read(8)
	if err != nil {
		return err
	}
	if b[0] != 3 || b[1] != 4 {
		return errors.New("answer of another form")
	}
	if crc16(b[:6]) != binary.LittleEndian.Uint16(b[6:]) {
		return errChecksum
	}
	t := float64(binary.BigEndian.Uint16(b[4:])&0x7FFF) / 10
	if b[4]&0x80 != 0 {
		t = -t
	}
	emit(Of("temperature", t))
	emit(Of("humidity", float64(binary.BigEndian.Uint16(b[2:]))/10))
	return nil
}

// crc16 is Modbus's: polynomial 0xA001, starts at 0xFFFF.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
