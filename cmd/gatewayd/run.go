package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"gatewayd/config"
)

func newRun() *cobra.Command {
	var flags configFlags
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: `run runs the gateway until it is interrupted. Without a configuration file it is a
working gateway on this machine: MQTT on 127.0.0.1:1883, MQTT over WebSocket on
127.0.0.1:8083, status on http://127.0.0.1:8080, with the sensors of the board or
simulated ones.

Signals: HUP reads the configuration again, USR1 writes everything to the card
now, USR2 writes the state to the log, TERM and INT stop cleanly.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			g, err := build(c, verbose, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer g.close()
			for _, n := range flags.notes {
				if n.Lost {
					g.logs.Warn("line of mosquitto.conf not carried over", "place", n.Pos.String(), "option", n.Option, "reason", n.Text)
				} else {
					g.logs.Info("line of mosquitto.conf", "place", n.Pos.String(), "option", n.Option, "note", n.Text)
				}
			}
			return g.run(cmd.Context(), func() (*config.Config, error) { return flags.load() }, verbose)
		},
	}
	flags.add(cmd)
	flags.addMosquitto(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log at level debug")
	return cmd
}

// run starts the rooms, serves signals, and stops the rooms again.
func (g *gateway) run(ctx context.Context, reread func() (*config.Config, error), verbose bool) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	reloads := g.reloads(ctx)

	if g.c.HTTP.Debug {
		runtime.MemProfileRate = 512 << 10
	}
	g.logs.Info("starting", "version", version, "gateway", g.id, "config", g.configName(), "data", g.dataName())
	for _, w := range warnings(g.c) {
		g.logs.Warn("configuration", "warning", w)
	}
	g.learnTime()
	err := g.start(ctx)
	if err == nil && ctx.Err() == nil {
		notify(daemon.SdNotifyReady, "STATUS=running")
		g.logs.Info("ready", "gateway", g.id)
		err = g.serve(ctx, signals, reloads, reread, verbose)
	}
	stop() // a second interrupt ends the process at once
	notify(daemon.SdNotifyStopping)
	g.logs.Info("stopping")
	if err != nil {
		g.logs.Error("failed", "err", err)
	}
	err = errors.Join(err, g.stop())
	if err == nil {
		g.logs.Info("stopped")
	}
	return err
}

// serve waits for the end: a signal, or a room that fails.
func (g *gateway) serve(ctx context.Context, signals <-chan os.Signal, reloads <-chan struct{}, reread func() (*config.Config, error), verbose bool) error {
	settle := time.NewTicker(2 * time.Second)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-settle.C:
			if g.bridges.late() {
				g.bridges.settle(g.stages)
			}
		case err := <-g.stages.failed:
			return err
		case <-reloads:
			g.reload(reread, verbose)
		case s := <-signals:
			switch s {
			case syscall.SIGUSR1:
				g.flush(ctx)
			case syscall.SIGUSR2:
				g.dump()
			}
		}
	}
}

// reloads passes SIGHUP on, and shuts the door for logins at once: whoever
// connects after the signal meets the new files. Each reload opens it again.
func (g *gateway) reloads(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			g.door.close()
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				g.door.open()
				return
			}
		}
	}()
	return out
}

// notify tells systemd; without systemd it does nothing.
func notify(states ...string) {
	for _, s := range states {
		_, _ = daemon.SdNotify(false, s) // nobody to tell when it cannot be told
	}
}

// flush writes everything to the card now.
func (g *gateway) flush(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := g.store.Flush(limited); err != nil {
		g.logs.Error("not everything was written", "err", err)
		return
	}
	g.logs.Info("everything is written")
}

// dump writes the state to the log.
func (g *gateway) dump() {
	b, s := g.broker.Stats(), g.store.Stats()
	g.logs.Info("state of the broker", "connected", b.Connected, "away", b.Disconnected, "sockets", b.Sockets, "subscriptions", b.Subscriptions,
		"retained", b.Retained, "received", b.PublishesReceived, "sent", b.PublishesSent, "dropped", b.PublishesDropped)
	g.logs.Info("state of the store", "sessions", s.Sessions, "queued", s.Messages, "queued_bytes", s.MessageBytes, "pending_bytes", s.PendingBytes,
		"commits", s.Commits, "elided", s.Elided, "health", g.store.Health().OK)
	for _, c := range g.broker.Clients() {
		g.logs.Info("state of a client", "client", c.ID, "connected", c.Connected, "remote", c.Remote, "subscriptions", c.Subscriptions,
			"inflight", c.Inflight, "queued", c.Queued)
	}
	for _, p := range g.sensing.snapshot() {
		g.logs.Info("state of a sensor", "probe", p.Name, "bus", p.Bus, "online", p.Online, "reason", p.Reason, "reads", p.Reads, "errors", p.Errors)
	}
	for _, br := range g.bridges.status() {
		g.logs.Info("state of a bridge", "bridge", br.Name, "state", br.State, "addr", br.Address, "queued", br.QueueMessages, "out", br.Out, "in", br.In)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	g.logs.Info("state of the process", "goroutines", runtime.NumGoroutine(), "heap", m.HeapAlloc, "stack", m.StackSys, "gc", m.NumGC)
}

func (g *gateway) configName() string {
	if f := g.c.Files(); len(f) > 0 {
		return f[0]
	}
	return "built-in default"
}

func (g *gateway) dataName() string {
	if !g.c.Store.Persistence {
		return "memory"
	}
	return g.c.Gateway.DataDir
}

// reload reads the configuration again and takes over what may change while
// the gateway runs. A wrong one changes nothing.
func (g *gateway) reload(reread func() (*config.Config, error), verbose bool) {
	notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	defer notify(daemon.SdNotifyReady)
	admit := sync.OnceFunc(g.door.open)
	defer admit()
	c, err := reread()
	if err == nil {
		err = g.adopt(c, verbose, admit)
	}
	if err != nil {
		g.logs.Error("the configuration was not taken over; the old one goes on", "err", err)
		return
	}
	g.logs.Info("configuration taken over")
}
