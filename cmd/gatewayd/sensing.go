package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatewayd/board"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/sensors"
	"gatewayd/store"
)

// sensing is the sensors and lines of the gateway, which a reload may replace
// as a whole.
type sensing struct {
	id     string
	board  *board.Board
	broker *broker.Broker
	store  *store.Store
	log    *slog.Logger

	bridgeUp func(name string) bool

	observer observers // outlives a reload too

	history *sensors.Ring // nil when none is kept; it outlives a reload

	next  *prepared // checked and not yet started
	stage *stage    // nil while nothing runs

	mu  sync.Mutex // guards the field below, which others read
	now *sensors.Scheduler
}

// prepared is a scheduler with its sink: they start and stop together.
type prepared struct {
	scheduler *sensors.Scheduler
	sink      *sink
}

// prepare checks sensors and lines for the next start.
func (s *sensing) prepare(c *config.Config) error {
	s.next = nil
	if c.Board.Kind == "none" || len(c.Sensors)+len(c.Lines) == 0 {
		return nil
	}
	p := &prepared{sink: newSink(s.broker, "gatewayd-lines-"+s.id, s.log)}
	o := sensorOptions(c, s.id, s.log)
	o.Buses, o.Sink, o.Observer = s.board, p.sink, &s.observer
	o.BridgeUp = s.bridgeUp
	o.Clock = func() sensors.ClockInfo { return sensors.ClockInfo{Synchronised: board.ReadClock().Synchronised} }
	var err error
	if c.History.Keep && s.history == nil {
		h := c.History
		s.history, err = sensors.NewRing(sensors.RingOptions{Raw: h.Raw, Minutes: h.Minutes, Hours: h.Hours, Series: h.Series, Keeper: keeper{s.store}})
		if err != nil {
			return fmt.Errorf("history of the sensors: %w", err)
		}
	}
	if s.history != nil {
		o.History = s.history
	}
	if p.scheduler, err = sensors.New(o); err != nil {
		return sensorFault(c, s.board, err)
	}
	s.next = p
	return nil
}

// start runs what was prepared in place of what runs.
func (s *sensing) start(stages *stages) {
	if s.stage != nil {
		if err := stages.stop(s.stage, stopLimit); err != nil {
			s.log.Warn("sensors did not stop cleanly", "err", err)
		}
		s.stage = nil
	}
	p := s.next
	s.next = nil
	s.mu.Lock()
	s.now = nil
	if p != nil {
		s.now = p.scheduler
	}
	s.mu.Unlock()
	if p == nil {
		return
	}
	s.stage = stages.start("sensors", func(ctx context.Context) error {
		var keeping sync.WaitGroup
		keeping.Go(func() { s.keep(ctx) })
		err := p.scheduler.Run(ctx)
		p.sink.Close()
		keeping.Wait()
		return err
	})
}

// keep hands the history to the store every minute and at the end.
func (s *sensing) keep(ctx context.Context) {
	if s.history == nil {
		return
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := s.history.Flush(); err != nil {
			s.log.Warn("history of the sensors not kept", "err", err)
		}
	}
}

// keeper keeps the history in the store, written lazily.
type keeper struct{ store *store.Store }

const historyPrefix = "y/sensor/"

// Keep hands one block to the store.
func (k keeper) Keep(key string, value []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var b store.Batch
	b.PutLazy(historyPrefix+key, value)
	return k.store.Submit(ctx, &b, nil)
}

// Load gives back the blocks below prefix.
func (k keeper) Load(prefix string, yield func(key string, value []byte) error) error {
	var fault error
	err := k.store.Scan(historyPrefix+prefix, "", func(key string, value []byte) bool {
		fault = yield(key[len(historyPrefix):], value)
		return fault == nil
	})
	if fault != nil {
		return fault
	}
	return err
}

func (s *sensing) current() *sensors.Scheduler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// coming is what the next start will publish, or what is published if none is
// prepared.
func (s *sensing) coming() []sensors.Entity {
	if s.next != nil {
		return s.next.scheduler.Entities()
	}
	return s.entities()
}

func (s *sensing) snapshot() []sensors.Status {
	if now := s.current(); now != nil {
		return now.Snapshot()
	}
	return nil
}

func (s *sensing) lines() []sensors.LineStatus {
	if now := s.current(); now != nil {
		return now.Lines()
	}
	return nil
}

func (s *sensing) entities() []sensors.Entity {
	if now := s.current(); now != nil {
		return now.Entities()
	}
	return nil
}

func (s *sensing) pending() (waiting int, dropped uint64) {
	if now := s.current(); now != nil {
		return now.Pending()
	}
	return 0, 0
}
