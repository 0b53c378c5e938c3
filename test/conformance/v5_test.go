package conformance

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func five(t *testing.T) *client { t.Helper(); return connect(t, broker(t), options{v: 5}) }

func TestPropertiesTravel(t *testing.T) {
	t.Parallel()
	topic := unique("props")
	a, b := five(t), five(t)
	a.subscribe(sub{topic, 2})
	sent := props{
		pPayloadFormat: byte(1), pContentType: "text/plain", pResponseTopic: "answer/here", pCorrelation: []byte{0, 1, 255},
		pUser: [][2]string{{"b", "2"}, {"a", "1"}, {"b", "3"}, {"", ""}},
	}
	for qos := byte(0); qos <= 2; qos++ {
		b.publish(msg{topic: topic, payload: "grüß", qos: qos, props: sent})
		if p := a.expect(topic, "grüß", qos); !reflect.DeepEqual(p.props, sent) { // [MQTT-3.3.2-4, -15, -16, -17, -18, -20]
			t.Errorf("QoS %d: got %v, want %v", qos, p.props, sent)
		}
	}
	// A 3.1.1 subscriber gets the message without them.
	c := connect(t, broker(t), options{v: 4})
	c.subscribe(sub{topic, 1})
	b.publish(msg{topic: topic, payload: "m", qos: 1, props: sent})
	c.expect(topic, "m", 1)
}

func TestPropertiesOfRetainedAndQueued(t *testing.T) {
	t.Parallel()
	topic, id := unique("props"), unique("away")
	a := connect(t, broker(t), persistent(5, id))
	a.subscribe(sub{topic, 2})
	a.bye()
	b := five(t)
	sent := props{pContentType: "x", pUser: [][2]string{{"k", "v"}}, pCorrelation: []byte("c"), pResponseTopic: "r", pPayloadFormat: byte(0)}
	b.publish(msg{topic: topic, payload: "m", qos: 2, retain: true, props: sent})
	c := five(t)
	c.subscribe(sub{topic, 2})
	for name, p := range map[string]*packet{"retained": c.get(), "queued": connect(t, broker(t), persistent(5, id)).get()} {
		delete(p.props, pPayloadFormat) // zero may be left out
		want := props{}
		for k, v := range sent {
			if k != pPayloadFormat {
				want[k] = v
			}
		}
		if !reflect.DeepEqual(p.props, want) {
			t.Errorf("%s: got %v, want %v", name, p.props, want)
		}
	}
	b.publish(msg{topic: topic, retain: true})
	connect(t, broker(t), options{v: 5, id: id}).bye()
}

func TestMessageExpiry(t *testing.T) {
	t.Run("queued", func(t *testing.T) {
		t.Parallel()
		topic, id := unique("expiry"), unique("away")
		a := connect(t, broker(t), persistent(5, id))
		a.subscribe(sub{topic, 2})
		a.bye()
		b := five(t)
		b.publish(msg{topic: topic, payload: "short", qos: 1, props: props{pMessageExpiry: uint32(1)}})
		b.publish(msg{topic: topic, payload: "long", qos: 2, props: props{pMessageExpiry: uint32(60)}})
		b.publish(msg{topic: topic, payload: "ever", qos: 2})
		time.Sleep(2200 * time.Millisecond)
		a = connect(t, broker(t), persistent(5, id))
		p := a.expect(topic, "long", 2)                        // [MQTT-3.3.2-5]
		if e := p.props.u32(pMessageExpiry); e < 1 || e > 58 { // [MQTT-3.3.2-6]
			t.Errorf("expiry %d after more than two of 60 seconds", e)
		}
		if p := a.expect(topic, "ever", 2); p.props.has(pMessageExpiry) {
			t.Error("an expiry came from nowhere")
		}
		a.quiet(200 * time.Millisecond)
		a.bye()
		connect(t, broker(t), options{v: 5, id: id}).bye()
	})
	t.Run("retained", func(t *testing.T) {
		t.Parallel()
		topic := unique("expiry")
		b := five(t)
		b.publish(msg{topic: topic + "/short", payload: "m", qos: 1, retain: true, props: props{pMessageExpiry: uint32(1)}})
		b.publish(msg{topic: topic + "/long", payload: "m", qos: 1, retain: true, props: props{pMessageExpiry: uint32(60)}})
		time.Sleep(2200 * time.Millisecond)
		c := five(t)
		c.subscribe(sub{topic + "/+", 1})
		p := c.expect(topic+"/long", "m", 1)
		if e := p.props.u32(pMessageExpiry); e < 1 || e > 58 {
			t.Errorf("expiry %d after more than two of 60 seconds", e)
		}
		c.quiet(200 * time.Millisecond)
		b.publish(msg{topic: topic + "/long", retain: true})
	})
	t.Run("live", func(t *testing.T) {
		t.Parallel()
		topic := unique("expiry")
		a := five(t)
		a.subscribe(sub{topic, 0})
		a.send(msg{topic: topic, payload: "m", props: props{pMessageExpiry: uint32(60)}})
		if e := a.expect(topic, "m", 0).props.u32(pMessageExpiry); e < 1 || e > 60 {
			t.Errorf("expiry %d", e)
		}
	})
}

