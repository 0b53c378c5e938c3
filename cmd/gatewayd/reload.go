package main

import (
	"fmt"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"gatewayd/config"
)

// monotonic is what systemd wants to know at a reload.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / 1000
}

// adopt takes over a new configuration: everything is checked before anything
// is changed. Where listeners listen and how they encrypt, data folder, board and
// store settings need a restart. It calls admit as soon as logins may be judged
// by it.
func (g *gateway) adopt(c *config.Config, verbose bool, admit func()) error {
	if faults := checkMeaning(c); len(faults) > 0 {
		return faults
	}
	for _, s := range g.secure {
		if err := s.Reload(); err != nil { // it keeps the old files on its own
			return fmt.Errorf("certificates: %w", err)
		}
	}
	kept := *c // listeners that need a restart to change are what they were
	kept.Listeners = keptListeners(g.c, c)
	if sameUsers(g.c, &kept) {
		if err := g.auth.reload(); err != nil {
			return err
		}
	} else {
		a, err := newAuthority(&kept, g.logs.Logger, &g.door)
		if err != nil {
			return err
		}
		g.auth = a
	}
	for _, part := range []struct {
		name     string
		old, new any
	}{
		{"gateway", g.c.Gateway, c.Gateway}, {"listeners", socketsOf(g.c), socketsOf(c)}, {"http", g.c.HTTP, c.HTTP},
		{"store", g.c.Store, c.Store}, {"board", g.c.Board, c.Board}, {"log.to", g.c.Log.To, c.Log.To},
	} {
		if !reflect.DeepEqual(part.old, part.new) {
			g.logs.Warn("this change needs a restart", "section", part.name)
		}
	}
	if err := g.logs.reopen(); err != nil {
		g.logs.Warn("log file not opened anew", "err", err)
	}
	g.logs.setLevel(c, verbose)

	o := brokerOptions(c, g.logs.Logger)
	o.MemoryLimit, o.Auth = g.opts.MemoryLimit, g.auth
	o.Listeners = reloadable(c)
	if err := g.broker.Reload(o); err != nil {
		return err
	}
	admit()
	g.dropUnknown(keptListeners(g.c, c))
	sensing := changedSensing(g.c, c)
	if sensing {
		if err := g.sensing.prepare(c); err != nil {
			return err
		}
	}
	if sensing || !reflect.DeepEqual(g.c.Sparkplug, c.Sparkplug) {
		g.stopSparkplug()
		node, err := g.newSparkplug(c)
		if err != nil {
			return err
		}
		defer g.startSparkplug(node) // above the bridges
	}
	if sensing {
		g.sensing.start(g.stages)
	}
	err := g.bridges.adopt(c, g.stages)
	if !reflect.DeepEqual(g.c.Discovery, c.Discovery) || !reflect.DeepEqual(g.c.Sensors, c.Sensors) ||
		!reflect.DeepEqual(g.c.Lines, c.Lines) || !reflect.DeepEqual(g.c.Bridges, c.Bridges) {
		g.startDiscovery(c)
	}
	next := *c
	// What needs a restart is still what runs.
	next.Gateway, next.Listeners, next.HTTP, next.Store, next.Board = g.c.Gateway, keptListeners(g.c, c), g.c.HTTP, g.c.Store, g.c.Board
	g.c = &next
	return err
}

// socketsOf are the listeners without what a running broker takes: what is left
// needs a restart.
func socketsOf(c *config.Config) []config.Listener {
	out := slices.Clone(c.Listeners)
	for i := range out {
		out[i].Limits, out[i].Anonymous, out[i].AuthMethods, out[i].MaxConnections = config.Limits{}, false, nil, 0
		out[i].PasswordFile, out[i].ACLFile = "", ""
	}
	return out
}

// keptListeners are the listeners of old, with what they take of the new ones.
func keptListeners(old, c *config.Config) []config.Listener {
	out := slices.Clone(old.Listeners)
	for i := range out {
		for _, l := range c.Listeners {
			if l.Address == out[i].Address {
				out[i].Limits, out[i].Anonymous, out[i].AuthMethods, out[i].MaxConnections = l.Limits, l.Anonymous, l.AuthMethods, l.MaxConnections
				out[i].PasswordFile, out[i].ACLFile = l.PasswordFile, l.ACLFile
			}
		}
	}
	return out
}

// changedSensing reports whether anything that the scheduler is made of
// differs.
func changedSensing(a, b *config.Config) bool {
	return !reflect.DeepEqual(a.Sensors, b.Sensors) || !reflect.DeepEqual(a.Lines, b.Lines) ||
		!reflect.DeepEqual(a.Muxes, b.Muxes) || !reflect.DeepEqual(a.Expanders, b.Expanders)
}

// dropUnknown closes the connections of users whom the files do not let in
// any more.
func (g *gateway) dropUnknown(listeners []config.Listener) {
	by := map[string]config.Listener{}
	for _, l := range listeners {
		by[l.Address] = l
	}
	for _, c := range g.broker.Clients() {
		if c.Connected && !c.Local && !g.auth.stillLetIn(&c.Client, by[c.Listener]) {
			g.logs.Info("client is not let in any more", "client", c.ID)
			g.broker.Kick(c.ID)
		}
	}
}
