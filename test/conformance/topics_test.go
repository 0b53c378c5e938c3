package conformance

import (
	"testing"
	"time"
)

func TestWildcards(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		base := unique("wild")
		for _, tc := range []struct {
			filter string
			yes    []string
			no     []string
		}{
			{"/#", []string{"", "/a", "/a/b", "/"}, []string{"x"}},
			{"/+", []string{"/a", "/"}, []string{"", "/a/b"}},
			{"/+/b", []string{"/a/b", "//b"}, []string{"/b", "/a/b/c", "/a/c"}},
			{"/+/+", []string{"/a/b", "//"}, []string{"/a"}},
			{"/+/#", []string{"/a", "/a/b/c", "/"}, []string{""}},
		} {
			a := connect(t, broker(t), options{v: v})
			a.subscribe(sub{base + tc.filter, 0})
			for _, s := range tc.no {
				a.send(msg{topic: base + s, payload: "no"})
			}
			a.still()
			for _, s := range tc.yes {
				a.send(msg{topic: base + s, payload: "yes"})
				a.expect(base+s, "yes", 0)
			}
		}
	})
}

func TestDollarTopics(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		a := connect(t, broker(t), options{v: v})
		name := unique("dollar")
		a.subscribe(sub{"+/" + name, 0}, sub{"#", 0}) // anything retained on the shared broker comes first
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: "$" + name + "/" + name, payload: "m"})
		for {
			p, err := a.recv(300 * time.Millisecond)
			if err != nil {
				break
			}
			if p.typ == tPublish && p.topic[0] == '$' {
				t.Errorf("a wildcard at the beginning matched %s [MQTT-4.7.2-1]", p.topic)
			}
		}
		c := connect(t, broker(t), options{v: v})
		c.subscribe(sub{"$SYS/broker/version", 0})
		if p := c.get(); !p.retain || p.payload == "" {
			t.Errorf("got %v", p)
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("unsub")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic + "/a", 1}, sub{topic + "/b", 1}, sub{topic + "/c", 1})
		p := a.unsubscribe(topic+"/a", topic+"/none", topic+"/c")
		if v == 5 && string(p.codes) != "\x00\x11\x00" { // [MQTT5 3.11.3]
			t.Errorf("codes %#x", p.codes)
		}
		b := connect(t, broker(t), options{v: v})
		for _, s := range []string{"/a", "/b", "/c"} {
			b.publish(msg{topic: topic + s, payload: s, qos: 1})
		}
		a.expect(topic+"/b", "/b", 1)
		a.quiet(200 * time.Millisecond)
	})
}

// TestResubscribe: the same filter again replaces the subscription and sends retained messages again [MQTT-3.8.4-3].
func TestResubscribe(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic := unique("resub")
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic, payload: "kept", qos: 1, retain: true})
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 0})
		a.expect(topic, "kept", 0)
		a.subscribe(sub{topic, 1})
		a.expect(topic, "kept", 1)
		b.publish(msg{topic: topic, payload: "m", qos: 1})
		a.expect(topic, "m", 1)
		a.quiet(200 * time.Millisecond)
		b.publish(msg{topic: topic, retain: true})
	})
}

// TestOverlapping: one message for each matching subscription, or one with the highest QoS [MQTT-3.3.5-1].
func TestOverlapping(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic := unique("overlap")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic + "/#", 2}, sub{topic + "/+", 1})
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic + "/a", payload: "m", qos: 2})
		got := []byte{a.get().qos}
		for {
			p, err := a.recv(300 * time.Millisecond)
			if err != nil {
				break
			}
			a.complete(p)
			got = append(got, p.qos)
		}
		switch {
		case len(got) == 1 && got[0] == 2:
		case len(got) == 2 && got[0]+got[1] == 3:
		default:
			t.Errorf("delivered at QoS %v", got)
		}
	})
}

func TestSubscribeAnswersEachFilter(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		a := connect(t, broker(t), options{v: v})
		p := a.subscribeWith(nil, sub{unique("a"), 0}, sub{unique("b"), 1}, sub{unique("c"), 2})
		if string(p.codes) != "\x00\x01\x02" {
			t.Errorf("codes %#x", p.codes)
		}
	})
}

