package bridge_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
	"gatewayd/test/peer"
)

// bridgeState asks a running gateway for its first bridge, on its command line.
func bridgeState(t testing.TB, http string) (s bridge.Status) {
	t.Helper()
	out, err := gatewayd(t, "bridge", "list", "--json", "--http", http)
	var all []bridge.Status
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	if err != nil || len(all) != 1 {
		t.Fatalf("bridge list: %v: %s", err, out)
	}
	return all[0]
}

// publishV5 publishes at QoS 1 and returns what PUBACK says.
func publishV5(h *hand, id mqtt.PacketID, topic, payload string) mqtt.ReasonCode {
	h.t.Helper()
	h.send(mqtt.V5, &mqtt.Publish{ID: id, QoS: 1, Topic: topic, Payload: []byte(payload)})
	return take[*mqtt.Puback](h).Code
}

// TestQueuesOfRules: while mosquitto is away each rule keeps what its own queue says, through a restart of the gateway, and
// every loss is counted under its rule and reason.
func TestQueuesOfRules(t *testing.T) {
	t.Parallel()
	centre := newMosquitto(t, "")
	http := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	gw := newGatewayd(t, fmt.Sprintf(`http: {address: %q}
bridges:
  - name: centre
    addresses: [%q]
    restart_timeout: {base: 200ms, cap: 500ms}
    queue: {max_messages: 5, on_full: drop_oldest}
    topics:
      - {filter: "alarm/#", qos: 1, queue: {max_messages: 3, on_full: reject}}
      - {filter: "first/#", qos: 2, queue: {max_messages: 3, on_full: drop_newest}}
      - {filter: "state/#", qos: 1, queue: {max_messages: 3, on_full: latest_per_topic}}
      - {filter: "large/#", qos: 1, queue: {max_messages: 0, max_bytes: 1kB}}
      - {filter: "brief/#", qos: 1, queue: {max_age: 1s}}
      - {filter: "rest/#", qos: 1}
`, http, centre.addr))
	gw.start()
	eventually(t, 60*time.Second, "the bridge is there", func() bool { return bridgeState(t, http).State == bridge.Connected })
	centre.end(syscall.SIGTERM)
	eventually(t, 60*time.Second, "the bridge is away", func() bool { return bridgeState(t, http).State != bridge.Connected })

	h := newHand(t, gw.addr, "publisher", mqtt.V5)
	id := mqtt.PacketID(0)
	refused := 0
	for i := range 10 {
		for _, topic := range []string{"alarm/a", "first/a", fmt.Sprint("state/", i%2), "large/a", "brief/a", "rest/a"} {
			payload := fmt.Sprint(i)
			if topic == "large/a" {
				payload += strings.Repeat("x", 400)
			}
			id++
			switch code := publishV5(h, id, topic, payload); {
			case code == mqtt.QuotaExceeded && topic == "alarm/a":
				refused++
			case code.Failed():
				t.Fatalf("%s: %v", topic, code)
			}
		}
	}
	if refused != 7 {
		t.Errorf("%d alarms were refused, want 7", refused)
	}
	s := bridgeState(t, http)
	var got []string
	for _, r := range s.Rules {
		got = append(got, fmt.Sprintf("%d%v", r.Messages, r.Dropped))
	}
	want := "[3map[] 3map[queue_full_newest:7] 3map[queue_full_topic:7] 2map[queue_full_oldest:8] 5map[queue_full_oldest:5] 5map[queue_full_oldest:5]]"
	if fmt.Sprint(got) != want {
		t.Errorf("rules are at\n%v, want\n%v", got, want)
	}
	if d := s.Dropped; d["queue_full_oldest"] != 18 || d["queue_full_newest"] != 7 || d["queue_full_topic"] != 7 {
		t.Errorf("in all %v", d)
	}
	if out, err := gatewayd(t, "bridge", "list", "--http", http); err != nil ||
		!strings.Contains(out, `topic "first/#" out 2 "" "": 0 out, 0 in, 3 wait in its own queue`) || !strings.Contains(out, "7 dropped (queue_full_newest)") {
		t.Errorf("%v: %s", err, out)
	}
	gw.end(syscall.SIGTERM)
	time.Sleep(1100 * time.Millisecond) // what is brief grows old while nothing runs
	gw.start()
	centre.start()
	there := listen(t, centre.addr, "there", 2, "#")
	there.expect("rest/a", "9")
	eventually(t, 60*time.Second, "all that was kept is there", func() bool { return bridgeState(t, http).QueueMessages == 0 })
	kept := map[string]string{}
	for _, m := range there.messages() {
		if !strings.HasPrefix(m.Topic, "$SYS") {
			kept[m.Topic] += string(m.Payload[0])
		}
	}
	if got := fmt.Sprint(kept); got != "map[alarm/a:012 first/a:012 large/a:89 rest/a:56789 state/0:68 state/1:9]" {
		t.Errorf("kept is %s", got)
	}
	if s := bridgeState(t, http); s.Rules[4].Dropped["too_old"] != 5 || s.Dropped["too_old"] != 5 {
		t.Errorf("too old: %v, %v", s.Rules[4].Dropped, s.Dropped)
	}
}

