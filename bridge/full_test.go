package bridge

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// fullCentre has no room for the message "0" while it holds others of QoS 2
// that are not released, as Mosquitto counts them.
func fullCentre(t *testing.T, pubrec func(send func()), onRelease func(n int64) bool) *fake {
	f := newFake(t, fakeOptions{
		connack:   &mqtt.Connack{SessionPresent: true, Properties: &mqtt.Properties{ReceiveMaximum: 5}},
		onRelease: onRelease,
	})
	var first mqtt.PacketID
	var accepted []mqtt.PacketID
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		answer := func(pid mqtt.PacketID, code mqtt.ReasonCode) {
			_, _ = c.Write((&mqtt.Pubrec{ID: pid, Code: code}).Append(nil, v))
		}
		switch {
		case string(p.Payload) != "0":
			accepted = append(accepted, p.ID)
			if len(accepted) < 4 {
				return
			}
			if len(accepted) > 4 { // again
				answer(p.ID, mqtt.Success)
				return
			}
			answer(first, mqtt.QuotaExceeded)
			all := slices.Clone(accepted)
			pubrec(func() {
				for _, pid := range all {
					answer(pid, mqtt.Success)
				}
			})
		case len(accepted) < 4: // until it has the others
			first = p.ID
		case f.count(mqtt.PUBREL) < 4:
			answer(p.ID, mqtt.QuotaExceeded)
		default:
			answer(p.ID, mqtt.Success)
		}
	}
	return f
}

// count is how many packets of a kind came. The caller holds the mutex.
func (f *fake) count(kind mqtt.PacketType) (n int) {
	for _, k := range f.packets {
		if k == kind {
			n++
		}
	}
	return n
}

// TestFullCentreIsFreed: a centre without room for a message gets the PUBRELs of
// those it has, on the connection on which it said so, and takes the message
// then.
func TestFullCentreIsFreed(t *testing.T) {
	var on []int64 // the connections of the first four PUBRELs
	f := fullCentre(t, func(send func()) { time.AfterFunc(50*time.Millisecond, send) }, func(n int64) bool {
		if len(on) < 4 {
			on = append(on, n)
		}
		return true
	})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(2)})
	waitConnected(t, b)
	for i := range 5 {
		g.publish(fmt.Sprint("a/", i), fmt.Sprint(i), 2, false)
	}
	eventually(t, 60*time.Second, "everything is taken", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Acked == 5 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(on, []int64{1, 1, 1, 1}) {
		t.Errorf("the PUBRELs came on connections %v", on)
	}
	if len(f.connects) != 2 {
		t.Errorf("%d connections, not the one that met the full centre and the one after", len(f.connects))
	}
}

// TestReleasesComeFirst: after a reconnect PUBRELs come before the messages
// that are sent again, even a message sent before theirs: they make room.
func TestReleasesComeFirst(t *testing.T) {
	cut := false
	f := fullCentre(t, func(send func()) { send() }, func(int64) bool {
		answered := cut
		cut = true
		return answered
	})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(2)})
	waitConnected(t, b)
	for i := range 5 {
		g.publish(fmt.Sprint("a/", i), fmt.Sprint(i), 2, false)
	}
	eventually(t, 60*time.Second, "everything is taken", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Acked >= 5 })
	f.mu.Lock()
	defer f.mu.Unlock()
	second := slices.Index(f.packets[1:], mqtt.CONNECT) + 1
	again := slices.Index(f.packets[second:], mqtt.PUBLISH)
	releases := 0
	for _, k := range f.packets[second : second+again] {
		if k == mqtt.PUBREL {
			releases++
		}
	}
	if releases == 0 {
		t.Errorf("the second connection began with %v", f.packets[second:min(len(f.packets), second+8)])
	}
}

// TestNeverSentGoesLast: after a restart everything in flight counts as sent. A
// centre that is full of what was sent, and closes the connection when it
// refuses what never was, gets the others first on the next connection.
func TestNeverSentGoesLast(t *testing.T) {
	f := newFake(t, fakeOptions{connack: &mqtt.Connack{SessionPresent: true, Properties: &mqtt.Properties{ReceiveMaximum: 3}}})
	silent := true
	held := map[mqtt.PacketID]bool{}
	f.o.onRelease = func(int64) bool { return true }
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		switch {
		case silent: // as if the answer were lost: the first connection ends before it
			if string(p.Payload) != "never" {
				held[p.ID] = true
			}
		case !held[p.ID] && f.count(mqtt.PUBREL) < len(held):
			_, _ = c.Write((&mqtt.Pubrec{ID: p.ID, Code: mqtt.QuotaExceeded}).Append(nil, v))
			c.Close()
		default:
			_, _ = c.Write((&mqtt.Pubrec{ID: p.ID}).Append(nil, v))
		}
	}
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(2)})
	waitConnected(t, b)
	g.publish("a/x", "never", 2, false)
	g.publish("a/y", "1", 2, false)
	g.publish("a/z", "2", 2, false)
	eventually(t, 60*time.Second, "the first connection has all", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.count(mqtt.PUBLISH) >= 3
	})
	f.mu.Lock()
	silent = false
	f.mu.Unlock()
	f.hangUp()
	eventually(t, 60*time.Second, "everything is taken", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Acked == 3 })
	var last string
	for _, p := range f.published() {
		last = string(p.Payload)
	}
	if last != "never" {
		t.Errorf("the last message to cross is %q", last)
	}
}

// TestFullCentreKeepsOrder: a centre hands on what is released, so what it had
// room for behind a refused message of the same topic is released after it, also
// what is published meanwhile.
func TestFullCentreKeepsOrder(t *testing.T) {
	f := newFake(t, fakeOptions{connack: &mqtt.Connack{SessionPresent: true, Properties: &mqtt.Properties{ReceiveMaximum: 4}}})
	text := map[mqtt.PacketID]string{}
	var handedOn []string
	first := true
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		code := mqtt.Success
		if first && string(p.Payload) == "0" {
			first, code = false, mqtt.QuotaExceeded
		}
		text[p.ID] = p.Topic + " " + string(p.Payload)
		_, _ = c.Write((&mqtt.Pubrec{ID: p.ID, Code: code}).Append(nil, v))
	}
	f.o.released = func(p *mqtt.Pubrel) { handedOn = append(handedOn, text[p.ID]) }
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(2)})
	waitConnected(t, b)
	for i := range 30 {
		g.publish("a/x", fmt.Sprint(i), 2, false)
		g.publish("a/y", fmt.Sprint(i), 2, false)
	}
	eventually(t, 60*time.Second, "everything is taken", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Acked == 60 })
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[string]int{}
	for _, m := range handedOn {
		var topic string
		var n int
		if _, err := fmt.Sscan(m, &topic, &n); err != nil {
			t.Fatal(err)
		}
		if n != next[topic] {
			t.Fatalf("%s was handed on when %d was due; in all: %q", m, next[topic], handedOn)
		}
		next[topic]++
	}
	if next["a/x"] != 30 || next["a/y"] != 30 {
		t.Errorf("%v were handed on", next)
	}
}
