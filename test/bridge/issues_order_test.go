package bridge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
)

// Issues about duplicates, QoS 2, order, retained messages and loops, each named after the thread that describes it.

// ways is the rule of a bridge that carries a filter in both directions.
func ways(qos mqtt.QoS, filter string) []bridge.Rule {
	return []bridge.Rule{{Filter: filter, Direction: bridge.Both, QoS: qos}}
}

// TestMosquitto3275PubrelAfterResend: what was sent again after a reconnect gets its PUBREL, each of it.
func TestMosquitto3275PubrelAfterResend(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.onPublish = func(n int64, p *mqtt.Publish, send func(mqtt.Packet)) bool {
		if n > 1 { // on the first connection nothing is answered
			send(&mqtt.Pubrec{ID: p.ID})
		}
		return true
	}
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, ReceiveMaximum: 10, Lanes: bridge.OneLane, Rules: outward(2, "a/#")})
	in(t, bridge.Connected, b)
	g.publishMany("a/x", 2, 0, 25)
	eventually(t, 20*time.Second, "the window is full", func() bool { return len(s.published()) == 10 })
	s.cut()
	drained(t, 30*time.Second, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	released := map[mqtt.PacketID]int{}
	for _, id := range s.pubrels {
		released[id]++
	}
	for i, p := range s.publishes[10:] {
		if released[p.ID]--; released[p.ID] < 0 {
			t.Errorf("message %d, sent under id %d, got no PUBREL", i, p.ID)
		}
	}
	if n := len(s.publishes) - 10; n != 25 {
		t.Errorf("%d messages behind the reconnect, want 25", n)
	}
}

// TestMosquitto2165ResentOnce: QoS 2 that was under way is sent again once at each reconnect, and never after its PUBREC.
func TestMosquitto2165ResentOnce(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.onPublish = func(n int64, p *mqtt.Publish, send func(mqtt.Packet)) bool {
		if n == 3 {
			send(&mqtt.Pubrec{ID: p.ID})
		}
		return true
	}
	s.onPubrel = func(n int64, p *mqtt.Pubrel, send func(mqtt.Packet)) bool {
		if n > 3 {
			send(&mqtt.Pubcomp{ID: p.ID})
		}
		return true
	}
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, Lanes: bridge.OneLane, Rules: outward(2, "a/#")})
	in(t, bridge.Connected, b)
	g.publishMany("a/x", 2, 0, 5)
	seen := func() []mqtt.Publish { return s.published() }
	eventually(t, 20*time.Second, "sent", func() bool { return len(seen()) == 5 })
	s.cut()
	eventually(t, 20*time.Second, "sent again", func() bool { return len(seen()) == 10 })
	s.cut()
	eventually(t, 20*time.Second, "sent and received", func() bool { return len(seen()) == 15 && len(releases(s)) == 5 })
	s.cut()
	eventually(t, 20*time.Second, "released again", func() bool { return len(releases(s)) >= 10 })
	drained(t, 30*time.Second, b)
	for i, p := range seen() {
		if p.Dup != (i >= 5) {
			t.Errorf("message %d has DUP %v", i, p.Dup)
		}
	}
	if n := len(seen()); n != 15 {
		t.Errorf("%d times PUBLISH, want 15: nothing behind the PUBREC", n)
	}
	if ids := releases(s); len(ids) != 10 {
		t.Errorf("PUBREL for %v, want each of five ids twice", ids)
	}
}

func releases(s *scripted) []mqtt.PacketID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pubrels)
}

// TestMosquitto2013TwiceThroughABridge: cut before or after any packet of QoS 2, in either direction, a message is there
// once.
func TestMosquitto2013TwiceThroughABridge(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	p := newTap(t, c.addr)
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{p.addr()}, Lanes: bridge.OneLane, Rules: ways(2, "a/#")})
	in(t, bridge.Connected, b)
	there, here := listen(t, c.addr, "there", 2, "a/#"), listen(t, g.addr(), "here", 2, "a/#")
	n := 0
	for _, kind := range []mqtt.PacketType{mqtt.PUBLISH, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP} {
		for _, before := range []bool{true, false} {
			for _, outward := range []bool{true, false} {
				w := down
				if outward == (kind == mqtt.PUBLISH || kind == mqtt.PUBREL) {
					w = up
				}
				in(t, bridge.Connected, b)
				drained(t, 30*time.Second, b)
				tr := &trap{way: w, packet: kind, nth: 1, before: before, spring: func() {}}
				p.set(tr)
				n++
				if from, to := there, here; outward {
					here.publish("a/out", fmt.Sprint(n), 2, false)
					there.expect("a/out", fmt.Sprint(n))
				} else {
					from.publish("a/in", fmt.Sprint(n), 2, false)
					to.expect("a/in", fmt.Sprint(n))
				}
				select {
				case <-tr.sprung:
				case <-time.After(20 * time.Second):
					t.Fatalf("no %v %v came by", w, kind)
				}
			}
		}
	}
	in(t, bridge.Connected, b)
	drained(t, 30*time.Second, b)
	for who, cl := range map[string]*client{"there": there, "here": here} {
		for what, k := range cl.received() {
			if k != 1 {
				t.Errorf("%s got %q %d times", who, what, k)
			}
		}
	}
}

