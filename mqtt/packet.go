package mqtt

// Packet is any control packet.
type Packet interface {
	Type() PacketType
	// Append appends the packet in wire form for version v.
	Append(dst []byte, v Version) []byte
}

// Decode reads the one packet that b is, as Split found it. CONNECT brings its
// own version; v is ignored for it. Strings and payload alias b.
func Decode(v Version, b []byte) (Packet, error) {
	if len(b) < 2 {
		return nil, errShort
	}
	var p interface {
		Packet
		Decode(v Version, b []byte) error
	}
	switch TypeOf(b[0]) {
	case CONNECT:
		p = new(Connect)
	case CONNACK:
		p = new(Connack)
	case PUBLISH:
		p = new(Publish)
	case PUBACK:
		p = new(Puback)
	case PUBREC:
		p = new(Pubrec)
	case PUBREL:
		p = new(Pubrel)
	case PUBCOMP:
		p = new(Pubcomp)
	case SUBSCRIBE:
		p = new(Subscribe)
	case SUBACK:
		p = new(Suback)
	case UNSUBSCRIBE:
		p = new(Unsubscribe)
	case UNSUBACK:
		p = new(Unsuback)
	case PINGREQ:
		p = new(Pingreq)
	case PINGRESP:
		p = new(Pingresp)
	case DISCONNECT:
		p = new(Disconnect)
	case AUTH:
		p = new(Auth)
	default:
		return nil, malformed("packet type 0 is reserved")
	}
	if err := p.Decode(v, b); err != nil {
		return nil, err
	}
	return p, nil
}