func TestWillDelay(t *testing.T) {
	willed := func(t *testing.T, id, topic string, delay, expiry uint32) *client {
		return connect(t, broker(t), options{v: 5, id: id, resume: true, props: props{pSessionExpiry: expiry},
			will: &will{topic: topic, payload: "died", qos: 1, props: props{pWillDelay: delay, pContentType: "will"}}})
	}
	t.Run("waits", func(t *testing.T) {
		t.Parallel()
		topic := unique("delay")
		a := five(t)
		a.subscribe(sub{topic, 1})
		willed(t, unique("w"), topic, 3, 60).vanish()
		a.quiet(700 * time.Millisecond)
		if p := a.expect(topic, "died", 1); p.props[pContentType] != "will" { // [MQTT-3.1.3-9]
			t.Errorf("the will's properties are gone: %v", p)
		}
	})
	t.Run("is called off by a reconnect", func(t *testing.T) {
		t.Parallel()
		topic, id := unique("delay"), unique("w")
		a := five(t)
		a.subscribe(sub{topic, 1})
		willed(t, id, topic, 4, 60).vanish()
		c := connect(t, broker(t), persistent(5, id))
		a.quiet(5 * time.Second)
		c.bye()
	})
	t.Run("ends with the session", func(t *testing.T) {
		t.Parallel()
		topic, id := unique("delay"), unique("w")
		a := five(t)
		a.subscribe(sub{topic, 1})
		willed(t, id, topic, 60, 1).vanish()
		a.expect(topic, "died", 1)
		willed(t, id, topic, 60, 60).vanish()
		connect(t, broker(t), options{v: 5, id: id}).bye() // a clean start ends it too
		a.expect(topic, "died", 1)
	})
	t.Run("disconnect with will", func(t *testing.T) {
		t.Parallel()
		topic := unique("delay")
		a := five(t)
		a.subscribe(sub{topic, 1})
		c := willed(t, unique("w"), topic, 0, 0)
		c.write([]byte{tDisconnect << 4, 1, 4})
		a.expect(topic, "died", 1) // [MQTT-3.14.4-3]
	})
}

func TestTopicAliasToBroker(t *testing.T) {
	t.Parallel()
	topic := unique("alias")
	a, c := five(t), five(t)
	most := c.ack.props.u32(pTopicAliasMaximum)
	if most == 0 {
		t.Skip("the broker takes no aliases")
	}
	a.subscribe(sub{topic + "/#", 2})
	al := func(n uint32) props { return props{pTopicAlias: uint16(n)} }
	c.publish(msg{topic: topic + "/1", payload: "set", qos: 1, props: al(1)})
	c.publish(msg{payload: "used", qos: 2, props: al(1)})
	c.publish(msg{topic: topic + "/2", payload: "changed", props: al(1)})
	c.publish(msg{payload: "used again", props: al(1)})
	c.publish(msg{topic: topic + "/top", payload: "highest", props: al(most)})
	for _, w := range []struct {
		topic, payload string
		qos            byte
	}{{"/1", "set", 1}, {"/1", "used", 2}, {"/2", "changed", 0}, {"/2", "used again", 0}, {"/top", "highest", 0}} {
		if p := a.expect(topic+w.topic, w.payload, w.qos); p.props.has(pTopicAlias) {
			t.Errorf("an alias leaked to a subscriber that allows none: %v", p)
		}
	}
	c.send(msg{topic: topic, payload: "m", props: al(most + 1)})
	c.closed(0x94) // [MQTT-3.3.2-9]
	c = five(t)
	c.send(msg{topic: topic, payload: "m", props: al(0)})
	c.closed(0x94, 0x82) // [MQTT-3.3.2-8]
	c = five(t)
	c.send(msg{payload: "m", props: al(1)}) // aliases end with the connection
	c.closed(0x82)
}

