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
	Later      int // bytes of payload beyond Payload that were left out by DecodeHead

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
	return p.decode(v, r, flags)
}

// DecodeHead reads the beginning of a packet whose payload has not come yet, or
// not all of it; Later says how much is missing. n is where the payload begins in
// b; 0 means that b does not reach there.
func (p *Publish) DecodeHead(v Version, b []byte) (n int, err error) {
	n = publishHead(v, b)
	if n == 0 || n > len(b) {
		return 0, nil
	}
	total := Length(b)
	if n > total {
		return 0, malformed("remaining length does not fit the packet")
	}
	r, flags := openPart(v, PUBLISH, b[:min(total, len(b))], total)
	if err := p.decode(v, r, flags); err != nil {
		return 0, err
	}
	p.Later = max(total-len(b), 0)
	return n, nil
}

// publishHead is the length of everything before the payload, as far as b shows
// it; 0 when it does not.
func publishHead(v Version, b []byte) int {
	if len(b) < 2 {
		return 0
	}
	_, k := varint(b[1:])
	if k <= 0 || len(b) < 1+k+2 {
		return 0
	}
	n := 1 + k + 2 + int(b[1+k])<<8 + int(b[2+k])
	if b[0]>>1&3 > 0 {
		n += 2
	}
	if v != V5 {
		return n
	}
	if len(b) <= n {
		return 0
	}
	props, k := varint(b[n:])
	if k <= 0 {
		return 0
	}
	return n + k + int(props)
}

func (p *Publish) decode(v Version, r reader, flags byte) error {
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
