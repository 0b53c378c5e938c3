package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// TestFlapping: a link that breaks every few hundred milliseconds, under load
// of QoS 1 and 2 both ways: nothing is lost, QoS 2 not doubled, and a local
// client does not notice (mosquitto#1850).
func TestMosquitto1850Flapping(t *testing.T) {
	flaps := 15
	if testing.Short() {
		flaps = 6
	}
	c := newCentre(t, "max_inflight_messages 0")
	w := newWire(t, c.addr)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{w.addr()}, ReceiveMaximum: 50, RestartBase: 20 * time.Millisecond, RestartCap: 60 * time.Millisecond,
		RestartStable: 50 * time.Millisecond, Log: quiet,
		Rules: []Rule{{Filter: "q1/#", Direction: Out, QoS: 1}, {Filter: "q2/#", Direction: Out, QoS: 2}, {Filter: "down/#", Direction: In, QoS: 2}}})
	waitConnected(t, b)
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("q1/#", 1)
	there.subscribe("q2/#", 2)
	here := g.node("here").mustConnect()
	here.subscribe("down/#", 2)
	local := g.node("local").mustConnect()
	local.subscribe("ping", 0)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	up, down := 0, 0
	wg.Go(func() {
		for ; ; up++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			g.publish("q1/x", fmt.Sprint(up), 1, false)
			g.publish("q2/x", fmt.Sprint(up), 2, false)
		}
	})
	wg.Go(func() {
		for ; ; down++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if _, err := there.send("down/x", fmt.Sprint(down), 2, false); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range flaps {
		local.publish("ping", fmt.Sprint(i), 0, false)
		time.Sleep(300 * time.Millisecond)
		w.cut()
	}
	close(stop)
	wg.Wait()
	eventually(t, 60*time.Second, "everything crosses", func() bool {
		s := b.Status()
		return s.QueueMessages == 0 && s.Inflight == 0 && there.distinct("") >= 2*up && here.distinct("down/") >= down
	})
	time.Sleep(100 * time.Millisecond)
	count := map[string]int{}
	for _, m := range append(there.messages(), here.messages()...) {
		count[m.Topic+" "+string(m.Payload)]++
	}
	for i := range up {
		if a, z := count[fmt.Sprintf("q1/x %d", i)], count[fmt.Sprintf("q2/x %d", i)]; a == 0 || z != 1 {
			t.Errorf("message %d: %d times at QoS 1, %d at QoS 2", i, a, z)
		}
	}
	for i := range down {
		if n := count[fmt.Sprintf("down/x %d", i)]; n != 1 {
			t.Errorf("downward message %d: %d times", i, n)
		}
	}
	if s := b.Status(); s.Connects < uint64(flaps)/2 {
		t.Errorf("only %d connections for %d flaps", s.Connects, flaps)
	}
	if n := len(local.messages()); n != flaps {
		t.Errorf("the local client received %d of %d", n, flaps)
	}
	t.Logf("%d up at each QoS, %d down, %d connections", up, down, b.Status().Connects)
}

// TestFleet: a thousand gateways that lose the same centre come back spread out,
// all through an outage and at its end. The pauses are uniform between once and
// three times the base at first, so N gateways come at N/(2·base) a second. Time
// is synctest's and the jitter's seeds are fixed, so the figures are the same on
// every machine.
func TestFleet(t *testing.T) { synctest.Test(t, fleet) }

func fleet(t *testing.T) {
	const (
		n    = 1000
		base = 5 * time.Second
		away = 3 * time.Minute
	)
	var mu sync.Mutex
	var arrivals []time.Time
	var open []net.Conn
	var connected atomic.Int64
	gone := false
	dialFleet := func(context.Context, address, *Options) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		arrivals = append(arrivals, time.Now())
		if gone {
			return nil, errors.New("connection refused")
		}
		ours, theirs := net.Pipe()
		open = append(open, theirs)
		go func() {
			defer theirs.Close()
			buf := make([]byte, 4096)
			if _, err := theirs.Read(buf); err != nil {
				return
			}
			if _, err := theirs.Write((&mqtt.Connack{SessionPresent: true}).Append(nil, mqtt.V311)); err != nil {
				return
			}
			connected.Add(1)
			defer connected.Add(-1)
			for {
				k, err := theirs.Read(buf)
				if err != nil {
					return
				}
				for b := buf[:k]; len(b) > 0; { // a pipe hands over whole packets
					size, _ := mqtt.Split(b, 0)
					switch p, _ := mqtt.Decode(mqtt.V311, b[:size]); p := p.(type) {
					case *mqtt.Pingreq:
						_, _ = theirs.Write((&mqtt.Pingresp{}).Append(nil, mqtt.V311))
					case *mqtt.Unsubscribe:
						_, _ = theirs.Write((&mqtt.Unsuback{ID: p.ID}).Append(nil, mqtt.V311))
					}
					b = b[size:]
				}
			}
		}()
		return ours, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range n {
		g, end := newGateway(t, "", broker.Options{SysInterval: -1, Loops: -1})
		b, err := New(Options{Name: fmt.Sprint("b", i), ClientID: fmt.Sprint("b", i), Protocol: Only311, NoNotifications: true, Log: quiet,
			Addresses: []string{"centre:1883"}, RestartBase: base, RestartCap: 30 * time.Second, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}}, g.Broker)
		if err != nil {
			t.Fatal(err)
		}
		b.dial = dialFleet
		b.back.random = rand.New(rand.NewPCG(uint64(i), 1)).Float64
		running.Go(func() {
			defer end()
			_ = b.Run(ctx)
		})
	}
	time.Sleep(time.Minute)
	if k := connected.Load(); k != n {
		t.Fatalf("%d of %d are connected", k, n)
	}
	most := func(what string, since time.Time) {
		mu.Lock()
		defer mu.Unlock()
		perSecond := map[int]int{}
		for _, a := range arrivals {
			perSecond[int(a.Sub(since)/time.Second)]++
		}
		top, at := 0, 0
		for second, k := range perSecond {
			if k > top {
				top, at = k, second
			}
			if what == "lost" && second < int(base/time.Second) {
				t.Errorf("%d attempts in second %d, before the base", k, second)
			}
		}
		bound := int(1.35 * n / (2 * base.Seconds()))
		t.Logf("%s: %d attempts, at most %d in a second (second %d), bound %d", what, len(arrivals), top, at, bound)
		if top > bound {
			t.Errorf("%s: %d attempts in a second, bound %d", what, top, bound)
		}
		arrivals = nil
	}
	mu.Lock()
	arrivals, gone = nil, true
	lost := time.Now()
	for _, c := range open {
		c.Close()
	}
	mu.Unlock()
	time.Sleep(away)
	most("lost", lost)
	mu.Lock()
	gone = false
	mu.Unlock()
	back := time.Now()
	time.Sleep(31 * time.Second) // the longest pause
	most("back", back)
	if k := connected.Load(); k != n {
		t.Errorf("%d of %d came back", k, n)
	}
	stop()
	running.Wait()
}
