package bridge_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
)

// Issues about failover, reload and the network, each named after the thread that describes it.

// TestMosquitto3293PrimaryOnlyConnecting: a working second address is not given up for a first one that accepts
// connections and says nothing.
func TestMosquitto3293PrimaryOnlyConnecting(t *testing.T) {
	t.Parallel()
	var probes atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			probes.Add(1)
			t.Cleanup(func() { c.Close() })
		}
	}()
	c := newMosquitto(t, "")
	g := newGateway(t, t.TempDir())
	b := g.bridge(bridge.Options{Addresses: []string{l.Addr().String(), c.addr}, ConnectTimeout: 300 * time.Millisecond, ReturnInterval: 100 * time.Millisecond,
		Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	there := listen(t, c.addr, "there", 1, "a/#")
	eventually(t, 60*time.Second, "the first address is probed often", func() bool { return probes.Load() >= 5 })
	g.publish("a/x", "1", 1, false)
	there.expect("a/x", "1")
	if n := b.Status().Connects; n != 1 || b.Status().Address != c.addr {
		t.Errorf("%d connections, now to %s", n, b.Status().Address)
	}
}

// TestNanoMQ1826SeveralURIs: the addresses of a bridge, written as URLs or not, are tried in turn.
func TestNanoMQ1826SeveralURIs(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	g := newGateway(t, "")
	b := g.bridge(bridge.Options{Addresses: []string{fmt.Sprintf("mqtt://127.0.0.1:%d", freePort(t)), fmt.Sprintf("ws://127.0.0.1:%d/mqtt", freePort(t)), "mqtt://" + c.addr},
		Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	if a := b.Status().Address; a != "mqtt://"+c.addr {
		t.Errorf("connected to %s", a)
	}
}

// TestMosquitto1019NameNotFound: a name that is not found costs no more attempts than the pause between them allows.
func TestMosquitto1019NameNotFound(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	start := time.Now()
	b := g.bridge(bridge.Options{Addresses: []string{"no-such-name.invalid:1883"}, RestartBase: 200 * time.Millisecond, RestartCap: time.Second, Rules: outward(1, "a/#")})
	count := func() int { return strings.Count(b.log.String(), "bridge is not connected") }
	eventually(t, 60*time.Second, "five attempts", func() bool { return count() >= 5 })
	n, took := count(), time.Since(start)
	if least := time.Duration(n-2) * 200 * time.Millisecond; took < least {
		t.Errorf("%d attempts in %v, less than %v", n, took, least)
	}
	if !strings.Contains(b.Status().LastError, "no-such-name.invalid") {
		t.Errorf("error %q", b.Status().LastError)
	}
}

// TestRainmaker1KickAfterConnack: a CONNACK alone does not take the pause back to its shortest; with the connection ended
// each time, pauses grow far beyond what the first could be.
func TestRainmaker1KickAfterConnack(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	s.run()
	g := newGateway(t, "")
	const base = 20 * time.Millisecond
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, RestartBase: base, RestartCap: 5 * time.Second, RestartStable: time.Hour, Rules: outward(1, "a/#")})
	eventually(t, 120*time.Second, "a pause that only grown ones reach", func() bool {
		s.cut()
		next := b.Status().NextAttempt
		return !next.IsZero() && time.Until(next) > 10*base
	})
}

// reloaded is a gatewayd process with a configuration that the test changes.
type reloaded struct {
	*centre
	config string
}

func (r *reloaded) change(t *testing.T, old, now string) {
	t.Helper()
	if !strings.Contains(r.config, old) {
		t.Fatalf("no %q in the configuration", old)
	}
	r.config = strings.Replace(r.config, old, now, 1)
	if err := os.WriteFile(filepath.Join(r.dir, "gatewayd.yaml"), []byte(r.config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func newReloaded(t *testing.T, bridges string) *reloaded {
	t.Helper()
	r := &reloaded{centre: newGatewayd(t, "")}
	r.config = fmt.Sprintf("gateway: {id: gw-test, data_dir: %q}\nlisteners:\n  - {address: %q, anonymous: true}\nboard: none\nhttp: {address: \"off\"}\nbridges:\n%s",
		filepath.Join(r.dir, "data"), r.addr, bridges)
	r.restartWith(r.config)
	return r
}

// TestMosquitto2411ShortLivedCredentials, TestMosquitto2927ImmediateReload: a new password is used by the next connection,
// and with reload_type immediate that is made at once.
func TestMosquitto2411ShortLivedCredentials(t *testing.T) { t.Parallel(); credentials(t, "lazy") }
func TestMosquitto2927ImmediateReload(t *testing.T)       { t.Parallel(); credentials(t, "immediate") }

func credentials(t *testing.T, reload string) {
	t.Helper()
	s := newScripted(t).run()
	g := newReloaded(t, fmt.Sprintf("  - {name: c, addresses: [%q], username: u, password: first, reload_type: %s, restart_timeout: {base: 10m, cap: 10m}, topics: [{filter: \"a/#\", qos: 1}]}\n",
		s.addr(), reload))
	last := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.connects) == 0 {
			return ""
		}
		return string(s.connects[len(s.connects)-1].Password)
	}
	// While it is still connecting, a change has it begin anew, lazy or not.
	eventually(t, 30*time.Second, "connected", func() bool { return last() == "first" && strings.Contains(g.p.Output(), "bridge connected") })
	here := newClient(t, g.addr, "here").mustConnect()
	g.change(t, "password: first", "password: second")
	if reload == "lazy" {
		eventually(t, 30*time.Second, "taken over", func() bool { return strings.Contains(g.p.Output(), "configuration taken over") })
		here.publish("a/x", "over the old connection", 1, false)
		eventually(t, 30*time.Second, "it goes on", func() bool { return len(s.published()) == 1 })
		if last() != "first" {
			t.Error("the connection was made anew")
		}
		return
	}
	// With a pause of ten minutes between attempts only one that does not back off comes in this time.
	eventually(t, 60*time.Second, "connected anew with the new password", func() bool { return last() == "second" })
	here.publish("a/x", "1", 1, false)
	eventually(t, 30*time.Second, "it goes on", func() bool { return len(s.published()) == 1 })
}

// TestMosquitto938BridgeAddedAtRunTime: bridges are added at run time; a bridge that is
// not changed does not notice.
func TestMosquitto938BridgeAddedAtRunTime(t *testing.T) {
	t.Parallel()
	kept, added := newScripted(t).run(), newScripted(t).run()
	g := newReloaded(t, fmt.Sprintf("  - {name: kept, addresses: [%q], topics: [{filter: \"a/#\", qos: 1}]}\n#more\n", kept.addr()))
	here := newClient(t, g.addr, "here").mustConnect()
	here.publish("a/x", "1", 1, false)
	eventually(t, 30*time.Second, "the first is there", func() bool { return len(kept.published()) == 1 })
	g.change(t, "#more", fmt.Sprintf("  - {name: added, reload_type: immediate, addresses: [%q], topics: [{filter: \"b/#\", qos: 1}]}", added.addr()))
	eventually(t, 30*time.Second, "the second is joined", func() bool { return added.conns.Load() > 0 })
	arrives := func(topic string) {
		t.Helper()
		n := 0
		eventually(t, 30*time.Second, topic+" crosses", func() bool {
			n++
			here.publish(topic, fmt.Sprint(n), 1, false)
			for _, p := range added.published() {
				if p.Topic == topic {
					return true
				}
			}
			return false
		})
	}
	arrives("b/x")
	if n := kept.conns.Load(); n != 1 {
		t.Errorf("the bridge that stayed as it is connected %d times", n)
	}
}

// TestMosquitto1699TopicsChangedAtRunTime: topics are added to a bridge that runs, and are still there after a restart.
func TestMosquitto1699TopicsChangedAtRunTime(t *testing.T) {
	t.Parallel()
	s := newScripted(t).run()
	g := newReloaded(t, fmt.Sprintf("  - {name: c, reload_type: immediate, restart_timeout: 200ms, addresses: [%q], topics: [{filter: \"a/#\", qos: 1}]}\n", s.addr()))
	arrives := func(topic string) {
		t.Helper()
		here := newClient(t, g.addr, "here").mustConnect()
		defer here.close()
		n := 0
		eventually(t, 60*time.Second, topic+" crosses", func() bool {
			n++
			here.publish(topic, fmt.Sprint(n), 1, false)
			return slices.ContainsFunc(s.published(), func(p mqtt.Publish) bool { return p.Topic == topic })
		})
	}
	arrives("a/x")
	g.change(t, `"a/#", qos: 1}`, `"a/#", qos: 1}, {filter: "c/#", qos: 1}`)
	arrives("c/x")
	g.end(syscall.SIGTERM)
	g.restartWith(g.config) // as the file has it
	arrives("c/y")
}

// TestMosquitto2499DownIsSaidHere and #1902: as the link drops, 0 is said here, and by the will there.
func TestMosquitto2499DownIsSaidHere(t *testing.T) {
	t.Parallel()
	c := newMosquitto(t, "")
	p := newTap(t, c.addr)
	g := newGateway(t, "")
	const state = "$SYS/broker/connection/gw.centre/state"
	b := g.bridge(bridge.Options{Addresses: []string{p.addr()}, RestartBase: 20 * time.Second, RestartCap: 20 * time.Second, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	here, there := listen(t, g.addr(), "here", 1, state), listen(t, c.addr, "there", 1, state)
	here.expect(state, "1")
	there.expect(state, "1")
	p.cut()
	here.expect(state, "0")
	there.expect(state, "0")
	if b.Status().State == bridge.Connected {
		t.Error("connected again already")
	}
}

// TestMosquitto1902LocalOnly: what is said here only is not said there, not by a will either.
func TestMosquitto1902LocalOnly(t *testing.T) {
	t.Parallel()
	s := newScripted(t).run()
	g := newGateway(t, "")
	b := g.bridge(bridge.Options{Addresses: []string{s.addr()}, NotificationsLocalOnly: true, Rules: outward(1, "a/#")})
	in(t, bridge.Connected, b)
	listen(t, g.addr(), "here", 1, "$SYS/broker/connection/#").expect("$SYS/broker/connection/gw.centre/state", "1")
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.connects[0].Will; w != nil {
		t.Errorf("a will %+v", w)
	}
	if q := s.connects[0].Version; q != mqtt.V5 {
		t.Errorf("version %v", q)
	}
}
