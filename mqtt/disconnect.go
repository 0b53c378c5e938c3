package mqtt

// Disconnect ends a connection; only in 5.0 does a server send it.
type Disconnect struct {
	Code       ReasonCode
	Properties *Properties
}

// Pingreq asks for a sign of life.
type Pingreq struct{}

// Pingresp gives it.
type Pingresp struct{}

// Type returns DISCONNECT.
func (p *Disconnect) Type() PacketType { return DISCONNECT }

// Type returns PINGREQ.
func (p *Pingreq) Type() PacketType { return PINGREQ }

// Type returns PINGRESP.
func (p *Pingresp) Type() PacketType { return PINGRESP }

// Append appends the packet.
func (p *Disconnect) Append(dst []byte, v Version) []byte {
	if v != V5 || p.Code == Success && p.Properties == nil {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	return appendCoded(dst, DISCONNECT, p.Code, p.Properties)
}

// appendCoded appends a DISCONNECT or AUTH of 5.0 with its code; the property
// length is left out when there is none [MQTT5 3.14.2.2.1].
func appendCoded(dst []byte, t PacketType, code ReasonCode, p *Properties) []byte {
	dst, start := begin(dst, t, 0)
	dst = append(dst, byte(code))
	if p != nil {
		dst = appendProperties(dst, t, p)
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Disconnect) Decode(v Version, b []byte) error {
	*p = Disconnect{}
	r := openFixed(v, DISCONNECT, b)
	if v == V5 {
		p.Code, p.Properties = r.coded(DISCONNECT)
	}
	return r.end()
}

func (r *reader) coded(t PacketType) (code ReasonCode, p *Properties) {
	if len(r.b) > 0 {
		code = r.reason(t)
	}
	if len(r.b) > 0 {
		p = r.properties(t, nil)
	}
	return code, p
}

// Append appends the packet.
func (p *Pingreq) Append(dst []byte, _ Version) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// Append appends the packet.
func (p *Pingresp) Append(dst []byte, _ Version) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// Decode reads the one packet that b is.
func (p *Pingreq) Decode(v Version, b []byte) error { return decodeEmpty(v, PINGREQ, b) }

// Decode reads the one packet that b is.
func (p *Pingresp) Decode(v Version, b []byte) error { return decodeEmpty(v, PINGRESP, b) }

func decodeEmpty(v Version, t PacketType, b []byte) error {
	r := openFixed(v, t, b)
	return r.end()
}
