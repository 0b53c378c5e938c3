package bridge_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/broker"
)

// Issues about what an outage costs in memory and on disk.

// TestMosquitto2455QueueIsNotInMemory: what waits for an absent centre lies in the store, not in memory, and a gateway
// that is started with it does not fill up either.
func TestMosquitto2455QueueIsNotInMemory(t *testing.T) {
	t.Parallel()
	s := newScripted(t) // not answering yet
	g := newGatewayd(t, fmt.Sprintf("bridges:\n  - {name: centre, addresses: [%q], connect_timeout: 1s, restart_timeout: 200ms, topics: [{filter: \"a/#\", qos: 1}]}\n", s.addr()))
	g.start()
	c := newClient(t, g.addr, "load").mustConnect()
	body := strings.Repeat("x", 4000)
	n := pick(20_000, 200_000)
	window := make(chan struct{}, 15)
	for i := range n {
		window <- struct{}{}
		acked, err := c.send("a/x", fmt.Sprint(i, " ", body), 1, false)
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-acked; <-window }()
	}
	for range cap(window) {
		window <- struct{}{}
	}
	look := func(when string) {
		t.Helper()
		m, err := g.p.Memory()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d MB of messages wait, %d MB anonymous, %d MB in all", when, n*4000>>20, m.Anon>>20, m.Total()>>20)
		if m.Anon > 96<<20 {
			t.Errorf("%s: %d MB of messages wait and %d MB are resident", when, n*4000>>20, m.Anon>>20)
		}
	}
	look("queued")
	g.p.Kill()
	g.start()
	look("started with the queue")
	s.run()
	eventually(t, 5*time.Minute, fmt.Sprintf("%d messages arrive", n), func() bool { return len(s.published()) >= n })
	look("drained")
}

// TestMosquitto2647StoreShrinks: the store does not grow with each outage.
func TestMosquitto2647StoreShrinks(t *testing.T) {
	t.Parallel()
	s := newScripted(t).run()
	dir := t.TempDir()
	var sizes []int64
	body := strings.Repeat("0123456789", 100)
	for round := range 6 {
		g := newGateway(t, dir)
		b := g.bridge(bridge.Options{Start: bridge.Manual, Lanes: bridge.OneLane, Addresses: []string{s.addr()}, ReceiveMaximum: 100, Rules: outward(1, "a/#")})
		in(t, bridge.Waiting, b)
		for i := range 5000 {
			p := broker.Publication{Topic: "a/x", Payload: []byte(fmt.Sprint(round, i, body)), QoS: 1}
			if err := g.Publish(context.Background(), p, nil); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, 60*time.Second, "they wait", func() bool { return b.Status().QueueMessages == 5000 })
		b.Resume()
		drained(t, 120*time.Second, b)
		b.stop()
		g.stop()
		sizes = append(sizes, used(dir))
	}
	t.Logf("bytes on disk after each round of 5 MB: %v", sizes)
	// Two logs of 4 MB more or less are the database's business; six rounds that stay would be 30 MB.
	if least, most := slices.Min(sizes[3:]), slices.Max(sizes[:3]); least > most+8<<20 || sizes[len(sizes)-1] > 28<<20 {
		t.Errorf("the store grows, though all was delivered: %v", sizes)
	}
}

// used is the space the files of a folder take, sparse ones by their blocks.
func used(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return n
}

// TestUMH152BufferedBridge: a bridge in Go with its queue on disk, which keeps it through a SIGKILL.
func TestUMH152BufferedBridge(t *testing.T) { t.Parallel(); sigkill(t, 200) }
