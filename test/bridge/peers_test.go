package bridge_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
	"gatewayd/test/peer"
)

// TestTwoCentresHash is a star of two mosquittos with `topic # both 2` to each: everything is everywhere exactly once,
// whoever says it, and `gatewayd check` sees no circle in it.
func TestTwoCentresHash(t *testing.T) {
	t.Parallel()
	a, b := newMosquitto(t, ""), newMosquitto(t, "")
	g := newGatewayd(t, fmt.Sprintf("bridges:\n"+
		"  - {name: a, addresses: [%q], topics: [{filter: \"#\", direction: both, qos: 2}]}\n"+
		"  - {name: b, addresses: [%q], topics: [{filter: \"#\", direction: both, qos: 2}]}\n", a.addr, b.addr))
	g.start()
	if out, err := gatewayd(t, "check", "-c", filepath.Join(g.dir, "gatewayd.yaml")); err != nil || strings.Contains(out, "circle") {
		t.Errorf("check of a star: %v\n%s", err, out)
	}
	var all []*client
	for i, addr := range []string{g.addr, a.addr, b.addr} {
		all = append(all, listen(t, addr, fmt.Sprint("observer", i), 2, "#"))
	}
	for _, c := range all[1:] { // until messages cross both bridges
		n := 0
		eventually(t, 60*time.Second, "messages of "+c.id+" cross", func() bool {
			n++
			c.publish("probe/"+c.id, fmt.Sprint(n), 1, false)
			time.Sleep(50 * time.Millisecond)
			return all[0].countOn("probe/"+c.id) > 0
		})
	}
	const each = 100
	for i := range each {
		for _, c := range all {
			for q := mqtt.QoS(1); q <= 2; q++ {
				c.publish(fmt.Sprintf("load/%s/%d", c.id, q), fmt.Sprint(i), q, false)
			}
		}
	}
	for _, c := range all {
		for _, from := range all {
			for q := 1; q <= 2; q++ {
				c.inOrder(fmt.Sprintf("load/%s/%d", from.id, q), each)
			}
		}
	}
}

// gatewayd runs a subcommand of the binary.
func gatewayd(t testing.TB, args ...string) (string, error) {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), bin, args...).CombinedOutput()
	return string(out), err
}

// TestFailoverPair kills the primary of two mosquittos under load: the secondary is taken; a primary that only accepts
// connections, or answers with a refusal, is not returned to; one whose broker answers is (mosquitto#3293).
func TestFailoverPair(t *testing.T) {
	t.Parallel()
	primary, secondary := newMosquitto(t, ""), newMosquitto(t, "")
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{primary.addr, secondary.addr}, ReturnInterval: 100 * time.Millisecond, ConnectTimeout: time.Second,
		Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	there := listen(t, secondary.addr, "there", 1, "a/#")
	before := listen(t, primary.addr, "before", 1, "a/#")
	g.publish("a/x", "before", 1, false)
	before.expect("a/x", "before")

	primary.end(syscall.SIGKILL)
	for i := range 200 {
		g.publish("a/1", fmt.Sprint(i), 1, false)
	}
	there.inOrder("a/1", 200)

	l, err := net.Listen("tcp", primary.addr)
	if err != nil {
		t.Fatal(err)
	}
	probes := make(chan net.Conn, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(probes)
				return
			}
			probes <- c
		}
	}()
	for i := range 3 { // one after the other, as each has its second for a CONNACK
		c := <-probes
		if i == 1 { // a broker that refuses
			_, _ = c.Write((&mqtt.Connack{Code: mqtt.ServerUnavailable}).Append(nil, mqtt.V5))
		}
		defer c.Close()
	}
	if s := b.Status(); s.Connects != 2 || s.Address != secondary.addr || s.State != bridge.Connected {
		t.Errorf("left the secondary for an address that does not answer: %+v", s)
	}
	l.Close()
	for c := range probes {
		c.Close()
	}
	primary.start()
	eventually(t, 60*time.Second, "back at the primary", func() bool {
		s := b.Status()
		return s.Address == primary.addr && s.State == bridge.Connected
	})
	after := listen(t, primary.addr, "after", 1, "a/#")
	g.publish("a/2", "after", 1, false)
	after.expect("a/2", "after")
}

// TestBridgeTestReports runs `gatewayd bridge test` against a mosquitto, a gatewayd and an address where nobody is.
func TestBridgeTestReports(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "max_keepalive 600")
	c := newGatewayd(t, "mqtt: {max_packet_size: 77777}\n")
	c.start()
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	file := write(t, filepath.Join(t.TempDir(), "g.yaml"), fmt.Sprintf("gateway: {id: gw}\nbridges:\n"+
		"  - {name: mosquitto, addresses: [%q], topics: [{filter: \"a/#\", direction: both, qos: 2}]}\n"+
		"  - {name: gatewayd, addresses: [%q], topics: [{filter: \"b/#\", direction: both, qos: 2}]}\n"+
		"  - {name: nobody, addresses: [%q], topics: [{filter: \"c/#\", direction: both, qos: 2}]}\n", m.addr, c.addr, dead))
	for name, want := range map[string][]string{"mosquitto": {m.addr, "5.0"}, "gatewayd": {c.addr, "5.0", "77777"}} {
		out, err := gatewayd(t, "bridge", "test", "-c", file, name)
		if err != nil {
			t.Errorf("bridge test %s: %v", name, err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("bridge test %s does not say %s:\n%s", name, w, out)
			}
		}
	}
	out, err := gatewayd(t, "bridge", "test", "-c", file, "nobody")
	if err == nil || !strings.Contains(out, dead) || !strings.Contains(out, "refused") {
		t.Errorf("bridge test of an address where nobody is: %v\n%s", err, out)
	}
}

// TestCheckNamesTheCircle has a circle through two bridges found before start, with the path that closes it, and leaves
// a star alone.
func TestCheckNamesTheCircle(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "g.yaml"), "gateway: {id: gw}\nbridges:\n"+
		"  - {name: one, addresses: [\"hub.example:1883\"], clientid: one, topics: [{filter: \"#\", direction: both, local_prefix: \"site/\"}]}\n"+
		"  - {name: two, addresses: [\"hub.example:1883\"], clientid: two, topics: [{filter: \"#\", direction: both, remote_prefix: \"site/\"}]}\n")
	out, err := gatewayd(t, "check", "-c", file)
	if err == nil && !strings.Contains(out, "one") {
		t.Errorf("check said nothing of the circle: %s", out)
	}
	for _, want := range []string{"one", "two", "hub.example:1883"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not name %s: %s", want, out)
		}
	}
	t.Logf("%s", out)
}
