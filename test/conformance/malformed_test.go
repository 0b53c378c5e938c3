package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A shape is a valid packet in pieces, so that it can be spoilt piece by piece.
type shape struct {
	name   string
	first  byte
	fields []field
}

// field is one piece of a body. end says that a packet may end behind it.
type field struct {
	kind byte // 's' text, 'd' data, 'i' packet id, 'p' properties, 'b' other bytes, '*' payload: any bytes, any length
	val  []byte
	list props // of kind 'p'
	end  bool
}

func text(s string) field { return field{kind: 's', val: []byte(s)} }
func data(s string) field { return field{kind: 'd', val: []byte(s)} }
func packetID() field     { return field{kind: 'i', val: []byte{0x7f, 1}} }
func raws(b ...byte) field {
	return field{kind: 'b', val: b}
}
func (f field) last() field { f.end = true; return f }

func (f field) append(dst []byte) []byte {
	switch f.kind {
	case 's', 'd':
		return str(dst, string(f.val))
	case 'p':
		if f.list != nil {
			return append(dst, f.list.encode()...)
		}
	}
	return append(dst, f.val...)
}

func (s shape) body() []byte {
	var b []byte
	for _, f := range s.fields {
		b = f.append(b)
	}
	return b
}

// with returns the shape with another field at i.
func (s shape) with(i int, f field) shape {
	s.fields = slices.Clone(s.fields)
	f.end = s.fields[i].end
	s.fields[i] = f
	return s
}

// ends are the lengths at which a body of this shape may end.
func (s shape) ends() map[int]bool {
	ends := map[int]bool{}
	var b []byte
	for _, f := range s.fields {
		before := len(b)
		b = f.append(b)
		if f.end {
			ends[len(b)] = true
		}
		if f.kind == '*' {
			for n := before; n <= len(b); n++ {
				ends[n] = true
			}
		}
	}
	return ends
}

// sample has a good value for each property of MQTT 5 [2.2.2.2].
var sample = props{
	pPayloadFormat: byte(1), pMessageExpiry: uint32(60), pContentType: "text/plain", pResponseTopic: "answer", pCorrelation: []byte("\xff\x00x"),
	pSubscriptionID: []uint32{7}, pSessionExpiry: uint32(0), pAssignedID: "x", pServerKeepAlive: uint16(1), pAuthMethod: "no-such-method", pAuthData: []byte("x"),
	pRequestProblem: byte(1), pWillDelay: uint32(1), pRequestResponse: byte(1), pResponseInfo: "x", pServerReference: "x", pReasonString: "why",
	pReceiveMaximum: uint16(5), pTopicAliasMaximum: uint16(5), pTopicAlias: uint16(1), pMaximumQoS: byte(1), pRetainAvailable: byte(1),
	pUser: [][2]string{{"k", "v"}}, pMaximumPacket: uint32(5000), pWildcard: byte(1), pSubscriptionIDs: byte(1), pShared: byte(1),
}

func samples(ids ...byte) props {
	p := props{}
	for _, id := range ids {
		p[id] = sample[id]
	}
	return p
}

// What a client may send in each packet [MQTT5 table 2-4], less the authentication method, which starts an exchange.
var (
	inWill    = []byte{pPayloadFormat, pMessageExpiry, pContentType, pResponseTopic, pCorrelation, pWillDelay, pUser}
	inConnect = []byte{pSessionExpiry, pRequestProblem, pRequestResponse, pReceiveMaximum, pTopicAliasMaximum, pUser, pMaximumPacket}
	inPublish = []byte{pPayloadFormat, pMessageExpiry, pContentType, pResponseTopic, pCorrelation, pTopicAlias, pUser}
	inAnswer  = []byte{pReasonString, pUser}
)

const (
	nameConnect    = "CONNECT"
	nameDisconnect = "DISCONNECT"
)

