package sensors_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

func TestExpanders(t *testing.T) {
	for _, kind := range []string{"mcp23017", "mcp23008", "xl9535", "pcf8574", "pcf8575"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, sim.Options{Parts: []sim.Part{{Kind: kind, Name: "exp1"}}}, sensors.Options{
					Expanders: []sensors.ExpanderConfig{{Name: "exp1", Driver: kind, Bus: "i2c-1"}},
					Lines: []sensors.LineConfig{
						{Name: "button", Line: "exp1:2", Direction: "in", Pull: "up", Active: "low", Debounce: 30 * time.Millisecond, Topic: "button"},
						{Name: "relay", Line: "exp1:5", Direction: "out", Topic: "relay", CommandTopic: "relay/set", FailSafe: "off"}}})
				time.Sleep(100 * time.Millisecond)
				if got := fmt.Sprint(h.sink.on("button"), h.sink.on("relay")); got != "[off] [off]" {
					t.Fatalf("at start: %s", got)
				}
				_ = h.board.SetLine("exp1:2", false)
				time.Sleep(20 * time.Millisecond) // shorter than the debounce time
				_ = h.board.SetLine("exp1:2", true)
				time.Sleep(100 * time.Millisecond)
				_ = h.board.SetLine("exp1:2", false)
				time.Sleep(100 * time.Millisecond)
				if got := fmt.Sprint(h.sink.on("button")); got != "[off on]" {
					t.Errorf("button: %s", got)
				}
				h.sink.send("relay/set", "on")
				time.Sleep(50 * time.Millisecond)
				if high, _, _ := h.board.Line("exp1:5"); !high || h.sink.last("relay") != "on" {
					t.Errorf("relay is %q, its line high %v", h.sink.last("relay"), high)
				}
				// Unplugged and plugged in again it has forgotten everything, and is set up anew.
				_ = h.board.Plug("exp1", false)
				time.Sleep(3 * time.Second)
				if l := h.sched.Lines()[0]; l.Online {
					t.Error("the button of an expander that is gone is online")
				}
				_ = h.board.Plug("exp1", true)
				time.Sleep(40 * time.Second)
				if high, _, _ := h.board.Line("exp1:5"); !high {
					t.Error("the relay did not come back as it was")
				}
				if l := h.sched.Lines()[0]; !l.Online {
					t.Error("the button did not come back: ", l.Reason)
				}
				h.stop()
				if high, _, _ := h.board.Line("exp1:5"); high {
					t.Error("the relay did not take its fail-safe value")
				}
			})
		})
	}
}

func TestExpanderInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{Parts: []sim.Part{{Kind: "mcp23017", Name: "exp1"}}}, sensors.Options{
			Expanders: []sensors.ExpanderConfig{{Name: "exp1", Driver: "mcp23017", Bus: "i2c-1", Interrupt: "GPIO4"}},
			Lines:     []sensors.LineConfig{{Name: "b", Line: "exp1:15", Topic: "b"}}})
		defer h.stop()
		time.Sleep(1100 * time.Millisecond)
		_ = h.board.SetLine("exp1:15", true)
		_ = h.board.SetLine("GPIO4", false)
		time.Sleep(2 * time.Millisecond)
		if got := h.sink.last("b"); got != "on" {
			t.Errorf("2 ms after the interrupt the line is %q", got)
		}
	})
}

// Two parts with one address, each behind a channel of a multiplexer, and a
// third behind another multiplexer.
func TestMultiplexer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(v float64) map[string]sim.Signal { return map[string]sim.Signal{"temperature": {Base: v}} }
		probe := func(name, bus string) sensors.ProbeConfig {
			return sensors.ProbeConfig{Name: name, Driver: "tmp102", Bus: bus, Every: time.Second}
		}
		h := newHouse(t, sim.Options{Parts: []sim.Part{
			{Kind: "pca9548", Name: "mux1"}, {Kind: "pca9548", Name: "mux2", Address: "0x71"},
			{Kind: "tmp102", Name: "a", Bus: "mux1/0", Signals: at(10)}, {Kind: "tmp102", Name: "b", Bus: "mux1/7", Signals: at(20)},
			{Kind: "tmp102", Name: "c", Bus: "mux2/0", Signals: at(30)}}},
			sensors.Options{
				Muxes:  []sensors.MuxConfig{{Name: "mux1", Bus: "i2c-1"}, {Name: "mux2", Bus: "i2c-1", Address: "0x71"}},
				Probes: []sensors.ProbeConfig{probe("a", "mux1/0"), probe("b", "mux1/7"), probe("c", "mux2/0")}})
		defer h.stop()
		time.Sleep(5 * time.Second)
		for name, want := range map[string]string{"a": "10", "b": "20", "c": "30"} {
			got := h.sink.on(name + "/temperature")
			if len(got) < 5 {
				t.Errorf("%s: only %v", name, got)
			}
			for _, v := range got {
				if v != want {
					t.Errorf("%s is %s, want %s", name, v, want)
				}
			}
		}
	})
}

func TestAHungBusIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{Parts: []sim.Part{{Kind: "bme280", Faults: []sim.Fault{{Kind: sim.FaultHang, After: 5 * time.Second}}}}},
			sensors.Options{Probes: []sensors.ProbeConfig{room1(time.Second)}})
		defer h.stop()
		time.Sleep(60 * time.Second)
		if s := st(h); !s.Online {
			t.Errorf("offline after a minute: %s", s.Reason)
		}
	})
}
