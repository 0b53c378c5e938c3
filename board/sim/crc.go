package sim

// crc8 is Sensirion's and others': polynomial 0x31, starts at 0xFF.
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

// word is a 16-bit word with its CRC-8 behind it.
func word(v uint16) []byte {
	b := []byte{byte(v >> 8), byte(v)}
	return append(b, crc8(b))
}

// raw16 is v as a fraction of span above low, in 16 bits.
func raw16(v, low, span float64) uint16 {
	return uint16(min(max((v-low)/span*65535+0.5, 0), 65535))
}
