package sensing

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"gatewayd/test/peer"
)

// Outputs are commanded over a connection: words, payloads of their own, toggling, timed pulses; what is retained on a
// command topic is no command.
func TestCommands(t *testing.T) {
	t.Parallel()
	g := start(t, `board: sim
lines:
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set, initial: "on"}
  - {name: bell, line: GPIO22, direction: out, topic: bell, pulse: 300ms, "on": RING, "off": QUIET}
  - {name: siren, line: GPIO23, direction: out, topic: siren, max_on: 500ms}
`)
	c := g.client("commander", "hall/lamp", "bell", "siren")
	c.last("hall/lamp", "on")
	for _, step := range [][2]string{{"off", "off"}, {"toggle", "on"}, {"0", "off"}, {`{"state":"on"}`, "on"}, {"nonsense", "on"}, {"off", "off"}} {
		c.publish("hall/lamp/set", step[0], nil)
		c.last("hall/lamp", step[1])
	}
	c.publish("hall/lamp/set", "on 200ms", nil)
	c.until("on and off again", func() bool {
		return strings.HasSuffix(strings.Join(c.on("hall/lamp"), " "), "off on off")
	})
	c.last("bell", "QUIET")
	c.publish("bell/set", "RING", nil)
	c.until("the bell's pulse", func() bool { return strings.Join(c.on("bell"), " ") == "QUIET RING QUIET" })
	c.last("siren", "off")
	c.publish("siren/set", "on 1h", nil)
	c.until("the siren's end", func() bool { return strings.Join(c.on("siren"), " ") == "off on off" })
}

// Of an interlocked pair at most one is on, however fast they are commanded.
func TestInterlock(t *testing.T) {
	t.Parallel()
	g := start(t, `board: sim
lines:
  - {name: up, line: GPIO20, direction: out, topic: blind/up, interlock: blind, settle: 20ms}
  - {name: down, line: GPIO21, direction: out, topic: blind/down, interlock: blind, settle: 20ms}
`)
	c := g.client("commander", "blind/up", "blind/down")
	c.last("blind/up", "off")
	c.last("blind/down", "off")
	for i := range 40 {
		c.publish([]string{"blind/up/set", "blind/down/set"}[i%2], "on", nil)
	}
	c.last("blind/down", "on") // the last command
	on := map[string]bool{}
	switched := 0
	for _, p := range c.messages() {
		on[p.Topic] = string(p.Payload) == "on"
		if on["blind/up"] && on["blind/down"] {
			t.Fatal("both are on")
		}
		if on[p.Topic] {
			switched++
		}
	}
	if switched < 2 {
		t.Errorf("only %d times on", switched)
	}
}

// What an output becomes when the gateway stops, starts, and nobody commands it.
func TestFailSafe(t *testing.T) {
	t.Parallel()
	g := start(t, `board: sim
lines:
  - {name: pump, line: GPIO20, direction: out, topic: pump, fail_safe: "off"}
  - {name: valve, line: GPIO21, direction: out, topic: valve, fail_safe: "on"}
  - {name: kept, line: GPIO22, direction: out, topic: kept, initial: keep}
  - {name: fan, line: GPIO23, direction: out, topic: fan, fail_safe: "off", fail_after: 1s}
`)
	c := g.client("commander", "pump", "valve", "kept", "fan")
	for _, name := range []string{"pump", "valve", "kept", "fan"} {
		c.last(name, "off") // its commands are heard
	}
	for name, state := range map[string]string{"pump": "on", "valve": "off", "kept": "on", "fan": "on"} {
		c.publish(name+"/set", state, nil)
		c.until(name+" "+state, func() bool { return strings.Contains(strings.Join(c.on(name), " ")+" ", state+" ") })
	}
	c.last("fan", "off") // nobody commanded for a second
	c.publish("fan/set", "on", nil)
	c.until("the fan on again", func() bool { return strings.Count(strings.Join(c.on("fan"), " "), "on") == 2 })
	g.stop()

	// Stopped, so that its retained states are read without it starting its lines.
	lines := g.config[strings.Index(g.config, "board: sim"):]
	g.config = strings.Replace(g.config, lines, "board: none\n", 1)
	g.run()
	left := g.client("reader", "pump", "valve", "kept", "fan")
	for name, state := range map[string]string{"pump": "off", "valve": "on", "kept": "on", "fan": "off"} {
		left.last(name, state)
	}
	g.stop()

	g.config = strings.Replace(g.config, "board: none\n", lines, 1)
	g.run()
	again := g.client("reader", "pump", "valve", "kept")
	again.last("pump", "off")  // initial
	again.last("valve", "off") // initial
	again.last("kept", "on")
}

