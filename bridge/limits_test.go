package bridge

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
)

func outRule(qos mqtt.QoS) []Rule { return []Rule{{Filter: "a/#", Direction: Out, QoS: qos}} }

// TestLadder: the bridge finds the protocol the centre speaks and remembers it.
func TestLadder(t *testing.T) {
	for _, tc := range []struct {
		name  string
		f     fakeOptions
		o     Options
		want  string
		tries int // connections until it is found
		again int // and the next time
	}{
		{"refuses 5 in 3.1.1's form", fakeOptions{only3: true}, Options{}, "3.1.1 as bridge", 2, 1},
		{"refuses 5 and the bit", fakeOptions{only3: true, noBit: true}, Options{}, "3.1.1", 3, 1},
		{"hangs up at 5", fakeOptions{hangUp5: true}, Options{}, "3.1.1 as bridge", 3, 2},
		{"hangs up at 5 and refuses the bit", fakeOptions{hangUp5: true, noBit: true}, Options{}, "3.1.1", 4, 3},
		{"without trying the bit", fakeOptions{only3: true}, Options{NoPrivate: true}, "3.1.1", 2, 1},
		{"3.1 without the bit", fakeOptions{noBit: true}, Options{Protocol: Only31}, "3.1", 2, 1},
		{"NATS is not asked for 5", fakeOptions{}, Options{Profile: NATS}, "3.1.1", 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, tc.f)
			g, _ := newGateway(t, "", listenOptions())
			tc.o.Addresses, tc.o.Rules = []string{f.addr()}, outRule(1)
			b, _ := g.bridge(tc.o)
			waitConnected(t, b)
			if got := b.Status().Protocol; got != tc.want {
				t.Errorf("protocol %s, want %s", got, tc.want)
			}
			if n := f.conns.Load(); n != int64(tc.tries) {
				t.Errorf("%d connections, want %d", n, tc.tries)
			}
			b.breakLine()
			eventually(t, 60*time.Second, "connects again", func() bool { return b.Status().Connects == 2 })
			if n := f.conns.Load(); n != int64(tc.tries+tc.again) {
				t.Errorf("%d connections in all, want %d", n, tc.tries+tc.again)
			}
		})
	}
}

// TestHangUpsAreForgotten: a balancer whose centre is away accepts and hangs up,
// and the centre returns in the very attempt with a lower protocol. The next
// connection is of MQTT 5 again.
func TestHangUpsAreForgotten(t *testing.T) {
	f := newFake(t, fakeOptions{accept: func(n int64) bool { return n > 2 }})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{f.addr()}, Rules: outRule(1)})
	waitConnected(t, b)
	if p := b.Status().Protocol; p != "3.1.1 as bridge" {
		t.Fatalf("protocol %s: the fault was not met", p)
	}
	b.breakLine()
	eventually(t, 60*time.Second, "connects again", func() bool { return b.Status().Connects == 2 })
	if p := b.Status().Protocol; p != "5.0" {
		t.Errorf("protocol %s", p)
	}
}

// TestOnly5IsNotLeft: a protocol asked for by name is never left for another.
func TestOnly5IsNotLeft(t *testing.T) {
	f := newFake(t, fakeOptions{only3: true})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Protocol: Only5, Addresses: []string{f.addr()}, Rules: outRule(1)})
	eventually(t, 60*time.Second, "refusals", func() bool { return f.conns.Load() >= 3 })
	if s := b.Status(); s.State == Connected || !strings.Contains(s.LastError, "unsupported protocol version") {
		t.Errorf("%+v", s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.connects {
		if c.Version != mqtt.V5 {
			t.Errorf("CONNECT of %v", c.Version)
		}
	}
}

// TestRemoteLimits: what the centre grants in CONNACK is kept to.
func TestRemoteLimits(t *testing.T) {
	f := newFake(t, fakeOptions{connack: &mqtt.Connack{Properties: &mqtt.Properties{
		Present: mqtt.PropertiesOf(mqtt.PropMaximumQoS, mqtt.PropRetainAvailable), MaximumPacketSize: 100, TopicAliasMaximum: 1}}})
	f.o.connack.Properties.MaximumQoS = 1
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{f.addr()}, Rules: outRule(2), MaxTopicAlias: 10, OverSize: Drop})
	waitConnected(t, b)
	g.publish("a/1", "two", 2, true)
	g.publish("a/1", strings.Repeat("x", 200), 1, false)
	g.publish("a/1", "again", 1, false)
	g.publish("a/2", "other", 0, false)
	eventually(t, 60*time.Second, "three messages", func() bool { return len(f.published()) == 3 })
	p := f.published()
	if p[0].QoS != 1 || p[0].Retain || p[0].Topic != "a/1" || p[0].Properties == nil || p[0].Properties.TopicAlias != 1 {
		t.Errorf("first: %+v", p[0])
	}
	if string(p[1].Payload) != "again" || p[1].Topic != "" || p[1].Properties.TopicAlias != 1 {
		t.Errorf("second: %+v", p[1])
	}
	if p[2].Topic != "a/2" || p[2].Properties != nil {
		t.Errorf("third: %+v", p[2])
	}
	eventually(t, 60*time.Second, "nothing waits", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Inflight == 0 })
	if s := b.Status(); len(s.Dropped) != 1 || s.Dropped["too_large"] != 1 || s.QoSLowered != 1 || s.RetainStripped != 1 {
		t.Errorf("dropped %v, %d lowered, %d stripped", s.Dropped, s.QoSLowered, s.RetainStripped)
	}
}

