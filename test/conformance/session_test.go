package conformance

import (
	"testing"
	"time"
)

func TestCleanSessionForgets(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic, id := unique("clean"), unique("forget")
		a := connect(t, broker(t), persistent(v, id))
		a.subscribe(sub{topic, 1})
		a.bye()
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic, payload: "m", qos: 1})
		a = connect(t, broker(t), options{v: v, id: id})
		if a.ack.present {
			t.Error("session present after a clean start [MQTT-3.2.2-1]")
		}
		b.publish(msg{topic: topic, payload: "m", qos: 1})
		a.quiet(200 * time.Millisecond)
		a.bye()
		a = connect(t, broker(t), persistent(v, id))
		if a.ack.present {
			t.Error("a clean session left something behind")
		}
		a.bye()
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestSessionPresent(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		id := unique("present")
		for i, want := range []bool{false, true, true} {
			a := connect(t, broker(t), persistent(v, id))
			if a.ack.present != want {
				t.Errorf("connection %d: session present %v [MQTT-3.2.2-2]", i, a.ack.present)
			}
			a.bye()
		}
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestSubscriptionsSurvive(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic, id := unique("survive"), unique("sub")
		a := connect(t, broker(t), persistent(v, id))
		a.subscribe(sub{topic + "/+", 2}, sub{topic + "/gone", 2})
		a.unsubscribe(topic + "/gone")
		a.vanish()
		a = connect(t, broker(t), persistent(v, id))
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic + "/x", payload: "m", qos: 2})
		a.expect(topic+"/x", "m", 2)
		b.publish(msg{topic: topic + "/gone", payload: "m", qos: 0})
		a.expect(topic+"/gone", "m", 0) // by the wildcard, once
		a.quiet(200 * time.Millisecond)
		a.bye()
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestSessionExpiry(t *testing.T) {
	t.Run("zero ends with the connection", func(t *testing.T) {
		t.Parallel()
		id := unique("expiry")
		connect(t, broker(t), options{v: 5, id: id, resume: true}).bye()
		if c := connect(t, broker(t), options{v: 5, id: id, resume: true}); c.ack.present {
			t.Error("the session outlived its connection [MQTT-3.1.2-23]")
		}
	})
	t.Run("ends after its time", func(t *testing.T) {
		t.Parallel()
		id := unique("expiry")
		o := options{v: 5, id: id, resume: true, props: props{pSessionExpiry: uint32(60)}}
		connect(t, broker(t), o).bye()
		o.props = props{pSessionExpiry: uint32(1)}
		if c := connect(t, broker(t), o); !c.ack.present {
			t.Error("gone at once")
		} else {
			c.vanish()
		}
		time.Sleep(2500 * time.Millisecond)
		if c := connect(t, broker(t), o); c.ack.present {
			t.Error("still there after 2.5 s of 1 s")
		}
	})
	t.Run("changed at disconnect", func(t *testing.T) {
		t.Parallel()
		id := unique("expiry")
		o := options{v: 5, id: id, resume: true, props: props{pSessionExpiry: uint32(100)}}
		c := connect(t, broker(t), o)
		c.write(frame(tDisconnect<<4, append([]byte{0}, props{pSessionExpiry: uint32(0)}.encode()...)))
		c.gone()
		if c := connect(t, broker(t), o); c.ack.present {
			t.Error("the session outlived a DISCONNECT that ended it")
		}
	})
	t.Run("may not be raised from zero at disconnect", func(t *testing.T) {
		t.Parallel()
		id := unique("expiry")
		c := connect(t, broker(t), options{v: 5, id: id, resume: true})
		c.write(frame(tDisconnect<<4, append([]byte{0}, props{pSessionExpiry: uint32(100)}.encode()...)))
		c.closed(0x82) // [MQTT-3.14.2-2]
		if c := connect(t, broker(t), options{v: 5, id: id, resume: true}); c.ack.present {
			t.Error("the session was kept")
		}
	})
	t.Run("3.1.1 clean session 0 lasts", func(t *testing.T) {
		t.Parallel()
		id := unique("expiry")
		connect(t, broker(t), options{v: 4, id: id, resume: true}).bye()
		c := connect(t, broker(t), options{v: 5, id: id, resume: true})
		if !c.ack.present {
			t.Error("a 3.1.1 session is gone for the same client at version 5")
		}
		c.bye()
	})
}

