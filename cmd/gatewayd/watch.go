package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"gatewayd/board"
	"gatewayd/bridge"
	"gatewayd/broker"
	"gatewayd/store"
)

// healthEvery is how often the board's state is published; each time costs
// the card one small write.
const healthEvery = 5 * time.Minute

// watch feeds the watchdogs while everything advances, shows the state on the
// LED and publishes how the board is doing.
func (g *gateway) watch(ctx context.Context) error {
	led := g.led()
	show(led, board.LEDStarting)
	defer show(led, board.LEDOff)
	var hardware *board.Watchdog
	every := 10 * time.Second
	if w := g.c.Board.Watchdog.D(); w > 0 {
		var err error
		if hardware, err = g.board.Watchdog(w); err != nil {
			g.logs.Warn("no hardware watchdog", "err", err)
		} else {
			defer func() {
				if err := hardware.Close(); err != nil {
					g.logs.Warn("watchdog not stopped", "err", err)
				}
			}()
			every = min(every, hardware.Timeout()/3)
		}
	}
	systemd, err := daemon.SdWatchdogEnabled(false)
	if err == nil && systemd > 0 {
		every = min(every, systemd/3)
	}
	tick := time.NewTicker(max(every, 100*time.Millisecond))
	defer tick.Stop()
	published := time.Time{}
	for {
		if time.Since(published) >= healthEvery {
			g.publishHealth(ctx)
			published = time.Now()
		}
		var stuck error
		if systemd > 0 || hardware != nil { // looking costs a small write a minute
			stuck = g.stuck(ctx)
		}
		if stuck == nil {
			if systemd > 0 {
				notify(daemon.SdNotifyWatchdog)
			}
			if hardware != nil {
				if err := hardware.Feed(); err != nil {
					g.logs.Error("watchdog not fed", "err", err)
				}
			}
		} else if ctx.Err() == nil {
			g.logs.Error("the gateway stands still", "err", stuck)
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
	if stuck != nil || !g.store.Health().OK {
		return board.LEDFault
	}
	for _, b := range g.bridges.status() {
		if b.State == bridge.Connecting || b.State == bridge.Waiting && b.LastError != "" {
			return board.LEDUplinkDown
		}
	}
	return board.LEDHealthy
}

// stuck says which loop does not advance. A store that refuses writes is red
// but not stuck: a reset would not mend it.
func (g *gateway) stuck(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var b store.Batch
	b.PutLazy("x/alive", strconv.AppendInt(nil, time.Now().Unix(), 10))
	done := make(chan error, 1)
	err := g.store.Submit(limited, &b, func(r store.Receipt) { done <- r.Err })
	if err == nil {
		select {
		case <-done:
		case <-limited.Done():
			err = limited.Err()
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the store's commit loop")
	}
	if !answers(limited, func() { g.broker.Stats() }) {
		return errors.New("the broker")
	}
	if !answers(limited, func() { g.sensing.snapshot() }) {
		return errors.New("the sensors")
	}
	return nil
}

// answers reports whether f comes back in time. One that does not leaves its
// goroutine behind; the process is about to be reset then.
func answers(ctx context.Context, f func()) bool {
	back := make(chan struct{})
	go func() { defer close(back); f() }()
	select {
	case <-back:
		return true
	case <-ctx.Done():
		return false
	}
}

// publishHealth tells how the board is doing on gateway/<id>/health.
func (g *gateway) publishHealth(ctx context.Context) {
	text, err := json.Marshal(g.board.Health(g.c.Gateway.DataDir))
	if err != nil {
		g.logs.Warn("state of the board not published", "err", fmt.Errorf("encode: %w", err))
		return
	}
	err = g.broker.Publish(ctx, broker.Publication{Topic: "gateway/" + g.id + "/health", Payload: text, Retain: true, Lazy: true, Publisher: "gatewayd"}, nil)
	if err != nil && ctx.Err() == nil {
		g.logs.Warn("state of the board not published", "err", err)
	}
}
