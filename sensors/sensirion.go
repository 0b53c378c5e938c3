package sensors

import (
	"time"
)

// Parts of Sensirion speak in 16-bit words, each followed by a CRC-8 with
// polynomial 0x31 that starts at 0xFF.

func crc8(b []byte) byte {
	crc := byte(0xFF)
	for _, x := range b {
		crc ^= x
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x31
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// words reads n words and checks each.
func (d device) words(n int) ([]uint16, error) {
	b, err := d.read(3 * n)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, n)
	for i := range out {
		w := b[3*i : 3*i+3]
		if crc8(w[:2]) != w[2] {
			return nil, errChecksum
		}
		out[i] = uint16(w[0])<<8 | uint16(w[1])
	}
	return out, nil
}

// ask sends a command, waits and reads n words.
func (d device) ask(cmd uint16, wait time.Duration, n int) ([]uint16, error) {
	if err := d.write(byte(cmd>>8), byte(cmd)); err != nil {
		return nil, err
	}
	time.Sleep(wait)
	if n == 0 {
		return nil, nil
	}
	return d.words(n)
}
