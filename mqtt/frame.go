package mqtt

// Frame is a PUBLISH encoded once and shared, read-only, by every receiver:
// one for all of 3.x, one for 5.0. First byte, remaining length, packet id
// and, in 5.0, expiry, alias and subscription identifiers are the receiver's,
// in Header.
type Frame struct {
	topic   string
	props   []byte // travelling properties in wire form, 5.0 only
	payload []byte
	later   int // bytes of payload that are written behind it
	v5      bool
}

// Header is one receiver's part of a Frame. Everything from SubscriptionIDs on
// is left out for 3.x.
type Header struct {
	Dup      bool
	QoS      QoS
	Retain   bool
	PacketID PacketID // QoS 1 and 2

	SubscriptionIDs []uint32
	TopicAlias      uint16 // 0: none
	OmitTopic       bool   // the receiver knows the alias already
	Expiry          uint32 // seconds left
	HasExpiry       bool
}

// NewFrame encodes m for receivers of version v. The frame shares m's topic
// and payload.
func NewFrame(m *Message, v Version) *Frame {
	f := new(Frame)
	f.Set(m, v)
	return f
}

// Set makes f the frame of m for receivers of version v: NewFrame for a Frame
// that is part of something larger.
func (f *Frame) Set(m *Message, v Version) {
	*f = Frame{topic: m.Topic, payload: m.Payload, later: m.Later, v5: v == V5}
	if f.v5 && m.Properties != nil {
		f.props = m.Properties.append(make([]byte, 0, m.Properties.size()))
	}
}

// Payload returns the message's payload, which must not be written to.
func (f *Frame) Payload() []byte { return f.payload }

// Topic returns the message's topic.
func (f *Frame) Topic() string { return f.topic }

// sizes returns the remaining length and, for 5.0, the property length.
func (f *Frame) sizes(h *Header) (remaining, props int) {
	remaining = 2 + len(f.payload) + f.later
	if h.QoS > 0 {
		remaining += 2
	}
	if !f.v5 {
		return remaining + len(f.topic), 0
	}
	if !h.OmitTopic {
		remaining += len(f.topic)
	}
	props = len(f.props)
	if h.HasExpiry {
		props += 5
	}
	if h.TopicAlias != 0 {
		props += 3
	}
	for _, id := range h.SubscriptionIDs {
		props += 1 + varintSize(int(id))
	}
	return remaining + varintSize(props) + props, props
}

// Size is the length of the whole packet for a receiver.
func (f *Frame) Size(h Header) int {
	n, _ := f.sizes(&h)
	return 1 + varintSize(n) + n
}

// AppendHead appends everything but the payload.
func (f *Frame) AppendHead(dst []byte, h Header) []byte {
	remaining, props := f.sizes(&h)
	dst = append(dst, byte(PUBLISH)<<4|bit(h.Dup, 3)|byte(h.QoS)<<1|bit(h.Retain, 0))
	dst = appendVarint(dst, remaining)
	if f.v5 && h.OmitTopic {
		dst = append(dst, 0, 0)
	} else {
		dst = appendString(dst, f.topic)
	}
	if h.QoS > 0 {
		dst = appendUint16(dst, h.PacketID)
	}
	if !f.v5 {
		return dst
	}
	dst = appendVarint(dst, props)
	if h.HasExpiry {
		dst = appendUint32(append(dst, byte(PropMessageExpiry)), h.Expiry)
	}
	if h.TopicAlias != 0 {
		dst = appendUint16(append(dst, byte(PropTopicAlias)), h.TopicAlias)
	}
	for _, id := range h.SubscriptionIDs {
		dst = appendVarint(append(dst, byte(PropSubscriptionID)), int(id))
	}
	return append(dst, f.props...)
}

// Append appends the whole packet: right for small payloads, one copy.
func (f *Frame) Append(dst []byte, h Header) []byte {
	return append(f.AppendHead(dst, h), f.payload...)
}

// Buffers returns the packet as pieces for one vectored write, so that a large
// payload is not copied. The head is appended to scratch; the payload is the
// message's own.
func (f *Frame) Buffers(scratch []byte, h Header) [][]byte {
	head := f.AppendHead(scratch, h)[len(scratch):]
	if len(f.payload) == 0 {
		return [][]byte{head}
	}
	return [][]byte{head, f.payload}
}
