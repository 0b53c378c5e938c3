package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gatewayd/test/rig"
	"gatewayd/test/sequence"
)

// patience is how long a round may take to become quiet on a busy machine.
const patience = 5 * time.Minute

// round is a stretch of traffic by clients that are gone after it.
type round struct {
	t      *testing.T
	g      *gateway
	number int
	rnd    *rand.Rand
	// during happens while the traffic runs.
	during func()

	publishers []*sequence.Publisher
	live, away *sequence.Subscriber
	centre     *sequence.Subscriber // at the other end of the bridge; nil without one
}

// run is the whole round; it returns how many messages were acknowledged.
func (r *round) run() (acknowledged int) {
	r.t.Helper()
	name := func(s string) string { return fmt.Sprintf("%s%d", s, r.number) }
	top := name("round")
	r.live = sequence.NewSubscriber(r.g.addr, name("live"), 2, top+"/#")
	r.away = sequence.NewSubscriber(r.g.addr, name("away"), 1, top+"/#")
	for i := range 8 {
		qos := byte(1 + i%2)
		r.publishers = append(r.publishers, &sequence.Publisher{Addr: r.g.addr, ID: name(fmt.Sprintf("p%d-", i)), Topic: fmt.Sprintf("%s/%d", top, i),
			QoS: qos, Window: 20, Every: time.Millisecond, Pad: 100 * i})
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var clients, others sync.WaitGroup
	leave := listen(ctx, r.away)
	<-r.away.Ready()
	leave()
	clients.Go(func() { r.live.Run(ctx) })
	<-r.live.Ready()
	if r.g.centre != nil {
		r.centre = sequence.NewSubscriber(r.g.centre.Addr, name("centre"), 2, "up/"+top+"/#")
		clients.Go(func() { r.centre.Run(ctx) })
		<-r.centre.Ready()
		r.publishers = append(r.publishers, &sequence.Publisher{Addr: r.g.addr, ID: name("up"), Topic: "up/" + top + "/x", QoS: 2, Window: 20, Every: 2 * time.Millisecond, Pad: 50})
	}

	stop := make(chan struct{})
	for _, p := range r.publishers {
		others.Go(func() { p.Run(ctx, stop) })
	}
	for i := range 4 {
		others.Go(func() { r.comeAndGo(stop, fmt.Sprintf("guest%d", i), top) })
	}
	others.Go(func() { r.retain(stop) })
	r.during()
	close(stop)
	finished := make(chan struct{})
	go func() { others.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(patience):
		r.t.Fatalf("round %d: not everything was acknowledged %s after its end", r.number, patience)
	}

	clients.Go(func() { r.away.Run(ctx) })
	for _, p := range r.publishers {
		_, acked, _ := p.Books()
		acknowledged += len(acked)
		to := []*sequence.Subscriber{r.live, r.away}
		if p.Topic[:2] == "up" {
			to = []*sequence.Subscriber{r.centre}
		}
		for _, s := range to {
			for end := time.Now().Add(patience); s.Got(p.ID) < len(acked) && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
			}
			if err := s.Check(p); err != nil {
				r.t.Errorf("round %d, %s: %v", r.number, s.ID, err)
			}
		}
	}
	cancel()
	clients.Wait()
	r.forget()
	return acknowledged
}

// listen runs s until leave is called.
func listen(ctx context.Context, s *sequence.Subscriber) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return func() { cancel(); <-done }
}

// forget ends the sessions of the round's clients.
func (r *round) forget() {
	at := map[string][]string{r.g.addr: {r.live.ID, r.away.ID}}
	for _, p := range r.publishers {
		at[r.g.addr] = append(at[r.g.addr], p.ID)
	}
	if r.centre != nil {
		at[r.centre.Addr] = []string{r.centre.ID}
	}
	for addr, ids := range at {
		for _, id := range ids {
			c, _, err := rig.Connect(addr, id, 4, true)
			if err != nil {
				r.t.Errorf("end the session of %s: %v", id, err)
				continue
			}
			c.Goodbye()
		}
	}
}

// comeAndGo connects, subscribes and vanishes again and again, every third time with a session that outlives the connection
// for a while.
func (r *round) comeAndGo(stop <-chan struct{}, id, top string) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			if c, _, err := rig.Connect(r.g.addr, id, 5, true); err == nil {
				c.Goodbye()
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
		c, _, err := rig.Connect(r.g.addr, id, 5, n%3 > 0)
		if err != nil {
			continue // killed, or full: it comes again
		}
		if c.Subscribe(fmt.Sprintf("%s/%d/#", top, n%8), byte(n%3)) == nil {
			c.Publish("guests/"+id, []byte("here"), 0, false, false, 0)
			_ = c.Flush() // it may be gone
		}
		if n%2 == 0 {
			c.Goodbye()
		} else {
			c.Close()
		}
	}
}

// retain changes two hundred retained messages and commands the lamp.
func (r *round) retain(stop <-chan struct{}) {
	for {
		c, _, err := rig.Connect(r.g.addr, "keeper", 4, true)
		for n := uint16(1); err == nil; n = n%1000 + 1 {
			select {
			case <-stop:
				c.Goodbye()
				return
			case <-time.After(5 * time.Millisecond):
			}
			c.Publish(fmt.Sprintf("kept/%d", n%200), fmt.Appendf(nil, "%d of round %d", n, r.number), 1, true, false, n)
			if n%50 == 0 {
				c.Publish("hall/lamp/set", []byte([]string{"on", "off"}[n/50%2]), 0, false, false, 0)
			}
			if err = c.Flush(); err == nil {
				c.Deadline(time.Now().Add(30 * time.Second))
				for acked := false; err == nil && !acked; {
					var p rig.Packet
					p, err = c.Read()
					acked = p.Type == rig.PUBACK
				}
			}
		}
		if c != nil {
			c.Close()
		}
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