func TestReceiveMaximum(t *testing.T) {
	t.Run("of the client", func(t *testing.T) {
		t.Parallel()
		topic := unique("rm")
		a := connect(t, broker(t), options{v: 5, props: props{pReceiveMaximum: uint16(2)}})
		a.subscribe(sub{topic, 2})
		b := connect(t, broker(t), options{v: 5})
		for range 5 {
			b.publish(msg{topic: topic, payload: "m", qos: 2})
		}
		b.publish(msg{topic: topic, payload: "zero", qos: 0})
		one, two := a.want(tPublish), a.want(tPublish)
		if p := a.want(tPublish); p.qos != 0 { // QoS 0 is not held back
			t.Fatalf("got %v beyond Receive Maximum [MQTT-3.3.4-9]", p)
		}
		a.quiet(200 * time.Millisecond)
		a.reply(tPubrec, one.id)
		a.want(tPubrel)
		a.quiet(100 * time.Millisecond) // the quota comes back with PUBCOMP only
		a.reply(tPubcomp, one.id)
		three := a.want(tPublish)
		a.write([]byte{tPubrec << 4, 4, byte(two.id >> 8), byte(two.id), 0x80, 0}) // or with a PUBREC that fails
		four := a.want(tPublish)
		if three.qos != 2 || four.qos != 2 {
			t.Errorf("got %v and %v", three, four)
		}
	})
	t.Run("may be smaller when the session is resumed", func(t *testing.T) {
		t.Parallel()
		topic, id := unique("rm"), unique("shrink")
		a := connect(t, broker(t), persistent(5, id))
		a.subscribe(sub{topic, 1})
		b := connect(t, broker(t), options{v: 5})
		for range 8 {
			b.publish(msg{topic: topic, payload: "m", qos: 1})
		}
		for range 8 {
			a.want(tPublish)
		}
		a.vanish()
		o := persistent(5, id)
		o.props[pReceiveMaximum] = uint16(3)
		a = connect(t, broker(t), o)
		for i := 0; i < 3; i++ {
			if p := a.want(tPublish); !p.dup {
				t.Errorf("resent without DUP: %v", p)
			}
		}
		a.still()
		a.vanish()
		connect(t, broker(t), options{v: 5, id: id}).bye()
	})
	t.Run("of the broker", func(t *testing.T) {
		t.Parallel()
		c := connect(t, broker(t), options{v: 5})
		most := uint32(65535)
		if c.ack.props.has(pReceiveMaximum) {
			most = c.ack.props.u32(pReceiveMaximum)
		}
		if most > 200 {
			t.Skipf("the broker takes %d at once", most)
		}
		for range most + 1 {
			c.send(msg{topic: "rm/over", payload: "m", qos: 2}) // never released
		}
		c.closed(0x93) // [MQTT-3.3.4-7]
	})
	t.Run("zero is an error", func(t *testing.T) {
		t.Parallel()
		refused(t, options{v: 5, props: props{pReceiveMaximum: uint16(0)}}, 0x82)
	})
}

// refused demands that a CONNECT is answered with this reason or none, and the connection closed.
func refused(t *testing.T, o options, codes ...byte) {
	t.Helper()
	o.id = unique("refused")
	refusedBytes(t, o.v, o.encode(), codes...)
}

func refusedBytes(t *testing.T, v byte, b []byte, codes ...byte) {
	t.Helper()
	c := raw(t, broker(t), v)
	c.write(b)
	p, err := c.recv(patience)
	if err == nil {
		ok := false
		for _, code := range codes {
			ok = ok || p.typ == tConnack && p.code == code || p.typ == tDisconnect && p.code == code
		}
		if !ok {
			t.Errorf("got %v, want a refusal with one of %#x", p, codes)
		}
	}
	c.closed()
}
