package conformance

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// sys21 are the topics below $SYS/broker/ of Mosquitto 2.1.
func sys21() map[string]bool {
	topics := map[string]bool{}
	for _, group := range []string{
		"version", "uptime", "bytes/received", "bytes/sent", "clients/connected", "clients/disconnected", "clients/expired", "clients/maximum",
		"clients/total", "clients/active", "clients/inactive", "connections/socket/count", "heap/current", "heap/maximum",
		"messages/received", "messages/sent", "messages/stored", "packet/out/count", "packet/out/bytes", "publish/bytes/received",
		"publish/bytes/sent", "publish/messages/received", "publish/messages/sent", "publish/messages/dropped", "retained messages/count",
		"store/messages/count", "store/messages/bytes", "subscriptions/count", "shared_subscriptions/count",
		"load/connections", "load/sockets", "load/bytes/received", "load/bytes/sent", "load/messages/received", "load/messages/sent",
		"load/publish/received", "load/publish/sent", "load/publish/dropped",
	} {
		if !strings.HasPrefix(group, "load/") {
			topics[group] = true
			continue
		}
		for _, span := range []string{"/1min", "/5min", "/15min"} {
			topics[group+span] = true
		}
	}
	return topics
}

// sysTopics is what stands below $SYS/broker/ when the broker has been used a little.
func sysTopics(t *testing.T, addr string, complete func(map[string]string) bool) map[string]string {
	t.Helper()
	c := connect(t, addr, options{})
	c.subscribe(sub{"$SYS/#", 0}, sub{"used/#", 0})
	other := connect(t, addr, options{})
	other.publish(msg{topic: "used/a", payload: "m", qos: 1, retain: true})
	topics := map[string]string{}
	for deadline := time.Now().Add(2 * patience); !complete(topics); {
		if time.Now().After(deadline) {
			t.Fatalf("no second round: %q", topics)
		}
		p := c.want(tPublish)
		if name, ok := strings.CutPrefix(p.topic, "$SYS/broker/"); ok {
			topics[name] = p.payload
		} else if p.topic != "used/a" {
			t.Errorf("a topic outside of $SYS/broker: %v", p)
		}
	}
	late := connect(t, addr, options{})
	late.subscribe(sub{"$SYS/broker/uptime", 0})
	if p := late.want(tPublish); !p.retain {
		t.Errorf("not retained: %v", p)
	}
	return topics
}

var number = regexp.MustCompile(`[0-9]+`)

// formOf is a payload with every number in it made N, so that the forms of two brokers can be compared; decimals keep their places.
func formOf(name, payload string) string {
	if name == "version" {
		return regexp.MustCompile(`^\w+ version \S+$`).ReplaceAllString(payload, "NAME version V")
	}
	whole, part, decimal := strings.Cut(payload, ".")
	if !decimal {
		return number.ReplaceAllString(payload, "N")
	}
	return number.ReplaceAllString(whole, "N") + "." + number.ReplaceAllStringFunc(part, func(s string) string { return strings.Repeat("n", len(s)) })
}

// TestSysAsMosquitto holds the topics below $SYS and the form of what they say beside a Mosquitto that runs here: each of its topics is
// there and says the same kind of thing, and so does each of 2.1; there are no others.
func TestSysAsMosquitto(t *testing.T) {
	t.Parallel()
	if _, err := peer.MosquittoPath(); err != nil {
		t.Skip(err)
	}
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	m, err := peer.StartMosquitto(t.TempDir(), port, "sys_interval 1\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	if _, err := m.Ready(patience); err != nil {
		t.Fatal(err)
	}
	published := func(topics map[string]string) bool { // a first round, and one with something to tell
		return topics["load/publish/sent/15min"] != "" && topics["load/messages/received/1min"] > "0.00" && topics["subscriptions/count"] != ""
	}
	theirs := sysTopics(t, m.Addr, published)
	ours := sysTopics(t, configured(t, "mqtt: {sys_interval: 1s}\n"), published)
	t.Logf("%s has %d topics, gatewayd %d", peer.MosquittoVersion(), len(theirs), len(ours))
	want := sys21()
	for name, payload := range theirs {
		want[name] = true
		if mine, ok := ours[name]; ok && formOf(name, mine) != formOf(name, payload) {
			t.Errorf("%s is %q, Mosquitto's %q", name, mine, payload)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := ours[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for name, payload := range ours {
		switch form := formOf(name, payload); {
		case !want[name]:
			t.Errorf("Mosquitto has no %s", name)
		case strings.HasPrefix(name, "load/") && form != "N.nn", name == "uptime" && form != "N seconds",
			!strings.HasPrefix(name, "load/") && name != "uptime" && name != "version" && form != "N":
			t.Errorf("%s is %q", name, payload)
		}
	}
}
