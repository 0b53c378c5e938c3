package bridge

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// The environment of a child process that is a gateway with a bridge.
const (
	childDir    = "BRIDGE_TEST_DIR"
	childCentre = "BRIDGE_TEST_CENTRE"
	childFrom   = "BRIDGE_TEST_FROM"
)

// childOptions is the bridge under test.
func childOptions(centre string) Options {
	return Options{Addresses: []string{centre}, ReceiveMaximum: 50, Log: quiet, Rules: []Rule{
		{Filter: "q1/#", Direction: Out, QoS: 1}, {Filter: "q2/#", Direction: Out, QoS: 2},
		{Filter: "down/#", Direction: In, QoS: 2},
	}}
}

// readDown reports what came from the centre, as a QoS 2 client of the gateway
// whose session outlives it.
func readDown(t *testing.T, g *gateway) chan string {
	link, err := g.Link(broker.LinkOptions{ClientID: "reader", Expiry: 0xFFFFFFFF})
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Subscribe(0, mqtt.Request{Filter: "down/#", Options: 2}); err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1000)
	go func() {
		link.Resume(50)
		for {
			d, err := link.Next(context.Background())
			if err != nil {
				return
			}
			if d.Release {
				_ = link.Comp(d.PacketID)
				continue
			}
			pid, payload := d.PacketID, string(d.Message.Payload)
			_ = link.Rec(pid, 0, func(err error) {
				if err == nil {
					out <- "down " + payload
					_ = link.Comp(pid)
				}
			})
		}
	}()
	return out
}

// quietFor says that nothing more is coming: the last one may have been hidden by
// a kill.
func quietFor(c chan string) bool {
	n := len(c)
	time.Sleep(5 * time.Second)
	return len(c) == n
}

// TestGatewayChild is not a test: it is the gateway that TestSIGKILL kills. It
// publishes numbers at QoS 1 and 2 and prints each that is safe.
func TestGatewayChild(t *testing.T) {
	if os.Getenv(childDir) == "" {
		t.Skip("only as a child of TestSIGKILL")
	}
	g, _ := newGateway(t, os.Getenv(childDir), broker.Options{SysInterval: -1})
	b, _ := g.bridge(childOptions(os.Getenv(childCentre)))
	eventually(t, 60*time.Second, "the bridge's session", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.link != nil
	})
	out := readDown(t, g)
	var n int
	fmt.Sscan(os.Getenv(childFrom), &n)
	go func() {
		for ; ; n++ {
			for _, q := range []mqtt.QoS{1, 2} {
				line := fmt.Sprintf("up %d %d", q, n)
				_ = g.Publish(context.Background(), broker.Publication{Topic: fmt.Sprintf("q%d/x", q), Payload: []byte(fmt.Sprint(n)), QoS: q},
					func(err error) {
						if err == nil {
							out <- line
						}
					})
			}
			time.Sleep(500 * time.Microsecond)
		}
	}()
	w := bufio.NewWriter(os.Stdout)
	for line := range out {
		fmt.Fprintln(w, "@", line)
		if len(out) == 0 {
			w.Flush()
		}
	}
}

// TestSIGKILL kills the gateway at random moments under load in both
// directions: what it acknowledged reaches the centre, QoS 2 exactly once, and
// what the centre sent at QoS 2 is published here exactly once.
func TestSIGKILL(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	c := newCentre(t, "max_inflight_messages 0")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("q1/#", 1)
	there.subscribe("q2/#", 2)
	app := newNode(t, c.addr, "app").mustConnect()
	dir := t.TempDir()
	acked := map[string]int{}
	down := map[string]int{}
	sentDown := 0
	from := 0
	run := func(life time.Duration) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run", "^TestGatewayChild$", "-test.v")
		cmd.Env = append(os.Environ(), childDir+"="+dir, childCentre+"="+c.addr, fmt.Sprintf("%s=%d", childFrom, from))
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		ended := make(chan int)
		go func() { // the centre sends downward all the while
			n := 0
			for {
				select {
				case <-stop:
					ended <- n
					return
				case <-time.After(2 * time.Millisecond):
				}
				if _, err := app.send("down/x", fmt.Sprint(sentDown+n), 2, false); err == nil {
					n++
				}
			}
		}()
		begun := false
		s := bufio.NewScanner(pipe)
		for s.Scan() {
			line, ok := strings.CutPrefix(s.Text(), "@ ")
			if !ok {
				continue
			}
			if !begun { // its life is what it has from here, however long the start took
				begun = true
				time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
			}
			if payload, ok := strings.CutPrefix(line, "down "); ok {
				down[payload]++
				continue
			}
			acked[line]++
			var q, n int
			fmt.Sscanf(line, "up %d %d", &q, &n)
			from = max(from, n+1)
		}
		_ = cmd.Wait()
		close(stop)
		sentDown += <-ended
		from += 1000 // numbers that were under way are not used again
	}
	for range kills {
		run(1500*time.Millisecond + time.Duration(rand.IntN(1000))*time.Millisecond)
	}
	g, _ := newGateway(t, dir, broker.Options{SysInterval: -1})
	b, _ := g.bridge(childOptions(c.addr))
	eventually(t, 60*time.Second, "the queue drains", func() bool {
		s := b.Status()
		return s.State == Connected && s.QueueMessages == 0 && s.Inflight == 0
	})
	rest := readDown(t, g)
	eventually(t, 3*time.Minute, "the centre's messages are published", func() bool {
		quiet := quietFor(rest)
		for len(rest) > 0 {
			down[strings.TrimPrefix(<-rest, "down ")]++
		}
		return quiet || down[fmt.Sprint(sentDown-1)] > 0
	})
	time.Sleep(200 * time.Millisecond)
	got := map[string]int{}
	for _, m := range there.messages() {
		got[fmt.Sprintf("up %s %s", m.Topic[1:2], m.Payload)]++
	}
	missing := 0
	for line := range acked {
		if got[line] == 0 {
			if missing++; missing < 10 {
				t.Logf("missing: %s", line)
			}
		}
	}
	twice := 0
	for line, n := range got {
		if n > 1 && strings.HasPrefix(line, "up 2") {
			twice++
			t.Errorf("%s arrived %d times", line, n)
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged messages are missing", missing, len(acked))
	}
	lost, doubled := 0, 0
	for n := range sentDown {
		switch c := down[fmt.Sprint(n)]; {
		case c == 0:
			lost++
		case c > 1:
			doubled++
		}
	}
	// The reader of this test prints after its receipt, so a kill between the
	// two can hide a message; it can never show one twice.
	if doubled > 0 {
		t.Errorf("%d messages of the centre were published twice", doubled)
	}
	if lost > 60*kills {
		t.Errorf("%d of %d messages of the centre are missing", lost, sentDown)
	}
	t.Logf("%d kills: %d acknowledged upward, %d arrived, %d missing; downward %d of %d, %d twice", kills, len(acked), len(got), missing, len(down), sentDown, doubled)
	if len(acked) < 20*kills || len(down) < 5*kills {
		t.Errorf("too little load to tell: %d up, %d down", len(acked), len(down))
	}
}
