package mqtt

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeroByte is non-zero when one of w's eight bytes is zero.
func zeroByte(w uint64) uint64 { return (w - ones) &^ w & highs }

// ValidUTF8 reports whether b is an MQTT string: well-formed UTF-8 without
// surrogates [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2]. Non-characters
// such as U+FFFF are allowed.
func ValidUTF8(b []byte) bool {
	rest := b
	for len(rest) >= 8 {
		w := binary.LittleEndian.Uint64(rest)
		if w&highs|zeroByte(w) != 0 {
			return validUTF8Slow(rest)
		}
		rest = rest[8:]
	}
	return validUTF8Slow(rest)
}

func validUTF8Slow(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return utf8.Valid(b)
}

// hasWildcard reports whether b has '+' or '#', which topic names must not
// have [MQTT-3.3.2-2].
func hasWildcard(b []byte) bool {
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		if zeroByte(w^(ones*'+'))|zeroByte(w^(ones*'#')) != 0 {
			return true
		}
		b = b[8:]
	}
	for _, c := range b {
		if c == '+' || c == '#' {
			return true
		}
	}
	return false
}