func TestTopicAliasFromBroker(t *testing.T) {
	t.Parallel()
	topic := unique("alias")
	a := connect(t, broker(t), options{v: 5, props: props{pTopicAliasMaximum: uint16(2)}})
	a.subscribe(sub{topic + "/#", 0})
	b := five(t)
	aliases := map[uint32]string{}
	for i := range 12 {
		want := topic + "/" + string('a'+rune(i%4))
		b.publish(msg{topic: want, payload: "m"})
		p := a.get()
		if al := p.props.u32(pTopicAlias); p.props.has(pTopicAlias) {
			if al == 0 || al > 2 {
				t.Fatalf("alias %d of at most 2 [MQTT-3.1.2-26]", al)
			}
			if p.topic != "" {
				aliases[al] = p.topic
			}
			p.topic = aliases[al]
		}
		if p.topic != want {
			t.Fatalf("message %d came on %q, want %q", i, p.topic, want)
		}
	}
}

func TestSubscriptionIdentifiers(t *testing.T) {
	t.Parallel()
	topic, id := unique("subid"), unique("ids")
	a := connect(t, broker(t), persistent(5, id))
	a.subscribeWith(props{pSubscriptionID: []uint32{268435455}}, sub{topic + "/#", 1})
	a.subscribeWith(props{pSubscriptionID: []uint32{7}}, sub{topic + "/a", 1})
	a.subscribeWith(nil, sub{topic + "/+", 0})
	gather := func(payload string) map[uint32]bool {
		ids := map[uint32]bool{}
		p := a.get()
		for p != nil {
			if p.topic != topic+"/a" || p.payload != payload {
				t.Errorf("got %v", p)
			}
			list, _ := p.props[pSubscriptionID].([]uint32)
			for _, n := range list {
				if ids[n] {
					t.Errorf("identifier %d twice", n)
				}
				ids[n] = true
			}
			if p, _ = a.recv(300 * time.Millisecond); p != nil {
				a.complete(p)
			}
		}
		return ids
	}
	b := five(t)
	want := map[uint32]bool{268435455: true, 7: true}
	b.publish(msg{topic: topic + "/a", payload: "live", qos: 1})
	if ids := gather("live"); !reflect.DeepEqual(ids, want) { // [MQTT-3.3.4-3, -4, -5]
		t.Errorf("live: identifiers %v", ids)
	}
	a.vanish()
	b.publish(msg{topic: topic + "/a", payload: "queued", qos: 1})
	a = connect(t, broker(t), persistent(5, id))
	if ids := gather("queued"); !reflect.DeepEqual(ids, want) {
		t.Errorf("queued: identifiers %v", ids)
	}
	a.bye()
	connect(t, broker(t), options{v: 5, id: id}).bye()

	b.publish(msg{topic: topic + "/r", payload: "kept", qos: 1, retain: true})
	c := five(t)
	c.subscribeWith(props{pSubscriptionID: []uint32{9}}, sub{topic + "/r", 1})
	if p := c.get(); !reflect.DeepEqual(p.props[pSubscriptionID], []uint32{9}) {
		t.Errorf("retained: %v", p)
	}
	b.publish(msg{topic: topic + "/r", retain: true})
}

// Subscription options.
const (
	noLocal = 1 << 2
	asIs    = 1 << 3 // retain as published
	ifNew   = 1 << 4 // retain handling 1
	never   = 2 << 4 // retain handling 2
)

