package main

import (
	"log/slog"
	"testing"

	"gatewayd/bridge"
	"gatewayd/config"
)

// TestBridgeLanes: the words of the configuration become the lanes of a bridge.
func TestBridgeLanes(t *testing.T) {
	for word, want := range map[string]bridge.Lanes{"by_topic": bridge.ByTopic, "live_first": bridge.LiveFirst, "off": bridge.OneLane} {
		c := &config.Config{Bridges: []config.Bridge{{Name: "centre", Lanes: word, HistoryMark: word == "off", HistoryRate: 7}}}
		o := bridgeOptions(c, 0, "gw", slog.New(slog.DiscardHandler))
		if o.Lanes != want || o.NoMark != (word != "off") || o.HistoryRate != 7 {
			t.Errorf("%s: lanes %v, no mark %v, rate %v", word, o.Lanes, o.NoMark, o.HistoryRate)
		}
	}
}
