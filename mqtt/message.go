package mqtt

// Message is an application message on its way through a broker. It is
// read-only from the moment it is routed: any number of receivers share it.
type Message struct {
	Topic      string
	Payload    []byte
	Later      int // bytes of payload that are not in Payload: whoever writes the message has them
	QoS        QoS
	Retain     bool
	Properties *PublishProperties // nil when there are none
}

// PublishProperties are the properties that travel with a message from its
// publisher to its receivers unchanged [MQTT-3.3.2-4, -15, -16, -17, -20].
// Expiry, alias and subscription identifiers belong to one hop: see Header.
// As in Properties a field that is not zero is present; one that is zero is
// present when Present says so.
type PublishProperties struct {
	Present       PropertySet
	PayloadFormat byte
	ContentType   string
	ResponseTopic string
	Correlation   []byte
	User          []UserProperty
}

// travelling are the properties of a PUBLISH that PublishProperties holds.
const travelling PropertySet = 1<<PropPayloadFormat | 1<<PropContentType | 1<<PropResponseTopic |
	1<<PropCorrelationData | 1<<PropUser

// Has reports whether the property is present; nil has none.
func (p *PublishProperties) Has(id PropertyID) bool {
	if p == nil {
		return false
	}
	if p.Present.Has(id) {
		return true
	}
	switch id {
	case PropPayloadFormat:
		return p.PayloadFormat != 0
	case PropContentType:
		return p.ContentType != ""
	case PropResponseTopic:
		return p.ResponseTopic != ""
	case PropCorrelationData:
		return p.Correlation != nil
	case PropUser:
		return len(p.User) > 0
	}
	return false
}

// Full returns p as the properties of a packet, sharing its memory; nil for nil.
func (p *PublishProperties) Full() *Properties {
	if p == nil {
		return nil
	}
	return &Properties{
		Present:       p.Present & travelling,
		PayloadFormat: p.PayloadFormat,
		ContentType:   p.ContentType,
		ResponseTopic: p.ResponseTopic,
		Correlation:   p.Correlation,
		User:          p.User,
	}
}

// Travelling returns the part of p that travels with a message, sharing p's
// memory; nil when there is none.
func (p *Properties) Travelling() *PublishProperties {
	if p == nil {
		return nil
	}
	t := PublishProperties{
		Present:       p.Present & travelling,
		PayloadFormat: p.PayloadFormat,
		ContentType:   p.ContentType,
		ResponseTopic: p.ResponseTopic,
		Correlation:   p.Correlation,
		User:          p.User,
	}
	for _, id := range [...]PropertyID{PropPayloadFormat, PropContentType, PropResponseTopic, PropCorrelationData, PropUser} {
		if t.Has(id) {
			return &t
		}
	}
	return nil
}

// append appends the properties in wire form, without a length.
func (p *PublishProperties) append(dst []byte) []byte {
	if p == nil {
		return dst
	}
	if p.Has(PropPayloadFormat) {
		dst = append(dst, byte(PropPayloadFormat), p.PayloadFormat)
	}
	if p.Has(PropContentType) {
		dst = appendString(append(dst, byte(PropContentType)), p.ContentType)
	}
	if p.Has(PropResponseTopic) {
		dst = appendString(append(dst, byte(PropResponseTopic)), p.ResponseTopic)
	}
	if p.Has(PropCorrelationData) {
		dst = appendBytes(append(dst, byte(PropCorrelationData)), p.Correlation)
	}
	for _, u := range p.User {
		dst = appendString(appendString(append(dst, byte(PropUser)), u.Name), u.Value)
	}
	return dst
}

// AppendProperties appends m's properties in wire form without their length:
// what a store keeps and ParseProperties reads.
func (m *Message) AppendProperties(dst []byte) []byte { return m.Properties.append(dst) }

// ParseProperties sets m's properties from what AppendProperties wrote; they
// alias b, which must not be written to from then on.
func (m *Message) ParseProperties(b []byte) error {
	m.Properties = nil
	if len(b) == 0 {
		return nil
	}
	var full Properties
	r := reader{b: b}
	r.readProperties(PUBLISH, &full)
	if r.err != nil {
		return r.err
	}
	m.Properties = full.Travelling()
	return nil
}

// SetPublish makes m the message that p carries, cloned out of p's buffer into
// one piece of memory. topic is used as it is when not empty: the caller has
// it in memory already, behind a topic alias or in a cache.
func (m *Message) SetPublish(p *Publish, topic string) {
	*m = Message{Topic: topic, QoS: p.QoS, Retain: p.Retain}
	name := p.Topic
	if topic != "" {
		name = ""
	}
	props := p.Properties.Travelling()
	if len(name)+len(p.Payload) == 0 && props == nil {
		return
	}
	buf := make([]byte, 0, len(name)+len(p.Payload)+props.size())
	buf = append(append(buf, name...), p.Payload...)
	if name != "" {
		m.Topic = view(buf[:len(name)])
	}
	end := len(buf)
	m.Payload = buf[len(name):end:end]
	if props != nil {
		buf = props.append(buf)
		// The bytes are our own encoding of decoded properties: no error.
		_ = m.ParseProperties(buf[end:])
	}
}

// NewMessage returns the message that p carries; see SetPublish.
func (p *Publish) NewMessage(topic string) *Message {
	m := new(Message)
	m.SetPublish(p, topic)
	return m
}

// size is the number of bytes append adds, or a little more.
func (p *PublishProperties) size() int {
	if p == nil {
		return 0
	}
	n := 2 + 3 + len(p.ContentType) + 3 + len(p.ResponseTopic) + 3 + len(p.Correlation)
	for i := range p.User {
		n += 5 + len(p.User[i].Name) + len(p.User[i].Value)
	}
	return n
}
