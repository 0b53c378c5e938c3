package mqtt

import "strconv"

// Version is a protocol level as CONNECT carries it.
type Version byte

// The protocol levels this package speaks.
const (
	V31  Version = 3 // MQTT 3.1, protocol name MQIsdp
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// bridgeBit is set in the protocol level of 3.x by a bridge, so that a broker
// that knows it keeps the retain flag and does not echo (a convention of
// Mosquitto, not of the standard).
const bridgeBit = 0x80

// String returns the version as people write it.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "level " + strconv.Itoa(int(v))
}

// PacketType is the upper half of a packet's first byte.
type PacketType byte

// The control packet types [MQTT5 2.1.2].
const (
	CONNECT     PacketType = 1
	CONNACK     PacketType = 2
	PUBLISH     PacketType = 3
	PUBACK      PacketType = 4
	PUBREC      PacketType = 5
	PUBREL      PacketType = 6
	PUBCOMP     PacketType = 7
	SUBSCRIBE   PacketType = 8
	SUBACK      PacketType = 9
	UNSUBSCRIBE PacketType = 10
	UNSUBACK    PacketType = 11
	PINGREQ     PacketType = 12
	PINGRESP    PacketType = 13
	DISCONNECT  PacketType = 14
	AUTH        PacketType = 15
)

var packetTypeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the name the specification uses.
func (t PacketType) String() string {
	if t < 16 {
		return packetTypeNames[t]
	}
	return "packet type " + strconv.Itoa(int(t))
}

// TypeOf returns the type of the packet that starts with the byte first.
func TypeOf(first byte) PacketType { return PacketType(first >> 4) }

// PacketID is the wire's 16-bit packet identifier; zero is never valid.
type PacketID uint16

// QoS is a quality of service: 0, 1 or 2.
type QoS byte

// MaxRemainingLength is the largest body a packet can have [MQTT5 1.5.5].
const MaxRemainingLength = 268_435_455
