package bridge_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
	"gatewayd/test/peer"
)

// haproxy runs Debian's haproxy with the ready configuration in front of two centres; only addresses are changed, and
// TLS is left out unless pem is given.
func haproxy(t testing.TB, pem, one, two string) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Skip("haproxy is not installed (apt-get install haproxy)")
		}
	}
	b, err := os.ReadFile("../../deploy/haproxy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	bind := "bind " + addr
	if pem != "" {
		bind += " ssl crt " + pem
	}
	for from, to := range map[string]string{
		"bind :8883 ssl crt /etc/haproxy/centre.pem": bind, "192.0.2.11:1883": one, "192.0.2.12:1883": two, "log /dev/log local0": "log stdout format raw local0",
		"maxconn 20000": "maxconn 500", // the test may be allowed few descriptors
	} {
		if strings.Count(text, from) != 1 {
			t.Fatalf("the ready configuration does not have %q once", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "haproxy.cfg"), text)
	if out, err := exec.Command(path, "-c", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	p, err := peer.Start("haproxy", addr, filepath.Join(dir, "haproxy.log"), path, "-db", "-f", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("haproxy's log:\n%s", p.Output())
		}
	})
	if pem == "" {
		if _, err := p.Ready(20 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return addr
}

// TestHAProxyPair takes either of two mosquittos behind HAProxy away under the load of six gateways, and returns it.
// The gateways go on; at QoS 1 every message is at one of the centres. A centre that ends in order has kept its
// sessions, one that is killed has not, and a gateway that came to the other centre meanwhile begins a session there:
// what it had under way is sent again, so that at QoS 2 a message can be at both centres, never twice at one.
func TestHAProxyPair(t *testing.T) {
	t.Parallel()
	centres := []*centre{newMosquitto(t, ""), newMosquitto(t, "")}
	addr := haproxy(t, "", centres[0].addr, centres[1].addr)
	const gateways = 6
	var observers []*client
	observe := func(i int) {
		observers = append(observers, listen(t, centres[i].addr, fmt.Sprint("observer", len(observers)), 2, "site/#"))
	}
	observe(0)
	observe(1)
	var gs []*gateway
	var bs []*joined
	for i := range gateways {
		g := newGateway(t, "")
		gs = append(gs, g)
		bs = append(bs, g.bridge(bridge.Options{Name: fmt.Sprint("g", i), ClientID: fmt.Sprint("gateway-", i), Addresses: []string{addr}, ConnectTimeout: 2 * time.Second,
			RestartStable: time.Second, Rules: []bridge.Rule{{Filter: fmt.Sprintf("site/%d/#", i), Direction: bridge.Out, QoS: 2}, {Filter: fmt.Sprintf("down/%d/#", i), Direction: bridge.In, QoS: 1}}}))
	}
	in(t, bridge.Connected, bs...)
	stop := make(chan struct{})
	var loads sync.WaitGroup
	sent := make([]int, gateways)
	for i, g := range gs {
		loads.Go(func() {
			for ; ; sent[i]++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				for q := mqtt.QoS(1); q <= 2; q++ {
					g.publish(fmt.Sprintf("site/%d/q%d", i, q), fmt.Sprint(sent[i]), q, false)
				}
			}
		})
	}
	// A connection that still is to a dead centre looks connected, so ask for a message's way instead.
	goOn := func(what string) {
		t.Helper()
		var before []uint64
		for _, b := range bs {
			before = append(before, b.Status().Acked)
		}
		eventually(t, 60*time.Second, "every gateway goes on "+what, func() bool {
			for i, b := range bs {
				if b.Status().Acked < before[i]+20 {
					return false
				}
			}
			return true
		})
	}
	goOn("with both")
	for i, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		centres[i].end(sig)
		goOn(fmt.Sprintf("without centre %d", i))
		goOn(fmt.Sprintf("without centre %d, again", i))
		centres[i].start()
		observe(i)
		time.Sleep(3 * time.Second) // two good checks, so that this one may take over from the other
		goOn("with both again")
	}
	close(stop)
	loads.Wait()
	drained(t, 60*time.Second, bs...)
	time.Sleep(500 * time.Millisecond)
	at := make([]map[string]int, len(observers))
	for i, o := range observers {
		at[i] = o.received()
	}
	var missing, doubled, moved [3]int
	total := 0
	for i, n := range sent {
		for q := 1; q <= 2; q++ {
			for k := range n {
				total++
				m, places := fmt.Sprintf("site/%d/q%d %d", i, q, k), 0
				for _, o := range at {
					if o[m] > 1 {
						doubled[q]++
					}
					if o[m] > 0 {
						places++
					}
				}
				if places == 0 {
					missing[q]++
				} else if places > 1 {
					moved[q]++
				}
			}
		}
	}
	var connects uint64
	for i, b := range bs {
		s := b.Status()
		connects += s.Connects
		// The way back works at whichever centre the gateway is.
		here := listen(t, gs[i].addr(), fmt.Sprint("here", i), 1, "down/#")
		for _, c := range centres {
			newClient(t, c.addr, fmt.Sprint("app", i)).mustConnect().publish(fmt.Sprintf("down/%d/x", i), "back", 1, false)
		}
		here.expect(fmt.Sprintf("down/%d/x", i), "back")
	}
	t.Logf("%d messages of %d gateways, %d connections; missing %d at QoS 1 and %d at QoS 2, twice at one centre %d and %d, at both centres %d and %d",
		total, gateways, connects, missing[1], missing[2], doubled[1], doubled[2], moved[1], moved[2])
	// An observer of a centre that is killed may be told less than the centre had acknowledged.
	if bound := gateways * 20; missing[1] > bound || missing[2] > bound {
		t.Errorf("missing %d at QoS 1 and %d at QoS 2, more than the windows of %d that were open at the kill", missing[1], missing[2], bound)
	}
	if doubled[2] > 0 {
		t.Errorf("%d messages of QoS 2 came twice at one centre", doubled[2])
	}
	if connects > gateways*12 {
		t.Errorf("%d connections of %d gateways for two outages", connects, gateways)
	}
}

