package broker

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// conversation turns a fuzzer's bytes into what three clients send, in order:
// each record is a byte that says who (0–2, the bits above what), a length and
// so many bytes. What is either raw bytes, or a packet made of them, so that the
// fuzzer gets past the decoder.
func conversation(in []byte) (who []int, what [][]byte) {
	for len(in) >= 2 && len(who) < 200 {
		kind, n := in[0], int(in[1])
		in = in[2:]
		n = min(n, len(in))
		body := in[:n]
		in = in[n:]
		who = append(who, int(kind)%3)
		what = append(what, packetOf(kind/3, body))
	}
	return who, what
}

// packetOf makes a packet of every type, its fields from the bytes.
func packetOf(kind byte, b []byte) []byte {
	at := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	id := mqtt.PacketID(at(0)%8) + 1
	names := []string{"a", "a/b", "b", "$SYS/x", "a/b/c", ""}
	filters := []string{"a", "a/+", "#", "$share/g/a/#", "+/b", "$share/h/#", "a/#", "$SYS/#"}
	v := mqtt.V5
	if at(1)&0x80 != 0 {
		v = mqtt.V311
	}
	var p mqtt.Packet
	switch kind % 16 {
	case 0:
		return b
	case 1:
		c := &mqtt.Connect{Version: v, ClientID: []string{"x", "y", "z", ""}[at(0)%4], CleanStart: at(2)&1 != 0}
		if v == mqtt.V5 {
			c.Properties = &mqtt.Properties{SessionExpiry: uint32(at(3)), ReceiveMaximum: uint16(at(4)%5) + 1, TopicAliasMaximum: uint16(at(5) % 3)}
			c.Properties.Present = mqtt.PropertiesOf(mqtt.PropSessionExpiry)
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
	default:
		return nil // the connection is closed instead
	}
	return p.Append(nil, v)
}

// FuzzConversation lets clients say anything, in any order, over sessions that
// take each other over. Nothing may bring the broker down, and afterwards it must
// still serve an honest client.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{3, 6, 0, 0, 1, 9, 3, 0, 27, 6, 0, 0, 2, 2, 1, 0, 6, 6, 1, 0, 0, 2, 0, 0, 15, 1, 0})
	f.Add([]byte{3, 7, 0, 0, 0, 9, 1, 0, 1, 4, 7, 0, 0, 0, 9, 1, 0, 1, 30, 6, 0, 0, 3, 2, 1, 1, 9, 4, 1, 0, 0, 2, 47, 0})
	s := newServer(f, func(o *Options) {
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
		who, what := conversation(in)
		for i, k := range who {
			if what[i] == nil {
				if conns[k] != nil {
					conns[k].Close()
					conns[k] = nil
				}
				continue
			}
			if conns[k] == nil {
				c, err := s.dial()
				if err != nil {
					t.Fatal(err)
				}
				conns[k] = c
				go io.Copy(io.Discard, c)
			}
			conns[k].SetWriteDeadline(time.Now().Add(2 * time.Second))
			conns[k].Write(what[i])
		}
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: "honest", CleanStart: true}).Append(nil, mqtt.V311))
		c.Write((&mqtt.Pingreq{}).Append(nil, mqtt.V311))
		if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
			t.Fatalf("an honest client is not served any more: %v", err)
		}
	})
}
