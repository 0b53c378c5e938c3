// Package nats runs a fleet of gateways against a distributed centre: a
// nats-server cluster of three nodes with JetStream and its MQTT listener.
package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// cluster is three nodes on loopback; each may be stopped and started.
type cluster struct {
	t       *testing.T
	options [3]*server.Options
	nodes   [3]*server.Server
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t}
	dir := t.TempDir()
	var routes []*url.URL
	var ports [3]int
	for i := range ports {
		ports[i] = freePort(t)
		u, err := url.Parse(fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, u)
	}
	for i := range c.nodes {
		c.options[i] = &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: freePort(t), NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: filepath.Join(dir, fmt.Sprint(i)),
			Cluster: server.ClusterOpts{Name: "centre", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
			MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: freePort(t), AckWait: 5 * time.Second, MaxAckPending: 1000},
		}
		c.start(i)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.Shutdown()
			n.WaitForShutdown()
		}
	})
	c.settle()
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = s
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		c.t.Fatalf("node %d is not ready", i)
	}
}

func (c *cluster) stop(i int) {
	c.nodes[i].Shutdown()
	c.nodes[i].WaitForShutdown()
}

// settle waits until the nodes have a leader and are caught up.
func (c *cluster) settle() {
	c.t.Helper()
	wait(c.t, 60*time.Second, "the cluster has a leader", func() bool {
		for _, n := range c.nodes {
			if !n.Running() {
				continue
			}
			if !n.JetStreamIsCurrent() {
				return false
			}
		}
		for _, n := range c.nodes {
			if n.Running() && n.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
}

func (c *cluster) addr(i int) string {
	return fmt.Sprintf("127.0.0.1:%d", c.options[i%3].MQTT.Port)
}

func wait(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}

// gateway is a broker with its store in memory.
func gateway(t *testing.T) *broker.Broker {
	clock := broker.NewClock()
	st, err := store.Open("", store.Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{SysInterval: -1, Loops: 1, Clock: clock}, st)
	if err != nil {
		t.Fatal(err)
	}
	storeCtx, endStore := context.WithCancel(context.Background())
	ctx, end := context.WithCancel(context.Background())
	var stores, brokers sync.WaitGroup
	stores.Go(func() { _ = st.Run(storeCtx) })
	brokers.Go(func() { _ = b.Run(ctx) })
	t.Cleanup(func() {
		end()
		brokers.Wait()
		endStore()
		stores.Wait()
		st.Close()
	})
	<-b.Ready()
	return b
}

func run(t *testing.T, b *broker.Broker, o bridge.Options) *bridge.Bridge {
	o.Log = slog.New(slog.DiscardHandler)
	o.Profile = bridge.NATS
	o.RestartBase, o.RestartCap, o.AckTimeout, o.ConnectTimeout = 300*time.Millisecond, 2*time.Second, 15*time.Second, 10*time.Second
	br, err := bridge.New(o, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := br.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = br.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return br
}

// TestCluster bridges twenty gateways into the cluster while one node after
// the other is stopped and started. An observer's gateway bridges everything
// back inward. At QoS 1 every message must arrive. At QoS 2 a trace of the
// wires says whose a fault is: every message was confirmed and completed by the
// centre, and none was published again after that; what the cluster loses or
// doubles in spite of it is counted apart.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	const gateways = 20
	seen := map[string]int{}
	var mu sync.Mutex
	observer := gateway(t)
	link, err := observer.Link(broker.LinkOptions{ClientID: "observer", CleanStart: true, MaxQoS0: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Subscribe(0, mqtt.Request{Filter: "site/#", Options: 0}); err != nil {
		t.Fatal(err)
	}
	link.Resume(1000)
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			d, err := link.Next(ctx)
			if err != nil {
				return
			}
			mu.Lock()
			seen[d.Message.Topic+" "+string(d.Message.Payload)]++
			mu.Unlock()
		}
	})
	defer reading.Wait()
	defer cancel()
	in := run(t, observer, bridge.Options{Name: "observer", ClientID: "observer", Addresses: []string{c.addr(0), c.addr(1), c.addr(2)},
		Rules: []bridge.Rule{{Filter: "site/#", Direction: bridge.In, QoS: 2}}})
	wait(t, 60*time.Second, "the observer is connected", func() bool { return in.Status().State == bridge.Connected })

	r := newTrace()
	var through [3]string
	for i := range through {
		through[i] = r.relay(t, c.addr(i))
	}
	var brokers []*broker.Broker
	var bridges []*bridge.Bridge
	for i := range gateways {
		b := gateway(t)
		brokers = append(brokers, b)
		bridges = append(bridges, run(t, b, bridge.Options{Name: fmt.Sprint("g", i), ClientID: fmt.Sprint("gateway-", i), RoundRobin: true,
			Addresses: []string{through[i%3], through[(i+1)%3], through[(i+2)%3]},
			Rules:     []bridge.Rule{{Filter: fmt.Sprintf("site/%d/#", i), Direction: bridge.Out, QoS: 2}}}))
	}
	wait(t, 60*time.Second, "the fleet is connected", func() bool {
		for _, b := range bridges {
			if b.Status().State != bridge.Connected {
				return false
			}
		}
		return true
	})

	stop := make(chan struct{})
	sent := make([]int, gateways)
	var loads sync.WaitGroup
	for i, b := range brokers {
		loads.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				for q := mqtt.QoS(1); q <= 2; q++ {
					p := broker.Publication{Topic: fmt.Sprintf("site/%d/q%d", i, q), Payload: []byte(fmt.Sprint(sent[i])), QoS: q}
					if err := b.Publish(context.Background(), p, nil); err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
				sent[i]++
			}
		})
	}
	for i := range 3 {
		time.Sleep(2 * time.Second)
		c.stop(i)
		time.Sleep(3 * time.Second)
		c.start(i)
		c.settle()
	}
	time.Sleep(2 * time.Second)
	close(stop)
	loads.Wait()
	wait(t, 120*time.Second, "every gateway has drained", func() bool {
		for _, b := range bridges {
			if s := b.Status(); s.State != bridge.Connected || s.QueueMessages != 0 || s.Inflight != 0 {
				return false
			}
		}
		return true
	})
	total := 0
	for _, n := range sent {
		total += 2 * n
	}
	have := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	for last, since := have(), time.Now(); have() < total && time.Since(since) < 15*time.Second; time.Sleep(100 * time.Millisecond) {
		if n := have(); n != last {
			last, since = n, time.Now()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	var missing, doubled [3]int
	for i, n := range sent {
		for q := 1; q <= 2; q++ {
			for k := range n {
				switch c := seen[fmt.Sprintf("site/%d/q%d %d", i, q, k)]; {
				case c == 0:
					missing[q]++
				case c > 1:
					doubled[q]++
				}
			}
		}
	}
	var retried, connects uint64
	for _, b := range bridges {
		s := b.Status()
		retried += s.Retried
		connects += s.Connects
	}
	t.Logf("%d messages through %d gateways, %d connections, %d repeats; missing %d at QoS 1, %d at QoS 2; doubled %d and %d",
		total, gateways, connects, retried, missing[1], missing[2], doubled[1], doubled[2])
	if missing[1] > 0 {
		t.Errorf("%d messages of QoS 1 are missing", missing[1])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, n := range sent {
		for k := range n {
			if m := fmt.Sprintf("site/%d/q2 %d", i, k); !r.confirmed[m] || !r.completed[m] {
				t.Errorf("%s: confirmed %v, completed %v", m, r.confirmed[m], r.completed[m])
			}
		}
	}
	if len(r.repeated) > 0 {
		t.Errorf("%d messages of QoS 2 published again after PUBREC: %q", len(r.repeated), r.repeated[:min(len(r.repeated), 5)])
	}
	if missing[2] > 0 {
		t.Logf("the cluster confirmed %d messages of QoS 2 that it never delivered", missing[2])
	}
}