// TestParkedForMosquitto: what is larger than mosquitto's max_packet_size does not hold up the rest; it is listed, shown,
// dropped, and released on the command line, and crosses once mosquitto takes it.
func TestParkedForMosquitto(t *testing.T) {
	t.Parallel()
	centre := newMosquitto(t, "max_packet_size 1000\n")
	http := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	gw := newGatewayd(t, fmt.Sprintf(`http: {address: %q}
bridges:
  - name: centre
    addresses: [%q]
    restart_timeout: {base: 200ms, cap: 500ms}
    topics: [{filter: "a/#", qos: 2}]
`, http, centre.addr))
	gw.start()
	there := listen(t, centre.addr, "there", 2, "a/#")
	eventually(t, 60*time.Second, "the bridge is there", func() bool { return bridgeState(t, http).State == bridge.Connected })
	here := newClient(t, gw.addr, "here").mustConnect()
	for i := range 3 {
		here.publish(fmt.Sprint("a/large/", i), fmt.Sprint(i)+strings.Repeat("x", 2000), mqtt.QoS(1+i%2), false)
	}
	here.publish("a/small", "s", 1, false)
	there.expect("a/small", "s")
	eventually(t, 60*time.Second, "three are parked", func() bool { s := bridgeState(t, http); return s.Parked.Messages == 3 && s.QueueMessages == 0 })
	out, err := gatewayd(t, "bridge", "parked", "centre", "--http", http)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 3 || !strings.Contains(lines[1], "a/large/1, 2001, QoS 2") {
		t.Fatalf("%v: %s", err, out)
	}
	ids := []string{strings.Fields(lines[0])[0], strings.Fields(lines[1])[0]}
	if out, err := gatewayd(t, "bridge", "parked", "centre", ids[1], "--show", "--http", http); err != nil || out != "1"+strings.Repeat("x", 2000) {
		t.Errorf("%v: %.40s", err, out)
	}
	if out, err := gatewayd(t, "bridge", "parked", "centre", ids[0], "--drop", "--http", http); err != nil || out != "1 dropped\n" {
		t.Errorf("%v: %s", err, out)
	}
	// Mosquitto and the gateway come back, the one with other limits, the other after a kill.
	centre.end(syscall.SIGTERM)
	gw.end(syscall.SIGKILL)
	centre.begin = func() (*peer.Process, error) {
		return peer.StartMosquitto(centre.dir, portOf(centre.addr), "persistence true\npersistence_location "+filepath.Clean(centre.dir)+"/\nmax_packet_size 5000\n")
	}
	centre.start()
	gw.start()
	there = listen(t, centre.addr, "there", 2, "a/#")
	eventually(t, 60*time.Second, "the bridge is there again", func() bool { return bridgeState(t, http).State == bridge.Connected })
	if out, err := gatewayd(t, "bridge", "parked", "centre", "--release", "--http", http); err != nil || out != "2 released\n" {
		t.Fatalf("%v: %s", err, out)
	}
	there.expect("a/large/1", "1"+strings.Repeat("x", 2000))
	there.expect("a/large/2", "2"+strings.Repeat("x", 2000))
	eventually(t, 60*time.Second, "nothing is parked", func() bool { s := bridgeState(t, http); return s.Parked.Messages == 0 && s.QueueMessages == 0 })
	if n := len(there.messages()); n != 2 {
		t.Errorf("%d messages crossed", n)
	}
}

// portOf is the port of a centre's address.
func portOf(addr string) (port int) {
	_, _ = fmt.Sscanf(addr[strings.LastIndexByte(addr, ':'):], ":%d", &port)
	return port
}