// shapes are all packets a client sends, with everything that may be in them.
func shapes(v byte) []shape {
	five := v == 5
	list := func(ids ...byte) field { return field{kind: 'p', list: samples(ids...)} }
	pick := func(fields ...field) []field { // without properties where the version has none
		return slices.DeleteFunc(fields, func(f field) bool { return f.kind == 'p' && !five })
	}
	protocol := "MQTT"
	if v == 3 {
		protocol = "MQIsdp"
	}
	all := []shape{
		{nameConnect, tConnect << 4, pick(text(protocol), raws(v, 0xee), raws(0, 60), list(inConnect...), text(unique("m")), list(inWill...),
			text("will"), data("\xff\x00w"), text("user"), data("\xff\x00p").last())},
		{"PUBLISH QoS 0", tPublish << 4, pick(text("t"), list(inPublish...), field{kind: '*', val: []byte("\xff\x00m")})},
		{"PUBLISH QoS 1", tPublish<<4 | 2, pick(text("t"), packetID(), list(inPublish...), field{kind: '*', val: []byte("m")})},
		{"PUBLISH QoS 2", tPublish<<4 | 4, pick(text("t"), packetID(), list(inPublish...), field{kind: '*', val: []byte("m")})},
		{"SUBSCRIBE", tSubscribe<<4 | 2, pick(packetID(), list(pSubscriptionID, pUser), text("s/+"), raws(1).last(), text("s/#"), raws(2).last())},
		{"UNSUBSCRIBE", tUnsubscribe<<4 | 2, pick(packetID(), list(pUser), text("s/+").last(), text("s/#").last())},
		{"PINGREQ", tPingreq << 4, []field{raws().last()}},
	}
	for i, name := range []string{"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"} {
		first := byte(tPuback+i) << 4
		if name == "PUBREL" {
			first |= 2
		}
		s := shape{name, first, []field{packetID().last()}}
		if five {
			s.fields = append(s.fields, raws(0).last(), list(inAnswer...).last())
		}
		all = append(all, s)
	}
	bye := shape{nameDisconnect, tDisconnect << 4, []field{raws().last()}}
	if five {
		bye.fields = []field{raws().last(), raws(4).last(), list(pSessionExpiry, pReasonString, pUser).last()}
	}
	return append(all, bye)
}

// wrongTexts are no UTF-8, or what MQTT forbids of it [MQTT-1.5.4-1] [MQTT-1.5.4-2].
var wrongTexts = []string{"\x00", "a\x00", "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbf\xbf",
	"\xed\xa0\xbd\xed\xb8\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "a\xe2\x82", "\xf0\x9f\x98", "\xc3\x28", "\xfe", "\xff"}

// verdict is what the broker said to a packet.
type verdict struct {
	open bool // the connection is still served
	code int  // of DISCONNECT or CONNACK, -1: none
}

// attack is a broker of its own and the tests' count of what was thrown at it.
type attack struct {
	*testing.T
	addr string
	v    byte
}

// throw sends b on a connection of its own, behind a good CONNECT unless bare, and a PINGREQ behind it.
func (a attack) throw(bare bool, b []byte) (verdict, error) {
	conn, err := net.DialTimeout("tcp", a.addr, patience)
	if err != nil {
		return verdict{}, err
	}
	defer conn.Close()
	c := raw0(a.T, conn, a.v)
	var out []byte
	if !bare {
		o := options{v: a.v, id: unique("a")}
		out = o.encode()
	}
	out = append(append(out, b...), tPingreq<<4, 0)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(out); err != nil {
		return verdict{code: -1}, nil // closed while we spoke
	}
	said := verdict{code: -1}
	for first := true; ; first = false {
		p, err := readPacket(c.r, a.v)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return said, errors.New("neither an answer nor an end")
		case err != nil && p == nil && isEnd(err):
			return said, nil
		case err != nil:
			return said, err
		case p.typ == tPingresp:
			said.open = true
			return said, nil
		case p.typ == tDisconnect, p.typ == tConnack && (bare || p.code != 0):
			said.code = int(p.code)
		case p.typ == tConnack && !first:
			return said, errors.New("a second CONNACK")
		}
	}
}

