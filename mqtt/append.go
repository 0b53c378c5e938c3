package mqtt

import "unicode/utf8"

// begin appends a packet's first byte and a place for a one-byte remaining
// length; finish widens it when the body turned out longer.
func begin(dst []byte, t PacketType, flags byte) (out []byte, start int) {
	return append(dst, byte(t)<<4|flags, 0), len(dst)
}

// finish writes the remaining length of the packet that begins at start and to
// which more bytes will still be appended.
func finish(dst []byte, start, more int) []byte {
	return setLength(dst, start+1, len(dst)-start-2+more)
}

// setLength writes n as a variable byte integer into the one byte reserved at
// dst[at], making room when it needs more.
func setLength(dst []byte, at, n int) []byte {
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	extra := varintSize(n) - 1
	var room [3]byte
	dst = append(dst, room[:extra]...)
	copy(dst[at+1+extra:], dst[at+1:len(dst)-extra])
	appendVarint(dst[:at], n)
	return dst
}

func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendUint16[T ~uint16](dst []byte, v T) []byte {
	return append(dst, byte(v>>8), byte(v))
}

func appendUint32(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// appendString appends a length and s. A string longer than the wire allows is
// cut at a character: what comes from a peer or a checked configuration never
// is, and a wrong length would corrupt every packet behind it.
func appendString(dst []byte, s string) []byte {
	if len(s) > 0xffff {
		n := 0xffff
		for n > 0xffff-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	dst = append(dst, byte(len(s)>>8), byte(len(s)))
	return append(dst, s...)
}

func appendBytes(dst, b []byte) []byte {
	b = b[:min(len(b), 0xffff)]
	dst = append(dst, byte(len(b)>>8), byte(len(b)))
	return append(dst, b...)
}

func bit(b bool, shift uint) byte {
	if b {
		return 1 << shift
	}
	return 0
}
