package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gatewayd/test/sequence"
)

// TestGatewaySIGKILL kills gatewayd again and again at random moments under QoS 1 and QoS 2 load with an offline
// persistent subscriber for each: no acknowledged message may be missing, no QoS 2 message may come twice, and the store
// must be in order each time.
func TestGatewaySIGKILL(t *testing.T) {
	t.Parallel()
	kills := 20
	if soak() {
		kills = 500
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	g := newGateway(t, "")
	g.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(kills)*15*time.Second)
	defer cancel()

	offline := []*sequence.Subscriber{
		sequence.NewSubscriber(g.addr, "sleeper1", 1, "load/#"),
		sequence.NewSubscriber(g.addr, "sleeper2", 2, "load/#"),
	}
	for _, s := range offline {
		once, leave := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(once) })
		<-s.Ready()
		leave()
		wg.Wait()
	}

	stop := make(chan struct{})
	var pubs []*sequence.Publisher
	for i := range 2 {
		for qos := byte(1); qos <= 2; qos++ {
			pubs = append(pubs, &sequence.Publisher{
				Addr: g.addr, ID: fmt.Sprintf("q%d-%d", qos, i), Topic: fmt.Sprintf("load/q%d/%d", qos, i), QoS: qos,
				Window: 10, Every: time.Millisecond, Pad: 50 + 500*i,
			})
		}
	}
	var wg sync.WaitGroup
	for _, p := range pubs {
		wg.Go(func() { p.Run(ctx, stop) })
	}
	for i := range kills {
		time.Sleep(time.Duration(100+rnd.IntN(900)) * time.Millisecond)
		g.p.Kill()
		g.verify()
		begun := time.Now()
		g.start()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("start %d took %s", i, took)
		}
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	wg.Wait()

	total := 0
	for _, p := range pubs {
		_, acked, _ := p.Books()
		total += len(acked)
	}
	if total < kills*100 {
		t.Errorf("only %d messages were acknowledged over %d kills: not a test", total, kills)
	}
	for _, s := range offline {
		awake, sleepAgain := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { s.Run(awake); close(done) }()
		eventually(t, 2*time.Minute, s.ID+" has drained", func() bool {
			n, since := s.Settled()
			return n >= total && since > time.Second || n > 0 && since > 5*time.Second
		})
		sleepAgain()
		<-done
		for i, present := range s.Sessions() {
			if i > 0 && !present {
				t.Errorf("%s: the session was lost", s.ID)
			}
		}
		for _, p := range pubs {
			if err := s.Check(p); err != nil {
				t.Errorf("%s: %v", s.ID, err)
			}
		}
		if n := s.Disorder(); n > 0 {
			t.Errorf("%s: %d messages came out of order", s.ID, n)
		}
	}
	t.Logf("%d kills, %d messages acknowledged and accounted for", kills, total)
	g.stop()
	g.verify()
}