func TestNoLocal(t *testing.T) {
	t.Parallel()
	topic := unique("nolocal")
	a, b := five(t), five(t)
	a.subscribeWith(nil, sub{topic, 1 | noLocal})
	a.publish(msg{topic: topic, payload: "mine", qos: 1}) // [MQTT-3.8.3-3]
	b.publish(msg{topic: topic, payload: "yours", qos: 1})
	a.expect(topic, "yours", 1)
	a.quiet(200 * time.Millisecond)
	c := five(t)
	c.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1, 0}, "$share/g/"+topic), 1|noLocal)))
	c.closed(0x82) // [MQTT-3.8.3-4]
}

func TestRetainAsPublished(t *testing.T) {
	t.Parallel()
	topic := unique("rap")
	a, b := five(t), five(t)
	a.subscribeWith(nil, sub{topic, 1 | asIs})
	b.publish(msg{topic: topic, payload: "kept", qos: 1, retain: true})
	if p := a.get(); !p.retain { // [MQTT-3.3.1-13]
		t.Errorf("got %v", p)
	}
	b.publish(msg{topic: topic, payload: "plain", qos: 1})
	if p := a.get(); p.retain {
		t.Errorf("got %v", p)
	}
	b.publish(msg{topic: topic, retain: true})
}

func TestRetainHandling(t *testing.T) {
	t.Parallel()
	topic := unique("handling")
	b := five(t)
	b.publish(msg{topic: topic, payload: "kept", qos: 1, retain: true})
	a := five(t)
	a.subscribeWith(nil, sub{topic, 1 | never})
	a.quiet(200 * time.Millisecond) // [MQTT-3.3.1-11]
	a.subscribeWith(nil, sub{topic, 1 | ifNew})
	a.quiet(200 * time.Millisecond) // it exists [MQTT-3.3.1-10]
	a.subscribeWith(nil, sub{topic, 1})
	a.expect(topic, "kept", 1) // [MQTT-3.3.1-9]
	c := five(t)
	c.subscribeWith(nil, sub{topic, 1 | ifNew})
	c.expect(topic, "kept", 1)
	b.publish(msg{topic: topic, retain: true})
	d := five(t)
	d.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1, 0}, topic), 3<<4)))
	d.closed(0x81, 0x82) // handling 3
	e := five(t)
	e.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1, 0}, topic), 0xc0)))
	e.closed(0x81, 0x82) // reserved bits [MQTT-3.8.3-5]
}

func TestMaximumPacketSize(t *testing.T) {
	t.Run("of the client", func(t *testing.T) {
		t.Parallel()
		topic, id := unique("size"), unique("small")
		o := persistent(5, id)
		o.props[pMaximumPacket] = uint32(100)
		a := connect(t, broker(t), o)
		a.subscribe(sub{topic, 2})
		b := five(t)
		for qos := byte(0); qos <= 2; qos++ {
			b.publish(msg{topic: topic, payload: strings.Repeat("x", 100), qos: qos}) // [MQTT-3.1.2-24]
			b.publish(msg{topic: topic, payload: "fits", qos: qos})
			a.expect(topic, "fits", qos)
		}
		a.quiet(200 * time.Millisecond)
		a.bye()
		connect(t, broker(t), options{v: 5, id: id}).bye()
	})
	t.Run("zero is an error", func(t *testing.T) {
		t.Parallel()
		refused(t, options{v: 5, props: props{pMaximumPacket: uint32(0)}}, 0x82)
	})
	t.Run("of the broker", func(t *testing.T) {
		t.Parallel()
		c := five(t)
		most := c.ack.props.u32(pMaximumPacket)
		if most == 0 || most > 16<<20 {
			t.Skipf("the broker says %d", most)
		}
		c.write(varint([]byte{tPublish << 4}, int(most)+1))
		c.closed(0x95) // before it has come whole
	})
}

