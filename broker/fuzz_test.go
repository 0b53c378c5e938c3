package broker

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// said is one thing that one of the fuzzer's clients does.
type said struct {
	who  int
	what []byte // nil: the connection is closed
	raw  bool   // on WebSocket: not in a frame
}

// conversation turns a fuzzer's bytes into what three clients do, in order. The
// first byte says how they come: see fuzzDial. Each record that follows is a
// byte that says who (0–2, the bits above what), a length and so many bytes. What
// is either raw bytes, or a packet made of them in the version that this client
// spoke in its last CONNECT, so that the fuzzer gets past the decoder.
func conversation(in []byte) (how byte, all []said) {
	versions := [3]mqtt.Version{mqtt.V5, mqtt.V5, mqtt.V5}
	if len(in) > 0 {
		how, in = in[0], in[1:]
	}
	for len(in) >= 2 && len(all) < 200 {
		kind, n := in[0], int(in[1])
		in = in[2:]
		n = min(n, len(in))
		body := in[:n]
		in = in[n:]
		k := int(kind) % 3
		all = append(all, said{k, packetOf(kind/3, body, &versions[k]), kind/3%16 == 0 && n > 0 && body[0]&1 != 0})
	}
	return how, all
}

// packetOf makes a packet of every type, its fields from the bytes.
func packetOf(kind byte, b []byte, version *mqtt.Version) []byte {
	at := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	id := mqtt.PacketID(at(0)%8) + 1
	names := []string{"a", "a/b", "b", "$SYS/x", "a/b/c", ""}
	filters := []string{"a", "a/+", "#", "$share/g/a/#", "+/b", "$share/h/#", "a/#", "$SYS/#"}
	v := *version
	if at(1)&0xf0 == 0xf0 { // what another version's client would say
		v = mqtt.V311
	}
	var p mqtt.Packet
	switch kind % 16 {
	case 0:
		return b
	case 1:
		v = []mqtt.Version{mqtt.V5, mqtt.V311, mqtt.V31, mqtt.V5}[at(1)%4]
		*version = v
		c := &mqtt.Connect{Version: v, ClientID: []string{"x", "y", "z", ""}[at(0)%4], CleanStart: at(2)&1 != 0}
		if v == mqtt.V5 {
			c.Properties = &mqtt.Properties{SessionExpiry: uint32(at(3)), ReceiveMaximum: uint16(at(4)%5) + 1, TopicAliasMaximum: uint16(at(5) % 3)}
			c.Properties.Present = mqtt.PropertiesOf(mqtt.PropSessionExpiry)
		}
		if v == mqtt.V5 && at(2)&8 != 0 {
			c.Properties.AuthMethod, c.Properties.AuthData = "echo", []byte("please")
		}
		if at(2)&2 != 0 {
			c.Will = &mqtt.Will{Topic: "a/b", Payload: b, QoS: mqtt.QoS(at(6) % 3), Retain: at(2)&4 != 0}
		}
		p = c
	case 2, 3, 4:
		pub := &mqtt.Publish{Topic: names[int(at(2))%len(names)], Payload: b, QoS: mqtt.QoS(at(3) % 3), Retain: at(3)&8 != 0, Dup: at(3)&16 != 0}
		if pub.QoS > 0 {
			pub.ID = id
		} else {
			pub.Dup = false
		}
		if v == mqtt.V5 && at(4)&1 != 0 {
			pub.Properties = &mqtt.Properties{TopicAlias: uint16(at(5) % 12), MessageExpiry: uint32(at(6) % 3)}
			pub.Properties.Present = mqtt.PropertiesOf(mqtt.PropMessageExpiry)
		}
		if at(4)&2 != 0 {
			pub.Payload = bytes.Repeat(b, 50)
		}
		p = pub
	case 5:
		p = &mqtt.Puback{ID: id}
	case 6:
		p = &mqtt.Pubrec{ID: id}
	case 7:
		p = &mqtt.Pubrel{ID: id}
	case 8:
		p = &mqtt.Pubcomp{ID: id}
	case 9, 10:
		p = &mqtt.Subscribe{ID: id, Requests: []mqtt.Request{{Filter: filters[int(at(2))%len(filters)], Options: mqtt.Options(at(3) % 3)}, {Filter: filters[int(at(4))%len(filters)], Options: mqtt.Options(at(5) & 0x2e)}}}
	case 11:
		p = &mqtt.Unsubscribe{ID: id, Filters: []string{filters[int(at(2))%len(filters)]}}
	case 12:
		p = &mqtt.Pingreq{}
	case 13:
		p = &mqtt.Disconnect{}
	case 14:
		p = &mqtt.Pubrec{ID: id, Code: mqtt.UnspecifiedError}
		if at(1)&1 != 0 {
			p = &mqtt.Auth{Code: mqtt.ContinueAuthentication, Properties: &mqtt.Properties{AuthMethod: "echo", AuthData: []byte("thanks")}}
		}
	default:
		return nil // the connection is closed instead
	}
	return p.Append(nil, v)
}

