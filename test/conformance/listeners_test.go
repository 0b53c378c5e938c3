package conformance

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// own starts a broker with a plain listener and one of its own settings, and returns the addresses of both.
func own(t *testing.T, settings string) (plain, special string) {
	t.Helper()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	special = fmt.Sprintf("127.0.0.1:%d", port)
	plain = configured(t, fmt.Sprintf("  - {address: %q, %s}\n", special, settings))
	return plain, special
}

// TestEachListenerItsOwn: what a listener sets for itself holds there, and not on the one beside it.
func TestEachListenerItsOwn(t *testing.T) {
	t.Parallel()
	cases := []struct {
		settings string
		// check demands the setting of the special listener, or its absence on the plain one.
		check func(t *testing.T, addr string, special bool)
	}{
		{"max_inflight_messages: 3", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			want := map[bool]uint32{true: 3, false: 20}[special]
			c := connect(t, addr, options{v: 5})
			if got := c.ack.props.u32(pReceiveMaximum); got != want {
				t.Errorf("receive maximum %d, want %d", got, want)
			}
			c.subscribe(sub{topic, 1})
			p := connect(t, addr, options{})
			for range 25 {
				p.publish(msg{topic: topic, payload: "m", qos: 1})
			}
			for range want {
				c.want(tPublish)
			}
			c.quiet(150 * time.Millisecond)
		}},
		{"max_inflight_bytes: 250", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{})
			c.subscribe(sub{topic, 1})
			p := connect(t, addr, options{})
			for range 6 {
				p.publish(msg{topic: topic, payload: strings.Repeat("x", 100), qos: 1})
			}
			for range map[bool]int{true: 3, false: 6}[special] {
				c.want(tPublish)
			}
			c.quiet(150 * time.Millisecond)
		}},
		{"max_topic_levels: 3", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{v: 5})
			code := c.subscribeWith(nil, sub{topic + "/b/c/d", 0}).codes[0]
			id := c.send(msg{topic: topic + "/b/c/e", payload: "m", qos: 1})
			ack := c.want(tPuback)
			if special && (code != 0x8f || ack.code != 0x90) || !special && (code != 0 || ack.code >= 0x80) || ack.id != id {
				t.Errorf("SUBACK %#x, %v", code, ack)
			}
		}},
		{"max_subscriptions: 2", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{v: 5})
			codes := c.subscribeWith(nil, sub{topic, 0}, sub{"b", 0}, sub{"c", 0}).codes
			if codes[0] != 0 || codes[1] != 0 || (codes[2] == 0x97) != special {
				t.Errorf("codes %#x", codes)
			}
			if c := c.subscribeWith(nil, sub{topic, 1}).codes[0]; c != 1 {
				t.Errorf("a known filter again: %#x", c)
			}
		}},
		{"connect_timeout: 1s", func(t *testing.T, addr string, special bool) {
			c := raw(t, addr, 4)
			_ = c.conn.SetReadDeadline(time.Now().Add(map[bool]time.Duration{true: patience, false: 3 * time.Second}[special]))
			_, err := c.conn.Read(make([]byte, 1))
			late, ok := err.(net.Error)
			if open := ok && late.Timeout(); open == special {
				t.Errorf("closed: %v", err)
			}
		}},
		{"max_queued_messages: 2, queue_full: drop_oldest", func(t *testing.T, addr string, special bool) {
			id := unique("q")
			a := connect(t, addr, persistent(4, id))
			a.subscribe(sub{id, 1})
			a.bye()
			// Whoever publishes through another listener meets the same bound: it is the session's.
			b := connect(t, addr, options{})
			for _, p := range []string{"1", "2", "3", "4"} {
				b.publish(msg{topic: id, payload: p, qos: 1})
			}
			want := map[bool]string{true: "34", false: "1234"}[special]
			if got := strings.Join(connect(t, addr, persistent(4, id)).collect(len(want)), ""); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}},
		{"max_queued_bytes: 250, queue_full: drop_newest", func(t *testing.T, addr string, special bool) {
			id := unique("q")
			a := connect(t, addr, persistent(4, id))
			a.subscribe(sub{id, 1})
			a.bye()
			b := connect(t, addr, options{})
			for range 5 {
				b.publish(msg{topic: id, payload: strings.Repeat("x", 100), qos: 1})
			}
			want := map[bool]int{true: 1, false: 5}[special]
			if got := len(connect(t, addr, persistent(4, id)).collect(want)); got != want {
				t.Errorf("%d messages", got)
			}
		}},
		{"max_queued_age: 1s", func(t *testing.T, addr string, special bool) {
			id := unique("q")
			a := connect(t, addr, persistent(4, id))
			a.subscribe(sub{id, 1})
			a.bye()
			connect(t, addr, options{}).publish(msg{topic: id, payload: "m", qos: 1})
			time.Sleep(1500 * time.Millisecond)
			want := map[bool]int{true: 0, false: 1}[special]
			if got := len(connect(t, addr, persistent(4, id)).collect(want)); got != want {
				t.Errorf("%d messages", got)
			}
		}},
		{"queue_qos0_messages: true", func(t *testing.T, addr string, special bool) {
			id := unique("q")
			a := connect(t, addr, persistent(4, id))
			a.subscribe(sub{id, 0})
			a.bye()
			connect(t, addr, options{}).publish(msg{topic: id, payload: "m"})
			want := map[bool]int{true: 1, false: 0}[special]
			if got := len(connect(t, addr, persistent(4, id)).collect(want)); got != want {
				t.Errorf("%d messages", got)
			}
		}},
		{"upgrade_outgoing_qos: true", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			a := connect(t, addr, options{})
			a.subscribe(sub{topic, 2})
			connect(t, addr, options{}).publish(msg{topic: topic, payload: "m"})
			a.expect(topic, "m", map[bool]byte{true: 2}[special])
		}},
		{"allow_duplicate_messages: true", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			a := connect(t, addr, options{v: 5})
			a.subscribeWith(props{pSubscriptionID: []uint32{1}}, sub{topic + "/#", 1})
			a.subscribeWith(props{pSubscriptionID: []uint32{2}}, sub{topic + "/a", 1})
			connect(t, addr, options{}).publish(msg{topic: topic + "/a", payload: "m", qos: 1})
			var ids []uint32
			for range map[bool]int{true: 2, false: 1}[special] {
				p := a.get()
				own, _ := p.props[pSubscriptionID].([]uint32)
				if ids = append(ids, own...); len(own) != map[bool]int{true: 1, false: 2}[special] { // [MQTT-3.3.4-5] [MQTT-3.3.4-4]
					t.Errorf("got %v", p)
				}
			}
			if a.still(); len(ids) != 2 || ids[0]+ids[1] != 3 {
				t.Errorf("identifiers %v", ids)
			}
		}},
		{"persistent_client_expiration: 1s", func(t *testing.T, addr string, special bool) {
			id := unique("p")
			a := connect(t, addr, persistent(5, id))
			if told := a.ack.props.u32(pSessionExpiry) == 1; told != special {
				t.Errorf("got %v", a.ack)
			}
			a.bye()
			time.Sleep(2500 * time.Millisecond)
			if a = connect(t, addr, persistent(5, id)); a.ack.present == special {
				t.Errorf("got %v", a.ack)
			}
		}},
		{"max_qos: 1", func(t *testing.T, addr string, special bool) {
			if c := connect(t, addr, options{v: 5}); c.ack.props.has(pMaximumQoS) != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"max_keepalive: 30", func(t *testing.T, addr string, special bool) {
			if c := connect(t, addr, options{v: 5, keepAlive: 60}); c.ack.props.has(pServerKeepAlive) != special {
				t.Errorf("got %v", c.ack)
			}
			if c := try(t, addr, options{v: 4, keepAlive: 60}); (c.ack.code == 2) != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"max_packet_size: 200", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{v: 5})
			if got := c.ack.props.u32(pMaximumPacket); got != map[bool]uint32{true: 200, false: 2000000}[special] {
				t.Errorf("got %v", c.ack)
			}
			c.send(msg{topic: topic, payload: strings.Repeat("x", 300), qos: 1})
			if special {
				c.closed(0x95)
			} else {
				c.want(tPuback)
			}
		}},
		{"max_topic_alias: 3, max_topic_alias_broker: 0", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{v: 5, props: props{pTopicAliasMaximum: uint16(5)}})
			if got := c.ack.props.u32(pTopicAliasMaximum); got != map[bool]uint32{true: 3, false: 10}[special] {
				t.Errorf("got %v", c.ack)
			}
			c.subscribe(sub{topic, 0})
			connect(t, addr, options{}).publish(msg{topic: topic, payload: "m"})
			if p := c.get(); p.props.has(pTopicAlias) == special {
				t.Errorf("got %v", p)
			}
		}},
		{"max_connections: 1", func(t *testing.T, addr string, special bool) {
			connect(t, addr, options{v: 5})
			c := raw(t, addr, 5)
			o := options{v: 5, id: "second"}
			_, _ = c.conn.Write(o.encode())
			p, err := c.recv(patience)
			if in := err == nil && p.typ == tConnack && p.code == 0; in == special {
				t.Errorf("got %v, %v", p, err)
			}
		}},
		{"allow_zero_length_clientid: false", func(t *testing.T, addr string, special bool) {
			if c := try(t, addr, options{v: 5, noID: true}); (c.ack.code != 0) != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"auto_id_prefix: \"gw-\"", func(t *testing.T, addr string, special bool) {
			c := try(t, addr, options{v: 5, noID: true})
			if id, _ := c.ack.props[pAssignedID].(string); strings.HasPrefix(id, "gw-") != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"use_username_as_clientid: true", func(t *testing.T, addr string, special bool) {
			name := unique("u")
			a := connect(t, addr, options{v: 5, id: "one", user: name})
			b := connect(t, addr, options{v: 5, id: "two", user: name})
			if special {
				a.closed(0x8e)
			} else {
				a.still()
			}
			b.still()
		}},
		{"mount_point: \"floor/\"", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			// Seen from outside through the plain listener by the test below.
			a := connect(t, addr, options{})
			a.subscribe(sub{topic, 0})
			connect(t, addr, options{}).publish(msg{topic: topic, payload: "m"})
			a.expect(topic, "m", 0)
		}},
		{"accept_protocol_versions: [5]", func(t *testing.T, addr string, special bool) {
			if c := try(t, addr, options{v: 4}); (c.ack.code == 1) != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"retain_available: false", func(t *testing.T, addr string, special bool) {
			if c := connect(t, addr, options{v: 5}); c.ack.props.has(pRetainAvailable) != special {
				t.Errorf("got %v", c.ack)
			}
		}},
		{"max_queued_messages: 2, queue_full: latest_per_topic", func(t *testing.T, addr string, special bool) {
			id := unique("q")
			a := connect(t, addr, persistent(4, id))
			a.subscribe(sub{id + "/#", 1})
			a.bye()
			b := connect(t, addr, options{})
			for i, p := range []string{"1", "2", "3", "4"} {
				b.publish(msg{topic: fmt.Sprint(id, "/", i%2), payload: p, qos: 1})
			}
			want := map[bool]string{true: "34", false: "1234"}[special]
			if got := strings.Join(connect(t, addr, persistent(4, id)).collect(len(want)), ""); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}},
		{"max_message_size: 100", func(t *testing.T, addr string, special bool) {
			topic := unique("t")
			c := connect(t, addr, options{v: 5})
			c.subscribe(sub{topic, 1})
			c.send(msg{topic: topic, payload: strings.Repeat("x", 101), qos: 1})
			if special {
				if p := c.want(tPuback); p.code != 0x95 && p.code != 0x97 && p.code != 0x80 {
					t.Errorf("got %v", p)
				}
				c.still()
				return
			}
			for range 2 { // PUBACK and the message, in either order
				if p, err := c.recv(patience); err != nil || p.typ != tPuback && p.typ != tPublish {
					t.Errorf("got %v, %v", p, err)
				}
			}
		}},
		{"mosquitto_answers: true", func(t *testing.T, addr string, special bool) {
			c := connect(t, addr, options{v: 5})
			c.write([]byte{tPublish << 4, 5, 0, 1, '#', 0, 'm'})
			p := c.want(tDisconnect)
			if _, told := p.props[pReasonString]; told == special {
				t.Errorf("got %v", p)
			}
		}},
	}
	var more strings.Builder
	addresses := make([]string, len(cases))
	for i, tc := range cases {
		port, err := peer.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
		fmt.Fprintf(&more, "  - {address: %q, %s}\n", addresses[i], tc.settings)
	}
	plain := configured(t, more.String())
	for i, tc := range cases {
		t.Run(strings.Map(func(r rune) rune {
			if r == ':' || r == ' ' || r == '"' || r == ',' {
				return '_'
			}
			return r
		}, tc.settings), func(t *testing.T) {
			t.Parallel()
			tc.check(t, addresses[i], true)
			tc.check(t, plain, false)
		})
	}
}

