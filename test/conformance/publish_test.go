package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		for qos := byte(0); qos <= 2; qos++ {
			topic := unique("order")
			a, b := connect(t, broker(t), options{v: v}), connect(t, broker(t), options{v: v})
			a.subscribe(sub{topic, qos})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i := range 60 {
					b.publish(msg{topic: topic, payload: fmt.Sprint(i), qos: qos})
				}
			}()
			for next, open := 0, map[uint16]bool{}; next < 60; { // the receiver answers as it comes, several at a time
				p, err := a.recv(patience)
				if err != nil {
					t.Fatalf("QoS %d, after %d: %v", qos, next, err)
				}
				switch p.typ {
				case tPublish:
					if p.payload != fmt.Sprint(next) {
						t.Fatalf("QoS %d: got %v, want %d [MQTT-4.6.0-6]", qos, p, next)
					}
					next++
					if qos == 1 {
						a.reply(tPuback, p.id)
					} else if qos == 2 {
						if open[p.id] {
							t.Fatalf("packet id %d is used twice at once", p.id)
						}
						open[p.id] = true
						a.reply(tPubrec, p.id)
					}
				case tPubrel:
					delete(open, p.id)
					a.reply(tPubcomp, p.id)
				}
			}
			<-sent
		}
	})
}

func TestPayloads(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("payload")
		a, b := connect(t, broker(t), options{v: v}), connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 2})
		for qos := byte(0); qos <= 2; qos++ {
			for _, payload := range []string{"", "\x00\xff\xfe", strings.Repeat("grüße ", 40), strings.Repeat("z", 127), strings.Repeat("z", 128),
				strings.Repeat("z", 16383), strings.Repeat("y", 1<<20)} {
				b.publish(msg{topic: topic, payload: payload, qos: qos})
				a.expect(topic, payload, qos)
			}
		}
	})
}

func TestLongAndOddTopics(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		a := connect(t, broker(t), options{v: v})
		base := unique("odd")
		for _, topic := range []string{
			base + "/" + strings.Repeat("l", 60000), base + "//", "/" + base, base + "/ ", base + "/äöü/温度/🌡", base + "/" + strings.Repeat("a/", 60),
		} {
			a.subscribe(sub{topic, 0})
			a.send(msg{topic: topic, payload: "m"})
			a.expect(topic, "m", 0)
		}
	})
}

// TestQoS2Repeats: a repeated PUBLISH before PUBREL is answered and not delivered again [MQTT-4.3.3-2].
func TestQoS2Repeats(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("repeat")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 2})
		id := unique("sender")
		b := connect(t, broker(t), persistent(v, id))
		m := msg{topic: topic, payload: "once", qos: 2, id: 11}
		b.send(m)
		b.want(tPubrec)
		m.dup = true
		b.send(m)
		b.want(tPubrec)
		b.vanish()
		b = connect(t, broker(t), persistent(v, id))
		b.send(m)
		b.want(tPubrec)
		b.reply(tPubrel, 11)
		b.want(tPubcomp)
		b.reply(tPubrel, 11) // a repeat as well
		b.want(tPubcomp)
		a.expect(topic, "once", 2)
		a.quiet(200 * time.Millisecond)
		// After PUBCOMP the id is free: the same packet is a new message.
		m.dup = false
		b.publish(m)
		a.expect(topic, "once", 2)
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestRedelivery(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic, id := unique("redeliver"), unique("receiver")
		a := connect(t, broker(t), persistent(v, id))
		a.subscribe(sub{topic, 2})
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic, payload: "one", qos: 1})
		b.publish(msg{topic: topic, payload: "two", qos: 2})
		b.publish(msg{topic: topic, payload: "three", qos: 2})
		first := map[string]uint16{}
		for range 3 {
			p := a.want(tPublish)
			if p.dup {
				t.Errorf("DUP on the first delivery: %v", p)
			}
			first[p.payload] = p.id
		}
		a.reply(tPubrec, first["three"])
		a.want(tPubrel)
		a.vanish()

		a = connect(t, broker(t), persistent(v, id))
		if v > 3 && !a.ack.present {
			t.Fatal("no session present")
		}
		saw := map[string]bool{}
		for range 3 {
			switch p := a.want2(tPublish, tPubrel); {
			case p.typ == tPubrel:
				if p.id != first["three"] {
					t.Errorf("got %v, want PUBREL of %d [MQTT-4.4.0-1]", p, first["three"])
				}
				a.reply(tPubcomp, p.id)
				saw["three"] = true
			default:
				if !p.dup || p.id != first[p.payload] || p.payload == "three" {
					t.Errorf("got %v, want DUP and packet id %d [MQTT-3.3.1-1]", p, first[p.payload])
				}
				saw[p.payload] = true
				if p.qos == 1 {
					a.reply(tPuback, p.id)
				} else {
					a.reply(tPubrec, p.id)
					if rel := a.want2(tPubrel, tPubrel); rel.id != p.id {
						// the PUBREL of three may come in between
						a.reply(tPubcomp, rel.id)
						saw["three"] = true
						a.want(tPubrel)
					}
					a.reply(tPubcomp, p.id)
				}
			}
			if len(saw) == 3 {
				break
			}
		}
		if len(saw) != 3 {
			t.Errorf("only %v were finished", saw)
		}
		a.still()
		a.vanish()
		a = connect(t, broker(t), persistent(v, id))
		a.quiet(200 * time.Millisecond) // all done
		a.bye()
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

