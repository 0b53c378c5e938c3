package bridge_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/mqtt"
)

// The faults of docs/BRIDGE.md's table whose subject is loss, stalls and limits.

// publishMany publishes n numbered messages without waiting for each, and returns when all are safe.
func (g *gateway) publishMany(topic string, qos mqtt.QoS, from, n int) {
	g.t.Helper()
	var left sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range n {
		left.Add(1)
		p := broker.Publication{Topic: topic, Payload: []byte(fmt.Sprint(from + i)), QoS: qos}
		err := g.Publish(context.Background(), p, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			left.Done()
		})
		if err != nil {
			g.t.Fatalf("publish here: %v", err)
		}
	}
	left.Wait()
	if err := failed.Load(); err != nil {
		g.t.Fatalf("publish here: %v", *err)
	}
}

// outage is a mosquitto that goes away and comes back, and what is published meanwhile.
type outage struct {
	n       int
	qos     mqtt.QoS
	sig     syscall.Signal
	restart bool // of the gateway, in the middle
}

func (o outage) run(t *testing.T) {
	t.Helper()
	c := newMosquitto(t, "max_inflight_messages 0")
	dir := t.TempDir()
	g := newGateway(t, dir)
	options := bridge.Options{Addresses: []string{c.addr}, Rules: outward(o.qos, "a/#")}
	b := g.bridge(options)
	in(t, bridge.Connected, b)
	there := newClient(t, c.addr, "there")
	there.keeps = true
	there.mustConnect().subscribe("a/#", 2)
	g.publishMany("a/x", o.qos, 0, 10)
	there.inOrder("a/x", 10)
	there.close()
	c.end(o.sig)
	g.publishMany("a/x", o.qos, 10, o.n/2)
	if o.restart {
		b.stop()
		g.stop()
		g = newGateway(t, dir)
		b = g.bridge(options)
	}
	g.publishMany("a/x", o.qos, 10+o.n/2, o.n-o.n/2)
	if o.sig == syscall.SIGKILL { // it has forgotten everything: listen before the bridge is back
		b.Pause()
		in(t, bridge.Paused, b)
		c.start()
		after := listen(t, c.addr, "after", 2, "a/#")
		b.Resume()
		eventually(t, 60*time.Second, "what was published meanwhile arrives", func() bool { return len(after.messages()) >= o.n })
		if got := len(after.received()); got != o.n {
			t.Errorf("%d of %d messages arrived", got, o.n)
		}
		return
	}
	c.start()
	if err := there.connect(); err != nil {
		t.Fatal(err)
	}
	there.inOrder("a/x", 10+o.n)
}

// A bridge's session is swept at start because it was away longer than sessions may be.
func TestMosquitto3728SweptAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newScripted(t) // not answering yet
	rules := broker.Options{SysInterval: -1, Loops: 1, Rules: broker.Rules{SessionExpiryMax: time.Second}}
	o := bridge.Options{Addresses: []string{s.addr()}, ConnectTimeout: time.Second, Rules: outward(1, "a/#")}
	g := newGatewayWith(t, dir, rules)
	b := g.bridge(o)
	eventually(t, 60*time.Second, "the bridge's session is there", func() bool { return b.log.String() != "" || b.Status().State == bridge.Connecting })
	g.publishMany("a/x", 1, 0, 100)
	eventually(t, 60*time.Second, "they wait", func() bool { return b.Status().QueueMessages == 100 })
	b.stop()
	g.stop()
	time.Sleep(2500 * time.Millisecond)
	g = newGatewayWith(t, dir, rules)
	time.Sleep(300 * time.Millisecond) // a sweep before the bridge is there
	b = g.bridge(o)
	s.run()
	drained(t, 30*time.Second, b)
	if n := len(s.published()); n != 100 {
		t.Errorf("%d of 100 messages arrived", n)
	}
}

// restarts starts the gateway again and again; each time the bridge is there and sends what waited.
func restarts(t *testing.T, protocol bridge.Protocol) {
	t.Helper()
	c := newMosquitto(t, "")
	there := listen(t, c.addr, "there", 1, "a/#")
	dir := t.TempDir()
	for i := range 5 {
		g := newGateway(t, dir)
		b := g.bridge(bridge.Options{Protocol: protocol, Addresses: []string{c.addr}, Rules: outward(1, "a/#")})
		in(t, bridge.Connected, b)
		if i > 0 && !b.Status().SessionPresent {
			t.Errorf("start %d: the centre has lost the session", i)
		}
		if i > 0 {
			there.expect("a/x", fmt.Sprint("before ", i-1))
		}
		b.Pause()
		in(t, bridge.Paused, b)
		g.publish("a/x", fmt.Sprint("before ", i), 1, false)
		b.stop()
		g.stop()
	}
}

