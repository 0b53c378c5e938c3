package main

import (
	"context"
	"errors"

	"gatewayd/config"
	"gatewayd/discovery"
)

// startDiscovery announces what the configuration has to Home Assistant, in
// place of what was announced before.
func (g *gateway) startDiscovery(c *config.Config) {
	if g.discovery != nil {
		if err := g.stages.stop(g.discovery, stopLimit); err != nil {
			g.logs.Warn("discovery did not stop cleanly", "err", err)
		}
		g.discovery = nil
	}
	if !c.Discovery.HomeAssistant {
		return
	}
	info := g.about.Board
	about := discovery.Gateway{ID: g.id, Version: version, Model: info.Model, Serial: info.Serial, Firmware: info.Kernel}
	var links []discovery.Link
	for i, b := range c.Bridges {
		o := bridgeOptions(c, i, g.id, g.logs.Logger)
		if b.Notifications {
			links = append(links, discovery.Link{Name: b.Name, Topic: stateTopic(o)})
		}
	}
	a := discovery.New(discovery.Options{
		Prefix: c.Discovery.Prefix, Client: "gatewayd-discovery-" + g.id, Broker: g.broker, Log: g.logs.Logger,
		Documents: discovery.Documents(about, g.sensing.entities(), links),
	})
	g.discovery = g.stages.start("discovery", func(ctx context.Context) error {
		// What hinders the announcement must not end the gateway.
		if err := a.Run(ctx); ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			g.logs.Error("Home Assistant is told nothing any more", "err", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
}