// TestMosquitto2248RetainedOnce: retained topics are not sent again after an outage, however many there were; what has
// changed is, once.
func TestMosquitto2248RetainedOnce(t *testing.T) {
	t.Parallel()
	s := newScripted(t).run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, Lanes: bridge.OneLane, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	const topics, outages = 30, 6
	for i := range topics {
		g.publish(fmt.Sprint("a/", i), "value", mqtt.QoS(i%2), true)
	}
	eventually(t, 20*time.Second, "all are there", func() bool { return len(s.published()) == topics })
	for i := range outages {
		drained(t, 30*time.Second, b) // what the pause leaves without its PUBACK is sent again, and rightly
		b.Pause()
		in(t, bridge.Paused, b)
		for k := range 4 { // only the last may go out at QoS 0, all at QoS 1
			g.publish("a/0", fmt.Sprintf("%d.%d", i, k), 0, true)
		}
		b.Resume()
		in(t, bridge.Connected, b)
		drained(t, 30*time.Second, b)
		eventually(t, 20*time.Second, "the change is there", func() bool {
			return slices.ContainsFunc(s.published(), func(p mqtt.Publish) bool { return string(p.Payload) == fmt.Sprintf("%d.3", i) })
		})
	}
	count := map[string]int{}
	for _, p := range s.published() {
		count[p.Topic+" "+string(p.Payload)]++
	}
	for what, n := range count {
		if n != 1 {
			t.Errorf("%s was sent %d times", what, n)
		}
	}
	if len(count) != topics+outages {
		t.Errorf("%d values were sent, want %d", len(count), topics+outages)
	}
}

// TestMosquitto3098QoS2WhileAway: what is published at the centre with QoS 2 while an MQTT 5 bridge is away arrives.
func TestMosquitto3098QoS2WhileAway(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{c.addr}, Protocol: bridge.Only5,
		Rules: []bridge.Rule{{Filter: "a/#", Direction: bridge.In, QoS: 2}}})
	in(t, bridge.Connected, b)
	here := listen(t, g.addr(), "here", 2, "a/#")
	there := newClient(t, c.addr, "there").mustConnect()
	there.publish("a/first", "0", 2, false)
	here.expect("a/first", "0")
	b.Pause()
	in(t, bridge.Paused, b)
	for i := range 50 {
		there.publish("a/x", fmt.Sprint(i), 2, false)
	}
	b.Resume()
	here.inOrder("a/x", 50)
}

// TestMosquitto2300InboundRetain: a retained message of the centre is one here, too, live and from before the connection.
func TestMosquitto2300InboundRetain(t *testing.T) {
	t.Parallel()
	for _, protocol := range []bridge.Protocol{bridge.Only5, bridge.Only311} {
		c := newMosquitto(t, "")
		there := newClient(t, c.addr, "there").mustConnect()
		there.publish("a/before", "1", 1, true)
		g := newGateway(t, "")
		b := g.bridge(bridge.Options{Addresses: []string{c.addr}, Protocol: protocol, Rules: []bridge.Rule{{Filter: "a/#", Direction: bridge.In, QoS: 1}}})
		in(t, bridge.Connected, b)
		here := listen(t, g.addr(), "here", 1, "a/#")
		here.expect("a/before", "1")
		there.publish("a/live", "2", 1, true)
		there.publish("a/plain", "3", 1, false)
		here.expect("a/plain", "3")
		late := listen(t, g.addr(), "late", 1, "a/#")
		late.expect("a/before", "1")
		late.expect("a/live", "2")
		if late.countOn("a/plain") > 0 {
			t.Error("what was not retained there is retained here")
		}
	}
}

// storm lets two brokers talk through bridges and demands that each message is everywhere once.
func storm(t *testing.T, here, there *client) {
	t.Helper()
	const each = 40
	for i := range each {
		here.publish("loop/h", fmt.Sprint(i), 1, false)
		there.publish("loop/t", fmt.Sprint(i), 1, false)
	}
	for _, c := range []*client{here, there} {
		c.inOrder("loop/h", each)
		c.inOrder("loop/t", each)
	}
	time.Sleep(300 * time.Millisecond) // what went round would come now
	for _, c := range []*client{here, there} {
		c.inOrder("loop/h", each)
		c.inOrder("loop/t", each)
	}
}

// joinedTo is a gateway with `topic loop/# both` to a centre of mosquitto.
func joinedTo(t *testing.T, o bridge.Options) {
	t.Helper()
	c := newMosquitto(t, "")
	g := newGateway(t, "")
	o.Addresses, o.Rules = []string{c.addr}, ways(1, "loop/#")
	b := g.bridge(o)
	in(t, bridge.Connected, b)
	storm(t, listen(t, g.addr(), "here", 1, "loop/#"), listen(t, c.addr, "there", 1, "loop/#"))
	if cut := b.Status().CutRules; len(cut) > 0 {
		t.Errorf("rules were cut: %v", cut)
	}
}

