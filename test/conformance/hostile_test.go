package conformance

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMalformed sends what the specification forbids after a good CONNECT; the broker must close.
func TestMalformed(t *testing.T) {
	for _, tc := range []struct {
		name string
		v    byte // 0: 3.1.1 and 5
		hex  string
	}{
		{"packet type 0", 0, "00 00"},
		{"remaining length of five bytes", 0, "30 ff ff ff ff 7f"},
		{"PINGREQ with flags", 0, "c1 00"},
		{"PINGREQ with a body", 0, "c0 01 00"},
		{"server to client: CONNACK", 0, "20 02 00 00"},
		{"server to client: SUBACK", 4, "90 03 00 01 00"},
		{"server to client: PINGRESP", 0, "d0 00"},
		{"PUBLISH QoS 3", 4, "36 07 00 01 61 00 01 6d 6d"},
		{"PUBLISH QoS 3 in 5", 5, "36 07 00 01 61 00 01 00 6d"},
		{"PUBLISH DUP at QoS 0", 4, "38 04 00 01 61 6d"},
		{"PUBLISH without topic", 4, "30 02 00 00"},
		{"PUBLISH with wildcard +", 4, "30 04 00 01 2b 6d"},
		{"PUBLISH with wildcard #", 5, "30 05 00 01 23 00 6d"},
		{"PUBLISH with NUL in the topic", 4, "30 06 00 03 61 00 62 6d"},
		{"PUBLISH with half a topic", 4, "30 03 00 05 61"},
		{"PUBLISH with a broken UTF-8 topic", 4, "30 05 00 02 c3 28 6d"},
		{"PUBLISH with a surrogate", 4, "30 06 00 03 ed a0 80 6d"},
		{"PUBLISH packet id 0", 4, "32 06 00 01 61 00 00 6d"},
		{"PUBLISH packet id 0 in 5", 5, "32 07 00 01 61 00 00 00 6d"},
		{"PUBLISH with an unknown property", 5, "30 07 00 01 61 02 7f 00 6d"},
		{"PUBLISH with a property of CONNECT", 5, "30 09 00 01 61 05 11 00 00 00 01"},
		{"PUBLISH with payload format twice", 5, "30 08 00 01 61 04 01 00 01 00"},
		{"PUBLISH with subscription identifier from a client", 5, "30 06 00 01 61 02 0b 01"},
		{"PUBLISH with properties longer than the packet", 5, "30 05 00 01 61 09 01"},
		{"PUBACK too short", 0, "40 01 00"},
		{"PUBREL with flags 0", 0, "60 02 00 01"},
		{"SUBSCRIBE with flags 0", 4, "80 06 00 01 00 01 61 00"},
		{"SUBSCRIBE without a filter", 4, "82 02 00 01"},
		{"SUBSCRIBE without a filter in 5", 5, "82 03 00 01 00"},
		{"SUBSCRIBE packet id 0", 4, "82 06 00 00 00 01 61 00"},
		{"SUBSCRIBE QoS 3", 4, "82 06 00 01 00 01 61 03"},
		{"SUBSCRIBE reserved bits", 4, "82 06 00 01 00 01 61 10"},
		{"SUBSCRIBE QoS 3 in 5", 5, "82 07 00 01 00 00 01 61 03"},
		{"SUBSCRIBE with subscription identifier 0", 5, "82 09 00 01 02 0b 00 00 01 61 00"},
		{"SUBSCRIBE without options", 4, "82 05 00 01 00 01 61"},
		{"SUBSCRIBE with an empty filter", 4, "82 05 00 01 00 00 00"},
		{"UNSUBSCRIBE without a filter", 4, "a2 02 00 01"},
		{"UNSUBSCRIBE with flags 0", 4, "a0 05 00 01 00 01 61"},
		{"DISCONNECT with flags", 0, "e1 00"},
		{"AUTH in 3.1.1", 4, "f0 00"},
	} {
		versions := both
		if tc.v != 0 {
			versions = []byte{tc.v}
		}
		t.Run(tc.name, func(t *testing.T) {
			each(t, versions, func(t *testing.T, v byte) {
				b, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
				if err != nil {
					t.Fatal(err)
				}
				c := connect(t, broker(t), options{v: v})
				c.write(b)
				c.closed()
			})
		})
	}
}