// An output whose commander is behind a bridge fails safe when the bridge has been away for so long, and is commanded
// through it again afterwards.
func TestBridgeSilent(t *testing.T) {
	t.Parallel()
	if _, err := peer.MosquittoPath(); err != nil {
		t.Skip(err)
	}
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	centre := func() (*peer.Process, *client) {
		p, err := peer.StartMosquitto(dir, port, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if !p.Exited() {
				p.Kill()
			}
		})
		if _, err := p.Ready(patience); err != nil {
			t.Fatal(err)
		}
		at := &gateway{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port)}
		return p, at.client("far", "house/pump")
	}
	p, far := centre()
	g := start(t, fmt.Sprintf(`board: sim
lines:
  - {name: pump, line: GPIO20, direction: out, topic: pump, fail_safe: "off", fail_bridge: centre, fail_bridge_after: 1s}
bridges:
  - name: centre
    addresses: ["127.0.0.1:%d"]
    restart_timeout: {base: 100ms, cap: 300ms}
    topics:
      - {filter: pump, direction: out, qos: 1, remote_prefix: "house/"}
      - {filter: pump/set, direction: in, qos: 1, remote_prefix: "house/"}
`, port))
	here := g.client("here", "pump")
	far.last("house/pump", "off") // the bridge is up
	far.publish("house/pump/set", "on", nil)
	far.last("house/pump", "on")
	here.last("pump", "on")

	p.Kill()
	here.last("pump", "off")
	here.publish("pump/set", "on", nil) // somebody on this side
	here.last("pump", "on")
	here.publish("pump/set", "off", nil)
	here.last("pump", "off")

	_, far = centre()
	far.last("house/pump", "off")
	far.publish("house/pump/set", "on", nil)
	far.last("house/pump", "on")
}

// While other clients keep the broker busy, every edge of an input arrives, in order and once.
func TestNoEdgeIsLostWhileTheBrokerIsBusy(t *testing.T) {
	t.Parallel()
	g := start(t, `board: {kind: sim, script: [{at: 3s, every: 10ms, line: GPIO5, level: toggle}]}
lines:
  - {name: fast, line: GPIO5, direction: in, topic: edges, format: json, retain: false}
`)
	c := g.client("counter", "edges")
	g.client("heavy", "load/#")
	for i := range 3 {
		l := g.client(fmt.Sprint("load", i))
		body := strings.Repeat("x", 2000)
		go func() {
			for t.Context().Err() == nil {
				if _, err := l.c.Publish(t.Context(), &paho.Publish{Topic: fmt.Sprint("load/", i), QoS: 1, Payload: []byte(body)}); err != nil {
					return
				}
			}
		}()
	}
	c.until("500 edges", func() bool { return len(c.on("edges")) >= 500 })
	type edge struct {
		State    string
		Sequence uint64
	}
	var before edge
	for i, text := range c.on("edges") {
		var e edge
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if i > 0 && (e.Sequence != before.Sequence+1 || e.State == before.State) {
			t.Fatalf("after %+v came %+v", before, e)
		}
		before = e
	}
}