// want2 demands one of two types.
func (c *client) want2(x, y byte) *packet {
	c.t.Helper()
	p, err := c.recv(patience)
	if err != nil {
		c.t.Fatalf("waiting for packet type %d or %d: %v", x, y, err)
	}
	if p.typ != x && p.typ != y {
		c.t.Fatalf("got %v, want type %d or %d", p, x, y)
	}
	return p
}

func TestOfflineQueue(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic, id := unique("offline"), unique("sleeper")
		a := connect(t, broker(t), persistent(v, id))
		a.subscribe(sub{topic + "/#", 2})
		a.bye()
		b := connect(t, broker(t), options{v: v})
		for i := range 50 {
			b.publish(msg{topic: topic + "/1", payload: fmt.Sprint(i), qos: byte(1 + i%2)})
		}
		b.publish(msg{topic: topic + "/0", payload: "not queued", qos: 0})
		a = connect(t, broker(t), persistent(v, id))
		last := map[byte]int{1: -1, 2: -1}
		for range 50 {
			p := a.getPublish()
			var n int
			_, _ = fmt.Sscan(p.payload, &n)
			if n <= last[p.qos] {
				t.Errorf("%d after %d at QoS %d", n, last[p.qos], p.qos)
			}
			last[p.qos] = n
		}
		a.drainAcks()
		a.quiet(200 * time.Millisecond)
		a.bye()
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

// getPublish returns the next PUBLISH and acknowledges it, finishing handshakes of earlier ones on the way.
func (c *client) getPublish() *packet {
	c.t.Helper()
	for {
		p := c.want2(tPublish, tPubrel)
		switch {
		case p.typ == tPubrel:
			c.reply(tPubcomp, p.id)
			continue
		case p.qos == 1:
			c.reply(tPuback, p.id)
		case p.qos == 2:
			c.reply(tPubrec, p.id)
		}
		return p
	}
}

// drainAcks answers PUBRELs until there are no more.
func (c *client) drainAcks() {
	c.t.Helper()
	for {
		p, err := c.recv(300 * time.Millisecond)
		if err != nil {
			return
		}
		if p.typ != tPubrel {
			c.t.Fatalf("got %v, want PUBRELs only", p)
		}
		c.reply(tPubcomp, p.id)
	}
}

// TestInflightWindow: a client that acknowledges nothing gets max_inflight_messages, and the rest as it goes on.
func TestInflightWindow(t *testing.T) {
	t.Parallel()
	topic := unique("window")
	a, b := connect(t, broker(t), options{v: 4}), connect(t, broker(t), options{v: 4})
	a.subscribe(sub{topic, 1})
	for i := range 50 {
		b.publish(msg{topic: topic, payload: fmt.Sprint(i), qos: 1})
	}
	var got []*packet
	for range 20 {
		got = append(got, a.want(tPublish))
	}
	a.quiet(200 * time.Millisecond)
	for i := 0; len(got) < 50; i++ {
		a.reply(tPuback, got[i].id)
		got = append(got, a.want(tPublish))
	}
	for i, p := range got {
		if p.payload != fmt.Sprint(i) {
			t.Fatalf("message %d is %v", i, p)
		}
	}
}
