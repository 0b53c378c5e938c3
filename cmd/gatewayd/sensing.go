package main

import (
	"context"
	"log/slog"
	"sync"

	"gatewayd/board"
	"gatewayd/broker"
	"gatewayd/config"
	"gatewayd/sensors"
)

// sensing is the sensors and lines of the gateway, which a reload may replace
// as a whole.
type sensing struct {
	id     string
	board  *board.Board
	broker *broker.Broker
	log    *slog.Logger

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
	o.Buses, o.Sink = s.board, p.sink
	var err error
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
		err := p.scheduler.Run(ctx)
		p.sink.Close()
		return err
	})
}

func (s *sensing) current() *sensors.Scheduler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
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