func TestRequestResponse(t *testing.T) {
	t.Parallel()
	topic := unique("rr")
	server, asker := five(t), connect(t, broker(t), options{v: 5, props: props{pRequestResponse: byte(1)}})
	server.subscribe(sub{topic + "/ask", 1})
	asker.subscribe(sub{topic + "/answer/1", 1})
	asker.publish(msg{topic: topic + "/ask", payload: "?", qos: 1, props: props{pResponseTopic: topic + "/answer/1", pCorrelation: []byte{42}}})
	q := server.get()
	answer, _ := q.props[pResponseTopic].(string)
	server.publish(msg{topic: answer, payload: "!", qos: 1, props: props{pCorrelation: q.props[pCorrelation]}})
	if p := asker.expect(topic+"/answer/1", "!", 1); !reflect.DeepEqual(p.props[pCorrelation], []byte{42}) {
		t.Errorf("got %v", p)
	}
	if c := five(t); c.ack.props.has(pResponseInfo) {
		t.Error("response information that nobody asked for")
	}
	asker.send(msg{topic: topic, payload: "m", props: props{pResponseTopic: "no/#"}})
	asker.closed(0x82, 0x90) // [MQTT-3.3.2-14]
}

func TestProblemInformationUnwanted(t *testing.T) {
	t.Parallel()
	c := connect(t, broker(t), options{v: 5, props: props{pRequestProblem: byte(0)}})
	c.write(frame(tSubscribe<<4|2, append(str([]byte{0, 1, 0}, "a/#/b"), 0)))
	p, err := c.recv(patience) // refused in the SUBACK, or by DISCONNECT, which may carry a reason
	if err == nil && p.typ == tSuback && (p.props.has(pReasonString) || p.props.has(pUser)) {
		t.Errorf("reason string or user property in %v [MQTT-3.1.2-29]", p)
	}
}

func TestUnknownPacketIDs(t *testing.T) {
	t.Parallel()
	c := five(t)
	c.reply(tPubrel, 4711)
	if p := c.want(tPubcomp); p.id != 4711 || p.code != 0x92 && p.code != 0 {
		t.Errorf("PUBREL out of nothing: %v", p)
	}
	c.reply(tPubrec, 4711)
	if p := c.want(tPubrel); p.id != 4711 || p.code != 0x92 && p.code != 0 {
		t.Errorf("PUBREC out of nothing: %v", p)
	}
	c.reply(tPuback, 4711)
	c.reply(tPubcomp, 4711)
	c.still()
}

// TestReceiverRefuses: a PUBREC or PUBACK that fails ends the delivery.
func TestReceiverRefuses(t *testing.T) {
	t.Parallel()
	topic, id := unique("refuse"), unique("picky")
	a := connect(t, broker(t), persistent(5, id))
	a.subscribe(sub{topic, 2})
	b := five(t)
	b.publish(msg{topic: topic, payload: "one", qos: 2})
	b.publish(msg{topic: topic, payload: "two", qos: 1})
	one, two := a.want(tPublish), a.want(tPublish)
	a.write([]byte{tPubrec << 4, 3, byte(one.id >> 8), byte(one.id), 0x97})
	a.write([]byte{tPuback << 4, 3, byte(two.id >> 8), byte(two.id), 0x83})
	a.still() // it has come: what is on its way is lost when we vanish
	a.vanish()
	a = connect(t, broker(t), persistent(5, id))
	a.quiet(200 * time.Millisecond)
	a.bye()
	connect(t, broker(t), options{v: 5, id: id}).bye()
}

func TestAuthenticationMethodUnknown(t *testing.T) {
	t.Parallel()
	refused(t, options{v: 5, props: props{pAuthMethod: "NOBODY-KNOWS"}}, 0x8c) // [MQTT-4.12.0-1]
	refused(t, options{v: 5, props: props{pAuthData: []byte("without a method")}}, 0x82)
	c := five(t)
	c.write([]byte{tAuth << 4, 2, 0x19, 0})
	c.closed(0x82) // [MQTT-4.12.0-6: no authentication method in the CONNECT]
}

func TestCapabilitiesAreTrue(t *testing.T) {
	t.Parallel()
	p := five(t).ack.props
	for id, name := range map[byte]string{pRetainAvailable: "retain", pWildcard: "wildcards", pSubscriptionIDs: "subscription identifiers", pShared: "shared subscriptions"} {
		if v, ok := p[id]; ok && v != byte(1) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if p.has(pMaximumQoS) { // to be left out where it is 2
		t.Errorf("maximum QoS %v", p[pMaximumQoS])
	}
}
