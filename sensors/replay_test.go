package sensors_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// What was missed is asked for by sequence number and comes marked as history.
func TestMissedReadingsOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, err := sensors.NewRing(sensors.RingOptions{})
		if err != nil {
			t.Fatal(err)
		}
		h := newHouse(t, sim.Options{}, sensors.Options{Probes: []sensors.ProbeConfig{room1(time.Second)}, History: ring})
		defer h.stop()
		time.Sleep(20500 * time.Millisecond)
		h.sink.send("gateway/gw/history/get", `{"sensor":"room1","quantity":"temperature","after_sequence":15,"reply":"my/answers"}`)
		h.sink.send("gateway/gw/history/get", `nonsense`)
		time.Sleep(100 * time.Millisecond)
		got := h.sink.on("my/answers")
		if len(got) != 7 || !strings.Contains(got[6], `"count":6`) {
			t.Fatalf("answers: %v", got)
		}
		var first struct {
			Sequence uint64
			History  bool
			Value    float64
		}
		if err := json.Unmarshal([]byte(got[0]), &first); err != nil || first.Sequence != 16 || !first.History || first.Value == 0 {
			t.Errorf("the first answer is %s", got[0])
		}
		from := time.Now().Add(-5 * time.Second).Format(time.RFC3339)
		h.sink.send("gateway/gw/history/get", `{"sensor":"room1","quantity":"humidity","from":"`+from+`","reply":"by/time"}`)
		time.Sleep(100 * time.Millisecond)
		if got := h.sink.on("by/time"); len(got) < 6 || len(got) > 8 {
			t.Errorf("of five seconds: %v", got)
		}
	})
}

// A board that does not know the time says so with every reading, and once it
// knows says it again with the time known.
func TestReadingsBeforeTheClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known atomic.Bool
		c := room1(time.Second)
		c.Format = sensors.FormatJSON
		h := newHouse(t, sim.Options{}, sensors.Options{Probes: []sensors.ProbeConfig{c},
			Clock: func() sensors.ClockInfo { return sensors.ClockInfo{Synchronised: known.Load()} }})
		defer h.stop()
		time.Sleep(2500 * time.Millisecond)
		if got := h.sink.last("sensor/room1/temperature"); !strings.Contains(got, `"time_source":"unsynchronised"`) {
			t.Errorf("before: %s", got)
		}
		known.Store(true)
		time.Sleep(10 * time.Second)
		got := h.sink.on("sensor/room1/temperature")
		if !strings.Contains(strings.Join(got, "\n"), `"time_source":"restamped"`) {
			t.Errorf("nothing was published again: %v", got)
		}
		if last := got[len(got)-1]; strings.Contains(last, "time_source") {
			t.Errorf("afterwards: %s", last)
		}
	})
}

// A water meter goes on counting after a restart.
func TestCounterGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, err := sensors.NewRing(sensors.RingOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o := sensors.Options{History: ring, Lines: []sensors.LineConfig{{Name: "water", Line: "GPIO6", Topic: "water", Count: "rising", PerUnit: 10, Unit: "L", Every: time.Second}}}
		for _, want := range []string{"1", "2"} {
			h := newHouse(t, sim.Options{}, o)
			time.Sleep(1100 * time.Millisecond)
			for range 10 {
				_ = h.board.SetLine("GPIO6", true)
				time.Sleep(time.Millisecond)
				_ = h.board.SetLine("GPIO6", false)
				time.Sleep(time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			if got := h.sink.last("water"); got != want {
				t.Errorf("the meter shows %q, want %q", got, want)
			}
			if got := h.sink.last("gateway/gw/water/availability"); got != "online" {
				t.Errorf("the meter is %q", got)
			}
			h.stop()
			if got := h.sink.last("gateway/gw/water/availability"); got != "offline" {
				t.Errorf("the meter is %q after the end", got)
			}
		}
	})
}
