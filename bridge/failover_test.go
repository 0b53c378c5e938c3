package bridge

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// wire is a forwarder between bridge and centre whose faults the test sets.
type wire struct {
	l      net.Listener
	to     string
	hole   atomic.Bool // swallows everything both ways, without a reset
	silent atomic.Bool // accepts and never forwards
	made   atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

func newWire(t testing.TB, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.made.Add(1)
			go w.carry(c)
		}
	}()
	return w
}

func (w *wire) addr() string { return w.l.Addr().String() }

func (w *wire) keep(c net.Conn) {
	w.mu.Lock()
	w.conns = append(w.conns, c)
	w.mu.Unlock()
}

func (w *wire) carry(c net.Conn) {
	w.keep(c)
	if w.silent.Load() {
		return
	}
	d, err := net.Dial("tcp", w.to)
	if err != nil {
		c.Close()
		return
	}
	w.keep(d)
	go w.copy(c, d)
	w.copy(d, c)
}

func (w *wire) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if w.hole.Load() {
			if err != nil {
				return
			}
			continue
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = io.ErrClosedPipe
			}
		}
		if err != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

// cut closes every connection.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// TestFailover: the second address takes over at once, and the first is
// returned to only when its broker really answers (mosquitto#3293).
func TestFailover(t *testing.T) {
	c1, c2 := newCentre(t, ""), newCentre(t, "")
	w1 := newWire(t, c1.addr)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{w1.addr(), c2.addr}, ReturnInterval: 100 * time.Millisecond, ConnectTimeout: time.Second,
		Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	eventually(t, 60*time.Second, "the first address", func() bool { return b.Status().Address == w1.addr() && b.Status().State == Connected })
	at1, at2 := newNode(t, c1.addr, "at1").mustConnect(), newNode(t, c2.addr, "at2").mustConnect()
	at1.subscribe("#", 1)
	at2.subscribe("#", 1)
	g.publish("a/1", "first", 1, false)
	at1.expect("a/1", "first")

	w1.silent.Store(true) // accepts, and never answers
	w1.cut()
	eventually(t, 60*time.Second, "the second address", func() bool { return b.Status().Address == c2.addr && b.Status().State == Connected })
	g.publish("a/2", "second", 1, false)
	at2.expect("a/2", "second")
	connects := b.Status().Connects
	time.Sleep(2500 * time.Millisecond)
	if s := b.Status(); s.Connects != connects || s.Address != c2.addr {
		t.Errorf("left the second address for one that does not answer: %+v", s)
	}
	w1.silent.Store(false)
	eventually(t, 60*time.Second, "back at the first", func() bool { return b.Status().Address == w1.addr() && b.Status().State == Connected })
	g.publish("a/3", "third", 1, false)
	at1.expect("a/3", "third")
}

// TestMosquitto2410: round_robin never sticks to a dead address.
func TestMosquitto2410RoundRobin(t *testing.T) {
	c1, c2 := newCentre(t, ""), newCentre(t, "")
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{c1.addr, c2.addr}, RoundRobin: true, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	waitConnected(t, b)
	c1.end(syscall.SIGKILL)
	eventually(t, 60*time.Second, "the second", func() bool { return b.Status().Address == c2.addr && b.Status().State == Connected })
	c1.start()
	time.Sleep(500 * time.Millisecond)
	if a := b.Status().Address; a != c2.addr {
		t.Errorf("left a working address for %s", a)
	}
	c2.end(syscall.SIGKILL)
	eventually(t, 60*time.Second, "the first", func() bool { return b.Status().Address == c1.addr && b.Status().State == Connected })
}

// TestMosquitto2795: the first attempt fails, the bridge keeps trying.
func TestMosquitto2795FirstConnectFails(t *testing.T) {
	c := newCentre(t, "")
	c.end(syscall.SIGKILL)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{c.addr}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	eventually(t, 60*time.Second, "a failed attempt", func() bool { return b.Status().LastError != "" })
	g.publish("a", "1", 1, false) // no rule matches: not queued
	g.publish("a/b", "early", 1, false)
	c.start()
	there := newNode(t, c.addr, "there")
	there.mustConnect()
	there.subscribe("#", 1)
	waitConnected(t, b)
	eventually(t, 60*time.Second, "the queue drains", func() bool { return b.Status().QueueMessages == 0 })
}

