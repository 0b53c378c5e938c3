package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"gatewayd/auth"
	"gatewayd/board"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/store"
	"gatewayd/web"
)

// stopLimit is how long one room may take to stop.
const stopLimit = 10 * time.Second

// gateway is the rooms of one running gateway. One goroutine uses it; what
// others ask for goes through the rooms themselves.
type gateway struct {
	c     *config.Config
	id    string
	logs  *logs
	limit int64 // memory ceiling

	clock  *broker.Clock
	store  *store.Store
	board  *board.Board // nil with board: none
	auth   authority
	door   gate
	broker *broker.Broker
	opts   broker.Options
	secure []*auth.ServerTLS
	about  about
	ready  atomic.Bool

	stages    *stages
	sensing   *sensing
	bridges   *bridges
	discovery *stage // nil: nothing is announced
	sparkplug *stage // nil: no edge node

	open []net.Listener // of MQTT
	http net.Listener   // nil without
}

// build opens every room, bottom-up, or none: what was opened before a fault
// is closed again.
func build(c *config.Config, verbose bool, stderr io.Writer) (g *gateway, err error) {
	if faults := checkMeaning(c); len(faults) > 0 {
		return nil, faults
	}
	g = &gateway{c: c}
	defer func() {
		if err != nil {
			g.close()
			g = nil
		}
	}()
	if g.open, g.http, err = openListeners(c); err != nil {
		return g, err
	}
	dir, err := dataFolder(c)
	if err != nil {
		return g, err
	}
	if g.logs, err = openLogs(c, verbose, stderr); err != nil {
		return g, err
	}
	g.limit = setMemoryLimit(c, memory())
	g.clock = broker.NewClock()
	so := storeOptions(c, g.logs.Logger)
	so.Now = g.clock.Now
	if g.store, err = store.Open(dir, so); err != nil {
		return g, c.Errorf("gateway.data_dir", `if another gatewayd runs on it, stop that; else see "gatewayd store verify"`, "the store in %s cannot be opened: %s", dir, err)
	}
	if g.board, err = openBoard(c, g.logs.Logger); err != nil {
		return g, err
	}
	g.id = gatewayID(c, g.board.Info())
	if g.auth, err = newAuthority(c, g.logs.Logger, &g.door); err != nil {
		return g, c.Errorf("auth", "correct the file", "%s", err)
	}
	if err = g.buildBroker(); err != nil {
		return g, err
	}
	g.about = newAbout(c, g.id, g.board.Info(), g.open, g.http)
	g.stages = newStages(g.logs.Logger)
	g.sensing = &sensing{id: g.id, board: g.board, broker: g.broker, store: g.store, log: g.logs.Logger, bridgeUp: g.bridgeUp}
	if err = g.sensing.prepare(c); err != nil {
		return g, err
	}
	g.bridges, err = newBridges(c, g.id, g.broker, g.sensing.observer.will, g.logs.Logger)
	return g, err
}

func (g *gateway) buildBroker() error {
	g.opts = brokerOptions(g.c, g.logs.Logger)
	g.opts.Clock, g.opts.MemoryLimit = g.clock, g.limit
	g.opts.Auth = g.auth
	var err error
	if g.opts.Listeners, g.secure, err = brokerListeners(g.c, g.open); err != nil {
		return err
	}
	if g.broker, err = broker.New(g.opts, g.store); err != nil {
		return fmt.Errorf("restore the sessions from the store: %w", err)
	}
	return nil
}

// close gives everything back that runs no more, the top first.
func (g *gateway) close() {
	for _, l := range append(g.open, g.http) {
		if l != nil {
			l.Close() // the broker may have closed it already
		}
	}
	if g.board != nil {
		if err := g.board.Close(); err != nil {
			g.logs.Warn("board not closed", "err", err)
		}
	}
	if g.store != nil {
		if err := g.store.Close(); err != nil {
			g.logs.Error("store not closed", "err", err)
		}
	}
	if g.logs != nil {
		g.logs.Close()
	}
}

