package mqtt

// Publish carries an application message. A Publish may be decoded into again
// and again without allocating; what it then holds aliases the packet.
type Publish struct {
	Dup        bool
	QoS        QoS
	Retain     bool
	Topic      string // empty in 5.0 when a topic alias stands for it
	ID         PacketID
	Properties *Properties
	Payload    []byte

	spare *Properties // memory for the next packet's properties
}

// Type returns PUBLISH.
func (p *Publish) Type() PacketType { return PUBLISH }

// Append appends the packet.
func (p *Publish) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, PUBLISH, bit(p.Dup, 3)|byte(p.QoS)<<1|bit(p.Retain, 0))
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.ID)
	}
	if v == V5 {
		dst = appendProperties(dst, PUBLISH, p.Properties)
	}
	dst = finish(dst, start, len(p.Payload))
	return append(dst, p.Payload...)
}

// Decode reads the one packet that b is.
func (p *Publish) Decode(v Version, b []byte) error {
	r, flags := open(v, PUBLISH, b)
	*p = Publish{spare: p.spare, Dup: flags&8 != 0, QoS: QoS(flags >> 1 & 3), Retain: flags&1 != 0}
	switch {
	case p.QoS == 3: // [MQTT-3.3.1-4]
		r.fail(malformed("QoS 3"))
	case p.Dup && p.QoS == 0 && v != V31: // [MQTT-3.3.1-2]
		r.fail(malformed("DUP at QoS 0"))
	}
	p.Topic = r.topicName()
	if p.QoS > 0 {
		p.ID = r.packetID()
	}
	if v == V5 {
		p.Properties = r.properties(PUBLISH, &p.spare)
	}
	if r.err == nil && p.Topic == "" && (p.Properties == nil || p.Properties.TopicAlias == 0) {
		if v == V5 { // [MQTT5 3.3.2.1]
			r.fail(protocolError("empty topic without a topic alias"))
		}
		r.fail(reasonError(TopicNameInvalid, "empty topic")) // [MQTT-4.7.3-1]
	}
	p.Payload = r.b
	return r.err
}