// TestMosquitto3400: what was written into a link that is dead but not yet
// known to be is sent again.
func TestMosquitto3400BlackHole(t *testing.T) {
	c := newCentre(t, "")
	w := newWire(t, c.addr)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{w.addr()}, Keepalive: time.Second, ReceiveMaximum: 50,
		Rules: []Rule{{Filter: "q1/#", Direction: Out, QoS: 1}, {Filter: "q2/#", Direction: Out, QoS: 2}}})
	waitConnected(t, b)
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("q1/#", 1)
	there.subscribe("q2/#", 2)
	g.publish("q1/x", "before", 1, false)
	there.expect("q1/x", "before")
	w.hole.Store(true)
	for i := range 200 {
		g.publish("q1/x", fmt.Sprint(i), 1, false)
		g.publish("q2/x", fmt.Sprint(i), 2, false)
	}
	eventually(t, 60*time.Second, "the dead link is noticed", func() bool { return b.Status().State != Connected })
	w.hole.Store(false)
	w.cut()
	waitConnected(t, b)
	eventually(t, 60*time.Second, "everything arrives", func() bool { return there.distinct("") >= 401 })
	count := map[string]int{}
	for _, m := range there.messages() {
		count[m.Topic+string(m.Payload)]++
	}
	for i := range 200 {
		if count[fmt.Sprintf("q1/x%d", i)] == 0 || count[fmt.Sprintf("q2/x%d", i)] != 1 {
			t.Errorf("message %d: %d at QoS 1, %d at QoS 2", i, count[fmt.Sprintf("q1/x%d", i)], count[fmt.Sprintf("q2/x%d", i)])
		}
	}
}

// TestMosquitto2176: a PUBACK that never comes ends the connection, not the
// bridge.
func TestMosquitto2176MissingAck(t *testing.T) {
	g, _ := newGateway(t, "", listenOptions())
	f := newFake(t, fakeOptions{ackFrom: 2})
	b, _ := g.bridge(Options{Addresses: []string{f.addr()}, AckTimeout: 500 * time.Millisecond, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	waitConnected(t, b)
	g.publish("a/1", "x", 1, false)
	eventually(t, 60*time.Second, "the message is acknowledged on the second connection", func() bool {
		s := b.Status()
		return s.Connects >= 2 && s.QueueMessages == 0 && s.Acked == 1 && s.Retried >= 1
	})
}

// TestGatewayRestart: what waited before a restart of the gateway is sent
// after it (mosquitto#2666, #2634, #3728), and the bridge's session is the
// same one however long it was away.
func TestMosquitto2666GatewayRestart(t *testing.T) {
	c := newCentre(t, "")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("#", 2)
	dir := t.TempDir()
	o := Options{Addresses: []string{c.addr}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 2}}}
	g, stopGateway := newGateway(t, dir, listenOptions())
	b, stop := g.bridge(o)
	waitConnected(t, b)
	b.Pause()
	eventually(t, 60*time.Second, "paused", func() bool { return b.Status().State == Paused })
	for i := range 300 {
		g.publish("a/x", fmt.Sprint(i), 2, false)
	}
	if n := b.Status().QueueMessages; n != 300 {
		t.Errorf("%d messages wait, want 300", n)
	}
	stop()
	stopGateway()
	g, _ = newGateway(t, dir, listenOptions())
	b, _ = g.bridge(o)
	waitConnected(t, b)
	eventually(t, 60*time.Second, "300 messages arrive", func() bool { return len(there.messages()) >= 300 })
	time.Sleep(200 * time.Millisecond)
	for i, m := range there.messages() {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	if n := len(there.messages()); n != 300 {
		t.Errorf("%d messages, want 300", n)
	}
}

// TestOpenBeforeTheBroker: a bridge opened before the broker runs misses not
// even the first message.
func TestOpenBeforeTheBroker(t *testing.T) {
	c := newCentre(t, "")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("#", 1)
	o := Options{Name: "x", ClientID: "x", Addresses: []string{c.addr}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}}
	var b *Bridge
	g, _ := newGatewayWith(t, t.TempDir(), listenOptions(), func(local *broker.Broker) {
		var err error
		if b, err = New(o, local); err != nil {
			t.Fatal(err)
		}
		if err := b.Open(); err != nil {
			t.Fatal(err)
		}
	})
	g.publish("a/x", "the very first", 1, false)
	if n := b.Status().QueueMessages; n != 1 {
		t.Errorf("%d messages wait", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	there.expect("a/x", "the very first")
}

func TestBackoff(t *testing.T) {
	b := newBackoff(5*time.Second, 30*time.Second, 10*time.Second)
	b.random = func() float64 { return 0.999999 }
	var got []time.Duration
	for range 5 {
		got = append(got, b.next().Round(time.Second))
	}
	if fmt.Sprint(got) != "[15s 30s 30s 30s 30s]" {
		t.Errorf("longest pauses %v", got)
	}
	b.lasted(9 * time.Second) // accepted and thrown out again: not stable
	if d := b.next(); d < 29*time.Second {
		t.Errorf("a short connection started the back-off over: %v", d)
	}
	b.lasted(10 * time.Second)
	b.random = func() float64 { return 0 }
	if d := b.next(); d != 5*time.Second {
		t.Errorf("after a stable connection %v", d)
	}
}

// TestLimiter: messages pass at the rate, in no time.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter{rate: 100}
		start := time.Now()
		for range 1000 {
			if d := l.take(time.Now(), 1); d > 0 {
				time.Sleep(d)
			}
		}
		if took := time.Since(start); took < 9800*time.Millisecond || took > 10*time.Second {
			t.Errorf("1000 messages at 100/s took %v", took)
		}
	})
}

