package load

import (
	"encoding/binary"
	"fmt"
)

// Packet types as they stand in the high half of the first byte.
const (
	Connect     = 1
	Connack     = 2
	Publish     = 3
	Puback      = 4
	Pubrec      = 5
	Pubrel      = 6
	Pubcomp     = 7
	Subscribe   = 8
	Suback      = 9
	Unsubscribe = 10
	Unsuback    = 11
	Pingreq     = 12
	Pingresp    = 13
	Disconnect  = 14
)

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// AppendConnect appends a 3.1.1 CONNECT without will and credentials.
func AppendConnect(dst []byte, clientID string, clean bool, keepAlive uint16) []byte {
	dst = append(dst, Connect<<4)
	dst = appendLength(dst, 6+1+1+2+2+len(clientID))
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', 4)
	var flags byte
	if clean {
		flags = 2
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint16(dst, keepAlive)
	return appendString(dst, clientID)
}

// AppendSubscribe appends one SUBSCRIBE that asks for every filter at qos.
func AppendSubscribe(dst []byte, id uint16, qos byte, filters ...string) []byte {
	n := 2
	for _, f := range filters {
		n += 3 + len(f)
	}
	dst = append(dst, Subscribe<<4|2)
	dst = appendLength(dst, n)
	dst = binary.BigEndian.AppendUint16(dst, id)
	for _, f := range filters {
		dst = append(appendString(dst, f), qos)
	}
	return dst
}

// AppendPublish appends a PUBLISH; id is used at QoS 1 and 2 only.
func AppendPublish(dst []byte, topic string, qos byte, retain bool, id uint16, payload []byte) []byte {
	first := byte(Publish<<4) | qos<<1
	if retain {
		first |= 1
	}
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = append(dst, first)
	dst = appendLength(dst, n)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

// AppendAck appends one of the four acknowledgements.
func AppendAck(dst []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == Pubrel {
		first |= 2
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}

// split returns the type byte, the body and the whole length of the first packet in b; n is 0 when more is needed.
func split(b []byte) (first byte, body []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	size, shift := 0, 0
	for i := 1; ; i++ {
		if i == 5 {
			return 0, nil, 0, fmt.Errorf("remaining length of more than four bytes")
		}
		if i == len(b) {
			return 0, nil, 0, nil
		}
		size |= int(b[i]&0x7f) << shift
		shift += 7
		if b[i] < 0x80 {
			if len(b) < i+1+size {
				return 0, nil, 0, nil
			}
			return b[0], b[i+1 : i+1+size], i + 1 + size, nil
		}
	}
}

// Message is a received PUBLISH; Topic and Payload are valid only while the handler runs.
type Message struct {
	Topic   []byte
	Payload []byte
	QoS     byte
	Dup     bool
	Retain  bool
	ID      uint16
}

// ParsePublish reads the body of a 3.1.1 PUBLISH.
func ParsePublish(first byte, body []byte) (m Message, err error) {
	m.QoS, m.Dup, m.Retain = first>>1&3, first&8 != 0, first&1 != 0
	if len(body) < 2 {
		return m, fmt.Errorf("publish of %d bytes", len(body))
	}
	n := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	if len(body) < n {
		return m, fmt.Errorf("topic of %d bytes in a body of %d", n, len(body))
	}
	m.Topic, body = body[:n], body[n:]
	if m.QoS > 0 {
		if len(body) < 2 {
			return m, fmt.Errorf("no packet id")
		}
		m.ID = binary.BigEndian.Uint16(body)
		body = body[2:]
	}
	m.Payload = body
	return m, nil
}

// PacketID reads the packet id at the start of an acknowledgement's body.
func PacketID(body []byte) uint16 {
	if len(body) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(body)
}
