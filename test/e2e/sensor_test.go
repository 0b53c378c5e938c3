package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// simulated is a board with the BME280 of the example.
const simulated = `board: sim
sensors:
  - name: room1
    driver: bme280
    every: 200ms
    topic: "sensor/room1/{quantity}"
    qos: 1
`

// example is the classic bridge example towards a centre.
func example(name, addr string) string {
	return fmt.Sprintf(`  - name: %s
    addresses: [%q]
    restart_timeout: {base: 200ms, cap: 1s}
    topics:
      - {filter: "room1/#", direction: both, qos: 2, local_prefix: "sensor/", remote_prefix: "myhouse/"}
`, name, addr)
}

// TestSensorReadingMakesTheWholeTrip follows the simulated BME280 to the central broker, value for value.
func TestSensorReadingMakesTheWholeTrip(t *testing.T) {
	t.Parallel()
	c := newCentre(t, "")
	there := subscribe(t, c.port, "-q", "2", "-t", "myhouse/room1/temperature")
	g := newGateway(t, simulated+"bridges:\n"+example("centre", c.addr))
	g.start()
	here := subscribe(t, g.port, "-q", "2", "-t", "sensor/room1/temperature")
	wholeTrip(t, here, there, 10)
	g.stop()
}

// wholeTrip demands that n readings seen at the gateway are seen at the centre in the same order with the same text.
func wholeTrip(t *testing.T, here, there *watch, n int) {
	t.Helper()
	value := func(w *watch, topic string) string {
		t.Helper()
		line := w.next(60 * time.Second)
		v, ok := strings.CutPrefix(line, topic+" ")
		if !ok {
			t.Fatalf("%s printed %q, want %s and a value", w.name, line, topic)
		}
		return v
	}
	// The centre may have seen readings from before our local subscriber was there: line the two up at its first.
	var local, remote []string
	for range n {
		local = append(local, value(here, "sensor/room1/temperature"))
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		remote = append(remote, value(there, "myhouse/room1/temperature"))
		if strings.Contains(strings.Join(remote, " ")+" ", strings.Join(local, " ")+" ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the readings %q did not arrive as they are: %q", local, remote)
		}
	}
	for _, v := range local {
		var f float64
		if _, err := fmt.Sscan(v, &f); err != nil || f < -40 || f > 85 {
			t.Errorf("%q is not a temperature that a BME280 can measure", v)
		}
	}
}

// TestOutputLine switches the simulated lamp by its command topic.
func TestOutputLine(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `board: sim
lines:
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set, initial: "off"}
`)
	g.start()
	lamp := subscribe(t, g.port, "-t", "hall/lamp")
	lamp.want("hall/lamp off")
	publish(t, g.port, "-q", "1", "-t", "hall/lamp/set", "-m", "on")
	lamp.want("hall/lamp on")
	publish(t, g.port, "-q", "1", "-t", "hall/lamp/set", "-m", "off")
	lamp.want("hall/lamp off")
	g.stop()
}
