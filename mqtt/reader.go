package mqtt

import (
	"encoding/binary"
	"unsafe"
)

// reader walks one packet body. The first bad field sets err; every later call
// returns a zero value. It never allocates but for the error and never panics.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

var errShort = malformed("packet ends inside a field")

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16() uint16 {
	if len(r.b) < 2 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// varint reads a variable byte integer in its shortest form [MQTT-1.5.5-1].
func (r *reader) varint() uint32 {
	v, n := varint(r.b)
	switch {
	case n == 0:
		r.fail(errShort)
		return 0
	case n < 0:
		r.fail(malformed("variable byte integer longer than four bytes"))
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.fail(malformed("variable byte integer not in its shortest form"))
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads binary data: a two-byte length and that many bytes.
func (r *reader) bytes() []byte {
	if len(r.b) < 2 {
		r.fail(errShort)
		return nil
	}
	n := int(binary.BigEndian.Uint16(r.b))
	if len(r.b)-2 < n {
		r.fail(errShort)
		return nil
	}
	v := r.b[2 : 2+n : 2+n]
	r.b = r.b[2+n:]
	return v
}

// string reads a UTF-8 encoded string; it aliases the packet.
func (r *reader) string() string {
	b := r.bytes()
	if !ValidUTF8(b) {
		r.fail(malformed("string is not valid UTF-8 or has U+0000"))
		return ""
	}
	return view(b)
}

// topicName reads a topic name: a string without wildcards.
func (r *reader) topicName() string {
	b := r.bytes()
	if !ValidUTF8(b) {
		r.fail(malformed("topic name is not valid UTF-8 or has U+0000"))
		return ""
	}
	if hasWildcard(b) {
		r.fail(reasonError(TopicNameInvalid, "topic name with a wildcard"))
		return ""
	}
	return view(b)
}

// packetID reads a packet identifier, which is never zero [MQTT-2.2.1-3].
func (r *reader) packetID() PacketID {
	id := r.uint16()
	if id == 0 {
		r.fail(protocolError("packet identifier is zero"))
	}
	return PacketID(id)
}

// requestID reads the packet identifier of a request; zero is answered as
// Mosquitto and EMQX do, who tell it from that of a PUBLISH.
func (r *reader) requestID() PacketID {
	id := r.uint16()
	if id == 0 {
		r.fail(malformed("packet identifier is zero"))
	}
	return PacketID(id)
}

// reason reads a reason code that packets of type t may carry.
func (r *reader) reason(t PacketType) ReasonCode {
	c := ReasonCode(r.byte())
	if r.err == nil && !c.AllowedIn(t) {
		r.fail(protocolError("reason code not allowed in " + t.String()))
		return 0
	}
	return c
}

// end fails when there are bytes left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(malformed("bytes left over at the end of the packet"))
	}
	return r.err
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// octets returns s as bytes without copying it; they must not be written.
func octets(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// varint decodes the variable byte integer at the start of b: its value and
// length, length 0 when b ends inside it, -1 when it is longer than four bytes.
func varint(b []byte) (v uint32, n int) {
	for i := range min(len(b), 4) {
		c := b[i]
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	if len(b) < 4 {
		return 0, 0
	}
	return 0, -1
}

// Split returns the length of the first whole packet in b, 0 when b does not
// hold all of it yet. A packet longer than max bytes is refused as soon as its
// length is known; max 0 means the protocol's own limit.
func Split(b []byte, max int) (n int, err error) {
	if len(b) < 2 {
		return 0, nil
	}
	total := 0
	if l := b[1]; l < 0x80 {
		total = 2 + int(l)
	} else {
		v, k := varint(b[1:])
		switch {
		case k == 0:
			return 0, nil
		case k < 0:
			return 0, malformed("remaining length longer than four bytes")
		}
		total = 1 + k + int(v)
	}
	if max > 0 && total > max {
		return 0, &ReasonError{PacketTooLarge, ErrTooLarge}
	}
	if len(b) < total {
		return 0, nil
	}
	return total, nil
}

// Length returns the length of the packet that starts b, header included, as
// soon as its header is complete; 0 before that. It lets a reader size its
// buffer after Split has returned 0.
func Length(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	v, n := varint(b[1:])
	if n <= 0 {
		return 0
	}
	return 1 + n + int(v)
}

// open checks the fixed header of the packet b, which must be exactly one
// packet of type t, and returns a reader of its body and the header's flags.
func open(v Version, t PacketType, b []byte) (r reader, flags byte) {
	return openPart(v, t, b, len(b))
}

// openPart is open for a packet of which b may be the beginning only.
func openPart(v Version, t PacketType, b []byte, total int) (r reader, flags byte) {
	if len(b) < 2 || TypeOf(b[0]) != t {
		r.fail(malformed("not a " + t.String()))
		return r, 0
	}
	n, k := varint(b[1:])
	switch {
	case k <= 0 || total != 1+k+int(n):
		r.fail(malformed("remaining length does not fit the packet"))
		return r, 0
	case k > 1 && b[k] == 0 && v == V5:
		// 3.x does not ask for the shortest form, and small devices pad.
		r.fail(malformed("remaining length not in its shortest form"))
		return r, 0
	}
	r.b = b[1+k:]
	return r, b[0] & 0x0f
}

// openFixed is open for the types whose flags are reserved [MQTT-2.1.3-1].
// MQTT 3.1 calls the flags of these packets unused, and old clients set DUP in
// a repeated PUBREL or SUBSCRIBE.
func openFixed(v Version, t PacketType, b []byte) reader {
	r, flags := open(v, t, b)
	want := byte(0)
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		want = 2
	}
	if r.err == nil && flags != want && v != V31 {
		r.fail(malformed("reserved flags of " + t.String()))
	}
	return r
}
