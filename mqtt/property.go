package mqtt

// UserProperty is a name and a value. Names may repeat and order is kept
// [MQTT-3.1.3-10].
type UserProperty struct{ Name, Value string }

// Properties are the properties of any packet of MQTT 5. A pointer to them is
// nil when a packet has none. A field that is not zero is present; one that is
// zero is present when Present says so.
type Properties struct {
	Present PropertySet

	PayloadFormat byte
	MessageExpiry uint32 // seconds
	ContentType   string
	ResponseTopic string
	Correlation   []byte
	// SubscriptionIDs holds one in SUBSCRIBE and any number in PUBLISH.
	SubscriptionIDs []uint32

	SessionExpiry       uint32 // seconds; 0xFFFFFFFF never expires
	AssignedClientID    string
	ServerKeepAlive     uint16 // seconds
	AuthMethod          string
	AuthData            []byte
	RequestProblemInfo  byte
	WillDelay           uint32 // seconds
	RequestResponseInfo byte
	ResponseInfo        string
	ServerReference     string
	ReasonString        string
	ReceiveMaximum      uint16
	TopicAliasMaximum   uint16
	TopicAlias          uint16
	MaximumQoS          byte
	RetainAvailable     byte
	User                []UserProperty
	MaximumPacketSize   uint32
	WildcardAvailable   byte
	SubIDsAvailable     byte
	SharedAvailable     byte
}

// Has reports whether the property is present; nil has none.
func (p *Properties) Has(id PropertyID) bool {
	return p != nil && (p.Present.Has(id) || p.nonZero(id))
}

func (p *Properties) nonZero(id PropertyID) bool {
	switch id {
	case PropSubscriptionID:
		return len(p.SubscriptionIDs) > 0
	case PropUser:
		return len(p.User) > 0
	case PropCorrelationData:
		return p.Correlation != nil
	case PropAuthData:
		return p.AuthData != nil
	}
	if s := p.str(id); s != nil {
		return *s != ""
	}
	return p.number(id) != 0
}

// reset clears p for the next packet but keeps its slices' memory.
func (p *Properties) reset() {
	*p = Properties{SubscriptionIDs: p.SubscriptionIDs[:0], User: p.User[:0]}
}

// str returns the field of a string property, nil for other properties.
func (p *Properties) str(id PropertyID) *string {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropAuthMethod:
		return &p.AuthMethod
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	case PropReasonString:
		return &p.ReasonString
	}
	return nil
}

// flag returns the field of a one-byte property, nil for other properties.
func (p *Properties) flag(id PropertyID) *byte {
	switch id {
	case PropPayloadFormat:
		return &p.PayloadFormat
	case PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case PropMaximumQoS:
		return &p.MaximumQoS
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardSubAvailable:
		return &p.WildcardAvailable
	case PropSubIDsAvailable:
		return &p.SubIDsAvailable
	case PropSharedSubAvailable:
		return &p.SharedAvailable
	}
	return nil
}

func (p *Properties) u16(id PropertyID) *uint16 {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	case PropTopicAlias:
		return &p.TopicAlias
	}
	return nil
}

func (p *Properties) u32(id PropertyID) *uint32 {
	switch id {
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropWillDelay:
		return &p.WillDelay
	case PropMaximumPacketSize:
		return &p.MaximumPacketSize
	}
	return nil
}

// number returns the value of a numeric property other than subscription ids.
func (p *Properties) number(id PropertyID) uint32 {
	if f := p.flag(id); f != nil {
		return uint32(*f)
	}
	if f := p.u16(id); f != nil {
		return uint32(*f)
	}
	if f := p.u32(id); f != nil {
		return *f
	}
	return 0
}

// properties reads a property length and the properties of a packet of type t
// (0: will). It returns nil when there are none. spare, when not nil, is used
// instead of allocating.
func (r *reader) properties(t PacketType, spare **Properties) *Properties {
	n := int(r.varint())
	if r.err != nil || n == 0 {
		return nil
	}
	if n > len(r.b) {
		r.fail(malformed("property length runs past the packet"))
		return nil
	}
	var p *Properties
	if spare != nil {
		if *spare == nil {
			*spare = new(Properties)
		}
		p = *spare
		p.reset()
	} else {
		p = new(Properties)
	}
	body := reader{b: r.b[:n:n]}
	r.b = r.b[n:]
	body.readProperties(t, p)
	if body.err != nil {
		r.fail(body.err)
		return nil
	}
	return p
}

