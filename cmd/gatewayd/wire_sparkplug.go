package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"gatewayd/bridge"
	"gatewayd/config"
	"gatewayd/mqtt"
	"gatewayd/sensors"
	"gatewayd/sparkplug"
	"gatewayd/store"
	"gatewayd/topic"
)

// observers passes what the sensors do on to the edge node, when there is one.
// A reload changes the node, not the scheduler or the bridge that know this.
type observers struct {
	node atomic.Pointer[sparkplug.Node]
}

// Observe passes one event on.
func (o *observers) Observe(e sensors.Event) {
	if n := o.node.Load(); n != nil {
		n.Observe(e)
	}
}

// will is the edge node's NDEATH, for a bridge's connection.
func (o *observers) will() *mqtt.Will {
	if n := o.node.Load(); n != nil {
		return n.Will()
	}
	return nil
}

// stateTopic is where a bridge says 1 or 0 at this gateway.
func stateTopic(o bridge.Options) string {
	return cmp.Or(o.NotificationTopic, "$SYS/broker/connection/"+o.ClientID+"/state")
}

// newSparkplug makes the edge node of what the sensors will publish and lets
// them report to it; nil without one.
func (g *gateway) newSparkplug(c *config.Config) (*sparkplug.Node, error) {
	s := c.Sparkplug
	if !s.Enabled {
		g.sensing.observer.node.Store(nil)
		return nil, nil
	}
	o := sparkplug.Options{
		Group: s.Group, Node: cmp.Or(s.Node, g.id), Broker: g.broker, Client: "gatewayd-sparkplug-" + g.id, Entities: g.sensing.coming(),
		PrimaryHost: s.PrimaryHost, Buffer: s.Buffer, Keeper: lives{g.store}, Log: g.logs.Logger,
		Properties: map[string]string{"Software": "gatewayd", "Version": version},
	}
	if m := g.about.Board.Model; m != "" {
		o.Properties["Model"] = m
	}
	if n := g.about.Board.Serial; n != "" {
		o.Properties["Serial"] = n
	}
	if i := slices.IndexFunc(c.Bridges, func(b config.Bridge) bool { return b.Name == s.Bridge }); s.Bridge != "" && i >= 0 {
		o.Upstream = stateTopic(bridgeOptions(c, i, g.id, g.logs.Logger))
	}
	n, err := sparkplug.New(o)
	if err != nil {
		return nil, c.Errorf("sparkplug", "correct the name", "%s", err)
	}
	g.sensing.observer.node.Store(n)
	return n, nil
}

func (g *gateway) startSparkplug(n *sparkplug.Node) {
	if n == nil {
		return
	}
	g.prime(n)
	g.sparkplug = g.stages.start("sparkplug", func(ctx context.Context) error {
		// What hinders the edge node must not end the gateway.
		if err := n.Run(ctx); ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			g.logs.Error("the Sparkplug edge node has ended", "err", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

func (g *gateway) stopSparkplug() {
	if g.sparkplug == nil {
		return
	}
	if err := g.stages.stop(g.sparkplug, stopLimit); err != nil {
		g.logs.Warn("sparkplug did not stop cleanly", "err", err)
	}
	g.sparkplug = nil
}

// prime tells a new node what is there already: after a reload the sensors may
// go on as they were.
func (g *gateway) prime(n *sparkplug.Node) {
	for _, s := range g.sensing.snapshot() {
		if !s.Online {
			continue
		}
		n.Observe(sensors.Event{Name: s.Name, Online: &s.Online, At: s.LastGood})
		for _, r := range s.Readings {
			n.Observe(sensors.Event{Name: s.Name, Reading: &r, At: r.At})
		}
	}
	for _, l := range g.sensing.lines() {
		if !l.Online {
			continue
		}
		n.Observe(sensors.Event{Name: l.Name, Online: &l.Online, At: l.Since})
		if l.On != nil {
			n.Observe(sensors.Event{Name: l.Name, State: l.On, At: l.Since})
		}
	}
}

// checkSparkplug holds the edge node against the bridge that it is behind.
func checkSparkplug(c *config.Config, fail func(path, remedy, format string, args ...any)) {
	s := c.Sparkplug
	if !s.Enabled || s.Bridge == "" {
		return
	}
	i := slices.IndexFunc(c.Bridges, func(b config.Bridge) bool { return b.Name == s.Bridge })
	if i < 0 {
		fail("sparkplug.bridge", "name one of the bridges", "there is no bridge %q", s.Bridge)
		return
	}
	if !c.Bridges[i].Notifications {
		fail("sparkplug.bridge", "leave the bridge's notifications on", "bridge %q does not say when it is connected", s.Bridge)
	}
	data := namespaceFilter(s.Group, "NBIRTH")
	for _, t := range c.Bridges[i].Topics {
		r := topic.Remap{Pattern: t.Filter, Local: t.LocalPrefix, Remote: t.RemotePrefix}
		if t.Direction != "in" && topic.Match(r.LocalFilter(), data) {
			return
		}
	}
	fail("sparkplug.bridge", fmt.Sprintf("give it a topic {filter: \"spBv1.0/%s/#\", direction: both, qos: 1}", s.Group),
		"bridge %q carries nothing of spBv1.0/%s", s.Bridge, s.Group)
}

// namespaceFilter is a topic of the edge node.
func namespaceFilter(group, kind string) string { return "spBv1.0/" + group + "/" + kind + "/n" }

// lives keeps the number of the edge node's last birth in the store.
type lives struct{ store *store.Store }

const livesKey = "x/sparkplug"

// Load gives the number and whether it had not died when the gateway ended.
func (l lives) Load() (bdSeq uint64, alive, ok bool) {
	v, err := l.store.Get(livesKey)
	if err != nil || len(v) != 2 {
		return 0, false, false
	}
	return uint64(v[0]), v[1] == 1, true
}

// Save hands them to the store.
func (l lives) Save(bdSeq uint64, alive bool) {
	v := []byte{byte(bdSeq), 0}
	if alive {
		v[1] = 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var b store.Batch
	b.Put(livesKey, v)
	_ = l.store.Submit(ctx, &b, nil) // a lost number costs a host one rebirth
}