// TestDrain sends what waits and then stays away.
func TestDrain(t *testing.T) {
	c := newCentre(t, "")
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Start: Manual, Addresses: []string{c.addr}, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
	for i := range 50 {
		g.publish("a/x", fmt.Sprint(i), 1, false)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "paused", func() bool { return b.Status().State == Paused })
	if s := b.Status(); s.Acked != 50 || s.QueueMessages != 0 {
		t.Errorf("after the drain %+v", s)
	}
}

// TestStartTypes: lazy connects for the threshold and leaves when idle; once
// does not come back.
func TestStartTypes(t *testing.T) {
	c := newCentre(t, "")
	g, _ := newGateway(t, "", listenOptions())
	rules := []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}
	lazy, _ := g.bridge(Options{Name: "lazy", Start: Lazy, Threshold: 3, IdleTimeout: 500 * time.Millisecond, Addresses: []string{c.addr}, Rules: rules})
	once, _ := g.bridge(Options{Name: "once", Start: Once, Addresses: []string{c.addr}, Rules: rules})
	waitConnected(t, once)
	once.breakLine()
	eventually(t, 60*time.Second, "once has ended", func() bool { return once.Status().State == Ended })
	g.publish("a/1", "x", 1, false)
	g.publish("a/1", "x", 1, false)
	time.Sleep(400 * time.Millisecond)
	if s := lazy.Status().State; s != Waiting {
		t.Errorf("lazy is %s below its threshold", s)
	}
	g.publish("a/1", "x", 1, false)
	eventually(t, 60*time.Second, "lazy comes at its threshold", func() bool { return lazy.Status().Connects > 0 })
	eventually(t, 60*time.Second, "lazy leaves when idle", func() bool { return lazy.Status().State == Waiting })
	if s := lazy.Status(); s.Acked != 3 {
		t.Errorf("lazy: %+v", s)
	}
}

// TestTwoWills: where the bridge carries another's will, as that of a Sparkplug
// node, both are published when the line breaks: that one and the state 0.
func TestTwoWills(t *testing.T) {
	const state, death = "$SYS/broker/connection/gw.centre/state", "spBv1.0/plant/NDEATH/gw"
	c := newCentre(t, "")
	w := newWire(t, c.addr)
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe(state, 1)
	there.subscribe("spBv1.0/#", 1)
	g, _ := newGateway(t, "", listenOptions())
	b, stop := g.bridge(Options{Addresses: []string{w.addr()}, Rules: outRule(1), Will: func() *mqtt.Will {
		return &mqtt.Will{Topic: death, Payload: []byte("bdSeq"), QoS: 1}
	}})
	waitConnected(t, b)
	count := func(topic, payload string) (n int) {
		for _, m := range there.messages() {
			if m.Topic == topic && string(m.Payload) == payload {
				n++
			}
		}
		return n
	}
	eventually(t, 60*time.Second, "state 1", func() bool { return count(state, "1") == 1 })
	w.cut()
	eventually(t, 60*time.Second, "both wills, and state 1 again", func() bool {
		return count(death, "bdSeq") >= 1 && count(state, "0") >= 1 && count(state, "1") >= 2
	})
	waitConnected(t, b)
	zeros := count(state, "0")
	stop()
	eventually(t, 60*time.Second, "both after an orderly end", func() bool {
		m := there.messages()
		return count(death, "bdSeq") >= 2 && count(state, "0") > zeros && len(m) > 0
	})
}