// TestHAProxySticksToClientID has a client id sent to the same centre every time, whichever is less busy.
func TestHAProxySticksToClientID(t *testing.T) {
	t.Parallel()
	centres := []*centre{newMosquitto(t, ""), newMosquitto(t, "")}
	addr := haproxy(t, "", centres[0].addr, centres[1].addr)
	const clients = 10
	for i := range clients {
		c := newClient(t, addr, fmt.Sprint("sticky-", i))
		c.keeps = true
		c.mustConnect().close()
	}
	for round := range 3 {
		for i := range clients {
			c := newClient(t, addr, fmt.Sprint("sticky-", i))
			c.keeps = true
			if c.mustConnect(); !c.present {
				t.Errorf("round %d: client %d came to a centre that does not have its session", round, i)
			}
			if i%2 == 0 { // keep some, so that the balance changes
				c.close()
			}
		}
	}
	var spread [2]bool
	for i := range clients {
		for k, c := range centres {
			n := newClient(t, c.addr, fmt.Sprint("sticky-", i))
			n.keeps = true
			n.mustConnect()
			spread[k] = spread[k] || n.present
		}
	}
	if !spread[0] || !spread[1] {
		t.Errorf("all clients came to one centre: %v", spread)
	}
}

// TestHAProxyHealthCheck says that the ready configuration's check is the CONNECT it claims to be, which gatewayd as a
// centre accepts as mosquitto does.
func TestHAProxyHealthCheck(t *testing.T) {
	t.Parallel()
	p := (&mqtt.Connect{Version: mqtt.V311, ClientID: "check", CleanStart: true, KeepAlive: 60}).Append(nil, mqtt.V311)
	b, err := os.ReadFile("../../deploy/haproxy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), fmt.Sprintf("send-binary %x\n", p)) {
		t.Errorf("the check is not %x", p)
	}
	if !strings.Contains(string(b), fmt.Sprintf("expect binary %x\n", binary.BigEndian.AppendUint32(nil, 0x20020000))) {
		t.Error("the check does not expect a CONNACK")
	}
	c, m := newGatewayd(t, ""), newMosquitto(t, "")
	c.start()
	addr := haproxy(t, "", c.addr, m.addr)
	g := newGateway(t, "")
	j := g.bridge(bridge.Options{Addresses: []string{addr}, ConnectTimeout: 2 * time.Second, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, j)
	time.Sleep(2 * time.Second)
	m.end(syscall.SIGKILL) // only gatewayd is left
	in(t, bridge.Connected, j)
	there := listen(t, c.addr, "there", 1, "a/#")
	n := 0
	eventually(t, 60*time.Second, "messages reach the gatewayd", func() bool {
		n++
		g.publish("a/x", fmt.Sprint(n), 1, false)
		time.Sleep(100 * time.Millisecond)
		return there.countOn("a/x") > 0
	})
}
