package mqtt

// ack is what the four acknowledgements of a publish have in common; they are
// types of their own so that nobody mixes them up.
type ack struct {
	ID         PacketID
	Code       ReasonCode
	Properties *Properties

	spare *Properties
}

// Puback answers a PUBLISH of QoS 1.
type Puback struct {
	ID         PacketID
	Code       ReasonCode
	Properties *Properties

	spare *Properties
}

// Pubrec answers a PUBLISH of QoS 2: received.
type Pubrec struct {
	ID         PacketID
	Code       ReasonCode
	Properties *Properties

	spare *Properties
}

// Pubrel answers PUBREC: the packet id may be released.
type Pubrel struct {
	ID         PacketID
	Code       ReasonCode
	Properties *Properties

	spare *Properties
}

// Pubcomp answers PUBREL: complete.
type Pubcomp struct {
	ID         PacketID
	Code       ReasonCode
	Properties *Properties

	spare *Properties
}

// Type returns PUBACK.
func (p *Puback) Type() PacketType { return PUBACK }

// Type returns PUBREC.
func (p *Pubrec) Type() PacketType { return PUBREC }

// Type returns PUBREL.
func (p *Pubrel) Type() PacketType { return PUBREL }

// Type returns PUBCOMP.
func (p *Pubcomp) Type() PacketType { return PUBCOMP }

// Append appends the packet.
func (p *Puback) Append(dst []byte, v Version) []byte {
	return appendAck(dst, v, PUBACK, (*ack)(p))
}

// Append appends the packet.
func (p *Pubrec) Append(dst []byte, v Version) []byte {
	return appendAck(dst, v, PUBREC, (*ack)(p))
}

// Append appends the packet.
func (p *Pubrel) Append(dst []byte, v Version) []byte {
	return appendAck(dst, v, PUBREL, (*ack)(p))
}

// Append appends the packet.
func (p *Pubcomp) Append(dst []byte, v Version) []byte {
	return appendAck(dst, v, PUBCOMP, (*ack)(p))
}

// Decode reads the one packet that b is.
func (p *Puback) Decode(v Version, b []byte) error { return (*ack)(p).decode(v, PUBACK, b) }

// Decode reads the one packet that b is.
func (p *Pubrec) Decode(v Version, b []byte) error { return (*ack)(p).decode(v, PUBREC, b) }

// Decode reads the one packet that b is.
func (p *Pubrel) Decode(v Version, b []byte) error { return (*ack)(p).decode(v, PUBREL, b) }

// Decode reads the one packet that b is.
func (p *Pubcomp) Decode(v Version, b []byte) error { return (*ack)(p).decode(v, PUBCOMP, b) }

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties.
func AppendAck(dst []byte, v Version, t PacketType, id PacketID, code ReasonCode) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= 2
	}
	if v != V5 || code == Success { // [MQTT5 3.4.2.1] success may be left out
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), byte(code))
}

func appendAck(dst []byte, v Version, t PacketType, p *ack) []byte {
	if v != V5 || p.Properties == nil {
		return AppendAck(dst, v, t, p.ID, p.Code)
	}
	dst, start := begin(dst, t, bit(t == PUBREL, 1))
	dst = append(appendUint16(dst, p.ID), byte(p.Code))
	dst = appendProperties(dst, t, p.Properties)
	return finish(dst, start, 0)
}

func (p *ack) decode(v Version, t PacketType, b []byte) error {
	*p = ack{spare: p.spare}
	r := openFixed(v, t, b)
	p.ID = r.packetID()
	if v != V5 {
		return r.end()
	}
	if len(r.b) > 0 {
		p.Code = r.reason(t)
	}
	if len(r.b) > 0 { // [MQTT5 3.4.2.2.1] the property length may be left out
		p.Properties = r.properties(t, &p.spare)
	}
	return r.end()
}