// TestMosquitto3002: the centre's Receive Maximum bounds what is under way,
// retransmissions included.
func TestMosquitto3002ReceiveMaximum(t *testing.T) {
	release := make(chan struct{})
	f := newFake(t, fakeOptions{connack: &mqtt.Connack{Properties: &mqtt.Properties{ReceiveMaximum: 3}}})
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		if p.Topic[0] == '$' {
			f.inflight--
			_, _ = c.Write((&mqtt.Puback{ID: p.ID}).Append(nil, v))
			return
		}
		id := p.ID
		go func() {
			<-release
			f.mu.Lock()
			f.inflight--
			_, _ = c.Write((&mqtt.Puback{ID: id}).Append(nil, v))
			f.mu.Unlock()
		}()
	}
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{f.addr()}, Rules: outRule(1)})
	waitConnected(t, b)
	for i := range 50 {
		g.publish("a/x", fmt.Sprint(i), 1, false)
	}
	eventually(t, 60*time.Second, "the window fills", func() bool { return len(f.published()) == 3 })
	time.Sleep(100 * time.Millisecond)
	if n := len(f.published()); n != 3 {
		t.Errorf("%d messages under way, the centre allows 3", n)
	}
	close(release)
	eventually(t, 60*time.Second, "everything is sent", func() bool { return b.Status().Acked == 50 })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most > 3 {
		t.Errorf("%d messages under way at a time", f.most)
	}
	for i, p := range f.publishes[1:] {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, p.Payload)
		}
	}
}

// TestRefusals: a message the centre refuses for good is counted; one it has
// no room for stays here.
func TestRefusals(t *testing.T) {
	f := newFake(t, fakeOptions{puback: mqtt.NotAuthorized})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(2)})
	waitConnected(t, b)
	g.publish("a/1", "one", 1, false)
	g.publish("a/2", "two", 2, false)
	eventually(t, 60*time.Second, "both are refused", func() bool { return b.Status().Dropped["refused_by_centre"] == 2 })
	eventually(t, 60*time.Second, "nothing waits", func() bool { return b.Status().QueueMessages == 0 })

	f = newFake(t, fakeOptions{})
	full := true
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		code := mqtt.Success
		if full {
			code, full = mqtt.QuotaExceeded, false
		}
		_, _ = c.Write((&mqtt.Puback{ID: p.ID, Code: code}).Append(nil, v))
	}
	b, _ = g.bridge(Options{Name: "full", NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(1)})
	waitConnected(t, b)
	g.publish("a/3", "three", 1, false)
	eventually(t, 60*time.Second, "the message is taken at last", func() bool { s := b.Status(); return s.Acked == 1 && s.QueueMessages == 0 })
	if p := f.published(); len(p) != 2 || p[1].Dup || string(p[1].Payload) != "three" {
		t.Errorf("the centre saw %+v", p)
	}
}

// TestEcho: a centre without no-local and without the bridge bit sends our own
// messages back; they are not taken for new ones.
func TestEcho(t *testing.T) {
	f := newFake(t, fakeOptions{echoes: true})
	g, _ := newGateway(t, "", listenOptions())
	here := g.node("here").mustConnect()
	here.subscribe("#", 1)
	b, _ := g.bridge(Options{Protocol: Only311, NoPrivate: true, NotificationsLocalOnly: true, Addresses: []string{f.addr()},
		Rules: []Rule{{Filter: "a/#", Direction: Both, QoS: 1, RemotePrefix: "r/"}}})
	waitConnected(t, b)
	for i := range 5 {
		g.publish("a/x", fmt.Sprint(i%2), 1, false)
	}
	eventually(t, 60*time.Second, "five echoes are dropped", func() bool { return b.Status().Dropped["echo"] == 5 })
	time.Sleep(50 * time.Millisecond)
	if n := len(here.messages()); n != 5 {
		t.Errorf("%d messages here, want 5", n)
	}
	if n := len(f.published()); n != 5 {
		t.Errorf("%d messages there, want 5", n)
	}
}