func TestMosquitto2634BridgeAfterRestart(t *testing.T) { t.Parallel(); restarts(t, bridge.Auto) }
func TestMosquitto1334BridgeAfterRestart(t *testing.T) { t.Parallel(); restarts(t, bridge.Only311) }

// Messages of QoS 1 and 2 that come while the uplink is down are kept, all of them.
func TestMosquitto3394QueuedWhileDown(t *testing.T) {
	t.Parallel()
	outage{n: 1000, qos: 1, sig: syscall.SIGTERM}.run(t)
	outage{n: 1000, qos: 2, sig: syscall.SIGTERM}.run(t)
}

// A reading now and then to AWS while the internet is away.
func TestMosquitto3472OfflineToAWS(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Profile: bridge.AWS, Addresses: []string{s.addr()}, ConnectTimeout: 200 * time.Millisecond, Rules: outward(1, "a/#")})
	eventually(t, 60*time.Second, "a failed attempt", func() bool { return b.Status().LastError != "" })
	for i := range 20 {
		g.publish("a/x", fmt.Sprint(i), 1, false)
		time.Sleep(20 * time.Millisecond)
	}
	s.run()
	drained(t, 30*time.Second, b)
	if n := len(s.published()); n < 20 {
		t.Errorf("%d of 20 messages arrived", n)
	}
}

// The centre is away when the sensor starts, comes, and goes again.
func TestMosquitto1301StartWithoutCentre(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	there := newClient(t, c.addr, "there")
	there.keeps = true
	there.mustConnect().subscribe("a/#", 1)
	there.close()
	c.end(syscall.SIGTERM)
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{c.addr}, Rules: outward(1, "a/#")})
	eventually(t, 60*time.Second, "a failed attempt", func() bool { return b.Status().LastError != "" })
	g.publishMany("a/x", 1, 0, 100)
	c.start()
	drained(t, 30*time.Second, b)
	c.end(syscall.SIGTERM)
	g.publishMany("a/x", 1, 100, 100)
	c.start()
	if err := there.connect(); err != nil {
		t.Fatal(err)
	}
	there.inOrder("a/x", 200)
}

// An hour at 20 messages a second (72,000; 7,200 in the short form), the gateway restarted in the middle.
func TestMosquitto2415HourOfOutage(t *testing.T) {
	t.Parallel()
	outage{n: pick(7_200, 72_000), qos: 1, sig: syscall.SIGTERM, restart: true}.run(t)
}

// undisturbed has a local client take the time of its messages while the bridge has a backlog to store, or to drain.
func undisturbed(t *testing.T, draining bool) {
	t.Helper()
	s := newScripted(t)
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Start: bridge.Manual, Addresses: []string{s.addr()}, ReceiveMaximum: 200, Rules: outward(1, "a/#")})
	in(t, bridge.Waiting, b)
	local := listen(t, g.addr(), "local", 1, "local/#")
	n := pick(10_000, 200_000)
	var worst time.Duration
	pings := 0
	ping := func(until func() bool) {
		for !until() {
			at := time.Now()
			local.publish("local/ping", fmt.Sprint(pings), 1, false)
			worst = max(worst, time.Since(at))
			pings++
		}
	}
	var done atomic.Bool
	fill := func() {
		g.publishMany("a/x", 1, 0, n)
		done.Store(true)
	}
	if draining {
		fill()
		b.Resume()
		ping(func() bool { return b.Status().QueueMessages == 0 && b.Status().Acked > 0 })
	} else {
		go fill()
		ping(done.Load)
	}
	t.Logf("%d pings meanwhile, the longest %v", pings, worst.Round(10*time.Microsecond))
	if worst > time.Minute || pings == 0 { // a frozen broker; busy machines have their hiccups, and a fast one is done after two pings
		t.Errorf("%d pings, the longest took %v", pings, worst)
	}
}

