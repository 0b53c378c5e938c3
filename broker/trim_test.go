package broker

import (
	"bytes"
	"strings"
	"testing"

	"gatewayd/mqtt"
)

// TestTrim: of every packet that may carry a reason string or user properties
// they are left out when the packet would be too large for the client, and only
// then [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2]
// [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3] [MQTT-3.15.2-2] and the rule after
// each of them.
func TestTrim(t *testing.T) {
	long := func() *mqtt.Properties {
		return &mqtt.Properties{ReasonString: strings.Repeat("why ", 20), User: []mqtt.UserProperty{{Name: "a", Value: strings.Repeat("b", 50)}}}
	}
	b := &Broker{}
	for _, make := range []func() mqtt.Packet{
		func() mqtt.Packet { return &mqtt.Connack{Code: mqtt.NotAuthorized, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Puback{ID: 1, Code: mqtt.NotAuthorized, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Pubrec{ID: 1, Code: mqtt.NotAuthorized, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Pubrel{ID: 1, Code: mqtt.PacketIDNotFound, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Pubcomp{ID: 1, Code: mqtt.PacketIDNotFound, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Suback{ID: 1, Codes: []mqtt.ReasonCode{0}, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Unsuback{ID: 1, Codes: []mqtt.ReasonCode{0}, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Disconnect{Code: mqtt.ProtocolError, Properties: long()} },
		func() mqtt.Packet { return &mqtt.Auth{Code: mqtt.ContinueAuthentication, Properties: long()} },
	} {
		for _, max := range []uint32{0, 200, 20} {
			c := &conn{b: b, version: mqtt.V5, maxPacket: max}
			tn := newTurn(b)
			c.send(tn, make())
			got := c.out.buf
			whole := bytes.Contains(got, []byte("why why"))
			if whole != (max != 20) || max == 20 && len(got) > 20 || len(got) == 0 {
				t.Errorf("%v, at most %d bytes: %d bytes, reason string %v", make().Type(), max, len(got), whole)
			}
		}
	}
}