// TestMosquitto3011 and its many kin: a circle through a broker that we know
// nothing of is cut; the other rules go on.
func TestMosquitto3011StormBreaker(t *testing.T) {
	f := newFake(t, fakeOptions{})
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
		back := mqtt.Publish{Topic: p.Topic, Payload: p.Payload}
		if strings.HasPrefix(p.Topic, "loop/") { // two rules that join up at the centre
			back.Topic = "circle/" + p.Topic[5:]
			_, _ = c.Write(back.Append(nil, v))
		}
	}
	g, _ := newGateway(t, "", listenOptions())
	// Inward lands where a second bridge carries outward: emulated by the
	// gateway's own second bridge below.
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: []Rule{
		{Filter: "x", Direction: Out, LocalPrefix: "start/", RemotePrefix: "loop/"},
		{Filter: "#", Direction: In, LocalPrefix: "back/", RemotePrefix: "circle/"},
		{Filter: "fine/#", Direction: Out},
	}})
	relay, _ := g.bridge(Options{Name: "relay", NotificationsLocalOnly: true, Addresses: []string{g.Addr(0).String()}, Rules: []Rule{
		{Filter: "x", Direction: Out, LocalPrefix: "back/", RemotePrefix: "start/"},
	}})
	waitConnected(t, b, relay)
	g.publish("start/x", "round and round", 0, false)
	eventually(t, 60*time.Second, "the rule is cut", func() bool { return len(b.Status().CutRules) > 0 })
	eventually(t, 60*time.Second, "nothing circles any more", func() bool {
		n := len(f.published())
		time.Sleep(200 * time.Millisecond)
		return len(f.published()) == n
	})
	g.publish("fine/a", "goes on", 0, false)
	eventually(t, 60*time.Second, "the other rule carries", func() bool { p := f.published(); return p[len(p)-1].Topic == "fine/a" })
	b.Resume()
	if cut := b.Status().CutRules; len(cut) != 0 {
		t.Errorf("still cut after Resume: %v", cut)
	}
}

// TestSubscriptionBatches: a centre that takes eight filters at a time gets no
// more, and a refused one does not stop the others.
func TestSubscriptionBatches(t *testing.T) {
	f := newFake(t, fakeOptions{suback: func(q mqtt.Request) mqtt.ReasonCode {
		if q.Filter == "in/3" {
			return mqtt.NotAuthorized
		}
		return 1
	}})
	g, _ := newGateway(t, "", listenOptions())
	var rules []Rule
	for i := range 20 {
		rules = append(rules, Rule{Filter: fmt.Sprintf("in/%d", i), Direction: In, QoS: 2})
	}
	b, _ := g.bridge(Options{Profile: AWS, Addresses: []string{f.addr()}, Rules: rules})
	waitConnected(t, b)
	f.mu.Lock()
	defer f.mu.Unlock()
	subs := 0
	for _, p := range f.packets {
		if p == mqtt.SUBSCRIBE {
			subs++
		}
	}
	if subs != 3 || len(f.requests) != 20 {
		t.Errorf("%d SUBSCRIBE packets with %d filters", subs, len(f.requests))
	}
	if q := f.requests[0].Options; q.QoS() != 1 || !q.NoLocal() || !q.RetainAsPublished() || q.RetainHandling() != 1 {
		t.Errorf("options %08b", q)
	}
	if f.connects[0].Will != nil {
		t.Error("AWS got a will under $SYS")
	}
}

// TestStormOfReconnects: a centre that accepts and throws out again is not
// hammered (esp-rainmaker-neo-firmware#1).
func TestStormOfReconnects(t *testing.T) {
	f := newFake(t, fakeOptions{})
	f.o.onPublish = func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) { c.Close() }
	g, _ := newGateway(t, "", listenOptions())
	_, stop := g.bridge(Options{Addresses: []string{f.addr()}, Rules: outRule(1), RestartBase: 200 * time.Millisecond, RestartCap: time.Second})
	start := time.Now()
	eventually(t, 60*time.Second, "six connections", func() bool { return f.conns.Load() >= 6 })
	stop()
	if n, took := f.conns.Load(), time.Since(start); took < time.Duration(n-2)*200*time.Millisecond {
		t.Errorf("%d connections in %v", n, took)
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ text, host, path string }{
		{"h:1", "h:1", ""}, {"mqtt://h", "h:1883", ""}, {"mqtts://h", "h:8883", ""}, {"ws://h", "h:80", "/mqtt"},
		{"wss://h/x?y=1", "h:443", "/x?y=1"}, {"[::1]:5", "[::1]:5", ""}, {"unix:/run/x.sock", "/run/x.sock", ""},
	} {
		a, err := parseAddress(tc.text, Options{WebSocketPath: "/mqtt"})
		if err != nil || a.host != tc.host || a.path != tc.path {
			t.Errorf("%s: %+v, %v", tc.text, a, err)
		}
	}
	for _, bad := range []string{"ftp://h", "mqtt://", "://"} {
		if a, err := parseAddress(bad, Options{}); err == nil {
			t.Errorf("%s: %+v", bad, a)
		}
	}
}
