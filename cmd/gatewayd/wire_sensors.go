package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"gatewayd/board"
	"gatewayd/bridge"
	"gatewayd/config"
	"gatewayd/sensors"
)

// sensorOptions turns the configuration's sensors and lines into the room's
// options; whoever calls adds Buses and Sink.
func sensorOptions(c *config.Config, gateway string, log *slog.Logger) sensors.Options {
	o := sensors.Options{Gateway: gateway, Log: log}
	for _, m := range c.Muxes {
		o.Muxes = append(o.Muxes, sensors.MuxConfig{Name: m.Name, Driver: m.Driver, Bus: m.Bus, Address: m.Address})
	}
	for _, e := range c.Expanders {
		o.Expanders = append(o.Expanders, sensors.ExpanderConfig{Name: e.Name, Driver: e.Driver, Bus: e.Bus, Address: e.Address,
			Interrupt: e.Interrupt, Every: e.Every.D()})
	}
	for _, s := range c.Sensors {
		p := sensors.ProbeConfig{
			Name: s.Name, Driver: s.Driver, Bus: busOf(s), Address: s.Address, Options: s.Options, Every: s.Every.D(),
			Topic: strings.ReplaceAll(s.Topic, "{gateway}", gateway), QoS: byte(s.QoS), Retain: s.Retain, Format: sensors.Format(s.Format),
			Digits: s.Digits, Disabled: s.Disabled,
		}
		for quantity, chain := range s.Filters {
			if p.Filters == nil {
				p.Filters = map[string][]sensors.FilterSpec{}
			}
			for _, f := range chain {
				p.Filters[quantity] = append(p.Filters[quantity], sensors.FilterSpec{Name: f.Name, Arg: f.Arg})
			}
		}
		for _, d := range s.Derive {
			p.Derive = append(p.Derive, sensors.DeriveSpec{Quantity: d.Quantity, Unit: d.Unit, Formula: d.Formula, Options: d.Options})
		}
		o.Probes = append(o.Probes, p)
	}
	for _, l := range c.Lines {
		retain := l.Retain
		o.Lines = append(o.Lines, sensors.LineConfig{
			Name: l.Name, Line: l.Line, Direction: l.Direction, Pull: l.Pull, Active: l.Active, Debounce: l.Debounce.D(),
			Topic: strings.ReplaceAll(l.Topic, "{gateway}", gateway), QoS: byte(l.QoS), Retain: &retain, On: l.On, Off: l.Off, Format: sensors.Format(l.Format),
			Count: l.Count, Every: l.Every.D(), PerUnit: l.PerUnit, Unit: l.Unit, Heartbeat: l.Heartbeat.D(),
			CommandTopic: strings.ReplaceAll(l.CommandTopic, "{gateway}", gateway), Initial: l.Initial, FailSafe: l.FailSafe, FailAfter: l.FailAfter.D(), FailBridge: l.FailBridge, BridgeAfter: l.BridgeAfter.D(),
			Pulse: l.Pulse.D(), MaxOn: l.MaxOn.D(), Interlock: l.Interlock, Settle: l.Settle.D(),
		})
	}
	return o
}

// bridgeUp says whether a bridge has its connection, for outputs that are
// commanded through it.
func (g *gateway) bridgeUp(name string) bool {
	if g.bridges == nil {
		return false
	}
	for _, b := range g.bridges.status() {
		if b.Name == name {
			return b.State == bridge.Connected
		}
	}
	return false
}

// sensorFault gives a mistake that the room found its place in the file.
func sensorFault(c *config.Config, b *board.Board, err error) error {
	e, ok := errors.AsType[*sensors.ConfigError](err)
	if !ok {
		return err
	}
	path := fmt.Sprintf("%s[%d]", e.List, e.Index)
	if c.Written(path + "." + e.Field) {
		path += "." + e.Field
	} else if c.Written(path + ".options." + e.Field) {
		path += ".options." + e.Field
	}
	remedy := ""
	switch e.Field {
	case "driver":
		remedy = `"gatewayd sensor list" shows the drivers`
	case "every":
		remedy = "read it less often"
	case "bus":
		remedy = busRemedy(b.Info())
	}
	return c.Errorf(path, remedy, "%s", e.Err)
}
