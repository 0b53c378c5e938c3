package conformance

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Packet types.
const (
	tConnect = iota + 1
	tConnack
	tPublish
	tPuback
	tPubrec
	tPubrel
	tPubcomp
	tSubscribe
	tSuback
	tUnsubscribe
	tUnsuback
	tPingreq
	tPingresp
	tDisconnect
	tAuth
)

// Properties of MQTT 5.
const (
	pPayloadFormat     = 1
	pMessageExpiry     = 2
	pContentType       = 3
	pResponseTopic     = 8
	pCorrelation       = 9
	pSubscriptionID    = 11
	pSessionExpiry     = 17
	pAssignedID        = 18
	pServerKeepAlive   = 19
	pAuthMethod        = 21
	pAuthData          = 22
	pRequestProblem    = 23
	pWillDelay         = 24
	pRequestResponse   = 25
	pResponseInfo      = 26
	pServerReference   = 28
	pReasonString      = 31
	pReceiveMaximum    = 33
	pTopicAliasMaximum = 34
	pTopicAlias        = 35
	pMaximumQoS        = 36
	pRetainAvailable   = 37
	pUser              = 38
	pMaximumPacket     = 39
	pWildcard          = 40
	pSubscriptionIDs   = 41
	pShared            = 42
)

// props maps a property to byte, uint16, uint32, string or []byte; pUser to [][2]string; pSubscriptionID to []uint32.
type props map[byte]any

func (p props) u32(id byte) uint32 {
	switch v := p[id].(type) {
	case byte:
		return uint32(v)
	case uint16:
		return uint32(v)
	case uint32:
		return v
	}
	return 0
}

func (p props) str(id byte) string {
	switch v := p[id].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (p props) has(id byte) bool { _, ok := p[id]; return ok }

// varint appends a variable byte integer.
func varint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func str(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// encode gives the properties with their length in front, in the order of their numbers.
func (p props) encode() []byte {
	var b []byte
	var ids []byte
	for id := range p {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		switch v := p[id].(type) {
		case byte:
			b = append(b, id, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(append(b, id), v)
		case uint32:
			b = binary.BigEndian.AppendUint32(append(b, id), v)
		case []uint32:
			for _, n := range v {
				b = varint(append(b, id), int(n))
			}
		case string:
			b = str(append(b, id), v)
		case []byte:
			b = str(append(b, id), string(v))
		case [][2]string:
			for _, kv := range v {
				b = str(str(append(b, id), kv[0]), kv[1])
			}
		default:
			panic(fmt.Sprintf("property %d of type %T", id, v))
		}
	}
	return append(varint(nil, len(b)), b...)
}

// frame puts the fixed header in front of a body.
func frame(first byte, body []byte) []byte {
	return append(varint([]byte{first}, len(body)), body...)
}

// packet is a received packet of any type.
type packet struct {
	typ, flags byte
	id         uint16
	topic      string
	payload    string
	qos        byte
	dup        bool
	retain     bool
	present    bool
	code       byte
	codes      []byte
	props      props
}

func (p *packet) String() string {
	names := []string{"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
		"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}
	return fmt.Sprintf("%s{id %d, topic %q, payload %.40q, qos %d, dup %v, retain %v, present %v, code %#x, codes %#x, props %v}",
		names[p.typ], p.id, p.topic, p.payload, p.qos, p.dup, p.retain, p.present, p.code, p.codes, p.props)
}

// reader walks a body; the first short field panics with errShort, which decode turns into an error.
type reader struct{ b []byte }

type errShort struct{}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		panic(errShort{})
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte      { return r.take(1)[0] }
func (r *reader) u16() uint16   { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) str() string   { return string(r.take(int(r.u16()))) }
func (r *reader) bytes() []byte { return []byte(r.str()) }
func (r *reader) varint() (n int) {
	for shift := 0; ; shift += 7 {
		b := r.u8()
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

func (r *reader) props() props {
	p := props{}
	in := reader{r.take(r.varint())}
	for len(in.b) > 0 {
		switch id := in.u8(); id {
		case pPayloadFormat, pRequestProblem, pRequestResponse, pMaximumQoS, pRetainAvailable, pWildcard, pSubscriptionIDs, pShared:
			p[id] = in.u8()
		case pServerKeepAlive, pReceiveMaximum, pTopicAliasMaximum, pTopicAlias:
			p[id] = in.u16()
		case pMessageExpiry, pSessionExpiry, pWillDelay, pMaximumPacket:
			p[id] = binary.BigEndian.Uint32(in.take(4))
		case pContentType, pResponseTopic, pAssignedID, pAuthMethod, pResponseInfo, pServerReference, pReasonString:
			p[id] = in.str()
		case pCorrelation, pAuthData:
			p[id] = in.bytes()
		case pSubscriptionID:
			ids, _ := p[id].([]uint32)
			p[id] = append(ids, uint32(in.varint()))
		case pUser:
			kv, _ := p[id].([][2]string)
			p[id] = append(kv, [2]string{in.str(), in.str()})
		default:
			panic(fmt.Sprintf("the broker sent property %d", id))
		}
	}
	return p
}

func readPacket(r *bufio.Reader, v byte) (*packet, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		n |= int(b&0x7f) << shift
		if shift += 7; b < 0x80 {
			break
		}
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return decode(first, body, v)
}

func decode(first byte, body []byte, v byte) (p *packet, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("the broker sent a malformed packet: type %d, % x", first>>4, body)
		}
	}()
	p = &packet{typ: first >> 4, flags: first & 15, props: props{}}
	r := reader{body}
	switch p.typ {
	case tConnack:
		p.present = r.u8() == 1
		p.code = r.u8()
		if v == 5 {
			p.props = r.props()
		}
	case tPublish:
		p.dup, p.qos, p.retain = first&8 != 0, first>>1&3, first&1 != 0
		p.topic = r.str()
		if p.qos > 0 {
			p.id = r.u16()
		}
		if v == 5 {
			p.props = r.props()
		}
		p.payload, r.b = string(r.b), nil
	case tPuback, tPubrec, tPubrel, tPubcomp:
		p.id = r.u16()
		if v == 5 && len(r.b) > 0 {
			p.code = r.u8()
			if len(r.b) > 0 {
				p.props = r.props()
			}
		}
	case tSuback, tUnsuback:
		p.id = r.u16()
		if v == 5 {
			p.props = r.props()
		}
		p.codes, r.b = r.b, nil
	case tDisconnect, tAuth:
		if v == 5 && len(r.b) > 0 {
			p.code = r.u8()
			if len(r.b) > 0 {
				p.props = r.props()
			}
		}
	}
	if len(r.b) > 0 {
		return nil, fmt.Errorf("%v has %d bytes too many", p, len(r.b))
	}
	return p, nil
}
