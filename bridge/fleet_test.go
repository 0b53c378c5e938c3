package bridge

import (
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
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
	eventually(t, 20*time.Second, "everything crosses", func() bool {
		s := b.Status()
		return s.QueueMessages == 0 && s.Inflight == 0 && len(there.messages()) >= 2*up && len(here.messages()) >= down
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

// TestFleet: gateways that lose the same centre come back spread out. The
// first pause is uniform between once and three times the base, so N of them
// come at N/(2·base) a second; a tenth of a second sees at most twice that.
func TestFleet(t *testing.T) {
	n, base := 1000, 2*time.Second
	if testing.Short() {
		n = 100
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex
	var open []net.Conn
	var arrivals []time.Time
	var connected atomic.Int64
	refuse := false
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			arrivals = append(arrivals, time.Now())
			away := refuse
			if !away {
				open = append(open, c)
			}
			mu.Unlock()
			if away {
				c.Close()
				continue
			}
			go func() {
				buf := make([]byte, 512)
				if _, err := c.Read(buf); err != nil {
					return
				}
				connected.Add(1)
				_, _ = c.Write((&mqtt.Connack{}).Append(nil, mqtt.V311))
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	for i := range n {
		g, _ := newGateway(t, "", broker.Options{SysInterval: -1, Loops: 1})
		_, _ = g.bridge(Options{Name: fmt.Sprint("b", i), Protocol: Only311, NoNotifications: true, Log: quiet, Addresses: []string{l.Addr().String()},
			RestartBase: base, RestartCap: 6 * base, Rules: []Rule{{Filter: "a/#", Direction: Out, QoS: 1}}})
	}
	eventually(t, 60*time.Second, "the fleet is connected", func() bool { return connected.Load() == int64(n) })
	mu.Lock()
	refuse = true
	arrivals = nil
	lost := time.Now()
	for _, c := range open {
		c.Close()
	}
	mu.Unlock()
	time.Sleep(3 * base)
	mu.Lock()
	defer mu.Unlock()
	perTenth := map[int]int{}
	for _, a := range arrivals {
		perTenth[int(a.Sub(lost)/(100*time.Millisecond))]++
	}
	bound := int(math.Ceil(2*float64(n)/(2*base.Seconds())/10)) + 8
	most := 0
	for at, k := range perTenth {
		most = max(most, k)
		if at < int(base/(100*time.Millisecond))-1 {
			t.Errorf("%d attempts after %d tenths of a second, before the base", k, at)
		}
	}
	if most > bound {
		t.Errorf("%d attempts in a tenth of a second, bound %d", most, bound)
	}
	if len(arrivals) < n*9/10 {
		t.Errorf("only %d of %d came back", len(arrivals), n)
	}
	t.Logf("%d gateways: %d attempts in %v, at most %d in a tenth of a second (bound %d)", n, len(arrivals), 3*base, most, bound)
}