// `both` on one topic is no storm: in MQTT 5, with the bridge bit, and with neither, where echoes are recognised.
func TestMosquitto1263BothOnOneTopic(t *testing.T) {
	t.Parallel()
	joinedTo(t, bridge.Options{Protocol: bridge.Only311})
}

func TestNanoMQ1733LoopBetweenBrokers(t *testing.T) {
	t.Parallel()
	joinedTo(t, bridge.Options{Protocol: bridge.Only5})
}

// TestMosquitto2921TwoGateways: two gateways with `both` to one centre are no circle.
func TestMosquitto2921TwoGateways(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	var clients []*client
	for i := range 2 {
		g := newGateway(t, "")
		b := g.bridge(bridge.Options{ClientID: fmt.Sprint("gw", i), Addresses: []string{c.addr}, Rules: ways(1, "loop/#")})
		in(t, bridge.Connected, b)
		clients = append(clients, listen(t, g.addr(), fmt.Sprint("at", i), 1, "loop/#"))
	}
	storm(t, clients[0], clients[1])
}

// TestEMQX4619SymmetricalBridges: two gateways that are bridged to each other twice are found by check, with the path.
func TestEMQX4619SymmetricalBridges(t *testing.T) {
	t.Parallel()
	sites := []bridge.Site{
		{Name: "a", Addresses: []string{"10.0.0.1:1883"}, Bridges: []bridge.Options{{Name: "to-b", Addresses: []string{"10.0.0.2:1883"}, Rules: ways(1, "#")}}},
		{Name: "b", Addresses: []string{"10.0.0.2:1883"}, Bridges: []bridge.Options{{Name: "to-a", Addresses: []string{"10.0.0.1:1883"}, Rules: ways(1, "#")}}},
	}
	if got := bridge.Cycles(sites); len(got) == 0 {
		t.Error("no circle found in two gateways that are joined twice")
	}
	sites[1].Bridges = nil
	if got := bridge.Cycles(sites); len(got) > 0 {
		t.Errorf("one bridge is no circle: %v", got)
	}
}

// TestVerneMQ2406EchoOfOldBrokers: a centre that knows neither no-local nor the bridge bit sends our own messages back;
// they are dropped and counted, and do not go round.
func TestVerneMQ2406EchoOfOldBrokers(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.onPublish = func(_ int64, p *mqtt.Publish, send func(mqtt.Packet)) bool {
		send(&mqtt.Puback{ID: p.ID})
		send(&mqtt.Publish{Topic: p.Topic, Payload: p.Payload})
		return true
	}
	s.run()
	g := newGateway(t, "")
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, Protocol: bridge.Only311, NoPrivate: true, Lanes: bridge.OneLane, Rules: ways(1, "loop/#")})
	in(t, bridge.Connected, b)
	here := listen(t, g.addr(), "here", 1, "loop/#")
	g.publishMany("loop/x", 1, 0, 60)
	drained(t, 30*time.Second, b)
	eventually(t, 20*time.Second, "echoes are counted", func() bool { return b.Status().Dropped["echo"] == 60 })
	here.inOrder("loop/x", 60)
	if n := len(s.published()); n != 60 {
		t.Errorf("%d messages went out, want 60", n)
	}
}

// TestThinEdge3707PrefixCycle: what goes out below a prefix that also comes in does not grow one prefix longer with each
// round.
func TestThinEdge3707PrefixCycle(t *testing.T) {
	t.Parallel()
	for _, protocol := range []bridge.Protocol{bridge.Only5, bridge.Only311} {
		c := newMosquitto(t, "")
		g := newGateway(t, "")
		b := g.bridge(bridge.Options{Addresses: []string{c.addr}, Protocol: protocol, Rules: []bridge.Rule{
			{Filter: "#", Direction: bridge.Out, QoS: 1, RemotePrefix: "x/"}, {Filter: "x/#", Direction: bridge.In, QoS: 1}}})
		in(t, bridge.Connected, b)
		there := listen(t, c.addr, "there", 1, "#")
		for i := range 20 {
			g.publish("a", fmt.Sprint(i), 1, false)
		}
		there.inOrder("x/a", 20)
		drained(t, 20*time.Second, b)
		time.Sleep(300 * time.Millisecond)
		for what := range there.received() {
			if len(what) > len("x/a 19") {
				t.Errorf("%q is at the centre", what)
			}
		}
	}
}

// TestMQTTJS978OrderAfterReconnect: what had queued up and what comes live beside it stay in the order of their topic
// (QoS 2, since QoS 1 may repeat what was under way).
func TestMQTTJS978OrderAfterReconnect(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{c.addr}, Lanes: bridge.OneLane, Rules: outward(2, "a/#")})
	in(t, bridge.Connected, b)
	there := listen(t, c.addr, "there", 2, "a/#")
	n := 0
	for range 3 {
		b.Pause()
		in(t, bridge.Paused, b)
		g.publishMany("a/x", 2, n, 200)
		b.Resume()
		g.publishMany("a/x", 2, n+200, 200) // live, while the others drain
		n += 400
	}
	there.inOrder("a/x", n)
}