func isEnd(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// refused demands the specification's answer to what is malformed or a protocol error: 3.x is closed without a word, 5.0 with one of
// the codes, or without any.
func (a attack) refused(what string, bare bool, b []byte, codes ...int) {
	a.Helper()
	v, err := a.throw(bare, b)
	codes = append(codes, 0x81, 0x82)
	switch {
	case err != nil:
		a.Errorf("%s: %v (% x)", what, err, clip(b))
	case v.open:
		a.Errorf("%s is accepted (% x)", what, clip(b))
	case a.v == 5 && !slices.Contains(codes, v.code) && (!bare || v.code >= 0): // a CONNECT may go without an answer [MQTT-3.1.4-1]
		a.Errorf("%s is answered with %#x, want one of %#x (% x)", what, v.code, codes, clip(b))
	case a.v != 5 && v.code >= 0:
		a.Errorf("%s is answered with %#x, want silence (% x)", what, v.code, clip(b))
	}
}

// taken demands that a packet is good: the connection goes on, or ends as DISCONNECT asks.
func (a attack) taken(what string, s shape, b []byte) {
	a.Helper()
	v, err := a.throw(s.name == nameConnect, b)
	good := v.open || s.name == nameDisconnect
	if s.name == nameConnect {
		good = v.open && v.code == 0
	}
	if err != nil || !good {
		a.Errorf("%s is not accepted: %+v, %v (% x)", what, v, err, clip(b))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 60)] }

// TestEveryPacketSpoilt throws every packet a client may send, spoilt in every way there is, at a broker, in every version: it gives the
// specification's answer, serves others on, and is no larger afterwards.
func TestEveryPacketSpoilt(t *testing.T) {
	t.Parallel()
	addr, p := configuredProcess(t, "")
	fds := func() int {
		list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
		return len(list)
	}
	connect(t, addr, options{}).bye()
	before, _ := p.Memory()
	open := fds()
	var versions sync.WaitGroup
	for _, v := range all {
		versions.Go(func() {
			a := attack{t, addr, v}
			for _, s := range shapes(v) {
				a.whole(s)
				a.flags(s)
				a.lengths(s)
				a.halves(s)
				a.texts(s)
				a.ids(s)
				a.propertyLists(s)
				a.reasons(s)
			}
			a.order()
			a.odd()
		})
	}
	versions.Wait()
	connect(t, addr, options{}).bye()
	deadline := time.Now().Add(patience)
	for fds() > open+5 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if n := fds(); n > open+5 {
		t.Errorf("%d descriptors are open, %d before", n, open)
	}
	// What the garbage collector leaves lying about is far less than this; thousands of lost connections would be more.
	if after, err := p.Memory(); err != nil || after.Anon > before.Anon+48<<20 {
		t.Errorf("anonymous memory went from %d to %d kB (%v)", before.Anon>>10, after.Anon>>10, err)
	}
}

// whole: what all this spoils is good.
func (a attack) whole(s shape) { a.taken(s.name, s, frame(s.first, s.body())) }

// flags: the fixed header's reserved bits [MQTT-2.1.3-1] [MQTT-2.2.2-2].
func (a attack) flags(s shape) {
	if a.v == 3 {
		return // "unused" in 3.1, and old clients set DUP in what they repeat
	}
	for bits := range byte(16) {
		first := s.first&0xf0 | bits
		if first == s.first {
			continue
		}
		if s.first>>4 == tPublish && bits>>1&3 < 3 { // QoS 3 is wrong, and DUP with QoS 0; the rest is another kind of PUBLISH
			if bits&0xe != 8 {
				continue
			}
		}
		a.refused(fmt.Sprintf("%s with the flags %04b", s.name, bits), s.name == nameConnect, frame(first, s.body()))
	}
}

// lengths: every length but the right ones, and lengths that are no numbers.
func (a attack) lengths(s shape) {
	bare := s.name == nameConnect
	body, ends := s.body(), s.ends()
	for n := range len(body) {
		what := fmt.Sprintf("%s of %d instead of %d bytes", s.name, n, len(body))
		if b := frame(s.first, body[:n]); ends[n] {
			a.taken(what, s, b)
		} else {
			a.refused(what, bare, b, 0x90, 0x8f)
		}
	}
	if s.first>>4 != tPublish {
		a.refused(s.name+" with a byte too many", bare, frame(s.first, append(slices.Clone(body), 0)), 0x8f)
	}
	long := append([]byte{s.first}, varint(nil, len(body))...)
	long[len(long)-1] |= 0x80
	if long = append(append(long, 0), body...); a.v == 5 { // [MQTT-1.5.5-1]
		a.refused(s.name+" with a length of more bytes than needed", bare, long)
	} else {
		a.taken(s.name+" with a length of more bytes than needed", s, long)
	}
	a.refused(s.name+" with a length of five bytes", bare, append([]byte{s.first, 0xff, 0xff, 0xff, 0xff, 0x7f}, body...))
	a.refused(s.name+" of 268,435,455 bytes", bare, append([]byte{s.first, 0xff, 0xff, 0xff, 0x7f}, body...), 0x95)
}

