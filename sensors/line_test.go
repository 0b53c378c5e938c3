package sensors_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// An output takes its fail-safe value when nobody has commanded for so long,
// and is commanded again afterwards.
func TestSilentCommander(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Lines: []sensors.LineConfig{
			{Name: "pump", Line: "GPIO20", Direction: "out", Topic: "pump", CommandTopic: "pump/set", FailSafe: "off", FailAfter: 10 * time.Second},
			{Name: "valve", Line: "GPIO21", Direction: "out", Topic: "valve", CommandTopic: "valve/set", FailSafe: "on", FailAfter: 10 * time.Second}}})
		defer h.stop()
		level := func(line string) bool { high, _, _ := h.board.Line(line); return high }
		time.Sleep(time.Millisecond)
		for range 5 { // commands keep it
			h.sink.send("pump/set", "on")
			h.sink.send("valve/set", "off")
			time.Sleep(9 * time.Second)
			if !level("GPIO20") || level("GPIO21") {
				t.Fatalf("while commanded: pump %v, valve %v", level("GPIO20"), level("GPIO21"))
			}
		}
		time.Sleep(1100 * time.Millisecond)
		if level("GPIO20") || !level("GPIO21") || h.sink.last("pump") != "off" || h.sink.last("valve") != "on" {
			t.Errorf("after 10 s of silence: pump %v, valve %v", level("GPIO20"), level("GPIO21"))
		}
		h.sink.send("pump/set", "on")
		time.Sleep(time.Millisecond)
		if !level("GPIO20") {
			t.Error("not commanded any more after the silence")
		}
	})
}

// An output whose commander is behind a bridge takes its fail-safe value once
// in each outage; whoever commands on this side is obeyed meanwhile.
func TestSilentBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		up.Store(true)
		h := newHouse(t, sim.Options{}, sensors.Options{
			BridgeUp: func(name string) bool { return name == "centre" && up.Load() },
			Lines: []sensors.LineConfig{
				{Name: "pump", Line: "GPIO20", Direction: "out", Topic: "pump", CommandTopic: "pump/set", FailSafe: "off", FailBridge: "centre", BridgeAfter: 30 * time.Second},
				{Name: "lamp", Line: "GPIO21", Direction: "out", Topic: "lamp", CommandTopic: "lamp/set", FailSafe: "off"}}})
		defer h.stop()
		level := func(line string) bool { high, _, _ := h.board.Line(line); return high }
		time.Sleep(time.Millisecond)
		h.sink.send("pump/set", "on")
		h.sink.send("lamp/set", "on")
		time.Sleep(time.Hour)
		if !level("GPIO20") {
			t.Fatal("off while the bridge is there")
		}
		up.Store(false)
		time.Sleep(28 * time.Second)
		if !level("GPIO20") {
			t.Error("off before its time")
		}
		time.Sleep(4 * time.Second)
		if level("GPIO20") || h.sink.last("pump") != "off" {
			t.Error("still on without the bridge")
		}
		if !level("GPIO21") {
			t.Error("an output without fail_bridge followed the bridge")
		}
		h.sink.send("pump/set", "on")
		time.Sleep(time.Hour)
		if !level("GPIO20") {
			t.Error("somebody here was not obeyed")
		}
		up.Store(true)
		time.Sleep(5 * time.Second)
		up.Store(false)
		time.Sleep(32 * time.Second)
		if level("GPIO20") {
			t.Error("still on in the second outage")
		}
	})
}

