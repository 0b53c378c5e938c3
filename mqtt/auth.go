package mqtt

// Auth carries a step of enhanced authentication; only 5.0 has it.
type Auth struct {
	Code       ReasonCode
	Properties *Properties
}

// Type returns AUTH.
func (p *Auth) Type() PacketType { return AUTH }

// Append appends the packet.
func (p *Auth) Append(dst []byte, _ Version) []byte {
	if p.Code == Success && p.Properties == nil { // [MQTT5 3.15.2.1]
		return append(dst, byte(AUTH)<<4, 0)
	}
	return appendCoded(dst, AUTH, p.Code, p.Properties)
}

// Decode reads the one packet that b is.
func (p *Auth) Decode(v Version, b []byte) error {
	*p = Auth{}
	r := openFixed(v, AUTH, b)
	if v != V5 {
		r.fail(malformed("AUTH before MQTT 5"))
	}
	p.Code, p.Properties = r.coded(AUTH)
	return r.end()
}
