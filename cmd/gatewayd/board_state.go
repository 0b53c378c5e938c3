package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"gatewayd/board"
	"gatewayd/broker"
	"gatewayd/store"
)

const (
	healthEvery = 5 * time.Minute // between publications; each costs the card a small write
	timeEvery   = time.Hour       // between notes of what time it is
	timeKey     = "x/time"
)

// trusted is the time that certificates are judged by: like the system's clock
// there is one in a process.
var trusted = board.NewTrustedTime()

// learnTime raises the floor of the trusted time to what the last run noted
// and to the begin of our own certificates.
func (g *gateway) learnTime() {
	err := g.store.Scan(timeKey, "", func(key string, value []byte) bool {
		if secs, err := strconv.ParseInt(string(value), 10, 64); err == nil && key == timeKey {
			trusted.NotBefore(time.Unix(secs, 0))
		}
		return key != timeKey
	})
	if err != nil {
		g.logs.Warn("the time of the last run is not known", "err", err)
	}
	for _, s := range g.secure {
		trusted.NotBefore(s.Leaf().NotBefore)
	}
	if trusted.Behind() {
		g.logs.Warn("the clock is not set: readings are marked until it is, certificates are judged by the last time known", "clock", time.Now().UTC().Format(time.RFC3339),
			"known", trusted.Now().UTC().Format(time.RFC3339))
	}
}

// boardState publishes how the board is doing: every few minutes, and at once
// when something a person should know changes.
type boardState struct {
	g         *gateway
	published time.Time // monotonic
	noted     time.Time // when the time was written down
	trouble   string
	clock     board.Clock
	power     board.Power
}

// look reads some files of the kernel.
func (s *boardState) look(ctx context.Context) {
	g := s.g
	h := g.board.Health(g.c.Gateway.DataDir)
	first := s.published.IsZero()
	changed := h.Power != s.power || h.Clock.String() != s.clock.String()
	if trouble := h.Trouble(); trouble != s.trouble {
		if trouble != "" {
			g.logs.Warn("trouble with the board", "what", trouble)
		} else {
			g.logs.Info("the board is well again")
		}
		s.trouble, changed = trouble, true
	}
	if h.Clock.Synchronised && !s.clock.Synchronised && !first {
		g.logs.Info("the clock is set")
	}
	s.clock, s.power = h.Clock, h.Power
	if !trusted.Behind() && h.Clock.Plausible && (s.noted.IsZero() || time.Since(s.noted) >= timeEvery) {
		s.note(time.Now())
	}
	if first || changed || time.Since(s.published) >= healthEvery {
		s.publish(ctx, h)
		s.published = time.Now()
	}
}

// note writes down what time it is, for a start without a clock.
func (s *boardState) note(now time.Time) {
	var b store.Batch
	b.PutLazy(timeKey, strconv.AppendInt(nil, now.Unix(), 10))
	if err := s.g.store.TrySubmit(&b, nil); err != nil {
		return // the next look tries again
	}
	s.noted = now
	trusted.NotBefore(now)
}

// publish tells everything on gateway/<id>/health, and each value on a topic
// of its own below gateway/<id>/board.
func (s *boardState) publish(ctx context.Context, h board.Health) {
	g := s.g
	if !g.c.Gateway.Topics {
		return
	}
	text, err := json.Marshal(h)
	if err != nil {
		g.logs.Warn("state of the board not published", "err", fmt.Errorf("encode: %w", err))
		return
	}
	say := func(name string, value []byte) {
		e := g.broker.Publish(ctx, broker.Publication{Topic: "gateway/" + g.id + "/" + name, Payload: value, Retain: true, Lazy: true, Publisher: "gatewayd"}, nil)
		if e != nil && err == nil {
			err = e
		}
	}
	say("health", text)
	for _, f := range h.Figures() {
		say("board/"+f.Name, []byte(f.Value))
	}
	if err != nil && ctx.Err() == nil {
		g.logs.Warn("state of the board not published", "err", err)
	}
}