// halves: the connection ends in the midst of a packet.
func (a attack) halves(s shape) {
	b := frame(s.first, s.body())
	for n := 1; n < len(b); n += 3 {
		conn, err := net.DialTimeout("tcp", a.addr, patience)
		if err != nil {
			a.Fatal(err)
		}
		if s.name != nameConnect {
			o := options{v: a.v, id: unique("h")}
			_, _ = conn.Write(o.encode())
		}
		_, _ = conn.Write(b[:n])
		conn.Close()
	}
}

// texts: what is no text, in every place for text; data may be anything.
func (a attack) texts(s shape) {
	bare := s.name == nameConnect
	for i, f := range s.fields {
		if f.kind != 's' {
			continue
		}
		for _, wrong := range wrongTexts {
			a.refused(fmt.Sprintf("%s with the text %q in field %d", s.name, wrong, i), bare,
				frame(s.first, s.with(i, text(wrong)).body()), 0x85, 0x84, 0x8f, 0x90)
		}
		short := str(nil, string(f.val))
		short[0] = 0xff // longer than all that follows
		a.refused(fmt.Sprintf("%s with a text in field %d that does not end", s.name, i), bare,
			frame(s.first, s.with(i, field{kind: 'b', val: short}).body()), 0x90, 0x8f)
	}
}

// ids: no packet id is zero [MQTT-2.2.1-3].
func (a attack) ids(s shape) {
	for i, f := range s.fields {
		if f.kind == 'i' {
			a.refused(s.name+" with packet id 0", false, frame(s.first, s.with(i, field{kind: 'i', val: []byte{0, 0}}).body()))
		}
	}
}

// propertyLists: every property that is not for the packet, or twice, or with a value it cannot have; and lists that are none.
func (a attack) propertyLists(s shape) {
	bare := s.name == nameConnect
	for i, f := range s.fields {
		if f.kind != 'p' {
			continue
		}
		list := func(what string, b []byte, codes ...int) {
			a.Helper()
			what = fmt.Sprintf("%s with %s in field %d", s.name, what, i)
			val := append(varint(nil, len(b)), b...)
			b = frame(s.first, s.with(i, field{kind: 'p', val: val}).body())
			a.refused(what, bare, b, codes...)
		}
		for id := range 0x80 {
			v, known := sample[byte(id)]
			one := []byte{byte(id), 0, 0, 0, 0}
			if known {
				_, one = lengthOff(props{byte(id): v}.encode())
			}
			_, here := f.list[byte(id)]
			switch {
			case !known:
				list(fmt.Sprintf("the property %#x, which there is not,", id), one)
			case here && id != pUser:
				list(fmt.Sprintf("the property %#x twice", id), append(slices.Clone(one), one...))
				for n := 1; n < len(one); n++ {
					list(fmt.Sprintf("%d bytes of the property %#x", n, id), one[:n])
				}
			case !here && id != pAuthMethod && (id != pServerReference || s.name != nameDisconnect):
				list(fmt.Sprintf("the property %#x, which is for others,", id), one)
			}
		}
		list("a property of two bytes", []byte{0x81, 0x01, 0})
		list("a property number longer than needed", []byte{0x81, 0x00, 1})
		for id := range f.list {
			for _, wrong := range wrongValues(id) {
				list(fmt.Sprintf("the property %#x of % x", id, wrong), append([]byte{id}, wrong...), 0x94, 0x90)
			}
		}
		good := f.list.encode()
		n, inner := lengthOff(good)
		for _, b := range [][]byte{{0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0x7f}, {byte(n) | 0x80, 0x80, 0x00}} {
			a.refused(fmt.Sprintf("%s with % x as the properties' length", s.name, b), bare,
				frame(s.first, s.with(i, field{kind: 'p', val: append(slices.Clone(b), inner...)}).body()))
		}
	}
}

