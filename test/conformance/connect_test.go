package conformance

import (
	"strings"
	"testing"
	"time"
)

func TestConnectAndExchange(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("basic")
		a, b := connect(t, broker(t), options{v: v}), connect(t, broker(t), options{v: v})
		if a.ack.present {
			t.Error("session present in a clean session [MQTT-3.2.2-2]")
		}
		a.subscribe(sub{topic, 2})
		for pub := byte(0); pub <= 2; pub++ {
			b.publish(msg{topic: topic, payload: strings.Repeat("x", int(pub)), qos: pub})
			a.expect(topic, strings.Repeat("x", int(pub)), pub)
		}
		a.bye()
		b.bye()
	})
}

// TestQoSMatrix: the delivered QoS is the lower of the two [MQTT-3.8.4-6, MQTT5 3.8.4-8].
func TestQoSMatrix(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		for want := byte(0); want <= 2; want++ {
			topic := unique("matrix")
			a, b := connect(t, broker(t), options{v: v}), connect(t, broker(t), options{v: v})
			a.subscribe(sub{topic, want})
			for pub := byte(0); pub <= 2; pub++ {
				b.publish(msg{topic: topic, payload: "m", qos: pub})
				a.expect(topic, "m", min(want, pub))
			}
		}
	})
}

func TestFirstPacketMustBeConnect(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		for _, b := range [][]byte{{tPingreq << 4, 0}, {tDisconnect << 4, 0}, frame(tPublish<<4, append(str(nil, "a"), 0))} {
			c := raw(t, broker(t), v)
			c.write(b)
			c.closed() // [MQTT-3.1.0-1]
		}
	})
}

func TestSecondConnectIsAnError(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		o := options{v: v, id: unique("twice")}
		c := connect(t, broker(t), o)
		c.write(o.encode())
		c.closed(0x82) // [MQTT-3.1.0-2]
	})
}

func TestProtocolLevel(t *testing.T) {
	t.Parallel()
	for _, level := range []byte{0, 1, 2, 6, 127} {
		c := raw(t, broker(t), 4)
		o := options{v: 4, id: unique("level")}
		b := o.encode()
		b[8] = level
		c.write(b)
		p, err := c.recv(patience)
		if err != nil { // closing without an answer is allowed as well
			continue
		}
		if p.typ != tConnack || (p.code != 1 && p.code != 0x84) { // [MQTT-3.1.2-2]
			t.Errorf("level %d: got %v", level, p)
		}
		c.closed()
	}
	c := raw(t, broker(t), 4)
	c.write(frame(tConnect<<4, append(str(nil, "MQTX"), 4, 2, 0, 0, 0, 1, 'a')))
	c.closed() // [MQTT-3.1.2-1]
}

func TestZeroLengthClientID(t *testing.T) {
	t.Run("3.1.1", func(t *testing.T) {
		t.Parallel()
		connect(t, broker(t), options{noID: true}).bye()
		c := try(t, broker(t), options{noID: true, resume: true})
		if c.ack.code != 2 { // [MQTT-3.1.3-8]
			t.Errorf("without clean session: %v", c.ack)
		}
		c.closed()
	})
	t.Run("5.0", func(t *testing.T) {
		t.Parallel()
		c := connect(t, broker(t), options{v: 5, noID: true})
		id, _ := c.ack.props[pAssignedID].(string)
		if id == "" { // [MQTT-3.2.2-16]
			t.Errorf("no assigned client id in %v", c.ack)
		}
		d := connect(t, broker(t), options{v: 5, noID: true})
		if d.ack.props[pAssignedID] == any(id) {
			t.Error("two clients were given the same id")
		}
	})
}

func TestLongClientID(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		connect(t, broker(t), options{v: v, id: unique(strings.Repeat("long-ä-", 20))}).bye()
	})
}

func TestTakeover(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		id, topic := unique("takeover"), unique("topic")
		first := connect(t, broker(t), persistent(v, id))
		first.subscribe(sub{topic, 1})
		second := connect(t, broker(t), persistent(v, id))
		first.closed(0x8e) // [MQTT-3.1.4-2, MQTT5 3.1.4-3]
		if v > 3 && !second.ack.present {
			t.Error("the session was not taken over")
		}
		connect(t, broker(t), options{v: v}).publish(msg{topic: topic, payload: "m", qos: 1})
		second.expect(topic, "m", 1)
		second.bye()
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestKeepAlive(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		c := connect(t, broker(t), options{v: v, keepAlive: 3})
		for range 4 { // a ping now and then keeps it alive
			c.quiet(1500 * time.Millisecond)
			c.still()
		}
		begun := time.Now()
		c.closed(0x8d) // [MQTT-3.1.2-24]
		if took := time.Since(begun); took < 3600*time.Millisecond {
			t.Errorf("closed after %s, want one and a half times the keep alive", took)
		}
	})
	t.Run("publishing counts", func(t *testing.T) {
		t.Parallel()
		c := connect(t, broker(t), options{v: 4, keepAlive: 3})
		for range 4 {
			time.Sleep(1500 * time.Millisecond)
			c.send(msg{topic: "keepalive", payload: "m"})
		}
		c.still()
	})
	t.Run("zero is off", func(t *testing.T) {
		t.Parallel()
		c := connect(t, broker(t), options{v: 4})
		c.quiet(3 * time.Second)
		c.still()
	})
}

// TestByteByByte sends a whole conversation in single bytes.
func TestByteByByte(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic := unique("bytes")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 1})
		c := raw(t, broker(t), v)
		o := options{v: v, id: unique("slow")}
		m := msg{topic: topic, payload: "slowly", qos: 1, id: 7}
		for _, b := range append(o.encode(), c.encode(&m)...) {
			c.write([]byte{b})
			time.Sleep(time.Millisecond)
		}
		c.want(tConnack)
		c.want(tPuback)
		a.expect(topic, "slowly", 1)
	})
}

// TestManyPacketsAtOnce sends CONNECT and everything after it in one write, before any answer.
func TestManyPacketsAtOnce(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic := unique("pipelined")
		c := raw(t, broker(t), v)
		o := options{v: v, id: unique("eager")}
		b := o.encode()
		body := []byte{0, 1}
		if v == 5 {
			body = append(body, 0)
		}
		b = append(b, frame(tSubscribe<<4|2, append(str(body, topic), 0))...)
		for range 100 {
			m := msg{topic: topic, payload: "m"}
			b = append(b, c.encode(&m)...)
		}
		c.write(append(b, tPingreq<<4, 0))
		c.want(tConnack)
		c.want(tSuback)
		for range 100 {
			c.expect(topic, "m", 0)
		}
		c.want(tPingresp)
	})
}

func TestNothingAfterDisconnect(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("after")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 0})
		c := connect(t, broker(t), options{v: v})
		m := msg{topic: topic, payload: "too late"}
		c.write(append([]byte{tDisconnect << 4, 0}, c.encode(&m)...))
		c.gone()
		a.quiet(200 * time.Millisecond)
	})
}
