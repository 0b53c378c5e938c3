package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gatewayd/test/peer"
	"gatewayd/test/sequence"
)

// TestBadNetworkAndSIGKILL has everybody online at the end of a network that resets connections all the time, while
// gatewayd itself is killed now and then: both sides of both QoS state machines are interrupted at any point.
func TestBadNetworkAndSIGKILL(t *testing.T) {
	t.Parallel()
	kills, between := 8, 2*time.Second
	if soak() {
		kills = 300
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))

	g := newGateway(t, "")
	g.start()
	p, err := peer.NewProxy(g.addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(kills)*between+2*time.Minute)
	defer cancel()

	subs := []*sequence.Subscriber{
		sequence.NewSubscriber(p.Addr, "s1", 1, "load/#"),
		sequence.NewSubscriber(p.Addr, "s2", 2, "load/#"),
		sequence.NewSubscriber(p.Addr, "s3", 2, "load/+/1"),
	}
	var running sync.WaitGroup
	listening, leave := context.WithCancel(ctx)
	for _, s := range subs {
		running.Go(func() { s.Run(listening) })
		<-s.Ready()
	}
	stop := make(chan struct{})
	var pubs []*sequence.Publisher
	for i := range 2 {
		for qos := byte(1); qos <= 2; qos++ {
			pubs = append(pubs, &sequence.Publisher{
				Addr: p.Addr, ID: fmt.Sprintf("q%d-%d", qos, i), Topic: fmt.Sprintf("load/q%d/%d", qos, i), QoS: qos,
				Window: 5 + 10*i, Every: 2 * time.Millisecond, Pad: 20 + 3000*i,
			})
		}
	}
	var publishing sync.WaitGroup
	for _, pub := range pubs {
		publishing.Go(func() { pub.Run(ctx, stop) })
	}
	for range kills {
		for end := time.Now().Add(between/2 + time.Duration(rnd.Int64N(int64(between)))); time.Now().Before(end); {
			time.Sleep(10*time.Millisecond + time.Duration(rnd.IntN(80))*time.Millisecond)
			p.Cut(rnd)
		}
		g.p.Kill()
		g.verify()
		g.start()
	}
	close(stop)
	publishing.Wait()
	total := 0
	for _, s := range subs {
		eventually(t, time.Minute, s.ID+" has everything", func() bool {
			n, since := s.Settled()
			total = n
			return since > 2*time.Second
		})
	}
	leave()
	running.Wait()
	for _, s := range subs {
		for i, present := range s.Sessions() {
			if i > 0 && !present {
				t.Errorf("%s: its session was lost at connection %d", s.ID, i)
				break
			}
		}
		for _, pub := range pubs {
			if s.ID == "s3" && pub.Topic[len(pub.Topic)-1] != '1' {
				continue
			}
			if err := s.Check(pub); err != nil {
				t.Errorf("%s: %v", s.ID, err)
			}
		}
		if n := s.Disorder(); n > 0 {
			t.Errorf("%s: %d messages came out of order", s.ID, n)
		}
	}
	t.Logf("%d kills, %d cuts, %d deliveries to the last subscriber", kills, p.Cuts(), total)
	g.stop()
	g.verify()
}