// TestMountPointOfOneListener: clients below a mount point are seen below it by the others, wills and retained messages too.
func TestMountPointOfOneListener(t *testing.T) {
	t.Parallel()
	plain, special := own(t, "mount_point: \"floor/\"")
	all := connect(t, plain, options{})
	all.subscribe(sub{"floor/#", 1})
	in := connect(t, special, options{will: &will{topic: "gone", payload: "w", qos: 1}})
	in.publish(msg{topic: "door", payload: "m", qos: 1, retain: true})
	all.expect("floor/door", "m", 1)
	in.vanish()
	all.expect("floor/gone", "w", 1)
	late := connect(t, special, options{})
	late.subscribe(sub{"+", 0})
	late.expect("door", "m", 0)
	connect(t, plain, options{}).publish(msg{topic: "door", payload: "outside"})
	late.quiet(150 * time.Millisecond)
}

// TestConnectionsInAll: mqtt.max_connections bounds all listeners together.
func TestConnectionsInAll(t *testing.T) {
	t.Parallel()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	other := fmt.Sprintf("127.0.0.1:%d", port)
	addr := configured(t, fmt.Sprintf("  - {address: %q}\nmqtt: {max_connections: 3}\n", other))
	// The start looked whether the broker is there: that connection has to be gone first.
	var in []*client
	for _, a := range []string{addr, other, addr} {
		in = append(in, connect(t, a, options{v: 5}))
	}
	for _, a := range []string{addr, other} {
		c := raw(t, a, 5)
		o := options{v: 5, id: unique("more")}
		_, _ = c.conn.Write(o.encode())
		if p, err := c.recv(patience); err == nil && p.typ == tConnack && p.code == 0 {
			t.Errorf("%s let a fourth in: %v", a, p)
		}
	}
	for _, c := range in {
		c.still()
	}
}