const fuzzHandshake = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

// fuzzDial connects a client: plainly (0), over WebSocket (1), behind a proxy
// (2), or over WebSocket behind a proxy (3).
func fuzzDial(s *server, how int) (net.Conn, error) {
	c, err := net.Dial("tcp", s.b.Addr(how).String())
	if err != nil {
		return nil, err
	}
	hello := ""
	if how >= 2 {
		hello = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n"
	}
	if how&1 != 0 {
		hello += fuzzHandshake
	}
	io.WriteString(c, hello)
	return c, nil
}

// FuzzConversation lets clients say anything, in any order and on any kind of
// listener, over sessions that take each other over. Nothing may bring the broker
// down, and afterwards it must still serve an honest client.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{0, 3, 6, 0, 0, 1, 9, 3, 0, 27, 6, 0, 0, 2, 2, 1, 0, 6, 6, 1, 0, 0, 2, 0, 0, 15, 1, 0})
	f.Add([]byte{0x39, 3, 7, 0, 0, 0, 9, 1, 0, 1, 4, 7, 0, 0, 0, 9, 1, 0, 1, 30, 6, 0, 0, 3, 2, 1, 1, 9, 4, 1, 0, 0, 2, 47, 0})
	f.Add([]byte{1, 3, 6, 0, 1, 1, 9, 3, 0, 27, 6, 0, 0, 2, 2, 1, 0, 6, 6, 1, 0, 0, 2, 0, 0, 15, 1, 0})
	f.Add([]byte{2, 3, 6, 0, 2, 1, 9, 3, 0, 27, 6, 0, 0, 2, 2, 1, 0, 6, 6, 1, 0, 0, 2, 0, 0, 15, 1, 0})
	f.Add([]byte{0, 3, 3, 0, 0, 9, 42, 2, 0, 1})
	s := newServer(f, func(o *Options) {
		o.Listeners = []Listener{
			{Address: "127.0.0.1:0"},
			{Address: "127.0.0.1:0", WebSocket: true},
			{Address: "127.0.0.1:0", Proxy: true},
			{Address: "127.0.0.1:0", Proxy: true, WebSocket: true},
		}
		o.Auth = testAuth{}
		o.ConnectTimeout = 2 * time.Second
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		var conns [3]net.Conn
		defer func() {
			for _, c := range conns {
				if c != nil {
					c.Close()
				}
			}
		}()
		how, all := conversation(in)
		for _, w := range all {
			k, by := w.who, int(how>>(2*w.who))&3
			if w.what == nil {
				if conns[k] != nil {
					conns[k].Close()
					conns[k] = nil
				}
				continue
			}
			if conns[k] == nil {
				c, err := fuzzDial(s, by)
				if err != nil {
					t.Fatal(err)
				}
				conns[k] = c
				go io.Copy(io.Discard, c)
			}
			b := w.what
			if by&1 != 0 && !w.raw {
				b = clientFrame(0x82, b)
			}
			conns[k].SetWriteDeadline(time.Now().Add(2 * time.Second))
			conns[k].Write(b)
		}
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: "honest", CleanStart: true}).Append(nil, mqtt.V311))
		c.Write((&mqtt.Pingreq{}).Append(nil, mqtt.V311))
		if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
			t.Fatalf("an honest client is not served any more: %v", err)
		}
	})
}

// FuzzProxyHeader: a header is read to its end and not a byte further, whoever
// wrote it.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x14\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02\x20\x00\x05\x01\x00\x00\x00\x00rest"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &script{in: bytes.Clone(in), piece: 1 << 20}
		p, err := readProxy(c)
		if err != nil {
			return
		}
		used := len(in) - len(c.in)
		end := bytes.IndexByte(in, '\n') + 1
		if bytes.HasPrefix(in, proxyV2) {
			end = 16 + int(in[14])<<8 + int(in[15])
		}
		if used != end {
			t.Fatalf("read %d bytes of a header of %d: %+v", used, end, p)
		}
	})
}

// FuzzUpgrade: whatever asks for WebSocket gets a whole HTTP answer, or none.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(fuzzHandshake))
	f.Add([]byte(fuzzHandshake + "\x82\x80\x00\x00\x00\x00"))
	f.Add([]byte("GET /other HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &script{in: bytes.Clone(in), piece: 1 << 20}
		w, err := upgrade(c, &Listener{Path: "/mqtt"})
		answer := c.out.Bytes()
		if err == nil && (w == nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 "))) {
			t.Fatalf("accepted with %q", answer)
		}
		if len(answer) > 0 {
			r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
			if err != nil {
				t.Fatalf("answer %q: %v", answer, err)
			}
			r.Body.Close()
		}
	})
}