// The changes of a line are asked for like readings; their numbers go on after
// a restart.
func TestMissedChangesOfALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, err := sensors.NewRing(sensors.RingOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o := sensors.Options{History: ring, Lines: []sensors.LineConfig{
			{Name: "door", Line: "GPIO17", Topic: "door", Format: sensors.FormatJSON},
			{Name: "lamp", Line: "GPIO27", Direction: "out", Topic: "lamp", CommandTopic: "lamp/set"}}}
		h := newHouse(t, sim.Options{}, o)
		time.Sleep(time.Millisecond)
		for i := range 4 {
			_ = h.board.SetLine("GPIO17", i%2 == 0)
			time.Sleep(time.Second)
		}
		h.sink.send("gateway/gw/history/get", `{"sensor":"door","quantity":"state","after_sequence":3,"reply":"missed"}`)
		time.Sleep(time.Millisecond)
		got := h.sink.on("missed")
		if len(got) != 3 || !strings.Contains(got[0], `"value":1`) || !strings.Contains(got[0], `"sequence":4`) || !strings.Contains(got[1], `"value":0`) ||
			!strings.Contains(got[0], `"history":true`) {
			t.Errorf("missed: %q", got)
		}
		h.sink.send("lamp/set", "on")
		time.Sleep(time.Millisecond)
		h.stop()
		h = newHouse(t, sim.Options{}, o)
		defer h.stop()
		time.Sleep(time.Millisecond)
		if got := h.sink.last("door"); !strings.Contains(got, `"sequence":6`) {
			t.Errorf("after the restart: %s", got)
		}
	})
}

// Whom a client may not make the gateway write to, and how a request that
// cannot be met is answered.
func TestHistoryRequestsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, err := sensors.NewRing(sensors.RingOptions{})
		if err != nil {
			t.Fatal(err)
		}
		h := newHouse(t, sim.Options{}, sensors.Options{History: ring, Probes: []sensors.ProbeConfig{room1(time.Second)},
			Lines: []sensors.LineConfig{{Name: "lamp", Line: "GPIO27", Direction: "out", Topic: "lamp", CommandTopic: "lamp/set"}}})
		defer h.stop()
		time.Sleep(5500 * time.Millisecond)
		for _, reply := range []string{"", "lamp/set", "lamp", "sensor/room1/temperature", "gateway/gw/status", "$SYS/x", "a/#", "a/+/b"} {
			before := len(h.sink.on(reply))
			h.sink.send("gateway/gw/history/get", fmt.Sprintf(`{"sensor":"room1","quantity":"humidity","reply":%q}`, reply))
			time.Sleep(time.Millisecond)
			if n := len(h.sink.on(reply)) - before; n != 0 {
				t.Errorf("%d messages on %q", n, reply)
			}
		}
		for body, want := range map[string]string{
			`{"sensor":"room1","quantity":"humidity","from":"yesterday","reply":"r1"}`: "cannot parse",
			`{"reply":"r2"}`: "sensor",
			`{"sensor":"room1","quantity":"humidity","limit":2,"reply":"r3"}`:                   `"count":2,"more":true`,
			`{"sensor":"room1","quantity":"humidity","to":"2200-01-01T00:00:00Z","reply":"r4"}`: `"count":6}`,
			`{"sensor":"nowhere","quantity":"humidity","reply":"r5"}`:                           `"count":0}`,
		} {
			topic := body[strings.LastIndex(body, `"r`)+1 : len(body)-2]
			h.sink.send("gateway/gw/history/get", body)
			time.Sleep(time.Millisecond)
			if got := h.sink.last(topic); !strings.Contains(got, want) || !strings.Contains(got, `"done":true`) {
				t.Errorf("%s: %s, want %s", body, got, want)
			}
		}
		// The response topic and the correlation data of MQTT 5.
		h.sink.mu.Lock()
		handle := h.sink.handlers["gateway/gw/history/get"]
		h.sink.mu.Unlock()
		handle(sensors.Incoming{Payload: []byte(`{"sensor":"room1","quantity":"humidity","limit":1}`), Reply: "mine", Correlation: []byte{7}})
		time.Sleep(time.Millisecond)
		if got := h.sink.on("mine"); len(got) != 2 {
			t.Errorf("on the response topic: %q", got)
		}
		for _, m := range h.sink.messages {
			if m.Topic == "mine" && (!m.Answer || len(m.Correlation) != 1) {
				t.Errorf("%+v", m)
			}
		}
	})
}
