package main

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"gatewayd/broker"
)

// storeState publishes how the store is doing on gateway/<id>/store, retained: a
// full or failed disk, what was lost to damage and where the damaged files are,
// and how long the card will last. It does so when that changes, and now and then.
type storeState struct {
	g         *gateway
	published time.Time
	said      storeWord
}

// storeWord is what gateway/<id>/store says.
type storeWord struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems,omitempty"`
	Queued   int      `json:"queued_messages"`
	Free     int64    `json:"free_bytes"`
	PerDay   uint64   `json:"written_bytes_per_day,omitempty"`
	Years    float64  `json:"card_years,omitempty"`
}

func (s *storeState) look(ctx context.Context) {
	g := s.g
	h := g.store.Health()
	if h.OK == s.said.OK && slices.Equal(h.Reasons, s.said.Problems) && !s.published.IsZero() && time.Since(s.published) < healthEvery {
		return
	}
	st := g.store.Stats()
	s.said = storeWord{OK: h.OK, Problems: h.Reasons, Queued: st.Messages, Free: st.DiskFree, PerDay: st.BytesPerDay, Years: math.Round(10*st.CardYears) / 10}
	s.published = time.Now()
	if !g.c.Gateway.Topics {
		return
	}
	text, err := json.Marshal(s.said)
	if err == nil {
		err = g.broker.Publish(ctx, broker.Publication{Topic: "gateway/" + g.id + "/store", Payload: text, Retain: true, Lazy: true, Publisher: "gatewayd"}, nil)
	}
	if err != nil && ctx.Err() == nil {
		g.logs.Warn("state of the store not published", "err", err)
	}
}