// start runs the rooms, the lowest first. On a fault the caller stops them.
func (g *gateway) start(ctx context.Context) error {
	g.stages.start("store", g.store.Run)
	// The bridges' sessions exist before anyone is let in: what a client publishes first has to reach the centre too.
	if err := g.bridges.open(); err != nil {
		return err
	}
	g.stages.start("broker", g.broker.Run)
	if g.logs.topic != nil {
		g.stages.start("log topic", func(ctx context.Context) error {
			g.logs.topic.run(ctx, func(name, text string) {
				_ = g.broker.Publish(ctx, broker.Publication{Topic: name, Payload: []byte(text), Publisher: "gatewayd"}, nil)
			})
			return ctx.Err()
		})
	}
	select {
	case <-g.broker.Ready():
	case err := <-g.stages.failed:
		return err
	case <-ctx.Done():
		return nil
	}
	a := announcer{g.broker, g.id, !g.c.Gateway.Topics}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := errors.Join(a.info(limited, g.about), a.status(limited, true)); err != nil && ctx.Err() == nil {
		g.logs.Warn("own state not published", "err", err)
	}
	node, err := g.newSparkplug(g.c) // before the bridges, which ask it for their will
	if err != nil {
		return err
	}
	g.sensing.start(g.stages)
	g.bridges.start(g.stages)
	g.startDiscovery(g.c)
	g.startSparkplug(node)
	g.stages.start("watch", g.watch)
	g.ready.Store(true)
	if g.http != nil {
		server, err := g.newWeb()
		if err != nil {
			return err
		}
		g.stages.start("http", func(ctx context.Context) error { return server.Run(ctx, g.http) })
	}
	if len(g.secure) > 0 {
		g.stages.start("certificates", g.renew)
	}
	return nil
}

// stop ends the rooms, the top first, and says good-bye while the broker
// still runs.
func (g *gateway) stop() error {
	g.ready.Store(false)
	var errs []error
	for len(g.stages.all) > 0 {
		top := g.stages.all[len(g.stages.all)-1]
		if top.name == "broker" {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			if err := (announcer{g.broker, g.id, !g.c.Gateway.Topics}).status(ctx, false); err != nil {
				g.logs.Warn("own state not published", "err", err)
			}
			cancel()
		}
		if err := g.stages.stop(top, stopLimit); err != nil {
			g.logs.Error("did not stop cleanly", "stage", top.name, "err", err)
			errs = append(errs, fmt.Errorf("%s: %w", top.name, err))
		}
	}
	return errors.Join(errs...)
}

func (g *gateway) newWeb() (*web.Server, error) {
	o := web.Options{
		Debug:   g.c.HTTP.Debug,
		Version: version, Gateway: g.id, Board: g.about.Board, Log: g.logs.Logger, Warnings: warnings(g.c),
		Broker: g.broker.Stats, Clients: g.broker.Clients, Store: g.store.Stats, Health: g.store.Health,
		Ready: func() error {
			if !g.ready.Load() {
				return errors.New("starting or stopping")
			}
			return nil
		},
		Bridges: g.bridges.status, Command: g.bridges.command, Parked: g.bridges.parked, Backup: g.store.Backup, Sensors: g.sensing.snapshot, Lines: g.sensing.lines, Pending: g.sensing.pending,
	}
	if !config.Loopback(g.c.HTTP.Address) && !g.c.HTTP.Anonymous {
		o.Login = g.login
	}
	if g.c.HTTP.TLS != nil {
		s, err := auth.NewServerTLS(serverTLS(g.c.HTTP.TLS))
		if err != nil {
			return nil, g.c.Errorf("http.tls", "correct the file or the path", "%s", err)
		}
		g.secure = append(g.secure, s)
		o.TLS = s.Config()
	}
	return web.New(o), nil
}

// login checks a user of the HTTP server against the password file.
func (g *gateway) login(ctx context.Context, user, password string) bool {
	answer := make(chan error, 1)
	g.auth.shared.Login(user, []byte(password), false, false, func(err error) { answer <- err })
	select {
	case err := <-answer:
		return err == nil
	case <-ctx.Done():
		return false
	}
}