func TestRetained(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("retained")
		b := connect(t, broker(t), options{v: v})
		live := connect(t, broker(t), options{v: v})
		live.subscribe(sub{topic + "/#", 2})
		for qos := byte(0); qos <= 2; qos++ {
			b.publish(msg{topic: topic + "/x", payload: string('a' + rune(qos)), qos: qos, retain: true})
			if p := live.get(); p.retain {
				t.Errorf("retain on a live delivery: %v [MQTT-3.3.1-9]", p)
			}
		}
		b.publish(msg{topic: topic + "/y", payload: "y", qos: 1, retain: true})
		live.get()
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic + "/x", 1})
		if p := a.expect(topic+"/x", "c", 1); !p.retain { // [MQTT-3.3.1-8]
			t.Error("no retain flag on a retained message")
		}
		a.subscribe(sub{topic + "/+", 2})
		got := map[string]byte{}
		for range 2 {
			p := a.get()
			got[p.payload] = p.qos
		}
		if len(got) != 2 || got["c"] != 2 || got["y"] != 1 {
			t.Errorf("got %v", got)
		}
		// An empty one deletes, and is delivered as an ordinary message [MQTT-3.3.1-10].
		b.publish(msg{topic: topic + "/x", qos: 1, retain: true})
		if p := live.expect(topic+"/x", "", 1); p.retain {
			t.Error("retain on the deletion")
		}
		b.publish(msg{topic: topic + "/y", qos: 0, retain: true})
		live.get()
		c := connect(t, broker(t), options{v: v})
		c.subscribe(sub{topic + "/#", 2})
		c.quiet(200 * time.Millisecond)
		// Without the flag nothing is kept [MQTT-3.3.1-12].
		b.publish(msg{topic: topic + "/z", payload: "z", qos: 1})
		c.expect(topic+"/z", "z", 1)
		d := connect(t, broker(t), options{v: v})
		d.subscribe(sub{topic + "/#", 2})
		d.quiet(200 * time.Millisecond)
	})
}

// TestRetainedForOffline: a retained message that came as a live one while a session was away is queued once.
func TestRetainedForOffline(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic, id := unique("retoff"), unique("away")
		a := connect(t, broker(t), persistent(v, id))
		a.subscribe(sub{topic, 1})
		a.bye()
		b := connect(t, broker(t), options{v: v})
		b.publish(msg{topic: topic, payload: "m", qos: 1, retain: true})
		a = connect(t, broker(t), persistent(v, id))
		if p := a.expect(topic, "m", 1); p.retain {
			t.Errorf("retain on a queued live delivery: %v", p)
		}
		a.quiet(200 * time.Millisecond)
		a.bye()
		b.publish(msg{topic: topic, retain: true})
		connect(t, broker(t), options{v: v, id: id}).bye()
	})
}

func TestWill(t *testing.T) {
	each(t, all, func(t *testing.T, v byte) {
		topic := unique("will")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic + "/#", 2})
		for qos := byte(0); qos <= 2; qos++ {
			w := &will{topic: topic + "/w", payload: "died", qos: qos}
			c := connect(t, broker(t), options{v: v, will: w})
			c.vanish()
			a.expect(topic+"/w", "died", qos) // [MQTT-3.1.2-8]
			connect(t, broker(t), options{v: v, will: w}).bye()
			a.quiet(200 * time.Millisecond) // [MQTT-3.1.2-10]
		}
		// A protocol error is no clean end.
		c := connect(t, broker(t), options{v: v, will: &will{topic: topic + "/w", payload: "broken"}})
		c.write([]byte{0xf0 | 0xf, 0})
		a.expect(topic+"/w", "broken", 0)
		// Nor is silence.
		connect(t, broker(t), options{v: v, keepAlive: 1, will: &will{topic: topic + "/w", payload: "silent"}})
		a.expect(topic+"/w", "silent", 0)
		// A retained will stays.
		c = connect(t, broker(t), options{v: v, will: &will{topic: topic + "/r", payload: "kept", qos: 1, retain: true}})
		c.vanish()
		a.expect(topic+"/r", "kept", 1)
		d := connect(t, broker(t), options{v: v})
		d.subscribe(sub{topic + "/r", 1})
		if p := d.expect(topic+"/r", "kept", 1); !p.retain {
			t.Errorf("the will was not retained: %v", p)
		}
		connect(t, broker(t), options{v: v}).publish(msg{topic: topic + "/r", retain: true})
	})
}

func TestWillAtTakeover(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) {
		topic, id := unique("will"), unique("taken")
		a := connect(t, broker(t), options{v: v})
		a.subscribe(sub{topic, 0})
		connect(t, broker(t), options{v: v, id: id, will: &will{topic: topic, payload: "first"}})
		c := connect(t, broker(t), options{v: v, id: id, will: &will{topic: topic, payload: "second"}})
		a.expect(topic, "first", 0) // the network connection was closed without DISCONNECT
		c.bye()
		a.quiet(200 * time.Millisecond)
	})
}