// lengthOff splits a list of properties into its length and itself.
func lengthOff(b []byte) (int, []byte) {
	r := reader{b}
	n := r.varint()
	return n, r.b
}

// wrongValues are values that a property cannot have.
func wrongValues(id byte) (all [][]byte) {
	switch sample[id].(type) {
	case byte:
		return [][]byte{{2}, {0xff}}
	case uint16:
		if id != pTopicAliasMaximum {
			all = append(all, []byte{0, 0})
		}
		if id == pTopicAlias {
			all = append(all, []byte{0, 11}, []byte{0xff, 0xff}) // the default of max_topic_alias is 10
		}
	case uint32:
		if id == pMaximumPacket {
			all = append(all, []byte{0, 0, 0, 0})
		}
	case string:
		for _, wrong := range wrongTexts {
			all = append(all, str(nil, wrong))
		}
		if id == pResponseTopic {
			all = append(all, str(nil, "a/#"), str(nil, "+")) // [MQTT-3.3.2-14]
		}
	case [][2]string:
		for _, wrong := range wrongTexts {
			all = append(all, str(str(nil, "k"), wrong))
		}
		for _, wrong := range wrongTexts[:5] {
			all = append(all, str(str(nil, wrong), "v"))
		}
	case []uint32:
		all = append(all, []byte{0}, []byte{0x81, 0}, []byte{0xff, 0xff, 0xff, 0xff, 1})
	}
	return all
}