func TestMosquitto174FreezeWhileDraining(t *testing.T)  { t.Parallel(); undisturbed(t, true) }
func TestMosquitto172FreezeWhileSaving(t *testing.T)    { t.Parallel(); undisturbed(t, false) }
func TestMosquitto3110FreezeWithBacklog(t *testing.T)   { t.Parallel(); undisturbed(t, true) }
func TestMosquitto1593WhatIsDropped(t *testing.T)       { t.Parallel(); full(t, broker.DropNewest) }
func TestMosquitto2202AnotherPolicy(t *testing.T)       { t.Parallel(); full(t, broker.DropOldest) }
func TestNanoMQ1980SlowDrain(t *testing.T)              { t.Parallel(); backlog(t, pick(5_000, 100_000)) }
func TestNanoMQ2423BacklogWaitsForNothing(t *testing.T) { t.Parallel(); backlog(t, 50) }

// full fills a queue of ten: what is dropped is what was asked for, and counted in the status.
func full(t *testing.T, policy broker.OnFull) {
	t.Helper()
	s := newScripted(t)
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Start: bridge.Manual, NotificationsLocalOnly: true, Addresses: []string{s.addr()}, Queue: broker.QueueLimits{Messages: 10, OnFull: policy}, Rules: outward(1, "a/#")})
	in(t, bridge.Waiting, b)
	for i := range 30 {
		g.publish("a/x", fmt.Sprint(i), 1, false)
	}
	b.Resume()
	drained(t, 20*time.Second, b)
	first := map[broker.OnFull]int{broker.DropNewest: 0, broker.DropOldest: 20}[policy]
	for i, p := range s.published() {
		if want := fmt.Sprint(first + i); string(p.Payload) != want {
			t.Errorf("message %d is %s, want %s", i, p.Payload, want)
		}
	}
	if n := len(s.published()); n != 10 {
		t.Errorf("%d messages arrived, want 10", n)
	}
}

// backlog goes out by itself after a reconnect, without a new message and without delay.
func backlog(t *testing.T, n int) {
	t.Helper()
	c := newMosquitto(t, "")
	there := listen(t, c.addr, "there", 1, "a/#")
	line := newTap(t, c.addr)
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{line.addr()}, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	b.Pause()
	in(t, bridge.Paused, b)
	g.publishMany("a/x", 1, 0, n)
	start := time.Now()
	b.Resume()
	there.inOrder("a/x", n)
	t.Logf("%d messages in %v", n, time.Since(start).Round(time.Millisecond))
}

// The link dies silently while the backlog is sent again.
func TestNanoMQ2432LinkDiesWhileResending(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	there := listen(t, c.addr, "there", 1, "a/#")
	line := newTap(t, c.addr)
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Start: bridge.Manual, Addresses: []string{line.addr()}, Rules: outward(1, "a/#")})
	in(t, bridge.Waiting, b)
	g.publishMany("a/x", 1, 0, 500)
	for round := range 4 {
		tr := &trap{way: up, packet: mqtt.PUBLISH, nth: 30 + round, before: true, spring: func() {}}
		line.set(tr)
		b.Resume()
		<-tr.sprung
		eventually(t, 60*time.Second, "the link is gone", func() bool { return b.Status().State != bridge.Connected })
	}
	b.Resume()
	eventually(t, 60*time.Second, "500 messages arrive", func() bool { return len(there.received()) == 500 })
}

// sigkill queues at a gateway without a centre and kills it: what was acknowledged is there after the start.
func sigkill(t *testing.T, n int) {
	t.Helper()
	port := freePort(t)
	g := newGatewayd(t, fmt.Sprintf("bridges:\n  - {name: centre, addresses: [\"127.0.0.1:%d\"], restart_timeout: {base: 100ms, cap: 300ms}, topics: [{filter: \"a/#\", qos: 1}]}\n", port))
	g.start()
	c := newClient(t, g.addr, "load").mustConnect()
	for i := range n {
		c.publish("a/x", fmt.Sprint(i), 1, false) // acknowledged, although the centre is away
	}
	g.p.Kill()
	g.start()
	s := newLedgerOf(t, fmt.Sprintf("127.0.0.1:%d", port))
	eventually(t, time.Minute, fmt.Sprintf("%d messages arrive", n), func() bool { return s.Load() >= int64(n) })
}

func TestVerneMQ2098BufferInMemory(t *testing.T)       { t.Parallel(); sigkill(t, 300) }
func TestVerneMQ654BridgeThatCannotBegin(t *testing.T) { t.Parallel(); sigkill(t, 1) }
func TestGreengrassLite1175PublishOffline(t *testing.T) {
	t.Parallel()
	sigkill(t, 20)
}

