package conformance

import (
	"fmt"
	"testing"
	"time"
)

// collect takes publishes, completing QoS 1: those that are expected, however long they take, and whatever else comes in the moment
// after. It returns the payloads.
func (c *client) collect(expected int) []string {
	c.t.Helper()
	var got []string
	for {
		d := patience
		if len(got) >= expected {
			d = 200 * time.Millisecond
		}
		p, err := c.recv(d)
		if err != nil {
			return got
		}
		if p.typ == tPubrel {
			c.reply(tPubcomp, p.id)
			continue
		}
		if p.typ != tPublish {
			c.t.Fatalf("got %v", p)
		}
		switch p.qos {
		case 1:
			c.reply(tPuback, p.id)
		case 2:
			c.reply(tPubrec, p.id)
		}
		got = append(got, p.payload)
	}
}

func TestSharedSubscriptions(t *testing.T) {
	each(t, both, func(t *testing.T, v byte) { // Mosquitto, too, lets 3.1.1 clients share
		topic, group := unique("shared"), unique("g")
		var members []*client
		for range 3 {
			c := connect(t, broker(t), options{v: v})
			c.subscribe(sub{"$share/" + group + "/" + topic + "/#", 1})
			members = append(members, c)
		}
		other := connect(t, broker(t), options{v: v})
		other.subscribe(sub{"$share/" + group + "2/" + topic + "/+", 1})
		plain := connect(t, broker(t), options{v: v})
		plain.subscribe(sub{topic + "/a", 1})
		b := connect(t, broker(t), options{v: v})
		for i := range 30 {
			b.publish(msg{topic: topic + "/a", payload: fmt.Sprint(i), qos: 1})
		}
		seen := map[string]int{}
		for i, c := range members {
			got := c.collect(10)
			if len(got) != 10 {
				t.Errorf("member %d got %d of 30: not fair", i, len(got))
			}
			for _, s := range got {
				seen[s]++
			}
		}
		if len(seen) != 30 {
			t.Errorf("%d different messages of 30", len(seen))
		}
		for s, n := range seen {
			if n != 1 {
				t.Errorf("%s went to %d members [MQTT-4.8.2-4]", s, n)
			}
		}
		if n := len(other.collect(30)); n != 30 {
			t.Errorf("another group got %d of 30", n)
		}
		if n := len(plain.collect(30)); n != 30 {
			t.Errorf("the plain subscriber got %d of 30", n)
		}
		// Members that leave leave everything to the others.
		members[0].bye()
		members[1].unsubscribe("$share/" + group + "/" + topic + "/#")
		for i := range 10 {
			b.publish(msg{topic: topic + "/b", payload: fmt.Sprint(i), qos: 1})
		}
		if n := len(members[2].collect(10)); n != 10 {
			t.Errorf("the last member got %d of 10", n)
		}
		members[1].quiet(100 * time.Millisecond)
	})
}

func TestSharedGetsNoRetained(t *testing.T) {
	t.Parallel()
	topic := unique("shared")
	b := five(t)
	b.publish(msg{topic: topic, payload: "kept", qos: 1, retain: true})
	a := five(t)
	a.subscribe(sub{"$share/" + unique("g") + "/" + topic, 1})
	a.quiet(200 * time.Millisecond)
	b.publish(msg{topic: topic, retain: true})
}

// TestSharedMemberLeaves: what a member has not acknowledged at QoS 1 when its session ends goes to another; QoS 2 that is on
// its way does not [MQTT-4.8.2-5].
func TestSharedMemberLeaves(t *testing.T) {
	t.Parallel()
	topic, group := unique("shared"), unique("g")
	filter := "$share/" + group + "/" + topic
	leaver := five(t)
	leaver.subscribe(sub{filter, 1})
	b := five(t)
	for i := range 5 {
		b.publish(msg{topic: topic, payload: fmt.Sprint(i), qos: 1})
	}
	for range 5 {
		leaver.want(tPublish) // never acknowledged
	}
	stayer := five(t)
	stayer.subscribe(sub{filter, 1})
	leaver.vanish()
	got := stayer.collect(5)
	if len(got) != 5 {
		t.Errorf("the other member got %q, want all five", got)
	}
}

// TestSharedPrefersOnline: nothing goes to an offline member while another is online.
func TestSharedPrefersOnline(t *testing.T) {
	t.Parallel()
	topic, id := unique("shared"), unique("away")
	filter := "$share/" + unique("g") + "/" + topic
	away := connect(t, broker(t), persistent(5, id))
	away.subscribe(sub{filter, 1})
	here := five(t)
	here.subscribe(sub{filter, 1})
	away.bye()
	b := five(t)
	for i := range 10 {
		b.publish(msg{topic: topic, payload: fmt.Sprint(i), qos: 1})
	}
	if n := len(here.collect(10)); n != 10 {
		t.Errorf("the member that is online got %d of 10", n)
	}
	here.bye()
	for i := range 10 {
		b.publish(msg{topic: topic, payload: fmt.Sprint(i), qos: 1})
	}
	away = connect(t, broker(t), persistent(5, id))
	if n := len(away.collect(10)); n != 10 {
		t.Errorf("the member that came back got %d of 10", n)
	}
	away.bye()
	connect(t, broker(t), options{v: 5, id: id}).bye()
}

func TestSharedFilters(t *testing.T) {
	t.Parallel()
	for _, f := range []string{"$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a"} {
		c := five(t)
		c.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1, 0}, f), 1)))
		p, err := c.recv(patience)
		if err == nil && p.typ == tSuback && p.codes[0] >= 0x80 || err == nil && p.typ == tDisconnect || err != nil && p == nil {
			continue // [MQTT-4.8.2-1, -2]
		}
		t.Errorf("%q: got %v, %v", f, p, err)
	}
}
