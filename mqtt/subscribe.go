package mqtt

// Options are the subscription options of one filter, as on the wire.
type Options byte

// The parts of Options; in 3.x only the QoS exists.
const (
	OptionNoLocal           Options = 0x04
	OptionRetainAsPublished Options = 0x08
)

// QoS is the maximum QoS the subscriber wants.
func (o Options) QoS() QoS { return QoS(o & 3) }

// NoLocal says that the client does not want its own messages back.
func (o Options) NoLocal() bool { return o&OptionNoLocal != 0 }

// RetainAsPublished keeps the retain flag of forwarded messages.
func (o Options) RetainAsPublished() bool { return o&OptionRetainAsPublished != 0 }

// RetainHandling is 0 (send retained messages), 1 (only when the subscription
// is new) or 2 (do not).
func (o Options) RetainHandling() byte { return byte(o >> 4 & 3) }

// WithQoS returns o with another QoS.
func (o Options) WithQoS(q QoS) Options { return o&^3 | Options(q) }

// WithRetainHandling returns o with another retain handling.
func (o Options) WithRetainHandling(h byte) Options { return o&^0x30 | Options(h&3)<<4 }

// Request is one topic filter of a SUBSCRIBE.
type Request struct {
	Filter  string
	Options Options
}

// Subscribe asks for messages.
type Subscribe struct {
	ID         PacketID
	Properties *Properties
	Requests   []Request
}

// Suback answers SUBSCRIBE, one code for each filter.
type Suback struct {
	ID         PacketID
	Properties *Properties
	Codes      []ReasonCode
}

// Unsubscribe ends subscriptions.
type Unsubscribe struct {
	ID         PacketID
	Properties *Properties
	Filters    []string
}

// Unsuback answers UNSUBSCRIBE; Codes has one for each filter in 5.0 and is
// nil in 3.x.
type Unsuback struct {
	ID         PacketID
	Properties *Properties
	Codes      []ReasonCode
}

// Type returns SUBSCRIBE.
func (p *Subscribe) Type() PacketType { return SUBSCRIBE }

// Type returns SUBACK.
func (p *Suback) Type() PacketType { return SUBACK }

// Type returns UNSUBSCRIBE.
func (p *Unsubscribe) Type() PacketType { return UNSUBSCRIBE }

// Type returns UNSUBACK.
func (p *Unsuback) Type() PacketType { return UNSUBACK }

// Append appends the packet; options that 3.x does not know are left out.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, SUBSCRIBE, 2)
	dst = appendUint16(dst, p.ID)
	mask := Options(0x3f)
	if v == V5 {
		dst = appendProperties(dst, SUBSCRIBE, p.Properties)
	} else {
		mask = 0x03
	}
	for _, q := range p.Requests {
		dst = append(appendString(dst, q.Filter), byte(q.Options&mask))
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Subscribe) Decode(v Version, b []byte) error {
	*p = Subscribe{}
	r := openFixed(v, SUBSCRIBE, b)
	p.ID = r.requestID()
	if v == V5 {
		p.Properties = r.properties(SUBSCRIBE, nil)
	}
	for len(r.b) > 0 {
		q := Request{r.string(), Options(r.byte())}
		r.checkRequest(v, &q)
		p.Requests = append(p.Requests, q)
	}
	if r.err == nil && len(p.Requests) == 0 {
		r.fail(protocolError("SUBSCRIBE without a filter")) // [MQTT-3.8.3-2]
	}
	return r.end()
}

func (r *reader) checkRequest(v Version, q *Request) {
	reserved := Options(0xfc) // [MQTT-3-8.3-4] of 3.1.1
	switch v {
	case V5:
		reserved = 0xc0 // [MQTT-3.8.3-5]
	case V31:
		reserved, q.Options = 0, q.Options&3 // the upper bits are unused
	}
	switch {
	case r.err != nil:
	case q.Options&reserved != 0:
		r.fail(malformed("reserved subscription options"))
	case q.Options.QoS() == 3:
		r.fail(malformed("subscription with QoS 3"))
	case q.Options.RetainHandling() == 3: // [MQTT5 3.8.3.1]
		r.fail(protocolError("retain handling 3"))
	case q.Filter == "": // [MQTT-4.7.3-1]
		r.fail(reasonError(TopicFilterInvalid, "empty topic filter"))
	}
}

// Append appends the packet; in 3.x every failure is 0x80.
func (p *Suback) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, SUBACK, 0)
	dst = appendUint16(dst, p.ID)
	if v == V5 {
		dst = appendProperties(dst, SUBACK, p.Properties)
	}
	for _, c := range p.Codes {
		if c.Failed() && v != V5 {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Suback) Decode(v Version, b []byte) error {
	*p = Suback{}
	r := openFixed(v, SUBACK, b)
	p.ID = r.packetID()
	if v == V5 {
		p.Properties = r.properties(SUBACK, nil)
	}
	for len(r.b) > 0 {
		c := r.reason(SUBACK)
		if v != V5 && c.Failed() && c != UnspecifiedError { // [MQTT-3.9.3-2] of 3.1.1
			r.fail(malformed("reserved return code in SUBACK"))
		}
		p.Codes = append(p.Codes, c)
	}
	if r.err == nil && len(p.Codes) == 0 {
		r.fail(protocolError("SUBACK without a code"))
	}
	return r.end()
}

// Append appends the packet.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, UNSUBSCRIBE, 2)
	dst = appendUint16(dst, p.ID)
	if v == V5 {
		dst = appendProperties(dst, UNSUBSCRIBE, p.Properties)
	}
	for _, f := range p.Filters {
		dst = appendString(dst, f)
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Unsubscribe) Decode(v Version, b []byte) error {
	*p = Unsubscribe{}
	r := openFixed(v, UNSUBSCRIBE, b)
	p.ID = r.requestID()
	if v == V5 {
		p.Properties = r.properties(UNSUBSCRIBE, nil)
	}
	for len(r.b) > 0 {
		f := r.string()
		if r.err == nil && f == "" { // [MQTT-4.7.3-1]
			r.fail(reasonError(TopicFilterInvalid, "empty topic filter"))
		}
		p.Filters = append(p.Filters, f)
	}
	if r.err == nil && len(p.Filters) == 0 {
		r.fail(protocolError("UNSUBSCRIBE without a filter")) // [MQTT-3.10.3-2]
	}
	return r.end()
}

// Append appends the packet.
func (p *Unsuback) Append(dst []byte, v Version) []byte {
	dst, start := begin(dst, UNSUBACK, 0)
	dst = appendUint16(dst, p.ID)
	if v == V5 {
		dst = appendProperties(dst, UNSUBACK, p.Properties)
		for _, c := range p.Codes {
			dst = append(dst, byte(c))
		}
	}
	return finish(dst, start, 0)
}

// Decode reads the one packet that b is.
func (p *Unsuback) Decode(v Version, b []byte) error {
	*p = Unsuback{}
	r := openFixed(v, UNSUBACK, b)
	p.ID = r.packetID()
	if v != V5 {
		return r.end()
	}
	p.Properties = r.properties(UNSUBACK, nil)
	for len(r.b) > 0 {
		p.Codes = append(p.Codes, r.reason(UNSUBACK))
	}
	if r.err == nil && len(p.Codes) == 0 {
		r.fail(protocolError("UNSUBACK without a code"))
	}
	return r.end()
}
