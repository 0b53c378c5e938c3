package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"gatewayd/board"
	"gatewayd/bridge"
)

// aliveLimit is how long the rooms may take to show that their loops turn.
const aliveLimit = 5 * time.Second

// watchdogs are what resets or restarts a gateway that stands still. Where
// neither the hardware's nor systemd's can be had although one is configured
// (gokrazy's init feeds the hardware itself), the gateway ends by itself and
// whoever started it starts it anew.
type watchdogs struct {
	hardware *board.Watchdog
	systemd  time.Duration // 0: none
	self     time.Duration // 0: another watches, or none was asked for
	fed      time.Time
}

// watchdogs opens what is configured.
func (g *gateway) watchdogs() *watchdogs {
	d := &watchdogs{fed: time.Now()}
	if every, err := daemon.SdWatchdogEnabled(false); err == nil {
		d.systemd = every
	}
	limit := g.c.Board.Watchdog.D()
	if limit <= 0 {
		return d
	}
	w, err := g.board.Watchdog(limit)
	if err == nil {
		d.hardware = w
		return d
	}
	if d.systemd > 0 {
		g.logs.Info("no hardware watchdog; systemd watches", "err", err)
		return d
	}
	d.self = max(limit, 2*aliveLimit)
	g.logs.Warn("no hardware watchdog; the gateway ends by itself when it stands still", "err", err, "after", d.self)
	return d
}

// some says whether anything is to be fed.
func (d *watchdogs) some() bool { return d.hardware != nil || d.systemd > 0 || d.self > 0 }

// every is how often to look, three times as often as is needed.
func (d *watchdogs) every() time.Duration {
	every := 10 * time.Second
	if d.hardware != nil {
		every = min(every, d.hardware.Timeout()/3)
	}
	if d.systemd > 0 {
		every = min(every, d.systemd/3)
	}
	return max(every, 100*time.Millisecond)
}

// feed tells all of them that everything advances.
func (d *watchdogs) feed() error {
	d.fed = time.Now()
	if d.systemd > 0 {
		notify(daemon.SdNotifyWatchdog)
	}
	if d.hardware != nil {
		return d.hardware.Feed()
	}
	return nil
}

// starve is feed's other side.
func (d *watchdogs) starve() (over bool) { return d.self > 0 && time.Since(d.fed) > d.self }

// watch feeds the watchdogs while everything advances, shows the state on the
// LED and publishes how the board is doing.
func (g *gateway) watch(ctx context.Context) error {
	led := g.led()
	show(led, board.LEDStarting)
	defer show(led, board.LEDOff)
	dogs := g.watchdogs()
	if dogs.hardware != nil {
		defer func() {
			if err := dogs.hardware.Close(); err != nil {
				g.logs.Warn("watchdog not stopped", "err", err)
			}
		}()
	}
	tick := time.NewTicker(dogs.every())
	defer tick.Stop()
	state, kept := boardState{g: g}, storeState{g: g}
	for {
		state.look(ctx)
		kept.look(ctx)
		var stuck error
		if dogs.some() {
			stuck = g.stuck(ctx)
		}
		switch {
		case ctx.Err() != nil:
		case stuck == nil:
			if err := dogs.feed(); err != nil {
				g.logs.Error("watchdog not fed", "err", err)
			}
		default:
			g.logs.Error("the gateway stands still", "err", stuck)
			if dogs.starve() {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2) // for whoever looks into it
				os.Exit(exitFailed)
			}
		}
		show(led, g.ledState(stuck))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (g *gateway) led() *board.LED {
	name := g.c.Board.LED
	if name == "off" || g.board == nil {
		return nil
	}
	if name == "auto" {
		name = ""
	}
	l, err := g.board.LED(name)
	if err != nil {
		g.logs.Info("no LED", "err", err)
		return nil
	}
	return l
}

func show(l *board.LED, s board.LEDState) {
	if l != nil {
		_ = l.Show(s) // a missing light is no reason to do anything
	}
}

func (g *gateway) ledState(stuck error) board.LEDState {
	var up []bridge.Status
	if g.bridges != nil {
		up = g.bridges.status()
	}
	return ledStateOf(stuck == nil && g.store.Health().OK, up)
}

// ledStateOf is what the LED shows: a fault first, then a bridge that is away.
func ledStateOf(well bool, bridges []bridge.Status) board.LEDState {
	if !well {
		return board.LEDFault
	}
	for _, b := range bridges {
		if b.State == bridge.Connecting || b.State == bridge.Waiting && b.LastError != "" {
			return board.LEDUplinkDown
		}
	}
	return board.LEDHealthy
}

// stuck says which loop does not advance: the store's commit loop, one of the
// broker's, one of the sensors'. A store that refuses writes is red but not
// stuck: a reset would not mend it.
func (g *gateway) stuck(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, aliveLimit)
	defer cancel()
	return firstStuck(limited,
		func() error { return g.store.Alive(limited) },
		func() error { return g.broker.Alive(limited) },
		func() error {
			if now := g.sensing.current(); now != nil {
				return now.Alive()
			}
			return nil
		})
}

// firstStuck asks the rooms one after the other. One that does not even answer
// leaves its goroutine behind; the process is about to be reset then.
func firstStuck(ctx context.Context, rooms ...func() error) error {
	names := []string{"the store", "the broker", "the sensors"}
	for i, alive := range rooms {
		answer := make(chan error, 1)
		go func() { answer <- alive() }()
		grace := time.NewTimer(2 * aliveLimit) // each ends with ctx, unless it hangs
		select {
		case err := <-answer:
			grace.Stop()
			if err != nil {
				return err
			}
		case <-grace.C:
			return fmt.Errorf("%s does not answer", names[i])
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil // the gateway stops
		}
	}
	return nil
}