// A spool that holds more than memory was meant for: 40 MB wait and arrive.
func TestGreengrassNucleus825SpoolTooSmall(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Start: bridge.Manual, Addresses: []string{s.addr()}, Rules: outward(1, "a/#")})
	in(t, bridge.Waiting, b)
	body := strings.Repeat("y", 100_000)
	for i := range 400 {
		g.publish("a/x", fmt.Sprint(i, " ", body), 1, false)
	}
	if q := b.Status(); q.QueueMessages != 400 || q.QueueBytes < 40_000_000 {
		t.Errorf("%d messages of %d bytes wait", q.QueueMessages, q.QueueBytes)
	}
	b.Resume()
	drained(t, time.Minute, b)
	if n := len(s.published()); n != 400 {
		t.Errorf("%d of 400 arrived", n)
	}
}

// Load at QoS 1 through a proxy that breaks the connections.
func TestEMQX2383FaultsBehindAProxy(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "max_inflight_messages 0")
	there := listen(t, c.addr, "there", 1, "a/#")
	line := newTap(t, c.addr)
	g := newGateway(t, "")
	b := g.bridge(bridge.Options{Addresses: []string{line.addr()}, RestartStable: 50 * time.Millisecond, Rules: outward(1, "a/#")})
	n := 0
	for range 8 {
		in(t, bridge.Connected, b)
		g.publishMany("a/x", 1, n, 50)
		line.cut()
		g.publishMany("a/x", 1, n+50, 50)
		n += 100
	}
	eventually(t, 60*time.Second, fmt.Sprintf("%d messages arrive", n), func() bool { return len(there.received()) == n })
}

// Far more than a window comes while the link is there but dead: storing does not stop.
func TestThinEdge3083StoringStops(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.onPublish = func(n int64, p *mqtt.Publish, send func(mqtt.Packet)) bool {
		if n > 1 && p.QoS == 1 {
			send(&mqtt.Puback{ID: p.ID})
		}
		return true // the first connection swallows
	}
	s.run()
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, AckTimeout: 2 * time.Second, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	g.publishMany("a/x", 1, 0, 3000)
	if n := b.Status().QueueMessages + b.Status().Inflight; n < 3000 {
		t.Errorf("%d of 3000 messages are kept", n)
	}
	eventually(t, 40*time.Second, "all are acknowledged on the second connection", func() bool { return b.Status().Acked == 3000 })
}

// Sessions persist at a listener with rules of its own.
func TestThinEdge3185SessionsOfAListener(t *testing.T) {
	t.Parallel()
	g := newGatewayWith(t, t.TempDir(), broker.Options{SysInterval: -1, Loops: 1, Listeners: []broker.Listener{
		{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", Settings: broker.Settings{Rules: &broker.Rules{SessionExpiryMax: time.Hour}, Anonymous: true}}}})
	c := newClient(t, g.Addr(1).String(), "mapper")
	c.keeps = true
	c.mustConnect().subscribe("te/#", 1)
	c.close()
	g.publish("te/x", "while away", 1, false)
	if err := c.connect(); err != nil {
		t.Fatal(err)
	}
	if !c.present {
		t.Error("the session is gone")
	}
	c.expect("te/x", "while away")
}

// The network and the broker are killed in turn.
func TestNanoMQ1741NetworkAndBroker(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "max_inflight_messages 0")
	there := newClient(t, c.addr, "there")
	there.keeps = true
	there.mustConnect().subscribe("a/#", 1)
	line := newTap(t, c.addr)
	dir := t.TempDir()
	o := bridge.Options{Addresses: []string{line.addr()}, Rules: outward(1, "a/#")}
	g := newGateway(t, dir)
	b := g.bridge(o)
	in(t, bridge.Connected, b) // its session is there: what was published before is not its business
	n := 0
	for range 3 {
		g.publishMany("a/x", 1, n, 100)
		line.cut()
		g.publishMany("a/x", 1, n+100, 100)
		drained(t, 30*time.Second, b)
		there.close()
		c.end(syscall.SIGTERM)
		g.publishMany("a/x", 1, n+200, 100)
		n += 300
		b.stop()
		g.stop()
		c.start()
		if err := there.connect(); err != nil {
			t.Fatal(err)
		}
		g = newGateway(t, dir)
		b = g.bridge(o)
	}
	eventually(t, time.Minute, fmt.Sprintf("%d messages arrive", n), func() bool { return len(there.received()) == n })
}