// reasons: each of 256 codes in the packets that have one [MQTT5 2.4].
func (a attack) reasons(s shape) {
	if a.v != 5 {
		return
	}
	good, ok := map[string][]byte{
		"PUBACK":       {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
		"PUBREC":       {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
		"PUBREL":       {0x00, 0x92},
		"PUBCOMP":      {0x00, 0x92},
		nameDisconnect: {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99},
	}[s.name]
	if !ok {
		return
	}
	at := slices.IndexFunc(s.fields, func(f field) bool { return f.kind == 'b' && len(f.val) == 1 })
	for code := range 256 {
		what := fmt.Sprintf("%s with the reason %#x", s.name, code)
		b := frame(s.first, s.with(at, raws(byte(code))).body())
		if slices.Contains(good, byte(code)) || s.name == nameDisconnect && code > 0x82 { // a server's: it ends the connection anyway
			a.taken(what, s, b)
		} else {
			a.refused(what, false, b)
		}
	}
}

// order: packets that do not belong where they come.
func (a attack) order() {
	for _, s := range shapes(a.v) {
		if b := frame(s.first, s.body()); s.name == nameConnect {
			a.refused("a second CONNECT", false, b) // [MQTT-3.1.0-2]
		} else if v, err := a.throw(true, b); v.open || v.code >= 0 || err != nil { // [MQTT-3.1.0-1]
			a.Errorf("%s before CONNECT: %+v, %v", s.name, v, err)
		}
	}
	for _, typ := range []byte{0, tConnack, tSuback, tUnsuback, tPingresp, tAuth} {
		for _, body := range [][]byte{nil, {0, 1}, {0, 1, 0}} {
			b := frame(typ<<4, body)
			a.refused(fmt.Sprintf("type %d from a client", typ), false, b)
			if v, err := a.throw(true, b); v.open || v.code >= 0 || err != nil {
				a.Errorf("type %d before CONNECT: %+v, %v", typ, v, err)
			}
		}
	}
}

// odd: what fits no pattern.
func (a attack) odd() {
	publish := func(topic string, alias uint16) []byte {
		b := str(nil, topic)
		if a.v == 5 && alias > 0 {
			b = append(b, 3, pTopicAlias, byte(alias>>8), byte(alias))
		} else if a.v == 5 {
			b = append(b, 0)
		}
		return frame(tPublish<<4, append(b, 'm'))
	}
	for _, topic := range []string{"", "+", "#", "a/+", "a/#", "a+b"} { // [MQTT-3.3.2-2] [MQTT-4.7.3-1]
		a.refused(fmt.Sprintf("PUBLISH to %q", topic), false, publish(topic, 0), 0x90)
	}
	options := func(filter string, o byte) []byte {
		b := []byte{0, 1}
		if a.v == 5 {
			b = append(b, 0)
		}
		return frame(tSubscribe<<4|2, append(str(b, filter), o))
	}
	for o := range 256 { // [MQTT-3.8.3-4] of 3.1.1, [MQTT-3.8.3-5]
		reserved := o&3 == 3 || a.v == 4 && o > 2 || a.v == 5 && (o>>6 != 0 || o>>4&3 == 3)
		if reserved {
			a.refused(fmt.Sprintf("SUBSCRIBE with the options %08b", o), false, options("a", byte(o)))
		}
	}
	if a.v == 5 {
		a.refused("an alias that was never set", false, publish("", 3), 0x94)
		a.refused("no local on a shared subscription", false, options("$share/g/a", 4))                                 // [MQTT-3.8.3-4]
		for _, filter := range []string{"$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"} { // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
			a.refusedFilter(filter, options(filter, 0))
		}
	}
	for _, filter := range []string{"", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "a/b#", "++", "##"} { // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
		a.refusedFilter(filter, options(filter, 0))
	}
	connect := func(flags byte, rest ...string) []byte {
		b := append(str(nil, map[byte]string{3: "MQIsdp", 4: "MQTT", 5: "MQTT"}[a.v]), a.v, flags, 0, 60)
		if a.v == 5 {
			b = append(b, 0)
		}
		for _, s := range rest {
			b = str(b, s)
		}
		return frame(tConnect<<4, b)
	}
	if a.v > 3 {
		a.refused("CONNECT's reserved flag", true, connect(3, "id")) // [MQTT-3.1.2-3]
	}
	a.refused("will QoS 3", true, connect(0x1e, "id", "w", "m"))
	a.refused("a will's QoS without a will", true, connect(0x0a, "id"))
	a.refused("a will's retain without a will", true, connect(0x22, "id"))
	if a.v != 5 {
		a.refused("a password without a user name", true, connect(0x42, "id", "p"))
	}
	for _, name := range []string{"", "MQT", "MQTTT", "mqtt", "MQIsd", strings.Repeat("M", 5000)} {
		b := frame(tConnect<<4, append(str(nil, name), a.v, 2, 0, 60, 0, 0))
		if v, err := a.throw(true, b); v.open || v.code == 0 || err != nil {
			a.Errorf("protocol name %.10q: %+v, %v", name, v, err)
		}
	}
	for level := range 0x80 { // 0x80 is a bridge's mark
		if level == 4 || level == 5 {
			continue
		}
		form := a // whoever speaks a version after 5 reads what 5 says
		if form.v = 4; level > 5 {
			form.v = 5
		}
		want := map[byte]int{4: 1, 5: 0x84}[form.v]
		if v, err := form.throw(true, frame(tConnect<<4, append(str(nil, "MQTT"), byte(level), 2, 0, 60, 0, 0))); v.open || v.code != want || err != nil { // [MQTT-3.1.2-2]
			a.Errorf("protocol level %d: %+v, %v", level, v, err)
		}
	}
	for n := 5; n < 20; n++ { // after fewer a length may still come
		a.refused(fmt.Sprintf("%d bytes 0xff", n), false, []byte(strings.Repeat("\xff", n)))
	}
}

// refusedFilter: 5.0 is told in SUBACK or by DISCONNECT, 3.1.1 by 0x80 or closing.
func (a attack) refusedFilter(filter string, b []byte) {
	a.Helper()
	c := connect(a.T, a.addr, options{v: a.v})
	defer c.conn.Close()
	c.write(b)
	p, err := c.recv(patience)
	if err != nil && isEnd(err) || p != nil && (p.typ == tSuback && p.codes[0] >= 0x80 || p.typ == tDisconnect && a.v == 5 && p.code >= 0x80) {
		return
	}
	a.Errorf("the filter %q: got %v, %v", filter, p, err)
}