// TestMalformedConnect sends broken CONNECTs: the broker refuses or closes.
func TestMalformedConnect(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		v   byte
		hex string
	}{
		"reserved flag":                   {4, "10 0d 0004 4d515454 04 03 003c 0001 61"},
		"will QoS 3":                      {4, "10 13 0004 4d515454 04 1e 003c 0001 61 0001 77 0001 6d"},
		"will QoS without will":           {4, "10 0d 0004 4d515454 04 0a 003c 0001 61"},
		"will retain without will":        {4, "10 0d 0004 4d515454 04 22 003c 0001 61"},
		"password without user":           {4, "10 10 0004 4d515454 04 42 003c 0001 61 0001 70"},
		"too short":                       {4, "10 08 0004 4d515454 04 02"},
		"trailing bytes":                  {4, "10 0e 0004 4d515454 04 02 003c 0001 61 00"},
		"client id with NUL":              {4, "10 0d 0004 4d515454 04 02 003c 0001 00"},
		"client id of broken UTF-8":       {4, "10 0e 0004 4d515454 04 02 003c 0002 c328"},
		"flags of the fixed header":       {4, "11 0d 0004 4d515454 04 02 003c 0001 61"},
		"will topic with wildcard":        {4, "10 13 0004 4d515454 04 06 003c 0001 61 0001 23 0001 6d"},
		"property twice":                  {5, "10 18 0004 4d515454 05 02 003c 0a 11 00000001 11 00000001 0001 61"},
		"property of PUBLISH":             {5, "10 10 0004 4d515454 05 02 003c 02 01 01 0001 61"},
		"request problem information 2":   {5, "10 10 0004 4d515454 05 02 003c 02 17 02 0001 61"},
		"will delay outside the will":     {5, "10 13 0004 4d515454 05 02 003c 05 18 00000001 0001 61"},
		"properties longer than the body": {5, "10 0e 0004 4d515454 05 02 003c 7f 0001 61"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := hex.DecodeString(strings.ReplaceAll(tc.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) != int(b[1])+2 {
				t.Fatalf("the test is wrong: %d bytes, remaining length %d", len(b), b[1])
			}
			if tc.v == 5 {
				refusedBytes(t, tc.v, b, 0x81, 0x82, 0x85, 0x90)
				return
			}
			c := raw(t, broker(t), tc.v)
			c.write(b)
			if p, err := c.recv(patience); err == nil { // [MQTT-3.1.4-1] of 3.1.1: closed without a CONNACK
				t.Errorf("got %v, want the connection closed", p)
			}
			c.closed()
		})
	}
}

// TestBadFilters: a 5 client is told in the SUBACK or by DISCONNECT, a 3.1.1 client by 0x80 or by closing.
func TestBadFilters(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		for _, f := range []string{"a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "a/b#"} {
			c := connect(t, broker(t), options{v: v})
			body := []byte{0, 1}
			if v == 5 {
				body = append(body, 0)
			}
			c.write(frame(tSubscribe<<4|2, append(str(body, f), 0)))
			p, err := c.recv(patience)
			if err == nil && p.typ == tSuback && p.codes[0] >= 0x80 || err == nil && p.typ == tDisconnect && v == 5 || err != nil && p == nil {
				continue // [MQTT-4.7.1-2, -3]
			}
			t.Errorf("%q: got %v, %v", f, p, err)
		}
	})
}

func TestNoConnectIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes connect_timeout")
	}
	t.Parallel()
	addr := configured(t, "mqtt: {connect_timeout: 1s}\n")
	for _, b := range [][]byte{nil, {tConnect << 4}, {tConnect << 4, 20, 0, 4, 'M'}} {
		c := raw(t, addr, 4)
		if b != nil {
			c.write(b)
		}
		begun := time.Now()
		c.closed()
		if took := time.Since(begun); took < 500*time.Millisecond {
			t.Errorf("closed after %s, want 1 s", took)
		}
	}
}

// TestConnectStorm takes one client id over again and again: the last one lives, and nobody is left behind.
func TestConnectStorm(t *testing.T) {
	t.Parallel()
	id, topic := unique("storm"), unique("t")
	var last *client
	for range 200 {
		last = connect(t, broker(t), persistent(4, id))
	}
	last.subscribe(sub{topic, 1})
	connect(t, broker(t), options{}).publish(msg{topic: topic, payload: "m", qos: 1})
	last.expect(topic, "m", 1)
	last.bye()
	connect(t, broker(t), options{id: id}).bye()
}

// TestDeepTopics sends thousands of levels: refused or carried, but the broker lives.
func TestDeepTopics(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("/", 60000)
	c := connect(t, broker(t), options{})
	c.send(msg{topic: deep, payload: "m"})
	d := connect(t, broker(t), options{})
	d.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1}, strings.Repeat("+/", 30000)+"#"), 0)))
	_, _ = d.recv(patience)
	connect(t, broker(t), options{}).still()
}

// TestSlowReader floods a subscriber that does not read: the others go on, and it is not the broker that grows.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	topic := unique("slow")
	lazy := connect(t, broker(t), options{})
	lazy.subscribe(sub{topic, 0})
	quick := connect(t, broker(t), options{})
	quick.subscribe(sub{topic + "/end", 1})
	b := connect(t, broker(t), options{})
	m := msg{topic: topic, payload: strings.Repeat("x", 60_000)}
	one := b.encode(&m)
	for range 1000 { // 60 MB
		b.write(one)
	}
	b.publish(msg{topic: topic + "/end", payload: fmt.Sprint("through"), qos: 1})
	quick.expect(topic+"/end", "through", 1)
}
