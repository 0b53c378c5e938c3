package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// gateway is a local broker in this process.
type gateway struct {
	*broker.Broker
	t    testing.TB
	stop func() // ends it early
}

// newGateway starts a broker that listens on an ephemeral port; dir "" keeps everything in memory.
func newGateway(t testing.TB, dir string) *gateway {
	t.Helper()
	return newGatewayWith(t, dir, broker.Options{Listeners: []broker.Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1, Loops: 1})
}

func newGatewayWith(t testing.TB, dir string, o broker.Options) *gateway {
	t.Helper()
	o.Clock = broker.NewClock()
	st, err := store.Open(dir, store.Options{Now: o.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(o, st)
	if err != nil {
		t.Fatal(err)
	}
	storeCtx, endStore := context.WithCancel(context.Background())
	ctx, end := context.WithCancel(context.Background())
	var stores, brokers sync.WaitGroup
	stores.Go(func() { _ = st.Run(storeCtx) })
	brokers.Go(func() {
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("broker: %v", err)
		}
	})
	var once sync.Once
	g := &gateway{Broker: b, t: t}
	g.stop = func() {
		once.Do(func() {
			end()
			brokers.Wait()
			endStore()
			stores.Wait()
			st.Close()
		})
	}
	t.Cleanup(g.stop)
	<-b.Ready()
	return g
}

func (g *gateway) addr() string { return g.Addr(0).String() }

// publish publishes here and waits until that is safe.
func (g *gateway) publish(topic, payload string, qos mqtt.QoS, retain bool) {
	g.t.Helper()
	if err := g.tryPublish(topic, payload, qos, retain); err != nil {
		g.t.Fatalf("publish here: %v", err)
	}
}

func (g *gateway) tryPublish(topic, payload string, qos mqtt.QoS, retain bool) error {
	done := make(chan error, 1)
	p := broker.Publication{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	if err := g.Publish(context.Background(), p, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

// lines collects the log of a bridge.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// joined is a running bridge, its log, and what ends it early.
type joined struct {
	*bridge.Bridge
	log  *lines
	stop func()
}

// bridge starts a bridge of the gateway.
func (g *gateway) bridge(o bridge.Options) *joined {
	g.t.Helper()
	if o.Name == "" {
		o.Name = "centre"
	}
	if o.ClientID == "" {
		o.ClientID = "gw." + o.Name
	}
	if o.RestartBase == 0 {
		o.RestartBase, o.RestartCap = 100*time.Millisecond, 500*time.Millisecond
	}
	j := &joined{log: &lines{}}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(j.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	b, err := bridge.New(o, g.Broker)
	if err != nil {
		g.t.Fatal(err)
	}
	j.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			g.t.Errorf("bridge: %v", err)
		}
	})
	j.stop = func() { cancel(); wg.Wait() }
	g.t.Cleanup(func() {
		j.stop()
		if g.t.Failed() {
			g.t.Logf("log of bridge %s:\n%s", o.Name, j.log)
		}
	})
	return j
}

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// in waits until the bridges are in a state.
func in(t testing.TB, state bridge.State, bridges ...*joined) {
	t.Helper()
	for _, b := range bridges {
		eventually(t, 60*time.Second, b.Name()+" is "+string(state), func() bool { return b.Status().State == state })
	}
}

// drained waits until nothing waits for the centre any more.
func drained(t testing.TB, within time.Duration, bridges ...*joined) {
	t.Helper()
	for _, b := range bridges {
		eventually(t, within, b.Name()+" has drained", func() bool {
			s := b.Status()
			return s.State == bridge.Connected && s.QueueMessages == 0 && s.Inflight == 0
		})
	}
}

func outward(qos mqtt.QoS, filter string) []bridge.Rule {
	return []bridge.Rule{{Filter: filter, Direction: bridge.Out, QoS: qos}}
}
