package conformance

import (
	"testing"
	"time"
)

func TestMaximumQoS(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    max_qos: 1\n")
	c := connect(t, addr, options{v: 5})
	if c.ack.props.u32(pMaximumQoS) != 1 || !c.ack.props.has(pMaximumQoS) { // [MQTT-3.2.2-9]
		t.Errorf("got %v", c.ack)
	}
	c.send(msg{topic: "a", payload: "m", qos: 2})
	c.closed(0x9b) // [MQTT-3.2.2-11]
	d := try(t, addr, options{v: 5, will: &will{topic: "a", qos: 2}})
	if d.ack.code != 0x9b { // [MQTT-3.2.2-12]
		t.Errorf("will of QoS 2: %v", d.ack)
	}
}

func TestRetainUnavailable(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    retain_available: false\n")
	c := connect(t, addr, options{v: 5})
	if v, ok := c.ack.props[pRetainAvailable]; !ok || v != byte(0) {
		t.Errorf("got %v", c.ack)
	}
	c.send(msg{topic: "a", payload: "m", retain: true})
	c.closed(0x9a) // [MQTT-3.2.2-14]
	if d := try(t, addr, options{v: 5, will: &will{topic: "a", retain: true}}); d.ack.code != 0x9a {
		t.Errorf("retained will: %v", d.ack)
	}
}

func TestServerKeepAlive(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    max_keepalive: 10\n")
	for _, k := range []uint16{0, 60} {
		c := connect(t, addr, options{v: 5, keepAlive: k})
		if c.ack.props.u32(pServerKeepAlive) != 10 { // [MQTT-3.1.2-21]
			t.Errorf("keep alive %d: %v", k, c.ack)
		}
	}
	if c := connect(t, addr, options{v: 5, keepAlive: 5}); c.ack.props.has(pServerKeepAlive) && c.ack.props.u32(pServerKeepAlive) != 5 {
		t.Errorf("got %v", c.ack)
	}
}

func TestVersionsRefused(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    accept_protocol_versions: [5]\n")
	connect(t, addr, options{v: 5}).bye()
	for _, v := range []byte{3, 4} {
		if c := try(t, addr, options{v: v}); c.ack.code != 1 {
			t.Errorf("got %v", c.ack)
		}
	}
}

func TestQueueQoS0(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {queue_qos0_messages: true}\n")
	a := connect(t, addr, persistent(4, "a"))
	a.subscribe(sub{"t", 0})
	a.bye()
	connect(t, addr, options{}).publish(msg{topic: "t", payload: "m"})
	connect(t, addr, persistent(4, "a")).expect("t", "m", 0)
}

func TestUpgradeOutgoingQoS(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {upgrade_outgoing_qos: true}\n")
	a := connect(t, addr, options{})
	a.subscribe(sub{"t", 2})
	connect(t, addr, options{}).publish(msg{topic: "t", payload: "m"})
	a.expect("t", "m", 2)
}

func TestNoDuplicates(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {allow_duplicate_messages: false}\n")
	a := connect(t, addr, options{v: 5})
	a.subscribeWith(props{pSubscriptionID: []uint32{1}}, sub{"t/#", 0})
	a.subscribeWith(props{pSubscriptionID: []uint32{2}}, sub{"t/a", 2})
	connect(t, addr, options{}).publish(msg{topic: "t/a", payload: "m", qos: 2})
	p := a.expect("t/a", "m", 2)
	if ids, _ := p.props[pSubscriptionID].([]uint32); len(ids) != 2 {
		t.Errorf("identifiers %v, want both [MQTT-3.3.4-4]", ids)
	}
	a.quiet(200 * time.Millisecond)
}

func TestMaxQueuedMessages(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {max_queued_messages: 5, queue_full: drop_newest}\n")
	a := connect(t, addr, persistent(4, "a"))
	a.subscribe(sub{"t", 1})
	a.bye()
	b := connect(t, addr, options{})
	for _, p := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		b.publish(msg{topic: "t", payload: p, qos: 1})
	}
	got := connect(t, addr, persistent(4, "a")).collect(5)
	if len(got) != 5 || got[0] != "1" || got[4] != "5" {
		t.Errorf("got %q", got)
	}
}

func TestQueueFullRejects(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {max_queued_messages: 2, queue_full: reject}\n")
	a := connect(t, addr, persistent(5, "a"))
	a.subscribe(sub{"t", 1})
	a.bye()
	online := connect(t, addr, options{v: 5})
	online.subscribe(sub{"t", 1})
	b := connect(t, addr, options{v: 5})
	for range 2 {
		b.publish(msg{topic: "t", payload: "m", qos: 1})
		online.expect("t", "m", 1)
	}
	id := b.send(msg{topic: "t", payload: "too many", qos: 1})
	if p := b.want(tPuback); p.id != id || p.code != 0x97 {
		t.Errorf("got %v", p)
	}
	online.quiet(200 * time.Millisecond) // the answer is for all recipients
	c := connect(t, addr, options{v: 4})
	c.send(msg{topic: "t", payload: "too many", qos: 1})
	c.closed()
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    max_connections: 2\n")
	a, b := connect(t, addr, options{v: 5}), connect(t, addr, options{v: 4})
	c := raw(t, addr, 5)
	o := options{v: 5, id: "c"}
	_, _ = c.conn.Write(o.encode())
	if p, err := c.recv(patience); err == nil && (p.typ != tConnack || p.code != 0x97 && p.code != 0x9f && p.code != 0x88 && p.code != 0x89) {
		t.Errorf("got %v", p)
	}
	a.still()
	b.bye()
	time.Sleep(100 * time.Millisecond)
	connect(t, addr, options{v: 5}).still()
}

func TestMountPoint(t *testing.T) {
	t.Parallel()
	addr := configured(t, "    mount_point: house/\n")
	a := connect(t, addr, options{})
	a.subscribe(sub{"#", 0})
	connect(t, addr, options{}).publish(msg{topic: "room", payload: "m"})
	a.expect("room", "m", 0)
}

// TestRetainLimits: retained messages are forgotten in time, and there are no more of them than allowed.
func TestRetainLimits(t *testing.T) {
	t.Parallel()
	addr := configured(t, "mqtt: {retain_expiry_interval: 1s, max_retained_messages: 2}\n")
	c := connect(t, addr, options{v: 5})
	for _, name := range []string{"r/1", "r/2"} {
		c.publish(msg{topic: name, payload: "m", qos: 1, retain: true})
	}
	c.send(msg{topic: "r/3", payload: "m", qos: 1, retain: true})
	c.want(tPuback)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		late := connect(t, addr, options{})
		late.subscribe(sub{"r/#", 0})
		late.write([]byte{tPingreq << 4, 0})
		n := 0
		for p, err := late.recv(patience); ; p, err = late.recv(patience) {
			if err != nil {
				t.Fatal(err)
			}
			if p.typ == tPingresp {
				break
			}
			if n++; p.topic == "r/3" || n > 2 {
				t.Errorf("got %v", p)
			}
		}
		late.bye()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("they are not forgotten")
		}
	}
}
