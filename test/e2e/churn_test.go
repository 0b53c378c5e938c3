package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"gatewayd/test/load"
	"gatewayd/test/peer"
)

// TestChurn has clients connect, subscribe, publish and leave all the time, well and badly behaved, persistent and not:
// memory and descriptors stay flat. CHURN says how long, for `make churn`; without it, 60 rounds.
func TestChurn(t *testing.T) {
	t.Parallel()
	text := os.Getenv("CHURN")
	rounds, warm := 60, 20
	var long time.Duration
	if text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t, "")
	g.start()
	const batch = 100
	var before peer.Memory
	var files, i int
	begin, told := time.Now(), time.Now()
	for ; i < rounds || time.Since(begin) < long; i++ {
		// What is filled once is full by the time that a fifth is over.
		if before.Anon == 0 && i >= warm && time.Since(begin) >= long/5 {
			before, files = settled(t, g)
			t.Logf("after %s, %d clients: %s", time.Since(begin).Round(time.Second), i*batch, sizes(before))
		}
		churn(t, g.addr, i, batch)
		if long > 0 && time.Since(told) > long/10 {
			told = time.Now()
			m, _ := settled(t, g)
			t.Logf("after %s, %d clients: %s", time.Since(begin).Round(time.Second), i*batch, sizes(m))
		}
	}
	after, filesAfter := settled(t, g)
	t.Logf("%d clients came and went in %s: %s → %s, descriptors %d → %d", i*batch, time.Since(begin).Round(time.Second), sizes(before), sizes(after), files, filesAfter)
	// The store's memtable fills once, by up to 21 MB on a large machine; nothing else may grow.
	if grown := after.Anon - before.Anon; grown > 24<<20 {
		t.Errorf("anonymous memory has grown by %d KiB", grown>>10)
	}
	if filesAfter > files+5 {
		t.Errorf("descriptors have grown from %d to %d", files, filesAfter)
	}
	g.stop()
	g.verify()
}

func sizes(m peer.Memory) string {
	return fmt.Sprintf("%.1f MB anonymous, %.1f MB resident", float64(m.Anon)/(1<<20), float64(m.Total())/(1<<20))
}

// settled reads memory and the number of open descriptors.
func settled(t *testing.T, g *gateway) (peer.Memory, int) {
	t.Helper()
	time.Sleep(500 * time.Millisecond) // those who just left
	m, err := g.p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return m, len(fds)
}

// churn is one round: every tenth client is persistent under a name that comes back and goes for good the round after.
func churn(t *testing.T, addr string, round, n int) {
	t.Helper()
	l, err := load.NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clients := make([]load.Client, n)
	for i := range clients {
		clients[i] = load.Client{ID: fmt.Sprintf("churn-%d-%d", round, i), Clean: true, KeepAlive: 60, QoS: byte(i % 3),
			Filters: []string{fmt.Sprintf("churn/%d/%d", round%7, i), fmt.Sprintf("churn/+/%d/#", i)}}
		if i%10 == 0 {
			clients[i].ID, clients[i].Clean = fmt.Sprintf("stays-%d", i), round%2 == 1
		}
	}
	conns, err := l.Connect(addr, 30*time.Second, clients...)
	if err != nil {
		t.Fatal(err)
	}
	acks := 0
	for i, c := range conns {
		c.OnClose = func(error) {}
		c.Handle(func(c *load.Conn, first byte, body []byte) {
			switch first >> 4 {
			case load.Publish:
				if m, err := load.ParsePublish(first, body); err == nil {
					switch m.QoS {
					case 1:
						c.Ack(load.Puback, m.ID)
					case 2:
						c.Ack(load.Pubrec, m.ID)
					}
				}
			case load.Pubrec:
				c.Ack(load.Pubrel, load.PacketID(body))
			case load.Pubrel:
				c.Ack(load.Pubcomp, load.PacketID(body))
			case load.Puback, load.Pubcomp:
				acks++
			}
		})
		c.Publish(fmt.Sprintf("churn/%d/%d", round%7, (i+1)%n), byte(1+i%2), i%20 == 0, 1, []byte("around it goes"))
	}
	if err := l.Run(20*time.Second, func() bool { return acks == n }); err != nil {
		t.Fatalf("%d of %d acknowledged: %v", acks, n, err)
	}
	for i, c := range conns {
		if i%3 > 0 { // the others just vanish
			c.Append(func(dst []byte) []byte { return append(dst, load.Disconnect<<4, 0) })
		}
	}
	_ = l.RunFor(10 * time.Millisecond)
}
