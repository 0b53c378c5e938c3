package mqtt

// Will is the message a server publishes when a client vanishes.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        QoS
	Retain     bool
	Properties *Properties
}

// Connect asks for a session.
type Connect struct {
	Version     Version
	Bridge      bool // 3.x: the peer is a bridge (bit 0x80 of the level)
	CleanStart  bool // 3.x: clean session
	KeepAlive   uint16
	ClientID    string
	Properties  *Properties
	Will        *Will
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
}

// Type returns CONNECT.
func (p *Connect) Type() PacketType { return CONNECT }

const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

// Append appends the packet for p.Version, or for v when that is zero.
func (p *Connect) Append(dst []byte, v Version) []byte {
	if p.Version != 0 {
		v = p.Version
	}
	dst, start := begin(dst, CONNECT, 0)
	if v == V31 {
		dst = appendString(dst, "MQIsdp")
	} else {
		dst = appendString(dst, "MQTT")
	}
	level := byte(v)
	if p.Bridge && v != V5 {
		level |= bridgeBit
	}
	flags := bit(p.CleanStart, 1) | bit(p.HasPassword, 6) | bit(p.HasUsername, 7)
	if w := p.Will; w != nil {
		flags |= flagWill | byte(w.QoS)<<3 | bit(w.Retain, 5)
	}
	dst = appendUint16(append(dst, level, flags), p.KeepAlive)
	if v == V5 {
		dst = appendProperties(dst, CONNECT, p.Properties)
	}
	dst = appendString(dst, p.ClientID)
	if w := p.Will; w != nil {
		if v == V5 {
			dst = appendProperties(dst, 0, w.Properties)
		}
		dst = appendBytes(appendString(dst, w.Topic), w.Payload)
	}
	if p.HasUsername {
		dst = appendString(dst, p.Username)
	}
	if p.HasPassword {
		dst = appendBytes(dst, p.Password)
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is; v is ignored, CONNECT names its own.
// On an error that unwraps to a *VersionError the peer speaks a version we do
// not.
func (p *Connect) Decode(_ Version, b []byte) error {
	*p = Connect{}
	r := openFixed(V5, CONNECT, b)
	var padded error
	if r.err != nil && len(b) > 1 && b[0] == byte(CONNECT)<<4 {
		// Only 5.0 asks for the shortest form of the remaining length.
		padded = r.err
		r = openFixed(V311, CONNECT, b)
	}
	p.readProtocol(&r)
	if p.Version == V5 && padded != nil { // [MQTT-1.5.5-1]
		r.fail(padded)
	}
	flags := p.readFlags(&r)
	p.KeepAlive = r.uint16()
	if p.Version == V5 {
		p.Properties = r.properties(CONNECT, nil)
	}
	p.ClientID = r.string()
	if flags&flagWill != 0 {
		p.readWill(&r, flags)
	}
	if flags&flagUsername != 0 {
		p.HasUsername, p.Username = true, r.string()
	}
	if flags&flagPassword != 0 {
		p.HasPassword, p.Password = true, r.bytes()
	}
	return r.end()
}

// readProtocol reads the protocol's name and level [MQTT-3.1.2-1, -2].
func (p *Connect) readProtocol(r *reader) {
	name, level := r.string(), r.byte()
	if r.err != nil {
		return
	}
	v := Version(level)
	if v != V5|bridgeBit {
		v &^= bridgeBit
	}
	switch {
	case name == "MQIsdp" && v == V31, name == "MQTT" && (v == V311 || v == V5):
		p.Version, p.Bridge = v, level&bridgeBit != 0
	case name == "MQTT" || name == "MQIsdp":
		r.fail(&ReasonError{UnsupportedProtocolVersion, &VersionError{name, level}})
	default: // not MQTT at all: nothing to answer in
		r.fail(malformed("protocol name is not MQTT"))
	}
}

// readFlags reads the connect flags and checks that they agree.
func (p *Connect) readFlags(r *reader) byte {
	flags := r.byte()
	if r.err != nil {
		return 0
	}
	p.CleanStart = flags&flagCleanStart != 0
	willQoS := flags >> 3 & 3
	switch {
	case flags&flagReserved != 0 && p.Version != V31: // [MQTT-3.1.2-3]; unused in 3.1
		r.fail(malformed("reserved connect flag"))
	case flags&flagWill == 0 && (willQoS != 0 || flags&flagWillRetain != 0): // [MQTT-3.1.2-11, -13]
		r.fail(malformed("will QoS or retain without a will"))
	case willQoS == 3: // [MQTT-3.1.2-12]
		r.fail(malformed("will QoS 3"))
	case flags&(flagUsername|flagPassword) == flagPassword && p.Version != V5: // [MQTT-3.1.2-22] of 3.1.1
		r.fail(malformed("password without a user name"))
	}
	return flags
}

func (p *Connect) readWill(r *reader, flags byte) {
	w := &Will{QoS: QoS(flags >> 3 & 3), Retain: flags&flagWillRetain != 0}
	if p.Version == V5 {
		w.Properties = r.properties(0, nil)
	}
	w.Topic = r.topicName()
	w.Payload = r.bytes()
	if r.err == nil && w.Topic == "" { // [MQTT-4.7.3-1]
		r.fail(reasonError(TopicNameInvalid, "will topic is empty"))
	}
	p.Will = w
}

// Connack answers CONNECT.
type Connack struct {
	SessionPresent bool // not in 3.1
	Code           ReasonCode
	Properties     *Properties
}

// Type returns CONNACK.
func (p *Connack) Type() PacketType { return CONNACK }

// Append appends the packet; in 3.x the code becomes the nearest return code.
func (p *Connack) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, CONNACK, 0)
	present := bit(p.SessionPresent && p.Code == Success && v != V31, 0) // [MQTT-3.2.2-6]
	if v != V5 {
		return finish(append(dst, present, returnCode31(p.Code)), start, 0)
	}
	dst = append(dst, present, byte(p.Code))
	dst = appendProperties(dst, CONNACK, p.Properties)
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Connack) Decode(v Version, b []byte) error {
	*p = Connack{}
	r := openFixed(v, CONNACK, b)
	flags := r.byte()
	if flags > 1 && v != V31 { // [MQTT-3.2.2-1]; unused in 3.1
		r.fail(malformed("reserved connect acknowledge flags"))
	}
	p.SessionPresent = flags&1 != 0 && v != V31
	if v == V5 {
		p.Code = r.reason(CONNACK)
		p.SessionPresent = p.SessionPresent && p.Code == Success // [MQTT-3.2.2-6]
		p.Properties = r.properties(CONNACK, nil)
		return r.end()
	}
	code := r.byte()
	if int(code) >= len(fromReturnCode31) {
		r.fail(protocolError("reserved connect return code"))
		code = 0
	}
	p.Code = fromReturnCode31[code]
	p.SessionPresent = p.SessionPresent && p.Code == Success
	return r.end()
}