// readProperties reads properties until the reader is empty.
func (r *reader) readProperties(t PacketType, p *Properties) {
	for len(r.b) > 0 {
		id := PropertyID(r.byte())
		if !id.AllowedIn(t) {
			r.fail(malformed("property not allowed in " + t.String()))
			return
		}
		if p.Present.Has(id) && id != PropUser && (id != PropSubscriptionID || t != PUBLISH) {
			r.fail(protocolError("property " + id.String() + " twice"))
			return
		}
		p.Present |= 1 << id
		switch propertyTable[id].kind {
		case kindFlag:
			v := r.byte()
			if v > 1 {
				r.fail(protocolError("property " + id.String() + " is neither 0 nor 1"))
			}
			*p.flag(id) = v
		case kindUint16:
			*p.u16(id) = r.uint16()
		case kindUint32:
			*p.u32(id) = r.uint32()
		case kindVarint:
			p.SubscriptionIDs = append(p.SubscriptionIDs, r.varint())
		case kindString:
			*p.str(id) = r.string()
		case kindBinary:
			b := r.bytes()
			if b == nil {
				b = []byte{}
			}
			if id == PropCorrelationData {
				p.Correlation = b
			} else {
				p.AuthData = b
			}
		case kindPair:
			p.User = append(p.User, UserProperty{r.string(), r.string()})
		}
		r.checkProperty(id, p)
	}
	if p.Present.Has(PropAuthData) && !p.Present.Has(PropAuthMethod) {
		r.fail(protocolError("authentication data without a method"))
	}
}

// checkProperty refuses values the specification calls protocol errors.
func (r *reader) checkProperty(id PropertyID, p *Properties) {
	if r.err != nil {
		return
	}
	switch id {
	case PropReceiveMaximum, PropMaximumPacketSize:
		if p.number(id) == 0 {
			r.fail(protocolError("property " + id.String() + " is zero"))
		}
	case PropSubscriptionID:
		if p.SubscriptionIDs[len(p.SubscriptionIDs)-1] == 0 { // [MQTT5 3.8.2.1.2]
			r.fail(protocolError("subscription identifier is zero"))
		}
	case PropTopicAlias:
		if p.TopicAlias == 0 { // [MQTT-3.3.2-8]
			r.fail(reasonError(TopicAliasInvalid, "topic alias is zero"))
		}
	case PropResponseTopic:
		if p.ResponseTopic == "" || hasWildcard(octets(p.ResponseTopic)) { // [MQTT-3.3.2-14]
			r.fail(protocolError("response topic is not a topic name"))
		}
	}
}

// appendProperties appends the property length and those of p's properties
// that a packet of type t (0: will) may carry.
func appendProperties(dst []byte, t PacketType, p *Properties) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if p == nil {
		return dst
	}
	dst = p.appendBody(dst, t)
	return setLength(dst, at, len(dst)-at-1)
}

func (p *Properties) appendBody(dst []byte, t PacketType) []byte {
	if t == CONNACK {
		for _, id := range connackOrder {
			dst = p.appendOne(dst, t, id)
		}
		return dst
	}
	for id := PropPayloadFormat; id <= maxProperty; id++ {
		dst = p.appendOne(dst, t, id)
	}
	return dst
}

// connackOrder is the order of CONNACK's properties. The specification leaves it
// open; this one is Mosquitto's, so that captures and byte-exact test suites
// made with it fit.
var connackOrder = [...]PropertyID{
	PropTopicAliasMaximum, PropSessionExpiry, PropServerKeepAlive, PropAssignedClientID, PropAuthMethod, PropAuthData,
	PropRetainAvailable, PropMaximumPacketSize, PropReceiveMaximum, PropMaximumQoS,
	PropWildcardSubAvailable, PropSubIDsAvailable, PropSharedSubAvailable,
	PropResponseInfo, PropServerReference, PropReasonString, PropUser,
}

// appendOne appends a property, if p has it and the packet may carry it.
func (p *Properties) appendOne(dst []byte, t PacketType, id PropertyID) []byte {
	rule := &propertyTable[id]
	if !rule.in.has(t) || !p.Has(id) {
		return dst
	}
	switch rule.kind {
	case kindFlag:
		dst = append(dst, byte(id), *p.flag(id))
	case kindUint16:
		dst = appendUint16(append(dst, byte(id)), *p.u16(id))
	case kindUint32:
		dst = appendUint32(append(dst, byte(id)), *p.u32(id))
	case kindVarint:
		for _, v := range p.SubscriptionIDs {
			dst = appendVarint(append(dst, byte(id)), int(v))
		}
	case kindString:
		dst = appendString(append(dst, byte(id)), *p.str(id))
	case kindBinary:
		b := p.Correlation
		if id == PropAuthData {
			b = p.AuthData
		}
		dst = appendBytes(append(dst, byte(id)), b)
	case kindPair:
		for _, u := range p.User {
			dst = appendString(appendString(append(dst, byte(id)), u.Name), u.Value)
		}
	}
	return dst
}
